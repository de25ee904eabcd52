"""Forward and backward through a whole network, on the panels of one tile.

Legend: B rows of the batch, T rows of a tile, R rows of a panel, L layers, P parameters; `z` before the
activation, `a` after it, `delta` dLoss/dz. Tables and buffers are those of layout.py.
"""

from typing import NamedTuple

import numpy as np

from fastnn.kernels.activations import activate, multiply_derivative, softmax_panel
from fastnn.kernels.codes import SOFTMAX
from fastnn.kernels.dense import (
    GRADIENT_ROWS,
    NEAR_BYTES,
    OUTPUT_PIECE,
    bias_gradient,
    far_product,
    few_rows_product,
    gather_panel,
    long_product,
    narrow_product,
    part_length,
    product,
    rows_in_high_blocks,
    transpose_back,
    transpose_panel,
    weight_gradient,
)
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import (
    BIAS_AT,
    CHUNK_FIRST,
    CHUNK_HAS_BIAS,
    CHUNK_LAST,
    CHUNK_LAYER,
    DELTA_AT,
    INPUTS,
    LD,
    OUTPUTS,
    STRIPS_AT,
    WEIGHTS_AT,
    X_AT,
    X_WIDTH,
    Z_AT,
)
from fastnn.kernels.losses import loss_and_delta
from fastnn.kernels.simd import lanes, panel_of, panel_rows
from fastnn.kernels.sparse import (
    Table,
    expand_panel,
    is_sparse,
    multiplied_as_is,
    multiply_panel,
    sparse_weight_gradient,
)


class Model(NamedTuple):
    """A network as the kernels see it."""

    layers: np.ndarray  # (L, LAYER_FIELDS) int64
    codes: np.ndarray  # (3,) int64: hidden activation, output activation, loss
    params: np.ndarray  # (P,)
    zeros: np.ndarray  # (widest layer,): the bias of a product that has none


class Data(NamedTuple):
    """What is learned from."""

    table: Table  # X (n, I), dense or sparse
    y: np.ndarray  # (n, K); class numbers (n, 1) for softmax
    weights: np.ndarray  # (n,), or (0,) where all rows count the same
    order: np.ndarray  # (n,) int64: the rows in the order of training; (0,): as they are


class Scratch(NamedTuple):
    """What one thread works in."""

    tile: np.ndarray  # (tile_numbers,)
    rows: np.ndarray  # (R,) int64
    targets: np.ndarray  # (K * R,)
    weights: np.ndarray  # (R,)
    active: np.ndarray  # (I + 16,) int64: columns of one sparse row
    values: np.ndarray  # (I + 16,) and what they hold


def make_multiply(forward):
    """The kernel that multiplies panels of a tile by the weights, forward or back."""
    # Back, sums run along the rows of W, which prefetchers foresee, and one kernel less has to be compiled.
    product_of_far = far_product if forward else long_product

    @kernel(embed=True)
    def multiply(weights, strides, bias, tile, source, target, sizes, panels, n_rows):
        """`product` of (inputs, outputs) = sizes for panels[0] <= panel < panels[1]; source and target are
        (at, width). Back, the last panel may have few of the tile's n_rows rows.

        A piece of the weights, up to SUM_LENGTH inputs x OUTPUT_PIECE outputs, serves all panels in turn.
        """
        (across, along), (inputs, outputs), rows, step = strides, sizes, panel_rows(tile), lanes(tile)
        length = part_length(inputs, step)
        for start in range(0, inputs, length):
            stop = min(inputs, start + length)
            for o in range(0, outputs, OUTPUT_PIECE):
                w, b, count = weights[o * across :], bias[o:], min(OUTPUT_PIECE, outputs - o)
                high = rows_in_high_blocks(count, stop - start)
                rest = count - high
                far = (stop - start) * count * tile.itemsize > NEAR_BYTES
                for panel in range(panels[0], panels[1]):
                    x = panel_of(tile, source[0], source[1], panel)
                    z = panel_of(tile, target[0], target[1], panel)[o * rows :]
                    if not forward and n_rows - panel * rows <= step:
                        narrow_product(w, across, along, b, x, z, count, start, stop)
                        continue
                    if high and far:
                        product_of_far(w, across, along, b, x, z, high, start, stop)
                    elif high:
                        long_product(w, across, along, b, x, z, high, start, stop)
                    if rest > 0:
                        others = w[high * across :]
                        product(others, across, along, b[high:], x, z[high * rows :], rest, start, stop)

    return multiply


