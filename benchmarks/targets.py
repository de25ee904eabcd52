"""What the project wants to reach against other libraries, and what a stored run has reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks import store
from benchmarks.quantities import significant

BEST = "best rival"
DOUBLE_SHARE = 0.7  # of the ratio in float32 that double precision has to keep, against scikit-learn


@dataclass(frozen=True)
class Target:
    """fastnn on `problem` is at least `must` times as fast as `rival`, and better `aim` times."""

    problem: str
    rival: str
    must: float
    aim: float


TARGETS = (
    Target("digits-sgd", "JAX", 2.5, 4),
    Target("digits-sgd", "scikit-learn", 80, 150),
    Target("digits-sgd", "PyTorch", 150, 300),
    Target("digits-momentum", "JAX", 2, 3),
    Target("digits-1-adam", "JAX", 2, 3),
    Target("digits-8-adam", "JAX", 2.5, 4),
    Target("digits-8-adam", "scikit-learn", 25, 50),
    Target("digits-32-adam", "JAX", 3, 6),
    Target("digits-32-adam", "scikit-learn", 20, 35),
    Target("digits-200-adam", "JAX", 3, 5),
    Target("digits-200-adam", "scikit-learn", 8, 14),
    Target("digits-full", "JAX", 3.5, 6),
    Target("digits-full", "scikit-learn", 9, 15),
    Target("regression-256", "JAX", 2.5, 4),
    Target("regression-256", "scikit-learn", 5, 8),
    Target("image-128", BEST, 1.3, 1.8),
    Target("wide", BEST, 1.1, 1.3),
    Target("matrix-exp", "JAX", 2.5, 5),
    Target("matrix-exp", "PyTorch", 6, 12),
    Target("deep-20", BEST, 2, 3),
    Target("predict-100k", "ONNX Runtime", 1.2, 1.6),
    Target("predict-one", "scikit-learn", 6, 15),
)
HEADER = ("Work", "against", "reached", "must", "aim", "")


def reached(document: dict[str, Any], problem: str, rival: str) -> float | None:
    """The measured ratio, or None."""
    result = next((entry for entry in document["rivals"] if entry["name"] == problem), None)
    if result is None:
        return None
    name = store.best_rival(result) if rival == BEST else rival
    return store.advantage(result, name) if name else None


def judge(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a target; those in double follow, with a goal that depends on what float32 reached."""
    rows = []
    for target in TARGETS:
        ratio = reached(document, target.problem, target.rival)
        rows.append(_row(target.problem, target.rival, ratio, target.must, target.aim))
    for result in document["rivals"]:
        single, _, dtype = result["name"].partition("@")
        ratio, base = (reached(document, name, "scikit-learn") for name in (result["name"], single))
        if dtype and base is not None:
            rows.append(_row(result["name"], "scikit-learn", ratio, DOUBLE_SHARE * base, base))
    return rows


def _row(problem: str, rival: str, ratio: float | None, must: float, aim: float) -> tuple[str, ...]:
    goals = (significant(must, 2), significant(aim, 2))
    if ratio is None:
        return (problem, rival, "–", *goals, "not measured")
    word = "aim" if ratio >= aim else "must" if ratio >= must else "MISSED"
    return (problem, rival, significant(ratio, 2), *goals, word)
