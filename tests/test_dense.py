"""kernels/dense.py against NumPy for every row count and width, each buffer between guard zones.

Buffers have exactly the padded sizes of the engine (layout.py), padding is 0, and what a kernel writes holds
NaN before the call.
"""

import itertools

import numpy as np
import pytest
from cases import DTYPES, READ, ROWS, WIDTHS, WRITTEN, Guarded, assert_sums_agree, padded

from fastnn.kernels import dense
from fastnn.kernels.layout import (
    BY_DOTS,
    INPUTS,
    LAYER_FIELDS,
    LD,
    OUTPUTS,
    PANEL_VECTORS,
    round_up,
    row_length,
    vector_lanes,
)

LONG = 2 * dense.SUM_LENGTH + 17


def lanes(dtype):
    return vector_lanes(np.dtype(dtype))


def piece(dtype):
    return 16 // np.dtype(dtype).itemsize


def panel_rows(dtype):
    return PANEL_VECTORS * lanes(dtype)


def draw(shape, dtype, seed=0):
    return np.random.default_rng([seed, *np.atleast_1d(shape)]).normal(size=shape).astype(dtype)


def panels(matrix, width):
    """Panels (T/R, width, R) of a matrix (rows, features), zeros where there is nothing."""
    rows = panel_rows(matrix.dtype)
    count = -(-len(matrix) // rows)
    tall = np.zeros((count * rows, width), matrix.dtype)
    tall[: len(matrix), : matrix.shape[1]] = matrix
    return tall.reshape(count, rows, width).transpose(0, 2, 1)


def strips(matrix):
    """Strips (T/R, ld/lanes, R, lanes) of a matrix (T, ld) of whole panels and vectors."""
    rows, step = panel_rows(matrix.dtype), lanes(matrix.dtype)
    return matrix.reshape(-1, rows, matrix.shape[1] // step, step).transpose(0, 2, 1, 3)


def unpanelled(tile, n_rows):
    """(n_rows, features) of panels (T/R, features, R)."""
    return tile.transpose(0, 2, 1).reshape(-1, tile.shape[1])[:n_rows]


def multiply(weights, ld, bias, x, z, a, sizes, n_rows, kernel, end):
    """All panels; back, a last one of few rows by a kernel of its own; sums in parts as in the engine."""
    (n_inputs, x_width), (n_outputs, z_width) = sizes
    rows = panel_rows(weights.dtype)
    length = dense.part_length(n_inputs, lanes(weights.dtype))
    for first in range(0, n_inputs, length):
        last = min(n_inputs, first + length)
        for panel in range(-(-n_rows // rows)):
            few = kernel in BACK and n_rows - panel * rows <= lanes(weights.dtype)
            chosen = dense.narrow_product_back if few else kernel
            x_panel = x[panel * x_width * rows : (panel + 1) * x_width * rows]
            z_panel = z[panel * z_width * rows : (panel + 1) * z_width * rows]
            a_panel = a[panel * z_width * rows : (panel + 1) * z_width * rows]
            part = weights[first * (1 if kernel in BACK else ld) :]
            what = end if last == n_inputs else dense.PLAIN
            x_part = x_panel[first * rows :]
            chosen(part, ld, bias, x_part, z_panel, a_panel, (n_outputs, last - first), first == 0, what)


BACK = dense.product_back, dense.long_product_back
# Of a: the derivative, and the sum of its terms without their signs.
SLOPES = {
    dense.TIMES_RELU_SLOPE: (lambda a: a != 0, lambda a: a != 0),
    dense.TIMES_LOGISTIC_SLOPE: (lambda a: a * (1 - a), lambda a: a * (1 + a)),
    dense.TIMES_TANH_SLOPE: (lambda a: (1 + a) * (1 - a), lambda a: 1 + a * a),
}


def check_product(n_inputs, n_outputs, n_rows, dtype, kernel=dense.product, end=dense.PLAIN):
    """z = W' x + b; back dx = W delta; and what becomes of it."""
    backwards = kernel in BACK
    shape = (n_outputs, n_inputs) if backwards else (n_inputs, n_outputs)
    W, x = draw(shape, dtype, 1), draw((n_rows, n_inputs), dtype, 2)
    ld = row_length(shape[1], lanes(dtype))
    bias = np.zeros(n_outputs, dtype) if backwards else draw(n_outputs, dtype, 3)
    x_width = row_length(n_inputs, lanes(dtype))
    z_width = round_up(n_outputs, 8)
    read = [
        Guarded(padded(W, ld), READ),
        Guarded(padded(bias[None], z_width)[0], READ),
        Guarded(panels(x, x_width), READ, shift=n_rows % 16),
        Guarded(panels(np.maximum(draw((n_rows, n_outputs), dtype, 4), 0), z_width), READ),
    ]
    z = Guarded(
        np.full((-(-n_rows // panel_rows(dtype)), z_width, panel_rows(dtype)), np.nan, dtype), WRITTEN
    )
    sizes = (n_inputs, x_width), (n_outputs, z_width)
    weights, bias_padded, x_panels, a_panels = (buffer.values for buffer in read)
    multiply(weights, ld, bias_padded, x_panels, z.values, a_panels, sizes, n_rows, kernel, end)
    own = W.T if backwards else W
    exact = x.astype(float) @ own + bias
    magnitude = np.abs(x) @ np.abs(own).astype(float) + np.abs(bias)
    actual = unpanelled(z.values.reshape(-1, z_width, panel_rows(dtype)), n_rows)[:, :n_outputs]
    n_roundings = n_inputs + 1
    if end == dense.RECTIFIED:
        exact = np.maximum(exact, 0)
    elif end != dense.PLAIN:
        a = unpanelled(a_panels.reshape(-1, z_width, panel_rows(dtype)), n_rows)[:, :n_outputs].astype(float)
        slope, terms = (function(a) for function in SLOPES[end])
        np.testing.assert_array_equal(actual[slope == 0], 0)
        exact, magnitude, n_roundings = exact * slope, magnitude * terms, n_roundings + 3
    assert_sums_agree(actual, exact, n_roundings, magnitude, dtype)
    z.assert_guards_untouched()
    for buffer in read:
        buffer.assert_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_inputs", [*WIDTHS, LONG])
def test_product_is_weighted_sum_plus_bias(n_inputs, dtype):
    for n_outputs in WIDTHS:
        for n_rows in ROWS:
            check_product(n_inputs, n_outputs, n_rows, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_inputs", [*WIDTHS, LONG])
def test_the_product_back_is_the_gradient_by_the_inputs(n_inputs, dtype):
    for n_outputs in WIDTHS:
        for n_rows in ROWS:
            check_product(n_inputs, n_outputs, n_rows, dtype, dense.product_back)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", ["long_product", "long_product_back", "far_product"])
@pytest.mark.parametrize("n_inputs", [1, 64, 130, LONG])
def test_long_products_are_the_same_with_more_outputs_at_a_time(n_inputs, kernel, dtype):
    for n_outputs in [n for n in range(4, 131) if dense.rows_in_high_blocks(n, dense.LONG_SUM) >= n]:
        for n_rows in (1, panel_rows(dtype), 65):
            check_product(n_inputs, n_outputs, n_rows, dtype, getattr(dense, kernel))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", ["product", "long_product", "far_product", "single_product"])
def test_a_finished_product_goes_through_relu(kernel, dtype):
    n_outputs = {"product": 12, "single_product": 1}.get(kernel, 2 * dense.HIGH)
    for n_inputs, n_rows in itertools.product([1, 10, LONG], [1, 40, 65]):
        check_product(n_inputs, n_outputs, n_rows, dtype, getattr(dense, kernel), dense.RECTIFIED)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("end", SLOPES)
@pytest.mark.parametrize("kernel", ["product_back", "long_product_back"])
def test_a_finished_product_is_multiplied_by_a_derivative(kernel, end, dtype):
    for n_inputs, n_rows in itertools.product([1, 10, LONG], [1, 40, 65]):
        check_product(n_inputs, 2 * dense.HIGH, n_rows, dtype, getattr(dense, kernel), end)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("end", [dense.TIMES_LOGISTIC_SLOPE, dense.TIMES_TANH_SLOPE])
def test_a_derivative_keeps_its_digits_near_saturation(end, dtype):
    # Where multiply and add are not fused, 1 - a^2 would have the error of a^2; and it must not matter which
    # kernel takes a row.
    rows, count, eps = panel_rows(dtype), 24, float(np.finfo(dtype).eps)
    sums, x, bias = draw((count,), dtype), np.ones(rows, dtype), np.zeros(count, dtype)
    a = 1 - eps * np.resize([0.5, 1, 2, 3, 5, 17, 100, 1234, 4097, 1 / eps], (count, rows))
    a = (a * np.resize([1, -1], rows) if end == dense.TIMES_TANH_SLOPE else a).astype(dtype)
    exact = sums[:, None] * SLOPES[end][0](a.astype(np.longdouble))
    results = []
    for kernel in (*BACK, dense.narrow_product_back):
        z = np.full(count * rows, np.nan, dtype)
        kernel(sums, 1, bias, x, z, a.ravel(), (count, 1), True, end)
        results.append(z.reshape(count, rows)[:, : lanes(dtype)])
    np.testing.assert_allclose(results[0], exact[:, : lanes(dtype)], rtol=2.5 * eps)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_that_is_nan_stays_nan_in_relu_and_is_0_where_relu_was(dtype):
    rows = panel_rows(dtype)
    weights, bias, x = np.full(8, np.nan, dtype), np.zeros(8, dtype), np.ones(rows, dtype)
    a = np.arange(4 * rows, dtype=dtype) % 2
    behind = np.where(a == 0, 0, np.nan)
    forward, back = (dense.product, dense.RECTIFIED), (dense.product_back, dense.TIMES_RELU_SLOPE)
    for (kernel, end), expected in [(forward, np.nan), (back, behind)]:
        z = np.zeros(4 * rows, dtype)
        kernel(weights, 1, bias, x, z, a, (4, 1), True, end)
        np.testing.assert_array_equal(z, np.broadcast_to(expected, z.shape))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_product_of_one_output_has_the_same_bits_as_that_of_several(dtype):
    rows = panel_rows(dtype)
    for n_inputs, fresh in itertools.product((1, 2, 3, 8, LONG), (True, False)):
        weights, bias, x = draw((n_inputs, 8), dtype), draw((8,), dtype), draw((n_inputs, rows), dtype)
        several = draw((4, rows), dtype)
        read = [Guarded(weights.ravel(), READ), Guarded(bias, READ), Guarded(x.ravel(), READ)]
        z = Guarded(several[0].copy(), WRITTEN)
        w, b, panel = (buffer.values for buffer in read)
        dense.single_product(w, 8, b, panel, z.values, panel, (1, n_inputs), fresh, dense.PLAIN)
        dense.product(w, 8, b, panel, several.ravel(), panel, (4, n_inputs), fresh, dense.PLAIN)
        np.testing.assert_array_equal(z.values, several[0])
        z.assert_guards_untouched()
        for buffer in read:
            buffer.assert_untouched()


@pytest.mark.parametrize("height", [6, 8])
def test_rows_are_taken_in_high_blocks_and_what_is_left_in_fours(height, monkeypatch):
    monkeypatch.setattr(dense, "HIGH", height)
    rows_in_high_blocks = dense.rows_in_high_blocks.py_func
    for count in range(1, 200):
        assert rows_in_high_blocks(count, dense.LONG_SUM - 1) == 0
        high = rows_in_high_blocks(count, dense.LONG_SUM)
        left = max(0, count - high)
        assert high >= 0
        assert high % height == 0
        assert left <= 8
        # What the blocks reach beyond is padding: up to the next multiple of 4.
        assert high + -(-left // 4) * 4 == -(-count // 4) * 4


def test_sums_are_cut_in_equal_parts_of_whole_vectors():
    for step in (2, 4, 8, 16):
        for n_inputs in range(1, 2000):
            length = dense.part_length(n_inputs, step)
            assert length % step == 0
            assert length <= dense.SUM_LENGTH
            parts = -(-n_inputs // length)
            assert parts == -(-n_inputs // dense.SUM_LENGTH)
            # Equal but for what makes them whole vectors.
            assert n_inputs - (parts - 1) * length > length - parts * step


def layer_row(n_inputs, n_outputs, ld, by_dots):
    row = np.zeros(LAYER_FIELDS, np.int64)
    row[[INPUTS, OUTPUTS, LD, BY_DOTS]] = n_inputs, n_outputs, ld, by_dots
    return row


def check_weight_gradient(n_inputs, n_outputs, n_rows, dtype, fresh, by_dots=False):
    x, delta = draw((n_rows, n_inputs), dtype, 1), draw((n_rows, n_outputs), dtype, 2)
    ld, x_width = row_length(n_outputs, lanes(dtype)), round_up(n_inputs, 8)
    tile_rows = round_up(n_rows, panel_rows(dtype))
    # Rows that the tile has and the batch has not: whatever they hold doesn't count.
    x_tall = np.full((tile_rows, n_inputs), 1e6, dtype)
    delta_rows = np.full((tile_rows, ld), -1e6, dtype)
    x_tall[:n_rows], delta_rows[:n_rows] = x, padded(delta, ld)[:n_rows]
    # Before: padding of 0, as in the engine, and nothing at all that counts where the gradient is fresh.
    start = padded(draw((n_inputs, n_outputs), dtype, 3), ld)
    if fresh:
        start = np.full_like(start, np.nan)
    delta_panels = delta_rows.reshape(-1, panel_rows(dtype), ld).transpose(0, 2, 1)
    read = [Guarded(panels(x_tall, x_width), READ), Guarded(delta_panels, READ)]
    strip_rows = strips(delta_rows)
    if by_dots:
        # Rows that fill whole vectors have no strips.
        for panel, row in np.ndindex(len(strip_rows), panel_rows(dtype)):
            if panel * panel_rows(dtype) + row < n_rows - n_rows % lanes(dtype):
                strip_rows[panel, :, row] = np.nan
    read.append(Guarded(strip_rows, READ, shift=n_rows % 16))
    gradient = Guarded(start, WRITTEN)
    layer = layer_row(n_inputs, n_outputs, ld, by_dots)
    half = round_up(x_width // 2, 8)
    for first, last in [(0, half), (half, x_width)]:
        part = gradient.values[first * ld : last * ld]
        inputs, *buffers = (buffer.values for buffer in read)
        dense.weight_gradient(layer, inputs, x_width, *buffers, part, (first, last), n_rows, fresh)
    added = 0 if fresh else start[:n_inputs, :n_outputs].astype(float)
    magnitude = np.abs(x).T @ np.abs(delta).astype(float) + np.abs(added)
    result = gradient.values.reshape(x_width, ld)
    exact = added + x.T.astype(float) @ delta
    assert_sums_agree(result[:n_inputs, :n_outputs], exact, n_rows + 1, magnitude, dtype)
    assert not result[:n_inputs, n_outputs:].any()
    # Rows of padding are 0, or were not touched.
    np.testing.assert_array_equal(np.nan_to_num(result[n_inputs:]), 0)
    gradient.assert_guards_untouched()
    for buffer in read:
        buffer.assert_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_inputs", WIDTHS)
def test_weight_gradient_is_the_sum_of_outer_products(n_inputs, dtype):
    # 4 and 36: outputs that dots take, alone and beside others.
    for n_outputs in [*WIDTHS, 4, 36, 256]:
        for n_rows in ROWS:
            check_weight_gradient(n_inputs, n_outputs, n_rows, dtype, fresh=True)
        for n_rows in ROWS[::4]:
            check_weight_gradient(n_inputs, n_outputs, n_rows, dtype, fresh=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_inputs", WIDTHS)
def test_weight_gradient_by_dots_needs_no_strips_of_whole_vectors(n_inputs, dtype):
    for n_outputs in [*WIDTHS, 4, 36]:
        for n_rows in ROWS:
            check_weight_gradient(n_inputs, n_outputs, n_rows, dtype, n_rows % 2 == 0, by_dots=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("by_vectors", [True, False])
def test_bias_gradient_is_the_sum_over_the_rows(by_vectors, fresh, dtype):
    for n_outputs in WIDTHS:
        ld = row_length(n_outputs, lanes(dtype))
        for n_rows in ROWS:
            delta = padded(draw((n_rows, n_outputs), dtype, 1), ld)[:n_rows]
            start = padded(draw((1, n_outputs), dtype, 2), ld)[0]
            # Rows that the tile has and the batch has not.
            tall = np.full((round_up(n_rows, panel_rows(dtype)), ld), np.nan, dtype)
            tall[:n_rows] = delta
            read = Guarded(strips(tall), READ)
            gradient = Guarded(np.full(ld, np.nan, dtype) if fresh else start, WRITTEN)
            if by_vectors:
                delta_panels = Guarded(panels(tall, ld), READ)
                dense.bias_by_vectors(delta_panels.values, read.values, gradient.values, ld, n_rows, fresh)
                delta_panels.assert_untouched()
            else:
                dense.bias_gradient(read.values, gradient.values, ld, n_rows, fresh)
            added = 0 if fresh else start.astype(float)
            magnitude = np.abs(delta).sum(axis=0, dtype=float) + np.abs(added)
            exact = added + delta.sum(axis=0, dtype=float)
            assert_sums_agree(gradient.values, exact, n_rows + 1, magnitude, dtype)
            gradient.assert_guards_untouched()
            read.assert_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_inputs", [*WIDTHS, LONG])
def test_product_of_few_rows_is_weighted_sum_plus_bias(n_inputs, dtype):
    rows, x_width = panel_rows(dtype), round_up(n_inputs, 8)
    for n_outputs in [*WIDTHS, 130]:
        ld = row_length(n_outputs, lanes(dtype))
        W, bias = draw((n_inputs, n_outputs), dtype, 1), draw(n_outputs, dtype, 3)
        for n_rows in range(1, lanes(dtype) + 1):
            x = draw((n_rows, n_inputs), dtype, 2)
            read = [Guarded(padded(values, ld), READ) for values in (W, bias[None])]
            read.append(Guarded(panels(x, x_width), READ))
            products = Guarded(np.full((rows, ld), np.nan, dtype), WRITTEN)
            weights, b, panel = (buffer.values for buffer in read)
            dense.few_rows_product(weights, ld, b[:ld], panel, products.values, n_inputs, n_rows)
            exact, magnitude = x.astype(float) @ W + bias, np.abs(x) @ np.abs(W).astype(float) + np.abs(bias)
            actual = products.values.reshape(rows, ld)[:n_rows]
            assert_sums_agree(actual[:, :n_outputs], exact, n_inputs + 1, magnitude, dtype)
            np.testing.assert_array_equal(actual[:, n_outputs:], 0)
            products.assert_guards_untouched()
            for buffer in read:
                buffer.assert_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose_panel_turns_features_into_strips_of_rows(dtype):
    rows = panel_rows(dtype)
    for n_outputs in [*WIDTHS, 128]:
        ld = row_length(n_outputs, lanes(dtype))
        matrix = padded(draw((rows, n_outputs), dtype), ld)[:rows]
        delta = Guarded(matrix.T, READ)
        deltas = Guarded(np.full((ld, rows), np.nan, dtype), WRITTEN)
        expected = np.full_like(strips(matrix), np.nan)
        for first, n_rows in [(lanes(dtype), rows - 1), (0, 1), (0, rows), (rows, rows)]:
            dense.transpose_panel(delta.values, deltas.values, first, n_rows)
            # Not more than whole pieces of 128 bits.
            written = slice(first, round_up(n_rows, piece(dtype)))
            expected[:, :, written] = strips(matrix)[:, :, written]
            np.testing.assert_array_equal(deltas.values, expected.ravel())
        deltas.assert_guards_untouched()
        delta.assert_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
def test_delta_of_row_finds_the_row_in_all_strips(dtype):
    rows = panel_rows(dtype)
    for n_outputs in [*WIDTHS, 128]:
        ld = row_length(n_outputs, lanes(dtype))
        matrix = padded(draw((rows, n_outputs), dtype), ld)[:rows]
        deltas = Guarded(strips(matrix), READ)
        for row in range(rows):
            delta = Guarded(np.full(ld, np.nan, dtype), WRITTEN)
            dense.delta_of_row(deltas.values, row, delta.values)
            np.testing.assert_array_equal(delta.values, matrix[row])
            delta.assert_guards_untouched()
        deltas.assert_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose_back_turns_rows_into_features(dtype):
    rows = panel_rows(dtype)
    for n_outputs in [*WIDTHS, 128]:
        ld = row_length(n_outputs, lanes(dtype))
        products = Guarded(padded(draw((rows, n_outputs), dtype), ld)[:rows], READ)
        z, written = Guarded(np.full((ld, rows), np.nan, dtype), WRITTEN), round_up(n_outputs, piece(dtype))
        expected = np.full((ld, rows), np.nan, dtype)
        for n_rows, whole in [(1, lanes(dtype)), (lanes(dtype), lanes(dtype)), (rows, rows)]:
            dense.transpose_back(products.values, z.values, ld, n_outputs, n_rows)
            expected[:written, :whole] = products.values.reshape(rows, ld).T[:written, :whole]
            np.testing.assert_array_equal(z.values.reshape(ld, rows), expected)
        z.assert_guards_untouched()
        products.assert_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gather_panel_takes_the_rows_asked_for(dtype):
    rows = panel_rows(dtype)
    for n in ROWS:
        for n_inputs in [*WIDTHS, LONG]:
            X = Guarded(draw((n, n_inputs), dtype), READ)
            order = np.random.default_rng(n).integers(0, n, rows)
            order[[0, -1]] = n - 1, 0
            panel = Guarded(np.full((n_inputs, rows), np.nan, dtype), WRITTEN)
            expected = X.values.reshape(n, n_inputs)[order].T
            masks = np.zeros(-(-n_inputs // lanes(dtype)), np.int64)
            for n_rows in (1, lanes(dtype), rows):
                dense.gather_panel(X.values.reshape(n, n_inputs), order, panel.values, masks, n_rows)
                taken = panel.values.reshape(n_inputs, rows)
                np.testing.assert_array_equal(taken[:, :n_rows], expected[:, :n_rows])
                # Not more than whole vectors.
                assert np.isnan(taken[:, round_up(n_rows, lanes(dtype)) :]).all()
            panel.assert_guards_untouched()
            X.assert_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
def test_scatter_panel_fills_its_rows_and_no_other(dtype):
    rows = panel_rows(dtype)
    for n_outputs in WIDTHS:
        panel = Guarded(draw((n_outputs, rows), dtype), READ)
        for count in {1, rows // 2, rows - 1, rows}:
            out = Guarded(np.full((count + 5, n_outputs), -1, dtype), WRITTEN)
            dense.scatter_panel(panel.values, out.values.reshape(-1, n_outputs), 3, count)
            expected = np.full((count + 5, n_outputs), -1, dtype)
            expected[3 : 3 + count] = panel.values.reshape(n_outputs, rows).T[:count]
            np.testing.assert_array_equal(out.values.reshape(-1, n_outputs), expected)
            out.assert_guards_untouched()
