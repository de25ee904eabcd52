"""The phases of one training step, one by one: microseconds and GFLOP/s, on one thread.

    python benchmarks/micro/dense.py [SIZES [ROWS [DTYPE [ACTIVATION]]]]     784,256,128,10 128 float64 tanh

Then 1024 -> 1024 with what layout.py and dense.py chose, and without: rows of W asked for ahead, high blocks,
W in pieces, sums that are cut, rows of W that don't lie a power of two apart. The fastest of many short
windows, so that other programs count little.
"""

import itertools
import sys
import time

import numba
import numpy as np

from fastnn.architecture import Architecture
from fastnn.engine import aligned_zeros, make_model, make_table, make_work
from fastnn.kernels import backprop, dense, gradients, layout, optimizers
from fastnn.kernels.simd import lanes, panel_rows
from fastnn.network import Network

WINDOW = 2e-3  # seconds
DTYPE = np.dtype(sys.argv[3] if sys.argv[3:] else np.float32)


@numba.njit(nogil=True)
def load(times, model, data, scratch, panels, n_rows):
    rows = panel_rows(scratch.tile)
    for _ in range(times):
        for panel in range(panels):
            backprop.choose_rows(data.order, scratch, panel * rows, n_rows)
            backprop.load_panel(model, data.table, scratch, panel, min(rows, n_rows - panel * rows))


@numba.njit(nogil=True)
def forward(times, model, data, scratch, panels, n_rows):
    for _ in range(times):
        backprop.forward(model, scratch, (0, panels), n_rows, True, 0)


@numba.njit(nogil=True)
def loss(times, model, data, scratch, panels, n_rows):
    for _ in range(times):
        for panel in range(panels):
            backprop.output_loss(model, data, scratch, 0, panel, n_rows, 1.0)


@numba.njit(nogil=True)
def backward(times, model, data, scratch, panels, n_rows):
    for _ in range(times):
        backprop.backward(model, scratch, (0, panels), n_rows, False)


@numba.njit(nogil=True)
def transpose(times, delta, deltas):
    for _ in range(times):
        dense.transpose_panel(delta, deltas, 0, panel_rows(delta))


@numba.njit(nogil=True)
def weight_gradients(times, model, data, scratch, panels, n_rows, gradient, chunks):
    for _ in range(times):
        for index in range(len(chunks)):
            gradients.chunk_gradient(model, chunks[index], scratch, gradient, 0, n_rows, True)
            gradients.chunk_bias_gradient(model, chunks[index], scratch, gradient, 0, n_rows, True)


@numba.njit(nogil=True)
def adam(times, params, gradient, first, second, hyper):
    for _ in range(times):
        optimizers.adam(params, gradient, first, second, hyper)


@numba.njit(nogil=True)
def multiply(times, weights, ld, bias, x, z, sizes, cut, piece, high_blocks, asks):
    """z = W' x + b for panels x of 128 rows, W in pieces as in backprop.py, or sums that are not cut."""
    inputs, outputs, panels = sizes
    rows = panel_rows(x)
    length = dense.part_length(inputs, lanes(x)) if cut else inputs
    for _ in range(times):
        for start in range(0, inputs, length):
            stop = min(inputs, start + length)
            for o in range(0, outputs, piece):
                count = min(piece, outputs - o)
                terms = stop - start if high_blocks else 0
                high = dense.rows_in_high_blocks(count, terms)
                for panel in range(panels):
                    part = x[(panel * inputs + start) * rows : (panel + 1) * inputs * rows]
                    out = z[(panel * outputs + o) * rows : (panel + 1) * outputs * rows]
                    w, b, rest = weights[start * ld + o :], bias[o:], count - high
                    n, fresh, end = stop - start, start == 0, dense.PLAIN
                    if asks:
                        dense.far_product(w, ld, b, part, out, out, (high, n), fresh, end)
                    else:
                        dense.long_product(w, ld, b, part, out, out, (high, n), fresh, end)
                    w, b, out = w[high:], b[high:], out[high * rows :]
                    dense.product(w, ld, b, part, out, out, (rest, n), fresh, end)


def fastest(function, *args):
    """Seconds of one turn: the best of 200 windows."""
    function(1, *args)
    times, best = 1, np.inf
    for _ in range(200):
        start = time.perf_counter()
        function(times, *args)
        taken = time.perf_counter() - start
        best = min(best, taken / times)
        times = max(1, int(WINDOW / best))
    return best


