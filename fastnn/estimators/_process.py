"""The engine's trainer as estimators use it: settings may change between calls, counters go on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import kernels
from fastnn.checks import check_seed
from fastnn.estimators._validation import Rows, clip_batch_size
from fastnn.network import Network, views
from fastnn.optimizers import SGD, Adam
from fastnn.training import Trainer

if TYPE_CHECKING:
    from fastnn.estimators._base import BaseMLP

_COUNTERS = ("STEP", "SAMPLES_SEEN", "NO_IMPROVEMENT", "RATE_CUTS")
_LEVELS = ("RATE", "BEST")


class Process(Trainer):
    """Trains the network of an estimator, by the estimator's parameters."""

    def __init__(self, model: BaseMLP, network: Network) -> None:
        super().__init__(network, optimizer_of(model), random_state=model._random_state)
        self._reals[kernels.state.LOSS_SCALE] = model._loss_scale()

    def configure(self, model: BaseMLP, n_rows: int) -> None:
        """Take over the parameters that may change between two calls of `partial_fit`."""
        state = kernels.state
        self.batch_size = clip_batch_size(model.batch_size, n_rows)
        self.shuffle = model.shuffle
        self.random_state = check_seed("random_state", model._random_state)
        self._reals[state.ALPHA] = model.alpha
        self._reals[state.TOL] = model.tol
        self._ints[state.PATIENCE] = min(model.n_iter_no_change, sys.maxsize)
        if self.n_threads != model.n_threads:
            self.n_threads, self._session = model.n_threads, None

    def go_on(self, model: BaseMLP) -> None:
        """Continue the history of a model under a new optimizer, as a warm start does."""
        state, past = kernels.state, vars(model)
        self.history.loss = list(past.get("loss_curve_") or [])
        self.history.score = list(past.get("validation_scores_") or [])
        self._ints[state.SAMPLES_SEEN] = past.get("t_", 0)
        self._ints[state.NO_IMPROVEMENT] = past.get("_no_improvement_count", 0)
        score, loss = past.get("best_validation_score_"), past.get("best_loss_")
        best = loss if not model.early_stopping else None if score is None else -score
        self._reals[state.BEST] = np.inf if best is None else best

    @property
    def best_score(self) -> float:
        """The best score so far, in a run that is judged by a score."""
        return -self.best_loss

    @property
    def no_improvement_count(self) -> int:
        return int(self._ints[kernels.state.NO_IMPROVEMENT])

    def train(self, rows: Rows, **options: Any) -> str:
        """`run` on rows that are in the engine's form already."""
        weights = np.empty(0, rows.X.dtype) if rows.sample_weight is None else rows.sample_weight
        return self.run_checked(rows.X, rows.y, weights, **options)

    @property
    def step(self) -> int:
        """Updates done."""
        return int(self._ints[kernels.state.STEP])

    def set_step(self, step: int, learning_rate: float) -> None:
        """Go on after `step` updates at this rate."""
        self._ints[kernels.state.STEP] = step
        self._reals[kernels.state.RATE] = learning_rate

    @property
    def unit_of_first(self) -> float:
        """What `first` is multiplied by."""
        return float(self._reals[kernels.state.UNIT_OF_FIRST])

    def saved(self) -> dict[str, Any]:
        """Counters, levels and moments as they are, without this machine's padding: what a pickle needs to go
        on.
        """
        state = kernels.state
        return {
            "counters": {name: int(self._ints[getattr(state, name)]) for name in _COUNTERS},
            "levels": {name: float(self._reals[getattr(state, name)]) for name in _LEVELS},
            "unit_of_first": self.unit_of_first,
            "moments": [[np.array(part) for part in self.layers(vector)] for vector in self._moments()],
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on where `saved` was taken."""
        state = kernels.state
        for name, count in saved["counters"].items():
            self._ints[getattr(state, name)] = count
        for name, level in saved["levels"].items():
            self._reals[getattr(state, name)] = level
        for vector, parts in zip(self._moments(), saved["moments"], strict=True):
            for view, part in zip(self.layers(vector), parts, strict=True):
                view[...] = part
        # Nothing else keeps the bits; other betas, set since then, come with another unit.
        if saved["unit_of_first"] != self.unit_of_first:
            self.first *= self.unit_of_first / saved["unit_of_first"]

    def layers(self, vector: Any) -> list[Any]:
        """Views (inputs, outputs) and (outputs,) of a moment, in the order of `coefs_ + intercepts_`."""
        layout = kernels.layout
        lanes = layout.vector_lanes(self.network.dtype)
        table, _ = layout.parameter_table(self.network.architecture.layer_sizes, lanes)
        weights, biases = views(table, vector)
        return [*weights, *biases]

    def _moments(self) -> list[Any]:
        return [vector for vector in (self.first, self.second) if vector.size]


def optimizer_of(model: BaseMLP) -> SGD | Adam:
    """The optimizer that the parameters of the estimator describe."""
    if model.solver == "adam":
        return Adam(model.learning_rate_init, model.beta_1, model.beta_2, model.epsilon)
    return SGD(
        model.learning_rate_init,
        momentum=model.momentum,
        nesterov=model.nesterovs_momentum,
        schedule=model.learning_rate,
        power_t=model.power_t,
    )
