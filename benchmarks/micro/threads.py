"""From how much work on a second thread pays: microseconds a step with one and with two, interleaved.

python benchmarks/micro/threads.py
"""

import itertools
import time

import numpy as np

from fastnn.architecture import Architecture
from fastnn.network import Network
from fastnn.optimizers import Adam
from fastnn.training import Trainer

SHAPES = (
    ((64, 100, 10), (8, 32, 64, 128, 200, 400, 1797)),
    ((32, 64, 64, 1), (32, 128, 256, 1024)),
    ((4, 32, 16, 4), (64, 256, 1024, 10_000)),
    ((30, 50, 2), (64,)),
    ((784, 100, 10), (64,)),
    ((784, 256, 128, 10), (16, 32, 64, 128, 512)),
    ((32, *[32] * 20, 1), (16, 64, 256)),
    ((1024, 1024, 1024, 10), (128, 1024)),
)


def make_runs(sizes, batch, n_threads):
    """A function that runs some epochs of a few batches and returns the seconds of one step."""
    random, n = np.random.RandomState(0), batch * max(1, min(20, 4000 // batch))
    X, y = random.rand(n, sizes[0]).astype(np.float32), random.rand(n, sizes[-1])
    trainer = Trainer(
        Network.initialize(Architecture(sizes), seed=0),
        Adam(),
        batch_size=batch,
        random_state=0,
        tol=0,
        n_iter_no_change=np.inf,
        n_threads=n_threads,
    )
    trainer.run(X, y, epochs=2)
    start = time.perf_counter()
    trainer.run(X, y, epochs=2)
    epochs = max(2, int(2e-2 / ((time.perf_counter() - start) / 2)))

    def run():
        start = time.perf_counter()
        trainer.run(X, y, epochs=epochs)
        return (time.perf_counter() - start) / epochs / (n // batch)

    return run


if __name__ == "__main__":
    print("network                rows   work, MFLOP   one thread, us   two, us   gain")
    for sizes, batches in SHAPES:
        for batch in batches:
            runs = [make_runs(sizes, batch, n_threads) for n_threads in (1, 2)]
            times = np.array([[run() for run in runs] for _ in range(7)])
            one, two = np.median(times, axis=0)
            work = 6e-6 * batch * sum(a * b for a, b in itertools.pairwise(sizes))
            name = "-".join(map(str, sizes)) if len(sizes) < 9 else f"{len(sizes) - 2} layers of {sizes[1]}"
            gain = np.median(times[:, 0] / times[:, 1])
            print(
                f"{name:20s} {batch:6d} {work:12.2f} {one * 1e6:14.1f} {two * 1e6:11.1f} {gain:7.2f}",
                flush=True,
            )
