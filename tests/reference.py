"""The network in plain NumPy: what every kernel is compared with. Short, slow, and sharing nothing with them.

Arrays as in the package: X (n, I), weights a list of (I, O), biases a list of (O,), y (n, K), or class
numbers (n,) for softmax with cross-entropy. Everything runs in the precision of its arguments, best float64.
"""

import numpy as np

ACTIVATIONS = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "logistic": lambda z: np.where(z < 0, np.exp(-np.abs(z)), 1) / (1 + np.exp(-np.abs(z))),
    "tanh": np.tanh,
    "exp": np.exp,
    "softmax": lambda z: softmax(z),
}

# f'(z), from a = f(z).
DERIVATIVES = {
    "identity": np.ones_like,
    "relu": lambda a: (a > 0).astype(a.dtype),
    "logistic": lambda a: a * (1 - a),
    "tanh": lambda a: (1 + a) * (1 - a),  # 1 - a^2 cancels near 1
    "exp": lambda a: a,
}


def softmax(z):
    """Over the last axis."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def xlogy(x, y):
    """x log y, and 0 where x is 0."""
    return np.where(x == 0, 0, x * np.log(np.where(x == 0, 1, y)))


def one_hot(classes, n_classes):
    return np.eye(n_classes)[np.asarray(classes, dtype=int)]


def dense_targets(y, a, output_activation, loss):
    """y as an array of the shape of the outputs a."""
    if loss == "cross_entropy" and output_activation == "softmax":
        return one_hot(y, a.shape[1]).astype(a.dtype)
    return np.reshape(y, a.shape)


def losses(a, y, output_activation, loss):
    """Loss of every row, (n,): the sum over its outputs. y in the shape of a."""
    if loss == "squared_error":
        terms = (a - y) ** 2 / 2
    elif loss == "poisson":
        terms = xlogy(y, y / a) - y + a
    else:
        epsilon = np.finfo(a.dtype).eps
        p = np.clip(a, epsilon, 1 - epsilon)
        terms = -xlogy(y, p)
        if output_activation != "softmax":
            terms = terms - xlogy(1 - y, 1 - p)
    return terms.sum(axis=1)


def output_delta(a, y, output_activation, loss):
    """dloss/dz of every row and output, (n, K), by the chain rule written out. y in the shape of a."""
    if loss == "squared_error":
        return (a - y) * DERIVATIVES[output_activation](a)
    if loss == "poisson":
        return (1 - y / a) * a
    if output_activation == "softmax":
        return a * y.sum(axis=1, keepdims=True) - y
    return a - y


def forward(weights, biases, X, activation, output_activation):
    """[X, a of the first hidden layer, ..., outputs]."""
    values = [X]
    for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
        last = layer == len(weights) - 1
        values.append(ACTIVATIONS[output_activation if last else activation](values[-1] @ W + b))
    return values


def loss_and_gradient(
    weights, biases, X, y, *, activation, output_activation, loss, sample_weight=None, alpha=0.0
):
    """(loss, [dW], [db]): weighted mean over the rows, plus alpha |W|^2 / (2 sum of weights), no biases."""
    row_weight = np.ones(len(X), X.dtype) if sample_weight is None else np.asarray(sample_weight)
    total_weight = row_weight.sum()
    values = forward(weights, biases, X, activation, output_activation)
    a = values[-1]
    targets = dense_targets(y, a, output_activation, loss)
    value = row_weight @ losses(a, targets, output_activation, loss)
    value += alpha / 2 * sum((W**2).sum() for W in weights)
    delta = row_weight[:, None] * output_delta(a, targets, output_activation, loss)
    weight_gradients, bias_gradients = [], []
    for layer in reversed(range(len(weights))):
        weight_gradients.insert(0, (values[layer].T @ delta + alpha * weights[layer]) / total_weight)
        bias_gradients.insert(0, delta.sum(axis=0) / total_weight)
        if layer > 0:
            delta = delta @ weights[layer].T * DERIVATIVES[activation](values[layer])
    return value / total_weight, weight_gradients, bias_gradients


def sgd(parameters, gradients, velocities, *, learning_rate, momentum=0.0, nesterov=False):
    """(parameters, velocities) after one step; lists of arrays. Nesterov's form is scikit-learn's."""
    velocities = [momentum * v - learning_rate * g for v, g in zip(velocities, gradients, strict=True)]
    steps = velocities
    if nesterov:
        steps = [momentum * v - learning_rate * g for v, g in zip(velocities, gradients, strict=True)]
    return [p + s for p, s in zip(parameters, steps, strict=True)], velocities


def adam(
    parameters, gradients, first, second, t, *, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-8
):
    """(parameters, first, second) after step t = 1, 2, ...; lists of arrays. epsilon is not corrected."""
    first = [beta_1 * m + (1 - beta_1) * g for m, g in zip(first, gradients, strict=True)]
    second = [beta_2 * v + (1 - beta_2) * g**2 for v, g in zip(second, gradients, strict=True)]
    rate = learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    moments = zip(parameters, first, second, strict=True)
    return [p - rate * m / (np.sqrt(v) + epsilon) for p, m, v in moments], first, second


def epoch(weights, biases, X, y, order, batch_size, step, *, sample_weight=None, **settings):
    """(weights, biases, loss) after one pass in mini-batches over the rows in `order`.

    step(parameters, gradients) -> parameters does an update and keeps its own state. The loss is the mean of
    the batches' losses before their updates, by numbers of rows; `settings` go to `loss_and_gradient`.
    """
    weights, biases, total = list(weights), list(biases), 0.0
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        row_weight = None if sample_weight is None else sample_weight[rows]
        value, dW, db = loss_and_gradient(
            weights, biases, X[rows], y[rows], sample_weight=row_weight, **settings
        )
        parameters = step(weights + biases, dW + db)
        weights, biases = parameters[: len(weights)], parameters[len(weights) :]
        total += value * len(rows)
    return weights, biases, total / len(order)
