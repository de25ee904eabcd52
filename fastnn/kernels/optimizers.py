"""Update rules over ranges of the flat vectors.

Legend: g = gradient + decay * params, the gradient of the loss with its L2 term, where decay = alpha /
(sum of sample weights). The gradient comes divided by that sum, since the deltas of the output layer are
(backprop.py). Each kernel returns sum(params^2) before the update, the L2 term of the loss that is reported
for the step.
"""

from fastnn.kernels.arithmetic import block_sum, over_root
from fastnn.kernels.codes import ADAM, MOMENTUM, NESTEROV, SGD
from fastnn.kernels.jit import kernel
from fastnn.kernels.simd import (
    VECTOR_BITS,
    block_broadcast,
    block_load,
    block_multiply_add,
    block_store,
    block_zero,
    lanes,
    panel_rows,
)

# Hyper-parameters of one step, cast to the dtype of the parameters once. UNIT, by which gradient and decay
# come multiplied, is sqrt(1 - beta_2) for Adam and 1 for the others.
RATE, DECAY, BETA_1, BETA_2, EPSILON, UNIT, N_HYPER = range(7)
# Where few rows have their gradient and Adam's step in one: TALL inputs at once, whose sums fill the
# registers, and LOW of those that are left.
TALL, LOW = 8 if VECTOR_BITS == 512 else 4, 4


@kernel(embed=True)
def momentum_rule(value, gradient, velocity, h):
    """velocity = beta * velocity - rate * g;  params += velocity.  (Polyak, 1964)

    (value, velocity) after the step. All may be numbers or blocks of vectors; `h` has the hyper-parameters.
    """
    velocity = h[BETA_1] * velocity - h[RATE] * (gradient + h[DECAY] * value)
    return value + velocity, velocity


@kernel(embed=True)
def nesterov_rule(value, gradient, velocity, h):
    """velocity = beta * velocity - rate * g;  params += beta * velocity - rate * g.  (Sutskever et al.,
    2013)
    """
    step = h[RATE] * (gradient + h[DECAY] * value)
    velocity = h[BETA_1] * velocity - step
    return value + (h[BETA_1] * velocity - step), velocity


@kernel(exact=True, embed=True)
def adam_rule(value, gradient, first, second, h):
    """m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  params -= rate * m / (sqrt(v) + epsilon).

    (value, m, v) after the step, all of them blocks; the rate carries the bias correction, sqrt(1 - b2^t) /
    (1 - b1^t).  (Kingma & Ba, 2015, section 2)

    Every operation counts: gradient and decay come times UNIT = sqrt(1 - b2), so v takes two; `first` is
    m UNIT / (1 - b1), so m takes one, and the rate is divided by the same (docs/engine.md). Exact, or LLVM
    multiplies by the rate before it divides, which is an operation more: 0.96 (AVX-512, in turn).
    """
    g = gradient + h[DECAY] * value
    first = h[BETA_1] * first + g
    second = h[BETA_2] * second + g * g
    return value - over_root(first, h[RATE], second, h[EPSILON]), first, second


@kernel(embed=True)
def numbers(hyper):
    """The hyper-parameters from RATE to EPSILON as a tuple: loaded once and not at every parameter."""
    return (
        *(hyper[RATE], hyper[DECAY], hyper[BETA_1], hyper[BETA_2]),
        *(hyper[EPSILON], hyper[UNIT]),
    )


@kernel(embed=True)
def vectors(hyper):
    """The same as blocks of one vector, the number in every lane."""
    return (
        *(block_broadcast(hyper, 1, 1, RATE), block_broadcast(hyper, 1, 1, DECAY)),
        *(block_broadcast(hyper, 1, 1, BETA_1), block_broadcast(hyper, 1, 1, BETA_2)),
        *(block_broadcast(hyper, 1, 1, EPSILON), block_broadcast(hyper, 1, 1, UNIT)),
    )


@kernel
def sgd(params, gradient, hyper):
    """params -= rate * g.  All arrays (n,)."""
    rate, decay, squares = hyper[RATE], hyper[DECAY], params.dtype.type(0)
    for i in range(params.size):
        value = params[i]
        squares += value * value
        params[i] = value - rate * (gradient[i] + decay * value)
    return squares


