"""What classifier and regressor share: fit, partial_fit, the network behind the attributes, pickling."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from numbers import Integral
from operator import is_
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastnn.architecture import Architecture
from fastnn.checks import check_numbers, check_seed
from fastnn.estimators import _lbfgs, _stochastic
from fastnn.estimators._callbacks import CallbackSupportMixin, FitHooks, with_callbacks
from fastnn.estimators._convert import from_sklearn, to_sklearn
from fastnn.estimators._parameters import ADDITIONS, STOCHASTIC_SOLVERS, Parameters
from fastnn.estimators._validation import Rows, check_rows, check_validation_set
from fastnn.network import Network, list_of
from fastnn.threads import turn_of

# Attributes that are rebuilt on loading, or that belong to one run only; they stay out of pickles.
_NOT_SAVED = ("_network", "_views", "_random_state", "_optimizer", "_turns", "_generator_is_own")

_HISTORY = ("loss_curve_", "validation_loss_curve_", "validation_scores_")


class BaseMLP(Parameters, CallbackSupportMixin, BaseEstimator, ABC):
    """Validates, encodes and delegates to the engine.

    `fit` works on a draft of the estimator, and the draft's attributes replace the estimator's in one
    assignment when training has succeeded: after a failure the old model is still there, whole.
    """

    coefs_: list[Any]
    intercepts_: list[Any]
    _label_binarizer: Any

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train the network on X and y.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
        y : array of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array of shape (n_samples,), default=None
        X_val, y_val, sample_weight_val : the same for a validation set, default=None
            Its loss is recorded in `validation_loss_curve_`. With `early_stopping=True` it takes the place of
            the fraction that would be split off.

        Returns
        -------
        self
        """
        self._validate_params()
        hooks = FitHooks.start(self, X, y, sample_weight)
        draft = self._draft()
        warn = draft._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), hooks)
        self.__dict__ = draft.__dict__
        if hooks is not None:
            hooks.finish()
        # At last: where warnings are errors, the model is there all the same.
        warn()
        return self

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, validation: Any, hooks: FitHooks | None
    ) -> Callable[[], Any]:
        fresh = not (self.warm_start and self.__sklearn_is_fitted__())
        self.__dict__.pop("_optimizer", None)
        network = None if fresh else self._fitted_network()
        dtype = self._float_types() if network is None or self.dtype is not None else network.dtype
        rows = self._check_training_set(X, y, sample_weight, dtype=dtype, reset=fresh)
        held_out = check_validation_set(self, validation, rows.X.dtype)
        self._random_state = self._make_generator()
        network = self._initialize(rows) if network is None else self._restart(network, rows)
        solve = _lbfgs.train if self.solver == "lbfgs" else _stochastic.train
        network, warn = solve(self, rows, held_out, network, hooks)
        self._adopt(network)
        return warn

    @property
    def _turn(self) -> Any:
        """Of calls of `partial_fit`, which train one network in place, one at a time."""
        return turn_of(self.__dict__.setdefault("_turns", {}))

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any) -> Self:
        """One pass over the given rows; the network, the optimizer and the history live on."""
        if self.early_stopping:
            raise ValueError(
                "partial_fit does not support early_stopping=True: set_params(early_stopping=False) first."
            )
        draft = self._draft()
        fresh = not self.__sklearn_is_fitted__()
        network = None if fresh else draft._fitted_network()
        dtype = draft._float_types() if network is None else network.dtype
        rows = draft._check_training_set(X, y, sample_weight, dtype=dtype, reset=fresh, incremental=True)
        draft._random_state = draft._reseeded()
        goes_on = network is not None and network is self.__dict__.get("_network")
        if not goes_on:
            draft.__dict__.pop("_optimizer", None)  # it belongs to other parameters
        if network is None:
            network = draft._initialize(rows)
        elif not goes_on:
            draft._check_ends(network, rows)
        remarks = _stochastic.train_once(draft, rows, network)
        draft._adopt(network)
        self.__dict__ = draft.__dict__
        for remark in remarks:
            warnings.warn(remark, stacklevel=3)
        return self

    def _reseeded(self) -> Any:
        """The random state of this call: a new one costs 100 µs, seeding the last one again 2 µs, unless it
        is somebody else's.
        """
        last = self.__dict__.get("_random_state")
        if type(self.random_state) is int and last is not None and self.__dict__.get("_generator_is_own"):
            last.seed(self.random_state)
            return last
        return self._make_generator()

    def _make_generator(self) -> Any:
        self._generator_is_own = isinstance(self.random_state, Integral)
        return check_seed("random_state", check_random_state(self.random_state))

    @classmethod
    def _get_param_names(cls) -> list[str]:
        return list(cls._read_param_names())

    @classmethod
    @cache
    def _read_param_names(cls) -> tuple[str, ...]:
        """scikit-learn reads the signature for 100 us whenever it is asked."""
        return tuple(super()._get_param_names())

    def _draft(self) -> Self:
        draft = object.__new__(type(self))
        draft.__dict__ = self.__dict__.copy()
        return draft

    def _initialize(self, rows: Rows) -> Network:
        """A new network for these rows, and a history that starts from nothing."""
        sizes = (rows.X.shape[1], *self._hidden_sizes(), self.n_outputs_)
        self.n_layers_ = len(sizes)
        self.n_iter_ = self.t_ = self._no_improvement_count = 0
        self.loss_curve_: list[float] = []
        self.validation_loss_curve_: list[float] | None = None
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None
        self.best_loss_: float | None = np.inf
        architecture = self._architecture(sizes)
        return Network.initialize(architecture, seed=self._random_state, dtype=rows.X.dtype)

    def _restart(self, network: Network, rows: Rows) -> Network:
        """The same weights under the present settings, in the precision of the rows; a copy, so that the old
        model survives a failure.
        """
        sizes, asked = network.architecture.layer_sizes, tuple(self._hidden_sizes())
        if asked != sizes[1:-1]:
            raise ValueError(
                f"hidden_layer_sizes must be those of the network, {sizes[1:-1]}, with warm_start=True; got"
                f" {asked}. Set warm_start=False for a new network."
            )
        self._check_ends(network, rows)
        architecture = self._architecture(sizes)
        return Network.from_arrays(architecture, network.weights, network.biases, dtype=rows.X.dtype)

    def _check_ends(self, network: Network, rows: Rows) -> None:
        """ValueError where weights that were assigned from outside don't fit the data."""
        sizes, wanted = network.architecture.layer_sizes, (rows.X.shape[1], self.n_outputs_)
        if (sizes[0], sizes[-1]) != wanted:
            raise ValueError(
                f"coefs_ must lead from {wanted[0]} features to {wanted[1]} outputs; got {sizes[0]} and"
                f" {sizes[-1]}: assign weights of these sizes, or begin with new ones by fit with"
                " warm_start=False."
            )

    def _architecture(self, sizes: tuple[int, ...]) -> Architecture:
        return Architecture(
            layer_sizes=tuple(sizes),
            activation=self.activation,
            output_activation=self.out_activation_,
            loss="cross_entropy" if self.loss == "log_loss" else self.loss,
        )

    def _adopt(self, network: Network) -> None:
        """Let `coefs_` and `intercepts_` show this network's parameters, unless they do already."""
        if self.__dict__.get("_network") is network and self._shows_network():
            return
        self._network = network
        self._fitted_architecture = network.architecture
        self.coefs_ = list(network.weights)
        self.intercepts_ = list(network.biases)
        self._views = (*self.coefs_, *self.intercepts_)

    def _shows_network(self) -> bool:
        fitted = self.__dict__
        shown = (*(fitted.get("coefs_") or ()), *(fitted.get("intercepts_") or ()))
        return len(shown) == len(self._views) and all(map(is_, shown, self._views))

    def _fitted_network(self) -> Network:
        """The network that `coefs_` and `intercepts_` describe: they may have been assigned from outside."""
        if "coefs_" not in self.__dict__:
            check_is_fitted(self)
        network: Network | None = self.__dict__.get("_network")
        if network is not None and self._shows_network():
            return network
        given = list_of("coefs_", self.coefs_)
        weights = [check_numbers(f"coefs_[{i}]", part, None) for i, part in enumerate(given)]
        if not weights or any(weight.ndim != 2 for weight in weights):
            raise ValueError(
                "coefs_ must hold a matrix (inputs, outputs) for each layer; got arrays of the shapes"
                f" {[weight.shape for weight in weights]}."
            )
        dtype = np.float32 if all(weight.dtype == np.float32 for weight in weights) else np.float64
        sizes = (weights[0].shape[0], *(weight.shape[1] for weight in weights))
        # A model of scikit-learn's, or one pickled by an early version, is what its parameters say.
        fitted_as = self.__dict__.get("_fitted_architecture") or self._architecture(sizes)
        architecture = replace(fitted_as, layer_sizes=sizes)
        try:
            return Network.from_arrays(architecture, weights, self.intercepts_, dtype=dtype)
        except ValueError as error:
            error.add_note("weights are those assigned to coefs_, biases those to intercepts_")
            raise

    def _snapshot(self, network: Network, losses: list[float]) -> dict[str, Any]:
        """The fitted attributes of a model that stops here, for callbacks that want to predict with it."""
        model = self._draft()
        model._adopt(network)
        model.loss_curve_ = list(losses)
        model.n_iter_ = len(losses)
        return model._fitted_attributes()

    def _fitted_attributes(self) -> dict[str, Any]:
        parameters = self.get_params(deep=False)
        return {name: value for name, value in vars(self).items() if name not in {*parameters, "_turns"}}

    def _outputs(self, X: Any, *, logits: bool = False) -> Any:
        network = self._fitted_network()
        return network.predictor(check_rows(self, X, network), logits=logits, n_threads=self.n_threads)

    def _check_solver(self) -> bool:
        if self.solver not in STOCHASTIC_SOLVERS:
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    @classmethod
    def from_sklearn(cls, fitted: Any) -> Self:
        """This estimator with the parameters, weights and history of scikit-learn's, fitted or not.

        Parameters
        ----------
        fitted : sklearn.neural_network.MLPClassifier or MLPRegressor

        Returns
        -------
        model
        """
        return from_sklearn(cls, fitted)

    def to_sklearn(self) -> Any:
        """scikit-learn's estimator with these parameters and weights, for tools that know only that."""
        return to_sklearn(self)

    @abstractmethod
    def _check_training_set(
        self, X: Any, y: Any, sample_weight: Any, *, dtype: Any, reset: bool, incremental: bool = False
    ) -> Rows:
        """Check X, y and the weights; with `reset` the attributes that describe them are set."""

    @abstractmethod
    def _encode_known(self, y: Any, dtype: Any) -> Any:
        """y in the engine's form, for a model that knows its classes or outputs already."""

    @abstractmethod
    def _decode(self, y: Any) -> Any:
        """The y of the user from the engine's form."""

    @abstractmethod
    def _score_outputs(self, outputs: Any, rows: Rows) -> float:
        """The default score (accuracy or R2) of the network's outputs for these rows."""

    def __sklearn_is_fitted__(self) -> bool:
        return "coefs_" in self.__dict__

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Parameters, weights and history; the optimizer's moments only while `partial_fit` needs them."""
        state = {name: value for name, value in super().__getstate__().items() if name not in _NOT_SAVED}
        process = self.__dict__.get("_optimizer")
        # Of other parameters, assigned since, it knows nothing.
        if process is not None and self.__dict__.get("_online") and self._shows_network():
            state["_optimizer_state"] = process.state.saved()
        loss, metric = state.get("_judged_by", (None, None))
        if callable(metric) and metric is not self.early_stopping_metric:
            state["_judged_by"] = loss, "another"  # which needn't be one that pickles
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # A copy's history grows by itself.
        own = {name: list(value) for name, value in state.items() if name in _HISTORY and value is not None}
        super().__setstate__({**ADDITIONS, **state, **own})
        saved = self.__dict__.pop("_optimizer_state", None)
        if self.__sklearn_is_fitted__() and "out_activation_" in self.__dict__:
            self._adopt(self._fitted_network())
            if saved is not None:
                self._optimizer = _stochastic.resume(self, self._network, saved)
