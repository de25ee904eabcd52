"""The entry points: training by batches and by samples, prediction. Loops only, no formula of its own.

Every thread of a team makes the same call with its own rank; rank 0 alone changes the state, between two
barriers.
"""

from fastnn.kernels.backprop import (
    Scratch,
    activate_output,
    chunk_gradient,
    forward,
    forward_backward,
    load_panel,
)
from fastnn.kernels.codes import GRADIENT_ONLY, SGD
from fastnn.kernels.dense import scatter_panel
from fastnn.kernels.jit import entry, kernel
from fastnn.kernels.layout import (
    BIAS_AT,
    CHUNK_FIRST,
    CHUNK_HAS_BIAS,
    CHUNK_LAST,
    CHUNK_LAYER,
    LD,
    OUTPUTS,
    WEIGHTS_AT,
    Z_AT,
)
from fastnn.kernels.optimizers import SCALE, update
from fastnn.kernels.sample import (
    backward_sample,
    descend,
    find_active,
    fold,
    forward_sample,
    learn,
    output_sample,
    sum_of_squares,
)
from fastnn.kernels.schedule import begin_batch, check_finite, end_batch, judge, next_batch
from fastnn.kernels.simd import lanes, panel_of, panel_rows
from fastnn.kernels.sparse import is_sparse, read_row
from fastnn.kernels.state import (
    ALPHA,
    AWAITS_SCORE,
    BATCH,
    BATCH_LOSS,
    BATCH_WEIGHT,
    BUDGET,
    CURSOR,
    EPOCH_LOSS,
    GO,
    LONG_WAIT,
    LOSS_SCALE,
    N_ROWS,
    N_SHARDS,
    RATE,
    REST,
    SHRINK,
    SHRUNK_AT,
    SOLVER,
    SQUARES,
    STATUS,
    STEP,
    TEAM,
)
from fastnn.kernels.subnormals import flush_subnormals, restore_subnormals
from fastnn.kernels.team import barrier, note_late, take_next, was_late

READS = ("data.table", "data.y", "data.weights")
# One sample at a time: the factor kept apart from the weights stays in a range where nothing overflows.
SMALLEST_SHRINK, LARGEST_DECAY = 1e-3, 0.5


@kernel(embed=True)
def meet(control, n_threads):
    """A barrier inside a step, where nobody waits longer than a thread's share of it takes, unless another
    thread has lost its core to something else.
    """
    if barrier(control.barrier, n_threads) > control.ints[LONG_WAIT]:
        note_late(control.barrier)


@kernel(embed=True)
def choose_team(control, n_threads):
    """One thread fewer for the rest of the call if one came late, always the last: the others do its work, to
    the same bits, and whoever shares its core with another one finds a free one. The rest is a short one.

    Beside a thread that never sleeps (OpenBLAS's wait so for 0.1 s after a product) a core is lost for 4 ms
    at a barrier: a fit of 13 ms took 120, and takes 38 with this (benchmarks/micro/busy.py).
    """
    ints = control.ints
    ints[TEAM] = n_threads
    if was_late(control.barrier) and n_threads > 1:
        ints[TEAM] = n_threads - 1
        ints[BUDGET] = min(ints[BUDGET], ints[REST])
        if ints[SHRUNK_AT] == 0:
            ints[SHRUNK_AT] = ints[STEP]


@kernel
def share(total, index, parts):
    """Where part `index` of `total` things begins and ends, if `parts` share them."""
    return total * index // parts, total * (index + 1) // parts


@kernel
def count_tiles(n_rows, rows, tile_panels):
    """Tiles of at most `tile_panels` panels of `rows` rows that n_rows rows fill."""
    panels = (n_rows + rows - 1) // rows
    return (panels + tile_panels - 1) // tile_panels


@kernel
def tile_at(first, last, rows, tile, tiles):
    """(first row, rows, panels) of one of the equal tiles that share the rows first to last."""
    start, stop = share((last - first + rows - 1) // rows, tile, tiles)
    return first + start * rows, min(stop * rows, last - first) - start * rows, stop - start


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
    )


@kernel(embed=True)
def shard_gradient(model, data, scratch, losses, gradient, chunks, first, last):
    """Gradient (P,) of the rows order[first:last], tile by tile; returns their sum of weight * loss."""
    rows, total = panel_rows(scratch.tile), 0.0
    tiles = count_tiles(last - first, rows, losses.size)
    for tile in range(tiles):
        begin, count, panels = tile_at(first, last, rows, tile, tiles)
        forward_backward(model, data, scratch, begin, count, (0, panels), losses)
        for panel in range(panels):
            total += losses[panel]
        for chunk in range(chunks.shape[0]):
            chunk_gradient(model, data, chunks[chunk], scratch, gradient, begin, count, tile == 0)
    return total


