"""kernels/idle.py: inputs that are 0 in all rows of a tile, and networks that leave them out.

-0 counts as a number, not as nothing: the same data with -0 in place of 0 are multiplied as they are. So both
ways can be compared.
"""

import itertools

import numpy as np
import pytest
import scipy.sparse
from cases import DTYPES, READ, WIDTHS, WRITTEN, Guarded, draw_data, make_network
from test_backprop import assert_agrees

from fastnn import engine
from fastnn.kernels import dense, idle
from fastnn.kernels.backprop import copy_numbers
from fastnn.kernels.layout import PANEL_VECTORS, make_layout, vector_lanes
from fastnn.optimizers import SGD, Adam
from fastnn.training import Trainer

CLASSES = "softmax", "cross_entropy"


@pytest.fixture(autouse=True)
def as_if_zeros_were_few(monkeypatch):
    """Where most numbers are 0 they are skipped one by one (test_zeros.py), and idle inputs with them."""
    monkeypatch.setattr(engine, "mostly_zeros", lambda X: False)


# Widths that fill words, and don't; chunks of several sizes; sums that are cut.
SIZES = [(7, 5, 3), (17, 9, 4), (64, 100, 10), (130, 40, 33, 2), (401, 260, 3), (784, 24, 10)]


def lanes(dtype):
    return vector_lanes(np.dtype(dtype))


