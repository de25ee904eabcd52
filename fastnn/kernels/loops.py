"""The entry points: training by batches and by samples, prediction. Loops only, no formula of its own.

Every thread of a team makes the same call with its own rank. Rank 0 alone changes the state of the run,
between two barriers, or both of two threads keep one of their own; what there is to do in a step is shared by
counters that all change (meeting.py).
"""

from fastnn.kernels.codes import GRADIENT_ONLY
from fastnn.kernels.dense import scatter_panel
from fastnn.kernels.jit import entry, kernel
from fastnn.kernels.layout import LD, Z_AT
from fastnn.kernels.meeting import barrier, note_late, reset, share, take_next, take_run, was_late
from fastnn.kernels.parts import reference
from fastnn.kernels.passes import (
    add_gradients,
    ask_for,
    learn_from_few,
    learns_from_few,
    pass_back,
    pass_forward,
    update_chunks,
)
from fastnn.kernels.sample import fold
from fastnn.kernels.samples import learns_at_once, pass_samples, penalty
from fastnn.kernels.schedule import begin_batch, check_finite, end_batch, judge
from fastnn.kernels.shards import first_of_half, join, share_of_shard
from fastnn.kernels.simd import lanes, panel_of, panel_rows
from fastnn.kernels.sparse import multiplied_as_is
from fastnn.kernels.state import (
    AWAITS_SCORE,
    BATCH,
    BATCH_LOSS,
    BUDGET,
    CURSOR,
    FORWARD_AND_BACK,
    GO,
    GRADIENTS,
    LONG_WAIT,
    N_ROWS,
    N_SHARDS,
    OWN,
    PHASES,
    REST,
    SHRINK,
    SHRUNK_AT,
    SOLVER,
    STATUS,
    STEP,
    TEAM,
    UPDATES,
    WINDOW_CHUNKS,
)
from fastnn.kernels.subnormals import flush_subnormals, restore_subnormals
from fastnn.kernels.thin import add_thin_gradient, enter_thin

# A thread's share is cut into so many runs, which others may take: 1024-1024-1024-10 takes 3 % less than with
# 4. The weights serve all panels of a run, so those are no shorter than this: 3 % more with runs of 2.
RUNS_OF_SHARE, SHORTEST_RUN_OF_PANELS = 16, 4
# The parts of training. With one process to help, it takes the first half of those that are missing.
TRAINING_PARTS = (
    *(pass_forward, pass_back, learn_from_few, enter_thin, add_thin_gradient),
    *(add_gradients, update_chunks),
)

READS = ("data.table", "data.y", "data.weights")


@kernel(embed=True)
def meet(control, n_threads):
    """A barrier inside a step, where nobody waits longer than a thread's share of it takes, unless another
    thread has lost its core to something else.
    """
    if barrier(control.barrier, n_threads) > control.ints[LONG_WAIT]:
        note_late(control.barrier)


@kernel(embed=True)
def shrink_team(ints, n_threads):
    """So many threads for the rest of the call, since one came late, always the last: the others do its work,
    to the same bits, and whoever shares its core with another one finds a free one. The rest is a short one.

    Beside a thread that never sleeps (OpenBLAS's wait so for 0.1 s after a product) a core is lost for 4 ms
    at a barrier: a fit of 13 ms took 120, and takes 27 with this (benchmarks/micro/busy.py).
    """
    ints[TEAM] = n_threads
    ints[BUDGET] = min(ints[BUDGET], ints[REST])
    if ints[SHRUNK_AT] == 0:
        ints[SHRUNK_AT] = ints[STEP]


@kernel(embed=True)
def reset_phase(control, phase, n_threads):
    """Nothing of a phase is taken; by one thread, while nobody is in that phase."""
    for owner in range(n_threads):
        reset(control.taken[phase, owner])


