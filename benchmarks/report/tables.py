"""The tables of a report as plain text cells; pages and Markdown are two dresses for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import store
from benchmarks.quantities import duration, rate, significant
from benchmarks.statistics import median

LEVEL = 1.03  # medians this close together are called level
RIVAL_ORDER = ("scikit-learn", "PyTorch", "JAX", "NumPy", "ONNX Runtime")


@dataclass(frozen=True)
class Table:
    """A caption, a header, rows whose first cell names the row, and what has to be said below."""

    name: str
    caption: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: list[str] = field(default_factory=list)


def rivals(document: dict[str, Any]) -> Table:
    """One work a line: fastnn's time a step, then how many times as long every other library takes."""
    results = document["rivals"]
    names = [n for n in RIVAL_ORDER if any(row["library"] == n for r in results for row in r["rows"])]
    rows = []
    for result in results:
        own = store.row_of(result, "fastnn")
        first = duration(store.step_seconds(result, own)) if own else status(result, "fastnn")
        rows.append((result["title"], verdict(result), first, *(_against(result, name) for name in names)))
    header = ("Work", "Fastest", "fastnn, a step", *names)
    caption = "Time of one step with fastnn, and how many times as long the others take for it"
    return Table("rivals", caption, header, rows, trouble(results))


def _against(result: dict[str, Any], name: str) -> str:
    if all(row["library"] != name for row in result["rows"]):
        return "–"
    ratio, row = store.advantage(result, name), store.row_of(result, name)
    if row is None:
        return status(result, name)
    return duration(store.step_seconds(result, row)) if ratio is None else f"{significant(ratio, 2)}×"


def status(result: dict[str, Any], library: str) -> str:
    """Why a library has no figure."""
    return next((str(row["status"]) for row in result["rows"] if row["library"] == library), "–")


def verdict(result: dict[str, Any]) -> str:
    """Who is fastest, and by how much; less than LEVEL apart nobody is."""
    rival = store.best_rival(result)
    if rival is None or store.row_of(result, "fastnn") is None:
        return rival or "–"
    ratio = store.advantage(result, rival)
    assert ratio is not None
    if 1 / LEVEL < ratio < LEVEL:
        return f"level: {rival}"
    return f"fastnn, {significant(ratio, 2)}×" if ratio > 1 else f"{rival}, {significant(1 / ratio, 2)}×"


def trouble(results: list[dict[str, Any]]) -> list[str]:
    """One sentence for each library that could not do its work, and for each that did other work."""
    notes = []
    for result in results:
        for row in result["rows"]:
            if row["status"] in ("crashed", "timed out"):
                notes.append(f"{row['library']} on {result['title']}: {row['status']}, {row['detail']}.")
            elif store.measured(row) and store.same_work(result, row) is False:
                notes.append(
                    f"{row['library']} on {result['title']} reached another loss: not the same work."
                )
    missing = {row["library"] for r in results for row in r["rows"] if row["status"] == "not installed"}
    return notes + [f"{name} is not installed here: pip install '.[rivals]'." for name in sorted(missing)]


def details(document: dict[str, Any]) -> Table:
    """Every single row: time, spread, share of the limit, threads, warm-up, loss."""
    ceiling = document["ceiling"]
    rows: list[tuple[str, ...]] = []
    for result in document["rivals"]:
        for row in result["rows"]:
            head = (f"{result['title']}: {row['library']}",)
            if not store.measured(row):
                rows.append((*head, row["status"], "", "", "", "", "", ""))
                continue
            limit = store.limit_of(result, row, ceiling)
            rows.append(
                (
                    *head,
                    duration(store.step_seconds(result, row)),
                    f"{store.noise(row):.0%}",
                    rate(store.samples_per_second(result, row)) + "/s",
                    f"{limit.seconds / median(row['seconds']):.0%} of {limit.name}",
                    str(row["threads"]),
                    duration(store.warm_up(row)),
                    significant(row["loss"], 5),
                )
            )
    header = ("Work and library", "A step", "Spread", "Rows", "Share of limit", "Threads", "Warm-up", "Loss")
    caption = "All measurements; spread is the width of the middle half of the repetitions"
    return Table("details", caption, header, rows)


