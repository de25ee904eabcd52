"""Losses of one panel of outputs, and their derivatives with respect to the last pre-activation.

Legend: O outputs, R rows of the panel (`width`). a, delta (O, R) flat; weights (R,), where 0 marks a lane without a
row. The values are those of scikit-learn (neural_network/_base.py), summed over rows and outputs instead of averaged.
"""

from fastnn.kernels.activations import multiply_derivative
from fastnn.kernels.codes import CROSS_ENTROPY, POISSON, SOFTMAX, SQUARED_ERROR
from fastnn.kernels.elementary import log, number
from fastnn.kernels.jit import kernel

# Cross-entropy keeps probabilities this far from 0 and 1.
EPSILON = 2.0**-23, 2.0**-52


@kernel
def squared_terms(a, targets, terms):
    """terms = (a - y)^2 / 2.  All (n,)."""
    half = a.dtype.type(0.5)
    for i in range(terms.shape[0]):
        difference = a[i] - targets[i]
        terms[i] = half * difference * difference


@kernel
def entropy_terms(loss, a, targets, terms):
    """-y log p - (1 - y) log(1 - p), p = a clipped; Poisson: y log(y / a) - y + a.  0 log 0 = 0.  All (n,).

    One loop, -y log u - (1 - y) log v + c (a - y), for both: two would double the time to compile.
    """
    real, is_poisson = a.dtype.type, loss == POISSON
    c, epsilon = real(is_poisson), number(a[0], EPSILON)
    for i in range(terms.shape[0]):
        y, p = targets[i], max(min(a[i], real(1) - epsilon), epsilon)
        u = a[i] / y if is_poisson else p
        v = real(1) if is_poisson else real(1) - p
        positive = y * log(u) if y != real(0) else real(0)
        terms[i] = c * (a[i] - y) - positive - (real(1) - y) * log(v)


@kernel
def class_terms(a, targets, weights, terms, width):
    """terms[r] = -log a[c[r], r], clipped.  targets: class numbers c (R,), as floats."""
    real, epsilon = a.dtype.type, number(a[0], EPSILON)
    for r in range(width):
        own = int(targets[r]) if weights[r] != real(0) else 0
        terms[r] = max(min(a[own * width + r], real(1) - epsilon), epsilon)
    for r in range(width):
        terms[r] = -log(terms[r])


@kernel
def weighted_sum(terms, weights, n_outputs, width):
    """sum_o sum_r w[r] terms[o, r]: over rows in the precision of the terms, over outputs in double."""
    real, total = terms.dtype.type, 0.0
    for o in range(n_outputs):
        row_sum = real(0)
        for r in range(width):
            # Not a product alone: without a row the term may be infinite.
            row_sum += weights[r] * terms[o * width + r] if weights[r] != real(0) else real(0)
        total += row_sum
    return total


@kernel
def weigh(delta, weights, n_outputs, width):
    """delta[o, r] *= w[r], and 0 where w[r] = 0."""
    real = delta.dtype.type
    for o in range(n_outputs):
        for r in range(width):
            i = o * width + r
            delta[i] = weights[r] * delta[i] if weights[r] != real(0) else real(0)


@kernel
def loss_and_delta(loss, output_activation, a, targets, weights, delta, n_outputs, width):
    """Return sum_r w[r] loss(a[:, r], y[:, r]);  delta = w dloss/dz, a = f(z).

    targets (O, R); for softmax with cross-entropy class numbers as floats in the first R places. Under the link that
    belongs to the loss (identity, softmax or logistic, exp) dloss/dz is a - y. `delta` holds the terms in between.
    """
    size = n_outputs * width
    a, delta = a[:size], delta[:size]
    if loss == CROSS_ENTROPY and output_activation == SOFTMAX:
        class_terms(a, targets, weights, delta, width)
        total = weighted_sum(delta, weights, 1, width)
        for i in range(size):
            delta[i] = a[i]
        for r in range(width):
            if weights[r] != 0:
                delta[int(targets[r]) * width + r] -= a.dtype.type(1)
    else:
        if loss == SQUARED_ERROR:
            squared_terms(a, targets, delta)
        else:
            entropy_terms(loss, a, targets, delta)
        total = weighted_sum(delta, weights, n_outputs, width)
        for i in range(size):
            delta[i] = a[i] - targets[i]
        if loss == SQUARED_ERROR:
            multiply_derivative(output_activation, a, delta)
    weigh(delta, weights, n_outputs, width)
    return total
