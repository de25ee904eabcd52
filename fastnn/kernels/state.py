"""The state of training: everything that a compiled call reads, changes and leaves for the next call.

All of it lies in arrays, so a call may stop after any number of batches and the next goes on, to the same
bits.
"""

from typing import NamedTuple

import numpy as np

# Fields of `Control.ints`.
(
    N_ROWS,
    BATCH,  # rows of a batch
    CURSOR,  # first row of the next batch; 0 starts an epoch
    EPOCH,  # epochs done in this run
    EPOCHS,  # epochs to do
    SAMPLES_SEEN,
    STEP,  # updates done
    SOLVER,
    SCHEDULE,
    SHUFFLE,  # 1: shuffle the order at the start of each epoch; for a full batch, only draw
    PATIENCE,  # epochs without improvement that are tolerated
    NO_IMPROVEMENT,  # epochs without improvement so far
    MONITOR,  # LOSS, or SCORE that Python writes to reals[MONITORED]
    PAUSE,  # 1: return to Python after each epoch
    STATUS,
    BUDGET,  # batches that this call may still do
    GO,  # 1 while the threads have a batch to do
    N_SHARDS,  # of the batch at hand
    SHARD_ROWS,  # rows for each shard of a batch
    RATE_CUTS,  # times that the adaptive schedule has divided the rate
    TEAM,  # threads that do the batch at hand
    SHRUNK_AT,  # updates that were done when the team first got smaller in this call; 0: it has not
    REST,  # batches that a call may still do once its team has got smaller
    LONG_WAIT,  # looks at a barrier beyond which another thread counts as late
    WINDOW_CHUNKS,  # chunks whose gradient a thread's window takes
    N_INTS,
) = range(26)

# Fields of `Control.reals`, all float64.
(
    RATE_INIT,
    RATE,
    BETA_1,  # momentum too
    UNIT_OF_FIRST,  # what `Moments.first` is multiplied by: Adam's saves an operation so (optimizers.py)
    BETA_2,
    EPSILON,
    POWER_T,
    ALPHA,
    TOL,
    BEST,  # best monitored value; smaller is better
    MONITORED,
    LOSS_SCALE,  # factor of the data term in reported losses
    BATCH_LOSS,  # sum of weight * loss over the batch at hand
    BATCH_WEIGHT,  # sum of weights over it
    ROW_SCALE,  # what the weight of a row is multiplied by, so that gradients come as the update takes them
    EPOCH_LOSS,  # sum over the epoch of batch loss * rows
    SHRINK,  # one sample at a time: weights are SHRINK * what the vector holds
    SQUARES,  # and the sum of squares of what it holds; negative: not known
    N_REALS,
) = range(19)

# Phases of a step, in each of which threads take things from each other's shares when theirs are done. Where
# two threads take steps alike, there is but one, and the first two counters are for every other step.
FORWARD_AND_BACK, GRADIENTS, UPDATES, PHASES = range(4)
# Parameters whose shards are added at once: the sum stays in L1 until it is used.
SUM_NUMBERS = 4096
# In place of a shard: the gradient lies in the thread's window; or all shards are added, for parameters and
# moments of the thread's own.
OWN, REPLICA = -1, -2
# What parts are given: those that learn, and the one that predictions share with them.
EVERYTHING, NET = ("model", "moments", "data", "work", "control"), ("model", "data", "work")
LOSS, SCORE = range(2)
RUNNING, AWAITS_SCORE, EPOCHS_DONE, STOPPED_IMPROVING, RATE_TOO_SMALL, DIVERGED = range(6)
SMALLEST_RATE = 1e-6  # of the adaptive schedule
RATE_CUT = 5.0


class Replica(NamedTuple):
    """What rank 1 has of its own where two threads take steps alike (small.py): like what rank 0 has. Arrays
    of no length where they don't.
    """

    ints: np.ndarray
    reals: np.ndarray
    loss_curve: np.ndarray
    key: np.ndarray
    order: np.ndarray
    hyper: np.ndarray
    team: np.ndarray  # (2,) int64, of both ranks: threads that go on after a step of either turn


class Control(NamedTuple):
    """Scalars of the run and what the threads tell each other."""

    ints: np.ndarray  # (N_INTS,) int64
    reals: np.ndarray  # (N_REALS,) float64
    loss_curve: np.ndarray  # (n,) float64, of the last n epochs: epoch e at e modulo n
    key: np.ndarray  # (KEY_LENGTH,) uint32, Mersenne Twister state (random.py)
    chunks: np.ndarray  # (C, CHUNK_FIELDS) int64
    squares: np.ndarray  # (threads, C or more) float64: sum of squared weights in each chunk, in row 0
    # Where two threads take steps alike, the second half is for every other step.
    shard_losses: np.ndarray  # (2 shards,) float64
    joined: np.ndarray  # (2 shards,) int64: 1 where the first shard of its half has the gradient, too
    barrier: np.ndarray  # where threads meet (meeting.py)
    taken: np.ndarray  # (PHASES, threads, BARRIER_SIZE): how much of each thread's share is taken
    replica: Replica


class Moments(NamedTuple):
    """Flat vectors beside the parameters, in the same layout."""

    gradients: np.ndarray  # (shards, P)
    others: np.ndarray  # (shards, P) for every other step, where two threads take steps alike, or (0, 0)
    first: np.ndarray  # (P,), or (0,) where the solver has none; times UNIT_OF_FIRST
    second: np.ndarray  # (P,), or (0,)
    hyper: np.ndarray  # (2, N_HYPER) of the step at hand, for weights and biases
    replicas: np.ndarray  # (threads - 1, 3, P or more): parameters and moments of ranks above 0, or (0, 3, 0)


class Inputs(NamedTuple):
    """Inputs that are not 0: of each layer, for one sample at a time; of a sparse row, for each thread.

    W numbers are enough for the widest, and 16 more.
    """

    active: np.ndarray  # (L or threads, W) int64: which inputs
    values: np.ndarray  # (L or threads, W) and what they are
    counts: np.ndarray  # (L,) int64: how many
    sums: np.ndarray  # (W,)


class Work(NamedTuple):
    """Scratch memory, one row a thread."""

    tiles: np.ndarray  # (tiles, tile_numbers)
    rows: np.ndarray  # (threads, R) int64
    targets: np.ndarray  # (threads, K * R)
    weights: np.ndarray  # (threads, R)
    losses: np.ndarray  # (threads, panels of a tile or more) float64
    # (threads, W): the gradient of a run of chunks, of a bias, or of a block of few rows, or the sum of
    # shards for SUM_NUMBERS parameters
    windows: np.ndarray
    inputs: Inputs
    # (tiles, panels of a tile or more, I / lanes rounded up) int64: which inputs are busy (idle.py)
    masks: np.ndarray
    copies: np.ndarray  # (threads, copy_numbers): what is multiplied where inputs are idle
    busy: np.ndarray  # (tiles, panels of a tile, R, I / 8 rounded up) uint8: what isn't 0 (zeros.py)
    lists: np.ndarray  # (threads, lists, LIST_LENGTH) uint8, and a list of it
