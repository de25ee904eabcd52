"""Training on one sample after the other, compiled apart (parts.py) from the loop around it."""

from fastnn.kernels.codes import GRADIENT_ONLY, SGD
from fastnn.kernels.jit import kernel
from fastnn.kernels.parts import dereference, part
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
from fastnn.kernels.schedule import next_batch
from fastnn.kernels.sparse import is_sparse, read_row
from fastnn.kernels.state import (
    ALPHA,
    BATCH_LOSS,
    BATCH_WEIGHT,
    BUDGET,
    CURSOR,
    EPOCH_LOSS,
    EVERYTHING,
    LOSS_SCALE,
    N_ROWS,
    RATE,
    SHRINK,
    SOLVER,
    SQUARES,
    STEP,
)

# The factor kept apart from the weights stays in a range where nothing overflows.
SMALLEST_SHRINK, LARGEST_DECAY = 1e-3, 0.5


@kernel(embed=True)
def load_sample(data, row, inputs):
    """List the inputs of one row that are not 0."""
    active, values = inputs.active[0], inputs.values[0]
    if is_sparse(data.table):
        inputs.counts[0] = read_row(data.table, row, active, values)
    else:
        inputs.counts[0] = find_active(data.table.X[row], active, values, True)


@kernel(embed=True)
def penalty(data, control, position):
    """alpha / weight of the sample there, or -1 where the sample has to be taken by itself."""
    reals, weight = control.reals, 1.0
    if data.weights.size:
        weight = float(data.weights[data.order[position]])
    if control.ints[SOLVER] != SGD or weight <= 0.0 or reals[RATE] * reals[ALPHA] >= LARGEST_DECAY * weight:
        return -1.0
    return reals[ALPHA] / weight


@kernel(embed=True)
def learns_at_once(solver):
    """Whether `single_sample` updates the weights as well: solvers with moments need no stored gradient."""
    return solver != SGD and solver != GRADIENT_ONLY


@kernel(embed=True)
def single_sample(model, moments, data, work, control):
    """Forward and backward for the sample at the cursor, and the update where the solver learns at once.

    Its weight is left out of the data term of the gradient, by which it would be divided.
    """
    ints, reals, tile = control.ints, control.reals, work.tiles[0]
    row, solver, one = data.order[ints[CURSOR]], ints[SOLVER], work.weights[0][:1]
    if reals[SHRINK] != 1.0:
        fold(model, reals)
    load_sample(data, row, work.inputs)
    forward_sample(model, tile, work.inputs, model.params.dtype.type(1))
    reals[BATCH_LOSS] = reals[BATCH_WEIGHT] * output_sample(model, tile, data.y[row], one)
    if learns_at_once(solver):
        for chunk in range(len(control.chunks)):
            control.squares[0, chunk] = 0.0
        control.squares[0, 0] = learn(solver, model, moments, tile, work.inputs, one)
    else:
        backward_sample(model, tile, work.inputs, moments.gradients[0])
    reals[SQUARES] = -1.0


@kernel(embed=True)
def descend_samples(model, data, work, control):
    """Plain SGD from the cursor on, as far as budget, epoch and penalty allow.

    What a batch is framed by stays out of this loop: 2.4 -> 2.3 us (benchmarks/micro/sample.py).
    """
    ints, reals, tile, real = control.ints, control.reals, work.tiles[0], model.params.dtype.type
    position, left, total = ints[CURSOR], ints[BUDGET], reals[EPOCH_LOSS]
    strength = penalty(data, control, position)
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


@part(*EVERYTHING)
def pass_samples(given, single):
    """`single_sample` where `single` is 1, and `descend_samples` where it is 0."""
    model, moments, data, work, control = dereference(given)
    if single:
        single_sample(model, moments, data, work, control)
    else:
        descend_samples(model, data, work, control)
