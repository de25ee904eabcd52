"""Activations and their derivatives, in place.  a = f(z); a derivative is expressed through a."""

from fastnn.kernels import elementary, lookup
from fastnn.kernels.arithmetic import block_larger, block_one
from fastnn.kernels.codes import EXP, IDENTITY, LOGISTIC, RELU, TANH
from fastnn.kernels.jit import kernel
from fastnn.kernels.simd import block_load, block_store, lanes

INF = float("inf")


@kernel
def activate(code, values):
    """values = f(values), number by number.  values (n,); softmax has kernels of its own."""
    if code == RELU:
        for i in range(values.shape[0]):
            values[i] = elementary.maximum(values[i], values.dtype.type(0))
    elif code == LOGISTIC:
        lookup.logistic(values)
    elif code == TANH:
        lookup.tanh(values)
    elif code == EXP:
        lookup.exp(values)


@kernel(exact=True)
def multiply_derivative(code, activated, delta):
    """delta *= f'(z): relu [a != 0], logistic a (1 - a), tanh (1 + a) (1 - a), exp a.  Both arrays (n,)."""
    real = delta.dtype.type
    if code == RELU:
        for i in range(delta.shape[0]):
            delta[i] = real(0) if activated[i] == real(0) else delta[i]
    elif code != IDENTITY:
        # (c + a) (1 - s a) is each of the others: one loop to compile. From left to right, so that 0 stays 0.
        c, s = real(code == TANH), real(code != EXP)
        for i in range(delta.shape[0]):
            delta[i] = delta[i] * (c + activated[i]) * (real(1) - s * activated[i])


@kernel
def softmax_row(z, n_outputs):
    """`softmax_panel` for one row with its padding, which becomes 0.  z (ld,).

    Whole vectors, here and in the loss: 1.39 -> 1.22 us a sample for 10 outputs (benchmarks/micro/sample.py).
    """
    real, total, highest = z.dtype.type, z.dtype.type(0), z[0]
    for o in range(1, n_outputs):
        highest = elementary.maximum(highest, z[o])
    for o in range(n_outputs, z.size):
        z[o] = real(-INF)
    for o in range(z.size):
        z[o] -= highest
    lookup.exp(z)
    for o in range(z.size):
        total += z[o]
    share = real(1) / total
    for o in range(z.size):
        z[o] *= share


@kernel
def softmax_panel(z, n_outputs, width):
    """z[o, r] = e^(z[o, r] - max_o z[o, r]) / sum_o of the same.  z (O, width), flat; width in whole vectors.

    Vectors along the rows: 93 ns for 10 outputs and 32 rows of float32, 580 without
    (benchmarks/micro/elementary.py). A nan in a row spoils its sum, if not its maximum.
    """
    size, step = n_outputs * width, lanes(z)
    for r in range(0, width, step):
        highest = block_load(z, 1, 1, r, 0)
        for i in range(r + width, size, width):
            highest = block_larger(block_load(z, 1, 1, i, 0), highest)
        for i in range(r, size, width):
            block_store(block_load(z, 1, 1, i, 0) - highest, z, i, 0)
    lookup.exp(z[:size])
    for r in range(0, width, step):
        total = block_load(z, 1, 1, r, 0)
        for i in range(r + width, size, width):
            total += block_load(z, 1, 1, i, 0)
        share = block_one(total) / total
        for i in range(r, size, width):
            block_store(block_load(z, 1, 1, i, 0) * share, z, i, 0)