multiply, multiply_back = make_multiply(forward=True), make_multiply(forward=False)


@kernel(embed=True)
def propagate(layer, params, tile, panels, n_rows):
    """z = W' x + b of one layer."""
    weights = params[layer[WEIGHTS_AT] : layer[BIAS_AT]]
    bias = params[layer[BIAS_AT] : layer[BIAS_AT] + layer[LD]]
    (first, last), ld, inputs, outputs = panels, layer[LD], layer[INPUTS], layer[OUTPUTS]
    few = n_rows - (last - 1) * panel_rows(tile)
    if few <= lanes(tile):
        last -= 1
        x = panel_of(tile, layer[X_AT], layer[X_WIDTH], last)
        z = panel_of(tile, layer[Z_AT], ld, last)
        # The deltas, in strips, come here later: until then the place is free.
        products = panel_of(tile, layer[STRIPS_AT], ld, last)
        few_rows_product(weights, ld, bias, x, products, inputs, few)
        transpose_back(products, z, ld, outputs, few)
    source, target = (layer[X_AT], layer[X_WIDTH]), (layer[Z_AT], ld)
    multiply(weights, (1, ld), bias, tile, source, target, (inputs, outputs), (first, last), n_rows)


@kernel(embed=True)
def propagate_back(layer, model, tile, delta_at, panels, n_rows):
    """delta of the layer below, without its f': dx = W delta, written at `delta_at` (I, R) a panel."""
    weights = model.params[layer[WEIGHTS_AT] : layer[BIAS_AT]]
    delta, dx = (layer[DELTA_AT], layer[LD]), (delta_at, layer[X_WIDTH])
    sizes = (layer[OUTPUTS], layer[INPUTS])
    multiply_back(weights, (layer[LD], 1), model.zeros, tile, delta, dx, sizes, panels, n_rows)


@kernel(embed=True)
def activate_output(code, a, n_outputs):
    """a = f(z) of the output layer for one panel (O, R)."""
    if code == SOFTMAX:
        softmax_panel(a, n_outputs, panel_rows(a))
    else:
        activate(code, a[: n_outputs * panel_rows(a)])


@kernel(embed=True)
def forward(model, table, tile, panels, n_rows, activated):
    """All layers, from what `load_panel` has left: up to z of the output layer, or its a where `activated` is
    true.
    """
    n_layers, rows = model.layers.shape[0], panel_rows(tile)
    for index in range(n_layers):
        layer = model.layers[index]
        if index > 0 or not multiplied_as_is(table):
            propagate(layer, model.params, tile, panels, n_rows)
        for panel in range(panels[0], panels[1]):
            a = panel_of(tile, layer[Z_AT], layer[LD], panel)
            if index < n_layers - 1:
                activate(model.codes[0], a[: layer[OUTPUTS] * rows])
            elif activated:
                activate_output(model.codes[1], a, layer[OUTPUTS])


@kernel(embed=True)
def output_loss(model, data, scratch, begin, panel, n_rows):
    """Loss of one panel (its weighted sum, returned) and delta of the output layer."""
    layer, rows = model.layers[model.layers.shape[0] - 1], panel_rows(scratch.tile)
    count = min(rows, n_rows - panel * rows)
    load_targets(data, scratch, begin + panel * rows, count)
    a = panel_of(scratch.tile, layer[Z_AT], layer[LD], panel)
    delta = panel_of(scratch.tile, layer[DELTA_AT], layer[LD], panel)
    return loss_and_delta(
        model.codes[2], model.codes[1], a, scratch.targets, scratch.weights, delta, layer[OUTPUTS], rows
    )


