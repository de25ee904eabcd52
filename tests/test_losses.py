"""kernels/losses.py against NumPy: values, derivatives, weights, and lanes without a row."""

import itertools

import numpy as np
import pytest
import reference

from fastnn.kernels.activations import activate, softmax_panel
from fastnn.kernels.codes import ACTIVATIONS, LOSSES, SOFTMAX
from fastnn.kernels.layout import vector_lanes
from fastnn.kernels.losses import cross_entropy_row, loss_and_delta

DTYPES = [np.float32, np.float64]
ROWS = [1, 2, 15, 16, 17, 63, 64, 65, 200]
WIDTHS = [1, 2, 3, 7, 8, 10, 16, 17, 33, 100, 130]
PAIRS = [
    ("squared_error", "identity"),
    ("squared_error", "logistic"),
    ("squared_error", "tanh"),
    ("squared_error", "relu"),
    ("cross_entropy", "softmax"),
    ("cross_entropy", "logistic"),
    ("poisson", "exp"),
]


def in_whole_vectors(values, beyond):
    """The same with as many rows (the last axis) as fill vectors, as a panel has them."""
    rows = -(-values.shape[-1] // vector_lanes(values.dtype)) * vector_lanes(values.dtype)
    wide = np.full((*values.shape[:-1], rows), beyond, values.dtype)
    wide[..., : values.shape[-1]] = values
    return wide


def activated(z, output_activation):
    """a (K, R) = f(z), by the kernels; z (K, R)."""
    a = in_whole_vectors(z, 0.0)
    if output_activation == "softmax":
        softmax_panel(a.reshape(-1), *a.shape)
    else:
        activate(ACTIVATIONS[output_activation], a.reshape(-1))
    return a[:, : z.shape[1]].copy()


def draw(rng, loss, output_activation, shape, dtype):
    """(a, y) of shape (K, R); for softmax y is (R,)."""
    a = activated(rng.normal(size=shape).astype(dtype), output_activation)
    if output_activation == "softmax":
        return a, rng.integers(0, shape[0], shape[1]).astype(dtype)
    if loss == "poisson":
        return a, rng.poisson(1.5, shape).astype(dtype)
    if loss == "cross_entropy":
        return a, rng.choice([0, 1, 0.25], shape).astype(dtype)
    return a, rng.normal(size=shape).astype(dtype)


def run(loss, output_activation, a, y, weights, beyond=(1e30, -1)):
    """(loss, delta (K, R)) by the kernel. delta starts as nan, and what lies after it must survive.

    Of classes, the lanes after the last row have the output and the target that are `beyond`.
    """
    n_rows = a.shape[1]
    if output_activation == "softmax":
        a, y = (in_whole_vectors(*pair) for pair in zip((a, y), beyond, strict=True))
        weights = in_whole_vectors(weights, 0)
    delta = np.full(a.size + 32, np.nan, a.dtype)
    arguments = LOSSES[loss], ACTIVATIONS[output_activation], a.ravel(), y.ravel(), weights, delta
    value = loss_and_delta(*arguments, *a.shape)
    assert np.isnan(delta[a.size :]).all()
    return value, delta[: a.size].reshape(a.shape)[:, :n_rows]


def expected(loss, output_activation, a, y, weights):
    """The same by NumPy in double; the limits of the probabilities are those of the array's precision."""
    exact = a.T.astype(float)
    if loss == "cross_entropy":
        epsilon = float(np.finfo(a.dtype).eps)
        exact = np.clip(exact, epsilon, 1 - epsilon)
    targets = reference.dense_targets(y.T.astype(float), exact, output_activation, loss)
    rows = reference.losses(exact, targets, output_activation, loss)
    delta = reference.output_delta(a.T.astype(float), targets, output_activation, loss)
    return weights.astype(float) @ rows, (delta * weights[:, None]).T


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "output_activation"), PAIRS)
def test_value_and_delta_are_the_formula_for_every_shape(loss, output_activation, dtype):
    rng, eps = np.random.default_rng(4), float(np.finfo(dtype).eps)
    for n_outputs in WIDTHS:
        for width in [*ROWS, 8, 32]:
            a, y = draw(rng, loss, output_activation, (n_outputs, width), dtype)
            weights = rng.uniform(0.5, 2, width).astype(dtype)
            value, delta = run(loss, output_activation, a, y, weights)
            value_expected, delta_expected = expected(loss, output_activation, a, y, weights)
            np.testing.assert_allclose(value, value_expected, rtol=60 * eps, atol=60 * eps * width)
            np.testing.assert_allclose(delta, delta_expected, rtol=20 * eps, atol=20 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_row_costs_what_a_panel_of_one_row_costs(dtype):
    rng = np.random.default_rng(5)
    for n_outputs in WIDTHS[1:]:
        a, y = draw(rng, "cross_entropy", "softmax", (n_outputs, 1), dtype)
        expected, delta = run("cross_entropy", "softmax", a, y, np.ones(1, dtype))
        padded, found = np.append(a, np.zeros(3, dtype)), np.full(n_outputs + 3, np.nan, dtype)
        assert cross_entropy_row(padded, int(y[0]), found) == expected
        np.testing.assert_array_equal(found, np.append(delta, np.zeros(3)))
    certain, found = np.array([1, 0], dtype), np.zeros(2, dtype)
    loss = cross_entropy_row(certain, 1, found)
    assert loss == pytest.approx(-np.log(np.finfo(dtype).eps), rel=1e-6)


@pytest.mark.parametrize(("loss", "output_activation"), PAIRS)
def test_delta_agrees_with_differences_of_the_loss(loss, output_activation):
    rng, h = np.random.default_rng(5), 1e-5
    z = rng.normal(size=(3, 9)) + 0.01
    _, y = draw(rng, loss, output_activation, z.shape, np.float64)
    weights = rng.uniform(0.5, 2, 9)
    _, delta = run(loss, output_activation, activated(z, output_activation), y, weights)
    for o in range(3):
        # The rows are independent: moving all of them shows the sum of their derivatives.
        step = np.zeros_like(z)
        step[o] = h
        above, _ = run(loss, output_activation, activated(z + step, output_activation), y, weights)
        below, _ = run(loss, output_activation, activated(z - step, output_activation), y, weights)
        np.testing.assert_allclose(delta[o].sum(), (above - below) / (2 * h), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "output_activation"), PAIRS)