@kernel(embed=True)
def shared_gradient(rank, n_threads, model, moments, data, work, control):
    """Gradient of the batch in tiles that all threads share: each takes some panels, then some chunks of
    weights.
    """
    scratch, chunks = scratch_of(work, 0, rank), control.chunks
    rows, ints = panel_rows(scratch.tile), control.ints
    first, last = ints[CURSOR], min(ints[CURSOR] + ints[BATCH], ints[N_ROWS])
    losses = work.losses[0]
    tiles = count_tiles(last - first, rows, losses.size)
    for tile in range(tiles):
        begin, count, panels = tile_at(first, last, rows, tile, tiles)
        mine = share(panels, rank, n_threads)
        forward_backward(model, data, scratch, begin, count, mine, losses)
        meet(control, n_threads)
        if rank == 0:
            for panel in range(panels):
                control.reals[BATCH_LOSS] += losses[panel]
        begun, ended = share(len(chunks), rank, n_threads)
        for chunk in range(begun, ended):
            chunk_gradient(model, data, chunks[chunk], scratch, moments.gradients[0], begin, count, tile == 0)
        meet(control, n_threads)


@kernel(embed=True)
def batch_gradient(rank, n_threads, model, moments, data, work, control):
    """Gradient of the batch at the cursor, in `n_shards` vectors that are still to be added."""
    ints = control.ints
    if ints[N_SHARDS] == 1:
        shared_gradient(rank, n_threads, model, moments, data, work, control)
        return
    scratch, unit = scratch_of(work, rank, rank), lanes(model.params)
    first, last = ints[CURSOR], min(ints[CURSOR] + ints[BATCH], ints[N_ROWS])
    vectors = (last - first + unit - 1) // unit
    for shard in range(rank, ints[N_SHARDS], n_threads):
        start, stop = share(vectors, shard, ints[N_SHARDS])
        begin, end = first + start * unit, min(first + stop * unit, last)
        control.shard_losses[shard] = shard_gradient(
            model, data, scratch, work.losses[rank], moments.gradients[shard], control.chunks, begin, end
        )
    meet(control, n_threads)
    if rank == 0:
        for shard in range(ints[N_SHARDS]):
            control.reals[BATCH_LOSS] += control.shard_losses[shard]


@kernel(embed=True)
def update_range(solver, params, moments, n_shards, first, last, hyper):
    """Add the shards' gradients in their order, then one step of the solver, on [first, last) of the flat
    vectors.
    """
    gradient = moments.gradients[0][first:last]
    for shard in range(1, n_shards):
        other = moments.gradients[shard][first:last]
        for i in range(gradient.size):
            gradient[i] += other[i]
    m = moments.first[first:last] if moments.first.size else moments.first
    v = moments.second[first:last] if moments.second.size else moments.second
    return update(solver, params[first:last], gradient, m, v, hyper)


@kernel(embed=True)
def update_chunks(rank, n_threads, model, moments, control):
    """One step on this thread's chunks; the squares of their weights are kept for the reported loss."""
    chunks, solver, n_shards = control.chunks, control.ints[SOLVER], control.ints[N_SHARDS]
    begun, ended = share(len(chunks), rank, n_threads)
    for index in range(begun, ended):
        chunk = chunks[index]
        layer = model.layers[chunk[CHUNK_LAYER]]
        first = layer[WEIGHTS_AT] + chunk[CHUNK_FIRST] * layer[LD]
        last = layer[WEIGHTS_AT] + chunk[CHUNK_LAST] * layer[LD]
        control.squares[index] = update_range(
            solver, model.params, moments, n_shards, first, last, moments.hyper[0]
        )
        if chunk[CHUNK_HAS_BIAS]:
            at = layer[BIAS_AT]
            update_range(solver, model.params, moments, n_shards, at, at + layer[LD], moments.hyper[1])


@entry(reads=READS)
def train(rank, n_threads, model, moments, data, work, control):
    """Batches until the budget is used up or the run ends; first the verdict on a score that Python has
    brought.
    """
    if rank == 0:
        was_late(control.barrier)  # in the last call, which is long ago by now
        if control.ints[STATUS] == AWAITS_SCORE:
            judge(control.ints, control.reals)
    before = flush_subnormals()
    while True:
        if rank == 0:
            begin_batch(data, moments, control)
            choose_team(control, n_threads)
        barrier(control.barrier, n_threads)
        n_threads = control.ints[TEAM]
        if control.ints[GO] == 0 or rank >= n_threads:
            break
        batch_gradient(rank, n_threads, model, moments, data, work, control)
        update_chunks(rank, n_threads, model, moments, control)
        meet(control, n_threads)
        if rank == 0:
            end_batch(control)
            check_finite(model.params, control)
    restore_subnormals(before)


@entry(reads=("table",))
def predict(rank, counter, model, table, out, work, activated):
    """out[n, o] = output of the network for X (n, I), or z of the output layer where `activated` is 0.

    Each thread takes the next tile that nobody has taken, from a counter at 0.
    """
    scratch = scratch_of(work, rank, rank)
    rows, n = panel_rows(scratch.tile), out.shape[0]
    tile_rows = work.losses.shape[1] * rows
    last = model.layers[model.layers.shape[0] - 1]
    while True:
        begin = take_next(counter) * tile_rows
        if begin >= n:
            break
        count = min(tile_rows, n - begin)
        panels = (count + rows - 1) // rows
        for panel in range(panels):
            for r in range(rows):
                scratch.rows[r] = min(begin + panel * rows + r, n - 1)
            load_panel(model, table, scratch, panel)
        forward(model, table, scratch.tile, (0, panels), count)
        for panel in range(panels):
            a = panel_of(scratch.tile, last[Z_AT], last[LD], panel)
            if activated:
                activate_output(model.codes[1], a, last[OUTPUTS])
            scatter_panel(a, out, begin + panel * rows, min(rows, count - panel * rows))


