"""Training in every mode: full batch, mini-batches, single rows; plain steps, momentum, Adam."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.problems import FULL, SOLVERS, Problem

DIGITS = Problem("digits", (64, 100, 10), 1797, FULL, data="digits", check_epochs=1)
IRIS = Problem("iris", (4, 100, 3), 150, FULL, data="iris", check_epochs=1)
MODES = {"full batch": FULL, "batch 200": 200, "batch 32": 32, "batch 1": 1}
SIZES = {
    "1 000 rows of 16": Problem("small", (16, 32, 4), 1000, 64, check_epochs=1),
    "20 000 rows of 64": Problem("middle", (64, 128, 10), 20_000, 256, check_epochs=1),
    "100 000 rows of 32": Problem("many rows", (32, 64, 64, 10), 100_000, 256, check_epochs=1),
}


@pytest.mark.parametrize("library", ["fastnn", "scikit-learn"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("mode", MODES)
def test_digits(timer, mode, solver, library):
    timer.benchmark.group = f"train digits, {mode}, {SOLVERS[solver]}"
    timer(replace(DIGITS, batch=MODES[mode], solver=solver), library)


@pytest.mark.parametrize("library", ["fastnn", "scikit-learn"])
@pytest.mark.parametrize("mode", ["full batch", "batch 32", "batch 1"])
def test_iris(timer, mode, library):
    timer.benchmark.group = f"train iris, {mode}, Adam"
    timer(replace(IRIS, batch=MODES[mode], solver="adam"), library)


@pytest.mark.parametrize("batch", [1, 8, 64, 256, 1024, FULL], ids=lambda rows: f"batch {rows or 'full'}")
@pytest.mark.parametrize("size", SIZES)
def test_synthetic(timer, size, batch):
    timer.benchmark.group = f"train {size}, Adam"
    timer(replace(SIZES[size], batch=min(batch, SIZES[size].rows), solver="adam"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", MODES)
def test_precision(timer, mode, dtype):
    timer.benchmark.group = f"train digits in both precisions, {mode}, Adam"
    timer(replace(DIGITS, batch=MODES[mode], solver="adam", dtype=dtype))