def test_lanes_without_a_row_add_nothing(loss, output_activation, dtype):
    rng = np.random.default_rng(6)
    for width, count in [(8, 1), (16, 15), (32, 17), (5, 2)]:
        a, y = draw(rng, loss, output_activation, (4, width), dtype)
        weights = np.where(np.arange(width) < count, 1.5, 0).astype(dtype)
        rows = a[:, :count].copy(), y[..., :count].copy(), weights[:count]
        kept, kept_delta = run(loss, output_activation, *rows)
        anything = (1e30, -1e30, np.nan, np.inf, -np.inf)
        for beyond, target in itertools.product(anything, (0, *anything)):  # 0: a class that there is
            a[:, count:], y[..., count:] = beyond, target
            value, delta = run(loss, output_activation, a, y, weights, (beyond, target))
            np.testing.assert_allclose(value, kept, rtol=float(10 * np.finfo(dtype).eps))
            np.testing.assert_allclose(delta[:, :count], kept_delta, rtol=float(10 * np.finfo(dtype).eps))
            # 0 times the derivative at infinity may be nan: such a delta counts nowhere.
            if np.isfinite(beyond) or output_activation not in ("logistic", "tanh"):
                np.testing.assert_array_equal(delta[:, count:], 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output_activation", ["softmax", "logistic"])
def test_certainly_wrong_costs_the_logarithm_of_epsilon(output_activation, dtype):
    a = np.array([[0], [1]], dtype)
    y = np.array([0] if output_activation == "softmax" else [[1], [0]], dtype)
    value, delta = run("cross_entropy", output_activation, a, y, np.ones(1, dtype))
    epsilon = np.finfo(dtype).eps
    once = -np.log(epsilon)
    both = once - np.log(1 - (dtype(1) - epsilon))
    np.testing.assert_allclose(value, once if output_activation == "softmax" else both, rtol=1e-6)
    np.testing.assert_array_equal(delta, [[-1], [1]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output_activation", ["softmax", "logistic"])
def test_certainly_right_costs_the_logarithm_of_one_less_epsilon(output_activation, dtype):
    # A probability above 1, as a sum that was rounded may leave, counts as no more.
    epsilon = float(np.finfo(dtype).eps)
    for certain in (1, 1 + epsilon, 1.5):
        a = np.array([[certain], [0]], dtype)
        y = np.array([0] if output_activation == "softmax" else [[1], [0]], dtype)
        value, delta = run("cross_entropy", output_activation, a, y, np.ones(1, dtype))
        right, wrong = -np.log1p(-epsilon), 0 if output_activation == "softmax" else -np.log1p(-epsilon)
        np.testing.assert_allclose(value, right + wrong, rtol=1e-6)
        np.testing.assert_array_equal(delta, [[dtype(certain) - dtype(1)], [0]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "output_activation"), PAIRS)
def test_nan_shows_in_value_and_delta(loss, output_activation, dtype):
    a, y = draw(np.random.default_rng(7), loss, output_activation, (3, 16), dtype)
    a[:, 4] = np.nan
    value, delta = run(loss, output_activation, a, y, np.ones(16, dtype))
    assert np.isnan(value)
    assert np.isnan(delta[:, 4]).all()
    assert np.isnan(delta).sum() == 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_poisson_counts_zero_times_its_logarithm_as_zero(dtype):
    a = np.array([[0.5, 2.0]], dtype)
    value, delta = run("poisson", "exp", a, np.zeros_like(a), np.ones(2, dtype))
    assert value == 2.5
    np.testing.assert_array_equal(delta, a)


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_are_those_of_scikit_learn(dtype):
    from sklearn.neural_network import _base

    rng = np.random.default_rng(8)
    names = {"softmax": _base.log_loss, "logistic": _base.binary_log_loss, "exp": _base.poisson_loss}
    for loss, output_activation in PAIRS[4:]:
        a, y = draw(rng, loss, output_activation, (5, 40), dtype)
        weights = rng.uniform(0.5, 2, 40).astype(dtype)
        value, _ = run(loss, output_activation, a, y, weights)
        targets = y.T if ACTIVATIONS[output_activation] != SOFTMAX else reference.one_hot(y, 5)
        average = names[output_activation](targets, a.T.copy(), weights)
        np.testing.assert_allclose(value / weights.sum(), average, rtol=float(20 * np.finfo(dtype).eps))
