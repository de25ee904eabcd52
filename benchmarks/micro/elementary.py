"""Nanoseconds a number of exp, log, tanh, logistic beside the C library and NumPy; nanoseconds of a panel.

python benchmarks/micro/elementary.py
"""

import math
import time

import numpy as np
from scipy.special import expit

from fastnn.kernels import elementary, lookup
from fastnn.kernels.activations import activate, softmax_panel
from fastnn.kernels.codes import ACTIVATIONS, LOSSES, RELU
from fastnn.kernels.jit import kernel
from fastnn.kernels.losses import loss_and_delta
from fastnn.kernels.simd import VECTOR_BITS

NUMBERS, ROUNDS, CALLS = 4096, 50, 40


@kernel
def logistic_of_libm(x):
    real = type(x)
    return real(1) / (real(1) + math.exp(-x))


FUNCTIONS = {
    "exp": (elementary.exp, math.exp, np.exp),
    "log": (elementary.log, math.log, np.log),
    "tanh": (elementary.tanh, math.tanh, np.tanh),
    "logistic": (elementary.logistic, logistic_of_libm, expit),
}


PAIRS = [
    ("squared_error", "identity"),
    ("cross_entropy", "softmax"),
    ("cross_entropy", "logistic"),
    ("poisson", "exp"),
]


def best_time(call, *arguments, **options):
    """Shortest of some calls, in nanoseconds, after one that compiles."""
    call(*arguments, **options)
    times = []
    for _ in range(CALLS):
        start = time.perf_counter_ns()
        call(*arguments, **options)
        times.append(time.perf_counter_ns() - start)
    return min(times)


def rounds_over(function):
    """Kernel that applies a scalar function to an array, `rounds` times."""

    @kernel
    def loop(x, out, rounds):
        for _ in range(rounds):
            for i in range(x.shape[0]):
                out[i] = function(x[i])

    return loop


@kernel
def softmax_by_loops(z, n_outputs, width):
    """The formula of `softmax_panel` without explicit vectors."""
    for r in range(width):
        highest = z[r]
        for o in range(1, n_outputs):
            highest = max(highest, z[o * width + r])
        for o in range(n_outputs):
            z[o * width + r] -= highest
    for i in range(n_outputs * width):
        z[i] = elementary.exp(z[i])
    for r in range(width):
        total = z[r]
        for o in range(1, n_outputs):
            total += z[o * width + r]
        for o in range(n_outputs):
            z[o * width + r] /= total


@kernel
def relu(z, n_outputs, width):
    activate(RELU, z)


@kernel
def relu_by_comparison(z, n_outputs, width):
    real = z.dtype.type
    for i in range(z.shape[0]):
        z[i] = real(0) if z[i] <= real(0) else z[i]


def array_and_numbers(function_of_array, function):
    """Two kernels of a panel: the function of an array, and that of a number for each."""

    @kernel
    def of_array(z, n_outputs, width):
        function_of_array(z)

    @kernel
    def of_numbers(z, n_outputs, width):
        for i in range(z.shape[0]):
            z[i] = function(z[i])

    return of_array, of_numbers


def panels_of(function):
    """Kernel that applies a function to a copy of a panel, `rounds` times."""

    @kernel
    def loop(source, z, n_outputs, width, rounds):
        for _ in range(rounds):
            for i in range(z.shape[0]):
                z[i] = source[i]
            function(z, n_outputs, width)

    return loop


@kernel
def repeat_loss(loss, output_activation, a, targets, weights, delta, n_outputs, rounds):
    total = 0.0
    for _ in range(rounds):
        width = weights.shape[0]
        total += loss_and_delta(loss, output_activation, a, targets, weights, delta, n_outputs, width)
    return total


def compare_functions(dtype):
    x = np.random.default_rng(0).uniform(0.01, 4, NUMBERS).astype(dtype)
    out = np.empty_like(x)
    for name, (ours, libm, numpy_function) in FUNCTIONS.items():
        times = [best_time(rounds_over(function), x, out, ROUNDS) / ROUNDS for function in (ours, libm)]
        times.append(best_time(numpy_function, x, out=out))
        columns = "".join(f"{value / NUMBERS:10.2f}" for value in times)
        print(f"{name:10s}{np.dtype(dtype).name:10s}{columns}")


def compare_panels(dtype, rows, n_outputs=10):
    rng = np.random.default_rng(1)
    z, weights = rng.normal(size=n_outputs * rows).astype(dtype), np.ones(rows, dtype)
    out = np.empty_like(z)
    functions = {f.__name__: f for f in (softmax_panel, softmax_by_loops, relu, relu_by_comparison)}
    for name in ("exp", "logistic", "tanh"):
        array, numbers = array_and_numbers(getattr(lookup, name), getattr(elementary, name))
        functions |= {f"{name} of an array": array, f"{name}, number by number": numbers}
    for name, function in functions.items():
        value = best_time(panels_of(function), z, out, n_outputs, rows, ROUNDS) / ROUNDS
        print(f"{name:32s}{np.dtype(dtype).name:10s}{value:10.0f}")
    a, targets = np.full_like(z, 0.1), rng.integers(0, 2, n_outputs * rows).astype(dtype)
    for loss, output in PAIRS:
        codes = LOSSES[loss], ACTIVATIONS[output]
        value = best_time(repeat_loss, *codes, a, targets, weights, out, n_outputs, ROUNDS) / ROUNDS
        print(f"{loss + ', ' + output:32s}{np.dtype(dtype).name:10s}{value:10.0f}")


if __name__ == "__main__":
    print(f"{'ns a number':20s}{'fastnn':>10s}{'C library':>10s}{'NumPy':>10s}")
    for dtype in (np.float32, np.float64):
        compare_functions(dtype)
    for dtype in (np.float32, np.float64):
        rows = 2 * VECTOR_BITS // (8 * np.dtype(dtype).itemsize)
        print(f"\nns a panel of 10 outputs and {rows} rows")
        compare_panels(dtype, rows)
