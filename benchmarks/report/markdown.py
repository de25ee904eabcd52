"""Markdown: the whole report, and the short table of the README between its markers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks.report import tables
from benchmarks.report.tables import Table

START, END = "<!-- benchmarks:start -->", "<!-- benchmarks:end -->"
BETWEEN = re.compile(f"{re.escape(START)}.*?{re.escape(END)}", re.DOTALL)
# Works of the README's table, as far as they were measured.
README_WORKS = (
    "digits-sgd",
    "digits-32-adam",
    "digits-200-adam",
    "digits-full",
    "regression-256",
    "image-128",
    "pictures-128",
    "wide",
    "matrix-exp",
    "deep-20",
    "predict-one",
    "predict-100k",
)


def render(table: Table) -> str:
    """A pipe table; figures to the right."""
    lines = [f"| {' | '.join(map(_cell, table.header))} |"]
    lines.append("|" + "|".join(["---", *["--:"] * (len(table.header) - 1)]) + "|")
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in table.rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def page(document: dict[str, Any]) -> str:
    """The report as one Markdown document."""
    parts = ["# Benchmarks of fastnn", *tables.summary(document)]
    chosen = [tables.rivals(document), tables.throughput(document)]
    chosen += [tables.growth(curve) for curve in document["growth"]]
    chosen += [tables.memory(document), tables.jobs(document), tables.details(document)]
    chosen += [tables.ceiling(document)] if document["ceiling"] else []
    for table in (*chosen, tables.facts(document)):
        if table.rows:
            parts += [f"**{table.caption}**", render(table), *(f"- {note}" for note in table.notes)]
    return "\n\n".join(parts) + "\n"


def readme_block(document: dict[str, Any]) -> str:
    """What stands between the markers: the comparison, and in one sentence where it comes from."""
    wanted = [r for r in document["rivals"] if r["name"] in README_WORKS]
    table = tables.rivals({**document, "rivals": wanted})
    machine, versions = document["machine"], document["versions"]
    names = {"scikit-learn": "scikit-learn", "torch": "PyTorch", "jax": "JAX"}
    used = ", ".join(f"{label} {versions[key]}" for key, label in names.items() if key in versions)
    place = f"{machine['processor']} ({machine['cores']}, {machine['load at the start']})"
    origin = (
        f"Measured {document['date'][:10]} on {place} with {used}; float32, warm, repetitions in turn, all"
        " from the same first weights to the same losses. `python -m benchmarks report` makes this table on"
        " your machine."
    )
    return "\n\n".join([render(table), *table.notes, origin])


def check_readme(path: Path) -> str:
    """The text of a file that has the markers; ValueError where it hasn't."""
    text = Path(path).read_text(encoding="utf-8")
    if not BETWEEN.search(text):
        raise ValueError(f"{path} must contain the markers {START} and {END}; it does not.")
    return text


def update_readme(document: dict[str, Any], path: Path) -> None:
    """Put the table between the markers; ValueError where they are missing."""
    text = check_readme(path)
    block = f"{START}\n{readme_block(document)}\n{END}"
    Path(path).write_text(BETWEEN.sub(lambda _: block, text), encoding="utf-8")
