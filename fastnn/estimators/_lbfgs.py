"""Training by SciPy's L-BFGS-B over the engine's loss and gradient."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.optimize import _check_optimize_result
from threadpoolctl import ThreadpoolController

from fastnn.estimators._callbacks import CALLER
from fastnn.estimators._metrics import mean_loss
from fastnn.estimators._stochastic import INTERRUPTED, raise_if_not_finite
from fastnn.estimators._validation import Rows
from fastnn.network import Gradient, Network

if TYPE_CHECKING:
    from fastnn.estimators._base import BaseMLP
    from fastnn.estimators._callbacks import FitHooks


def train(
    model: BaseMLP, rows: Rows, held_out: Rows | None, network: Network, hooks: FitHooks | None
) -> tuple[Network, Callable[[], Any]]:
    """Minimise the loss over all rows in double precision; the result has the precision of the data.

    Returns the network, and what warns the user of an end too early.
    """
    problem = Problem(model, rows, network)
    progress = Progress(model, problem, held_out, hooks)
    result: Any = None
    try:
        with _blas().limit(limits=1, user_api="blas"), problem.gradient:
            result = minimize(
                problem,
                problem.point(),
                jac=True,
                method="L-BFGS-B",
                options=_options(model),
                callback=progress,
            )
    except StopIteration:  # SciPy before 1.11 lets it through
        pass
    except KeyboardInterrupt:
        progress.reason = "interrupted"
    finally:
        progress.finish()
    stopped = result is None or progress.reason is not None
    problem.move_to(progress.point if stopped else result.x)
    raise_if_not_finite(problem.network)
    model.loss_curve_ = progress.losses
    model.n_iter_ = len(progress.losses)
    model.loss_ = progress.losses[-1] if progress.losses else problem.loss
    if stopped:
        return problem.network_as(network.dtype), partial(_warn, model, progress.reason)
    model.loss_, model.n_iter_ = result.fun, min(result.nit, model.max_iter)
    return problem.network_as(network.dtype), partial(_warn, model, result)


class Problem:
    """Loss and gradient as a function of one vector: all weights, then all biases."""

    def __init__(self, model: BaseMLP, rows: Rows, network: Network) -> None:
        # float32 leaves the line search about seven digits, too few to see the last improvements.
        self.network = self._copy(network, np.float64)
        self.loss = np.inf
        rows = rows.in_double()
        weights = np.empty(0) if rows.sample_weight is None else rows.sample_weight
        # For several outputs of a regressor the loss is their mean and its gradient that of their sum: so in
        # scikit-learn, and another loss would take other steps.
        self.gradient = Gradient(
            self.network,
            rows.X,
            rows.y,
            weights,
            alpha=model.alpha,
            loss_scale=model._loss_scale(network),
            n_threads=model.n_threads,
        )

    def __call__(self, point: Any) -> tuple[float, Any]:
        self.move_to(point)
        self.loss, weights, biases = self.gradient()
        return self.loss, _joined(weights, biases)

    def point(self) -> Any:
        return _joined(self.network.weights, self.network.biases)

    def move_to(self, point: Any) -> None:
        start = 0
        for part in (*self.network.weights, *self.network.biases):
            part[...] = point[start : start + part.size].reshape(part.shape)
            start += part.size

    def network_as(self, dtype: Any) -> Network:
        return self.network if dtype == np.float64 else self._copy(self.network, dtype)

    @staticmethod
    def _copy(network: Network, dtype: Any) -> Network:
        return Network.from_arrays(network.architecture, network.weights, network.biases, dtype=dtype)


class Progress:
    """SciPy's callback: keeps the curve and the last good point, ends the run by raising StopIteration."""

    def __init__(
        self, model: BaseMLP, problem: Problem, held_out: Rows | None, hooks: FitHooks | None
    ) -> None:
        self.losses: list[float] = []
        self.point = problem.point()
        self.reason: str | None = None
        self._model = model
        self._problem = problem
        self._held_out = None if held_out is None else held_out.in_double()
        self._hooks = hooks
        self._deadline = np.inf if model.max_time is None else time.perf_counter() + model.max_time
        model.validation_loss_curve_ = None if held_out is None else []
        if hooks is not None:
            hooks.begin_epoch(self._reconstruction)

    def __call__(self, xk: Any) -> None:
        self.point = xk.copy()
        self.losses.append(self._problem.loss)
        if self._held_out is not None:
            network = self._problem.network
            outputs = network.predictor(self._held_out.X, logits=False)
            loss = mean_loss(network.architecture, outputs, self._held_out)
            self._model.validation_loss_curve_.append(loss)  # type: ignore[union-attr]
        if self._model.verbose:
            print(f"Iteration {len(self.losses)}, loss = {self._problem.loss:.8f}")
        if self._hooks is not None:
            if self._hooks.end_epoch(self._reconstruction):
                self.reason = "stopped"
            elif len(self.losses) < self._model.max_iter:
                self._hooks.begin_epoch(self._reconstruction)
        if time.perf_counter() > self._deadline:
            self.reason = "max_time"
        if self.reason is not None:
            raise StopIteration

    def finish(self) -> None:
        if self._hooks is not None:
            self._hooks.close_epochs()

    def _reconstruction(self) -> dict[str, Any]:
        return self._model._snapshot(self._problem.network.copy(), self.losses)


@cache
def _blas() -> ThreadpoolController:
    """SciPy's own steps are short vector operations: with two BLAS threads a fit took 2.3 s, not 0.06 s."""
    return ThreadpoolController()


def _options(model: BaseMLP) -> dict[str, Any]:
    options = {"maxfun": model.max_fun, "maxiter": model.max_iter, "gtol": model.tol}
    release = tuple(int(part) for part in scipy.__version__.split(".")[:2])
    # Deprecated since 1.15, and before that it printed by default.
    return options if release >= (1, 15) else {**options, "iprint": -1}


def _warn(model: BaseMLP, reason: Any) -> None:
    """Of an end too early, by the reason for it, or by SciPy's result."""
    if model.early_stopping:
        message = "early_stopping has no effect with solver='lbfgs'; use 'sgd' or 'adam' to stop early."
        warnings.warn(message, stacklevel=CALLER)
    if not isinstance(reason, str):
        _check_optimize_result("lbfgs", reason, model.max_iter)
    elif reason == "interrupted":
        warnings.warn(INTERRUPTED, stacklevel=CALLER)
    elif reason == "max_time":
        message = f"lbfgs failed to converge within max_time={model.max_time} s ({model.n_iter_} iterations)."
        warnings.warn(message, ConvergenceWarning, stacklevel=CALLER)


def _joined(weights: Sequence[Any], biases: Sequence[Any]) -> Any:
    return np.concatenate([part.ravel() for part in (*weights, *biases)])
