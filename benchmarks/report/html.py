"""The report as one page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks import store
from benchmarks.quantities import duration, rate, significant, tick
from benchmarks.report import charts, tables
from benchmarks.report.tables import Table
from benchmarks.statistics import median

STYLE = Path(__file__).with_name("style.css")
READING = (
    "Right of the line fastnn is faster, left of it slower. One step is one update of the weights; for"
    " predictions it is one call, for the stream one row."
)
METHOD = (
    "Each library works in a process of its own, with its better number of threads. All start from the same"
    " weights and draw the same shuffles; their losses after the same epochs are compared, so that everybody"
    " has done the same work.",
    "Repetitions go round in turn; figures are medians. Warm-up, from the import to the first trained epochs"
    " with all compilation, stands apart.",
    "Operations: 2·I·O + O for a layer of I inputs and O outputs forwards, the same again for its gradients,"
    " 2·I·O for what goes on below it, and 2 (plain), 4 (momentum) or 12 (Adam) for each parameter and step.",
    "Limit of a work: the largest of operations / peak of the matrix product, bytes through the L1 cache /"
    " its bandwidth, and, where data and parameters exceed the last cache, bytes from memory / its bandwidth;"
    " all measured in this run. Inputs that are 0 are counted although fastnn skips them one row at a time,"
    " so a share can exceed 100 %.",
)


def page(document: dict[str, Any]) -> str:
    """The whole page; sections without figures are left out."""
    sections = [section for make in SECTIONS if (section := make(document))]
    links = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title, _ in sections)
    body = "".join(f'<h2 id="{name}">{escape(title)}</h2>\n{content}' for name, title, content in sections)
    machine = document["machine"]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Benchmarks of fastnn, {escape(document["date"][:10])}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<a class="skip" href="#main">To the figures</a>
<header>
<h1>How fast is fastnn?</h1>
<p class="origin">{escape(document["date"][:10])}, commit {escape(document["commit"])},
on {escape(machine["processor"])}, {escape(machine["cores"])};
{escape(machine["load at the start"])} at the start.</p>
{_state(document)}
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main id="main">
{_summary(document)}
{body}
</main>
<footer><p>Made by <code>python -m benchmarks report</code> from its stored figures.</p></footer>
</body>
</html>
"""


def _summary(document: dict[str, Any]) -> str:
    first, *rest = tables.summary(document) or [""]
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in rest)
    return (
        f"<p><strong>{escape(first)}</strong></p>" + (f"<ul>{items}</ul>" if items else "") if first else ""
    )


def _state(document: dict[str, Any]) -> str:
    left = document.get("left_out") or []
    if not left:
        return ""
    why = "This run ran out of time" if document["complete"] else "This run was interrupted"
    return f'<p class="warning">{why}; not measured: {escape(", ".join(left))}.</p>'


