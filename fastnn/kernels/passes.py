"""What the threads of a step do between two barriers, compiled apart (parts.py) from the loops around it."""

from fastnn.kernels.backprop import (
    backward,
    choose_rows,
    forward,
    load_panel,
    output_loss,
    scratch_of,
    start_of,
)
from fastnn.kernels.codes import ADAM, GRADIENT_ONLY
from fastnn.kernels.dense import bias_gradient
from fastnn.kernels.gradients import chunk_bias_gradient, chunk_gradient
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import (
    BIAS_AT,
    CHUNK_FIRST,
    CHUNK_HAS_BIAS,
    CHUNK_LAST,
    CHUNK_LAYER,
    INPUTS,
    LD,
    OUTPUTS,
    STRIPS_AT,
    WEIGHTS_AT,
    X_AT,
)
from fastnn.kernels.optimizers import adam, adam_by_few_rows, update
from fastnn.kernels.parts import dereference, part
from fastnn.kernels.shards import add_shards
from fastnn.kernels.simd import block_prefetch, lanes, panel_rows
from fastnn.kernels.state import (
    BATCH,
    EVERYTHING,
    N_SHARDS,
    NET,
    OWN,
    REPLICA,
    ROW_SCALE,
    SOLVER,
    SUM_NUMBERS,
)
from fastnn.kernels.thin import add_thin_gradient, enter_thin, is_multiplied_thin, is_thin

# Parameters that are asked for at once, at most: more would push each other, and the rows, out of L1.
ASKED_BYTES, LINE_BYTES = 64 * 1024, 64
# Up to so many bytes of parameters, and inputs, Adam takes the gradients of few rows as they are made.
FEW_ROWS_BYTES, FEW_ROWS_INPUTS = 128 * 1024, 192


@part(*NET)
def pass_forward(given, tile, rank, begin, n_rows, first, last, activated):
    """Forward for first <= panel < last of the tile of n_rows rows that starts at `begin`, up to z of the
    output layer, or its a where `activated` is 1.
    """
    model, data, work = dereference(given)
    scratch = scratch_of(work, tile, rank)
    rows, first_layer = panel_rows(scratch.tile), 0
    if is_thin(data):
        enter_thin(given, tile, rank, begin, n_rows, first, last)
        first_layer = 1 if is_multiplied_thin(data.table, model.layers[0], scratch.tile) else 0
    else:
        for panel in range(first, last):
            choose_rows(data.order, scratch, begin + panel * rows, begin + n_rows)
            load_panel(model, data.table, scratch, panel, min(rows, n_rows - panel * rows))
    forward(model, scratch, (first, last), n_rows, activated == 1, first_layer)


@part(*EVERYTHING)
def pass_back(given, tile, rank, begin, n_rows, first, last):
    """Everything else but the weight gradients, from what `pass_forward` has left in these panels.

    losses[tile, panel] is the panel's sum of weight * loss.
    """
    model, _, data, work, control = dereference(given)
    scratch, scale = scratch_of(work, tile, rank), control.reals[ROW_SCALE]
    for panel in range(first, last):
        work.losses[tile, panel] = output_loss(model, data, scratch, begin, panel, n_rows, scale)
    thin = is_multiplied_thin(data.table, model.layers[0], scratch.tile)
    backward(model, scratch, (first, last), n_rows, thin)


@part(*EVERYTHING)
def add_gradients(given, tile, rank, shard, begin, n_rows, first, last, fresh):
    """Gradient of the shard, for first <= chunk < last, from a finished tile; added unless `fresh` is 1.

    With shard OWN, into the thread's own window of the flat vector, from which `update_chunks` takes it.
    """
    model, moments, data, work, control = dereference(given)
    scratch, gradient, origin = scratch_of(work, tile, rank), moments.gradients[max(shard, 0)], 0
    if shard == OWN:
        gradient, origin = work.windows[rank], start_of(model.layers, control.chunks[first])
    thin = is_multiplied_thin(data.table, model.layers[0], scratch.tile)
    for index in range(first, last):
        chunk = control.chunks[index]
        if thin and chunk[CHUNK_LAYER] == 0:
            add_thin_gradient(given, tile, rank, shard, begin, n_rows, origin, index, fresh)
        else:
            chunk_gradient(model, chunk, scratch, gradient, origin, n_rows, fresh == 1)
        chunk_bias_gradient(model, chunk, scratch, gradient, origin, n_rows, fresh == 1)


@kernel(embed=True)
def learns_from_few(model, control, work):
    """Whether batches are so small that Adam takes its gradients as they are made. A single panel has a
    single thread; larger networks stream through memory: 784-256-128-10 with 16 rows would take 0.95, with
    AVX2 or in double 1.03; and of many inputs those that are idle are left out instead (idle.py): 784-32-10
    would take 1.13.
    """
    params, few = model.params, control.ints[BATCH] <= work.rows.shape[1]
    small = params.size * params.itemsize <= FEW_ROWS_BYTES and model.layers[0, INPUTS] <= FEW_ROWS_INPUTS
    return small and few and control.ints[SOLVER] == ADAM


