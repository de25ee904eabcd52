"""Rows that are mostly zeros: CSR as it is, never a dense copy of the data set.

Legend: a row of X has `count` entries `values` at columns `active`; W, its gradient (I, ld); R rows of a
panel.
"""

from typing import NamedTuple

import numpy as np

from fastnn.kernels.dense import delta_of_row, transpose_back
from fastnn.kernels.idle import word_start
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import BIAS_AT, LD, OUTPUTS, STRIPS_AT, WEIGHTS_AT, Z_AT
from fastnn.kernels.sample import SIDE_BY_SIDE, product_by_rows, update_rows
from fastnn.kernels.simd import lanes, panel_of, panel_rows

# Entries a place from which a panel is cheaper expanded than multiplied entry by entry
# (benchmarks/micro/sparse.py).
DENSE_ENOUGH = 0.1


class Table(NamedTuple):
    """The rows of a data set: dense, with empty CSR arrays, or CSR, with X of no rows."""

    X: np.ndarray  # (n, I)
    values: np.ndarray  # (entries,)
    columns: np.ndarray  # (entries,) int32, ascending and unique in a row
    starts: np.ndarray  # (n + 1,) int64
    zeros: np.ndarray  # (1,) int64: 1 if so many numbers are 0 that they are skipped (zeros.py)


@kernel(embed=True)
def is_sparse(table):
    """Whether the table is CSR."""
    return table.starts.size > 0


@kernel(embed=True)
def multiplied_as_is(table):
    """Whether the first layer takes entry by entry what is in the table."""
    places = float(table.starts.size - 1) * table.X.shape[1]
    return is_sparse(table) and table.values.size < DENSE_ENOUGH * places


@kernel(embed=True)
def read_row(table, row, active, values):
    """active, values = the entries of one row, then zeros up to a multiple of 8; returns their count."""
    start, count = table.starts[row], table.starts[row + 1] - table.starts[row]
    for k in range(count):
        active[k] = table.columns[start + k]
        values[k] = table.values[start + k]
    for k in range(count, count + SIDE_BY_SIDE):
        active[k] = 0
        values[k] = 0
    return count


@kernel
def expand_panel(table, rows, panel, masks):
    """panel[i, r] = X[rows[r], i], and the masks of idle.py.  rows (R,), panel (I, R)."""
    height, step, n_inputs = panel_rows(panel), lanes(panel), table.X.shape[1]
    for word in range(masks.size):
        masks[word] = 0
    for i in range(panel.size):
        panel[i] = 0
    for r in range(height):
        for k in range(table.starts[rows[r]], table.starts[rows[r] + 1]):
            column = table.columns[k]
            panel[column * height + r] = table.values[k]
            word = column // step
            masks[word] |= 1 << (column - word_start(word, step, n_inputs))


@kernel
def multiply_panel(table, layer, params, scratch, panel):
    """z[o, r] = b[o] + sum_k values[k] W[active[k], o] of the first layer, for the rows of one panel."""
    tile, rows, ld = scratch.tile, panel_rows(scratch.tile), layer[LD]
    weights = params[layer[WEIGHTS_AT] : layer[BIAS_AT]]
    bias = params[layer[BIAS_AT] : layer[BIAS_AT] + ld]
    # The deltas, in strips, come here later: until then the place is free.
    products = tile[layer[STRIPS_AT] + panel * rows * ld : layer[STRIPS_AT] + (panel + 1) * rows * ld]
    for r in range(rows):
        z = products[r * ld : (r + 1) * ld]
        count = read_row(table, scratch.rows[r], scratch.active, scratch.values)
        product_by_rows(weights, ld, scratch.values, scratch.active, count, z)
        for o in range(ld):
            z[o] += bias[o]
    z_panel = tile[layer[Z_AT] + panel * rows * ld : layer[Z_AT] + (panel + 1) * rows * ld]
    transpose_back(products, z_panel, ld, layer[OUTPUTS], rows)


@kernel
def sparse_weight_gradient(data, layer, scratch, gradient, begin, n_rows, fresh):
    """gradient[active[k], o] += values[k] delta[r, o] over the rows of a tile; everything else is 0 if
    fresh.
    """
    tile, rows, ld = scratch.tile, panel_rows(scratch.tile), layer[LD]
    weights = gradient[layer[WEIGHTS_AT] : layer[BIAS_AT]]
    delta = scratch.copies[:ld]  # free: of sparse rows, no busy inputs are copied
    if fresh:
        for i in range(weights.size):
            weights[i] = 0
    for r in range(n_rows):
        delta_of_row(panel_of(tile, layer[STRIPS_AT], ld, r // rows), r % rows, delta)
        count = read_row(data.table, data.order[begin + r], scratch.active, scratch.values)
        update_rows(weights, ld, scratch.values, scratch.active, count, delta)
