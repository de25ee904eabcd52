"""Stochastic gradient descent on one sample at a time: matrix times vector, and the update in the same pass.

Legend: W (I, ld) row-major, x (I,), z, delta (ld,). Inputs that are 0, of the data or behind a ReLU, cost
nothing, but for solvers with moments, which touch every weight. So would the L2 penalty. Plain SGD keeps
W = shrink * V instead and updates V: the penalty is a factor on `shrink` (Bottou, Stochastic gradient descent
tricks, 2012, section 5.1), and the sum of squares, which the reported loss needs, follows from what the
sample computes anyway.
"""

from fastnn.kernels.activations import activate, multiply_derivative, softmax_row
from fastnn.kernels.codes import CROSS_ENTROPY, RELU, SOFTMAX
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import (
    BIAS_AT,
    DELTA_AT,
    INPUTS,
    LD,
    OUTPUTS,
    STRIPS_AT,
    WEIGHTS_AT,
    X_AT,
    Z_AT,
)
from fastnn.kernels.losses import cross_entropy_row, loss_and_delta
from fastnn.kernels.optimizers import update_by_rows
from fastnn.kernels.simd import (
    SQUARE,
    block_add_products,
    block_add_rows,
    block_load,
    block_multiply_add,
    block_store,
    block_total,
    block_zero,
    lanes,
)
from fastnn.kernels.state import SHRINK, SQUARES
from fastnn.kernels.transposition import block_transpose

# Vectors that are summed in registers side by side: enough to hide how long one multiply-add takes.
SIDE_BY_SIDE = 8


@kernel
def find_active(x, active, values, skip_zeros):
    """active[:count] = the i with x[i] != 0, or all; values[k] = x[active[k]].

    Returns count. Up to the next multiple of 8, values are 0 and active is valid, so that loops may run over.
    """
    count, zero = 0, x.dtype.type(0)
    for i in range(x.size):
        active[count] = i
        values[count] = x[i]
        count += x[i] != zero or not skip_zeros
    for k in range(count, count + SIDE_BY_SIDE):
        active[k] = 0
        values[k] = zero
    return count


@kernel
def product_by_rows(weights, ld, values, active, count, z):
    """z[o] = sum_k values[k] W[active[k], o].

    Strips of 8 vectors stay in registers over all inputs; the last one overlaps its neighbour. Narrower
    layers sum 8 inputs side by side instead (64-100-10: 0.72 -> 0.62 us forward, benchmarks/micro/sample.py).
    """
    step = lanes(z)
    if ld >= SIDE_BY_SIDE * step:
        for start in range(0, ld, SIDE_BY_SIDE * step):
            o = min(start, ld - SIDE_BY_SIDE * step)
            block = block_zero(z, 1, 8)
            for k in range(count):
                block = block_multiply_add(block, values, k, 0, weights, active[k] * ld + o, step)
            block_store(block, z, o, 0)
    else:
        for o in range(0, ld, step):
            block = block_zero(z, 8, 1)
            for k in range(0, count, SIDE_BY_SIDE):
                block = block_add_rows(block, values, active, k, weights, ld, o)
            block_store(block_total(block), z, o, 0)


@kernel
def update_rows(weights, ld, values, active, count, delta):
    """W[active[k], o] += values[k] delta[o], in strips of 8, 4 and single vectors."""
    step, o = lanes(delta), 0
    while ld - o >= 8 * step:
        for k in range(count):
            at = active[k] * ld + o
            block = block_multiply_add(block_load(weights, 1, 8, at, 0), values, k, 0, delta, o, step)
            block_store(block, weights, at, 0)
        o += 8 * step
    if ld - o >= 4 * step:
        for k in range(count):
            at = active[k] * ld + o
            block = block_multiply_add(block_load(weights, 1, 4, at, 0), values, k, 0, delta, o, step)
            block_store(block, weights, at, 0)
        o += 4 * step
    for rest in range(o, ld, step):
        for k in range(count):
            at = active[k] * ld + rest
            block = block_multiply_add(block_load(weights, 1, 1, at, 0), values, k, 0, delta, rest, step)
            block_store(block, weights, at, 0)


