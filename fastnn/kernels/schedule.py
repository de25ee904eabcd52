"""What happens between batches and between epochs: shuffling, reported loss, learning rate, stopping."""

from math import isfinite, sqrt

from fastnn.kernels import optimizers as hyper
from fastnn.kernels.codes import ADAM, ADAPTIVE, INVSCALING
from fastnn.kernels.elementary import number
from fastnn.kernels.jit import kernel
from fastnn.kernels.random import shuffle, skip_shuffle
from fastnn.kernels.state import (
    ALPHA,
    AWAITS_SCORE,
    BATCH,
    BATCH_LOSS,
    BATCH_WEIGHT,
    BEST,
    BETA_1,
    BETA_2,
    BUDGET,
    CURSOR,
    DIVERGED,
    EPOCH,
    EPOCH_LOSS,
    EPOCHS,
    EPOCHS_DONE,
    EPSILON,
    GO,
    LOSS,
    LOSS_SCALE,
    MONITOR,
    MONITORED,
    N_ROWS,
    N_SHARDS,
    NO_IMPROVEMENT,
    PATIENCE,
    PAUSE,
    POWER_T,
    RATE,
    RATE_CUT,
    RATE_CUTS,
    RATE_INIT,
    RATE_TOO_SMALL,
    ROW_SCALE,
    RUNNING,
    SAMPLES_SEEN,
    SCHEDULE,
    SHARD_ROWS,
    SHUFFLE,
    SMALLEST_RATE,
    SOLVER,
    SQUARES,
    STATUS,
    STEP,
    STOPPED_IMPROVING,
    TOL,
    UNIT_OF_FIRST,
)

# The root of the least normal number: beside a smaller epsilon, a second moment that has become 0 would make
# steps without bound, or 0 / 0.
LEAST_EPSILON = 2.0**-63, 2.0**-511


@kernel(embed=True)
def begin_batch(data, moments, control):
    """Make the next batch ready, or set GO to 0: budget used up, or the run has ended.

    A batch whose weights sum to 0 teaches nothing and is passed over.
    """
    ints, reals = control.ints, control.reals
    ints[GO] = 0
    while ints[BUDGET] > 0 and ints[STATUS] == RUNNING:
        if ints[CURSOR] == 0:
            reals[EPOCH_LOSS], reals[SQUARES] = 0.0, -1.0
            # A full batch has no order: its rows stay where they lie, which is 100 of 1100 us for 10,000 rows
            # of 4-32-16-4, and the draws are the same.
            if ints[SHUFFLE] and ints[BATCH] < ints[N_ROWS]:
                shuffle(data.order, control.key)
            elif ints[SHUFFLE]:
                skip_shuffle(ints[N_ROWS], control.key)
        stop = min(ints[CURSOR] + ints[BATCH], ints[N_ROWS])
        weight = batch_weight(data, ints[CURSOR], stop)
        if weight > 0:
            ints[GO] = 1
            ints[BUDGET] -= 1
            ints[STEP] += 1
            ints[N_SHARDS] = (stop - ints[CURSOR] + ints[SHARD_ROWS] - 1) // ints[SHARD_ROWS]
            reals[BATCH_WEIGHT] = weight
            reals[BATCH_LOSS] = 0.0
            set_hyper(ints, reals, moments.hyper)
            return
        # It counts, too: the curve of losses has room for the epochs of so many batches.
        ints[BUDGET] -= 1
        next_batch(control, stop)


@kernel
def batch_weight(data, first, last):
    """Sum of the sample weights of rows order[first:last]."""
    if data.weights.size == 0:
        return float(last - first)
    total = 0.0
    for position in range(first, last):
        total += data.weights[data.order[position]]
    return total