def make_momentum(rule):
    """The kernel that applies `momentum_rule` or `nesterov_rule` to all parameters."""

    @kernel
    def momentum(params, gradient, velocity, hyper):
        """All arrays (n,)."""
        h, squares = numbers(hyper), params.dtype.type(0)
        for i in range(params.size):
            squares += params[i] * params[i]
            params[i], velocity[i] = rule(params[i], gradient[i], velocity[i], h)
        return squares

    return momentum


momentum, nesterov = make_momentum(momentum_rule), make_momentum(nesterov_rule)


@kernel(exact=True, embed=True)
def adam_vector(params, first, second, gradient, at, h):
    """`adam_rule` for the vector at `at`, whose gradient is given; returns params^2 before."""
    value = block_load(params, 1, 1, at, 0)
    m, v = block_load(first, 1, 1, at, 0), block_load(second, 1, 1, at, 0)
    squares = value * value
    value, m, v = adam_rule(value, gradient, m, v, h)
    block_store(value, params, at, 0)
    block_store(m, first, at, 0)
    block_store(v, second, at, 0)
    return squares


@kernel(exact=True)
def adam(params, gradient, first, second, hyper):
    """`adam_rule` for all parameters.  All arrays (n,), whole vectors."""
    h, step = vectors(hyper), lanes(params)
    squares = block_zero(params, 1, 1)
    for at in range(0, params.size, step):
        squares += adam_vector(params, first, second, block_load(gradient, 1, 1, at, 0), at, h)
    return block_sum(squares)


# The kernels by rows are exact, so that a gradient that overflows is infinite, as it is in memory:
# rate * (x * delta) might become (rate * x) * delta.


def make_momentum_by_rows(rule):
    """The kernel that applies one of these rules to a layer with the gradient of one sample."""

    @kernel(exact=True)
    def momentum_by_rows(params, velocity, x, delta, hyper):
        """W (I, ld) has the gradient UNIT x delta', x (I,) and delta (ld,); returns sum(W^2) before.

        A gradient that is not stored need not be cleared, written and read.
        """
        h, step, ld = vectors(hyper), lanes(delta), delta.size
        squares = block_zero(delta, 1, 1)
        for i in range(x.size):
            scale = h[UNIT] * block_broadcast(x, 1, 1, i)
            for o in range(0, ld, step):
                at = i * ld + o
                value, v = block_load(params, 1, 1, at, 0), block_load(velocity, 1, 1, at, 0)
                squares += value * value
                value, v = rule(value, scale * block_load(delta, 1, 1, o, 0), v, h)
                block_store(value, params, at, 0)
                block_store(v, velocity, at, 0)
        return block_sum(squares)

    return momentum_by_rows


momentum_by_rows = make_momentum_by_rows(momentum_rule)
nesterov_by_rows = make_momentum_by_rows(nesterov_rule)


@kernel(exact=True)
def adam_by_rows(params, first, second, x, delta, hyper):
    """`adam_rule` for W (I, ld) with the gradient UNIT x delta', x (I,) and delta (ld,); returns sum(W^2)
    before.

    In vectors, since loops as short as a row leave LLVM's vectorizer a remainder of single numbers. The
    update alone took 3.2 us for 64-100-10, 5.3 as loops, and 4.3 by way of a stored gradient (a trial).
    """
    h, step, ld = vectors(hyper), lanes(delta), delta.size
    squares = block_zero(delta, 1, 1)
    for i in range(x.size):
        scale = h[UNIT] * block_broadcast(x, 1, 1, i)
        for o in range(0, ld, step):
            gradient = scale * block_load(delta, 1, 1, o, 0)
            squares += adam_vector(params, first, second, gradient, i * ld + o, h)
    return block_sum(squares)


@kernel(exact=True)
def adam_of_block(flat, at, ld, shape, gradient, hyper):
    """`adam_rule` for W[m, o],  m < height and o < width; returns the sum of squares before, lane by lane.

    (W, m, v) = flat, from `at` on, ld numbers from row to row; (height, width) = shape, width in whole
    vectors; gradient (height, width).
    """
    (params, first, second), (height, width), step = flat, shape, lanes(gradient)
    h, squares = vectors(hyper), block_zero(gradient, 1, 1)
    for m in range(height):
        for o in range(0, width, step):
            part = block_load(gradient, 1, 1, m * width + o, 0)
            squares += adam_vector(params, first, second, part, at + m * ld + o, h)
    return squares