@kernel(embed=True)
def unit_of(total, n_threads):
    """How many things a thread takes at once: one thread all, others a part of their share."""
    return total if n_threads == 1 else max(1, total // (n_threads * RUNS_OF_SHARE))


@kernel(exact=True)
def add_losses(total, losses, panels):
    """total + losses[0] + losses[1] + ... of so many panels, in this order, wherever it is compiled."""
    for panel in range(panels):
        total += losses[panel]
    return total


@kernel(embed=True)
def tile_panels(work):
    """Panels for which a tile has room."""
    return work.busy.shape[1]


@kernel
def count_tiles(n_rows, rows, most):
    """Tiles of at most `most` panels of `rows` rows that n_rows rows fill."""
    panels = (n_rows + rows - 1) // rows
    return (panels + most - 1) // most


@kernel
def tile_at(first, last, rows, tile, tiles):
    """(first row, rows, panels) of one of the equal tiles that share the rows first to last."""
    start, stop = share((last - first + rows - 1) // rows, tile, tiles)
    return first + start * rows, min(stop * rows, last - first) - start * rows, stop - start


@kernel(embed=True)
def shard_gradient(rank, shard, references, work, control, first, last):
    """Gradient of the rows order[first:last], tile by tile; returns their sum of weight * loss."""
    net, everything = references
    rows, losses, n_chunks, total = panel_rows(work.tiles), work.losses[rank], len(control.chunks), 0.0
    tiles = count_tiles(last - first, rows, tile_panels(work))
    for tile in range(tiles):
        begin, count, panels = tile_at(first, last, rows, tile, tiles)
        pass_forward(net, rank, rank, begin, count, 0, panels, True)
        pass_back(everything, rank, rank, begin, count, 0, panels)
        total = add_losses(total, losses, panels)
        add_gradients(everything, rank, rank, shard, begin, count, 0, n_chunks, tile == 0)
    return total


@kernel(embed=True)
def shared_gradient(rank, n_threads, references, model, work, control, first, last, at_once):
    """Gradient of the batch in tiles that all threads share: each takes some panels, then some chunks of
    weights, of which it learns `at_once` if there is a single tile; from few rows, in one. Returns whether it
    did.

    A gradient that is used where it was made, and never whole in memory: 784-256-128-10 with 8 rows 0.83,
    with 32 rows 0.94 (in turn).
    """
    net, everything = references
    rows, losses, n_chunks = panel_rows(work.tiles), work.losses[0], len(control.chunks)
    tiles = count_tiles(last - first, rows, tile_panels(work))
    for tile in range(tiles):
        begin, count, panels = tile_at(first, last, rows, tile, tiles)
        unit = max(SHORTEST_RUN_OF_PANELS, unit_of(panels, n_threads))
        while True:
            begun, ended = take_run(control.taken, FORWARD_AND_BACK, rank, n_threads, panels, unit)
            if begun == ended:
                break
            pass_forward(net, 0, rank, begin, count, begun, ended, True)
            pass_back(everything, 0, rank, begin, count, begun, ended)
        meet(control, n_threads)
        if rank == 0:
            reset_phase(control, FORWARD_AND_BACK, n_threads)
            control.reals[BATCH_LOSS] = add_losses(control.reals[BATCH_LOSS], losses, panels)
        if at_once and learns_from_few(model, control, work):
            learn_from_few(everything, rank, count)
            return True
        unit, learns = unit_of(n_chunks, n_threads), at_once and tiles == 1
        if learns:
            unit = min(unit, control.ints[WINDOW_CHUNKS])
        while True:
            begun, ended = take_run(control.taken, GRADIENTS, rank, n_threads, n_chunks, unit)
            if begun == ended:
                break
            shard = OWN if learns else 0
            add_gradients(everything, 0, rank, shard, begin, count, begun, ended, tile == 0)
            if learns:
                update_chunks(everything, rank, OWN, begun, ended)
        if learns:
            return True
        meet(control, n_threads)
        if rank == 0 and tile + 1 < tiles:
            reset_phase(control, GRADIENTS, n_threads)
    return False


@kernel(embed=True)
def shard_gradients(rank, n_threads, references, gradients, work, control, phase):
    """Gradients of the shards of the batch at the cursor, of which each thread takes some, by the counters of
    this phase.
    """
    ints, unit = control.ints, lanes(work.tiles)
    first, last = ints[CURSOR], min(ints[CURSOR] + ints[BATCH], ints[N_ROWS])
    vectors = (last - first + unit - 1) // unit
    follows = -1  # the shard that comes after those of a half that this thread has made, from its first on
    while True:
        shard, ended = take_run(control.taken, phase, rank, n_threads, ints[N_SHARDS], 1)
        if shard == ended:
            break
        start, stop = share_of_shard(vectors, shard, ints[N_SHARDS])
        begin, end = first + start * unit, min(first + stop * unit, last)
        control.shard_losses[shard] = shard_gradient(rank, shard, references, work, control, begin, end)
        # Another thread reads one gradient then, not several: 32-64-64-1 with 256 rows 0.96 (in turn).
        half = first_of_half(shard, ints[N_SHARDS])
        joined = shard == follows and shard > half
        if joined:
            join(gradients[half], gradients[shard])
        control.joined[shard] = joined
        if n_threads > 1 and (joined or shard == half):
            follows = shard + 1


@kernel(embed=True)
def add_shard_losses(control):
    """The loss of the batch from those of its shards."""
    for shard in range(control.ints[N_SHARDS]):
        control.reals[BATCH_LOSS] += control.shard_losses[shard]


@kernel(embed=True)
def batch_gradient(rank, n_threads, references, model, gradients, work, control, at_once):
    """Gradient of the batch at the cursor, in `n_shards` vectors that are still to be added; a single shard
    is divided among the threads. Returns whether the step is done as well.
    """
    ints = control.ints
    if ints[N_SHARDS] == 1:
        first, last = ints[CURSOR], min(ints[CURSOR] + ints[BATCH], ints[N_ROWS])
        return shared_gradient(rank, n_threads, references, model, work, control, first, last, at_once)
    if n_threads > 1:
        ask_for(model.params)
    shard_gradients(rank, n_threads, references, gradients, work, control, FORWARD_AND_BACK)
    meet(control, n_threads)
    if rank == 0:
        add_shard_losses(control)
    return False


@kernel(embed=True)
def update_all(rank, n_threads, everything, control):
    """One step of the solver on all chunks, of which each thread takes some."""
    n_chunks = len(control.chunks)
    unit = unit_of(n_chunks, n_threads)
    while True:
        begun, ended = take_run(control.taken, UPDATES, rank, n_threads, n_chunks, unit)
        if begun == ended:
            break
        update_chunks(everything, rank, 0, begun, ended)


@kernel(embed=True)
def take_steps_together(rank, n_threads, model, moments, data, work, control):
    """Steps that the threads share to their end: rank 0 begins and ends a batch while the others wait."""
    net, everything = reference((model, data, work)), reference((model, moments, data, work, control))
    # A sparse gradient of the first layer can't be had chunk by chunk; one that is asked for is wanted whole.
    at_once = control.ints[SOLVER] != GRADIENT_ONLY and not multiplied_as_is(data.table)
    references = net, everything
    while True:
        # Each thread sets back its own counters, which are in its cache: nobody asks for them from the last
        # meeting on to the barrier below.
        for phase in range(PHASES):
            reset(control.taken[phase, rank])
        if rank == 0:
            begin_batch(data, moments, control)
            control.ints[TEAM] = n_threads
            if was_late(control.barrier) and n_threads > 1:
                shrink_team(control.ints, n_threads - 1)
        barrier(control.barrier, n_threads)
        n_threads = control.ints[TEAM]
        if control.ints[GO] == 0 or rank >= n_threads:
            break
        if not batch_gradient(rank, n_threads, references, model, moments.gradients, work, control, at_once):
            update_all(rank, n_threads, everything, control)
        meet(control, n_threads)
        if rank == 0:
            end_batch(control, 0)
            check_finite(model.params, control)


@kernel(embed=True)
def begin_call(rank, control):
    """The verdict on a score that Python has brought; nobody has been late yet."""
    if rank == 0:
        was_late(control.barrier)  # in the last call, which is long ago by now
        if control.ints[STATUS] == AWAITS_SCORE:
            judge(control.ints, control.reals)


@entry(reads=READS, parts=TRAINING_PARTS)
def train(rank, n_threads, model, moments, data, work, control):
    """Batches until the budget is used up or the run ends."""
    begin_call(rank, control)
    before = flush_subnormals()
    take_steps_together(rank, n_threads, model, moments, data, work, control)
    restore_subnormals(before)


@entry(reads=READS, parts=[pass_forward, enter_thin])
def predict(rank, counter, model, data, out, work, activated):
    """out[n, o] = output of the network for X (n, I) in `data`, whose order is empty; or z of the output
    layer where `activated` is 0.

    Each thread takes the next tile that nobody has taken, from a counter at 0.
    """
    net, rows, n = reference((model, data, work)), panel_rows(work.tiles), out.shape[0]
    tile_rows = tile_panels(work) * rows
    last = model.layers[model.layers.shape[0] - 1]
    while True:
        begin = take_next(counter) * tile_rows
        if begin >= n:
            break
        count = min(tile_rows, n - begin)
        panels = (count + rows - 1) // rows
        pass_forward(net, rank, rank, begin, count, 0, panels, activated)
        for panel in range(panels):
            a = panel_of(work.tiles[rank], last[Z_AT], last[LD], panel)
            scatter_panel(a, out, begin + panel * rows, min(rows, count - panel * rows))


@entry(reads=READS, parts=[pass_samples, update_chunks])
def train_samples(model, moments, data, work, control):
    """As `train` with batches of one row, by kernels of their own. A budget of 0 leaves the weights
    readable.
    """
    if control.ints[STATUS] == AWAITS_SCORE:
        judge(control.ints, control.reals)
    if control.ints[BUDGET] == 0 and control.reals[SHRINK] != 1.0:
        fold(model, control.reals)
    work.weights[0, 0] = 1
    everything = reference((model, moments, data, work, control))
    before = flush_subnormals()
    while True:
        begin_batch(data, moments, control)
        if control.ints[GO] == 0:
            break
        single = penalty(data, control, control.ints[CURSOR]) < 0.0
        pass_samples(everything, single)
        if single:
            if not learns_at_once(control.ints[SOLVER]):
                update_chunks(everything, 0, 0, 0, len(control.chunks))
            end_batch(control, 0)
        if control.ints[CURSOR] == 0 and control.reals[SHRINK] != 1.0:
            fold(model, control.reals)
        check_finite(model.params, control)
    restore_subnormals(before)
