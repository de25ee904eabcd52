"""kernels/sparse.py: networks on CSR rows give what they give on the same rows written out."""

import numpy as np
import pytest
import scipy.sparse
from cases import (
    DTYPES,
    READ,
    ROWS,
    WIDTHS,
    WRITTEN,
    Guarded,
    Oracle,
    Step,
    assert_trained_alike,
    draw_data,
    make_network,
)

from fastnn import SGD, Adam, Trainer
from fastnn.engine import make_table
from fastnn.kernels import idle, sparse
from fastnn.kernels.layout import PANEL_VECTORS, vector_lanes

# Below a tenth of the places the first layer multiplies entry by entry, above it expands panels.
DENSITIES = [0.0, 0.02, 0.09, 0.3, 1.0]
OPTIMIZERS = {"plain": SGD(0.02), "momentum": SGD(0.01, momentum=0.8), "adam": Adam(0.002, epsilon=1e-3)}
CLASSES = "softmax", "cross_entropy"


def draw(network, n_rows, density, seed=1):
    """(CSR, the same as an array, y)."""
    X, y = draw_data(network, n_rows, seed)
    X[np.random.default_rng(seed).random(X.shape) >= density] = 0
    return scipy.sparse.csr_array(X), X, y


def assert_close(actual, expected, dtype):
    """Relative to the largest number, as in test_backprop.py."""
    scale = max(np.abs(expected).max(), float(np.finfo(dtype).tiny))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=320 * float(np.finfo(dtype).eps) * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", DENSITIES)
