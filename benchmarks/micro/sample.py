"""One sample at a time, digits through 64-100-10: microseconds a sample, and for the parts of plain SGD.

python benchmarks/micro/sample.py
"""

import time

import numba
import numpy as np
from sklearn.datasets import load_digits

from fastnn.architecture import Architecture
from fastnn.engine import make_model, make_work
from fastnn.kernels import layout, sample
from fastnn.network import Network
from fastnn.optimizers import SGD, Adam
from fastnn.training import Trainer

DTYPE = np.float32


@numba.njit(nogil=True)
def parts(X, y, model, work, weight, until):
    """All samples, up to and with part number `until`."""
    one = weight[0]
    for row in range(len(X)):
        inputs, tile = work.inputs, work.tiles[0]
        inputs.counts[0] = sample.find_active(X[row], inputs.active[0], inputs.values[0], True)
        if until >= 1:
            sample.forward_sample(model, tile, inputs, one)
        if until >= 2:
            sample.output_sample(model, tile, y[row], weight)
        if until >= 3:
            sample.descend(model, tile, inputs, one * 0, (one, one))


def fastest(function, turns=400):
    function()
    best = np.inf
    for _ in range(turns):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


if __name__ == "__main__":
    digits = load_digits()
    X = np.ascontiguousarray(digits.data / 16, DTYPE)
    y = digits.target
    architecture = Architecture((64, 100, 10), output_activation="softmax", loss="cross_entropy")
    network = Network.initialize(architecture, seed=0)
    plan = layout.make_layout(architecture.layer_sizes, np.dtype(DTYPE), 1)
    model = make_model(plan, architecture.codes, network.parameters)
    work, targets = make_work(plan, 10, DTYPE, 1, 1), y.reshape(-1, 1).astype(DTYPE)
    for until, name in enumerate(("inputs that are not 0", "+ forward", "+ loss", "+ backward and update")):
        seconds = fastest(lambda: parts(X[:400], targets, model, work, np.ones(1, DTYPE), until))  # noqa: B023
        print(f"{name:26s} {seconds / 400 * 1e6:7.3f} us")
    for name, optimizer, alpha in (
        ("SGD", SGD(0.01), 0.0),
        ("SGD with L2", SGD(0.01), 1e-4),
        ("momentum", SGD(0.01, momentum=0.9), 1e-4),
        ("Adam", Adam(), 1e-4),
    ):
        trainer = Trainer(
            network.copy(),
            optimizer,
            alpha=alpha,
            batch_size=1,
            random_state=0,
            tol=0,
            n_iter_no_change=np.inf,
        )
        seconds = fastest(lambda: trainer.run(X, y, epochs=1), turns=50)  # noqa: B023
        print(f"{name:26s} {seconds / len(X) * 1e6:7.3f} us")
