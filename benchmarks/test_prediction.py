"""Prediction through the estimators, and through the bare network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import problems, work
from benchmarks.problems import FULL, Problem
from fastnn import Architecture, Network

SIZES = (64, 100, 10)
PREDICT = Problem("predict", SIZES, 100, 1, kind="predict")


@pytest.mark.parametrize("library", ["fastnn", "scikit-learn"])
@pytest.mark.parametrize("rows", [1, 1000, 100_000])
def test_predict_proba(timer, rows, library):
    timer.benchmark.group = f"predict_proba, {rows:,} rows of 64-100-10"
    timer(replace(PREDICT, rows=100) if rows == 1 else replace(PREDICT, rows=rows, batch=FULL), library)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 16, 1000, 100_000])
def test_forward(timer, rows, dtype):
    timer.benchmark.group = f"Network.forward, {rows:,} rows of 64-100-10"
    architecture = Architecture(SIZES, output_activation="softmax", loss="cross_entropy")
    network = Network.initialize(architecture, seed=0, dtype=np.dtype(dtype))
    X, _ = problems.load(Problem("rows", SIZES, rows, FULL, dtype=dtype))
    network.forward(X)
    cost = work.prediction(SIZES, rows, np.dtype(dtype).itemsize)
    timer.piece(network.forward, (X,), cost, rows=rows, dtype=dtype)


@pytest.mark.parametrize("library", ["fastnn", "scikit-learn"])
def test_stream_of_single_rows(timer, library):
    timer.benchmark.group = "partial_fit, one row a call"
    timer(replace(problems.get("stream"), rows=100), library)
