"""Forward and backward through a whole network, on the panels of one tile.

Legend: B rows of the batch, T rows of a tile, R rows of a panel, L layers, P parameters; `z` before the
activation, `a` after it, `delta` dLoss/dz. Tables and buffers are those of layout.py.
"""

from typing import NamedTuple

import numpy as np

from fastnn.kernels.activations import activate, softmax_panel
from fastnn.kernels.codes import IDENTITY, LOGISTIC, RELU, SOFTMAX
from fastnn.kernels.dense import (
    FEWEST_OUTPUTS,
    GRADIENT_ROWS,
    NEAR_BYTES,
    OUTPUT_PIECE,
    PLAIN,
    RECTIFIED,
    SUM_LENGTH,
    far_product,
    few_rows_product,
    gather_narrow,
    gather_panel,
    long_product,
    long_product_back,
    narrow_product_back,
    part_length,
    product,
    product_back,
    rows_in_high_blocks,
    single_product,
    times_slope,
    transpose_back,
    transpose_panel,
)
from fastnn.kernels.idle import BUSY_SHARE, count_busy, list_busy, pick_rows
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import (
    BIAS_AT,
    BY_DOTS,
    CHUNK_FIRST,
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
from fastnn.kernels.sparse import Table

# From one row of a copied piece of W to the next: whole cache lines, and no power of two (layout.row_length).
COPY_WIDTH = OUTPUT_PIECE + 16


def copy_numbers(layout):
    """Room for the copies of one thread: pieces of weights and panel, or rows of a chunk and its sums."""
    first, chunks, rows = layout.layers[0], layout.chunks, layout.panel_rows
    inputs = min(SUM_LENGTH, int(first[X_WIDTH]) + rows)
    own = chunks[chunks[:, CHUNK_LAYER] == 0]
    height = min(SUM_LENGTH, int((own[:, CHUNK_LAST] - own[:, CHUNK_FIRST]).max()))
    tile_rows = min(GRADIENT_ROWS, rows * layout.tile_panels)
    return max(inputs * (rows + COPY_WIDTH), height * (int(first[LD]) + tile_rows))


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
    active: np.ndarray  # (I + 16,) int64: columns of one sparse row, or inputs that are not idle
    values: np.ndarray  # (I + 16,) and what a sparse row holds
    masks: np.ndarray  # (panels of a tile, I / lanes rounded up) int64: idle.py
    copies: np.ndarray  # (copy_numbers,)
    busy: np.ndarray  # (panels of a tile, R, I / 8 rounded up) uint8: zeros.py
    lists: np.ndarray  # (lists, LIST_LENGTH) uint8


@kernel(embed=True)
def scratch_of(work, tile, rank):
    """What thread `rank` works in, in the tile with this number."""
    inputs = work.inputs
    return Scratch(
        work.tiles[tile],
        work.rows[rank],
        work.targets[rank],
        work.weights[rank],
        inputs.active[rank],
        inputs.values[rank],
        work.masks[tile],
        work.copies[rank],
        work.busy[tile],
        work.lists[rank],
    )


@kernel(embed=True)
def start_of(layers, chunk):
    """Where a chunk starts in the flat vector."""
    layer = layers[chunk[CHUNK_LAYER]]
    return layer[WEIGHTS_AT] + chunk[CHUNK_FIRST] * layer[LD]


def make_multiply(forward):
    """The kernel that multiplies panels of a tile by the weights, forward or back."""
    # Back, sums run along the rows of W, which prefetchers foresee, and one kernel less has to be compiled.
    short, long, far_off = (
        (product, long_product, far_product)
        if forward
        else (product_back, long_product_back, long_product_back)
    )

    @kernel(embed=True)
    def multiply(parameters, ld, scratch, places, ends, sizes, panels, n_rows, picks):
        """`product` by (weights, bias) = parameters of (inputs, outputs) = sizes for panels[0] <= panel <
        panels[1]; (source, target) = places are (at, width) each. (last_end, a_at) = ends: the `end` of the
        last part, and where `a` is, which forward nothing reads. Back, the last panel may have few of the
        tile's n_rows rows. The inputs are those that scratch.active lists if it `picks`.

        A piece of the weights, up to SUM_LENGTH inputs x OUTPUT_PIECE outputs, serves all panels in turn.
        """
        (weights, bias), (inputs, outputs) = parameters, sizes
        across, along = (1, ld) if forward else (ld, 1)
        (source, target), (last_end, a_at) = places, ends
        tile, rows, step = scratch.tile, panel_rows(scratch.tile), lanes(scratch.tile)
        length = part_length(inputs, step)
        x_copy, w_copy = scratch.copies[: length * rows], scratch.copies[length * rows :]
        for start in range(0, inputs, length):
            stop = min(inputs, start + length)
            busy, end = scratch.active[start:stop], last_end if stop == inputs else PLAIN
            for o in range(0, outputs, OUTPUT_PIECE):
                b, n, count = bias[o:], stop - start, min(OUTPUT_PIECE, outputs - o)
                w, width = weights[o * across + start * along :], ld
                if picks:
                    w, width = w_copy, COPY_WIDTH
                    # Blocks take outputs in fours.
                    pick_rows(weights[o:], along, busy, (count + 3) // 4 * 4, w, COPY_WIDTH)
                high = rows_in_high_blocks(count, n)
                rest = count - high
                far = n * count * tile.itemsize > NEAR_BYTES and not picks
                for panel in range(panels[0], panels[1]):
                    x = panel_of(tile, source[0], source[1], panel)
                    if picks:
                        pick_rows(x, rows, busy, rows, x_copy, rows)
                        x = x_copy
                    else:
                        x = x[start * rows :]
                    z = panel_of(tile, target[0], target[1], panel)[o * rows :]
                    a = panel_of(tile, a_at, target[1], panel)[o * rows :]
                    if not forward and n_rows - panel * rows <= step:
                        narrow_product_back(w, width, b, x, z, a, (count, n), start == 0, end)
                        continue
                    if high and far:
                        far_off(w, width, b, x, z, a, (high, n), start == 0, end)
                    elif high:
                        long(w, width, b, x, z, a, (high, n), start == 0, end)
                    if rest > 0:
                        others, b_rest, at = w[high * across :], b[high:], high * rows
                        if forward and rest == 1:
                            single_product(others, width, b_rest, x, z[at:], a[at:], (1, n), start == 0, end)
                        else:
                            short(others, width, b_rest, x, z[at:], a[at:], (rest, n), start == 0, end)

    return multiply


multiply, multiply_back = make_multiply(forward=True), make_multiply(forward=False)


@kernel(embed=True)
def find_busy(layer, scratch, panels, first, last):
    """How many inputs of the first layer, first <= i < last, are to be multiplied for these panels: all of
    them, or the busy ones, which scratch.active lists then.
    """
    masks, step, n_inputs = scratch.masks, lanes(scratch.tile), layer[INPUTS]
    count = count_busy(masks, panels, step, n_inputs, first, last)
    # Blocks of the gradient take inputs in fours.
    if (count + 3) // 4 * 4 >= BUSY_SHARE * (last - first):
        return last - first
    list_busy(masks, panels, step, n_inputs, first, last, scratch.active)
    return count


@kernel(embed=True)
def propagate(layer, params, scratch, panels, n_rows, has_masks, activation):
    """a = f(W' x + b) of one layer, the first one if it `has_masks`."""
    weights = params[layer[WEIGHTS_AT] : layer[BIAS_AT]]
    bias = params[layer[BIAS_AT] : layer[BIAS_AT] + layer[LD]]
    (first, last), ld, inputs, outputs = panels, layer[LD], layer[INPUTS], layer[OUTPUTS]
    tile, rows = scratch.tile, panel_rows(scratch.tile)
    few = n_rows - (last - 1) * rows
    if few <= lanes(tile) and outputs > FEWEST_OUTPUTS:
        last -= 1
        x = panel_of(tile, layer[X_AT], layer[X_WIDTH], last)
        z = panel_of(tile, layer[Z_AT], ld, last)
        # The deltas, in strips, come here later: until then the place is free.
        products = panel_of(tile, layer[STRIPS_AT], ld, last)
        few_rows_product(weights, ld, bias, x, products, inputs, few)
        # Before they are turned over, numbers are few: 64-100-10 with 8 rows 0.96 with tanh, 0.93 with
        # logistic, whose f(0) would not leave padding 0 (in turn).
        if activation == LOGISTIC:
            for r in range(few):
                activate(activation, products[r * ld : r * ld + outputs])
        else:
            activate(activation, products[: few * ld])
        transpose_back(products, z, ld, outputs, few)
    if first < last:
        n_busy = find_busy(layer, scratch, (first, last), 0, inputs) if has_masks else inputs
        picks = 0 < n_busy < inputs  # a sum has at least one part
        places = (layer[X_AT], layer[X_WIDTH]), (layer[Z_AT], ld)
        ends = RECTIFIED if activation == RELU else PLAIN, layer[Z_AT]
        sizes, panels = (n_busy if picks else inputs, outputs), (first, last)
        multiply((weights, bias), ld, scratch, places, ends, sizes, panels, n_rows, picks)
        if activation != RELU:
            activate_panels(activation, layer, tile, panels)


@kernel(embed=True)
def activate_panels(activation, layer, tile, panels):
    """a = f(z) of a hidden layer."""
    for panel in range(panels[0], panels[1]):
        a = panel_of(tile, layer[Z_AT], layer[LD], panel)
        activate(activation, a[: layer[OUTPUTS] * panel_rows(tile)])


@kernel(embed=True)
def propagate_back(layer, model, scratch, delta_at, panels, n_rows):
    """delta of the layer below, written at `delta_at` (I, R) a panel: f'(x) W delta."""
    weights = model.params[layer[WEIGHTS_AT] : layer[BIAS_AT]]
    places = (layer[DELTA_AT], layer[LD]), (delta_at, layer[X_WIDTH])
    ends = times_slope(model.codes[0]), layer[X_AT]
    parameters, sizes = (weights, model.zeros), (layer[OUTPUTS], layer[INPUTS])
    multiply_back(parameters, layer[LD], scratch, places, ends, sizes, panels, n_rows, False)


@kernel(embed=True)
def activate_output(code, a, n_outputs):
    """a = f(z) of the output layer for one panel (O, R)."""
    if code == SOFTMAX:
        softmax_panel(a, n_outputs, panel_rows(a))
    else:
        activate(code, a[: n_outputs * panel_rows(a)])


@kernel(embed=True)
def forward(model, scratch, panels, n_rows, activated, first_layer):
    """All layers: up to z of the output layer, or its a where `activated`. The panels have x of the first
    layer; where `first_layer` is 1, they have its z already.
    """
    n_layers, tile = model.layers.shape[0], scratch.tile
    for index in range(n_layers):
        layer, is_hidden = model.layers[index], index < n_layers - 1
        activation = model.codes[0] if is_hidden else IDENTITY
        if index >= first_layer:
            propagate(layer, model.params, scratch, panels, n_rows, index == 0, activation)
        elif is_hidden:
            activate_panels(activation, layer, tile, panels)
    if activated:
        for panel in range(panels[0], panels[1]):
            a = panel_of(tile, layer[Z_AT], layer[LD], panel)
            activate_output(model.codes[1], a, layer[OUTPUTS])


@kernel(embed=True)
def output_loss(model, data, scratch, begin, panel, n_rows, scale):
    """Loss of one panel (its weighted sum, returned) and delta of the output layer, times `scale`.

    The deltas, not the gradients: there are fewer of them, and nobody reads them an additional time for it.
    """
    layer, rows = model.layers[model.layers.shape[0] - 1], panel_rows(scratch.tile)
    count = min(rows, n_rows - panel * rows)
    load_targets(data, scratch, begin + panel * rows, count, scale)
    a = panel_of(scratch.tile, layer[Z_AT], layer[LD], panel)
    delta = panel_of(scratch.tile, layer[DELTA_AT], layer[LD], panel)
    kinds, targets, weights = (model.codes[2], model.codes[1]), scratch.targets, scratch.weights
    return loss_and_delta(*kinds, a, targets, weights, delta, layer[OUTPUTS], rows) / scale


@kernel(embed=True)
def load_targets(data, scratch, begin, count, scale):
    """targets[k, r] = y[order[begin + r], k] and the weights of the rows times `scale`, 0 from `count` on."""
    rows, y = panel_rows(scratch.tile), data.y
    real = y.dtype.type
    choose_rows(data.order, scratch, begin, begin + count)
    for r in range(rows):
        scratch.weights[r] = real(scale) if r < count else real(0)
    if data.weights.size:
        for r in range(count):
            scratch.weights[r] = scale * data.weights[scratch.rows[r]]
    gather_narrow(y, scratch.rows, scratch.targets, rows)


@kernel(embed=True)
def load_panel(model, table, scratch, panel, count):
    """x[i, r] = X[rows[r], i] of a panel of `count` rows of a dense table."""
    layer = model.layers[0]
    x = panel_of(scratch.tile, layer[X_AT], layer[X_WIDTH], panel)
    gather_panel(table.X, scratch.rows, x, scratch.masks[panel], count)


@kernel(embed=True)
def choose_rows(order, scratch, first, last):
    """rows[r] = order[first + r], or first + r if there is no order; lanes past the last row repeat it."""
    rows = scratch.rows
    count = min(rows.size, last - first)
    for r in range(count):
        rows[r] = first + r
    if order.size:
        for r in range(count):
            rows[r] = order[first + r]
    for r in range(count, rows.size):
        rows[r] = rows[count - 1]


@kernel(embed=True)
def strip_delta(layer, scratch, panel, n_rows, whole):
    """delta of one panel in strips as well, for the weight gradients; where those are dot products, and not
    the `whole` is asked for, only rows that fill no vector.
    """
    rows, first = panel_rows(scratch.tile), 0
    if layer[BY_DOTS] and not whole:
        first = max(0, n_rows - n_rows % lanes(scratch.tile) - panel * rows)
    delta = panel_of(scratch.tile, layer[DELTA_AT], layer[LD], panel)
    strips = panel_of(scratch.tile, layer[STRIPS_AT], layer[LD], panel)
    transpose_panel(delta, strips, first, min(rows, n_rows - panel * rows))


@kernel(embed=True)
def backward(model, scratch, panels, n_rows, is_thin):
    """delta of every layer from delta of the output layer, each also in strips for the weight gradients, of
    the first layer all of them where it has thin rows (thin.py).

    Small weights serve one panel after the other, whose deltas are still in L1 when they are needed. Of
    64-100-10 this takes 0.81 then, a step 0.97 to 1.0, one of 4-100-3 0.96 (in turn).
    """
    tile, first, last, n_layers = scratch.tile, panels[0], panels[1], model.layers.shape[0]
    for panel in range(first, last):
        strip_delta(model.layers[n_layers - 1], scratch, panel, n_rows, is_thin and n_layers == 1)
    for index in range(n_layers - 1, 0, -1):
        layer, below = model.layers[index], model.layers[index - 1]
        unit = 1 if layer[INPUTS] * layer[LD] * tile.itemsize <= NEAR_BYTES else last - first
        for begin in range(first, last, unit):
            run = begin, min(begin + unit, last)
            propagate_back(layer, model, scratch, below[DELTA_AT], run, n_rows)
            for panel in range(run[0], run[1]):
                strip_delta(below, scratch, panel, n_rows, is_thin and index == 1)
