"""Same seed, same model: fastnn's estimators against the installed scikit-learn, in double precision.

Every test trains both on the same data and compares losses, epochs, weights, outputs and warnings.
"""

import inspect
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression
from sklearn.neural_network import MLPClassifier as OriginalClassifier
from sklearn.neural_network import MLPRegressor as OriginalRegressor
from threadpoolctl import threadpool_limits

from fastnn import MLPClassifier, MLPRegressor
from fastnn.estimators._lbfgs import Problem

N_ROWS = 203  # more than 200, and a last batch that is smaller than the others for every batch size below
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
SOLVERS = {
    "sgd": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.05},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.01},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.01},
    "adam": {"solver": "adam", "learning_rate_init": 0.005},
}
BATCHES = (1, 7, 32, 200, N_ROWS)
TASKS = ("binary", "multiclass", "multilabel", "one output", "several outputs", "poisson")


@pytest.fixture(autouse=True, scope="module")
def one_blas_thread():
    """scikit-learn's small products lose to the hand-over between threads."""
    with threadpool_limits(1):
        yield


def data(task, n_rows=N_ROWS):
    """X (n, 6) and y for a task, the same every time."""
    if task in ("binary", "multiclass"):
        classes = {"binary": 2, "multiclass": 4}[task]
        return make_classification(n_rows, 6, n_informative=4, n_classes=classes, random_state=5)
    if task == "multilabel":
        X, y = make_multilabel_classification(n_rows, 6, n_classes=3, random_state=5)
        return X / 10, y
    X, y = make_regression(n_rows, 6, n_targets=3 if task == "several outputs" else 1, random_state=5)
    y = y / y.std()
    return X, np.floor(np.exp(np.clip(y, -3, 2))) if task == "poisson" else y


def weights(n_rows=N_ROWS):
    return np.random.RandomState(3).uniform(0.2, 3.0, n_rows)


def pair(task, **parameters):
    """fastnn's estimator and scikit-learn's, with equal parameters."""
    kinds = (MLPRegressor, OriginalRegressor)
    if task in ("binary", "multiclass", "multilabel"):
        kinds = (MLPClassifier, OriginalClassifier)
    if task == "poisson":
        if "loss" not in inspect.signature(OriginalRegressor).parameters:
            pytest.skip("this scikit-learn has no Poisson loss")
        parameters = {"loss": "poisson", **parameters}
    parameters = {"hidden_layer_sizes": (7, 5), "max_iter": 10, "random_state": 11, **parameters}
    return tuple(kind(**parameters) for kind in kinds)


