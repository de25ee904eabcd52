"""MLPClassifier: class labels in and out, probabilities, class weights."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import _check_y, validate_data

from fastnn.checks import check_some_count
from fastnn.estimators._base import BaseMLP
from fastnn.estimators._metrics import accuracy
from fastnn.estimators._parameters import CONSTRAINTS
from fastnn.estimators._validation import Rows, check_weights, from_list, in_engine_form, is_ready
from fastnn.estimators._weights import balance
from fastnn.network import Network


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multi-layer perceptron classifier: scikit-learn's, on compiled kernels.

    With the same parameters and `random_state` it gives the model that `sklearn.neural_network.MLPClassifier`
    gives, up to rounding. The parameters up to `max_fun` are scikit-learn's, with the same defaults.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(100,)
        Units of each hidden layer; `()` means none.
    activation : {'identity', 'logistic', 'tanh', 'relu'}, default='relu'
        Activation of the hidden layers.
    solver : {'lbfgs', 'sgd', 'adam'}, default='adam'
    alpha : float, default=0.0001
        L2 penalty on the weights, divided by the number of rows in a batch (or their total weight).
    batch_size : int, 'auto' or 'full', default='auto'
        Rows a step: 1 is per-sample training, 'auto' is min(200, n_samples), 'full' is all rows.
    learning_rate : {'constant', 'invscaling', 'adaptive'}, default='constant'
        Schedule of the rate for 'sgd'.
    learning_rate_init : float, default=0.001
    power_t : float, default=0.5
        Exponent of 'invscaling'.
    max_iter : int, default=200
        Epochs ('sgd', 'adam') or iterations ('lbfgs') at most.
    shuffle : bool, default=True
        Draw the rows in a new order every epoch. A full batch keeps its order.
    random_state : int, RandomState or None, default=None
        Seeds the weights, the validation split and the order of the rows.
    tol : float, default=0.0001
        An epoch that improves the loss (or the validation score) by less counts as none.
    verbose : bool, default=False
        Print a line an epoch.
    warm_start : bool, default=False
        Let `fit` go on from the present weights.
    momentum : float, default=0.9
    nesterovs_momentum : bool, default=True
    early_stopping : bool, default=False
        Hold rows out, stop when the score on them stops improving, and keep the best weights.
    validation_fraction : float, default=0.1
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        Adam's decay rates and its guard against division by zero.
    n_iter_no_change : int, default=10
        Epochs without improvement before training stops.
    max_fun : int, default=15000
        Evaluations of the loss at most for 'lbfgs'.
    class_weight : dict, 'balanced' or None, default=None
        Weight of each class; 'balanced' gives every class the same total.
    dtype : 'float32', 'float64' or None, default=None
        Precision of the network. None follows X: float32 stays, everything else becomes float64.
    n_threads : int or None, default=None
        Threads of the engine; None lets it decide from the work. The result does not depend on it.
    max_time : float or None, default=None
        Seconds after which training stops with a ConvergenceWarning, looked at 15 times a second, also in the
        middle of an epoch; `loss_` is infinite if that was the first.
    early_stopping_metric : 'score', 'loss', name of a scorer or callable, default='score'
        What `early_stopping` watches: accuracy, the validation loss, or any scorer of scikit-learn.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
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
    >>> from sklearn.datasets import load_iris
    >>> from fastnn import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((20,), max_iter=500, learning_rate_init=0.01, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.95)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }
    loss = "log_loss"
    classes_: Any

    def __init__(
        self,
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
        class_weight: Any = None,
        dtype: Any = None,
        n_threads: int | None = None,
        max_time: float | None = None,
        early_stopping_metric: Any = "score",
    ) -> None:
        self._store(locals())

    @available_if(lambda model: model._check_solver())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """One pass over X and y; the first call needs `classes`, all that will ever come.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
        y : array of shape (n_samples,) or (n_samples, n_classes)
        sample_weight : array of shape (n_samples,), default=None
        classes : array of shape (n_classes,), default=None

        Returns
        -------
        self
        """
        if not self.__sklearn_is_fitted__():
            self._validate_params()
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all rows at once and does not work with partial_fit;"
                " pass a dict of weights instead."
            )
        with self._turn:
            draft = self
            if classes is not None or "classes_" not in self.__dict__:
                draft = self._draft()
                if _check_partial_fit_first_call(draft, classes):
                    multilabel = type_of_target(y).startswith("multilabel")
                    draft._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)
            draft._partial_fit(X, y, sample_weight)
            self.__dict__ = draft.__dict__
        return self

    def predict(self, X: Any) -> Any:
        """Most probable class (n_samples,); for several labels 0 or 1 (n_samples, n_classes)."""
        return self._decide(self._outputs(X))

    def predict_proba(self, X: Any) -> Any:
        """Probabilities (n_samples, n_classes), in the order of `classes_`."""
        outputs = self._outputs(X)
        if self.n_outputs_ != 1:
            return outputs
        both = np.empty((outputs.shape[0], 2), outputs.dtype)
        both[:, 1] = outputs[:, 0]
        np.subtract(1, both[:, 1], out=both[:, 0])
        return both

    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of `predict_proba`."""
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    def decision_function(self, X: Any) -> Any:
        """Logits, (n_samples,) for two classes; otherwise (n_samples, n_classes): for several labels a row a
        logit each, for one class of several the logarithm of its probability.
        """
        logits = self._outputs(X, logits=True)
        if self.n_outputs_ == 1:
            return logits.ravel()
        # Softmax leaves a constant of each row open. With this one a column can be compared from row to row,
        # as calibration of one class against the rest does.
        return log_softmax(logits, axis=1) if self.out_activation_ == "softmax" else logits

    def _check_training_set(
        self, X: Any, y: Any, sample_weight: Any, *, dtype: Any, reset: bool, incremental: bool = False
    ) -> Rows:
        if incremental and not reset and sample_weight is None:
            quick = from_list(X, dtype)
            targets = self._quick_targets(quick, from_list(y), dtype)
            if targets is not None:
                return Rows(quick, targets, None)
        X, y = validate_data(
            self, X, y, accept_sparse="csr", multi_output=True, dtype=dtype, order="C", reset=reset
        )
        y = self._check_classes(_as_labels(y), incremental)
        weights = check_weights(sample_weight, X)
        y = self._encode(y, X.dtype)
        if self.class_weight is not None:
            weights = balance(self, y, weights, X.dtype)
            # One batch of an online learner may hold nothing that counts.
            if not incremental:
                remark = f" with class_weight={self.class_weight!r}"
                check_some_count("class_weight and sample_weight together", weights, remark)
        return Rows(in_engine_form(X), y, weights)

    def _quick_targets(self, X: Any, y: Any, dtype: Any) -> Any:
        """Class numbers for rows that need no conversion to `dtype`, else None: what makes one row cheap."""
        network = self.__dict__.get("_network")
        if network is None or self.warm_start or self.class_weight is not None:
            return None
        if self._label_binarizer.y_type_.startswith("multilabel"):
            return None
        if type(y) is not np.ndarray or y.ndim != 1 or "feature_names_in_" in self.__dict__:
            return None
        if not is_ready(X, dtype, network.architecture.layer_sizes[0]):
            return None
        if len(y) != len(X) or y.dtype.kind != self.classes_.dtype.kind or y.dtype.kind not in "iub":
            return None
        numbers = self.classes_.searchsorted(y)
        if not (self.classes_.take(numbers, mode="clip") == y).all():
            return None
        return numbers.astype(dtype).reshape(-1, 1)

    def _check_classes(self, y: Any, incremental: bool) -> Any:
        """Learn the classes at the first fit; afterwards y must agree with them."""
        if "classes_" not in self.__dict__ or not (self.warm_start or incremental):
            self._label_binarizer = _fitted_binarizer(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            classes = unique_labels(y)
            if self.warm_start:
                if set(classes) != set(self.classes_):
                    raise ValueError(
                        "warm_start can only be used where `y` has the same classes as in the previous call"
                        f" to fit. Previously got {self.classes_}, `y` has {classes}"
                    )
            elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}."
                    f" 'y' has {classes}."
                )
        kind = self._label_binarizer.y_type_
        self.out_activation_ = "softmax" if kind == "multiclass" else "logistic"
        self.n_outputs_ = 1 if kind == "binary" else len(self.classes_)
        return y

    def _encode(self, y: Any, dtype: Any) -> Any:
        """Class numbers (n, 1); with several labels 0 and 1, (n, n_outputs)."""
        if y.ndim == 1 and not self._label_binarizer.y_type_.startswith("multilabel"):
            return np.searchsorted(self.classes_, y).astype(dtype).reshape(-1, 1)
        return self._label_binarizer.transform(y).astype(dtype, order="C")

    def _encode_known(self, y: Any, dtype: Any) -> Any:
        y = _as_labels(_check_y(y, multi_output=True, estimator=self))
        unseen = np.setdiff1d(unique_labels(y), self.classes_)
        if len(unseen):
            raise ValueError(f"the classes {unseen} are not in the training set, which has {self.classes_}.")
        return self._encode(y, dtype)

    def _decode(self, y: Any) -> Any:
        return self.classes_[y[:, 0].astype(np.intp)] if y.shape[1] == 1 else self._decide(y)

    def _decide(self, outputs: Any) -> Any:
        """Labels from outputs: the largest of softmax, above one half of logistic."""
        if self.n_outputs_ == 1:
            if len(self.classes_) == 1:
                return np.repeat(self.classes_[0], len(outputs))
            return self.classes_[(outputs[:, 0] > 0.5).astype(np.intp)]
        if self.out_activation_ == "softmax":
            return self.classes_[outputs.argmax(axis=1)]
        return self._label_binarizer.inverse_transform(outputs)

    def _score_outputs(self, outputs: Any, rows: Rows) -> float:
        return 1.0 if len(self.classes_) == 1 else accuracy(outputs, rows)

    def _loss_scale(self, network: Network) -> float:
        return 1.0

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _fitted_binarizer(y: Any) -> LabelBinarizer:
    """LabelBinarizer().fit(y); for whole numbers, which need no look at their type, without its 0.3 ms."""
    binarizer = LabelBinarizer()
    if y.ndim != 1 or y.dtype.kind not in "iub":
        return binarizer.fit(y)
    binarizer.classes_ = np.unique(y)
    binarizer.y_type_ = "binary" if len(binarizer.classes_) <= 2 else "multiclass"
    binarizer.sparse_input_ = False
    return binarizer


def _as_labels(y: Any) -> Any:
    return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
