"""Sparse rows multiplied as they are, or expanded panel by panel, with or without their zeros: milliseconds
an epoch against density.

    python benchmarks/micro/sparse.py

The engine changes over where a place is filled with a probability of sparse.DENSE_ENOUGH; here both sides of
it are timed, beside the same rows as a dense array. Before that, memory and time for a table that would
fill 4 GB if it were dense.
"""

import time

import numpy as np
import scipy.sparse

from benchmarks.machine import forget_peak, peak_memory
from fastnn import engine
from fastnn.architecture import Architecture
from fastnn.network import Network
from fastnn.optimizers import Adam
from fastnn.training import Trainer


def seconds(X, y, turns=5, **options):
    architecture = Architecture((X.shape[1], 100, 10), output_activation="softmax", loss="cross_entropy")
    trainer = Trainer(
        Network.initialize(architecture, seed=0),
        Adam(),
        random_state=0,
        tol=0,
        n_iter_no_change=np.inf,
        **({"n_threads": 1} | options),
    )
    trainer.run(X, y, epochs=1)
    times = []
    for _ in range(turns):
        start = time.perf_counter()
        trainer.run(X, y, epochs=1)
        times.append(time.perf_counter() - start)
    return min(times)


def seconds_with_zeros(X, y):
    """As `seconds`, but no zero is skipped of what is expanded."""
    mostly_zeros, engine.mostly_zeros = engine.mostly_zeros, lambda X: False
    try:
        return seconds(X, y)
    finally:
        engine.mostly_zeros = mostly_zeros


def large(rows=200_000, inputs=5000, entries=25):
    """Megabytes of a CSR matrix, of the peak of training beyond it, and seconds an epoch."""
    random = np.random.default_rng(0)
    columns = random.integers(0, inputs, rows * entries, dtype=np.int32)
    starts = np.arange(0, columns.size + 1, entries, dtype=np.int32)
    X = scipy.sparse.csr_matrix((random.random(columns.size, np.float32), columns, starts), (rows, inputs))
    X.sum_duplicates()
    y = random.integers(0, 10, rows)
    seconds(X[:1000], y[:1000])  # loads the machine code
    forget_peak()
    before, seconds_an_epoch = peak_memory(), seconds(X, y, turns=1, batch_size=200, n_threads=None)
    size = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    return size / 1e6, (peak_memory() - before) / 1e6, seconds_an_epoch


if __name__ == "__main__":
    table, beyond, epoch = large()
    print(f"{table:.0f} MB of entries, {beyond:.0f} MB beyond them at the peak, {epoch:.2f} s an epoch")
    y = np.random.RandomState(0).randint(0, 10, 4000)
    print("density   sparse  with 0     dense   sparse / dense")
    for density in (0.01, 0.03, 0.06, 0.09, 0.11, 0.15, 0.2, 0.4):
        X = scipy.sparse.random(4000, 1000, density, format="csr", random_state=0, dtype=np.float32)
        sparse, unskipped, dense = seconds(X, y), seconds_with_zeros(X, y), seconds(X.toarray(), y)
        line = f"{density:7.2f} {sparse * 1e3:8.1f} {unskipped * 1e3:7.1f} {dense * 1e3:9.1f}"
        print(f"{line} {sparse / dense:12.2f}", flush=True)
