"""Data that are mostly zeros, like written digits, counts of words, or a column for each category: the first
layer skips what is 0.

Two rows of X are multiplied together by the rows of W for which one of them has something, and two rows of
the gradient are summed together over the rows of X that have something for one of them. While parameters and
deltas are finite (0 times infinity is left out, too), outputs are the same to the bit as without skipping,
but for the sign of a zero, and so are gradients, but for those that dense.py sums as dot products.

Legend: a byte has a bit for each of 8 neighbours, 1 if it isn't +0. A list has the positions of ones in some
bytes, each in a byte of its own, so it covers up to 256 neighbours.
"""

import numpy as np

from fastnn.kernels.dense import clear_padding, transpose_back
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import BIAS_AT, LD, OUTPUTS, STRIPS_AT, WEIGHTS_AT, X_AT, X_WIDTH, Z_AT
from fastnn.kernels.simd import (
    block_load,
    block_multiply_add,
    block_store,
    block_zero,
    busy_byte,
    lanes,
    ones,
    panel_of,
    panel_rows,
    store_word,
)
from fastnn.kernels.sparse import is_sparse, multiplied_as_is

# Zeros are skipped where a smaller share of X is not 0 (benchmarks/micro/idle.py; docs/engine.md).
NUMBERS_SHARE = 0.25
# Bytes, of 8 inputs each, of a piece of W that serves all rows of a thread from L1; and inputs whose lists
# are made before the deltas are read.
PIECE_BYTES, LISTED_INPUTS = 12, 24
LIST_LENGTH = 256 + 8  # lists are written 8 positions at a time


def positions_of_ones():
    """(256,) uint64: of each byte, the positions of its ones from the lowest on, a byte each."""
    words = np.zeros(256, dtype=np.uint64)
    for byte in range(256):
        ones_of_byte = [n for n in range(8) if byte >> n & 1]
        words[byte] = sum(n << (8 * place) for place, n in enumerate(ones_of_byte))
    return words


POSITIONS = positions_of_ones()
ONE_IN_EACH = np.uint64(0x0101010101010101)  # 1 in each byte of a word


@kernel(embed=True)
def in_threes(vectors):
    """How many of so many vectors come in threes, so that the others come in fours."""
    return -vectors % 4 * 3


@kernel(embed=True)
def in_threes_and_fours(vectors):
    """Whether so many vectors are a sum of threes and fours, in which blocks come."""
    return vectors >= in_threes(vectors)


@kernel(embed=True)
def output_vectors(layer, like):
    """Vectors that the outputs of a layer fill."""
    return (layer[OUTPUTS] + lanes(like) - 1) // lanes(like)


@kernel(embed=True)
def skips_zeros(table, layer, like):
    """Whether the first layer skips zeros: there are many, and its outputs come in blocks."""
    blocks = in_threes_and_fours(output_vectors(layer, like))
    return table.zeros[0] == 1 and blocks and not multiplied_as_is(table)


@kernel(embed=True)
def note_panel(table, rows, busy, n_rows):
    """What isn't 0 in n_rows rows of the table, rounded up to pairs, in bytes.  rows (R,), busy (R, W)
    uint8.
    """
    pairs = (n_rows + 1) // 2 * 2
    if is_sparse(table):
        note_entries(table, rows, busy, pairs)
    else:
        note_busy(table.X, rows, busy, pairs)