def test_outputs_and_gradient_are_those_of_the_oracle(density, dtype):
    for inputs, hidden, outputs in zip(WIDTHS, WIDTHS[::-1], WIDTHS[3:] + WIDTHS[:3], strict=True):
        network = make_network((inputs, hidden, outputs), "tanh", "identity", "squared_error", dtype)
        for n_rows in ROWS:
            table, X, y = draw(network, n_rows, density)
            assert_close(network.forward(table), network.forward(X), dtype)
            loss, dW, db = network.loss_and_gradient(table, y, alpha=0.3)
            loss_expected, dW_expected, db_expected = Oracle(network).loss_and_gradient(X, y, alpha=0.3)
            assert_close(loss, loss_expected, dtype)
            for actual, expected in zip([*dW, *db], [*dW_expected, *db_expected], strict=True):
                assert_close(actual, expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", [0.05, 0.5])
@pytest.mark.parametrize("hidden", [(), (17,), (130, 7)])
@pytest.mark.parametrize("batch_size", [1, 17, "full"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_takes_the_steps_of_the_oracle(name, batch_size, hidden, density, dtype):
    network, optimizer = make_network((100, *hidden, 3), "relu", *CLASSES, dtype), OPTIMIZERS[name]
    n_rows = 300 if batch_size == "full" else 40
    table, X, y = draw(network, n_rows, density)
    weights = np.random.default_rng(2).uniform(0.5, 2, n_rows).astype(dtype)
    oracle, step = Oracle(network), Step(optimizer)
    trainer = Trainer(network, optimizer, alpha=0.1, batch_size=batch_size, shuffle=False, tol=0)
    trainer.run(table, y, weights, epochs=3)
    rows = n_rows if batch_size == "full" else batch_size
    losses = [oracle.epoch(X, y, np.arange(n_rows), rows, step, weights, alpha=0.1) for _ in range(3)]
    steps = 3 * -(-n_rows // rows)
    assert_trained_alike(network, oracle, steps)
    np.testing.assert_allclose(
        trainer.history.loss, losses, rtol=(320 + 10 * steps) * float(np.finfo(dtype).eps)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", [0.05, 0.5])
def test_results_are_the_same_to_the_bit_for_any_number_of_threads(density, dtype):
    # Shards with gradients of their own; one tile, its chunks shared.
    for sizes, batch in [((100, 10, 3), 701), ((300, 130, 130, 3), 150)]:
        first = make_network(sizes, "relu", *CLASSES, dtype)
        table, _, y = draw(first, 2 * batch + 77, density)
        results = []
        for n_threads in (1, 2, 3, 8):
            network = first.copy()
            trainer = Trainer(network, Adam(), batch_size=batch, random_state=0, n_threads=n_threads)
            trainer.run(table, y, epochs=2)
            outputs = network.forward(table, n_threads=n_threads)
            results.append((network.parameters, outputs, trainer.history.loss))
        for each in results[1:]:
            for one, other in zip(each, results[0], strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("density", [0.05, 0.5])
def test_every_kind_of_sparse_matrix_is_understood_and_none_is_changed(density):
    network = make_network((40, 7, 2), "relu", "identity", "squared_error", np.float32)
    table, X, y = draw(network, 30, density)
    outputs, loss = network.forward(table), network.loss(table, y)
    twice = scipy.sparse.coo_array(table)
    halves = np.r_[twice.data, twice.data] / np.float32(2)
    where = tuple(np.r_[index, index] for index in twice.coords)
    backwards = scipy.sparse.csr_array(table)
    for row in range(30):
        own = slice(backwards.indptr[row], backwards.indptr[row + 1])
        backwards.indices[own], backwards.data[own] = (
            backwards.indices[own][::-1].copy(),
            table.data[own][::-1],
        )
    backwards.has_sorted_indices = False
    zeros, without = table.copy(), X.copy()
    zeros.data[0], without[tuple(index[0] for index in twice.coords)] = 0, 0
    long = table.copy()
    long.indices, long.indptr = long.indices.astype(np.int64), long.indptr.astype(np.int64)
    raw = scipy.sparse.csr_array((halves, where), shape=table.shape)
    kinds = [scipy.sparse.csc_array(table), scipy.sparse.csr_matrix(table), twice, backwards, raw, long]
    kinds += [scipy.sparse.coo_array((halves, where), shape=table.shape), table.astype(np.float64)]
    for kind in kinds:
        stored = kind.copy()
        np.testing.assert_array_equal(network.forward(kind), outputs)
        assert network.loss(kind, y) == loss
        np.testing.assert_array_equal(kind.data, stored.data)
        assert kind.nnz == stored.nnz
    without = scipy.sparse.csr_array(without)
    assert without.nnz == zeros.nnz - 1
    assert_close(network.forward(zeros), network.forward(without), np.float32)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (scipy.sparse.csr_array((5, 9)), r"X must have the shape \(n, 10\) with n >= 1; got \(5, 9\)"),
        (scipy.sparse.csr_array((0, 10)), r"X must have the shape \(n, 10\) with n >= 1; got \(0, 10\)"),
        (scipy.sparse.csr_array(np.full((5, 10), np.nan)), "X must be finite"),
        (scipy.sparse.csr_array(np.full((5, 10), 1e300)), "X must be finite"),
        (scipy.sparse.csr_array(np.full((5, 10), 1j)), "X must .*numbers"),
    ],
)
def test_sparse_inputs_that_are_refused(X, message):
    network = make_network((10, 7, 3), "relu", *CLASSES, np.float32)
    with pytest.raises(ValueError, match=message):
        network.forward(X)
    with pytest.raises(ValueError, match=message):
        Trainer(network, Adam()).run(X, np.zeros(5), epochs=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_expand_panel_writes_out_the_rows_asked_for(dtype):
    height = PANEL_VECTORS * vector_lanes(np.dtype(dtype))
    for inputs in WIDTHS:
        X = np.random.default_rng(inputs).integers(-1, 2, (20, inputs)).astype(dtype)
        rows = np.random.default_rng(3).integers(0, 20, height)
        table = make_table(scipy.sparse.csr_array(X))
        panel = Guarded(np.full((inputs, height), np.nan, dtype), WRITTEN)
        masks = np.full(-(-inputs // vector_lanes(np.dtype(dtype))), -1)
        sparse.expand_panel(table, rows, panel.values, masks)
        np.testing.assert_array_equal(panel.values.reshape(inputs, height), X[rows].T)
        busy, step = np.zeros(inputs + 16, np.int64), vector_lanes(np.dtype(dtype))
        where = masks[None], (0, 1), step, inputs, 0, inputs
        idle.list_busy(*where, busy)
        expected = np.flatnonzero(X[rows].any(axis=0))
        assert idle.count_busy(*where) == len(expected)
        np.testing.assert_array_equal(busy[: len(expected)], expected)
        panel.assert_guards_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
def test_read_row_lists_the_entries_of_a_row_and_then_zeros(dtype):
    X = np.random.default_rng(0).integers(-1, 2, (20, 33)).astype(dtype)
    table = make_table(scipy.sparse.csr_array(X))
    for row in range(20):
        active, values = np.full(49, -7), Guarded(np.full(49, np.nan, dtype), READ)
        count = sparse.read_row(table, row, active, values.values)
        np.testing.assert_array_equal(active[:count], np.flatnonzero(X[row]))
        np.testing.assert_array_equal(values.values[:count], X[row][X[row] != 0])
        assert not values.values[count : count + 8].any()
        assert ((active[: count + 8] >= 0) & (active[: count + 8] < 33)).all()
