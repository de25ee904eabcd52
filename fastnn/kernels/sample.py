"""Stochastic gradient descent on one sample at a time: matrix times vector, and the update in the same pass.

Legend: W (I, ld) row-major, x (I,), z, delta (ld,). Inputs that are 0, of the data or behind a ReLU, cost nothing.
The L2 penalty would touch every weight at every sample. Plain SGD keeps W = shrink * V instead and updates V: the
penalty is a factor on `shrink` (Bottou, Stochastic gradient descent tricks, 2012, section 5.1), and the sum of
squares, which the reported loss needs, follows from what the sample computes anyway.
"""

from fastnn.kernels.activations import activate, multiply_derivative, softmax_panel
from fastnn.kernels.codes import RELU, SOFTMAX
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import (
    BIAS_AT,
    DELTA_AT,
    INPUTS,
    LD,
    OUTPUTS,
    ROWS_AT,
    WEIGHTS_AT,
    X_AT,
    Z_AT,
)
from fastnn.kernels.losses import loss_and_delta
from fastnn.kernels.state import SHRINK, SQUARES


@kernel
def find_active(x, active, skip_zeros):
    """active[:count] = the i with x[i] != 0, or all; filled up to a multiple of 8 with a valid one; returns count."""
    count = 0
    for i in range(x.size):
        active[count] = i
        count += x[i] != 0 or not skip_zeros
    for k in range(count, count + 7):
        active[k] = 0
    return count


@kernel
def row_of(weights, ld, i):
    return weights[i * ld : i * ld + ld]


@kernel
def product_by_rows(weights, ld, x, active, count, z):
    """z[o] = sum_i x[i] W[i, o] over the active i.

    Eight rows at a time: z is loaded and stored once for eight inputs (64-100-10: 1.9x, benchmarks/micro/sample.py).
    """
    zero = z.dtype.type(0)
    for o in range(z.size):
        z[o] = zero
    for k in range(0, count, 8):
        w0, x0 = row_of(weights, ld, active[k]), x[active[k]]
        w1, x1 = row_of(weights, ld, active[k + 1]), x[active[k + 1]] if k + 1 < count else zero
        w2, x2 = row_of(weights, ld, active[k + 2]), x[active[k + 2]] if k + 2 < count else zero
        w3, x3 = row_of(weights, ld, active[k + 3]), x[active[k + 3]] if k + 3 < count else zero
        w4, x4 = row_of(weights, ld, active[k + 4]), x[active[k + 4]] if k + 4 < count else zero
        w5, x5 = row_of(weights, ld, active[k + 5]), x[active[k + 5]] if k + 5 < count else zero
        w6, x6 = row_of(weights, ld, active[k + 6]), x[active[k + 6]] if k + 6 < count else zero
        w7, x7 = row_of(weights, ld, active[k + 7]), x[active[k + 7]] if k + 7 < count else zero
        for o in range(z.size):
            even = x0 * w0[o] + x2 * w2[o] + x4 * w4[o] + x6 * w6[o]
            odd = x1 * w1[o] + x3 * w3[o] + x5 * w5[o] + x7 * w7[o]
            z[o] += even + odd


@kernel
def update_rows(weights, ld, x, active, count, delta, rate):
    """W[i, o] -= rate x[i] delta[o] over the active i."""
    for k in range(count):
        row, step = row_of(weights, ld, active[k]), rate * x[active[k]]
        for o in range(delta.size):
            row[o] -= step * delta[o]


@kernel
def product_by_columns(weights, ld, active, count, delta, dx):
    """dx[i] = sum_o W[i, o] delta[o] over the active i; 0 elsewhere."""
    zero = dx.dtype.type(0)
    for i in range(dx.size):
        dx[i] = zero
    for k in range(count):
        row, total = row_of(weights, ld, active[k]), zero
        for o in range(delta.size):
            total += row[o] * delta[o]
        dx[active[k]] = total


@kernel
def outer_product(x, delta, gradient, ld):
    """gradient[i, o] = x[i] delta[o]."""
    for i in range(x.size):
        row, value = row_of(gradient, ld, i), x[i]
        for o in range(delta.size):
            row[o] = value * delta[o]


@kernel
def layer_input(layer, index, tile, x):
    """x of a layer: the sample itself, or the activations of the layer below."""
    return x if index == 0 else tile[layer[X_AT] : layer[X_AT] + layer[INPUTS]]


@kernel
def forward_sample(model, tile, x, actives, counts, shrink):
    """All layers for one sample, z = shrink * V' x + b; the output layer's activation included."""
    n_layers, hidden, output = model.layers.shape[0], model.codes[0], model.codes[1]
    for index in range(n_layers):
        layer = model.layers[index]
        ld, outputs = layer[LD], layer[OUTPUTS]
        source = layer_input(layer, index, tile, x)
        # Behind other activations than ReLU an input of 0 still passes its gradient on.
        counts[index] = find_active(source, actives[index], index == 0 or hidden == RELU)
        weights = model.params[layer[WEIGHTS_AT] : layer[BIAS_AT]]
        bias = model.params[layer[BIAS_AT] : layer[BIAS_AT] + ld]
        product = tile[layer[ROWS_AT] : layer[ROWS_AT] + ld]
        product_by_rows(weights, ld, source, actives[index], counts[index], product)
        z = tile[layer[Z_AT] : layer[Z_AT] + ld]
        for o in range(ld):
            z[o] = shrink * product[o] + bias[o]
        if index < n_layers - 1:
            activate(hidden, z[:outputs])
        elif output == SOFTMAX:
            softmax_panel(z, outputs, 1)
        else:
            activate(output, z[:outputs])


