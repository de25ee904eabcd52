"""Update rules over ranges of the flat vectors.

Legend: g = gradient * scale + decay * params, the gradient of the loss with its L2 term, where scale = 1 /
(sum of sample weights) and decay = alpha / (sum of sample weights). Each kernel returns sum(params^2) before
the update, the L2 term of the loss that is reported for the step.
"""

from math import sqrt

from fastnn.kernels.codes import ADAM, MOMENTUM, NESTEROV, SGD
from fastnn.kernels.jit import kernel

# Hyper-parameters of one step, cast to the dtype of the parameters once.
RATE, DECAY, SCALE, BETA_1, BETA_2, REST_1, REST_2, EPSILON, N_HYPER = range(9)


@kernel
def sgd(params, gradient, hyper):
    """params -= rate * g.  All arrays (n,)."""
    rate, decay, scale, squares = hyper[RATE], hyper[DECAY], hyper[SCALE], params.dtype.type(0)
    for i in range(params.size):
        value = params[i]
        squares += value * value
        params[i] = value - rate * (gradient[i] * scale + decay * value)
    return squares


@kernel
def momentum(params, gradient, velocity, hyper):
    """velocity = beta * velocity - rate * g;  params += velocity.  All arrays (n,).  (Polyak, 1964)"""
    rate, decay, scale, squares = hyper[RATE], hyper[DECAY], hyper[SCALE], params.dtype.type(0)
    beta = hyper[BETA_1]
    for i in range(params.size):
        value = params[i]
        squares += value * value
        moved = beta * velocity[i] - rate * (gradient[i] * scale + decay * value)
        velocity[i] = moved
        params[i] = value + moved
    return squares


@kernel
def nesterov(params, gradient, velocity, hyper):
    """velocity = beta * velocity - rate * g;  params += beta * velocity - rate * g.  (Sutskever et al.,
    2013)
    """
    rate, decay, scale, squares = hyper[RATE], hyper[DECAY], hyper[SCALE], params.dtype.type(0)
    beta = hyper[BETA_1]
    for i in range(params.size):
        value = params[i]
        squares += value * value
        step = rate * (gradient[i] * scale + decay * value)
        moved = beta * velocity[i] - step
        velocity[i] = moved
        params[i] = value + (beta * moved - step)
    return squares


@kernel
def adam(params, gradient, first, second, hyper):
    """m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  params -= rate * m / (sqrt(v) + epsilon).

    All arrays (n,); the rate carries the bias correction, sqrt(1 - b2^t) / (1 - b1^t).  (Kingma & Ba, 2015,
    section 2)
    """
    rate, decay, scale, squares = hyper[RATE], hyper[DECAY], hyper[SCALE], params.dtype.type(0)
    beta_1, beta_2, epsilon = hyper[BETA_1], hyper[BETA_2], hyper[EPSILON]
    rest_1, rest_2 = hyper[REST_1], hyper[REST_2]
    for i in range(params.size):
        value = params[i]
        squares += value * value
        g = gradient[i] * scale + decay * value
        m = beta_1 * first[i] + rest_1 * g
        v = beta_2 * second[i] + rest_2 * g * g
        first[i] = m
        second[i] = v
        params[i] = value - rate * m / (sqrt(v) + epsilon)
    return squares


@kernel
def finish_gradient(params, gradient, hyper):
    """gradient = g, where only the gradient is asked for.  All arrays (n,)."""
    decay, scale, squares = hyper[DECAY], hyper[SCALE], params.dtype.type(0)
    for i in range(params.size):
        squares += params[i] * params[i]
        gradient[i] = gradient[i] * scale + decay * params[i]
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
