"""The engine's trainer as estimators use it: settings may change between calls, counters go on."""

from __future__ import annotations

from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import kernels
from fastnn.estimators._validation import Rows
from fastnn.network import Network
from fastnn.optimizers import SGD, Adam
from fastnn.training import Trainer

if TYPE_CHECKING:
    from fastnn.estimators._base import BaseMLP

# Of a model: what `configure` takes over.
settings_of = attrgetter("batch_size", "shuffle", "alpha", "n_threads", "tol", "n_iter_no_change")


class Process(Trainer):
    """Trains the network of an estimator, by the estimator's parameters."""

    def __init__(self, model: BaseMLP, network: Network, optimizer: SGD | Adam | None = None) -> None:
        draws = vars(model).get("_random_state")  # none yet where a pickle is loaded: `configure` sets it
        rule = optimizer or optimizer_of(model)
        super().__init__(network, rule, random_state=draws, loss_scale=model._loss_scale(network))
        self._settings = settings_of(model)

    def configure(self, model: BaseMLP) -> None:
        """Take over the parameters that may change between two calls of `partial_fit`."""
        settings = settings_of(model)
        # To validate takes 0.3 ms.
        if not all(map(is_, settings, self._settings)):
            model._validate_params()
            self._settings = settings
        batch_size, self.shuffle, self.alpha, self.n_threads, tol, patience = settings
        # scikit-learn takes True for 1.
        self.tol, self.n_iter_no_change = float(tol), float(patience)
        self.batch_size = batch_size if isinstance(batch_size, str) else int(batch_size)
        self.random_state = model._random_state

    def go_on(self, model: BaseMLP) -> None:
        """Continue the history of a model under a new optimizer, as a warm start does."""
        names, past = kernels.state, vars(model)
        self.history.loss = list(past.get("loss_curve_") or [])
        self.state.ints[names.SAMPLES_SEEN] = past.get("t_", 0)
        self.state.judge_by(names.SCORE if model.early_stopping else names.LOSS)
        # What was best by another loss, or another metric, is no measure for this one.
        measure = self.measure_of(model)
        if past.get("_judged_by", measure) != measure:
            return
        self.history.score = list(past.get("validation_scores_") or [])
        self.state.ints[names.NO_IMPROVEMENT] = past.get("_no_improvement_count", 0)
        score, loss = past.get("best_validation_score_"), past.get("best_loss_")
        best = loss if not model.early_stopping else None if score is None else -score
        self.state.reals[names.BEST] = np.inf if best is None else best

    def progress(self) -> tuple[Any, Any]:
        """Counters and levels, for `go_back`; not in the midst of a run."""
        self._refuse_while_running("partial_fit")
        return self.state.ints.copy(), self.state.reals.copy()

    def go_back(self, progress: tuple[Any, Any]) -> None:
        """How far training had come, but for the moments of an optimizer that has been restarted."""
        names, (ints, reals) = kernels.state, progress
        counters = [names.SAMPLES_SEEN, names.NO_IMPROVEMENT, names.RATE_CUTS, names.EPOCH, names.MONITOR]
        levels = [names.BEST, names.RATE]  # Adam makes its rate anew at every step
        self.state.ints[counters], self.state.reals[levels] = ints[counters], reals[levels]

    def measure_of(self, model: BaseMLP) -> tuple[str, Any]:
        """What tells an improvement: a loss, or a metric of early stopping."""
        metric = model.early_stopping_metric if model.early_stopping else None
        return self.network.architecture.loss, metric

    @property
    def best_score(self) -> float:
        """The best score so far, in a run that is judged by a score."""
        return -self.best_loss

    @property
    def no_improvement_count(self) -> int:
        return int(self.state.ints[kernels.state.NO_IMPROVEMENT])

    def train(self, rows: Rows, **options: Any) -> str:
        """`run` on rows that are in the engine's form already."""
        weights = np.empty(0, rows.X.dtype) if rows.sample_weight is None else rows.sample_weight
        return self.run_checked(rows.X, rows.y, weights, **options)

    @property
    def step(self) -> int:
        """Updates done."""
        return int(self.state.ints[kernels.state.STEP])

    def set_step(self, step: int, learning_rate: float) -> None:
        """Go on after `step` updates at this rate."""
        self.state.ints[kernels.state.STEP] = step
        self.state.reals[kernels.state.RATE] = learning_rate


def optimizer_of(model: BaseMLP) -> SGD | Adam:
    """The optimizer that the parameters of the estimator describe."""
    if model.solver == "adam":
        return Adam(model.learning_rate_init, model.beta_1, model.beta_2, model.epsilon)
    return SGD(
        model.learning_rate_init,
        momentum=model.momentum,
        nesterov=bool(model.nesterovs_momentum and model.momentum > 0),
        schedule=model.learning_rate,
        power_t=model.power_t,
    )
