"""kernels/zeros.py: sums that skip zeros against NumPy, and networks that learn from data with many of them.

Whether they are skipped is decided in one place, `engine.mostly_zeros`; tests that compare both ways replace
it.
"""

import itertools

import numpy as np
import pytest
import scipy.sparse
from cases import DTYPES, READ, WRITTEN, Guarded, assert_sums_agree, draw_data, make_network
from test_backprop import assert_agrees

from fastnn import engine
from fastnn.kernels import simd, zeros
from fastnn.kernels.dots import WIDE
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import INPUTS, LAYER_FIELDS, LD, OUTPUTS, PANEL_VECTORS, X_WIDTH, vector_lanes
from fastnn.optimizers import SGD, Adam
from fastnn.training import Trainer

CLASSES = "softmax", "cross_entropy"
# Inputs that fill bytes, pieces and lists, and don't; outputs in threes and fours, with a rest for dots, and
# of a number of vectors that is no sum of threes and fours.
SIZES = [
    (32, 24, 5),
    (33, 24, 5),
    (64, 100, 10),
    (97, 40, 7),
    (130, 50, 3),
    (401, 260, 3),
    (784, 130, 20, 10),
]


@kernel
def busy_byte(values, at):
    return simd.busy_byte(values, at)


@kernel
def store_word(stored, at, word):
    simd.store_word(stored, at, word)


@kernel
def in_threes_and_fours(vectors):
    return zeros.in_threes_and_fours(vectors)


@kernel
def skips_zeros(table, layer, like):
    return zeros.skips_zeros(table, layer, like)


def lanes(dtype):
    return vector_lanes(np.dtype(dtype))


def draw(n_rows, n_inputs, dtype, density=0.15, seed=0):
    random = np.random.default_rng([seed, n_rows, n_inputs])
    X = random.normal(size=(n_rows, n_inputs)).astype(dtype)
    X[random.random(X.shape) >= density] = 0
    return X


