"""Training of small networks whose batches are cut in shards: an entry point beside `train` (loops.py).

Two threads take the same steps here, and meet once in each. A fit needs this or `train`, never both, so it
compiles a tenth less (docs/engine.md).
"""

from fastnn.kernels.backprop import Data, Model
from fastnn.kernels.jit import entry, kernel
from fastnn.kernels.loops import (
    READS,
    TRAINING_PARTS,
    add_shard_losses,
    begin_call,
    meet,
    shard_gradients,
    shrink_team,
)
from fastnn.kernels.meeting import barrier, reset, was_late
from fastnn.kernels.parts import reference
from fastnn.kernels.passes import update_chunks
from fastnn.kernels.schedule import begin_batch, check_finite, end_batch
from fastnn.kernels.state import CURSOR, EPOCH, GO, REPLICA, STEP, TEAM, Control, Moments
from fastnn.kernels.subnormals import flush_subnormals, restore_subnormals


@kernel
def replicate(source, target):
    """target[i] = source[i]."""
    for i in range(source.size):
        target[i] = source[i]


@kernel(embed=True)
def copy_run(model, moments, data, control):
    """The replica of everything that goes on from step to step; of the order if it may have changed since the
    last call, of a million rows 2 ms.
    """
    vectors, own, ints = moments.replicas[0], control.replica, control.ints
    if own.ints[STEP] != ints[STEP] or own.ints[EPOCH] != ints[EPOCH] or own.ints[CURSOR] != ints[CURSOR]:
        replicate(data.order, own.order)
    replicate(model.params, vectors[0])
    replicate(moments.first, vectors[1])
    replicate(moments.second, vectors[2])
    replicate(ints, own.ints)
    replicate(control.reals, own.reals)
    replicate(control.key, own.key)


@kernel(embed=True)
def take_steps_alike(rank, n_threads, model, moments, data, work, control):
    """Steps of a small network by two threads, each of which does all of it but the other's shards: on
    parameters, moments, counters and an order of its own, which begin alike and so stay alike. Rank 0 has
    those of the run. One thread takes the same turns, and meets nobody.

    To write a line that the other core has read takes longer than a second step of Adam: 64-100-10 with 200
    rows 0.94, 32-64-64-1 with 128 rows 0.94. And threads meet once a step, not three times. What is shared
    lies in two places, whose turns come in turn: nobody writes to one before all that read it have met again.
    64-100-10 with 64 rows 0.89, with 200 rows 0.93, 8-100-1 with 200 rows 0.86 (in turn; docs/engine.md).
    """
    ints, reals, curve, key = control.ints, control.reals, control.loss_curve, control.key
    params, first, second = model.params, moments.first, moments.second
    own, hyper, order = control.replica, moments.hyper, data.order
    barrier(control.barrier, n_threads)  # rank 0 may have judged a score (begin_call)
    if rank > 0:
        copy_run(model, moments, data, control)
        ints, reals, curve, key = own.ints, own.reals, own.loss_curve, own.key
        replica, hyper, order = moments.replicas[0], own.hyper, own.order
        params, first = replica[0, : params.size], replica[1, : first.size]
        second = replica[2, : second.size]
    for turn in range(2):
        reset(control.taken[turn, rank])
    barrier(control.barrier, n_threads)  # and the copies are made
    ints[TEAM] = n_threads
    own_model = Model(model.layers, model.codes, params, model.zeros)
    own_data = Data(data.table, data.y, data.weights, order)
    net, n_shards = reference((own_model, own_data, work)), moments.gradients.shape[0]
    # Both turns are laid out once, 3 KB each: 64-100-10 with 200 rows 0.98, 8-100-1 0.98 (in turn).
    losses, joined, meeting = control.shard_losses, control.joined, (control.barrier, control.taken, own)
    run, vectors = (ints, reals, curve, key, control.chunks, control.squares), (first, second, hyper)
    even = Control(*run, losses[:n_shards], joined[:n_shards], *meeting)
    odd = Control(*run, losses[n_shards:], joined[n_shards:], *meeting)
    even_moments = Moments(moments.gradients, moments.others, *vectors, moments.replicas)
    odd_moments = Moments(moments.others, moments.gradients, *vectors, moments.replicas)
    even_step = reference((own_model, even_moments, own_data, work, even))
    odd_step = reference((own_model, odd_moments, own_data, work, odd))
    while True:
        turn, gradients, everything, here = 0, moments.gradients, even_step, even
        if ints[STEP] % 2:
            turn, gradients, everything, here = 1, moments.others, odd_step, odd
        begin_batch(own_data, even_moments, here)  # of the moments it sets `hyper`, one for both turns
        if ints[GO] == 0 or rank >= n_threads:
            # Who was late in the last step counts, too: it may have been the only one of the call.
            if rank == 0 and was_late(control.barrier) and n_threads > 1:
                shrink_team(ints, n_threads - 1)
            break
        # For the next step: all that took by these counters have met since, and nobody will before they meet
        # again.
        reset(control.taken[1 - turn, rank])
        shard_gradients(rank, n_threads, (net, everything), gradients, work, here, turn)
        if rank == 0:
            late = was_late(control.barrier) and n_threads > 1
            own.team[turn] = n_threads - 1 if late else n_threads
        meet(here, n_threads)
        add_shard_losses(here)
        update_chunks(everything, rank, REPLICA, 0, len(control.chunks))
        end_batch(here, rank)
        check_finite(params, here)
        if own.team[turn] < n_threads:
            n_threads = own.team[turn]
            shrink_team(ints, n_threads)


@entry(reads=READS, parts=TRAINING_PARTS)
def train_small(rank, n_threads, model, moments, data, work, control):
    """As `train`, to the same bits, by one thread or two."""
    begin_call(rank, control)
    before = flush_subnormals()
    take_steps_alike(rank, n_threads, model, moments, data, work, control)
    restore_subnormals(before)