@kernel(embed=True)
def load_sample(data, row, inputs):
    """List the inputs of one row that are not 0."""
    active, values = inputs.active[0], inputs.values[0]
    if is_sparse(data.table):
        inputs.counts[0] = read_row(data.table, row, active, values)
    else:
        inputs.counts[0] = find_active(data.table.X[row], active, values, True)


@kernel(embed=True)
def sample_step(model, moments, data, work, control):
    """Forward, backward and update for the sample at the cursor."""
    ints, reals, tile = control.ints, control.reals, work.tiles[0]
    row, solver, one = data.order[ints[CURSOR]], ints[SOLVER], work.weights[0][:1]
    if reals[SHRINK] != 1.0:
        fold(model, reals)
    load_sample(data, row, work.inputs)
    forward_sample(model, tile, work.inputs, model.params.dtype.type(1))
    reals[BATCH_LOSS] = reals[BATCH_WEIGHT] * output_sample(model, tile, data.y[row], one)
    # The data term of the gradient is divided by the weight that it is multiplied by.
    moments.hyper[:, SCALE] = 1
    if solver == SGD or solver == GRADIENT_ONLY:
        backward_sample(model, tile, work.inputs, moments.gradients[0])
        update_chunks(0, 1, model, moments, control)
    else:
        for chunk in range(control.squares.size):
            control.squares[chunk] = 0.0
        control.squares[0] = learn(solver, model, moments, tile, work.inputs, one)
    reals[SQUARES] = -1.0
    end_batch(control)


@kernel(embed=True)
def penalty(data, control, position):
    """alpha / weight of the sample there, or -1 where `sample_step` has to take it."""
    reals, weight = control.reals, 1.0
    if data.weights.size:
        weight = float(data.weights[data.order[position]])
    if control.ints[SOLVER] != SGD or weight <= 0.0 or reals[RATE] * reals[ALPHA] >= LARGEST_DECAY * weight:
        return -1.0
    return reals[ALPHA] / weight


@kernel(embed=True)
def descend_samples(model, data, work, control, strength):
    """Plain SGD from the cursor on, as far as budget, epoch and penalty allow; `strength` is the first one's
    penalty.

    What a batch is framed by stays out of this loop: 2.4 -> 2.3 us (benchmarks/micro/sample.py).
    """
    ints, reals, tile, real = control.ints, control.reals, work.tiles[0], model.params.dtype.type
    position, left, total = ints[CURSOR], ints[BUDGET], reals[EPOCH_LOSS]
    if reals[SQUARES] < 0.0:
        reals[SQUARES] = sum_of_squares(model)
    while True:
        if reals[SHRINK] < SMALLEST_SHRINK:
            fold(model, reals)
        row, shrink = data.order[position], reals[SHRINK]
        load_sample(data, row, work.inputs)
        forward_sample(model, tile, work.inputs, real(shrink))
        loss = reals[LOSS_SCALE] * output_sample(model, tile, data.y[row], work.weights[0])
        total += loss + 0.5 * strength * reals[SQUARES] * shrink * shrink
        next_shrink = shrink * (1.0 - reals[RATE] * strength)
        scale = (real(shrink), real(next_shrink))
        change = descend(model, tile, work.inputs, real(reals[RATE]), scale)
        reals[SQUARES] = max(0.0, reals[SQUARES] + change)  # negative would mean: not known
        reals[SHRINK] = next_shrink
        position += 1
        strength = penalty(data, control, position) if position < ints[N_ROWS] and left > 0 else -1.0
        if strength < 0.0:
            break
        left -= 1
    ints[STEP] += ints[BUDGET] - left
    ints[BUDGET], reals[EPOCH_LOSS] = left, total
    next_batch(control, position)


@entry(reads=READS)
def train_samples(model, moments, data, work, control):
    """As `train` with batches of one row, by kernels of their own. A budget of 0 leaves the weights
    readable.
    """
    if control.ints[STATUS] == AWAITS_SCORE:
        judge(control.ints, control.reals)
    if control.ints[BUDGET] == 0 and control.reals[SHRINK] != 1.0:
        fold(model, control.reals)
    work.weights[0, 0] = 1
    before = flush_subnormals()
    while True:
        begin_batch(data, moments, control)
        if control.ints[GO] == 0:
            break
        strength = penalty(data, control, control.ints[CURSOR])
        if strength < 0.0:
            sample_step(model, moments, data, work, control)
        else:
            descend_samples(model, data, work, control, strength)
        if control.ints[CURSOR] == 0 and control.reals[SHRINK] != 1.0:
            fold(model, control.reals)
        check_finite(model.params, control)
    restore_subnormals(before)
