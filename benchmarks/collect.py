"""The measurements of a report, one after the other, each stored as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import ceiling, growth, jobs, memory, problems, race, store
from benchmarks.console import Progress

FLOAT64 = (
    "digits-sgd",
    "digits-32-adam",
    "digits-200-adam",
    "digits-full",
    "image-128",
    "wide",
    "matrix-exp",
)


@dataclass(frozen=True)
class Plan:
    """What a set measures. After `until` seconds a section begins nothing new: the rest is listed as left
    out."""

    kind: str
    problems: tuple[str, ...]
    rules: race.Rules
    until: dict[str, float]
    repeats: int
    jobs: tuple[str, ...]


PLANS = {
    "quick": Plan(
        "quick",
        (
            "digits-sgd",
            "digits-32-adam",
            "digits-full",
            "digits-200-adam",
            "matrix-exp",
            "predict-one",
            "image-128",
            "predict-100k",
            "stream",
            "deep-20",
        ),
        race.Rules(repeats=3, seconds=0.08, timeout=30.0),
        {"rivals": 110.0, "growth": 135.0, "memory": 145.0, "jobs": 160.0},
        3,
        ("import-sklearn", "import-fastnn", "iris-fastnn", "iris-sklearn"),
    ),
    "full": Plan(
        "full",
        (*problems.PROBLEMS, *(f"{name}@float64" for name in FLOAT64)),
        race.Rules(repeats=9, seconds=0.3, timeout=180.0),
        {},
        7,
        tuple(job.name for job in jobs.JOBS),
    ),
}


@dataclass(frozen=True)
class Task:
    """One measurement: where its entry goes, and how it is made."""

    section: str
    name: str
    measure: Callable[[], dict[str, Any]]


def tasks(plan: Plan, say: Callable[[str], None]) -> Iterator[Task]:
    """All of a plan, the sections in turn."""
    for name in plan.problems:
        problem = problems.get(name)
        names = race.libraries_for(problem)
        yield Task("rivals", name, partial(race.race, problem, names, plan.rules, say))
    for curve in growth.CURVES:
        if plan.kind == "full" or curve.quick:
            measure = partial(growth.measure, curve, plan.kind, plan.repeats)
            yield Task("growth", f"growth with {curve.name}", measure)
    for rows in memory.ROWS[plan.kind]:
        yield Task("memory", f"memory of {rows:,} rows", partial(memory.measure, rows))
    for job in jobs.JOBS:
        if job.name in plan.jobs:
            repeats = 1 if job.cold else min(plan.repeats, 5)
            yield Task("jobs", job.title, partial(jobs.measure, job, repeats))


def collect(plan: Plan, path: Path, progress: Progress) -> dict[str, Any]:
    """Measure a plan; the document at `path` is complete up to wherever an interrupt comes."""
    document, start = store.new(plan.kind), perf_counter()
    document["left_out"] = []
    try:
        progress.stage("limits of this machine")
        document["ceiling"] = ceiling.measure()
        progress.advance()
        for task in tasks(plan, progress.say):
            if perf_counter() - start > plan.until.get(task.section, float("inf")):
                document["left_out"].append(task.name)
            else:
                progress.stage(task.name)
                store.put(document, task.section, task.measure())
                store.save(document, path)
            progress.advance()
        document["complete"] = True
    except KeyboardInterrupt as stop:
        store.keep(document, stop)
        document["left_out"].append("everything after the interrupt")
    finally:
        progress.close()
        document["seconds"] = round(perf_counter() - start, 1)
        store.save(document, path)
    return document


def count(plan: Plan) -> int:
    """Stages that the progress bar shows: the tasks and the ceiling."""
    return 1 + sum(1 for _ in tasks(plan, lambda _: None))