@kernel
def output_sample(model, tile, targets, one):
    """Loss of the sample; delta of the output layer.  one: the weight (1,), 1."""
    layer = model.layers[model.layers.shape[0] - 1]
    a = tile[layer[Z_AT] : layer[Z_AT] + layer[LD]]
    delta = tile[layer[DELTA_AT] : layer[DELTA_AT] + layer[LD]]
    return loss_and_delta(model.codes[2], model.codes[1], a, targets, one, delta, layer[OUTPUTS], 1)


@kernel
def delta_below(model, index, tile, weights, active, count, shrink):
    """delta of the layer under `index`: shrink * (V delta) * f'."""
    layer, below, hidden = model.layers[index], model.layers[index - 1], model.codes[0]
    inputs = layer[INPUTS]
    delta = tile[layer[DELTA_AT] : layer[DELTA_AT] + layer[LD]]
    dx = tile[below[DELTA_AT] : below[DELTA_AT] + inputs]
    product_by_columns(weights, layer[LD], active, count, delta, dx)
    for i in range(inputs):
        dx[i] *= shrink
    multiply_derivative(hidden, tile[layer[X_AT] : layer[X_AT] + inputs], dx)


@kernel
def descend(model, tile, x, actives, counts, rate, scale):
    """Backward and plain SGD in one: V -= rate / scale * x delta', b -= rate * delta.  scale = (shrink, next shrink).

    Returns the change of sum(V^2): -2 c (V'x).delta + c^2 |x|^2 |delta|^2 a layer, c = rate / next shrink.
    """
    shrink, next_shrink = scale
    step = rate / next_shrink
    change = 0.0
    for index in range(model.layers.shape[0] - 1, -1, -1):
        layer = model.layers[index]
        ld, count = layer[LD], counts[index]
        weights = model.params[layer[WEIGHTS_AT] : layer[BIAS_AT]]
        bias = model.params[layer[BIAS_AT] : layer[BIAS_AT] + ld]
        delta = tile[layer[DELTA_AT] : layer[DELTA_AT] + ld]
        source = layer_input(layer, index, tile, x)
        product = tile[layer[ROWS_AT] : layer[ROWS_AT] + ld]
        if index > 0:
            delta_below(model, index, tile, weights, actives[index], count, shrink)
        update_rows(weights, ld, source, actives[index], count, delta, step)
        inner, deltas, inputs = rate * 0, rate * 0, rate * 0
        for o in range(ld):
            inner += product[o] * delta[o]
            deltas += delta[o] * delta[o]
            bias[o] -= rate * delta[o]
        for i in range(source.size):
            inputs += source[i] * source[i]
        change += float(step) * (float(step) * inputs * deltas - 2.0 * inner)
    return change


@kernel
def backward_sample(model, tile, x, actives, counts, gradient):
    """Backward for solvers with moments: the gradient (P,) of one sample."""
    for index in range(model.layers.shape[0] - 1, -1, -1):
        layer = model.layers[index]
        ld = layer[LD]
        delta = tile[layer[DELTA_AT] : layer[DELTA_AT] + ld]
        source = layer_input(layer, index, tile, x)
        if index > 0:
            weights = model.params[layer[WEIGHTS_AT] : layer[BIAS_AT]]
            one = model.params.dtype.type(1)
            delta_below(model, index, tile, weights, actives[index], counts[index], one)
        outer_product(source, delta, gradient[layer[WEIGHTS_AT] : layer[BIAS_AT]], ld)
        bias = gradient[layer[BIAS_AT] : layer[BIAS_AT] + ld]
        for o in range(ld):
            bias[o] = delta[o]


@kernel
def sum_of_squares(model):
    """sum of W^2 over all layers."""
    total = 0.0
    for index in range(model.layers.shape[0]):
        layer = model.layers[index]
        weights = model.params[layer[WEIGHTS_AT] : layer[BIAS_AT]]
        part = weights.dtype.type(0)
        for i in range(weights.size):
            part += weights[i] * weights[i]
        total += part
    return total


@kernel
def fold(model, reals):
    """W = shrink * V, shrink = 1."""
    shrink = model.params.dtype.type(reals[SHRINK])
    reals[SQUARES] *= reals[SHRINK] ** 2
    reals[SHRINK] = 1.0
    for index in range(model.layers.shape[0]):
        layer = model.layers[index]
        weights = model.params[layer[WEIGHTS_AT] : layer[BIAS_AT]]
        for i in range(weights.size):
            weights[i] *= shrink
