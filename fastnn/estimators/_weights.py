"""class_weight: how much each class counts."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastnn.estimators._classifier import MLPClassifier


def balance(model: MLPClassifier, y: Any, sample_weight: Any, dtype: Any) -> Any:
    """Weights of the rows (n,): `class_weight` of their class, times `sample_weight` where there is one.

    'balanced' gives class k the weight total / (classes * total of k), where totals are sums of weights.
    """
    if model._label_binarizer.y_type_.startswith("multilabel"):
        raise ValueError("class_weight does not support several labels a row; use sample_weight instead.")
    numbers = y[:, 0].astype(np.intp)
    with np.errstate(over="ignore", invalid="ignore"):  # told below
        if model.class_weight == "balanced":
            totals = np.bincount(numbers, weights=sample_weight, minlength=len(model.classes_))
            present = totals > 0
            weights = np.zeros(len(totals))
            weights[present] = totals.sum() / (present.sum() * totals[present])
        else:
            weights = _from_dict(model.class_weight, model.classes_)
        rows = weights[numbers].astype(dtype)
        rows = rows if sample_weight is None else rows * sample_weight
    if not np.isfinite(rows).all():
        raise ValueError(
            f"class_weight and sample_weight together must be finite in {np.dtype(dtype)}; got"
            f" class_weight={model.class_weight!r}."
        )
    return rows


def _from_dict(class_weight: dict[Any, float], classes: Any) -> Any:
    """Weights in the order of `classes`; a class that is not named has weight 1."""
    known = classes.tolist()
    unknown = [label for label in class_weight if label not in known]
    if unknown:
        raise ValueError(f"class_weight names the classes {unknown}, but y has only {known}.")
    values = [class_weight.get(label, 1.0) for label in known]
    if not all(isinstance(value, Real) and np.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"class_weight must hold finite numbers of 0 or more, got {class_weight!r}.")
    if not any(values):
        raise ValueError(f"class_weight must give one class a weight above 0, got {class_weight!r}.")
    return np.array(values, dtype=np.float64)
