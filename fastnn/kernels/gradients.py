"""Weight gradients from a finished tile, one chunk of weight rows after the other, without its idle inputs.

Legend: as in backprop.py.
"""

from fastnn.kernels.backprop import find_busy
from fastnn.kernels.dense import GRADIENT_ROWS, SUM_LENGTH, bias_by_vectors, bias_gradient, weight_gradient
from fastnn.kernels.idle import pick_rows, spread_rows
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import (
    BIAS_AT,
    BY_DOTS,
    CHUNK_FIRST,
    CHUNK_HAS_BIAS,
    CHUNK_LAST,
    CHUNK_LAYER,
    DELTA_AT,
    INPUTS,
    LD,
    STRIPS_AT,
    WEIGHTS_AT,
    X_AT,
    X_WIDTH,
)
from fastnn.kernels.simd import lanes, panel_of, panel_rows


@kernel(embed=True)
def copy_busy(layer, scratch, busy, copy, width, row, n_rows):
    """The inputs that `busy` lists of the panels of n_rows rows from `row` on.  copy (T/R, width, R)."""
    rows, first = panel_rows(scratch.tile), row // panel_rows(scratch.tile)
    for panel in range((n_rows + rows - 1) // rows):
        source = panel_of(scratch.tile, layer[X_AT], layer[X_WIDTH], first + panel)
        pick_rows(source, rows, busy, rows, copy[panel * width * rows :], rows)


@kernel(embed=True)
def chunk_gradient(model, chunk, scratch, gradient, origin, n_rows, fresh):
    """Gradient of one chunk of weight rows from a finished tile.  gradient: the flat vector from `origin` on.

    Of thin rows, the first layer's comes from thin.py.
    """
    tile = scratch.tile
    layer, rows = model.layers[chunk[CHUNK_LAYER]], panel_rows(tile)
    panels = (n_rows + rows - 1) // rows
    x = tile[layer[X_AT] : layer[X_AT] + panels * layer[X_WIDTH] * rows]
    delta = tile[layer[DELTA_AT] : layer[DELTA_AT] + panels * layer[LD] * rows]
    deltas = tile[layer[STRIPS_AT] : layer[STRIPS_AT] + panels * layer[LD] * rows]
    first, last, at = chunk[CHUNK_FIRST], chunk[CHUNK_LAST], layer[WEIGHTS_AT] - origin
    weights = gradient[at + first * layer[LD] : at + last * layer[LD]]
    ld, width, stop = layer[LD], layer[X_WIDTH], min(last, layer[INPUTS])
    n_busy = stop - first
    # Of fewer inputs than lanes, none is left out here: dense rows of so few have no masks, and sparse ones
    # have to have their bits. Forward, where no bit depends on it, those of CSR are left out all the same: a
    # step of 15-100-10, 12 inputs idle, 0.92 to 0.96 (in turn).
    may_pick = chunk[CHUNK_LAYER] == 0 and layer[INPUTS] >= lanes(tile)
    if may_pick:
        n_busy = find_busy(layer, scratch, (0, panels), first, stop)
    # There is room for copies of so many.
    picks = n_busy < stop - first and n_busy <= SUM_LENGTH
    busy, sums, x_copy, inputs = scratch.active[:n_busy], weights, x, (first, last)
    if picks:
        width, inputs = (n_busy + 7) // 8 * 8, (0, n_busy)
        sums, x_copy = scratch.copies[: width * ld], scratch.copies[width * ld :]
        if not fresh:
            # Not added at the end: what is added to what, and when, decides the last bits.
            pick_rows(gradient[at:], ld, busy, ld, sums, ld)
    # A dot product ends with the sum of a vector: once a tile. But bits must not depend on idle inputs, nor
    # has a copy without them room for more rows.
    length = n_rows if layer[BY_DOTS] and not may_pick else GRADIENT_ROWS
    for row in range(0, n_rows, length):
        count, begins = min(length, n_rows - row), fresh and row == 0
        x_rows, start = x[row * layer[X_WIDTH] :], row * ld
        if picks:
            copy_busy(layer, scratch, busy, x_copy, width, row, count)
            x_rows = x_copy
        d, strips = delta[start:], deltas[start:]
        weight_gradient(layer, x_rows, width, d, strips, sums, inputs, count, begins)
    if picks:
        spread_rows(sums, ld, busy, n_busy, weights, first, stop, fresh)


@kernel(embed=True)
def chunk_bias_gradient(model, chunk, scratch, gradient, origin, n_rows, fresh):
    """Gradient of the bias that follows the chunk, if one does."""
    layer = model.layers[chunk[CHUNK_LAYER]]
    if chunk[CHUNK_HAS_BIAS]:
        tile, at, ld = scratch.tile, layer[BIAS_AT] - origin, layer[LD]
        delta, deltas = tile[layer[DELTA_AT] :], tile[layer[STRIPS_AT] :]
        bias = gradient[at : at + ld]
        if layer[BY_DOTS]:
            bias_by_vectors(delta, deltas, bias, ld, n_rows, fresh)
        else:
            bias_gradient(deltas, bias, ld, n_rows, fresh)