@kernel
def note_entries(table, rows, busy, n_rows):
    """busy[r, w] = the byte of columns 8 w to 8 w + 7 of row rows[r],  r < n_rows."""
    for r in range(n_rows):
        for word in range(busy.shape[1]):
            busy[r, word] = 0
        for k in range(table.starts[rows[r]], table.starts[rows[r] + 1]):
            busy[r, table.columns[k] // 8] |= 1 << (table.columns[k] % 8)


@kernel
def note_busy(X, rows, busy, n_rows):
    """busy[r, w] = the byte of X[rows[r], 8 w : 8 w + 8],  r < n_rows.  X (n, I), I >= 8, busy (R, W)."""
    n_inputs = X.shape[1]
    for r in range(n_rows):
        at = rows[r] * n_inputs
        for word in range(n_inputs // 8):
            busy[r, word] = busy_byte(X, at + 8 * word)
        rest = n_inputs % 8
        if rest:
            busy[r, n_inputs // 8] = busy_byte(X, at + n_inputs - 8) >> (8 - rest)


@kernel
def list_inputs(left, right, first, last, positions):
    """positions[:count] = those of ones in left[w] | right[w],  first <= w < last, from `first` on; returns
    count.  left, right (W,) uint8, positions (LIST_LENGTH,) uint8.
    """
    count = 0
    for word in range(first, last):
        byte = np.int64(left[word] | right[word])
        store_word(positions, count, POSITIONS[byte] + np.uint64(8 * (word - first)) * ONE_IN_EACH)
        count += ones(byte)
    return count


@kernel
def list_rows(x, i, x_width, n_rows, positions):
    """positions[:count] = the rows r < n_rows, at most 256, where x[i, r] or x[i + 1, r] isn't +0; returns
    count.  x: panels (T/R, x_width, R), positions (LIST_LENGTH,) uint8.
    """
    count, rows = 0, panel_rows(x)
    # SSE has panels of 4 rows in double. Of 8 numbers, 4 are the next input's there, or those that follow the
    # panels in a tile: they don't count.
    unit = min(8, rows)
    for start in range(0, n_rows, rows):
        at = start * x_width + i * rows
        for r in range(0, min(rows, n_rows - start), unit):
            byte = busy_byte(x, at + r) | busy_byte(x, at + rows + r)
            left = min(unit, n_rows - start - r)
            if left < 8:
                byte &= (1 << left) - 1
            store_word(positions, count, POSITIONS[byte] + np.uint64(start + r) * ONE_IN_EACH)
            count += ones(byte)
    return count


def make_pair_product(width):
    """The kernel that multiplies two rows by `width` vectors of outputs."""

    @kernel
    def pair_product(parameters, ld, x, listed, products, r, o, fresh):
        """products[r + m, o] = (bias[o] if fresh else the same) + sum_k W[i, o] x[i, r + m],
        i = positions[k].

        (weights, bias) = parameters, (positions, count) = listed.  weights (I, ld), x (I, R),
        products (R, ld).
        """
        (weights, bias), (positions, count) = parameters, listed
        rows, step = panel_rows(x), lanes(x)
        if fresh:
            block = block_load(bias, 2, width, o, 0)
        else:
            block = block_load(products, 2, width, r * ld + o, ld)
        for k in range(count):
            i = np.int64(positions[k])
            block = block_multiply_add(block, x, i * rows + r, 1, weights, i * ld + o, step)
        block_store(block, products, r * ld + o, ld)

    return pair_product


pair_by_three, pair_by_four = make_pair_product(3), make_pair_product(4)


@kernel
def busy_product(parameters, ld, x, busy, part, products, sizes, fresh, positions):
    """products[r, o] = (bias[o] if fresh else the same) + sum_i W[i, o] x[i, r],  r < n_rows rounded up to
    pairs, over the inputs of the bytes part[0] <= w < part[1].

    (weights, bias) = parameters, weights (I, ld) and x (I, R) from the first of these inputs on; busy (R, W);
    products (R, ld); (n_rows, vectors) = sizes, the vectors of outputs; positions: room for a list.
    """
    (n_rows, vectors), step = sizes, lanes(x)
    threes = in_threes(vectors)
    for r in range(0, n_rows, 2):
        listed = positions, list_inputs(busy[r], busy[r + 1], part[0], part[1], positions)
        for o in range(0, threes, 3):
            pair_by_three(parameters, ld, x, listed, products, r, o * step, fresh)
        for o in range(threes, vectors, 4):
            pair_by_four(parameters, ld, x, listed, products, r, o * step, fresh)


@kernel(embed=True)
def propagate_busy(layer, params, scratch, panels, n_rows):
    """z = W' x + b of the first layer, from what `note_panel` has noted of panels[0] <= panel < panels[1]."""
    weights = params[layer[WEIGHTS_AT] : layer[BIAS_AT]]
    bias = params[layer[BIAS_AT] : layer[BIAS_AT] + layer[LD]]
    tile, ld, outputs, n_bytes = scratch.tile, layer[LD], layer[OUTPUTS], scratch.busy.shape[2]
    rows, vectors = panel_rows(tile), output_vectors(layer, tile)
    for begin in range(0, n_bytes, PIECE_BYTES):
        part, fresh = (begin, min(n_bytes, begin + PIECE_BYTES)), begin == 0
        w = weights[8 * begin * ld :]
        for panel in range(panels[0], panels[1]):
            count, busy = min(rows, n_rows - panel * rows), scratch.busy[panel]
            x = panel_of(tile, layer[X_AT], layer[X_WIDTH], panel)[8 * begin * rows :]
            # The deltas, in strips, come here later: until then the place is free.
            products = panel_of(tile, layer[STRIPS_AT], ld, panel)
            sizes = count, vectors
            busy_product((w, bias), ld, x, busy, part, products, sizes, fresh, scratch.lists[0])
            if part[1] == n_bytes:
                z = panel_of(tile, layer[Z_AT], ld, panel)
                transpose_back(products, z, ld, outputs, count)


def make_pair_gradient(width):
    """The kernel that sums two rows of the gradient, `width` vectors of each."""

    @kernel
    def pair_gradient(x, deltas, gradient, widths, listed, i, at, o, fresh):
        """gradient[at + m, o] = (0 if fresh else the same) + sum_k x[i + m, r] delta[r, o],
        r = positions[k].

        (x_width, ld) = widths, (positions, count) = listed; arrays as in `busy_gradient`.
        """
        (x_width, ld), (positions, count) = widths, listed
        rows, step, block = panel_rows(x), lanes(x), block_zero(x, 2, width)
        for k in range(count):
            r = np.int64(positions[k])
            start, lane = r // rows * rows, r % rows
            x_at, d_at = start * x_width + i * rows + lane, start * ld + o * rows + lane * step
            block = block_multiply_add(block, x, x_at, rows, deltas, d_at, rows * step)
        if not fresh:
            block += block_load(gradient, 2, width, at * ld + o, ld)
        block_store(block, gradient, at * ld + o, ld)

    return pair_gradient


gradient_by_three, gradient_by_four = make_pair_gradient(3), make_pair_gradient(4)


@kernel
def busy_gradient(layer, x, deltas, gradient, inputs, n_rows, fresh, lists):
    """gradient[i - first, o] = (0 if fresh else the same) + sum_r x[i, r] delta[r, o],  first <= i < last, an
    even number of them; r < n_rows, at most 256.

    (first, last) = inputs; x: panels (T/R, x_width, R), deltas: strips (T/R, ld / lanes, R, lanes), gradient
    (last - first, ld); (lists, counts) = lists: room for lists and their lengths.
    """
    (first, last), (lists, counts), widths = inputs, lists, (layer[X_WIDTH], layer[LD])
    step, vectors = lanes(x), output_vectors(layer, x)
    threes = in_threes(vectors)
    for begin in range(first, last, LISTED_INPUTS):
        pairs = (min(last, begin + LISTED_INPUTS) - begin) // 2
        for pair in range(pairs):
            counts[pair] = list_rows(x, begin + 2 * pair, layer[X_WIDTH], n_rows, lists[pair])
        # Deltas of few outputs, from L1, serve all these inputs.
        for o in range(0, threes, 3):
            for pair in range(pairs):
                i, listed = begin + 2 * pair, (lists[pair], counts[pair])
                gradient_by_three(x, deltas, gradient, widths, listed, i, i - first, o * step, fresh)
        for o in range(threes, vectors, 4):
            for pair in range(pairs):
                i, listed = begin + 2 * pair, (lists[pair], counts[pair])
                gradient_by_four(x, deltas, gradient, widths, listed, i, i - first, o * step, fresh)
    if fresh:
        clear_padding(gradient, layer[OUTPUTS], layer[LD], (last - first) * layer[LD])
