"""Activations and their derivatives, in place.  a = f(z); derivatives are expressed through a."""

from fastnn.kernels import elementary
from fastnn.kernels.codes import EXP, IDENTITY, LOGISTIC, RELU, TANH
from fastnn.kernels.jit import kernel


@kernel
def activate(code, values):
    """values = f(values), element by element.  values (n,); softmax has a kernel of its own."""
    real = values.dtype.type
    if code == RELU:
        for i in range(values.shape[0]):
            values[i] = elementary.maximum(values[i], real(0))
    elif code == LOGISTIC:
        for i in range(values.shape[0]):
            values[i] = elementary.logistic(values[i])
    elif code == TANH:
        for i in range(values.shape[0]):
            values[i] = elementary.tanh(values[i])
    elif code == EXP:
        for i in range(values.shape[0]):
            values[i] = elementary.exp(values[i])


@kernel(exact=True)
def multiply_derivative(code, activated, delta):
    """delta *= f'(z), a = f(z): relu [a != 0], logistic a (1 - a), tanh (1 + a) (1 - a), exp a.  Both (n,)."""
    real = delta.dtype.type
    if code == RELU:
        for i in range(delta.shape[0]):
            delta[i] = real(0) if activated[i] == real(0) else delta[i]
    elif code != IDENTITY:
        # The others are (c + a) (1 - s a), in one loop that compiles once.
        c, s = real(code == TANH), real(code != EXP)
        for i in range(delta.shape[0]):
            delta[i] = delta[i] * (c + activated[i]) * (real(1) - s * activated[i])


@kernel
def softmax_panel(z, n_outputs, width):
    """z[o, r] = e^(z[o, r] - max_o z[o, r]) / sum_o of the same.  z (O, width), flat."""
    real = z.dtype.type
    for r in range(width):
        highest = z[r]
        for o in range(1, n_outputs):
            highest = max(highest, z[o * width + r])
        for o in range(n_outputs):
            z[o * width + r] -= highest
    for i in range(n_outputs * width):
        z[i] = elementary.exp(z[i])
    for r in range(width):
        total = z[r]
        for o in range(1, n_outputs):
            total += z[o * width + r]
        scale = real(1) / total
        for o in range(n_outputs):
            z[o * width + r] *= scale