@kernel
def product_by_columns(weights, ld, active, count, delta, sums):
    """sums[k] = sum_o W[active[k], o] delta[o].  sums has room up to the next whole vector."""
    step = lanes(delta)
    for k in range(0, count, step):
        block = block_zero(delta, SQUARE, 1)
        for o in range(0, ld, step):
            block = block_add_products(block, weights, active, k, ld, delta, o)
        # Transposed, the lanes that belong to one row stand below each other.
        block_store(block_total(block_transpose(block)), sums, k, 0)


@kernel(embed=True)
def forward_sample(model, tile, inputs, shrink):
    """All layers for one sample, z = shrink * V' x + b; the output layer's activation included.

    The first layer's active inputs are there already.
    """
    n_layers, hidden, output = model.layers.shape[0], model.codes[0], model.codes[1]
    for index in range(n_layers):
        layer = model.layers[index]
        ld, outputs = layer[LD], layer[OUTPUTS]
        active, values = inputs.active[index], inputs.values[index]
        if index > 0:
            # Behind other activations than ReLU an input of 0 still passes its gradient on.
            x = tile[layer[X_AT] : layer[X_AT] + layer[INPUTS]]
            inputs.counts[index] = find_active(x, active, values, hidden == RELU)
        bias = model.params[layer[BIAS_AT] : layer[BIAS_AT] + ld]
        product = tile[layer[STRIPS_AT] : layer[STRIPS_AT] + ld]  # no strips where there is one row
        weights = model.params[layer[WEIGHTS_AT] : layer[BIAS_AT]]
        product_by_rows(weights, ld, values, active, inputs.counts[index], product)
        z = tile[layer[Z_AT] : layer[Z_AT] + ld]
        for o in range(ld):
            z[o] = shrink * product[o] + bias[o]
        if index < n_layers - 1:
            activate(hidden, z[:outputs])
        elif output == SOFTMAX:
            softmax_row(z, outputs)
        else:
            activate(output, z[:outputs])


@kernel(embed=True)
def output_sample(model, tile, targets, one):
    """Loss of the sample; delta of the output layer.  one: the weight (1,), 1."""
    layer = model.layers[model.layers.shape[0] - 1]
    a = tile[layer[Z_AT] : layer[Z_AT] + layer[LD]]
    delta = tile[layer[DELTA_AT] : layer[DELTA_AT] + layer[LD]]
    if model.codes[2] == CROSS_ENTROPY and model.codes[1] == SOFTMAX:
        return cross_entropy_row(a, int(targets[0]), delta)
    return loss_and_delta(model.codes[2], model.codes[1], a, targets, one, delta, layer[OUTPUTS], 1)


@kernel(embed=True)
def delta_below(model, index, tile, inputs, shrink):
    """delta of the layer under `index`: shrink * (V delta) * f'."""
    layer, below = model.layers[index], model.layers[index - 1]
    n, count, active, sums = layer[INPUTS], inputs.counts[index], inputs.active[index], inputs.sums
    weights = model.params[layer[WEIGHTS_AT] : layer[BIAS_AT]]
    delta = tile[layer[DELTA_AT] : layer[DELTA_AT] + layer[LD]]
    dx = tile[below[DELTA_AT] : below[DELTA_AT] + n]
    product_by_columns(weights, layer[LD], active, count, delta, sums)
    for i in range(n):
        dx[i] = 0
    for k in range(count):
        dx[active[k]] = shrink * sums[k]
    multiply_derivative(model.codes[0], tile[layer[X_AT] : layer[X_AT] + n], dx)


