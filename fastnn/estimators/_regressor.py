"""MLPRegressor: numbers in and out, squared error or Poisson deviance."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_y, validate_data

from fastnn.estimators._base import BaseMLP
from fastnn.estimators._metrics import r_squared
from fastnn.estimators._parameters import CONSTRAINTS
from fastnn.estimators._validation import (
    Rows,
    check_targets,
    check_weights,
    from_list,
    in_engine_form,
    is_ready,
)
from fastnn.network import Network


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multi-layer perceptron regressor: scikit-learn's, on compiled kernels.

    With the same parameters and `random_state` it gives the model that `sklearn.neural_network.MLPRegressor`
    gives, up to rounding.

    Parameters
    ----------
    loss : {'squared_error', 'poisson'}, default='squared_error'
        Half the squared error, or half the Poisson deviance of exp(output), which needs y >= 0.
    hidden_layer_sizes, activation, ..., max_fun
        As for `MLPClassifier`.
    dtype, n_threads, max_time
        As for `MLPClassifier`.
    early_stopping_metric : 'score', 'loss', name of a scorer or callable, default='score'
        What `early_stopping` watches: R2, the validation loss, or any scorer of scikit-learn.

    Attributes
    ----------
    coefs_, intercepts_ : list of arrays
        Weights (inputs, outputs) and biases of each layer: views of the network, editable in place.
    loss_curve_, validation_loss_curve_, validation_scores_ : list of float, or None
    loss_, best_loss_, best_validation_score_ : float
    n_iter_, t_ : int
        Epochs of the last run, and rows seen in all.
    n_features_in_, n_layers_, n_outputs_ : int
    feature_names_in_ : array of str, only for a data frame
    out_activation_ : str

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import MLPRegressor
    >>> X = np.linspace(-3, 3, 200).reshape(-1, 1)
    >>> model = MLPRegressor(
    ...     hidden_layer_sizes=(30,), activation="tanh", solver="lbfgs", max_iter=1000, random_state=0
    ... )
    >>> bool(model.fit(X, np.sin(X[:, 0])).score(X, np.sin(X[:, 0])) > 0.99)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dtype: Any = None,
        n_threads: int | None = None,
        max_time: float | None = None,
        early_stopping_metric: Any = "score",
    ) -> None:
        self._store(locals())

    @available_if(lambda model: model._check_solver())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One pass over X and y.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
        y : array of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        if not self.__sklearn_is_fitted__():
            self._validate_params()
        with self._turn:
            return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any) -> Any:
        """Predicted values, (n_samples,) for one output and (n_samples, n_outputs) for several."""
        outputs = self._outputs(X)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def _check_training_set(
        self, X: Any, y: Any, sample_weight: Any, *, dtype: Any, reset: bool, incremental: bool = False
    ) -> Rows:
        if incremental and not reset and sample_weight is None:
            quick = Rows(from_list(X, dtype), from_list(y, dtype), None)
            if self._is_ready(quick.X, quick.y, dtype):
                return quick._replace(y=quick.y.reshape(-1, 1))
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            y_numeric=True,
            dtype=dtype,
            order="C",
            reset=reset,
        )
        goes_on = incremental and not reset
        loss = self._fitted_network().architecture.loss if goes_on else self.loss
        y = self._check_outputs(y, X.dtype, loss, reset=reset)
        return Rows(in_engine_form(X), y, check_weights(sample_weight, X))

    def _is_ready(self, X: Any, y: Any, dtype: Any) -> bool:
        """Whether rows can be trained on as they are, in this dtype: what makes one row cheap."""
        network = self.__dict__.get("_network")
        return (
            network is not None
            and type(y) is np.ndarray
            and y.ndim == 1
            and self.n_outputs_ == 1
            and network.architecture.loss != "poisson"
            and "feature_names_in_" not in self.__dict__
            and is_ready(X, dtype, network.architecture.layer_sizes[0])
            and len(y) == len(X)
            and is_ready(y.reshape(-1, 1), dtype, 1)
        )

    def _check_outputs(self, y: Any, dtype: Any, loss: str, *, reset: bool) -> Any:
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        y = check_targets(y, dtype)
        if loss == "poisson" and (y < 0).any():
            raise ValueError(f"y must be 0 or more for loss='poisson', got {y.min()}.")
        self.out_activation_ = "exp" if loss == "poisson" else "identity"
        if reset:
            self.n_outputs_ = y.shape[1]
        elif y.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {y.shape[1]} outputs, but the model was fitted with {self.n_outputs_}.")
        return y

    def _encode_known(self, y: Any, dtype: Any) -> Any:
        y = _check_y(y, multi_output=True, y_numeric=True, estimator=self)
        return self._check_outputs(y, dtype, self.loss, reset=False)

    def _decode(self, y: Any) -> Any:
        return y.ravel() if y.shape[1] == 1 else y

    def _score_outputs(self, outputs: Any, rows: Rows) -> float:
        return r_squared(outputs, rows)

    def _loss_scale(self, network: Network) -> float:
        return 1.0 / self.n_outputs_ if network.architecture.loss == "squared_error" else 1.0
