"""One job timed by pytest-benchmark, with its figures beside the limits of the machine."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import joblib
import numpy as np
import pytest

from benchmarks import problems, work
from benchmarks.problems import Problem
from benchmarks.rivals import get

ROUNDS = 5
ROUND_SECONDS = 0.02


def figures(
    cost: work.Cost,
    rows: float,
    seconds: float,
    ceiling: dict[str, float],
    *,
    dtype: str,
    threads: int,
    footprint: float,
) -> dict[str, Any]:
    """What a time means: rows and operations a second, and the share of the limit that applies."""
    limit = work.limit(cost, ceiling, dtype=dtype, threads=threads, footprint=footprint)
    return {
        "samples_per_second": rows / seconds,
        "gflops": cost.flops / seconds / 1e9,
        "share_of_limit": limit.seconds / seconds,
        "limit": limit.name,
        "threads": threads,
        "dtype": dtype,
    }


class Timer:
    """Times problems inside a pytest-benchmark run: `timer(problem, library)`."""

    def __init__(self, benchmark: Any, ceiling: dict[str, float]) -> None:
        self.benchmark, self.ceiling = benchmark, ceiling

    def __call__(
        self, problem: Problem, library: str = "fastnn", *, threads: int | None = None
    ) -> dict[str, Any]:
        """Time epochs of `problem` in one library, warmed up before; returns what went to `extra_info`."""
        rival = get(library)
        try:
            module = rival.load()
        except ImportError:
            pytest.skip(f"{library} is not installed: pip install '.[rivals]'")
        X, y = problems.load(problem)
        job, choice = None, threads
        if choice is None:
            choice = quickest(module, problem, X, y, rival.thread_choices)
        job = module.prepare(problem, X, y, choice)
        module.run(job, problem.check_epochs)
        loss, epochs = module.final_loss(job), rounds_of(module, job)
        self.benchmark.pedantic(EpochsAtOnce(module, job, epochs), rounds=ROUNDS, iterations=epochs)
        if self.benchmark.stats is None:  # --benchmark-disable
            return {}
        seconds = self.benchmark.stats.stats.median
        found = figures(
            problem.cost,
            problem.rows,
            seconds,
            self.ceiling,
            dtype=problem.dtype,
            threads=module.threads(job),
            footprint=problem.footprint,
        )
        found |= {"library": library, "work": problem.title, "loss": loss, "epochs_per_round": epochs}
        self.benchmark.extra_info.update(found)
        return found

    def piece(
        self,
        function: Any,
        args: tuple[Any, ...],
        cost: work.Cost,
        *,
        rows: int,
        dtype: str,
        threads: int = 1,
    ) -> None:
        """Time one call of `function`, which has to be compiled already."""
        self.benchmark(function, *args)
        if self.benchmark.stats is not None:
            seconds = self.benchmark.stats.stats.median
            found = figures(
                cost,
                rows,
                seconds,
                self.ceiling,
                dtype=dtype,
                threads=threads,
                footprint=cost.memory_bytes,
            )
            self.benchmark.extra_info.update(found)


class EpochsAtOnce:
    """Called once for each epoch of a round, it does them all in the first call.

    So that times are shown by epoch and compare between libraries, while each still gets all its epochs in
    one call.
    """

    def __init__(self, module: Any, job: Any, epochs: int) -> None:
        self.module, self.job, self.epochs, self.left = module, job, epochs, 0

    def __call__(self) -> None:
        if self.left == 0:
            self.module.run(self.job, self.epochs)
            self.left = self.epochs
        self.left -= 1


def quickest(module: Any, problem: Problem, X: Any, y: Any, choices: tuple[int | None, ...]) -> int | None:
    """The number of threads with which a library does one epoch soonest; None where it decides by itself."""
    if choices == (None,):
        return None
    times = {}
    for choice in dict.fromkeys(c if c != 0 else joblib.cpu_count() for c in choices):
        job = module.prepare(problem, X, y, choice)
        module.run(job, 1)
        start = perf_counter()
        module.run(job, 1)
        times[choice] = perf_counter() - start
    return min(times, key=lambda choice: times[choice])


def rounds_of(module: Any, job: Any) -> int:
    """Epochs that fill one round of the clock; the best of three, as a neighbour may have taken the core
    away."""
    best = float("inf")
    for _ in range(3):
        start = perf_counter()
        module.run(job, 1)
        best = min(best, perf_counter() - start)
    return int(np.clip(ROUND_SECONDS / best, 1, 10_000))