def in_panels(X, width, dtype):
    """X (n, I) as panels (n / R, width, R), with the last row again in lanes without a row."""
    rows = PANEL_VECTORS * lanes(dtype)
    count = -(-len(X) // rows)
    whole = np.zeros((count * rows, width), dtype)
    whole[:, : X.shape[1]] = X[np.minimum(np.arange(count * rows), len(X) - 1)]
    return whole.reshape(count, rows, width).transpose(0, 2, 1)


def test_each_byte_has_the_positions_of_its_ones():
    for byte, word in enumerate(zeros.POSITIONS):
        positions = [n for n in range(8) if byte >> n & 1]
        assert word.tobytes()[: len(positions)] == bytes(positions)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_byte_tells_which_of_8_numbers_are_not_0(dtype):
    numbers = np.array([0, 1, -0.0, 0, np.nan, 0, np.inf, 0, 0, 1e-40, 0], dtype)
    assert busy_byte(numbers, 0) == 0b01010110
    assert busy_byte(numbers, 3) == sum(
        1 << n for n in range(8) if numbers.view(f"u{numbers.itemsize}")[3 + n]
    )


def test_a_word_is_stored_from_its_lowest_byte_on():
    stored = np.full(20, 255, np.uint8)
    store_word(stored, 5, np.uint64(0x0807060504030201))
    np.testing.assert_array_equal(stored, [255] * 5 + list(range(1, 9)) + [255] * 7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_of_rows_are_noted_of_a_matrix_and_of_its_entries(dtype):
    rows = PANEL_VECTORS * lanes(dtype)
    for n_inputs, n_rows in itertools.product([8, 9, 15, 33, 100, 401], [1, 2, rows - 1, rows]):
        X = draw(20, n_inputs, dtype, 0.3)
        X[3] = -0.0
        order = np.random.default_rng(n_inputs).integers(0, 20, rows)
        expected = np.packbits(X[order].view(f"u{X.itemsize}") != 0, axis=1, bitorder="little")
        pairs = n_rows + n_rows % 2
        guarded = Guarded(X, READ)
        for table in (guarded.values.reshape(X.shape), scipy.sparse.csr_array(X.view(f"u{X.itemsize}"))):
            noted = np.full((rows, -(-n_inputs // 8)), 7, np.uint8)
            if isinstance(table, np.ndarray):
                zeros.note_busy(table, order, noted, pairs)
            else:
                entries = scipy.sparse.csr_array((X[table.nonzero()], table.indices, table.indptr), X.shape)
                zeros.note_entries(engine.make_table(entries), order, noted, pairs)
            np.testing.assert_array_equal(noted[:pairs], expected[:pairs])
            assert (noted[pairs:] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_lists_name_what_one_of_two_has(dtype):
    random = np.random.default_rng(0)
    left, right = random.integers(0, 256, (2, 20)).astype(np.uint8)
    left[2:5] = right[2:4] = 0
    for first, last in [(0, 1), (2, 4), (0, 12), (5, 20)]:
        listed = np.zeros(zeros.LIST_LENGTH, np.uint8)
        count = zeros.list_inputs(left, right, first, last, listed)
        bits = np.unpackbits(left[first:last] | right[first:last], bitorder="little")
        np.testing.assert_array_equal(listed[:count], np.flatnonzero(bits))
    for n_rows in (1, 7, 8, 9, 31, 64, 100, 255, 256):
        X = draw(n_rows, 8, dtype, 0.4)
        # Rows that are not there count as little as zeros.
        x = Guarded(in_panels(X, 8, dtype), READ)
        for i in (4, 6):
            count = zeros.list_rows(x.values, i, 8, n_rows, listed)
            np.testing.assert_array_equal(listed[:count], np.flatnonzero(X[:, i : i + 2].any(axis=1)))
    whole = np.ones((256, 8), dtype)
    assert zeros.list_rows(in_panels(whole, 8, dtype).ravel(), 0, 8, 256, listed) == 256
    np.testing.assert_array_equal(listed[:256], np.arange(256))


def test_blocks_of_three_and_four_add_up():
    sums = {3 * threes + 4 * fours for threes in range(20) for fours in range(20)}
    for vectors in range(60):
        assert in_threes_and_fours(vectors) == (vectors in sums)


@pytest.mark.parametrize("dtype", DTYPES)
def test_product_without_zeros_is_weighted_sum_plus_bias(dtype):
    rows, step = PANEL_VECTORS * lanes(dtype), lanes(dtype)
    random = np.random.default_rng(0)
    for vectors, (first, last), n_rows in itertools.product(
        [3, 4, 6, 7, 13], [(0, 3), (2, 14)], [1, 2, rows - 1, rows]
    ):
        ld, n_inputs = (vectors + 1) * step, 8 * (last - first)
        X = draw(n_rows, 8 * last, dtype, 0.3, seed=vectors)
        weights = random.normal(size=(n_inputs, ld)).astype(dtype)
        bias = random.normal(size=ld).astype(dtype)
        before = random.normal(size=(rows, ld)).astype(dtype)
        busy = np.zeros((rows, last), np.uint8)
        busy[:n_rows] = np.packbits(X != 0, axis=1, bitorder="little")
        x = Guarded(in_panels(X[:, 8 * first :], n_inputs, dtype), READ)
        w, b, products = Guarded(weights, READ), Guarded(bias, READ), Guarded(before, WRITTEN)
        listed = np.zeros(zeros.LIST_LENGTH, np.uint8)
        for fresh in (True, False):
            products.values[...] = before.ravel()
            part, sizes = (first, last), (n_rows, vectors)
            parameters, put = (w.values, b.values), products.values
            zeros.busy_product(parameters, ld, x.values, busy, part, put, sizes, fresh, listed)
            found = products.values.reshape(rows, ld)
            start = bias if fresh else before[:n_rows].astype(float)
            chosen = X[:, 8 * first :].astype(float)
            expected = (chosen @ weights + start)[:, : vectors * step]
            size = (abs(chosen) @ abs(weights) + abs(start))[:, : vectors * step]
            assert_sums_agree(found[:n_rows, : vectors * step], expected, n_inputs + 1, size, dtype)
            # What is not multiplied stays.
            np.testing.assert_array_equal(found[:, vectors * step :], before[:, vectors * step :])
            np.testing.assert_array_equal(found[n_rows + n_rows % 2 :], before[n_rows + n_rows % 2 :])
            products.assert_guards_untouched()
        for read in (x, w, b):
            read.assert_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_without_zeros_is_the_sum_of_outer_products(dtype):
    rows, step = PANEL_VECTORS * lanes(dtype), lanes(dtype)
    random = np.random.default_rng(0)
    for vectors, (first, last), n_rows in itertools.product([3, 4, 7, 13], [(0, 8), (8, 66)], [1, 30, 256]):
        ld, width = (vectors + 1) * step, 72
        X = draw(n_rows, last, dtype, 0.3, seed=vectors)
        delta = random.normal(size=(n_rows, ld)).astype(dtype)
        strips = in_panels(delta, ld, dtype).reshape(-1, ld // step, step, rows).transpose(0, 1, 3, 2)
        x, deltas = Guarded(in_panels(X, width, dtype), READ), Guarded(strips, READ)
        before = random.normal(size=(last - first, ld)).astype(dtype)
        gradient, layer = Guarded(before, WRITTEN), np.zeros(LAYER_FIELDS, np.int64)
        layer[[OUTPUTS, LD, X_WIDTH]] = vectors * step - 1, ld, width
        lists = np.zeros((zeros.LISTED_INPUTS // 2, zeros.LIST_LENGTH), np.uint8), np.zeros(12, np.int64)
        for fresh in (True, False):
            gradient.values[...] = before.ravel()
            arrays = x.values, deltas.values, gradient.values
            zeros.busy_gradient(layer, *arrays, (first, last), n_rows, fresh, lists)
            found, summed = gradient.values.reshape(-1, ld), slice(0, vectors * step)
            start = np.zeros_like(before) if fresh else before
            chosen = X[:, first:].T.astype(float)
            size = abs(chosen) @ abs(delta[:, summed]) + abs(start[:, summed])
            expected = chosen @ delta[:, summed] + start[:, summed]
            assert_sums_agree(found[:, summed], expected, n_rows + 1, size, dtype)
            np.testing.assert_array_equal(found[:, vectors * step :], start[:, vectors * step :])
            gradient.assert_guards_untouched()
        for read in (x, deltas):
            read.assert_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_gradient_of_data_with_many_zeros_is_that_of_the_oracle(sizes, dtype):
    network = make_network(sizes, "tanh", *CLASSES, dtype)
    for n_rows in (16, 17, 64, 300):
        X = draw(n_rows, sizes[0], dtype)
        assert engine.mostly_zeros(X)
        assert_agrees(network, X, draw_data(network, n_rows)[1])
    nothing = np.zeros((65, sizes[0]), dtype)
    assert_agrees(network, nothing, draw_data(network, 65)[1])


def has_dots(n_outputs, dtype):
    """Whether gradients of the last outputs are dot products where zeros are not skipped."""
    _, columns = WIDE[lanes(dtype)]
    return 0 < n_outputs % (2 * lanes(dtype)) <= columns


def trained(X, sizes, batch_size, optimizer, n_threads, dtype):
    """Parameters and outputs after two epochs."""
    network = make_network(sizes, "relu", *CLASSES, dtype)
    y = np.random.default_rng(1).integers(0, sizes[-1], X.shape[0])
    options = {"batch_size": batch_size, "random_state": 0, "n_threads": n_threads}
    Trainer(network, optimizer, **options).run(X, y, epochs=2)
    return np.concatenate([network.parameters, network.forward(X).ravel()])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_skipping_zeros_changes_no_bit_for_any_number_of_threads(sizes, dtype, monkeypatch):
    X = draw(601, sizes[0], dtype)
    for batch_size, optimizer in [(20, Adam()), (100, SGD(0.1, momentum=0.9)), (601, Adam())]:
        runs = [trained(X, sizes, batch_size, optimizer, n_threads, dtype) for n_threads in (1, 2, 3)]
        runs.append(trained(scipy.sparse.csr_array(X), sizes, batch_size, optimizer, 1, dtype))
        with monkeypatch.context() as patch:
            patch.setattr(engine, "mostly_zeros", lambda X: False)
            expected = trained(X, sizes, batch_size, optimizer, 1, dtype)
        for found in runs[1:]:
            np.testing.assert_array_equal(found, runs[0])
        if has_dots(sizes[1], dtype):
            np.testing.assert_allclose(runs[0], expected, rtol=0.01, atol=1e-4)
        else:
            np.testing.assert_array_equal(runs[0], expected)


def test_what_is_0_is_not_multiplied():
    network = make_network((40, 100, 1), "identity", "identity", "squared_error", np.float32)
    X = draw(100, 40, np.float32)
    X[:, 6:8] = 0
    # 0 times infinity would be nan: first the deltas are infinite, then two rows of the weights.
    network.weights[1][...] = 1e20
    _, (gradient, _), _ = network.loss_and_gradient(X, np.full(100, 3e30, np.float32))
    assert (gradient[6:8] == 0).all()
    assert not np.isfinite(gradient[8:]).all()
    network = make_network((40, 100, 1), "identity", "identity", "squared_error", np.float32)
    expected = network.forward(X).copy()
    network.weights[0][6:8] = np.inf
    np.testing.assert_array_equal(network.forward(np.tile(X, (4, 1)))[:100], expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_has_the_same_outputs_alone_and_among_many(dtype):
    X = draw(1000, 200, dtype)
    network = make_network((200, 100, 5), "relu", *CLASSES, dtype)
    together = network.forward(X)
    for row in range(0, 1000, 37):
        np.testing.assert_array_equal(network.forward(X[row : row + 1])[0], together[row])


def test_zeros_are_skipped_where_there_are_many_and_rows_are_long():
    sparse, dense = draw(100, 40, np.float32), draw(100, 40, np.float32, 0.35)
    assert engine.mostly_zeros(sparse)
    assert not engine.mostly_zeros(dense)
    assert not engine.mostly_zeros(np.where(sparse == 0, np.float32(-0.0), sparse))
    assert not engine.mostly_zeros(sparse[:15])
    assert not engine.mostly_zeros(np.ascontiguousarray(sparse[:, :31]))
    # A sample of many rows, wherever they lie.
    many = np.concatenate([np.zeros((5000, 40), np.float32), np.ones((5000, 40), np.float32)])
    assert not engine.mostly_zeros(many)
    assert engine.mostly_zeros(np.concatenate([np.zeros((20_000, 40), np.float32), many]))
    assert engine.mostly_zeros(scipy.sparse.csr_array(sparse))
    assert not engine.mostly_zeros(scipy.sparse.csr_array(dense))


def test_outputs_of_a_number_of_vectors_that_is_no_sum_are_multiplied_as_they_are():
    step, table = lanes(np.float32), engine.make_table(draw(100, 40, np.float32))
    like, layer = np.zeros(1, np.float32), np.zeros(LAYER_FIELDS, np.int64)
    for vectors, skips in [(1, False), (2, False), (3, True), (5, False), (13, True)]:
        layer[[INPUTS, OUTPUTS, LD]] = 40, vectors * step, vectors * step
        assert skips_zeros(table, layer, like) == skips
