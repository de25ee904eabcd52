"""Sparse rows multiplied as they are, or expanded panel by panel: milliseconds an epoch against density.

    python benchmarks/micro/sparse.py

The engine changes over where a place is filled with a probability of sparse.DENSE_ENOUGH; here both sides of
it are timed, beside the same rows as a dense array.
"""

import time

import numpy as np
import scipy.sparse

from fastnn.architecture import Architecture
from fastnn.network import Network
from fastnn.optimizers import Adam
from fastnn.training import Trainer


def seconds(X, y, turns=5):
    architecture = Architecture((X.shape[1], 100, 10), output_activation="softmax", loss="cross_entropy")
    trainer = Trainer(
        Network.initialize(architecture, seed=0),
        Adam(),
        random_state=0,
        tol=0,
        n_iter_no_change=np.inf,
        n_threads=1,
    )
    trainer.run(X, y, epochs=1)
    times = []
    for _ in range(turns):
        start = time.perf_counter()
        trainer.run(X, y, epochs=1)
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    y = np.random.RandomState(0).randint(0, 10, 4000)
    print("density   sparse     dense   sparse / dense")
    for density in (0.01, 0.03, 0.06, 0.09, 0.11, 0.2, 0.4):
        X = scipy.sparse.random(4000, 1000, density, format="csr", random_state=0, dtype=np.float32)
        sparse, dense = seconds(X, y), seconds(X.toarray(), y)
        print(f"{density:7.2f} {sparse * 1e3:8.1f} {dense * 1e3:9.1f} {sparse / dense:12.2f}", flush=True)
