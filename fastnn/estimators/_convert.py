"""Fitted models to scikit-learn's classes and back, without loss: parameters, history and optimizer. Only
what was best by a metric that scikit-learn doesn't stop by is left behind.
"""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from sklearn import neural_network
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from fastnn.estimators._process import Process
from fastnn.optimizers import Adam

if TYPE_CHECKING:
    from fastnn.estimators._base import BaseMLP

Model = TypeVar("Model", bound="BaseMLP")

# Taken when this module is imported, which `patch_sklearn` does before it replaces anything.
ORIGINALS = {name: getattr(neural_network, name) for name in ("MLPClassifier", "MLPRegressor")}

# Parameters, with their defaults, that change what a fit gives, beyond rounding and time.
UNKNOWN_TO_SKLEARN = {"class_weight": None, "early_stopping_metric": "score", "max_time": None}
# What scikit-learn stops early by as well.
SCORES = (None, "score", "accuracy", "r2")

_ATTRIBUTES = (
    *("classes_", "_label_binarizer", "n_features_in_", "feature_names_in_", "n_layers_", "n_outputs_"),
    *("out_activation_", "n_iter_", "t_", "loss_", "best_loss_", "loss_curve_", "validation_scores_"),
    *("best_validation_score_", "_no_improvement_count"),
)


def original_class(kind: type) -> Any:
    """scikit-learn's class of the same name, also while it is patched."""
    for parent in kind.__mro__:
        if parent.__name__ in ORIGINALS:
            return ORIGINALS[parent.__name__]
    raise TypeError(f"scikit-learn has no class for {kind.__name__}.")


def from_sklearn(kind: type[Model], fitted: Any) -> Model:
    """A model of `kind` with the parameters, weights and history of scikit-learn's `fitted`."""
    if not isinstance(fitted, original_class(kind)):
        raise TypeError(
            f"from_sklearn needs a sklearn.neural_network.{original_class(kind).__name__}; got one of"
            f" {type(fitted).__module__}.{type(fitted).__qualname__}."
        )
    model = kind(**fitted.get_params(deep=False))
    _copy_attributes(fitted, model)
    if "coefs_" in vars(fitted):
        model.coefs_, model.intercepts_ = list(fitted.coefs_), list(fitted.intercepts_)
        model._adopt(model._fitted_network())
        model._judged_by = model._network.architecture.loss, "score" if fitted.early_stopping else None
        if "_optimizer" in vars(fitted):
            model._optimizer = _process(model, fitted._optimizer)
            model._online = True  # its moments belong to the model: a pickle keeps them
    return model


def to_sklearn(model: BaseMLP) -> Any:
    """scikit-learn's estimator with the parameters, weights and history of `model`."""
    kind = original_class(type(model))
    # Attributes, not `get_params`: a subclass may have a constructor of its own.
    parameters = {name: getattr(model, name) for name in inspect.signature(kind).parameters}
    if parameters["batch_size"] == "full":
        raise ValueError(
            "scikit-learn has no batch_size='full': set_params(batch_size=n), n the number of rows, first."
        )
    if model.__sklearn_is_fitted__():
        # scikit-learn predicts with the parameter, which may have been set since the fit.
        parameters["activation"] = model._fitted_network().architecture.activation
    lost = [
        f"{name}={getattr(model, name)!r}"
        for name, default in UNKNOWN_TO_SKLEARN.items()
        if getattr(model, name, default) != default
    ]
    if lost:
        message = f"scikit-learn's {kind.__name__} has no {', '.join(lost)}: its next fit will do without."
        warnings.warn(message, stacklevel=3)
    original = kind(**parameters)
    _copy_attributes(model, original)
    _, metric = vars(model).get("_judged_by", (None, None))
    if metric not in SCORES:
        original.best_validation_score_ = -np.inf  # which scikit-learn would compare with scores
    if "coefs_" in vars(model):
        original.coefs_ = [np.array(weights, order="C") for weights in model.coefs_]
        original.intercepts_ = [np.array(biases) for biases in model.intercepts_]
        original._best_coefs = [weights.copy() for weights in original.coefs_]
        original._best_intercepts = [biases.copy() for biases in original.intercepts_]
        process = vars(model).get("_optimizer")
        if process is not None:
            original._optimizer = _optimizer(model, process, original.coefs_ + original.intercepts_)
    return original


def _copy_attributes(source: Any, target: Any) -> None:
    for name in _ATTRIBUTES:
        if name in vars(source):
            value = vars(source)[name]
            setattr(target, name, list(value) if isinstance(value, list) else value)


def _process(model: BaseMLP, optimizer: Any) -> Process:
    """scikit-learn's optimizer as the engine's: the same moments, step and rate."""
    model._random_state = model._reseeded()
    process = Process(model, model._network)
    process.go_on(model)
    process.set_step(getattr(optimizer, "t", 0), optimizer.learning_rate)
    if isinstance(optimizer, AdamOptimizer):
        pairs = [(process.state.first, optimizer.ms), (process.state.second, optimizer.vs)]
    else:
        pairs = [(process.state.first, optimizer.velocities)]
    for vector, parts in pairs:
        if vector.size:
            for view, part in zip(process.state.layers(vector), parts, strict=True):
                view[...] = part
    process.state.first *= process.state.unit_of_first
    return process


def _optimizer(model: BaseMLP, process: Process, parts: list[Any]) -> Any:
    """The engine's optimizer as scikit-learn's."""
    if isinstance(process.optimizer, Adam):
        adam = AdamOptimizer(parts, model.learning_rate_init, model.beta_1, model.beta_2, model.epsilon)
        adam.t = process.step
        adam.ms = [part / process.state.unit_of_first for part in process.state.layers(process.state.first)]
        adam.vs = [np.array(part) for part in process.state.layers(process.state.second)]
        adam.learning_rate = process.learning_rate
        return adam
    settings = (model.learning_rate, model.momentum, model.nesterovs_momentum, model.power_t)
    sgd = SGDOptimizer(parts, model.learning_rate_init, *settings)
    sgd.learning_rate = process.learning_rate
    if process.state.first.size:
        sgd.velocities = [np.array(part) for part in process.state.layers(process.state.first)]
    return sgd
