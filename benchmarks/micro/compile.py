"""Where the time to compile training goes, in one process: CPU seconds for each kernel, and its number of
versions.

    python benchmarks/micro/compile.py

More than one version of a kernel means that it is called with arguments of several types, such as a read-only
array and a writable one. Each is compiled apart. The last line is what a step of the compiled loop takes.
"""

import collections
import os
import tempfile
import time

from numba.core import event


class Stopwatch(event.Listener):
    """CPU time spent compiling each function, without what it calls."""

    def __init__(self):
        self.seconds, self.versions = collections.Counter(), collections.Counter()
        self.stack, self.since = [], 0.0

    def charge(self):
        now = time.process_time()
        if self.stack:
            self.seconds[self.stack[-1]] += now - self.since
        self.since = now

    def on_start(self, event):
        self.charge()
        self.stack.append(event.data["dispatcher"].__name__)
        self.versions[self.stack[-1]] += 1

    def on_end(self, event):
        self.charge()
        self.stack.pop()


def compile_everything():
    import numpy as np

    from fastnn.architecture import Architecture
    from fastnn.kernels import apart
    from fastnn.network import Network
    from fastnn.optimizers import Adam
    from fastnn.training import Trainer

    apart.count_helpers = lambda: 0
    architecture = Architecture((64, 100, 10), output_activation="softmax", loss="cross_entropy")
    network, X, y = (
        Network.initialize(architecture, seed=0),
        np.ones((2000, 64), np.float32),
        np.arange(2000) % 10,
    )
    trainer = Trainer(
        network, Adam(), batch_size=200, tol=0, n_iter_no_change=10**6, random_state=0, n_threads=1
    )
    trainer.run(X, y, epochs=1)
    network.forward(X)
    return trainer, X, y


def step_seconds(trainer, X, y, epochs=100, repeats=10):
    """CPU seconds of one step: best of some runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        trainer.run(X, y, epochs=epochs)
        times.append(time.process_time() - start)
    return min(times) / epochs / -(-len(X) // trainer.batch_size)


if __name__ == "__main__":
    stopwatch = Stopwatch()
    event.register("numba:compile", stopwatch)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FASTNN_CACHE_DIR"] = folder
        work = compile_everything()
    for name, seconds in stopwatch.seconds.most_common():
        print(f"{seconds:7.2f} s  {stopwatch.versions[name]:2d}  {name}")
    print(f"{stopwatch.seconds.total():7.2f} s  {stopwatch.versions.total():2d}  in all")
    print(f"{1e6 * step_seconds(*work):.1f} us for a step of 200 rows, 64-100-10, Adam")