@kernel(embed=True)
def load_targets(data, scratch, begin, count):
    """targets[k, r] = y[order[begin + r], k] and the weights of the rows, 0 from `count` on."""
    rows, y = panel_rows(scratch.tile), data.y
    real = y.dtype.type
    choose_rows(data.order, scratch, begin, begin + count)
    for r in range(rows):
        scratch.weights[r] = real(1) if r < count else real(0)
    if data.weights.size:
        for r in range(count):
            scratch.weights[r] = data.weights[scratch.rows[r]]
    for k in range(y.shape[1]):
        for r in range(rows):
            scratch.targets[k * rows + r] = y[scratch.rows[r], k]


@kernel(embed=True)
def load_panel(model, table, scratch, panel, count):
    """x[i, r] = X[rows[r], i] of a panel of `count` rows; of a sparse table, z of the first layer at once."""
    layer = model.layers[0]
    x = panel_of(scratch.tile, layer[X_AT], layer[X_WIDTH], panel)
    if not is_sparse(table):
        gather_panel(table.X, scratch.rows, x, count)
    elif multiplied_as_is(table):
        multiply_panel(table, layer, model.params, scratch, panel)
    else:
        expand_panel(table, scratch.rows, x)


@kernel(embed=True)
def choose_rows(order, scratch, first, last):
    """rows[r] = order[first + r], or first + r if there is no order; lanes past the last row repeat it."""
    for r in range(scratch.rows.size):
        row = min(first + r, last - 1)
        scratch.rows[r] = order[row] if order.size else row


@kernel(embed=True)
def backward(model, tile, panels, n_rows):
    """delta of every layer from delta of the output layer, each also in strips for the weight gradients."""
    rows = panel_rows(tile)
    for index in range(model.layers.shape[0] - 1, -1, -1):
        layer = model.layers[index]
        for panel in range(panels[0], panels[1]):
            delta = panel_of(tile, layer[DELTA_AT], layer[LD], panel)
            strips = panel_of(tile, layer[STRIPS_AT], layer[LD], panel)
            transpose_panel(delta, strips, min(rows, n_rows - panel * rows))
        if index > 0:
            below = model.layers[index - 1]
            propagate_back(layer, model, tile, below[DELTA_AT], panels, n_rows)
            for panel in range(panels[0], panels[1]):
                size = below[OUTPUTS] * rows
                a = panel_of(tile, layer[X_AT], layer[X_WIDTH], panel)[:size]
                multiply_derivative(
                    model.codes[0], a, panel_of(tile, below[DELTA_AT], below[LD], panel)[:size]
                )


@kernel(embed=True)
def chunk_gradient(model, data, chunk, scratch, gradient, origin, begin, n_rows, fresh):
    """Gradient of one chunk of weight rows, and of the bias that follows them, from a finished tile.

    `gradient` is the flat vector from `origin` on: for sparse rows from 0.
    """
    tile = scratch.tile
    layer, rows = model.layers[chunk[CHUNK_LAYER]], panel_rows(tile)
    panels = (n_rows + rows - 1) // rows
    x = tile[layer[X_AT] : layer[X_AT] + panels * layer[X_WIDTH] * rows]
    delta = tile[layer[DELTA_AT] : layer[DELTA_AT] + panels * layer[LD] * rows]
    deltas = tile[layer[STRIPS_AT] : layer[STRIPS_AT] + panels * layer[LD] * rows]
    first, last = chunk[CHUNK_FIRST], chunk[CHUNK_LAST]
    if chunk[CHUNK_LAYER] > 0 or not multiplied_as_is(data.table):
        at = layer[WEIGHTS_AT] - origin
        weights = gradient[at + first * layer[LD] : at + last * layer[LD]]
        for row in range(0, n_rows, GRADIENT_ROWS):
            count, begins = min(GRADIENT_ROWS, n_rows - row), fresh and row == 0
            x_rows, at = x[row * layer[X_WIDTH] :], row * layer[LD]
            weight_gradient(layer, x_rows, delta[at:], deltas[at:], weights, first, last, count, begins)
    elif first == 0:
        # An entry may lie in any chunk: the first one stands for the whole layer.
        sparse_weight_gradient(data, layer, scratch, gradient, begin, n_rows, fresh)
    if chunk[CHUNK_HAS_BIAS]:
        bias = gradient[layer[BIAS_AT] - origin : layer[BIAS_AT] - origin + layer[LD]]
        bias_gradient(deltas, bias, layer[LD], n_rows, fresh)
