"""The oracle itself: against differences of its own loss, and against scikit-learn's optimizers."""

import itertools

import numpy as np
import pytest
import reference
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

PAIRS = [
    ("squared_error", "identity"),
    ("squared_error", "logistic"),
    ("squared_error", "tanh"),
    ("squared_error", "relu"),
    ("cross_entropy", "softmax"),
    ("cross_entropy", "logistic"),
    ("poisson", "exp"),
]


@pytest.mark.parametrize("hidden", [(), (4,), (4, 3), (4, 3, 5)])
@pytest.mark.parametrize("activation", ["identity", "relu", "logistic", "tanh"])
@pytest.mark.parametrize(("loss", "output_activation"), PAIRS)
def test_gradient_agrees_with_differences_of_the_loss(loss, output_activation, activation, hidden):
    rng, h = np.random.default_rng(0), 1e-6
    sizes = [3, *hidden, 2]
    weights = [rng.normal(scale=0.6, size=shape) for shape in itertools.pairwise(sizes)]
    biases = [rng.normal(size=size) for size in sizes[1:]]
    X, sample_weight = rng.normal(size=(7, 3)), rng.uniform(0.5, 2, 7)
    y = rng.integers(0, 2, 7) if output_activation == "softmax" else rng.integers(0, 2, (7, 2)).astype(float)
    settings = {"activation": activation, "output_activation": output_activation, "loss": loss}
    settings |= {"sample_weight": sample_weight, "alpha": 0.3}
    _, dW, db = reference.loss_and_gradient(weights, biases, X, y, **settings)
    for parameter, gradient in zip(weights + biases, dW + db, strict=True):
        numeric = np.empty_like(gradient)
        for place in np.ndindex(parameter.shape):
            values, kept = [], parameter[place]
            for step in (h, -h):
                parameter[place] = kept + step
                values.append(reference.loss_and_gradient(weights, biases, X, y, **settings)[0])
            parameter[place] = kept
            numeric[place] = (values[0] - values[1]) / (2 * h)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_takes_the_steps_of_scikit_learn(momentum, nesterov):
    rng = np.random.default_rng(1)
    ours = [rng.normal(size=(3, 2)), rng.normal(size=2)]
    theirs, velocities = [p.copy() for p in ours], [np.zeros_like(p) for p in ours]
    optimizer = SGDOptimizer(theirs, 0.05, momentum=momentum, nesterov=nesterov)
    for _ in range(5):
        gradients = [rng.normal(size=p.shape) for p in ours]
        optimizer.update_params(theirs, gradients)
        settings = {"learning_rate": 0.05, "momentum": momentum, "nesterov": nesterov}
        ours, velocities = reference.sgd(ours, gradients, velocities, **settings)
        for mine, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-13)


def test_adam_takes_the_steps_of_scikit_learn():
    rng = np.random.default_rng(2)
    ours = [rng.normal(size=(3, 2)), rng.normal(size=2)]
    theirs = [p.copy() for p in ours]
    first, second = ([np.zeros_like(p) for p in ours] for _ in range(2))
    optimizer = AdamOptimizer(theirs, 0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-7)
    for t in range(1, 6):
        gradients = [rng.normal(size=p.shape) for p in ours]
        optimizer.update_params(theirs, gradients)
        settings = {"learning_rate": 0.01, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-7}
        ours, first, second = reference.adam(ours, gradients, first, second, t, **settings)
        for mine, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-13)


def test_epoch_of_one_batch_is_one_step_from_the_whole_gradient():
    rng = np.random.default_rng(3)
    weights, biases = [rng.normal(size=(3, 2))], [np.zeros(2)]
    X, y = rng.normal(size=(10, 3)), rng.normal(size=(10, 2))
    settings = {"activation": "relu", "output_activation": "identity", "loss": "squared_error"}
    value, dW, db = reference.loss_and_gradient(weights, biases, X, y, **settings)

    def step(parameters, gradients):
        return [p - 0.1 * g for p, g in zip(parameters, gradients, strict=True)]

    order = rng.permutation(10)
    (W,), (b,), epoch_loss = reference.epoch(weights, biases, X, y, order, 10, step, **settings)
    np.testing.assert_allclose(W, weights[0] - 0.1 * dW[0], rtol=1e-13)
    np.testing.assert_allclose(b, biases[0] - 0.1 * db[0], rtol=1e-13)
    np.testing.assert_allclose(epoch_loss, value, rtol=1e-13)
