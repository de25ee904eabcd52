"""One step of training by several versions of the engine, in turn: the first one's time, and how many times
as long the others take.

    python benchmarks/micro/in_turn.py FOLDER FOLDER... [--work SIZES:ROWS[:ACTIVATION]...]
        [--threads N] [--dtype float64] [--processes N] [--rounds N]

Each folder is a checkout; "64-100-10:200" is a network and a batch, of Adam. The best of all times, and the
median of the ratios within a round: other programs slow down whole minutes, seldom one of two neighbours.
Every version has a process of its own, begun anew a few times, since memory lies elsewhere in each.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

WORKS = ("64-100-10:200", "64-100-10:1797", "32-64-64-1:256", "784-256-128-10:128", "4-32-16-4:10000:tanh")
SECONDS, WARM_UP = 0.06, 4  # of one measurement, and measurements before those that count


def make(work, n_threads, dtype):
    """A function that trains for about SECONDS and returns the seconds of a step."""
    import numpy as np

    from fastnn import Adam, Architecture, Network, Trainer

    sizes, rows, *rest = work.split(":")
    sizes, rows, activation = tuple(map(int, sizes.split("-"))), int(rows), rest[0] if rest else "relu"
    classes = sizes[-1] > 1 and activation == "relu"
    how = {"output_activation": "softmax", "loss": "cross_entropy"} if classes else {}
    network = Network.initialize(Architecture(sizes, activation, **how), seed=0, dtype=dtype)
    random, batches = np.random.RandomState(0), max(1, 1797 // rows)
    X = random.standard_normal((batches * rows, sizes[0])).astype(dtype)
    y = random.randint(0, sizes[-1], len(X)) if classes else random.rand(len(X), sizes[-1]).astype(dtype)
    settings = {"batch_size": rows, "tol": 0, "n_iter_no_change": np.inf, "random_state": 0}
    trainer, epochs = Trainer(network, Adam(1e-4), n_threads=n_threads, **settings), 1

    def measure():
        nonlocal epochs
        start = time.perf_counter()
        trainer.run(X, y, epochs=epochs)
        seconds = time.perf_counter() - start
        step = seconds / (epochs * batches)
        epochs = max(1, int(min(20 * epochs, SECONDS / (step * batches))))
        return step

    return measure


def answer(works, n_threads, dtype):
    """A number comes in, the seconds of a step of that work go out."""
    measures = [make(work, n_threads, dtype) for work in works]
    for measure in measures * WARM_UP:
        measure()
    print("ready", flush=True)
    for line in sys.stdin:
        print(measures[int(line)](), flush=True)


class Version:
    """A process with the package of one checkout."""

    def __init__(self, folder, options):
        command = [sys.executable, __file__, "--answer", "--dtype", options.dtype, "--work", *options.work]
        command += ["--threads", str(options.threads)] if options.threads else []
        environment = os.environ | {"PYTHONPATH": str(Path(folder).resolve())}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, **pipes)
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a version ended before its time; its error is above")
        return line

    def measure(self, index):
        print(index, file=self.process.stdin, flush=True)
        return float(self.read())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def compare(options):
    best = {work: [float("inf")] * len(options.folders) for work in options.work}
    ratios = {work: [[] for _ in options.folders] for work in options.work}
    for _ in range(options.processes):
        versions = [Version(folder, options) for folder in options.folders]
        order = list(range(len(versions)))
        for _ in range(options.rounds):
            for index, work in enumerate(options.work):
                times = {which: versions[which].measure(index) for which in order}
                for which, seconds in times.items():
                    best[work][which] = min(best[work][which], seconds)
                    ratios[work][which].append(seconds / times[0])
            order.reverse()
        for version in versions:
            version.end()
    print(f"{'':24s}{'us':>10s}  of the first one's time: best, median")
    for work in options.work:
        others = [
            f"{seconds / best[work][0]:.3f} {statistics.median(shares):.3f}"
            for seconds, shares in zip(best[work][1:], ratios[work][1:], strict=True)
        ]
        print(f"{work:24s}{best[work][0] * 1e6:10.2f}  {'   '.join(others)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--work", nargs="+", default=WORKS, metavar="SIZES:ROWS")
    parser.add_argument("--threads", type=int, metavar="N", help="of each version (as many as it takes)")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--processes", type=int, default=3, metavar="N", help="of each version (3)")
    parser.add_argument("--rounds", type=int, default=12, metavar="N", help="in each process (12)")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        answer(options.work, options.threads, options.dtype)
    elif len(options.folders) < 2:
        parser.error("name the folders of two versions at least")
    elif wrong := [name for name in options.folders if not (Path(name) / "fastnn" / "__init__.py").is_file()]:
        parser.error(f"{wrong[0]} is no checkout: it has no fastnn/__init__.py")
    else:
        compare(options)
