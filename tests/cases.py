"""What the tests of the engine share: shapes, guard zones around buffers, and bounds of rounding errors."""

import numpy as np
import reference

from fastnn import Architecture, Network
from fastnn.kernels.layout import ROW_MULTIPLE, round_up

DTYPES = [np.float32, np.float64]
ROWS = [1, 2, 15, 16, 17, 63, 64, 65, 200]
WIDTHS = [1, 2, 3, 7, 8, 10, 16, 17, 33, 100, 130]
ACTIVATIONS = ["identity", "relu", "logistic", "tanh"]
PAIRS = [
    ("squared_error", "identity"),
    ("squared_error", "logistic"),
    ("squared_error", "tanh"),
    ("squared_error", "relu"),
    ("cross_entropy", "softmax"),
    ("cross_entropy", "logistic"),
    ("poisson", "exp"),
]
ZONE = 256  # numbers on either side of a guarded buffer: more than any vector or block reaches
READ, WRITTEN = np.nan, 12345.5


class Guarded:
    """A flat buffer between two guard zones, since explicit vectors are not checked against its bounds.

    Around what is only read lie NaNs: one that counts spoils the result. Around what is written lies a number
    that has to survive. The buffer starts `shift` numbers after the beginning of a cache line.
    """

    def __init__(self, values, guard, shift=0):
        values = np.asarray(values)
        memory = np.empty(values.nbytes + 2 * (ZONE + 16) * values.itemsize, np.uint8)
        start = -memory.ctypes.data % 64 + shift * values.itemsize
        size = values.size + 2 * ZONE
        self.memory = memory[start : start + size * values.itemsize].view(values.dtype)
        self.memory[...] = guard
        self.values = self.memory[ZONE : ZONE + values.size]
        self.values[...] = values.ravel()
        self.before = self.memory.copy()

    def assert_guards_untouched(self):
        for zone in (slice(0, ZONE), slice(-ZONE, None)):
            np.testing.assert_array_equal(self.memory[zone], self.before[zone])

    def assert_untouched(self):
        np.testing.assert_array_equal(self.memory, self.before)


def rounding(n_terms, magnitude, dtype):
    """Largest error of a sum of `n_terms` products in any order; `magnitude` sums their absolute values.

    gamma_n = n u / (1 - n u), u = eps / 2 (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
    section 3.1); twice, because the expected value is rounded too, and a little for the smallest numbers.
    """
    n_units = (n_terms + 1) * float(np.finfo(dtype).eps) / 2
    return 2 * n_units / (1 - n_units) * np.asarray(magnitude, float) + float(np.finfo(dtype).tiny)


def assert_sums_agree(actual, expected, n_terms, magnitude, dtype):
    assert np.isfinite(actual).all()
    excess = np.abs(actual - expected) - rounding(n_terms, magnitude, dtype)
    assert excess.max(initial=-1) <= 0, f"{excess.max():.2g} beyond the bound of rounding errors"


def padded(matrix, columns):
    """The rows of a matrix padded with zeros to `columns` numbers, and their number to a multiple of 8."""
    height, width = matrix.shape
    result = np.zeros((round_up(height, ROW_MULTIPLE), columns), matrix.dtype)
    result[:height, :width] = matrix
    return result


def make_network(sizes, activation, output_activation, loss, dtype, seed=0):
    architecture = Architecture(sizes, activation, output_activation, loss)
    return Network.initialize(architecture, seed=seed, dtype=dtype)


def draw_data(network, n_rows, seed=1):
    """(X, y) that a network can learn from."""
    architecture, rng = network.architecture, np.random.default_rng(seed)
    inputs, outputs = architecture.layer_sizes[0], architecture.layer_sizes[-1]
    X = rng.normal(size=(n_rows, inputs)).astype(network.dtype)
    if architecture.output_activation == "softmax":
        return X, rng.integers(0, outputs, n_rows)
    if architecture.loss == "poisson":
        return X, rng.poisson(1.5, (n_rows, outputs)).astype(network.dtype)
    if architecture.loss == "cross_entropy":
        return X, rng.integers(0, 2, (n_rows, outputs)).astype(network.dtype)
    return X, rng.normal(size=(n_rows, outputs)).astype(network.dtype)


class Oracle:
    """A copy of a network in plain NumPy and double, trained by `reference`."""

    def __init__(self, network):
        architecture = network.architecture
        self.weights = [w.astype(float) for w in network.weights]
        self.biases = [b.astype(float) for b in network.biases]
        self.settings = {
            "activation": architecture.activation,
            "output_activation": architecture.output_activation,
            "loss": architecture.loss,
        }

    def loss_and_gradient(self, X, y, sample_weight=None, alpha=0.0):
        weighted = {"sample_weight": sample_weight, "alpha": alpha}
        return reference.loss_and_gradient(
            self.weights, self.biases, X.astype(float), y, **weighted, **self.settings
        )

    def epoch(self, X, y, order, batch_size, step, sample_weight=None, alpha=0.0):
        """One pass; returns the loss."""
        weighted = {"sample_weight": sample_weight, "alpha": alpha}
        self.weights, self.biases, loss = reference.epoch(
            self.weights,
            self.biases,
            X.astype(float),
            y,
            order,
            batch_size,
            step,
            **weighted,
            **self.settings,
        )
        return loss


class Step:
    """step(parameters, gradients) -> parameters for `reference.epoch`; it keeps the moments and counts."""

    def __init__(self, optimizer):
        self.optimizer, self.rate, self.count, self.moments = optimizer, optimizer.learning_rate, 0, None

    def __call__(self, parameters, gradients):
        rule, self.count = self.optimizer, self.count + 1
        zeros = [np.zeros_like(p) for p in parameters]
        if hasattr(rule, "beta_1"):
            first, second = self.moments or (zeros, zeros)
            betas = {"beta_1": rule.beta_1, "beta_2": rule.beta_2, "epsilon": rule.epsilon}
            parameters, *self.moments = reference.adam(
                parameters, gradients, first, second, self.count, learning_rate=self.rate, **betas
            )
            return parameters
        factors = {"momentum": rule.momentum, "nesterov": rule.nesterov}
        parameters, self.moments = reference.sgd(
            parameters, gradients, self.moments or zeros, learning_rate=self.rate, **factors
        )
        return parameters


def assert_trained_alike(network, oracle, steps):
    """Parameters of the size of 1 after so many steps.

    A step rounds a parameter and takes a gradient that is right to some ten eps (test_backprop.py); the tests
    choose rates so small that errors add up and don't multiply.
    """
    tolerance = (30 + 10 * steps) * float(np.finfo(network.dtype).eps)
    pairs = zip([*network.weights, *network.biases], [*oracle.weights, *oracle.biases], strict=True)
    for actual, expected in pairs:
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
