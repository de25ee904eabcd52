"""What Python does after every epoch: score the validation set, print, call scikit-learn's callbacks.

Without any of these there is no monitor, and the engine runs many epochs in one compiled call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.utils._param_validation import InvalidParameterError

from fastnn.estimators._metrics import mean_loss
from fastnn.estimators._process import Process
from fastnn.estimators._validation import Rows
from fastnn.network import Network

if TYPE_CHECKING:
    from fastnn.estimators._base import BaseMLP
    from fastnn.estimators._callbacks import FitHooks


class Monitor:
    """Watches one run of a process for one model."""

    def __init__(
        self, model: BaseMLP, process: Process, held_out: Rows | None, hooks: FitHooks | None
    ) -> None:
        self._model = model
        self._process = process
        self._held_out = held_out
        self._hooks = hooks
        self._start, self._first_score = len(process.history.loss), len(process.history.score)
        self._rate = process.learning_rate
        self._outputs: Any = None
        self._scorer = self._make_scorer() if held_out is not None and model.early_stopping else None
        if held_out is not None:
            curve = list(vars(model).get("validation_loss_curve_") or [])
            # Beside `loss_curve_`, epoch by epoch, some of which may have had no validation set.
            model.validation_loss_curve_ = curve + [np.nan] * (self._start - len(curve))
        if hooks is not None:
            hooks.begin_epoch(self._reconstruction)

    @classmethod
    def when_needed(
        cls, model: BaseMLP, process: Process, held_out: Rows | None, hooks: FitHooks | None
    ) -> Self | None:
        if held_out is None and hooks is None and not model.verbose:
            return None
        return cls(model, process, held_out, hooks)

    def score(self, network: Network) -> float:
        """The early-stopping metric on the validation set: higher is better."""
        rows, metric = self._held_out, self._model.early_stopping_metric
        assert rows is not None
        self._outputs = network.predictor(rows.X, logits=False, n_threads=self._model.n_threads)
        if metric == "loss":
            return -mean_loss(network.architecture, self._outputs, rows)
        if self._scorer is None:
            return self._model._score_outputs(self._outputs, rows)
        weights = {} if rows.sample_weight is None else {"sample_weight": rows.sample_weight}
        try:
            answer = self._scorer(self._view(network), rows.X, self._model._decode(rows.y), **weights)
        except Exception as error:
            error.add_note(f"while early_stopping_metric={metric!r} was computed on the validation rows")
            raise
        return answer  # type: ignore[no-any-return]

    def on_epoch(self, process: Process) -> bool:
        """Record, print, call back. True asks the engine to stop."""
        model, rows = self._model, self._held_out
        if rows is not None:
            scores = len(process.history.score) - self._first_score
            if not model.early_stopping or scores < len(process.history.loss) - self._start:
                # Not asked by the engine in this epoch: the loss is not finite any more.
                self._outputs = process.network.predictor(rows.X, logits=False, n_threads=model.n_threads)
            loss = mean_loss(process.network.architecture, self._outputs, rows)
            model.validation_loss_curve_.append(loss)  # type: ignore[union-attr]
        if model.verbose:
            self._print(process)
        return self._hooks is not None and self._end_epoch(process)

    def finish(self, status: str) -> None:
        """After the run: say why it ended, close what is open."""
        if self._model.verbose and status in ("no_improvement", "rate_too_small"):
            reason = " Learning rate too small. Stopping." if status == "rate_too_small" else " Stopping."
            print(self._no_improvement() + reason)
        if self._hooks is not None:
            self._hooks.close_epochs()

    def _make_scorer(self) -> Any:
        metric = self._model.early_stopping_metric
        if metric in ("score", "loss"):
            return None
        try:
            return check_scoring(self._model, scoring=metric)
        except ValueError as error:
            raise InvalidParameterError(
                "early_stopping_metric must be 'score', 'loss', a callable or one of"
                f" sklearn.metrics.get_scorer_names(); got {metric!r}."
            ) from error

    def _view(self, network: Network) -> BaseMLP:
        """The model as it would be if training stopped now, for scorers; their X has no feature names."""
        view = self._model._draft()
        view.__dict__.pop("feature_names_in_", None)
        view._adopt(network)
        return view

    def _print(self, process: Process) -> None:
        epoch = len(process.history.loss) - self._start
        print(f"Iteration {epoch}, loss = {process.history.loss[-1]:.8f}")
        if self._model.early_stopping and self._held_out is not None:
            print(f"Validation score: {process.history.score[-1]:f}")
        if self._model.solver == "sgd" and self._model.learning_rate == "adaptive":
            if process.learning_rate != self._rate:
                print(self._no_improvement() + f" Setting learning rate to {process.learning_rate:f}")
            self._rate = process.learning_rate

    def _no_improvement(self) -> str:
        model = self._model
        measure = "Validation score" if model.early_stopping else "Training loss"
        patience = f"tol={model.tol:f} for {model.n_iter_no_change} consecutive epochs."
        return f"{measure} did not improve more than {patience}"

    def _end_epoch(self, process: Process) -> bool:
        assert self._hooks is not None
        stop = self._hooks.end_epoch(self._reconstruction)
        if not stop and len(process.history.loss) - self._start < self._model.max_iter:
            self._hooks.begin_epoch(self._reconstruction)
        return stop

    def _reconstruction(self) -> dict[str, Any]:
        return self._model._snapshot(self._process.network.copy(), self._process.history.loss[self._start :])
