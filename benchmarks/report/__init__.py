"""The stored figures as a page, as Markdown and as the README's table. Functions of the document, nothing is
measured."""
