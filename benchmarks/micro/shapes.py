"""Odd shapes beside their round neighbours: GFLOP/s of a training step, plain SGD, one thread.

    python benchmarks/micro/shapes.py

Batches of few rows and layers of few units fill no vectors. The last column compares with the best of the
value before, itself and the one after.
"""

import itertools
import time

import numpy as np

from fastnn.architecture import Architecture
from fastnn.network import Network
from fastnn.optimizers import SGD
from fastnn.training import Trainer

ROWS = (*range(1, 18), 23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65, 100, 127, 128, 129, 257)
WIDTHS = (1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257)
DTYPES = (np.float32, np.float64)


def operations(sizes, rows):
    """Multiplications and additions of one step: forward, weight gradients, and delta where it is needed."""
    products = [a * b for a, b in itertools.pairwise(sizes)]
    return 2 * rows * (3 * sum(products) - products[0])


def make_run(sizes, rows, dtype):
    """A function that takes some epochs and returns the seconds of one step."""
    random, n = np.random.RandomState(0), rows * max(1, 512 // rows)
    X, y = random.rand(n, sizes[0]).astype(dtype), random.rand(n, sizes[-1]).astype(dtype)
    network = Network.initialize(Architecture(sizes), seed=0, dtype=dtype)
    trainer = Trainer(
        network, SGD(1e-6), batch_size=rows, random_state=0, tol=0, n_iter_no_change=np.inf, n_threads=1
    )
    trainer.run(X, y, epochs=1)
    start = time.perf_counter()
    trainer.run(X, y, epochs=2)
    epochs = max(2, int(1e-2 / (time.perf_counter() - start)))

    def run():
        start = time.perf_counter()
        trainer.run(X, y, epochs=epochs)
        return (time.perf_counter() - start) / epochs / (n // rows)

    return run


def speeds(shapes, dtype):
    """GFLOP/s of each (sizes, rows), all measured in turn."""
    runs = [make_run(*shape, dtype) for shape in shapes]
    seconds = np.min([[run() for run in runs] for _ in range(7)], axis=0)
    return [operations(*shape) / second / 1e9 for shape, second in zip(shapes, seconds, strict=True)]


def show(title, values, shapes, dtype):
    """One line a value, compared with the best of itself and its neighbours."""
    found = speeds(shapes, dtype)
    print(f"\n{title}, {np.dtype(dtype).name}")
    for at, value in enumerate(values):
        neighbour = max(found[max(0, at - 1) : at + 2])
        print(f"{value:6d} {found[at]:8.1f} GFLOP/s {found[at] / neighbour:6.2f} of its best neighbour")


if __name__ == "__main__":
    for dtype in DTYPES:
        show("rows of a batch, 128-128-128-128", ROWS, [((128,) * 4, rows) for rows in ROWS], dtype)
        show("outputs, 128-128-K, 128 rows", WIDTHS, [((128, 128, width), 128) for width in WIDTHS], dtype)
        show("inputs, I-128-128, 128 rows", WIDTHS, [((width, 128, 128), 128) for width in WIDTHS], dtype)
        show("hidden units, 128-H-H-128, 128 rows", WIDTHS, [((128, w, w, 128), 128) for w in WIDTHS], dtype)
