"""Bad input: one clear error before any training, and the old model untouched."""

import contextlib
import inspect
import io
import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier as OriginalClassifier
from sklearn.neural_network import MLPRegressor as OriginalRegressor

from fastnn import MLPClassifier, MLPRegressor
from fastnn.estimators import _stochastic

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
KINDS = [MLPClassifier, MLPRegressor]
X, y = load_iris(return_X_y=True)


def small(kind=MLPClassifier, **parameters):
    return kind(**{"hidden_layer_sizes": (8,), "max_iter": 10, "random_state": 0, **parameters})


def spoiled(values, value):
    values = np.array(values, dtype=float)
    values.flat[3] = value
    return values


BAD_PARAMETERS = [
    {"hidden_layer_sizes": (5, 0)},
    {"hidden_layer_sizes": -1},
    {"hidden_layer_sizes": (2.5,)},
    {"activation": "swish"},
    {"solver": "rmsprop"},
    {"alpha": -1},
    {"batch_size": 0},
    {"batch_size": "half"},
    {"learning_rate": "warm"},
    {"learning_rate_init": 0},
    {"learning_rate_init": -0.1},
    {"power_t": -1},
    {"max_iter": 0},
    {"shuffle": "yes"},
    {"random_state": "seed"},
    {"tol": -1},
    {"momentum": 1.5},
    {"validation_fraction": 1.0},
    {"beta_1": 1.0},
    {"beta_2": -0.1},
    {"epsilon": 0},
    {"n_iter_no_change": 0},
    {"max_fun": 0},
]
NEW_PARAMETERS = [
    {"dtype": "float16"},
    {"dtype": int},
    {"n_threads": 0},
    {"max_time": -1},
    {"early_stopping_metric": 3},
]


@pytest.mark.parametrize("parameters", BAD_PARAMETERS + NEW_PARAMETERS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_parameter_is_named_with_its_value(kind, parameters):
    (name,) = parameters
    with pytest.raises(ValueError, match=name) as caught:
        small(kind, **parameters).fit(X, y)
    value = parameters[name]
    assert str(value).strip("()").split(",")[0] in str(caught.value)


@pytest.mark.parametrize("parameters", BAD_PARAMETERS, ids=str)
@pytest.mark.parametrize(
    ("kind", "original"), [(MLPClassifier, OriginalClassifier), (MLPRegressor, OriginalRegressor)]
)
def test_the_error_is_of_scikit_learns_class(kind, original, parameters):
    with pytest.raises((ValueError, TypeError)) as theirs:
        original(**{"max_iter": 10, **parameters}).fit(X, y)
    with pytest.raises(theirs.type):
        small(kind, **parameters).fit(X, y)


BAD_DATA = {
    "X with NaN": (spoiled(X, np.nan), y, None),
    "X with infinity": (spoiled(X, np.inf), y, None),
    "X of text": (np.full((150, 4), "a"), y, None),
    "X of one dimension": (X[:, 0], y, None),
    "X without rows": (X[:0], y[:0], None),
    "X without columns": (X[:, :0], y, None),
    "sparse X with NaN": (sparse.csr_array(spoiled(X, np.nan)), y, None),
    "y with NaN": (X, spoiled(y, np.nan), None),
    "y with infinity": (X, spoiled(y, np.inf), None),
    "y too short": (X, y[:-1], None),
    "no y": (X, None, None),
    "complex X": (X * 1j, y, None),
    "weights with NaN": (X, y, spoiled(np.ones(150), np.nan)),
    "weights with infinity": (X, y, spoiled(np.ones(150), np.inf)),
    "weights too short": (X, y, np.ones(149)),
    "weights of two dimensions": (X, y, np.ones((150, 2))),
}


@pytest.mark.parametrize("what", BAD_DATA)
@pytest.mark.parametrize(
    ("kind", "original"), [(MLPClassifier, OriginalClassifier), (MLPRegressor, OriginalRegressor)]
)
def test_bad_data_gives_scikit_learns_error_and_keeps_the_old_model(kind, original, what):
    model = small(kind).fit(X, y)
    before, attributes = model.predict(X), dict(vars(model))
    arguments = BAD_DATA[what] if what.startswith("weights") else BAD_DATA[what][:2]
    if len(arguments) == 3 and "sample_weight" not in inspect.signature(original.fit).parameters:
        pytest.skip("the networks of this scikit-learn take no weights")
    with pytest.raises((ValueError, TypeError)) as theirs:
        original(max_iter=2).fit(*arguments)
    with pytest.raises(theirs.type) as ours:
        model.fit(*arguments)
    assert str(ours.value).split("\n")[0] == str(theirs.value).split("\n")[0]
    assert vars(model) == attributes
    np.testing.assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize("weights", [spoiled(np.ones(150), -1), np.zeros(150)], ids=["negative", "all zero"])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_mean_nothing_are_refused(kind, weights):
    with pytest.raises(ValueError, match=r"sample_weight|[Ss]ample weights"):
        small(kind).fit(X, y, weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X_val": X}, "X_val is provided, but y_val was not provided"),
        ({"y_val": y}, "y_val is provided, but X_val was not provided"),
        ({"sample_weight_val": y}, "sample_weight_val is provided"),
        ({"X_val": X[:, :3], "y_val": y}, "X_val does not fit the training data: X has 3 features"),
        ({"X_val": spoiled(X, np.nan), "y_val": y}, "X_val does not fit"),
        ({"X_val": X, "y_val": y[:9]}, "y_val does not fit .* inconsistent numbers of samples"),
        ({"X_val": X, "y_val": y + 1}, r"y_val does not fit the training data: the classes \[3\]"),
        ({"X_val": X, "y_val": y, "sample_weight_val": -np.ones(150)}, "sample_weight_val"),
        ({"X_val": X, "y_val": y, "sample_weight_val": np.ones(3)}, "sample_weight_val does not fit X_val"),
    ],
)
def test_a_validation_set_that_does_not_fit_is_refused(options, message):
    model = small().fit(X, y)
    attributes = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, **options)
    assert vars(model) == attributes


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ({7: 2.0}, r"class_weight names the classes \[7\]"),
        ({0: -1.0}, "class_weight must hold finite numbers"),
        ({0: np.nan}, "class_weight must hold finite numbers"),
        ({0: "a"}, "class_weight must hold finite numbers .* got {0: 'a'}"),
        ({0: 0, 1: 0, 2: 0}, "class_weight must give one class a weight above 0"),
        ("even", "class_weight"),
    ],
)
def test_a_bad_class_weight_is_refused(class_weight, message):
    with pytest.raises(ValueError, match=message):
        small(class_weight=class_weight).fit(X, y)