def recorded(train, *arguments):
    """The warnings of one call, as (class, text)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(*arguments)
    return [(warning.category, str(warning.message)) for warning in caught]


def outputs(model, X):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def assert_same(ours, theirs, X, rtol=1e-8):
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.t_ == theirs.t_
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=rtol)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=rtol)
    for mine, original in zip(
        ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        assert mine.dtype == original.dtype
        np.testing.assert_allclose(mine, original, rtol=1e-7, atol=1e-9)
    if theirs.validation_scores_ is None:
        assert ours.validation_scores_ is None
        assert ours.best_loss_ == pytest.approx(theirs.best_loss_, rel=rtol)
    else:
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-7, atol=1e-9)
        assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_, rel=1e-7)
        assert ours.best_loss_ is None
    np.testing.assert_allclose(outputs(ours, X), outputs(theirs, X), rtol=1e-6, atol=1e-9)


def assert_same_training(models, X, y, sample_weight=None, **tolerance):
    ours, theirs = models
    assert recorded(ours.fit, X, y, sample_weight) == recorded(theirs.fit, X, y, sample_weight)
    assert_same(ours, theirs, X, **tolerance)


@pytest.mark.parametrize("batch_size", BATCHES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_solver_activation_and_batch_size(solver, activation, batch_size):
    X, y = data("multiclass")
    models = pair(
        "multiclass",
        **SOLVERS[solver],
        activation=activation,
        batch_size=batch_size,
        max_iter=4 if batch_size == 1 else 10,
    )
    assert_same_training(models, X, y)


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, sparse.csc_matrix])
@pytest.mark.parametrize("solver", ["momentum", "adam"])
@pytest.mark.parametrize("task", TASKS)
def test_task_container_and_weights(task, solver, container, weighted):
    X, y = data(task)
    X[np.abs(X) < 0.4] = 0
    models = pair(task, **SOLVERS[solver], batch_size=32)
    assert_same_training(models, container(X), y, weights() if weighted else None)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
def test_schedule_until_it_stops(schedule, momentum, early_stopping, shuffle):
    X, y = data("binary")
    models = pair(
        "binary",
        solver="sgd",
        learning_rate=schedule,
        learning_rate_init=0.2,
        momentum=momentum,
        early_stopping=early_stopping,
        shuffle=shuffle,
        tol=0.02,
        n_iter_no_change=2,
        max_iter=80,
        batch_size=50,
    )
    assert_same_training(models, X, y)


@pytest.mark.parametrize("alpha", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("solver", SOLVERS)
def test_penalty_without_shuffling(solver, alpha):
    X, y = data("one output")
    assert_same_training(pair("one output", **SOLVERS[solver], alpha=alpha, shuffle=False), X, y, weights())


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("task", TASKS)
def test_early_stopping_keeps_the_best_weights(task, weighted):
    X, y = data(task)
    models = pair(
        task,
        learning_rate_init=0.02,
        early_stopping=True,
        validation_fraction=0.2,
        n_iter_no_change=3,
        max_iter=40,
    )
    assert_same_training(models, X, y, weights() if weighted else None)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("task", ["multiclass", "several outputs"])
def test_warm_start_goes_on_with_the_history(task, solver, early_stopping):
    X, y = data(task)
    models = pair(task, **SOLVERS[solver], warm_start=True, early_stopping=early_stopping, max_iter=6)
    for _ in range(3):
        assert_same_training(models, X, y)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("task", TASKS)
def test_partial_fit_keeps_the_optimizer(task, solver):
    X, y = data(task)
    ours, theirs = pair(task, **SOLVERS[solver], batch_size=32, n_iter_no_change=3)
    first = {}
    if isinstance(ours, MLPClassifier):
        first = {"classes": np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y)}
    for turn, size in enumerate((100, 1, 203, 40, 40, 1)):
        extra = first if turn == 0 else {}
        told = [
            recorded(lambda m=model, n=size, e=extra: m.partial_fit(X[:n], y[:n], **e))
            for model in (ours, theirs)
        ]
        assert told[0] == told[1]
        assert_same(ours, theirs, X)


@pytest.mark.parametrize("size", [1, 40])
def test_partial_fit_of_several_labels_with_a_column_of_them(size):
    X, y = data("multilabel")
    models = pair("multilabel", max_iter=2)
    for model in models:
        recorded(model.fit, X, y)
        model.partial_fit(X[:size], y[:size, 0])
    assert_same(*models, X)


@pytest.mark.parametrize(("tol", "idle"), [(0.0, 0), (1e9, 3)])
def test_tol_set_between_calls_of_partial_fit_counts(tol, idle):
    X, y = data("one output")
    models = pair("one output", batch_size=N_ROWS, tol=1e9 - tol)
    for model in models:
        model.partial_fit(X, y)
        model.set_params(tol=tol)
        for _ in range(3):
            model.partial_fit(X, y)
        assert model._no_improvement_count == idle
    assert_same(*models, X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("task", TASKS)
def test_partial_fit_on_lists_is_partial_fit_on_arrays(task, dtype):
    X, y = data(task)
    X = X.astype(dtype)
    models = pair(task, max_iter=2)
    arrays, _ = pair(task, max_iter=2)
    for model in (*models, arrays):
        recorded(model.fit, X, y)
    for rows in (slice(0, 1), slice(1, 2), slice(2, 40)):
        for model in models:
            model.partial_fit(X[rows].tolist(), y[rows].tolist())
        arrays.partial_fit(X[rows], y[rows])
    for part, other in zip(models[0].coefs_, arrays.coefs_, strict=True):
        np.testing.assert_array_equal(part, other)
    if dtype == "float64":
        assert_same(*models, X)


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("task", ["multiclass", "one output"])
def test_partial_fit_on_sparse_rows(task, as_list):
    X, y = data(task)
    models = pair(task, max_iter=2)
    for model in models:
        recorded(model.fit, X, y)
        for rows in (slice(0, 1), slice(1, 40)):
            model.partial_fit(sparse.csr_matrix(X[rows]), y[rows].tolist() if as_list else y[rows])
    assert_same(*models, X)


def test_rows_that_are_not_aligned_are_copied():
    X, y = data("multiclass")
    models = pair("multiclass", max_iter=2)
    shifted = np.frombuffer(b"." + X.tobytes(), np.uint8)[1:].view(X.dtype).reshape(X.shape)
    assert not shifted.flags.aligned
    assert_same_training(models, shifted, y)
    for model in models:
        model.partial_fit(shifted[:1], y[:1])
        model.partial_fit(shifted[1:2], y[1:2])
    assert_same(*models, shifted)


@pytest.mark.parametrize("solver", SOLVERS)
def test_partial_fit_after_fit_with_weights(solver):
    X, y = data("multiclass")
    ours, theirs = pair("multiclass", **SOLVERS[solver], max_iter=3)
    assert_same_training((ours, theirs), X, y, weights())
    for rows in (slice(0, 50), slice(50, 51), slice(100, 203)):
        for model in (ours, theirs):
            model.partial_fit(X[rows], y[rows], weights()[rows])
        assert_same(ours, theirs, X)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_hundred_epochs_of_full_batch(solver, activation):
    X, y = data("several outputs")
    models = pair(
        "several outputs",
        **SOLVERS[solver],
        activation=activation,
        batch_size=N_ROWS,
        max_iter=100,
        n_iter_no_change=100,
    )
    assert_same_training(models, X, y, rtol=1e-6)


def test_the_random_state_is_left_where_scikit_learn_leaves_it():
    X, y = data("multiclass")
    states = [np.random.RandomState(8), np.random.RandomState(8)]
    for model, state in zip(pair("multiclass", early_stopping=True), states, strict=True):
        recorded(model.set_params(random_state=state).fit, X, y)
    np.testing.assert_array_equal(states[0].uniform(size=3), states[1].uniform(size=3))


def test_without_a_seed_the_global_state_is_drawn_from():
    X, y = data("multiclass")
    models = pair("multiclass", random_state=None)
    for model in models:
        np.random.seed(8)  # noqa: NPY002
        recorded(model.fit, X, y)
    assert_same(*models, X)


@pytest.mark.parametrize("hidden_layer_sizes", [(), 3, (1,), (4, 4, 4), [8, 2], np.array([3, 2])], ids=str)
@pytest.mark.parametrize("task", ["binary", "one output"])
def test_depth(task, hidden_layer_sizes):
    X, y = data(task)
    assert_same_training(pair(task, hidden_layer_sizes=hidden_layer_sizes), X, y)


def lbfgs_gradient(original, X, Y, sample_weight):
    """scikit-learn's loss and packed gradient at its present weights."""
    sizes = [X.shape[1], *(weights.shape[1] for weights in original.coefs_)]
    activations = [X, *(np.empty((len(X), size)) for size in sizes[1:])]
    deltas = [np.empty((len(X), size)) for size in sizes[1:]]
    gradients = [np.empty_like(weights) for weights in original.coefs_]
    biases = [np.empty_like(bias) for bias in original.intercepts_]
    packed = np.concatenate([part.ravel() for part in original.coefs_ + original.intercepts_])
    return original._loss_grad_lbfgs(packed, X, Y, sample_weight, activations, deltas, gradients, biases)


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("task", TASKS)
def test_lbfgs_gradient_at_equal_weights(task, activation, weighted):
    X, y = data(task)
    sample_weight = weights() if weighted else None
    ours, theirs = pair(task, activation=activation, solver="lbfgs", alpha=0.1, max_iter=2)
    recorded(theirs.fit, X, y)
    ours = type(ours).from_sklearn(theirs)
    rows = ours._check_training_set(X, y, sample_weight, dtype=np.float64, reset=False, incremental=True)
    problem = Problem(ours, rows, ours._fitted_network())
    loss, gradient = problem(problem.point())
    Y = theirs._label_binarizer.transform(y) if isinstance(ours, MLPClassifier) else y.reshape(len(y), -1)
    expected_loss, expected = lbfgs_gradient(theirs, X, Y, sample_weight)
    assert loss == pytest.approx(expected_loss, rel=1e-10)
    np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("activation", ["logistic", "tanh"])
