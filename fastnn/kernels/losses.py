"""Losses of one panel of outputs, and their derivatives with respect to the last pre-activation.

Legend: O outputs, R rows of the panel (`width`: of classes in whole vectors, else any number). a, delta
(O, R) flat; weights (R,): 0 marks a lane without a row: whatever lies there adds nothing, and its delta
counts nowhere. The values are those of scikit-learn (neural_network/_base.py), but sums: over rows in the
precision of the arrays, over outputs in double.
"""

from fastnn.kernels.activations import multiply_derivative
from fastnn.kernels.arithmetic import block_one, block_where_equal
from fastnn.kernels.codes import CROSS_ENTROPY, POISSON, SOFTMAX, SQUARED_ERROR
from fastnn.kernels.elementary import log, number
from fastnn.kernels.jit import kernel
from fastnn.kernels.simd import block_load, block_store, block_zero, lanes

# Cross-entropy keeps probabilities this far from 0 and 1.
EPSILON = 2.0**-23, 2.0**-52


@kernel
def class_cross_entropy(a, classes, weights, delta, n_outputs, width):
    """-sum_r w[r] log a[c[r], r];  delta[o, r] = w[r] (a[o, r] - [o == c[r]]).  classes c (R,), floats; width
    in whole vectors.
    """
    real, total, epsilon, step = a.dtype.type, a.dtype.type(0), number(a[0], EPSILON), lanes(a)
    zero, one = block_zero(a, 1, 1), block_one(block_zero(a, 1, 1))
    # The first R places of delta hold the true classes' probabilities: their logarithms then run in vectors.
    for r in range(0, width, step):
        c, k, own = block_load(classes, 1, 1, r, 0), zero, zero
        for o in range(n_outputs):
            own = block_where_equal(c, k, block_load(a, 1, 1, o * width + r, 0), own)
            k += one
        block_store(own, delta, r, 0)
    for r in range(width):
        p = max(min(delta[r], real(1) - epsilon), epsilon)
        total -= weights[r] * log(p) if weights[r] != real(0) else real(0)
    for r in range(0, width, step):
        c, k, w = block_load(classes, 1, 1, r, 0), zero, block_load(weights, 1, 1, r, 0)
        for o in range(n_outputs):
            output = block_load(a, 1, 1, o * width + r, 0)
            difference = w * block_where_equal(c, k, output - one, output)
            block_store(block_where_equal(w, zero, zero, difference), delta, o * width + r, 0)
            k += one
    return float(total)


@kernel
def cross_entropy_row(a, own, delta):
    """-log a[own];  delta[o] = a[o] - [o == own].  a, delta (ld,), one row with its padding."""
    real, epsilon = a.dtype.type, number(a[0], EPSILON)
    for o in range(a.size):
        delta[o] = a[o]
    delta[own] -= real(1)
    return float(-log(max(min(a[own], real(1) - epsilon), epsilon)))


@kernel
def loss_and_delta(loss, output_activation, a, targets, weights, delta, n_outputs, width):
    """Return sum_r w[r] loss(a[:, r], y[:, r]);  delta[o, r] = w[r] dloss/dz[o, r].  targets (O, R).

    Squared error (a - y)^2 / 2, cross-entropy -y log a - (1 - y) log(1 - a), Poisson y log(y / a) - y + a.
    dloss/dz is a - y under the link f that belongs to the loss, a = f(z); softmax takes class numbers (R,).
    """
    if loss == CROSS_ENTROPY and output_activation == SOFTMAX:
        return class_cross_entropy(a, targets, weights, delta, n_outputs, width)
    real, epsilon, size, total = a.dtype.type, number(a[0], EPSILON), n_outputs * width, 0.0
    # delta holds the terms of the loss first.
    if loss == SQUARED_ERROR:
        for i in range(size):
            delta[i] = real(0.5) * (a[i] - targets[i]) * (a[i] - targets[i])
    else:
        # c (a - y) - y log u - (1 - y) log v is both of the others: one loop to compile, 0.2 s less.
        is_poisson, c = loss == POISSON, real(loss == POISSON)
        for i in range(size):
            y, p = targets[i], max(min(a[i], real(1) - epsilon), epsilon)
            u = a[i] / y if is_poisson else p
            v = real(1) if is_poisson else real(1) - p
            positive = y * log(u) if y != real(0) else real(0)
            delta[i] = c * (a[i] - y) - positive - (real(1) - y) * log(v)
    for o in range(n_outputs):
        row_sum = real(0)
        for r in range(width):
            i, w = o * width + r, weights[r]
            row_sum += w * delta[i] if w != real(0) else real(0)
            delta[i] = w * (a[i] - targets[i]) if w != real(0) else real(0)
        total += row_sum
    if loss == SQUARED_ERROR:
        multiply_derivative(output_activation, a[:size], delta[:size])
    return total