def test_weights_that_are_zero_together_are_refused():
    message = r"class_weight and sample_weight together must be above 0 .* class_weight=\{0: 0\}"
    with pytest.raises(ValueError, match=message):
        small(class_weight={0: 0}).fit(X, y, sample_weight=(y == 0).astype(float))


def test_weights_that_are_too_large_together_are_refused():
    message = r"class_weight and sample_weight together must be finite in float32; got class_weight=.*1e\+30"
    with pytest.raises(ValueError, match=message):
        small(class_weight={0: 1e30}).fit(X.astype("float32"), y, sample_weight=np.full(len(y), 1e10))


@pytest.mark.parametrize("fate", ["held out", "left to train on"])
def test_early_stopping_with_weights_for_one_part_of_the_rows_only_is_refused(fate, monkeypatch):
    parts = {"left to train on": np.arange(15, len(y)), "held out": np.arange(15)}
    monkeypatch.setattr(_stochastic, "train_test_split", lambda *_, **__: parts.values())
    weights = np.ones(len(y))
    weights[parts[fate]] = 0
    rows = rf"sample_weight \(times class_weight\) of the {len(parts[fate])} rows {fate} by"
    with pytest.raises(ValueError, match=f"{rows} .* the largest is 0: leave out"):
        small(early_stopping=True).fit(X, y, sample_weight=weights)


def test_an_unknown_metric_is_named():
    with pytest.raises(ValueError, match=r"early_stopping_metric must be .*; got 'acuracy'"):
        small(early_stopping=True, early_stopping_metric="acuracy").fit(X, y)


def test_a_generator_of_other_bits_is_refused_by_name():
    generator = np.random.RandomState(np.random.PCG64(0))
    with pytest.raises(ValueError, match=r"random_state must be .* on MT19937"):
        small(random_state=generator).fit(X, y)


