"""kernels/sample.py: training by single samples against NumPy, and its matrix kernels between guard zones."""

import numpy as np
import pytest
from cases import (
    ACTIVATIONS,
    DTYPES,
    PAIRS,
    READ,
    WIDTHS,
    WRITTEN,
    Guarded,
    Oracle,
    Step,
    assert_sums_agree,
    assert_trained_alike,
    draw_data,
    make_network,
    padded,
)

from fastnn import SGD, Adam, Trainer
from fastnn.kernels import sample
from fastnn.kernels.layout import row_length, vector_lanes

OPTIMIZERS = {
    "plain": SGD(0.02),
    "momentum": SGD(0.01, momentum=0.8),
    "nesterov": SGD(0.01, momentum=0.8, nesterov=True),
    # An epsilon beside which the rounding error of a gradient is small.
    "adam": Adam(0.002, epsilon=1e-3),
}
N_ROWS, EPOCHS = 23, 3


def sparse_data(network, seed=1):
    """Data with zeros: single ones, an input that is always 0 and a row of zeros."""
    X, y = draw_data(network, N_ROWS, seed)
    X[np.random.default_rng(seed).random(X.shape) < 0.4] = 0
    X[:, 1], X[5] = 0, 0
    return X, y


def assert_epochs_agree(network, optimizer, X, y, sample_weight=None, alpha=0.0):
    """Some epochs by single samples, parameters and recorded losses, against the oracle."""
    oracle, step, order = Oracle(network), Step(optimizer), np.arange(len(X))
    trainer = Trainer(network, optimizer, alpha=alpha, batch_size=1, shuffle=False, tol=0)
    trainer.run(X, y, sample_weight, epochs=EPOCHS)
    losses = [oracle.epoch(X, y, order, 1, step, sample_weight, alpha) for _ in range(EPOCHS)]
    assert_trained_alike(network, oracle, EPOCHS * len(X))
    steps = EPOCHS * len(X)
    np.testing.assert_allclose(
        trainer.history.loss, losses, rtol=(30 + 10 * steps) * float(np.finfo(network.dtype).eps)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_samples_one_by_one_are_batches_of_one(name, activation, dtype):
    for hidden in [(), (7,), (33, 10), (17, 3, 100)]:
        network = make_network((10, *hidden, 3), activation, "softmax", "cross_entropy", dtype)
        assert_epochs_agree(network, OPTIMIZERS[name], *sparse_data(network), alpha=0.01)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "output_activation"), PAIRS)
def test_every_loss_can_be_learned_one_by_one(loss, output_activation, dtype):
    for optimizer in (OPTIMIZERS["plain"], OPTIMIZERS["momentum"]):
        network = make_network((7, 16, 2), "tanh", output_activation, loss, dtype)
        assert_epochs_agree(network, optimizer, *sparse_data(network))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["plain", "adam"])
def test_networks_of_every_width_learn_one_by_one(name, dtype):
    for inputs, hidden, outputs in zip(WIDTHS[1:], WIDTHS[:-1], WIDTHS[4:] + WIDTHS[:3], strict=True):
        network = make_network((inputs, hidden, outputs), "relu", "identity", "squared_error", dtype)
        X, y = sparse_data(network)
        assert_epochs_agree(network, OPTIMIZERS[name], X, y / outputs, alpha=0.1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [0.0, 1e-4, 1.0, 10.0, 24.0, 26.0, 49.0])