def report(name, seconds, flops=0.0):
    rate = f"{flops / seconds / 1e9:8.1f} GFLOP/s" if flops else ""
    print(f"{name:34s} {seconds * 1e6:10.2f} us {rate}", flush=True)


def phases(sizes, n_rows, activation):
    output = "softmax" if sizes[-1] > 1 else "logistic"
    architecture = Architecture(sizes, activation, output_activation=output, loss="cross_entropy")
    network, random = Network.initialize(architecture, seed=0, dtype=DTYPE), np.random.RandomState(0)
    plan = layout.make_layout(sizes, DTYPE, n_rows)
    n_rows = min(n_rows, plan.tile_panels * plan.panel_rows)
    panels = -(-n_rows // plan.panel_rows)
    model = make_model(plan, architecture.codes, network.parameters)
    scratch = backprop.scratch_of(make_work(plan, sizes[-1], DTYPE, 1, 1), 0, 0)
    X, y = random.rand(2 * n_rows, sizes[0]).astype(DTYPE), random.randint(0, sizes[-1], (2 * n_rows, 1))
    order = random.permutation(2 * n_rows)
    data = backprop.Data(make_table(X), y.astype(DTYPE), np.empty(0, DTYPE), order)
    vectors = [aligned_zeros((plan.n_parameters,), DTYPE) for _ in range(4)]
    hyper = np.full(optimizers.N_HYPER, 1e-3, DTYPE)
    products = 2.0 * n_rows * sum(a * b for a, b in itertools.pairwise(sizes))
    print(f"{'-'.join(map(str, sizes))}, tile of {n_rows} rows")
    common = (model, data, scratch, panels, n_rows)
    report("rows into panels", fastest(load, *common))
    report("forward", fastest(forward, *common), products)
    report("loss", fastest(loss, *common))
    report(
        "backward, without weights", fastest(backward, *common), products - 2.0 * n_rows * sizes[0] * sizes[1]
    )
    first = plan.layers[0]
    panel = [aligned_zeros((first[layout.LD] * plan.panel_rows,), DTYPE) for _ in range(2)]
    report("- one panel of it, transposed", fastest(transpose, *panel))
    report("weight gradients", fastest(weight_gradients, *common, vectors[0], plan.chunks), products)
    report("Adam", fastest(adam, vectors[1], vectors[0], vectors[2], vectors[3], hyper))


def choices():
    """What the padding of rows and the cut of sums are worth."""
    inputs = outputs = 1024
    panels = 128 // (2 * layout.vector_lanes(DTYPE))
    rows = 128 // panels
    x, z = (aligned_zeros((panels * inputs * rows,), DTYPE) for _ in range(2))
    x += np.random.RandomState(0).rand(x.size).astype(DTYPE)
    padded = layout.row_length(outputs, layout.vector_lanes(DTYPE))
    length, piece = dense.part_length(inputs, layout.vector_lanes(DTYPE)), dense.OUTPUT_PIECE
    for text, ld, *how in (
        (f"ld = {padded}, pieces of {length} x {piece}", padded, True, piece, True, True),
        ("the same, nothing asked for ahead", padded, True, piece, True, False),
        ("the same, blocks of 4 x 2", padded, True, piece, False, False),
        (f"the same, pieces of {length} x {outputs}", padded, True, outputs, False, False),
        ("the same, whole sums", padded, False, outputs, False, False),
        (f"ld = {outputs}, pieces of {length} x {outputs}", outputs, True, outputs, False, False),
    ):
        weights, bias = aligned_zeros((inputs * ld,), DTYPE), aligned_zeros((ld,), DTYPE)
        seconds = fastest(multiply, weights, ld, bias, x, z, (inputs, outputs, panels), *how)
        report(f"1024 -> 1024, {text}", seconds, 2.0 * 128 * inputs * outputs)


def peak():
    left = np.random.RandomState(0).rand(1024, 1024).astype(DTYPE)
    out = np.empty_like(left)
    seconds = fastest(lambda times: [np.dot(left, left, out=out) for _ in range(times)])
    report("gemm of 1024, NumPy's BLAS", seconds, 2.0 * 1024**3)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    phases(
        tuple(map(int, arguments[0].split(","))) if arguments else (64, 100, 10),
        int(arguments[1]) if arguments[1:] else 200,
        arguments[3] if arguments[3:] else "relu",
    )
    choices()
    peak()
