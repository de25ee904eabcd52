"""What is saved, in microseconds, where inputs are 0 in every row of a tile (kernels/idle.py), and where most
numbers are 0 (kernels/zeros.py).

    python benchmarks/micro/idle.py

The same numbers twice, the second time with -0 for 0, which counts as a number: then nothing is left out, and
nothing skipped. Data of which a share of the inputs has numbers, or a share of the numbers; scikit-learn's
digits, also enlarged to 20 x 20 pixels amid 28 x 28, and those with thinner lines, not always in the middle;
categories with a column for each value, of which some are frequent, or all alike.
"""

import time

import numpy as np
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

from benchmarks import problems
from fastnn.architecture import Architecture
from fastnn.network import Network
from fastnn.optimizers import Adam
from fastnn.training import Trainer

ROWS = 1280


def with_busy(share, n_inputs):
    X = np.random.default_rng(0).normal(size=(ROWS, n_inputs))
    X[:, np.random.default_rng(1).permutation(n_inputs)[int(share * n_inputs) :]] = 0
    return X


def pictures():
    images = zoom(load_digits().data[:ROWS].reshape(-1, 8, 8) / 16, (1, 2.5, 2.5), order=1)
    return np.pad(images, ((0, 0), (4, 4), (4, 4))).reshape(ROWS, -1)


def with_numbers(share, n_inputs):
    random = np.random.default_rng(0)
    return np.where(random.random((ROWS, n_inputs)) < share, random.normal(size=(ROWS, n_inputs)), 0)


def equal_categories(n_columns, n_values):
    draws = np.random.default_rng(0).integers(0, n_values, (n_columns, ROWS))
    return np.concatenate([np.eye(n_values)[column] for column in draws], axis=1)


def categories(n_columns, n_values):
    """A column for each value, the first of which are frequent."""
    draws = np.random.default_rng(0).zipf(1.5, size=(ROWS, n_columns)) % n_values
    return np.concatenate([np.eye(n_values)[column] for column in draws.T], axis=1)


def make_run(X, hidden, batch_size):
    """A function that runs some epochs and returns the seconds of a step."""
    architecture = Architecture((X.shape[1], *hidden, 10), output_activation="softmax", loss="cross_entropy")
    network, y = Network.initialize(architecture, seed=0), np.arange(ROWS) % 10
    options = {"random_state": 0, "tol": 0, "n_iter_no_change": np.inf, "n_threads": 1}
    trainer = Trainer(network, Adam(), batch_size=batch_size, **options)
    trainer.run(X, y, epochs=2)

    def run():
        start = time.perf_counter()
        trainer.run(X, y, epochs=4)
        return (time.perf_counter() - start) / 4 / (ROWS // batch_size)

    return run


if __name__ == "__main__":
    thin = problems.load(problems.get("pictures-128"))[0][:ROWS]
    cases = [(f"{share:.0%} of 784 busy", with_busy(share, 784)) for share in (1, 0.9, 0.8, 0.7, 0.5)]
    cases += [(f"{share:.0%} of numbers", with_numbers(share, 784)) for share in (0.3, 0.24, 0.2, 0.1, 0.05)]
    cases += [("digits of 8 x 8", load_digits().data[:ROWS] / 16), ("pictures of 28 x 28", pictures())]
    cases += [("thin, of 28 x 28", thin), ("40 x 20 categories", categories(40, 20))]
    cases += [("20 x 8 alike", equal_categories(20, 8))]
    print("data                 numbers  hidden     rows  without 0, us  all, us  ratio")
    for name, X in cases:
        X, density = X.astype(np.float32), (X != 0).mean()
        for hidden, batch_size in [((100,), 32), ((100,), 200), ((256, 128), 128)]:
            runs = [make_run(data, hidden, batch_size) for data in (X, np.where(X == 0, np.float32(-0.0), X))]
            times = np.array([[run() for run in runs] for _ in range(15)]) * 1e6
            ratio = np.median(times[:, 0] / times[:, 1])
            left_out, everything = np.median(times, axis=0)
            layers = "-".join(map(str, hidden))
            line = f"{name:20s} {density:7.2f}  {layers:8s} {batch_size:6d}"
            print(f"{line} {left_out:14.1f} {everything:8.1f} {ratio:6.2f}", flush=True)