def test_penalty_of_any_size_is_a_factor_or_a_step(alpha, dtype):
    # Rate * alpha is up to 0.98 here; from 0.5 on the penalty is no longer kept apart from the weights.
    network = make_network((10, 17, 3), "relu", "softmax", "cross_entropy", dtype)
    assert_epochs_agree(network, SGD(0.02), *sparse_data(network), alpha=alpha)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_of_samples_divide_the_penalty(name, dtype):
    network = make_network((10, 130, 3), "relu", "softmax", "cross_entropy", dtype)
    X, y = sparse_data(network)
    weights = np.random.default_rng(3).uniform(0.5, 2, N_ROWS).astype(dtype)
    assert_epochs_agree(network, OPTIMIZERS[name], X, y, weights, alpha=0.1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_of_small_weight_among_others_are_decayed_as_much_as_they_ask_for(dtype):
    # Every other sample's rate * alpha / weight is above the limit for keeping the penalty apart.
    network = make_network((10, 130, 3), "relu", "softmax", "cross_entropy", dtype)
    X, y = sparse_data(network)
    for first in (0, 1):
        weights = np.where(np.arange(N_ROWS) % 2 == first, 0.03, 1).astype(dtype)
        assert_epochs_agree(network, SGD(0.02), X, y, weights, alpha=1.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sample_of_weight_zero_is_passed_over(dtype):
    network = make_network((10, 17, 3), "relu", "softmax", "cross_entropy", dtype)
    X, y = sparse_data(network)
    weights = np.where(np.arange(N_ROWS) % 3, 1, 0).astype(dtype)
    other, kept, losses = network.copy(), weights > 0, []
    for each, rows in ((network, slice(None)), (other, kept)):
        trainer = Trainer(each, SGD(0.02), alpha=0.1, batch_size=1, shuffle=False)
        trainer.run(X[rows], y[rows], weights[rows], epochs=2)
        losses.append(np.array(trainer.history.loss) * len(X[rows]))
    np.testing.assert_array_equal(network.parameters, other.parameters)
    # The loss of an epoch is a mean over all its rows, as in scikit-learn.
    np.testing.assert_allclose(*losses, rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_stays_right_while_weights_decay_to_nothing(dtype):
    # The factor falls below its smallest value many times; without data to hold them weights vanish.
    network = make_network((3, 8, 2), "relu", "identity", "squared_error", dtype)
    X, y = np.zeros((N_ROWS, 3), dtype), np.zeros((N_ROWS, 2), dtype)
    assert_epochs_agree(network, SGD(0.1), X, y, alpha=4.0)


def values_of(x, skip_zeros):
    """(active, values, count, and what the kernel found) of one input."""
    active, values = np.full(len(x) + 16, -7), np.full(len(x) + 16, np.nan, x.dtype)
    count = sample.find_active(x, active, values, skip_zeros)
    return active, values, count


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("skip_zeros", [True, False])
def test_active_inputs_are_those_that_are_not_zero(skip_zeros, dtype):
    for n in WIDTHS:
        x = np.random.default_rng(n).integers(-1, 2, n).astype(dtype)
        active, values, count = values_of(x, skip_zeros)
        expected = np.flatnonzero(x) if skip_zeros else np.arange(n)
        np.testing.assert_array_equal(active[:count], expected)
        np.testing.assert_array_equal(values[:count], x[expected])
        # Loops may run over, up to a multiple of 8.
        assert not values[count : count + 8].any()
        assert ((active[: count + 8] >= 0) & (active[: count + 8] < n)).all()


def layer_of(inputs, outputs, dtype):
    """(W, its padded rows, their length, x with zeros, delta) of one layer."""
    rng, ld = np.random.default_rng([inputs, outputs]), row_length(outputs, vector_lanes(np.dtype(dtype)))
    W, delta = (rng.normal(size=shape).astype(dtype) for shape in ((inputs, outputs), (1, outputs)))
    x = (rng.normal(size=inputs) * (rng.random(inputs) < 0.7)).astype(dtype)
    return W, padded(W, ld), ld, x, padded(delta, ld)[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inputs", WIDTHS)
def test_product_by_rows_is_matrix_times_vector(inputs, dtype):
    for outputs in WIDTHS:
        W, rows, ld, x, _ = layer_of(inputs, outputs, dtype)
        active, values, count = values_of(x, skip_zeros=True)
        weights, z = Guarded(rows, READ), Guarded(np.full(ld, np.nan, dtype), WRITTEN)
        sample.product_by_rows(weights.values, ld, values, active, count, z.values)
        magnitude = np.abs(x).astype(float) @ np.abs(W)
        assert_sums_agree(z.values[:outputs], x.astype(float) @ W, inputs, magnitude, dtype)
        assert not z.values[outputs:].any()
        z.assert_guards_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inputs", WIDTHS)
def test_product_by_columns_is_the_transposed_matrix_times_vector(inputs, dtype):
    for outputs in WIDTHS:
        W, rows, ld, x, delta = layer_of(inputs, outputs, dtype)
        active, _, count = values_of(x, skip_zeros=True)
        # Up to a whole vector of rows is summed: those beyond the active ones may be any rows of W.
        active[count:] = 0
        weights, right = Guarded(rows, READ), Guarded(delta, READ)
        sums = Guarded(np.full(inputs + 16, np.nan, dtype), WRITTEN)
        sample.product_by_columns(weights.values, ld, active, count, right.values, sums.values)
        own = W[active[:count]]
        magnitude = np.abs(own).astype(float) @ np.abs(delta[:outputs])
        exact = own.astype(float) @ delta[:outputs]
        assert_sums_agree(sums.values[:count], exact, outputs, magnitude, dtype)
        sums.assert_guards_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inputs", WIDTHS)
def test_update_rows_adds_the_outer_product_to_active_rows(inputs, dtype):
    for outputs in WIDTHS:
        W, rows, ld, x, delta = layer_of(inputs, outputs, dtype)
        active, values, count = values_of(x, skip_zeros=True)
        weights, right = Guarded(rows, WRITTEN), Guarded(delta, READ)
        sample.update_rows(weights.values, ld, values, active, count, right.values)
        result = weights.values.reshape(rows.shape)
        outer = np.outer(x, delta[:outputs].astype(float))
        assert_sums_agree(result[:inputs, :outputs], W + outer, 2, np.abs(W) + np.abs(outer), dtype)
        assert not result[inputs:].any()
        assert not result[:, outputs:].any()
        weights.assert_guards_untouched()
