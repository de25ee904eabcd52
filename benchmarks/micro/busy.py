"""A fit of a few milliseconds beside a busy core: milliseconds with one thread and with two.

OpenBLAS's threads look for work for some 0.1 s after a product, and don't let others have their core. Another
program may never do.

python benchmarks/micro/busy.py
"""

import contextlib
import subprocess
import sys
import time

import numpy as np
from sklearn.datasets import load_digits

from fastnn.architecture import Architecture
from fastnn.network import Network
from fastnn.optimizers import Adam
from fastnn.training import Trainer

EPOCHS = 20
QUIET_SECONDS, REPEATS = 0.3, 9


def fit(X, y, n_threads):
    """Milliseconds of one fit, with threads of its own."""
    architecture = Architecture((64, 100, 10), output_activation="softmax", loss="cross_entropy")
    network = Network.initialize(architecture)
    trainer = Trainer(network, Adam(), random_state=0, n_threads=n_threads)
    start = time.perf_counter()
    trainer.run(X, y, epochs=EPOCHS)
    return 1e3 * (time.perf_counter() - start)


# A program that never sleeps, and one that works for 3 ms of every 50.
BUSY = "while True: pass"
LIGHT = """
import time
while True:
    end = time.perf_counter() + 0.003
    while time.perf_counter() < end:
        pass
    time.sleep(0.047)
"""


@contextlib.contextmanager
def other_program(text):
    """A process that runs this program meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", text])
    try:
        time.sleep(QUIET_SECONDS)
        yield
    finally:
        process.kill()
        process.wait()


def print_medians(label, rows):
    one, two = np.median(rows, axis=0)
    print(f"{label:33s} {one:10.1f} {two:13.1f}", flush=True)


if __name__ == "__main__":
    X, y = load_digits(return_X_y=True)
    X /= 16
    factor = np.ones((300, 300))
    print("before the fit                    one thread   two threads")
    for label, seconds, product in (
        ("nothing", QUIET_SECONDS, False),
        ("20 ms of Python", 0.02, False),
        ("a product of OpenBLAS", QUIET_SECONDS, True),
    ):
        times = []
        for _ in range(REPEATS):
            row = []
            for n_threads in (1, 2):
                time.sleep(QUIET_SECONDS)
                end = time.perf_counter() + seconds
                while time.perf_counter() < end:
                    pass
                if product:
                    factor @ factor
                row.append(fit(X, y, n_threads))
            times.append(row)
        print_medians(label, times)
    for label, text in (("beside a busy program", BUSY), ("beside one that is 6 % busy", LIGHT)):
        with other_program(text):
            # One after the other, with one thread and then with two: later fits know from earlier ones.
            columns = [[fit(X, y, n_threads) for _ in range(5 * REPEATS)] for n_threads in (1, 2)]
        print_medians(label, np.transpose(columns))