@kernel(embed=True)
def descend(model, tile, inputs, rate, scale):
    """Backward and plain SGD in one: V -= rate / scale[1] * x delta', b -= rate * delta.  scale = (shrink,
    next shrink).

    Returns the change of sum(V^2): -2 c (V'x).delta + c^2 |x|^2 |delta|^2 a layer, c = rate / next shrink.
    """
    shrink, next_shrink = scale
    step, change = rate / next_shrink, 0.0
    for index in range(model.layers.shape[0] - 1, -1, -1):
        layer = model.layers[index]
        ld, count, values = layer[LD], inputs.counts[index], inputs.values[index]
        delta = tile[layer[DELTA_AT] : layer[DELTA_AT] + ld]
        product = tile[layer[STRIPS_AT] : layer[STRIPS_AT] + ld]
        bias = model.params[layer[BIAS_AT] : layer[BIAS_AT] + ld]
        if index > 0:
            delta_below(model, index, tile, inputs, shrink)
        inner, deltas, squares = rate * 0, rate * 0, rate * 0
        for o in range(ld):
            inner += product[o] * delta[o]
            deltas += delta[o] * delta[o]
            bias[o] -= rate * delta[o]
        for k in range(count):
            squares += values[k] * values[k]
            values[k] *= -step
        change += float(step) * (float(step) * squares * deltas - 2.0 * inner)
        weights = model.params[layer[WEIGHTS_AT] : layer[BIAS_AT]]
        update_rows(weights, ld, values, inputs.active[index], count, delta)
    return change


@kernel(embed=True)
def backward_sample(model, tile, inputs, gradient):
    """The gradient (P,) of one sample, gradient[i, o] = x[i] delta[o], for whoever needs it in memory."""
    for index in range(model.layers.shape[0] - 1, -1, -1):
        layer = model.layers[index]
        ld = layer[LD]
        delta = tile[layer[DELTA_AT] : layer[DELTA_AT] + ld]
        if index > 0:
            delta_below(model, index, tile, inputs, model.params.dtype.type(1))
        weights = gradient[layer[WEIGHTS_AT] : layer[BIAS_AT]]
        for i in range(weights.size):
            weights[i] = 0
        update_rows(weights, ld, inputs.values[index], inputs.active[index], inputs.counts[index], delta)
        bias = gradient[layer[BIAS_AT] : layer[BIAS_AT] + ld]
        for o in range(ld):
            bias[o] = delta[o]


@kernel(embed=True)
def learn(solver, model, moments, tile, inputs, one):
    """Backward and the step of a solver with moments in one, layer by layer.  one: (1,), 1.

    Returns sum(W^2) before. Without a gradient in memory: 64-100-10 with Adam 5.0 -> 4.0 us, with momentum
    2.85 -> 2.3 (benchmarks/micro/sample.py).
    """
    squares = 0.0
    for index in range(model.layers.shape[0] - 1, -1, -1):
        layer = model.layers[index]
        begin, end, stop = layer[WEIGHTS_AT], layer[BIAS_AT], layer[BIAS_AT] + layer[LD]
        delta = tile[layer[DELTA_AT] : layer[DELTA_AT] + layer[LD]]
        x = tile[layer[X_AT] : layer[X_AT] + layer[INPUTS]]
        if index > 0:
            delta_below(model, index, tile, inputs, model.params.dtype.type(1))
        else:
            spread(inputs.active[0], inputs.values[0], inputs.counts[0], x)
        first, second = moments.first[begin:end], moments.second[begin:end]
        squares += update_by_rows(solver, model.params[begin:end], first, second, x, delta, moments.hyper[0])
        first, second = moments.first[end:stop], moments.second[end:stop]
        update_by_rows(solver, model.params[end:stop], first, second, one, delta, moments.hyper[1])
    return squares


@kernel
def spread(active, values, count, x):
    """x[active[k]] = values[k], and 0 elsewhere."""
    for i in range(x.size):
        x[i] = 0
    for k in range(count):
        x[active[k]] = values[k]


@kernel(embed=True)
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


@kernel(embed=True)
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