def test_nothing_to_hold_out_is_refused():
    with pytest.raises(ValueError, match="validation_fraction must be above 0 with early_stopping=True"):
        small(early_stopping=True, validation_fraction=0.0).fit(X, y)


def test_class_weights_that_cannot_work_are_refused():
    labels = np.eye(3, dtype=int)[y]
    with pytest.raises(ValueError, match="class_weight does not support several labels"):
        small(class_weight="balanced").fit(X, labels)
    with pytest.raises(ValueError, match="does not work with partial_fit"):
        small(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])


def test_poisson_loss_refuses_negative_targets():
    with pytest.raises(ValueError, match=r"y must be 0 or more for loss='poisson', got -1.0"):
        small(MLPRegressor, loss="poisson").fit(X, y - 1.0)


def test_targets_too_large_for_single_precision_are_refused():
    with pytest.raises(ValueError, match="too large for float32"):
        small(MLPRegressor, dtype="float32").fit(X, y * 1e39)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_an_unfitted_model_says_so(method):
    with pytest.raises(NotFittedError, match="MLPClassifier instance is not fitted yet"):
        getattr(small(), method)(X)


@pytest.mark.parametrize("rows", [X[:, :3], spoiled(X, np.nan), spoiled(X[:1], np.inf), X[0], X[:0]])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_cannot_be_predicted_are_refused(kind, rows):
    with pytest.raises(ValueError, match=r"features|NaN|infinity|1D array|0 sample"):
        small(kind).fit(X, y).predict(rows)


def test_large_finite_rows_are_not_mistaken_for_infinity():
    model = small(dtype="float32").fit(X, y)
    assert model.predict(np.full((1, 4), 1e30, dtype=np.float32)).shape == (1,)


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (X[:1], [9]),
        (X[:1], y[:2]),
        (spoiled(X[:1], np.nan), y[:1]),
        (X[:1, :3], y[:1]),
        (X[:0], y[:0]),
        ([[1.0, 2.0, 3.0, 4.0], [1.0]], [0, 1]),
        ([["a", "b", "c", "d"]], [0]),
        ([[1.0, 2.0, 3.0, float("inf")]], [0]),
        ([[1.0, 2.0, 3.0, 4.0]], ["a"]),
        ([], []),
    ],
)
def test_a_bad_partial_fit_changes_nothing(rows, labels):
    model = small().fit(X, y)
    model.partial_fit(X, y)
    before, losses = [part.copy() for part in model.coefs_], list(model.loss_curve_)
    with pytest.raises(ValueError, match=r"."):
        model.partial_fit(rows, labels)
    assert model.loss_curve_ == losses
    for part, old in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(part, old)


@pytest.mark.parametrize(
    "parameters",
    [{"n_threads": 0}, {"alpha": "x"}, {"alpha": -1}, {"tol": "x"}, {"batch_size": 2.5}, {"shuffle": "no"}],
    ids=str,
)
def test_a_bad_parameter_set_between_calls_is_named(parameters):
    model = small().partial_fit(X, y, classes=[0, 1, 2])
    before = [part.copy() for part in model.coefs_]
    with pytest.raises(ValueError, match=f"The '{next(iter(parameters))}' parameter of MLPClassifier"):
        model.set_params(**parameters).partial_fit(X, y)
    for part, other in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(part, other)


