"""A fit of a few milliseconds beside a busy core: milliseconds with one thread and with two.

OpenBLAS's threads look for work for some 0.1 s after a product, and don't let others have their core.

python benchmarks/micro/busy.py
"""

import time

import numpy as np
from sklearn.datasets import load_digits

from fastnn.architecture import Architecture
from fastnn.network import Network
from fastnn.optimizers import Adam
from fastnn.training import Trainer

EPOCHS = 20
QUIET_SECONDS = 0.3


def fit(X, y, n_threads):
    """Milliseconds of one fit, with threads of its own."""
    architecture = Architecture((64, 100, 10), output_activation="softmax", loss="cross_entropy")
    network = Network.initialize(architecture)
    trainer = Trainer(network, Adam(), random_state=0, n_threads=n_threads)
    start = time.perf_counter()
    trainer.run(X, y, epochs=EPOCHS)
    return 1e3 * (time.perf_counter() - start)


if __name__ == "__main__":
    X, y = load_digits(return_X_y=True)
    factor = np.ones((300, 300))
    print("before the fit                    one thread   two threads")
    for label, seconds, product in (
        ("nothing", QUIET_SECONDS, False),
        ("20 ms of Python", 0.02, False),
        ("a product of OpenBLAS", QUIET_SECONDS, True),
    ):
        times = []
        for _ in range(9):
            row = []
            for n_threads in (1, 2):
                time.sleep(QUIET_SECONDS)
                end = time.perf_counter() + seconds
                while time.perf_counter() < end:
                    pass
                if product:
                    factor @ factor
                row.append(fit(X / 16, y, n_threads))
            times.append(row)
        one, two = np.median(times, axis=0)
        print(f"{label:33s} {one:10.1f} {two:13.1f}", flush=True)
