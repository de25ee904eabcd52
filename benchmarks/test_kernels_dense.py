"""The matrix kernels alone, on one panel or one tile, called as the engine calls them: by compiled code."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks.problems import FULL, Problem
from benchmarks.test_kernels import TIMES, often
from benchmarks.work import Cost
from fastnn.engine import aligned_zeros
from fastnn.kernels import dense, layout

SHAPES = [(64, 100), (100, 10), (192, 256)]
PANELS = 8  # of a tile


class Layer(NamedTuple):
    """One layer of a network with room for a tile of activations and deltas."""

    row: Any  # of the layer table
    weights: Any
    bias: Any
    x: Any  # panels of inputs
    z: Any  # panels of outputs, or of their deltas
    deltas: Any  # in strips
    panel_rows: int
    zeros: Any


def make_layer(shape: tuple[int, int], dtype: str) -> Layer:
    kind = np.dtype(dtype)
    lanes = layout.vector_lanes(kind)
    rows = layout.PANEL_VECTORS * lanes
    table, _ = layout.parameter_table(shape, lanes)
    layout.place_tile(table, rows, PANELS)
    row = table[0]
    ld, height = int(row[layout.LD]), int(row[layout.X_WIDTH])
    draws = np.random.default_rng(0)
    arrays = [aligned_zeros((size,), kind) for size in (height * ld, ld, height * rows * PANELS)]
    arrays += [aligned_zeros((ld * rows * PANELS,), kind) for _ in range(2)]
    for array in arrays:
        array[:] = draws.normal(size=array.shape)
    return Layer(row, *arrays, rows, aligned_zeros((max(height, ld),), kind))


def time_kernel(
    timer: Any, kernel: Any, arguments: tuple[Any, ...], shape: tuple[int, int], rows: int, dtype: str
) -> None:
    """Multiplications and additions of one matrix product, TIMES times."""
    timed = often(kernel, len(arguments))
    timed(*arguments)
    numbers = shape[0] * shape[1] + rows * sum(shape)
    size = np.dtype(dtype).itemsize
    cost = Cost(2.0 * shape[0] * shape[1] * rows, size * numbers, size * numbers) * TIMES
    timer.piece(timed, arguments, cost, rows=rows * TIMES, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward_product_of_one_panel(timer, shape, dtype):
    timer.benchmark.group = f"z = W'x + b of one panel, {shape[0]} to {shape[1]}, {TIMES} times"
    layer = make_layer(shape, dtype)
    ld, ends = int(layer.row[layout.LD]), ((shape[1], shape[0]), True, dense.PLAIN)
    arguments = (layer.weights, ld, layer.bias, layer.x, layer.z, layer.z, *ends)
    time_kernel(timer, dense.product, arguments, shape, layer.panel_rows, dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_by_the_inputs_of_one_panel(timer, shape):
    timer.benchmark.group = f"dx = W delta of one panel, {shape[0]} to {shape[1]}, {TIMES} times"
    layer = make_layer(shape, "float32")
    ld, ends = int(layer.row[layout.LD]), ((shape[0], shape[1]), True, dense.PLAIN)
    arguments = (layer.weights, ld, layer.zeros, layer.z, layer.x, layer.x, *ends)
    time_kernel(timer, dense.product_back, arguments, shape, layer.panel_rows, "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_by_the_weights_of_a_tile(timer, shape, dtype):
    timer.benchmark.group = f"dW = x delta' of {PANELS} panels, {shape[0]} to {shape[1]}, {TIMES} times"
    layer = make_layer(shape, dtype)
    rows, gradient = layer.panel_rows * PANELS, np.zeros_like(layer.weights)
    width, deltas = int(layer.row[layout.X_WIDTH]), (layer.z, layer.deltas)
    arguments = (layer.row, layer.x, width, *deltas, gradient, (0, shape[0]), rows, True)
    time_kernel(timer, dense.weight_gradient, arguments, shape, rows, dtype)


@pytest.mark.parametrize("solver", ["sgd", "momentum", "adam"])
def test_step_of_one_sample(timer, solver):
    timer.benchmark.group = "one row at a time through 64-100-10"
    problem = Problem("samples", (64, 100, 10), 2000, 1, solver, check_epochs=1)
    timer(problem)


def test_gradient_of_a_full_batch(timer):
    timer.benchmark.group = "one full-batch step through 64-100-10"
    timer(Problem("full", (64, 100, 10), 2000, FULL, check_epochs=1), threads=1)