@kernel(embed=True)
def set_hyper(ints, reals, values):
    """Hyper-parameters of this step, cast to the dtype of the parameters: values[0] for weights, values[1]
    for biases.
    """
    unit, least = 1.0, float(number(values[0, 0], LEAST_EPSILON))
    if ints[SOLVER] == ADAM:
        correction = sqrt(1.0 - reals[BETA_2] ** ints[STEP]) / (1.0 - reals[BETA_1] ** ints[STEP])
        reals[RATE] = reals[RATE_INIT] * correction
        unit = sqrt(1.0 - reals[BETA_2])
    reals[ROW_SCALE] = unit / reals[BATCH_WEIGHT]
    for row in range(2):
        values[row, hyper.RATE] = reals[RATE] / reals[UNIT_OF_FIRST]
        values[row, hyper.BETA_1] = reals[BETA_1]
        values[row, hyper.BETA_2] = reals[BETA_2]
        values[row, hyper.UNIT] = unit
        values[row, hyper.EPSILON] = max(reals[EPSILON], least)
    values[0, hyper.DECAY] = unit * reals[ALPHA] / reals[BATCH_WEIGHT]
    values[1, hyper.DECAY] = 0.0


@kernel(embed=True)
def end_batch(control, rank):
    """Add the batch to the epoch's loss: mean loss before the update, L2 term included, times its rows. The
    squares of the weights are those that this rank has noted.
    """
    ints, reals = control.ints, control.reals
    squares = 0.0
    for chunk in range(len(control.chunks)):
        squares += control.squares[rank, chunk]
    stop = min(ints[CURSOR] + ints[BATCH], ints[N_ROWS])
    loss = reals[LOSS_SCALE] * reals[BATCH_LOSS] + 0.5 * reals[ALPHA] * squares
    reals[EPOCH_LOSS] += loss / reals[BATCH_WEIGHT] * (stop - ints[CURSOR])
    next_batch(control, stop)


@kernel(embed=True)
def next_batch(control, stop):
    """Move the cursor to `stop`; at the last row the epoch ends."""
    ints, reals = control.ints, control.reals
    ints[CURSOR] = stop
    if stop < ints[N_ROWS]:
        return
    ints[CURSOR] = 0
    loss = reals[EPOCH_LOSS] / ints[N_ROWS]
    control.loss_curve[ints[EPOCH] % control.loss_curve.size] = loss
    ints[EPOCH] += 1
    ints[SAMPLES_SEEN] += ints[N_ROWS]
    if ints[PAUSE]:
        ints[BUDGET] = 0
    if ints[MONITOR] == LOSS:
        reals[MONITORED] = loss
        judge(ints, reals)
    else:
        ints[STATUS] = AWAITS_SCORE


@kernel(embed=True)
def judge(ints, reals):
    """Count epochs without improvement of the monitored value, change the learning rate, decide whether to
    stop.
    """
    value = reals[MONITORED]
    if value > reals[BEST] - reals[TOL]:
        ints[NO_IMPROVEMENT] += 1
    else:
        ints[NO_IMPROVEMENT] = 0
    if value < reals[BEST]:
        reals[BEST] = value
    ints[STATUS] = RUNNING
    adjustable = ints[SOLVER] != ADAM
    if adjustable and ints[SCHEDULE] == INVSCALING:
        reals[RATE] = reals[RATE_INIT] / (ints[SAMPLES_SEEN] + 1.0) ** reals[POWER_T]
    if ints[NO_IMPROVEMENT] > ints[PATIENCE]:
        if not (adjustable and ints[SCHEDULE] == ADAPTIVE):
            ints[STATUS] = STOPPED_IMPROVING
        elif reals[RATE] <= SMALLEST_RATE:
            ints[STATUS] = RATE_TOO_SMALL
        else:
            reals[RATE] /= RATE_CUT
            ints[RATE_CUTS] += 1
            ints[NO_IMPROVEMENT] = 0
    if ints[STATUS] == RUNNING and ints[EPOCH] == ints[EPOCHS]:
        ints[STATUS] = EPOCHS_DONE


@kernel(embed=True)
def check_finite(params, control):
    """STATUS = DIVERGED once an epoch's loss and a parameter are no longer finite: no later epoch can mend
    that.
    """
    ints = control.ints
    if (
        ints[CURSOR] == 0
        and ints[EPOCH] > 0
        and not isfinite(control.loss_curve[(ints[EPOCH] - 1) % control.loss_curve.size])
    ):
        for i in range(params.size):
            if not isfinite(params[i]):
                ints[STATUS] = DIVERGED
                return