def bands(n_rows, n_inputs, dtype, period):
    """Data in which most inputs are 0, each in all rows or in most; an input in 16 always counts."""
    random = np.random.default_rng([n_rows, n_inputs, period])
    X = random.normal(size=(n_rows, n_inputs)).astype(dtype)
    column, row = np.arange(n_inputs), np.arange(n_rows)[:, None]
    often = (column % period == 0) & ((row // 48 + column) % 3 == 0)
    X[~(often | (column % 16 == 3))] = 0
    return X


def with_negative_zeros(X):
    return np.where(X == 0, -X.dtype.type(0), X)


def masks_of(X, dtype):
    """What `gather_panel` notes for each panel of X."""
    rows, words = PANEL_VECTORS * lanes(dtype), -(-X.shape[1] // lanes(dtype))
    masks = np.full((-(-len(X) // rows), words), -1)
    for panel, mask in enumerate(masks):
        first = panel * rows
        chosen = np.minimum(np.arange(first, first + rows), len(X) - 1)
        target = np.zeros(X.shape[1] * rows, dtype)
        dense.gather_panel(X, chosen, target, mask, min(rows, len(X) - first))
    return masks


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_are_busy_that_are_not_0_in_some_row(dtype):
    rows, step = PANEL_VECTORS * lanes(dtype), lanes(dtype)
    for n_inputs, n_rows in itertools.product([*WIDTHS, 401], [1, step, step + 1, 3 * rows]):
        X = bands(n_rows, n_inputs, dtype, 5)
        masks, busy = masks_of(X, dtype), np.full(n_inputs + 16, -1)
        for first, last in [(0, n_inputs), (n_inputs // 16 * 8, n_inputs), (0, min(8, n_inputs))]:
            expected = first + np.flatnonzero(X[:, first:last].any(axis=0))
            if n_inputs < step:
                expected = np.arange(first, last)  # too narrow to be looked at
            where = masks, (0, len(masks)), step, n_inputs, first, last
            assert idle.count_busy(*where) == len(expected)
            idle.list_busy(*where, busy)
            np.testing.assert_array_equal(busy[: len(expected)], expected)
        # Of some panels only.
        if len(masks) == 3 and n_inputs >= step:
            idle.list_busy(masks, (1, 2), step, n_inputs, 0, n_inputs, busy)
            expected = np.flatnonzero(X[rows : 2 * rows].any(axis=0))
            np.testing.assert_array_equal(busy[: len(expected)], expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_negative_zeros_are_busy(dtype):
    X = with_negative_zeros(np.zeros((3, 33), dtype))
    assert idle.count_busy(masks_of(X, dtype), (0, 1), lanes(dtype), 33, 0, 33) == 33


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_picked_and_spread_between_zeros(dtype):
    step = lanes(dtype)
    busy = np.array([2, 3, 9, 12, 15])
    for ld, numbers in [(step, 1), (3 * step, 2 * step + 1), (8 * step, 8 * step)]:
        matrix = np.random.default_rng(ld).normal(size=(16, ld)).astype(dtype)
        source, width = Guarded(matrix, READ), ld + step
        target = Guarded(np.full((3, width), np.nan, dtype), WRITTEN)
        idle.pick_rows(source.values, ld, busy[1:4], numbers, target.values, width)
        whole = -(-numbers // step) * step
        picked = target.values.reshape(3, width)
        np.testing.assert_array_equal(picked[:, :whole], matrix[busy[1:4], :whole])
        assert np.isnan(picked[:, whole:]).all()
        target.assert_guards_untouched()
        source.assert_untouched()
        # Rows 8 to 16 of a matrix, of which three have something.
        for fresh in (True, False):
            rows = Guarded(matrix[:3], READ)
            before = np.full((8, ld), np.nan, dtype) if fresh else matrix[8:]
            spread = Guarded(before, WRITTEN)
            idle.spread_rows(rows.values, ld, busy[2:], 3, spread.values, 8, 16, fresh)
            expected = np.zeros((8, ld), dtype) if fresh else before.copy()
            expected[busy[2:] - 8] = matrix[:3]
            np.testing.assert_array_equal(spread.values.reshape(8, ld), expected)
            spread.assert_guards_untouched()
            rows.assert_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_gradient_with_idle_inputs_is_that_of_the_oracle(sizes, dtype):
    network = make_network(sizes, "tanh", *CLASSES, dtype)
    for n_rows, period in itertools.product([1, 17, 64, 300], [2, 7]):
        _, y = draw_data(network, n_rows)
        assert_agrees(network, bands(n_rows, sizes[0], dtype, period), y)
    nothing = np.zeros((65, sizes[0]), dtype)
    assert_agrees(network, nothing, draw_data(network, 65)[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "n"), [((20, 3), 6001), ((40, 30, 3), 5000), ((1000, 20), 2500)], ids=str)
def test_leaving_idle_inputs_out_changes_no_bit_of_a_gradient_in_several_tiles(sizes, n, dtype):
    network = make_network(sizes, "tanh", *CLASSES, dtype)
    X, y = bands(n, sizes[0], dtype, 3), np.arange(n) % 3
    loss, *gradients = network.loss_and_gradient(X, y)
    other_loss, *others = network.loss_and_gradient(with_negative_zeros(X), y)
    assert loss == other_loss
    for gradient, other in zip(itertools.chain(*gradients), itertools.chain(*others), strict=True):
        np.testing.assert_array_equal(gradient, other)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(7, 1), (7, 8, 1), (8, 1), (15, 4, 1)], ids=str)
@pytest.mark.parametrize("n", [9216, 4608, 5000])
def test_sparse_rows_of_few_inputs_have_the_bits_of_dense_ones(sizes, n, dtype):
    # Some of them idle in tiles of more rows than copies without idle inputs have room for.
    X = np.random.default_rng(0).normal(size=(n, sizes[0])).astype(dtype)
    X[:, : sizes[0] - 3] = 0
    results = []
    for table, n_threads in [(X, 1), (scipy.sparse.csr_array(X), 1), (scipy.sparse.csr_array(X), 2)]:
        network = make_network(sizes, "relu", "identity", "squared_error", dtype)
        options = {"batch_size": "full", "random_state": 0, "n_threads": n_threads}
        Trainer(network, Adam(), **options).run(table, X[:, -1:].copy(), epochs=2)
        results.append(network.parameters.copy())
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_leaving_idle_inputs_out_changes_no_bit(sizes, dtype):
    n = 600
    for batch_size, optimizer in [(32, Adam()), (100, Adam()), (600, SGD(0.1))]:
        X, results = bands(n, sizes[0], dtype, 2), []
        tables = [(X, 1), (with_negative_zeros(X), 1), (X, 2), (X, 3)]
        # Below that density sparse rows are multiplied in another order.
        if (X != 0).mean() > 0.11:
            tables.append((scipy.sparse.csr_array(X), 1))
        for table, n_threads in tables:
            network = make_network(sizes, "relu", *CLASSES, dtype)
            y = np.random.default_rng(1).integers(0, sizes[-1], n)
            options = {"batch_size": batch_size, "random_state": 0, "n_threads": n_threads}
            Trainer(network, optimizer, **options).run(table, y, epochs=2)
            results.append(np.concatenate([network.parameters, network.forward(table).ravel()]))
        for other in results[1:]:
            np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 9, 129])
def test_inputs_idle_in_some_panels_change_no_bit_for_any_number_of_threads(width, dtype):
    # Each thread leaves out what is idle in its own panels, and an output alone has blocks of its own.
    X, y = np.random.default_rng(2).normal(size=(512, 400)).astype(dtype), np.arange(512) % 7 / 7
    for start in (0, 256):
        X[start : start + 128, 50:] = 0
    results = []
    for table, n_threads in [(X, 1), (with_negative_zeros(X), 1), (X, 2), (X, 3), (X, 4)]:
        network = make_network((400, width, 1), "tanh", "identity", "squared_error", dtype)
        options = {"batch_size": 256, "shuffle": False, "n_threads": n_threads}
        Trainer(network, Adam(), **options).run(table, y, epochs=2)
        results.append(network.parameters.copy())
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_memory_for_copies_is_not_that_of_the_network():
    for dtype in map(np.dtype, DTYPES):
        small, wide, tall = (
            copy_numbers(make_layout(sizes, dtype, 100))
            for sizes in [(4, 8, 3), (1000, 1000, 3), (100_000, 10, 3)]
        )
        assert small < 2**13
        assert wide < 2**18
        assert tall < 2**18