@pytest.mark.parametrize("task", TASKS)
def test_lbfgs_reaches_the_same_loss(task, activation):
    X, y = data(task)
    ours, theirs = pair(task, activation=activation, solver="lbfgs", alpha=2.0, max_iter=500, tol=1e-6)
    for model in (ours, theirs):
        recorded(model.fit, X, y, weights())
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-3)
    np.testing.assert_allclose(ours.loss_curve_[-1], ours.loss_, rtol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_lbfgs_takes_the_same_first_steps(task):
    X, y = data(task)
    ours, theirs = pair(task, solver="lbfgs", activation="tanh", max_iter=5)
    assert recorded(ours.fit, X, y) == recorded(theirs.fit, X, y)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-8)
    for mine, original in zip(
        ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        np.testing.assert_allclose(mine, original, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("schedule", ["constant", "adaptive"])
def test_verbose_prints_the_same_lines(schedule, early_stopping, capsys):
    X, y = data("binary")
    printed = []
    for model in pair(
        "binary",
        solver="sgd",
        learning_rate=schedule,
        learning_rate_init=0.1,
        early_stopping=early_stopping,
        verbose=True,
        tol=0.1,
        n_iter_no_change=2,
        max_iter=60,
    ):
        recorded(model.fit, X, y)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


@pytest.mark.parametrize("kinds", [(MLPClassifier, OriginalClassifier), (MLPRegressor, OriginalRegressor)])
def test_the_parameters_begin_with_scikit_learns(kinds):
    ours, theirs = (list(inspect.signature(kind).parameters.values()) for kind in kinds)
    assert [str(p).split(":")[0] for p in ours[: len(theirs)]] == [p.name for p in theirs]
    for mine, original in zip(ours, theirs, strict=False):
        assert (mine.name, mine.default, mine.kind) == (original.name, original.default, original.kind)
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])
