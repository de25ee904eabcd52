"""One training run by fastnn, and the same one by scikit-learn: first weights, batches and rate alike."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fastnn.architecture import Architecture
from fastnn.cli.recipes import Recipe
from fastnn.cli.record import Record, Recorder
from fastnn.cli.work import Work
from fastnn.network import Network
from fastnn.optimizers import SGD, Adam
from fastnn.training import Trainer

Show = Callable[[Record], None]

_TRIAL_SECONDS = 0.15


@dataclass(frozen=True)
class Settings:
    """What all runs of a comparison have in common."""

    hidden: tuple[int, ...] = (100,)
    activation: str = "relu"
    alpha: float = 1e-4
    seed: int = 0
    n_threads: int | None = None
    limit: float = float("inf")


class Interrupted(Exception):
    """Ctrl-C, once the library has come to rest."""


def architecture(work: Work, settings: Settings) -> Architecture:
    """The network that scikit-learn would build for this data."""
    outputs = work.n_classes or (1 if work.y_train.ndim == 1 else work.y_train.shape[1])
    output, loss = "softmax", "cross_entropy"
    if work.n_classes == 2:
        outputs, output = 1, "logistic"
    elif not work.n_classes:
        output, loss = "identity", "squared_error"
    sizes = (work.X_train.shape[1], *settings.hidden, outputs)
    return Architecture(sizes, settings.activation, output_activation=output, loss=loss)


def train_fastnn(work: Work, recipe: Recipe, settings: Settings, show: Show) -> Record:
    """Train by `recipe` with the model layer. Draws come in scikit-learn's order: weights, then shuffles."""
    recorder = Recorder(Record("fastnn", recipe, len(work.X_train)), limit=settings.limit, show=show)
    draws = np.random.RandomState(settings.seed)
    recorder.start()
    network = Network.initialize(architecture(work, settings), seed=draws)
    trainer = Trainer(
        network,
        Adam(recipe.learning_rate) if recipe.adam else SGD(recipe.learning_rate),
        alpha=settings.alpha,
        batch_size=min(recipe.batch_size, len(work.X_train)),
        random_state=draws,
        n_iter_no_change=recipe.epochs,
        n_threads=settings.n_threads,
        # scikit-learn reports the mean squared error over outputs, but steps by the gradient of the sum.
        loss_scale=1.0 if work.n_classes else 1.0 / network.architecture.layer_sizes[-1],
    )
    status = trainer.run(
        work.X_train,
        _targets(work),
        epochs=recipe.epochs,
        on_epoch=lambda trainer: recorder.epoch(
            lambda: trainer.history.loss[-1], lambda: work.score(predict(network, work))
        ),
    )
    if status == "interrupted":
        raise Interrupted
    if status == "diverged":
        recorder.record.ending = "diverged"
    return recorder.record


def unseen(record: Record) -> None:
    """Progress of a run that is not reported."""


def _targets(work: Work) -> NDArray[Any]:
    """Class numbers for softmax; otherwise one float column an output."""
    if work.n_classes > 2:
        return work.y_train
    return work.y_train.reshape(len(work.y_train), -1).astype(np.float32)


def predict(network: Network, work: Work) -> NDArray[Any]:
    """Class numbers, or values, for the held-out rows."""
    outputs = network.forward(work.X_test)
    if work.n_classes == 2:
        return (outputs[:, 0] > 0.5).astype(np.int64)
    return outputs.argmax(axis=1) if work.n_classes else outputs


class _OutOfTime(Exception):
    pass


class _EpochLines(io.TextIOBase):
    """A standard output that calls back for each line on an epoch.

    scikit-learn has no callback in its networks. `partial_fit` would return after every epoch, but checks its
    input anew: a full-batch epoch on digits takes twice as long that way, which would flatter fastnn. With
    verbose=True, though, `fit` prints a line after each epoch: a public place to stand with a clock.
    """

    def __init__(self, on_epoch: Callable[[], bool]) -> None:
        self._on_epoch = on_epoch

    def write(self, text: str) -> int:
        if text.startswith("Iteration ") and self._on_epoch():
            raise _OutOfTime
        return len(text)


@dataclass(frozen=True)
class Terms:
    """What scikit-learn gets for one recipe: BLAS threads, None for all, and rows an epoch."""

    threads: int | None
    rows: int


def sklearn_terms(work: Work, recipe: Recipe, settings: Settings) -> Terms:
    """The terms on which scikit-learn does best, by a short trial.

    A second BLAS thread can double the speed of a wide network and divide that of a small one by ten: it gets
    one or all, whichever was faster. Where not even one epoch fits into the time limit, it gets fewer rows.
    """
    few = work.first(max(256, recipe.batch_size))
    speeds: dict[int | None, float] = {}
    for threads in (1, None):
        terms = Terms(threads, len(few.X_train))
        trial = train_sklearn(
            few, replace(recipe, epochs=3), replace(settings, limit=_TRIAL_SECONDS), unseen, terms
        )
        speeds[threads] = trial.rows_a_second
    best = max(speeds, key=lambda threads: speeds[threads])
    affordable = max(len(few.X_train), int(min(speeds[best] * settings.limit, 1e15)))
    return Terms(best, min(affordable, len(work.X_train)))


def train_sklearn(work: Work, recipe: Recipe, settings: Settings, show: Show, terms: Terms) -> Record:
    """The same run by scikit-learn's MLPClassifier or MLPRegressor, within the time limit."""
    share = terms.rows / len(work.X_train)
    with threadpool_limits(terms.threads, user_api="blas"):
        if share == 1:
            return _fit_sklearn(work, recipe, settings, show)
        record = _fit_sklearn(work.first(terms.rows), replace(recipe, epochs=1), settings, show)
    record.recipe, record.share = recipe, share
    return record


def _fit_sklearn(work: Work, recipe: Recipe, settings: Settings, show: Show) -> Record:
    """Train until the epochs or the time limit are used up."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    record = Record("scikit-learn", recipe, len(work.X_train))
    recorder = Recorder(record, limit=settings.limit, show=show)
    model = (MLPClassifier if work.n_classes else MLPRegressor)(
        hidden_layer_sizes=settings.hidden,
        activation=settings.activation,
        solver="adam" if recipe.adam else "sgd",
        alpha=settings.alpha,
        batch_size=recipe.batch_size,
        learning_rate_init=recipe.learning_rate,
        max_iter=recipe.epochs,
        random_state=settings.seed,
        verbose=True,
        momentum=0.0,
        n_iter_no_change=recipe.epochs,
    )
    lines = _EpochLines(
        lambda: recorder.epoch(lambda: model.loss_curve_[-1], lambda: work.score(model.predict(work.X_test)))
    )
    with warnings.catch_warnings(), redirect_stdout(lines):
        # Unconverged after so many epochs is what was asked for.
        warnings.simplefilter("ignore")
        recorder.start()
        try:
            model.fit(work.X_train, work.y_train)
        except _OutOfTime:
            return record
        except ValueError as error:
            if "non-finite" not in str(error):
                raise
            record.ending = "diverged"
            return record
    if record.epochs < recipe.epochs:
        # Nothing else ends it early: scikit-learn turns Ctrl-C into a warning.
        raise Interrupted
    return record
