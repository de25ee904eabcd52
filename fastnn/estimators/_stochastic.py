"""Training by SGD or Adam: one run of the engine's trainer, and its history as scikit-learn's attributes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastnn.checks import check_some_count, is_finite
from fastnn.estimators._callbacks import CALLER
from fastnn.estimators._monitor import Monitor
from fastnn.estimators._process import Process
from fastnn.estimators._validation import Rows
from fastnn.network import Network

if TYPE_CHECKING:
    from fastnn.estimators._base import BaseMLP
    from fastnn.estimators._callbacks import FitHooks

INTERRUPTED = "Training interrupted by user."
CLIPPED = "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be"
    " preprocessed."
)


def train(
    model: BaseMLP, rows: Rows, held_out: Rows | None, network: Network, hooks: FitHooks | None
) -> tuple[Network, Callable[[], Any]]:
    """Train until `max_iter`, convergence, `max_time` or Ctrl-C, and describe it in the attributes.

    Returns the network, and what warns the user of an end too early.
    """
    if model.early_stopping and held_out is None:
        rows, held_out = _split(model, rows)
    process = Process(model, network)
    process.configure(model)
    process.go_on(model)
    epochs, best = len(process.history.loss), process.best_score
    monitor = Monitor.when_needed(model, process, held_out, hooks)
    status = process.train(
        rows,
        epochs=int(model.max_iter),
        score=monitor.score if monitor is not None and model.early_stopping else None,
        on_epoch=monitor.on_epoch if monitor is not None else None,
        max_time=model.max_time,
    )
    if monitor is not None:
        monitor.finish(status)
    if process.best is not None and process.best_score > best:
        network.parameters[...] = process.best.parameters
    raise_if_not_finite(network)
    model._online = False
    _record(model, process, epochs)
    return network, partial(_warn, model, status, rows.X.shape[0])


def train_once(model: BaseMLP, rows: Rows, network: Network) -> list[str]:
    """One epoch for `partial_fit`. If it fails the parameters and counters are put back and the moments
    forgotten.

    Returns what the user should be warned of.
    """
    process: Process | None = model.__dict__.get("_optimizer")
    if process is None:
        process = Process(model, network)
        process.go_on(model)
    process.configure(model)
    before, progress, epochs = network.parameters.copy(), process.progress(), len(process.history.loss)
    monitor = Monitor.when_needed(model, process, None, None)
    try:
        status = process.train(rows, epochs=1, on_epoch=None if monitor is None else monitor.on_epoch)
        if monitor is not None:
            monitor.finish(status)
        if status == "diverged":
            raise ValueError(NOT_FINITE)
    except BaseException:
        network.parameters[...] = before
        del process.history.loss[epochs:]
        process.restart()
        process.go_back(progress)
        raise
    model._online = True
    _record(model, process, epochs)
    return _remarks(model, status, rows.X.shape[0])


def resume(model: BaseMLP, network: Network, saved: dict[str, Any]) -> Process:
    """The trainer of an unpickled model, with its moments, counters and rate."""
    process = Process(model, network, saved.get("optimizer"))
    process.state.restore(saved)
    process.history.loss = model.loss_curve_
    return process


def raise_if_not_finite(network: Network) -> None:
    if not is_finite(network.parameters):
        raise ValueError(NOT_FINITE)


def _split(model: BaseMLP, rows: Rows) -> tuple[Rows, Rows]:
    """Hold out `validation_fraction` of the rows, drawn as scikit-learn draws it."""
    if model.validation_fraction == 0:
        raise ValueError("validation_fraction must be above 0 with early_stopping=True; got 0.")
    stratify = None
    if is_classifier(model) and model.n_outputs_ == 1:
        # The strings that scikit-learn would make of two dimensions, row by row: 0.3 s for 100,000.
        stratify = np.where(rows.y[:, 0] != 0, "True", "False")
    training, held_out = train_test_split(
        np.arange(rows.X.shape[0]),
        random_state=model._random_state,
        test_size=model.validation_fraction,
        stratify=stratify,
    )
    if len(held_out) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
        )
    parts = rows.take(training), rows.take(held_out)
    for part, fate in zip(parts, ("left to train on", "held out"), strict=True):
        if part.sample_weight is not None:
            check_some_count(
                f"sample_weight (times class_weight) of the {len(part.y)} rows {fate} by early_stopping=True",
                part.sample_weight,
                ": leave out rows of weight 0, or pass a validation set, X_val and y_val",
            )
    return parts


def _record(model: BaseMLP, process: Process, earlier: int) -> None:
    """The history as fitted attributes. The lists are shared: `partial_fit` must not copy them every time."""
    losses, scores = process.history.loss, process.history.score
    model._optimizer = process
    model.n_iter_ = len(losses) - earlier
    model.loss_curve_ = losses
    model.loss_ = losses[-1] if losses else np.inf
    model.t_ = process.samples_seen
    model._no_improvement_count = process.no_improvement_count
    model._judged_by = process.measure_of(model)
    judged_by_score = model.early_stopping
    model.best_loss_ = None if judged_by_score else process.best_loss
    model.validation_scores_ = scores if judged_by_score else None
    model.best_validation_score_ = process.best_score if judged_by_score else None


def _remarks(model: BaseMLP, status: str, n_rows: int) -> list[str]:
    """What is to be said of a run on so many rows besides how far it came."""
    clipped = not isinstance(model.batch_size, str) and model.batch_size > n_rows
    return [CLIPPED] * clipped + [INTERRUPTED] * (status == "interrupted")


def _warn(model: BaseMLP, status: str, n_rows: int) -> None:
    for remark in _remarks(model, status, n_rows):
        warnings.warn(remark, stacklevel=CALLER)
    reached = {
        "max_iter": f"Maximum iterations ({model.max_iter}) reached and",
        "max_time": f"max_time ({model.max_time} s) reached after {model.n_iter_} epochs and",
        "diverged": f"The loss became infinite or not a number after {model.n_iter_} epochs and",
    }
    if status in reached:
        message = f"Stochastic Optimizer: {reached[status]} the optimization hasn't converged yet."
        warnings.warn(message, ConvergenceWarning, stacklevel=CALLER)