def table(content: Table, kind: str = "") -> str:
    """A table with caption and scopes; it scrolls by itself where the page is too narrow."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in content.header)
    lines = []
    for first, *rest in content.rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    notes = "".join(f"<li>{escape(note)}</li>" for note in content.notes)
    label = escape(content.caption, quote=True)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table class="{kind}">'
        f"<caption>{escape(content.caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{chr(10).join(lines)}\n</tbody></table></div>\n" + (f"<ul>{notes}</ul>\n" if notes else "")
    )


def folded(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>\n{content}</details>\n"


def gallery(figures: Sequence[str]) -> str:
    return '<div class="charts">' + "".join(figures) + "</div>\n"


def figure(title: str, drawing: str, below: str = "") -> str:
    return f"<figure><h3>{escape(title)}</h3>\n{drawing}\n{below}</figure>\n"


def rivals_section(document: dict[str, Any]) -> tuple[str, str, str] | None:
    """The table of all works, and its ratios as a chart."""
    content = tables.rivals(document)
    if not content.rows:
        return None
    rows = []
    for result in document["rivals"]:
        ratios = {n: store.advantage(result, n) for n in tables.RIVAL_ORDER}
        found = {name: ratio for name, ratio in ratios.items() if ratio is not None}
        if found:
            rows.append((result["title"], found))
    text = f"<p>{escape(READING)}</p>\n"
    if rows:
        sentences = "; ".join(
            f"{title}: {', '.join(f'{n} {significant(r, 2)}' for n, r in f.items())}" for title, f in rows
        )
        drawing = charts.dots(
            "ratios",
            "Time of each library divided by fastnn's",
            sentences,
            rows,
            charts.short,
            (1.0, "as fast as fastnn"),
        )
        text += gallery([figure("Time divided by fastnn's", drawing), throughput_figure(document)])
    return "rivals", "Against other libraries", text + table(content)


def throughput_figure(document: dict[str, Any]) -> str:
    """Rows a second on digits."""
    content, rows = tables.throughput(document), []
    for result in document["rivals"]:
        if any(result["title"] == row[0] for row in content.rows):
            found = {
                name: store.samples_per_second(result, row)
                for name in charts.SERIES
                if (row := store.row_of(result, name))
            }
            if found:
                rows.append((_short(result["title"]), found))
    if not rows:
        return ""
    spoken = "; ".join(f"{label}: {', '.join(f'{n} {rate(v)}' for n, v in f.items())}" for label, f in rows)
    title = "Digits: rows of training a second"
    drawing = charts.dots("throughput", title, spoken, rows, charts.short)
    return figure(title, drawing, folded("The figures of this chart", table(content)))


def _short(title: str) -> str:
    """The way of training alone."""
    rest = title.removeprefix("64-100-10, ")
    return rest[:1].upper() + rest[1:]


def limit_section(document: dict[str, Any]) -> tuple[str, str, str] | None:
    """Shares of the limits."""
    ceiling = document["ceiling"]
    if not ceiling:
        return None
    rows = []
    for result in document["rivals"]:
        row = store.row_of(result, "fastnn")
        if row:
            limit = store.limit_of(result, row, ceiling)
            threads = "" if row["threads"] == 1 else f", {row['threads']} threads"
            rows.append(
                (result["title"], limit.seconds / median(row["seconds"]), f" of {limit.name}{threads}")
            )
    content = table(tables.ceiling(document), "plain")
    if rows:
        spoken = "; ".join(f"{label}: {value:.0%}{note}" for label, value, note in rows)
        drawing = charts.bars(
            "limits", "Share of the limit that applies", spoken, [(a, b, "") for a, b, _ in rows]
        )
        shares = Table(
            "shares", "Share of the limit", ("Work", "Share"), [(a, f"{b:.0%}{c}") for a, b, c in rows]
        )
        below = folded("The figures of this chart", table(shares))
        content = gallery(
            [figure("fastnn's share of the limit that applies", drawing, below), f"<div>{content}</div>"]
        )
    return "limits", "Against the machine", content


def growth_section(document: dict[str, Any]) -> tuple[str, str, str] | None:
    """One chart for each axis, and peak memory."""
    figures = []
    for curve in document["growth"]:
        content = tables.growth(curve)
        points = [(p["x"], median(p["seconds"])) for p in curve["points"]]
        spoken = "; ".join(f"{x:,}: {duration(y)}" for x, y in points)
        if len(points) > 1:
            title = f"{curve['axis'].capitalize()}: exponent {curve['exponent']:.2f}"
            drawing = charts.curve(f"growth-{curve['name']}", title, spoken, points, curve["axis"], tick)
            below = f"<figcaption>{escape(curve['title'])}, time of one {curve['per']}</figcaption>\n"
            figures.append(
                figure(title, drawing, below + folded("The figures of this chart", table(content)))
            )
    if not figures:
        return None
    text = "<p>An exponent of 1 means: twice as much of it takes twice as long.</p>\n"
    return "growth", "How the cost grows", text + gallery(figures)


def memory_section(document: dict[str, Any]) -> tuple[str, str, str] | None:
    content = tables.memory(document)
    return ("memory", "Memory", table(content)) if content.rows else None


def jobs_section(document: dict[str, Any]) -> tuple[str, str, str] | None:
    content = tables.jobs(document)
    return ("jobs", "Whole jobs", table(content)) if content.rows else None


def method_section(document: dict[str, Any]) -> tuple[str, str, str] | None:
    """How it was measured, on what, and every single figure."""
    text = "".join(f"<p>{escape(sentence)}</p>" for sentence in METHOD)
    text += table(tables.facts(document), "plain")
    if document["ceiling"] and document["rivals"]:
        text += folded("All measurements", table(tables.details(document)))
    return "method", "How it was measured", text


SECTIONS = (rivals_section, limit_section, growth_section, memory_section, jobs_section, method_section)
