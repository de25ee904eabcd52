"""What the tests of the engine share: shapes, guard zones around buffers, and bounds of rounding errors."""

import numpy as np

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

    Around what is only read lie NaNs: one that counts spoils the result. Around what is written lies a number that
    has to survive. The buffer starts `shift` numbers after the beginning of a cache line.
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
    """Largest error of a sum of `n_terms` products in any order, where the products' absolute values sum to `magnitude`.

    gamma_n = n u / (1 - n u), u = eps / 2 (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1);
    twice, because the expected value is rounded too, and a little for numbers below the normal ones.
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
