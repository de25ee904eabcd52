"""kernels/subnormals.py: the switch works where there is one, and a call puts it back."""

import numpy as np
import pytest
from cases import DTYPES

from fastnn.kernels.jit import kernel
from fastnn.kernels.subnormals import HAS_MXCSR, flush_subnormals, restore_subnormals


@kernel
def halves(values, flushed, restored):
    """Half of each number with the switch on, and after it has been put back."""
    before = flush_subnormals()
    for i in range(values.size):
        flushed[i] = values[i] * values.dtype.type(0.5)
    restore_subnormals(before)
    for i in range(values.size):
        restored[i] = values[i] * values.dtype.type(0.5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_numbers_are_zero_until_the_switch_is_put_back(dtype):
    tiny = np.finfo(dtype).tiny
    values = np.array([1, tiny, tiny / 4, 0, -tiny / 4] * 4, dtype)
    flushed, restored = np.empty_like(values), np.empty_like(values)
    halves(values, flushed, restored)
    expected = values * dtype(0.5)
    assert np.count_nonzero(expected) == 16
    np.testing.assert_array_equal(restored, expected)
    normal = np.abs(expected) >= tiny
    np.testing.assert_array_equal(flushed, np.where(normal, expected, 0) if HAS_MXCSR else expected)
