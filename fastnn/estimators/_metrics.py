"""Scores and losses of a network's outputs, for the validation set: one forward pass serves both."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import xlogy

from fastnn.architecture import Architecture
from fastnn.estimators._validation import Rows


def accuracy(outputs: Any, rows: Rows) -> float:
    """Share of the rows that are right; with several labels a row counts when all of them are."""
    if outputs.shape[1] > rows.y.shape[1]:
        right = outputs.argmax(axis=1) == rows.y[:, 0]
    else:
        right = ((outputs > 0.5) == (rows.y > 0.5)).all(axis=1)
    return float(np.average(right, weights=rows.sample_weight))


def r_squared(outputs: Any, rows: Rows) -> float:
    """R2, the mean over the outputs; not a number where the outputs are not finite."""
    if not np.isfinite(outputs).all():
        return float("nan")
    weight = 1.0 if rows.sample_weight is None else rows.sample_weight[:, np.newaxis]
    mean = np.average(rows.y, axis=0, weights=rows.sample_weight)
    residual = (weight * (rows.y - outputs) ** 2).sum(axis=0, dtype=np.float64)
    variance = (weight * (rows.y - mean) ** 2).sum(axis=0, dtype=np.float64)
    scores = np.where(residual == 0, 1.0, 0.0)  # what scikit-learn gives to a constant target
    varied = variance != 0
    scores[varied] = 1 - residual[varied] / variance[varied]
    return float(scores.mean())


def mean_loss(architecture: Architecture, outputs: Any, rows: Rows) -> float:
    """The loss without its penalty, in the units of `loss_curve_`: squared error is a mean over outputs."""
    y = rows.y
    if architecture.loss == "squared_error":
        losses = 0.5 * ((y - outputs) ** 2).mean(axis=1)
    elif architecture.loss == "poisson":
        losses = (xlogy(y, y / outputs) - y + outputs).sum(axis=1)
    else:
        smallest = np.finfo(outputs.dtype).eps
        p = np.clip(outputs, smallest, 1 - smallest)
        if architecture.output_activation == "softmax":
            losses = -np.log(p[np.arange(len(y)), y[:, 0].astype(np.intp)])
        else:
            losses = -(xlogy(y, p) + xlogy(1 - y, 1 - p)).sum(axis=1)
    return float(np.average(losses, weights=rows.sample_weight))