@part(*EVERYTHING, when=learns_from_few.py_func)
def learn_from_few(given, rank, n_rows):
    """Gradients and Adam's step in one, on all chunks, from a finished tile of one panel of n_rows rows."""
    model, moments, _, work, control = dereference(given)
    tile, params, room = work.tiles[0], model.params, work.windows[rank]
    m, v = moments.first, moments.second
    for index in range(len(control.chunks)):
        chunk = control.chunks[index]
        layer, begin = model.layers[chunk[CHUNK_LAYER]], start_of(model.layers, chunk)
        ld, rows, step = layer[LD], panel_rows(tile), lanes(tile)
        width = (layer[OUTPUTS] + step - 1) // step * step
        x, deltas = tile[layer[X_AT] + chunk[CHUNK_FIRST] * rows :], tile[layer[STRIPS_AT] :]
        # Whole blocks of rows, the last of which may be padding.
        end = layer[WEIGHTS_AT] + min(chunk[CHUNK_LAST], (layer[INPUTS] + 3) // 4 * 4) * ld
        weights, sizes = (params[begin:end], m[begin:end], v[begin:end]), (ld, width, n_rows)
        control.squares[0, index] = adam_by_few_rows(weights, x, deltas, sizes, room, moments.hyper[0])
        # Padding stays 0 while training diverges, too: 0 times infinity is nan.
        for at in range(layer[WEIGHTS_AT] + layer[INPUTS] * ld, end):
            params[at], m[at], v[at] = 0, 0, 0
        if chunk[CHUNK_HAS_BIAS]:
            at, end, gradient = layer[BIAS_AT], layer[BIAS_AT] + ld, room[:ld]
            bias_gradient(deltas, gradient, ld, n_rows, True)
            adam(params[at:end], gradient, m[at:end], v[at:end], moments.hyper[1])


@kernel
def ask_for(params):
    """Asks for all parameters (P,) at once, half of which another core has just changed: one by one, where
    they are needed, each costs a wait. 64-100-10 with 200 rows and two threads, before they had parameters of
    their own: 0.90 (in turn).
    """
    if params.size * params.itemsize <= ASKED_BYTES:
        for at in range(0, params.size, LINE_BYTES // params.itemsize):
            block_prefetch(params, 1, 1, at, 0, 0)


@kernel(embed=True)
def update_range(model, moments, control, first, last, hyper, shard, window, origin):
    """Add the shards' gradients, then one step of the solver, on [first, last) of the flat vectors; or only
    the step, with shard OWN, whose gradient from `origin` on lies in the window.

    The sum is the thread's own: in the first shard's place it would be written to lines that another core has
    written, and will again. 64-100-10 with 200 rows and two threads, when each updated half: 0.95 to 0.97 (in
    turn).
    """
    solver, n_shards, squares = control.ints[SOLVER], control.ints[N_SHARDS], 0.0
    params, m, v = model.params, moments.first, moments.second
    for begin in range(first, last, SUM_NUMBERS):
        end = min(begin + SUM_NUMBERS, last)
        gradient = moments.gradients[0][begin:end]
        if shard == OWN:
            gradient = window[begin - origin : end - origin]
        elif n_shards > 1:
            if solver != GRADIENT_ONLY:
                gradient = window[: end - begin]
            add_shards(moments.gradients, control.joined, n_shards, begin, gradient)
        first_moment = m[begin:end] if m.size else m
        second_moment = v[begin:end] if v.size else v
        squares += update(solver, params[begin:end], gradient, first_moment, second_moment, hyper)
    return squares


@part(*EVERYTHING)
def update_chunks(given, rank, shard, first, last):
    """One step on first <= chunk < last; the squares of their weights are kept for the reported loss.

    With shard OWN, from what `add_gradients` has left in the window for just these chunks; with REPLICA, in
    parameters of the thread's own: others do the same, and keep their squares in rows of their own.
    """
    model, moments, _, work, control = dereference(given)
    window, origin = work.windows[rank], start_of(model.layers, control.chunks[first])
    squares = control.squares[rank if shard == REPLICA else 0]
    for index in range(first, last):
        chunk = control.chunks[index]
        layer = model.layers[chunk[CHUNK_LAYER]]
        begin = start_of(model.layers, chunk)
        # Rows of padding have no gradient, and nothing to learn.
        end = layer[WEIGHTS_AT] + min(chunk[CHUNK_LAST], layer[INPUTS]) * layer[LD]
        squares[index] = update_range(
            model, moments, control, begin, end, moments.hyper[0], shard, window, origin
        )
        if chunk[CHUNK_HAS_BIAS]:
            at = layer[BIAS_AT]
            update_range(model, moments, control, at, at + layer[LD], moments.hyper[1], shard, window, origin)
