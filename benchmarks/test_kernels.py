"""Each kernel alone, called as the engine calls it: by compiled code, often enough for the clock."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from benchmarks.ceiling import aligned
from benchmarks.work import UPDATE_FLOPS, UPDATE_NUMBERS, Cost, backward_flops, forward_flops
from fastnn.kernels import activations, codes, optimizers
from fastnn.network import Network

COUNT = 4096  # numbers: with its moments it stays in the L1 or L2 cache
TIMES = 200  # repetitions inside one timed call, which itself costs about a microsecond


def often(kernel: Any, n_arguments: int) -> Any:
    """A compiled function that calls a kernel TIMES times."""
    names = ", ".join(f"a{i}" for i in range(n_arguments))
    scope: dict[str, Any] = {"kernel": kernel}
    exec(f"def repeat({names}):\n    for _ in range({TIMES}):\n        kernel({names})", scope)
    return numba.njit(nogil=True)(scope["repeat"])


def values(seed: int) -> Any:
    array = aligned(COUNT)
    array[:] = np.random.default_rng(seed).normal(size=COUNT)
    return array


@pytest.mark.parametrize("name", ["relu", "logistic", "tanh", "exp"])
def test_activation(timer, name):
    timer.benchmark.group = f"activations of {COUNT} float32, {TIMES} times"
    timed, x = often(activations.activate, 2), values(0)
    arguments = (codes.ACTIVATIONS[name], x)
    timed(*arguments)
    x[:] = values(0)
    cost = Cost(0, 8.0 * COUNT * TIMES, 8.0 * COUNT)
    timer.piece(timed, arguments, cost, rows=COUNT * TIMES, dtype="float32")


def test_softmax_panel(timer):
    timer.benchmark.group = f"softmax of 16 rows of 10 classes, {TIMES} times"
    timed, z = often(activations.softmax_panel, 3), values(0)[:160].copy()
    timed(z, 10, 16)
    cost = Cost(0, 8.0 * 160 * TIMES, 8.0 * 160)
    timer.piece(timed, (z, 10, 16), cost, rows=16 * TIMES, dtype="float32")


@pytest.mark.parametrize("solver", ["sgd", "momentum", "nesterov", "adam"])
def test_update(timer, solver):
    timer.benchmark.group = f"update of {COUNT} parameters, {TIMES} times"
    hyper = np.zeros(optimizers.N_HYPER, dtype=np.float32)
    hyper[optimizers.RATE] = 1e-6
    hyper[optimizers.EPSILON], hyper[optimizers.BETA_1] = 1e-8, 0.9
    moments = {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2}[solver]
    arrays = [values(0), values(1), *(aligned(COUNT) for _ in range(moments))]
    timed, arguments = often(getattr(optimizers, solver), 3 + moments), (*arrays, hyper)
    timed(*arguments)
    flops, numbers = UPDATE_FLOPS[solver] * COUNT, UPDATE_NUMBERS[solver] * COUNT
    cost = Cost(flops, 4.0 * numbers, 4.0 * numbers) * TIMES
    timer.piece(timed, arguments, cost, rows=COUNT * TIMES, dtype="float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(64, 100), (784, 256), (1024, 1024)], ids=lambda s: f"{s[0]} to {s[1]}")
def test_dense_forward(timer, shape, dtype):
    timer.benchmark.group = f"one dense layer forwards, {shape[0]} to {shape[1]}, 256 rows"
    network, X = one_layer(shape, dtype)
    network.forward(X, n_threads=1)
    size = np.dtype(dtype).itemsize
    cost = Cost(256 * forward_flops(shape), size * (shape[0] * shape[1] + 256.0 * sum(shape)), size * X.size)
    timer.piece(lambda: network.forward(X, n_threads=1), (), cost, rows=256, dtype=dtype)


@pytest.mark.parametrize("shape", [(64, 100), (784, 256), (1024, 1024)], ids=lambda s: f"{s[0]} to {s[1]}")
def test_dense_gradients(timer, shape):
    timer.benchmark.group = f"gradients through {shape[0]} to {shape[1]} to {shape[0]}, 256 rows"
    from fastnn.network import Gradient

    sizes = (*shape, shape[0])
    network, X = one_layer(sizes, "float32")
    gradient = Gradient(network, X, np.zeros_like(X), np.empty(0, np.float32), n_threads=1)
    gradient()
    flops = 256 * (forward_flops(sizes) + backward_flops(sizes))
    cost = Cost(flops, 4.0 * 5 * network.parameters.size, 4.0 * X.size)
    timer.piece(gradient, (), cost, rows=256, dtype="float32")


def one_layer(sizes: tuple[int, ...], dtype: str) -> tuple[Network, Any]:
    from fastnn import Architecture

    X = np.random.default_rng(0).normal(size=(256, sizes[0])).astype(dtype)
    return Network.initialize(Architecture(sizes), seed=0, dtype=np.dtype(dtype)), X