def make_adam_by_block(height, width):
    """The kernel that makes height x width vectors of the gradient, and takes their step."""

    @kernel(exact=True, embed=True)
    def adam_by_block(flat, places, x, deltas, sizes, gradient, hyper):
        """`adam_rule` for W[m, o : o + width * lanes], m < height, with the gradient sum_r x[m, r]
        delta[r, o]; returns the sum of squares before.

        (W, m, v) = flat; (at, x_at, strip) = places, where they, x and deltas begin; the others as in
        `adam_by_few_rows`.
        """
        (at, x_at, strip), (ld, _, n_rows) = places, sizes
        step, rows, block = lanes(x), panel_rows(x), block_zero(x, height, width)
        for r in range(n_rows):
            block = block_multiply_add(block, x, x_at + r, rows, deltas, strip + r * step, rows * step)
        block_store(block, gradient, 0, width * step)
        return adam_of_block(flat, at, ld, (height, width * step), gradient, hyper)

    return adam_by_block


def make_adam_by_band(height):
    """The kernel that makes the gradients of `height` inputs by all outputs, and takes their steps."""
    pair, single = make_adam_by_block(height, 2), make_adam_by_block(height, 1)

    @kernel(exact=True, embed=True)
    def adam_by_band(flat, at, x, deltas, sizes, gradient, hyper):
        """`adam_by_few_rows` for inputs whose weights begin at `at`; returns sum(W^2) before, by lanes."""
        (ld, width, _), step, rows, squares = sizes, lanes(x), panel_rows(x), block_zero(x, 1, 1)
        x_at, pairs = at // ld * rows, width - width % (2 * step)
        for o in range(0, pairs, 2 * step):
            squares += pair(flat, (at + o, x_at, o * rows), x, deltas, sizes, gradient, hyper)
        if pairs < width:
            squares += single(flat, (at + pairs, x_at, pairs * rows), x, deltas, sizes, gradient, hyper)
        return squares

    return adam_by_band


tall_band = make_adam_by_band(TALL)
low_band = tall_band if TALL == LOW else make_adam_by_band(LOW)


@kernel(exact=True)
def adam_by_few_rows(flat, x, deltas, sizes, gradient, hyper):
    """`adam_rule` for W (I, ld) with the gradient sum_r x[i, r] delta[r, o],  r < n_rows <= R; returns
    sum(W^2) before.

    (W, m, v) = flat; (ld, O rounded up to whole vectors, n_rows) = sizes; I in fours, x (I, R), deltas:
    strips (ld / lanes, R, lanes); gradient: room for TALL x 2 vectors.

    The gradient never leaves L1, and what Adam divides, or waits for, lies beside what is multiplied.
    """
    ld, squares = sizes[0], block_zero(x, 1, 1)
    tall = flat[0].size // (TALL * ld) * TALL * ld
    for at in range(0, tall, TALL * ld):
        squares += tall_band(flat, at, x, deltas, sizes, gradient, hyper)
    for at in range(tall, flat[0].size, LOW * ld):
        squares += low_band(flat, at, x, deltas, sizes, gradient, hyper)
    return block_sum(squares)


@kernel
def finish_gradient(params, gradient, hyper):
    """gradient = g, where only the gradient is asked for.  All arrays (n,)."""
    decay, squares = hyper[DECAY], params.dtype.type(0)
    for i in range(params.size):
        squares += params[i] * params[i]
        gradient[i] += decay * params[i]
    return squares


@kernel
def update(solver, params, gradient, first, second, hyper):
    """One step of `solver` on slices (n,) of the flat vectors; `first` and `second` are its moments."""
    if solver == ADAM:
        return adam(params, gradient, first, second, hyper)
    if solver == MOMENTUM:
        return momentum(params, gradient, first, hyper)
    if solver == NESTEROV:
        return nesterov(params, gradient, first, hyper)
    if solver == SGD:
        return sgd(params, gradient, hyper)
    return finish_gradient(params, gradient, hyper)


@kernel
def update_by_rows(solver, params, first, second, x, delta, hyper):
    """One step of a solver with moments on W (I, ld), flat like its moments, with the gradient x delta'."""
    if solver == ADAM:
        return adam_by_rows(params, first, second, x, delta, hyper)
    if solver == NESTEROV:
        return nesterov_by_rows(params, first, x, delta, hyper)
    return momentum_by_rows(params, first, x, delta, hyper)
