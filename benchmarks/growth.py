"""How fastnn's cost grows: against rows, width, depth, rows of a batch, and threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

import joblib

from benchmarks import problems
from benchmarks.problems import Problem
from benchmarks.rivals import with_fastnn
from benchmarks.statistics import exponent, median

ROUND_SECONDS = 0.03
BASE = Problem("growth", (64, 128, 10), 4096, 128, "adam", 1e-4, check_epochs=1)


@dataclass(frozen=True)
class Curve:
    """One axis: its values, and the problem (with a number of threads) at each."""

    name: str
    title: str
    axis: str
    per: str  # what the seconds are for: 'epoch' or 'row'
    quick: tuple[int, ...]  # none: the full set alone
    full: tuple[int, ...]
    at: Callable[[int], tuple[Problem, int | None]]


def _depth(layers: int) -> tuple[Problem, int | None]:
    return replace(BASE, sizes=(32, *[32] * layers, 10)), None


def _threads(name: str, count: int) -> tuple[Problem, int | None]:
    return problems.get(name), count


CURVES = (
    Curve(
        "rows",
        "64-128-10, batch 128, Adam",
        "rows",
        "epoch",
        (1000, 4000, 16_000, 64_000),
        (1000, 4000, 16_000, 64_000, 256_000),
        lambda n: (replace(BASE, rows=n), None),
    ),
    Curve(
        "width",
        "64-width-width-10, batch 128, Adam",
        "units of the two hidden layers",
        "epoch",
        (16, 64, 256),
        (8, 16, 32, 64, 128, 256, 512, 1024),
        lambda units: (replace(BASE, sizes=(64, units, units, 10), rows=2048), None),
    ),
    Curve(
        "depth",
        "32-32-...-32-10, batch 128, Adam",
        "hidden layers of 32",
        "epoch",
        (1, 4, 16),
        (1, 2, 4, 8, 16, 32),
        _depth,
    ),
    Curve(
        "batch",
        "64-128-10, Adam",
        "rows of a batch",
        "row",
        (1, 8, 64, 512, 4096),
        (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096),
        lambda rows: (replace(BASE, batch=rows), None),
    ),
    *(
        Curve(
            "threads" if name == "image-128" else f"threads, {name}",
            problems.get(name).title,
            "threads",
            "epoch",
            (1, 2) if name == "image-128" else (),
            (1, 2, 3, 4, 8),
            partial(_threads, name),
        )
        for name in ("image-128", "digits-full", "wide", "matrix-exp")
    ),
)


def values(curve: Curve, kind: str) -> list[int]:
    """Points of an axis; no more threads than there are cores."""
    points = curve.quick if kind == "quick" else curve.full
    return [x for x in points if curve.axis != "threads" or x <= joblib.cpu_count()]


def measure(curve: Curve, kind: str, repeats: int) -> dict[str, Any]:
    """Seconds of an epoch (or a row) at each point, the points taken in turn; with the fitted exponent."""
    points: list[tuple[int, Problem, Any, int, list[float]]] = []
    for x in values(curve, kind):
        problem, threads = curve.at(x)
        job = with_fastnn.prepare(problem, *problems.load(problem), threads)
        with_fastnn.run(job, 1)
        start = perf_counter()
        with_fastnn.run(job, 1)
        epochs = max(1, round(ROUND_SECONDS / (perf_counter() - start)))
        points.append((x, problem, job, epochs, []))
    for _ in range(repeats):
        for _, problem, job, epochs, seconds in points:
            start = perf_counter()
            with_fastnn.run(job, epochs)
            each = (perf_counter() - start) / epochs
            seconds.append(each if curve.per == "epoch" else each / problem.rows)
    entries = [
        {"x": x, "seconds": seconds, "threads": with_fastnn.threads(job)} for x, _, job, _, seconds in points
    ]
    middles = [median(seconds) for *_, seconds in points]
    fitted = exponent([x for x, *_ in points], middles) if len(points) > 1 else None
    named = {"name": curve.name, "title": curve.title, "axis": curve.axis, "per": curve.per}
    return {**named, "points": entries, "exponent": fitted}