def throughput(document: dict[str, Any]) -> Table:
    """Rows a second of full batch, mini-batch and single rows, for all libraries."""
    results = [
        r for r in document["rivals"] if r["problem"]["data"] == "digits" and r["problem"]["kind"] == "train"
    ]
    names = [n for n in ("fastnn", *RIVAL_ORDER) if any(store.row_of(r, n) for r in results)]
    rows = []
    for result in results:
        found = [store.row_of(result, name) for name in names]
        cells = [f"{rate(store.samples_per_second(result, row))}/s" if row else "–" for row in found]
        rows.append((result["title"], *cells))
    return Table("throughput", "Digits: rows of training a second", ("Way of training", *names), rows)


def growth(curve: dict[str, Any]) -> Table:
    """Points of one growth curve."""
    rows = [(f"{p['x']:,}", duration(median(p["seconds"])), str(p["threads"])) for p in curve["points"]]
    slope = curve["exponent"]
    fitted = "" if slope is None else f"; fitted exponent {slope:.2f}"
    caption = f"{curve['title']}: time of one {curve['per']} against {curve['axis']}{fitted}"
    return Table(f"growth-{curve['name']}", caption, (curve["axis"].capitalize(), "Time", "Threads"), rows)


def memory(document: dict[str, Any]) -> Table:
    """Peak memory against the size of the data."""
    rows: list[tuple[str, ...]] = []
    for entry in document["memory"]:
        if entry["status"] != "ok":
            rows.append((entry["title"], entry["status"], "", ""))
            continue
        data, peak = entry["data_bytes"], entry["peak_bytes"]
        rows.append((entry["title"], f"{data / 1e6:.0f} MB", f"{peak / 1e6:.0f} MB", f"{peak / data:.2f}×"))
    caption = "Most memory in use while training, beyond what was in use before the data existed"
    return Table("memory", caption, ("Work", "Data", "Peak", "Peak / data"), rows)


def jobs(document: dict[str, Any]) -> Table:
    """Whole processes."""
    rows: list[tuple[str, ...]] = []
    for entry in document["jobs"]:
        done = bool(entry["seconds"])
        rows.append((entry["title"], duration(median(entry["seconds"])) if done else entry["status"]))
    return Table(
        "jobs", "Whole jobs in fresh processes, start and end of Python included", ("Job", "Time"), rows
    )


def ceiling(document: dict[str, Any]) -> Table:
    """The limits of the machine."""
    c = document["ceiling"]
    rows = [
        ("Matrix product in float32, one core", f"{rate(c['sgemm_1'])}FLOP/s"),
        ("Matrix product in float32, all cores", f"{rate(c['sgemm_all'])}FLOP/s"),
        ("Matrix product in float64, one core", f"{rate(c['dgemm_1'])}FLOP/s"),
        ("Matrix product in float64, all cores", f"{rate(c['dgemm_all'])}FLOP/s"),
        ("L1 cache, one core, read and written", f"{rate(c['l1'])}B/s"),
        ("Main memory, read and written", f"{rate(c['memory'])}B/s"),
    ]
    return Table("ceiling", "What this machine could do during this run", ("Limit", "Rate"), rows)


def facts(document: dict[str, Any]) -> Table:
    """Machine, date, commit and versions."""
    state = "complete" if document["complete"] else "interrupted: what was measured until then"
    rows = [
        ("Date", document["date"]),
        ("Commit", document["commit"]),
        ("Set", f"{document['set']}, {state}"),
    ]
    rows += [(name.capitalize(), value) for name, value in document["machine"].items()]
    rows += list(document["versions"].items())
    return Table("facts", "Where these figures come from", ("Fact", "Value"), rows)


def summary(document: dict[str, Any]) -> list[str]:
    """Sentences that say what the tables say."""
    ratios = [
        (r["title"], name, store.advantage(r, name))
        for r in document["rivals"]
        if (name := store.best_rival(r))
    ]
    known = [(title, name, ratio) for title, name, ratio in ratios if ratio is not None]
    if not known:
        return []
    won = sum(ratio >= LEVEL for _, _, ratio in known)
    text = [f"fastnn is the fastest in {won} of {len(known)} works."]
    for title, name, ratio in known:
        if ratio <= 1 / LEVEL:
            text.append(f"{name} is {significant(1 / ratio, 2)} times as fast as fastnn: {title}.")
        elif ratio < LEVEL:
            text.append(f"{name} and fastnn are level: {title}.")
    return text