def test_a_failed_first_partial_fit_leaves_the_model_unfitted():
    model = small()
    with pytest.raises(ValueError, match="classes must be passed"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(spoiled(X, np.nan), y, classes=[0, 1, 2])
    assert not hasattr(model, "classes_")
    model.partial_fit(X, y, classes=[0, 1, 2])


def test_a_diverging_partial_fit_is_undone():
    model = small(MLPRegressor, solver="sgd").fit(X, y)
    model.partial_fit(X, y)
    before, count = model.predict(X), len(model.loss_curve_)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        model.partial_fit(X[:1], np.array([1e308]))
    np.testing.assert_array_equal(model.predict(X), before)
    assert len(model.loss_curve_) == count
    model.partial_fit(X, y)
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_diverging_fit_keeps_the_old_model(kind):
    model = small(kind).fit(X, y)
    before = model.predict(X)
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        model.set_params(solver="sgd", activation="identity", learning_rate_init=1e100).fit(X * 1e100, y)
    np.testing.assert_array_equal(model.set_params(activation="relu").predict(X), before)


def test_sparse_targets_of_a_regressor_are_refused():
    with pytest.raises(ValueError, match=r"y must be dense; got a sparse matrix: pass y\.toarray\(\)"):
        small(MLPRegressor).fit(X, sparse.csr_matrix(np.eye(len(X))[:, :2]))


def test_a_metric_that_fails_is_named():
    def fails(model, A, b):
        raise RuntimeError("no such column")

    with pytest.raises(RuntimeError, match="no such column") as caught:
        small(early_stopping=True, early_stopping_metric=fails).fit(X, y)
    assert "early_stopping_metric=<function" in caught.value.__notes__[0]


def diverge(model):
    with pytest.raises(ValueError, match="non-finite"):
        model.partial_fit(X * 1e300, y)


def fail_to_print(model):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError("No space left on device")

    model.set_params(verbose=True)
    with contextlib.redirect_stdout(Full()), pytest.raises(OSError, match="No space"):
        model.partial_fit(X, y)
    model.set_params(verbose=False)


@pytest.mark.parametrize("failure", [diverge, fail_to_print])
def test_a_failed_partial_fit_counts_for_nothing(failure):
    """Of a rule without moments, whose rate follows from the rows seen."""
    settings = {"solver": "sgd", "momentum": 0.0, "learning_rate": "invscaling", "batch_size": 32}
    model, other = (small(MLPRegressor, **settings).partial_fit(X, y) for _ in range(2))
    failure(model)
    assert model.t_ == other.t_
    model.partial_fit(X, y)
    other.partial_fit(X, y)
    assert (model.t_, model.loss_curve_, model.n_iter_) == (other.t_, other.loss_curve_, other.n_iter_)
    for part, wanted in zip(model.coefs_, other.coefs_, strict=True):
        np.testing.assert_array_equal(part, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_partial_fit_is_judged_by_losses_as_the_next_one_is(kind):
    """Where a score was what counted before."""
    model = small(kind, early_stopping=True).fit(X, y).set_params(early_stopping=False)
    fail_to_print(model)
    for _ in range(3):
        model.partial_fit(X, y)
    assert 0 < min(model.loss_curve_[-3:]) == model.best_loss_
    assert model._no_improvement_count < 3


def test_a_partial_fit_within_another_one_is_named():
    class Nested(io.StringIO):
        def write(self, text):
            model.partial_fit(X, y)

    model = small(MLPRegressor).partial_fit(X, y).set_params(verbose=True)
    before = [part.copy() for part in model.coefs_]
    with (
        contextlib.redirect_stdout(Nested()),
        pytest.raises(RuntimeError, match="partial_fit is not possible"),
    ):
        model.partial_fit(X, y)
    for part, wanted in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(part, wanted)
    assert (len(model.loss_curve_), model.t_) == (1, len(X))


def test_outputs_of_other_weights_are_not_taken_for_classes():
    model = small().fit(X, y)
    model.coefs_ = [np.ones((4, 8)), np.ones((8, 2))]
    model.intercepts_ = [np.ones(8), np.ones(2)]
    with pytest.raises(ValueError, match="The model has 3 outputs, but coefs_ are made for 2"):
        model.predict(X)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (None, TypeError, "coefs_ must be a list of arrays, one a layer; got None"),
        ([[[1, 2], [3]], [[1]]], ValueError, r"coefs_\[0\] must be an array of real numbers"),
    ],
)
def test_what_are_no_weights_is_named(weights, error, message):
    model = small().partial_fit(X, y, classes=[0, 1, 2])
    model.coefs_ = weights
    with pytest.raises(error, match=message):
        model.predict(X)
    with pytest.raises(error, match=message):
        model.partial_fit(X, y)


def test_a_model_that_begins_anew_forgets_the_optimizer_too():
    model = small(MLPRegressor).partial_fit(X, y)
    del model.coefs_, model.intercepts_
    assert isinstance(pickle.loads(pickle.dumps(model)), MLPRegressor)
    weights = model.partial_fit(X, y).coefs_[0]
    before = weights.copy()
    model.partial_fit(X, y)
    assert model.coefs_[0] is weights
    assert (weights != before).any()


