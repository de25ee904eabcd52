"""kernels/backprop.py: loss and gradient of networks against NumPy, and against differences of the loss."""

import itertools

import numpy as np
import pytest
from cases import ACTIVATIONS, DTYPES, PAIRS, ROWS, WIDTHS, Oracle, draw_data, make_network

DEPTHS = [(), (7,), (17, 10), (10, 33, 3)]


def assert_agrees(network, X, y, sample_weight=None, alpha=0.0):
    """Relative to the largest number of each array: sums cancel, so a single number has no such precision.

    A layer adds a relative error of the order of sqrt(terms) eps to what it hands on, random in sign: for up
    to 401 terms and 4 layers forward and backward 2 * 4 * 20 eps, as much again for activations and losses.
    """
    loss, dW, db = network.loss_and_gradient(X, y, sample_weight, alpha=alpha)
    loss_expected, dW_expected, db_expected = Oracle(network).loss_and_gradient(X, y, sample_weight, alpha)
    tolerance = 320 * float(np.finfo(network.dtype).eps)
    np.testing.assert_allclose(loss, loss_expected, rtol=tolerance)
    for actual, wanted in zip([*dW, *db], [*dW_expected, *db_expected], strict=True):
        assert actual.dtype == network.dtype
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_rows", ROWS)
def test_network_of_every_width_has_the_gradient_of_the_oracle(n_rows, dtype):
    for inputs, hidden, outputs in [
        *zip(WIDTHS, WIDTHS[::-1], WIDTHS[3:] + WIDTHS[:3], strict=True),
        *zip(WIDTHS[1:] + WIDTHS[:1], WIDTHS[5:] + WIDTHS[:5], WIDTHS, strict=True),
        (401, 260, 3),
        # Several pieces of weights, the last of which is not all in high blocks.
        (137, 260, 100),
        (401, 530, 3),
    ]:
        network = make_network((inputs, hidden, outputs), "tanh", "identity", "squared_error", dtype)
        assert_agrees(network, *draw_data(network, n_rows))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden", DEPTHS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("loss", "output_activation"), PAIRS)
def test_gradient_is_that_of_the_oracle(loss, output_activation, activation, hidden, dtype):
    network = make_network((10, *hidden, 3), activation, output_activation, loss, dtype)
    for n_rows in (1, 16, 65):
        X, y = draw_data(network, n_rows)
        weights = np.random.default_rng(2).uniform(0.5, 2, n_rows).astype(dtype)
        assert_agrees(network, X, y)
        assert_agrees(network, X, y, weights, alpha=0.7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("outputs", [70, 300])
def test_derivatives_come_once_and_reach_what_high_blocks_leave(outputs, activation, dtype):
    # Back, sums of 70 outputs come in high blocks, and 20 inputs leave four of them to low ones; sums of 300
    # come in two parts.
    network = make_network((5, 20, outputs, 3), activation, "identity", "squared_error", dtype)
    for n_rows in (1, 16, 65):
        assert_agrees(network, *draw_data(network, n_rows))


@pytest.mark.parametrize("dtype", DTYPES)
def test_network_of_one_input_and_one_output_has_the_gradient_of_the_oracle(dtype):
    for hidden, n_rows in itertools.product([(), (1,), (1, 1, 1)], ROWS):
        network = make_network((1, *hidden, 1), "logistic", "logistic", "cross_entropy", dtype)
        assert_agrees(network, *draw_data(network, n_rows))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_weight_zero_count_as_if_they_were_absent(dtype):
    network = make_network((10, 17, 3), "relu", "softmax", "cross_entropy", dtype)
    X, y = draw_data(network, 40)
    weights = np.where(np.arange(40) % 3 == 0, 0, 1.5).astype(dtype)
    X[weights == 0] = 1e6
    kept = weights > 0
    assert_agrees(network, X[kept], y[kept], weights[kept], alpha=0.1)
    with_rows = network.loss_and_gradient(X, y, weights, alpha=0.1)
    without = network.loss_and_gradient(X[kept], y[kept], weights[kept], alpha=0.1)
    tolerance = 40 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(with_rows[0], without[0], rtol=tolerance)
    for actual, wanted in zip(with_rows[1] + with_rows[2], without[1] + without[2], strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("n_rows", [1, 65])
def test_gradient_is_the_same_to_the_bit_when_asked_for_again(n_rows):
    network = make_network((10, 33, 3), "relu", "softmax", "cross_entropy", np.float32)
    X, y = draw_data(network, n_rows)
    first, second = (network.loss_and_gradient(X, y, alpha=0.1) for _ in range(2))
    assert first[0] == second[0]
    for one, other in zip(first[1] + first[2], second[1] + second[2], strict=True):
        np.testing.assert_array_equal(one, other)


def difference(network, X, y, sample_weight, parameter, place, h):
    """Central difference of the loss, of fourth order: (8 (L(h) - L(-h)) - (L(2h) - L(-2h))) / 12 h."""
    kept, values = parameter[place], []
    for step in (h, -h, 2 * h, -2 * h):
        parameter[place] = kept + step
        values.append(network.loss(X, y, sample_weight, alpha=0.3))
    parameter[place] = kept
    return (8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * h)


@pytest.mark.parametrize("hidden", [(), (4,), (4, 3), (4, 3, 5)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("loss", "output_activation"), PAIRS)
def test_gradient_agrees_with_differences_of_the_loss(loss, output_activation, activation, hidden):
    network = make_network((3, *hidden, 2), activation, output_activation, loss, np.float64, seed=3)
    X, y = draw_data(network, 18, seed=4)
    sample_weight = np.random.default_rng(5).uniform(0.5, 2, 18)
    _, dW, db = network.loss_and_gradient(X, y, sample_weight, alpha=0.3)
    # The loss is known to about 1e-16 and the formula is right to h^4: 1e-13 and 1e-12 with h = 1e-3. ReLU
    # has a kink that no step may cross: 1e-6, which leaves 1e-10.
    kinked = "relu" in (activation, output_activation)
    h = 1e-6 if kinked else 1e-3
    numeric, analytic = [], []
    for parameter, gradient in zip([*network.weights, *network.biases], [*dW, *db], strict=True):
        for place in np.ndindex(parameter.shape):
            numeric.append(difference(network, X, y, sample_weight, parameter, place, h))
            analytic.append(gradient[place])
    error = np.linalg.norm(np.subtract(numeric, analytic)) / np.linalg.norm(numeric)
    assert error <= 1e-6
