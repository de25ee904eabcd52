"""Checks at the border: everything from outside passes here before any training."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, validate_data

from fastnn.checks import canonical, check_dense, check_some_count, is_finite
from fastnn.engine import plain
from fastnn.network import Network


class Rows(NamedTuple):
    """Examples in the engine's form: X (n, features), y class numbers (n, 1) or targets (n, K)."""

    X: Any
    y: Any
    sample_weight: Any

    def take(self, indices: Any) -> Rows:
        weight = None if self.sample_weight is None else self.sample_weight[indices]
        return Rows(self.X[indices], self.y[indices], weight)

    def in_double(self) -> Rows:
        return Rows(*(part if part is None else part.astype(np.float64, copy=False) for part in self))


def is_ready(X: Any, dtype: Any, n_features: int) -> bool:
    """Whether X can go to the engine as it is: this takes 1 µs on one row, the full validation 60 to 100."""
    return (
        type(X) is np.ndarray
        and plain(X, dtype)
        and X.shape[1] == n_features
        and X.shape[0] > 0
        and is_finite(X)
    )


def from_list(values: Any, dtype: Any = None) -> Any:
    """An array of `dtype` from a list of numbers, anything else as it is: the full validation of a list takes
    300 us.
    """
    if type(values) is not list:
        return values
    try:
        array = np.asarray(values)
    except ValueError:
        return values  # for the full validation, whose message is the better one
    if array.dtype.kind not in "fiub":
        return values
    if dtype is None or array.dtype == dtype:
        return array
    with np.errstate(over="ignore"):  # infinity is told from what was too large by the full validation
        return array.astype(dtype)


def in_engine_form(X: Any) -> Any:
    """X as the kernels read it: dense aligned rows, or CSR without duplicate entries."""
    return canonical(X) if issparse(X) else np.require(X, requirements="A")


def check_rows(model: Any, X: Any, network: Network) -> Any:
    """X for a fitted model, in the network's dtype."""
    n_features, *_, n_outputs = network.architecture.layer_sizes
    if n_outputs != model.n_outputs_:
        raise ValueError(f"The model has {model.n_outputs_} outputs, but coefs_ are made for {n_outputs}.")
    if "feature_names_in_" not in model.__dict__ and is_ready(X, network.dtype, n_features):
        return X
    X = validate_data(model, X, accept_sparse="csr", dtype=network.dtype, order="C", reset=False)
    if X.shape[1] != n_features:
        raise ValueError(f"X has {X.shape[1]} features, but the weights are made for {n_features}.")
    return in_engine_form(X)


def check_targets(y: Any, dtype: Any) -> Any:
    """Numbers y as an array of `dtype`, shape (n, K)."""
    check_dense("y", y)
    with np.errstate(over="ignore"):
        targets = np.asarray(y).astype(dtype, order="C", copy=False)
    if targets.dtype != y.dtype and not np.isfinite(targets).all():
        raise ValueError(f"y contains values that are too large for {np.dtype(dtype).name}.")
    targets = np.require(targets, requirements="A")
    return targets.reshape(-1, 1) if targets.ndim == 1 else targets


def check_weights(sample_weight: Any, X: Any, name: str = "sample_weight") -> Any:
    """Weights as an array (n,) of X's dtype: finite, none negative, and some that count."""
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, X, dtype=X.dtype)
    if weights.min() < 0:
        raise ValueError(f"Negative values in {name}: the weights must be 0 or more, got {weights.min()}.")
    check_some_count(name, weights)
    return weights


def check_validation_set(model: Any, given: tuple[Any, Any, Any], dtype: Any) -> Rows | None:
    """The validation set that was passed to `fit`, encoded as the training set is, or None."""
    X, y, weight = given
    if X is None and y is None:
        if weight is not None:
            raise ValueError("sample_weight_val is provided, but X_val and y_val were not.")
        return None
    if X is None or y is None:
        missing, provided = ("X_val", "y_val") if X is None else ("y_val", "X_val")
        raise ValueError(f"{provided} is provided, but {missing} was not provided.")
    try:
        X = validate_data(model, X, accept_sparse="csr", dtype=dtype, order="C", reset=False)
    except ValueError as error:
        raise ValueError(f"X_val does not fit the training data: {error}") from error
    try:
        check_consistent_length(X, y)
        y = model._encode_known(y, dtype)
    except ValueError as error:
        raise ValueError(f"y_val does not fit the training data: {error}") from error
    try:
        weight = check_weights(weight, X, "sample_weight_val")
    except ValueError as error:
        raise ValueError(f"sample_weight_val does not fit X_val: {error}") from error
    return Rows(in_engine_form(X), y, weight)
