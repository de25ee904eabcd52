"""kernels/activations.py against NumPy, for every length and shape, in both precisions."""

import numpy as np
import pytest
import reference

from fastnn.kernels.activations import activate, multiply_derivative, softmax_panel, softmax_row
from fastnn.kernels.codes import ACTIVATIONS, RELU
from fastnn.kernels.layout import vector_lanes

DTYPES = [np.float32, np.float64]
ROWS = [1, 2, 15, 16, 17, 63, 64, 65, 200]
WIDTHS = [1, 2, 3, 7, 8, 10, 16, 17, 33, 100, 130]
ELEMENTWISE = ["identity", "relu", "logistic", "tanh", "exp"]
GUARD = 1234.5


def guarded(values):
    """The values inside a longer array, as a slice, and that array: what lies outside must survive."""
    whole = np.full(values.size + 64, GUARD, values.dtype)
    inside = whole[32 : 32 + values.size]
    inside[:] = values.ravel()
    return inside, whole


def assert_guarded(whole):
    assert np.all(whole[:32] == GUARD)
    assert np.all(whole[-32:] == GUARD)


def tolerance(dtype):
    return {"rtol": 5e-7 if dtype == np.float32 else 5e-15, "atol": np.finfo(dtype).tiny}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activate_is_the_function_at_every_length(name, dtype):
    rng = np.random.default_rng(1)
    for n in sorted({*ROWS, *WIDTHS, 0, 4, 31, 32, 1600}):
        z = rng.normal(scale=3, size=n).astype(dtype)
        values, whole = guarded(z)
        activate(ACTIVATIONS[name], values)
        np.testing.assert_allclose(values, reference.ACTIVATIONS[name](z.astype(float)), **tolerance(dtype))
        assert_guarded(whole)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activate_hands_nan_on(name, dtype):
    values = np.array([np.nan, 1, -1] * 11, dtype)
    activate(ACTIVATIONS[name], values)
    np.testing.assert_array_equal(np.isnan(values), [True, False, False] * 11)


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_is_maximum_with_zero_at_the_ends(dtype):
    values = np.array([np.inf, -np.inf, 0, -0.0, -1e-30, 1e-30], dtype)
    expected = np.maximum(values, 0)
    activate(RELU, values)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_multiply_derivative_is_the_formula_at_every_length(name, dtype):
    rng = np.random.default_rng(2)
    for n in sorted({*ROWS, *WIDTHS, 0, 4, 31, 32, 1600}):
        a = reference.ACTIVATIONS[name](rng.normal(size=n)).astype(dtype)
        delta = rng.normal(size=n).astype(dtype)
        values, whole = guarded(delta)
        multiply_derivative(ACTIVATIONS[name], a, values)
        expected = delta.astype(float) * reference.DERIVATIVES[name](a.astype(float))
        np.testing.assert_allclose(values, expected, **tolerance(dtype))
        assert_guarded(whole)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_multiply_derivative_agrees_with_differences_of_activate(name):
    z, h = np.linspace(-3, 3, 101) + 0.013, 1e-5
    below, a, above = z - h, z.copy(), z + h
    for values in (below, a, above):
        activate(ACTIVATIONS[name], values)
    slope = np.ones_like(z)
    multiply_derivative(ACTIVATIONS[name], a, slope)
    np.testing.assert_allclose(slope, (above - below) / (2 * h), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_outputs", WIDTHS)
def test_softmax_is_the_formula_for_every_shape(n_outputs, dtype):
    rng = np.random.default_rng(3)
    for width in np.multiply([1, 2, 3, 4], vector_lanes(np.dtype(dtype))):
        z = rng.normal(scale=5, size=(n_outputs, width)).astype(dtype)
        values, whole = guarded(z)
        softmax_panel(values, n_outputs, width)
        # The difference z - max is rounded once: relative to e^z that is |z - max| units of the last place.
        rtol = (np.ptp(z) + 10) * float(np.finfo(dtype).eps)
        expected = reference.softmax(z.astype(float).T).T
        np.testing.assert_allclose(values.reshape(z.shape), expected, rtol=rtol, atol=np.finfo(dtype).tiny)
        assert_guarded(whole)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_outputs", [2, 3, 7, 8, 10, 16, 17, 100])
def test_softmax_of_one_row_clears_its_padding(n_outputs, dtype):
    z = np.random.default_rng(3).normal(scale=5, size=n_outputs).astype(dtype)
    padding = np.full(-n_outputs % 16, 1e30, dtype)  # larger than any output: it must not count
    values, whole = guarded(np.append(z, padding))
    softmax_row(values, n_outputs)
    rtol = (np.ptp(z) + 10) * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(values[:n_outputs], reference.softmax(z.astype(float)[None])[0], rtol=rtol)
    np.testing.assert_array_equal(values[n_outputs:], 0)
    assert_guarded(whole)
    huge = np.array([1e30, -1e30, 0, 0], dtype)
    softmax_row(huge, 2)
    np.testing.assert_array_equal(huge, [1, 0, 0, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", [1, 2])
def test_softmax_of_huge_and_equal_numbers_is_finite(vectors, dtype):
    width = vectors * vector_lanes(np.dtype(dtype))
    z = np.zeros((4, width), dtype)
    z[0], z[1:] = 1e30, -1e30
    values = z.ravel()
    softmax_panel(values, 4, width)
    np.testing.assert_array_equal(values.reshape(4, width)[0], 1)
    np.testing.assert_array_equal(values.reshape(4, width)[1:], 0)
    values = np.full(4 * width, 1e30, dtype)
    softmax_panel(values, 4, width)
    np.testing.assert_array_equal(values, 0.25)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", [1, 2])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_softmax_nan_spoils_its_own_row_and_no_other(place, vectors, dtype):
    width = vectors * vector_lanes(np.dtype(dtype))
    z = np.ones((4, width), dtype)
    z[place, width // 2] = np.nan
    values = z.ravel()
    softmax_panel(values, 4, width)
    spoilt = np.isnan(values.reshape(4, width))
    assert spoilt[:, width // 2].all()
    assert spoilt.sum() == 4
