"""Seconds and memory of a first fit ever: a new process, an empty folder for compiled code.

    python benchmarks/micro/first_fit.py [TURNS]

By one process (NUMBA_NUM_THREADS=1) and with another one's help, in turn; medians of 3 turns. Imports are not
counted; the prediction follows the fit, or is all that the process does.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

CASES = ("fit", "fit by samples", "prediction alone")


def work(case):
    """Print the seconds to fit (or 0) and to predict, and the MB of this process and the other one."""
    import numpy as np

    from fastnn import Architecture, MLPClassifier, Network

    X, y = np.random.RandomState(0).rand(200, 10), np.arange(200) % 2
    model = Network.initialize(Architecture((10, 100, 1)), seed=0)
    predict, start = model.forward, time.perf_counter()
    if case != "prediction alone":
        batch_size = 1 if case == "fit by samples" else 200
        predict = MLPClassifier(batch_size=batch_size, max_iter=1, random_state=0).fit(X, y).predict
    fitted = time.perf_counter()
    predict(X)
    predicted = time.perf_counter()
    memory = [
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    print(fitted - start, predicted - fitted, *memory)


def measure(case, settings):
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | settings | {"FASTNN_CACHE_DIR": folder, "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, __file__, case]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [float(number) for number in done.stdout.split()]


def compare(turns):
    print(f"{'':18s}{'processes':>10s}{'fit':>8s}{'predict':>9s}{'MB':>6s}{'and':>5s}")
    for case in CASES:
        found = {1: [], 2: []}
        for _ in range(turns):
            found[1].append(measure(case, {"NUMBA_NUM_THREADS": "1"}))
            found[2].append(measure(case, {}))
        for processes, rows in found.items():
            fit, predict, here, helper = map(statistics.median, zip(*rows, strict=True))
            print(f"{case:18s}{processes:10d}{fit:8.1f}{predict:9.1f}{here:6.0f}{helper:5.0f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in CASES:
        work(sys.argv[1])
    else:
        compare(int(sys.argv[1]) if sys.argv[1:] else 3)
