"""Thin data, CSR or dense rows that are mostly zeros: what the first layer does with them.

Parts of their own (parts.py), which are compiled when such data come for the first time: most never do, and
a first fit takes 0.72 of the CPU time without them and `learn_from_few` (in turn; docs/engine.md).
"""

from fastnn.kernels.backprop import choose_rows, load_panel, scratch_of
from fastnn.kernels.dense import GRADIENT_ROWS
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import (
    CHUNK_FIRST,
    CHUNK_LAST,
    INPUTS,
    LD,
    STRIPS_AT,
    WEIGHTS_AT,
    X_AT,
    X_WIDTH,
)
from fastnn.kernels.parts import dereference, part
from fastnn.kernels.simd import panel_of, panel_rows
from fastnn.kernels.sparse import (
    expand_panel,
    is_sparse,
    multiplied_as_is,
    multiply_panel,
    sparse_weight_gradient,
)
from fastnn.kernels.state import EVERYTHING, NET, OWN
from fastnn.kernels.zeros import busy_gradient, note_panel, propagate_busy, skips_zeros


@kernel(embed=True)
def is_thin(data):
    """Whether the rows may be some for these parts. It calls no kernel, since `when` asks it from Python."""
    return data.table.starts.size > 0 or data.table.zeros[0] == 1


@kernel(embed=True)
def is_multiplied_thin(table, layer, like):
    """Whether these parts compute the first layer, too, once they have read the rows."""
    return skips_zeros(table, layer, like) or multiplied_as_is(table)


@part(*NET, when=is_thin.py_func)
def enter_thin(given, tile, rank, begin, n_rows, first, last):
    """x of the first layer for first <= panel < last of a tile, or z where `is_multiplied_thin`."""
    model, data, work = dereference(given)
    scratch, table, layer = scratch_of(work, tile, rank), data.table, model.layers[0]
    rows, skips = panel_rows(scratch.tile), skips_zeros(data.table, model.layers[0], work.tiles)
    for panel in range(first, last):
        count = min(rows, n_rows - panel * rows)
        choose_rows(data.order, scratch, begin + panel * rows, begin + n_rows)
        if not is_sparse(table):
            load_panel(model, table, scratch, panel, count)
        elif multiplied_as_is(table):
            multiply_panel(table, layer, model.params, scratch, panel)
        else:
            x = panel_of(scratch.tile, layer[X_AT], layer[X_WIDTH], panel)
            expand_panel(table, scratch.rows, x, scratch.masks[panel])
        if skips:
            note_panel(table, scratch.rows, scratch.busy[panel], count)
    if skips:
        propagate_busy(layer, model.params, scratch, (first, last), n_rows)


@part(*EVERYTHING, when=is_thin.py_func)
def add_thin_gradient(given, tile, rank, shard, begin, n_rows, origin, index, fresh):
    """`chunk_gradient` of chunk `index`, one of the first layer, where it `is_multiplied_thin`; into what
    `add_gradients` takes for the shard.
    """
    model, moments, data, work, control = dereference(given)
    scratch, chunk, layer = scratch_of(work, tile, rank), control.chunks[index], model.layers[0]
    gradient, ld = work.windows[rank], layer[LD]
    if shard != OWN:
        gradient = moments.gradients[shard]
    first, last = chunk[CHUNK_FIRST], chunk[CHUNK_LAST]
    if multiplied_as_is(data.table):
        # An entry may lie in any chunk: the first one stands for the whole layer.
        if first == 0:
            sparse_weight_gradient(data, layer, scratch, gradient, begin, n_rows, fresh == 1)
    else:
        at = layer[WEIGHTS_AT] - origin
        weights = gradient[at + first * ld : at + last * ld]
        inputs = first, (min(last, layer[INPUTS]) + 1) // 2 * 2
        for row in range(0, n_rows, GRADIENT_ROWS):
            x = scratch.tile[layer[X_AT] + row * layer[X_WIDTH] :]
            deltas = scratch.tile[layer[STRIPS_AT] + row * ld :]
            count, begins = min(GRADIENT_ROWS, n_rows - row), fresh == 1 and row == 0
            lists = scratch.lists, scratch.active
            busy_gradient(layer, x, deltas, weights, inputs, count, begins, lists)