def test_warnings_point_to_the_line_of_the_user():
    model = small(batch_size=1000)
    with pytest.warns(UserWarning) as told:
        model.fit(X, y).partial_fit(X, y)
        small(solver="lbfgs", early_stopping=True, max_iter=1000, tol=1.0).fit(X, y)
    assert {warning.filename for warning in told} == {__file__}
    clipped = [warning for warning in told if "going to be clipped" in str(warning.message)]
    assert len(clipped) == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_layer_sizes": (5, 5)}, r"hidden_layer_sizes must be .*, \(8,\), .* got \(5, 5\)\. Set"),
        ({"hidden_layer_sizes": (-5,)}, r"hidden_layer_sizes must be > 0, got \[-5\]"),
        ({"dtype": int}, "dtype must be 'float32' or 'float64'"),
    ],
)
def test_what_a_warm_start_cannot_change_is_named(changed, message):
    model = small(warm_start=True).fit(X, y)
    before = [part.copy() for part in model.coefs_]
    with pytest.raises(ValueError, match=message):
        model.set_params(**changed).fit(X, y)
    for part, other in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(part, other)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    ("kind", "shapes", "message"),
    [
        (
            MLPRegressor,
            [(4, 8), (8, 3)],
            "from 4 features to 1 outputs; got 4 and 3: assign",
        ),
        (
            MLPRegressor,
            [(6, 8), (8, 1)],
            "from 4 features to 1 outputs; got 6 and 1: assign",
        ),
        (
            MLPClassifier,
            [(4, 8), (8, 2)],
            "from 4 features to 3 outputs; got 4 and 2: assign",
        ),
        (
            MLPClassifier,
            [(4, 8), (8, 4)],
            "from 4 features to 3 outputs; got 4 and 4: assign",
        ),
        (MLPClassifier, [(8,), (8, 3)], r"coefs_ must hold a matrix .*; got .* shapes \[\(8,\), \(8, 3\)\]"),
        (MLPClassifier, [], r"coefs_ must hold a matrix .*; got .* shapes \[\]"),
    ],
)
def test_weights_from_outside_have_to_fit_the_data(kind, shapes, message, solver, partial):
    """Machine code believes the sizes that it is told: of other outputs, it would write where nothing is."""
    if partial and solver == "lbfgs":
        solver = "sgd"
    model = small(kind, warm_start=not partial, solver=solver).fit(X, y)
    model.coefs_ = [np.ones(shape) for shape in shapes]
    model.intercepts_ = [np.ones(shape[-1]) for shape in shapes]
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X, y) if partial else model.fit(X, y)
    assert [weights.shape for weights in model.coefs_] == shapes


def test_weights_that_do_not_follow_each_other_are_named_as_they_were_assigned():
    model = small().fit(X, y)
    model.intercepts_ = model.intercepts_[:1]
    with pytest.raises(ValueError, match="biases must have the shapes") as caught:
        model.predict(X)
    assert "biases those to intercepts_" in caught.value.__notes__[0]


def test_a_failed_warm_start_keeps_the_old_model():
    model = small(MLPRegressor, solver="sgd", warm_start=True).fit(X, y)
    before = model.predict(X)
    with pytest.raises(ValueError, match="non-finite"):
        model.set_params(learning_rate_init=1e100).fit(X * 1e50, y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_other_outputs_than_before_are_refused():
    model = small(MLPRegressor, warm_start=True).fit(X, X[:, :2])
    with pytest.raises(ValueError, match="y has 1 outputs, but the model was fitted with 2"):
        model.fit(X, y)
    with pytest.raises(ValueError, match="y has 1 outputs"):
        model.partial_fit(X, y)


def test_partial_fit_exists_for_stochastic_solvers_alone():
    for kind in KINDS:
        assert hasattr(small(kind), "partial_fit")
        assert not hasattr(small(kind, solver="lbfgs"), "partial_fit")


def test_one_class_is_learned_as_in_scikit_learn():
    model = small().fit(X, np.full(150, "only"))
    original = OriginalClassifier(hidden_layer_sizes=(8,), max_iter=10, random_state=0).fit(
        X, np.full(150, "only")
    )
    np.testing.assert_array_equal(model.predict(X), original.predict(X))
    np.testing.assert_allclose(model.predict_proba(X), original.predict_proba(X), rtol=1e-9)
