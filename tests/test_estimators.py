"""MLPClassifier and MLPRegressor on real data, in scikit-learn's tools, saved, copied and edited."""

import copy
import itertools
import pickle
import threading
import tracemalloc

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_linnerud,
    load_wine,
)
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_val_score,
    learning_curve,
    train_test_split,
)
from sklearn.neural_network import MLPClassifier as ScikitLearnClassifier
from sklearn.neural_network import MLPRegressor as ScikitLearnRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn import MLPClassifier, MLPRegressor

UNCONVERGED = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
KINDS = [MLPClassifier, MLPRegressor]
IRIS = load_iris(return_X_y=True)


def small(kind, **parameters):
    return kind(**{"hidden_layer_sizes": (8,), "max_iter": 20, "random_state": 0, **parameters})


def weights_of(model):
    return [part.copy() for part in model.coefs_ + model.intercepts_]


def assert_equal_weights(first, second):
    for part, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(part, other)


@UNCONVERGED
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("load", "model", "floor"),
    [
        (load_iris, MLPClassifier((20,), learning_rate_init=0.01, max_iter=300), 0.93),
        (load_wine, MLPClassifier((20,), learning_rate_init=0.01), 0.95),
        (load_breast_cancer, MLPClassifier((20,)), 0.95),
        (load_digits, MLPClassifier((100,), max_iter=60), 0.96),
        (load_diabetes, MLPRegressor("squared_error", (20,), alpha=10.0), 0.40),
    ],
)
def test_held_out_quality(load, model, floor, dtype):
    X, y = load(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=1)
    if isinstance(model, MLPRegressor):
        centre, scale = y_train.mean(), y_train.std()
        y_train, y_test = (y_train - centre) / scale, (y_test - centre) / scale
    pipeline = make_pipeline(StandardScaler(), clone(model).set_params(random_state=0, dtype=dtype))
    assert pipeline.fit(X_train, y_train).score(X_test, y_test) >= floor


@UNCONVERGED
def test_text_labels_come_back_as_text():
    X, y = IRIS
    names = load_iris().target_names[y]
    model = small(MLPClassifier).fit(X, names)
    assert model.classes_.tolist() == sorted(set(names))
    np.testing.assert_array_equal(model.predict(X), model.classes_[model.predict_proba(X).argmax(axis=1)])


@UNCONVERGED
def test_several_outputs():
    X, y = load_linnerud(return_X_y=True)
    assert small(MLPRegressor).fit(X, y).predict(X).shape == y.shape


@UNCONVERGED
@pytest.mark.parametrize("classes", [2, 3])
def test_decision_function_is_the_logit_of_predict_proba(classes):
    X, y = IRIS
    model = small(MLPClassifier).fit(X[y < classes], y[y < classes])
    logits, p = model.decision_function(X), model.predict_proba(X)
    if classes == 2:
        np.testing.assert_allclose(logits, np.log(p[:, 1] / p[:, 0]), rtol=1e-9)
    else:
        np.testing.assert_allclose(logits, np.log(p), rtol=1e-9, atol=1e-12)


@UNCONVERGED
@pytest.mark.parametrize("kind", KINDS)
def test_float32_in_gives_float32_out_whatever_y_is(kind):
    X, y = IRIS
    model = small(kind).fit(X.astype(np.float32), y.astype(np.float64))
    assert {part.dtype for part in weights_of(model)} == {np.dtype(np.float32)}
    outputs = model.predict_proba(X) if kind is MLPClassifier else model.predict(X)
    assert outputs.dtype == np.float32


@UNCONVERGED
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_dtype_overrules_the_data(solver):
    X, y = IRIS
    assert small(MLPRegressor, dtype="float32", solver=solver).fit(X, y).predict(X).dtype == np.float32
    assert small(MLPRegressor, dtype=np.float64).fit(X.astype(np.float32), y).coefs_[0].dtype == np.float64


@UNCONVERGED
@pytest.mark.parametrize("kind", KINDS)
def test_coefs_are_views_that_can_be_edited_in_place(kind):
    X, y = IRIS
    model = small(kind, learning_rate_init=0.05).fit(X, y)
    before = model.predict(X)
    model.coefs_[-1][:] = 0
    model.intercepts_[-1][:] = 0
    assert len(np.unique(model.predict(X))) == 1
    assert len(np.unique(before)) > 1


@UNCONVERGED
@pytest.mark.parametrize("kind", KINDS)
def test_assigned_coefs_are_used_and_trained_on(kind):
    X, y = IRIS
    model, other = small(kind).fit(X, y), small(kind, random_state=1).fit(X, y)
    model.coefs_, model.intercepts_ = [w.copy() for w in other.coefs_], [b.copy() for b in other.intercepts_]
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    model.coefs_[0] = np.zeros_like(model.coefs_[0])
    assert len(np.unique(model.predict(X))) == 1
    model.partial_fit(X, y)
    assert model.coefs_[0].any()


@UNCONVERGED
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_a_copy_predicts_the_same_and_trains_apart(kind, duplicate):
    X, y = IRIS
    model = small(kind).fit(X, y)
    twin = duplicate(model)
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    before = weights_of(model)
    twin.partial_fit(X, y)
    assert_equal_weights(weights_of(model), before)


@UNCONVERGED
@pytest.mark.parametrize(
    "parameters", [{"solver": "adam"}, {"solver": "sgd", "learning_rate": "invscaling"}], ids=str
)
@pytest.mark.parametrize("kind", KINDS)
def test_online_learning_goes_on_after_a_pickle_as_if_nothing_had_happened(kind, parameters):
    X, y = IRIS
    model = small(kind, **parameters).fit(X, y)
    model.partial_fit(X, y)
    twin = pickle.loads(pickle.dumps(model))
    for _ in range(3):
        model.partial_fit(X, y)
        twin.partial_fit(X, y)
    assert_equal_weights(weights_of(model), weights_of(twin))
    assert (model.t_, model.loss_curve_) == (twin.t_, twin.loss_curve_)


@UNCONVERGED
@pytest.mark.parametrize(
    "changed", [{"solver": "sgd"}, {"solver": "lbfgs"}, {"learning_rate_init": -1}], ids=str
)
def test_a_pickle_loads_whatever_has_been_set_since(changed):
    model = small(MLPClassifier).partial_fit(*IRIS, classes=[0, 1, 2])
    twin = pickle.loads(pickle.dumps(model.set_params(**changed)))
    settings = {"solver": "adam", "learning_rate_init": 0.001}
    for each in (model, twin):
        each.set_params(**settings).partial_fit(*IRIS)
    assert_equal_weights(weights_of(model), weights_of(twin))


@UNCONVERGED
def test_another_loss_counts_from_the_next_fit():
    X, y = IRIS
    model, expected = (small(MLPRegressor, warm_start=True).partial_fit(X, y - 1.0) for _ in range(2))
    twin = pickle.loads(pickle.dumps(model.set_params(loss="poisson")))
    expected.partial_fit(X, y - 1.0)
    for each in (model, twin):  # with targets below 0, which the new loss would refuse
        assert_equal_weights(weights_of(each.partial_fit(X, y - 1.0)), weights_of(expected))
    with pytest.raises(ValueError, match="y must be 0 or more for loss='poisson', got -1"):
        model.fit(X, y - 1.0)
    assert model.fit(X, y).predict(X).min() > 0
    assert model.out_activation_ == "exp"


@UNCONVERGED
@pytest.mark.parametrize("name", ["max_iter", "n_threads", "n_iter_no_change", "batch_size", "tol"])
def test_true_is_one(name):
    settings = {"max_iter": 3, "n_threads": 2}
    models = [small(MLPClassifier, **{**settings, name: one}).fit(*IRIS) for one in (True, 1)]
    assert_equal_weights(*map(weights_of, models))


@UNCONVERGED
@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (MLPClassifier, {"early_stopping_metric": "score"}, {"early_stopping_metric": "loss"}),
        (MLPRegressor, {"loss": "squared_error"}, {"loss": "poisson"}),
        (MLPRegressor, {"early_stopping": True}, {"early_stopping": False}),
    ],
)
def test_what_was_best_by_another_measure_is_forgotten_in_a_warm_start(kind, before, after):
    settings = {"warm_start": True, "early_stopping": kind is MLPClassifier, "n_iter_no_change": 3, **before}
    model = small(kind, max_iter=60, learning_rate_init=0.01, **settings).fit(*IRIS)
    past = len(model.loss_curve_)
    model.set_params(**after, max_iter=6, tol=0.0).fit(*IRIS)
    assert model.n_iter_ == len(model.loss_curve_) - past == 6
    if model.early_stopping:
        assert model.best_validation_score_ == max(model.validation_scores_) < 0
        assert len(model.validation_scores_) == 6
    else:
        assert model.best_loss_ == min(model.loss_curve_[past:])


@UNCONVERGED
@pytest.mark.parametrize("kind", KINDS)
def test_a_warm_start_goes_on_in_the_precision_asked_for(kind):
    """Whatever weights came from outside, also in the next fit and in a copy."""
    model = small(kind, warm_start=True, dtype="float32", alpha=0.1, max_iter=40).fit(*IRIS)
    loss = model.loss_
    model.coefs_ = [weights.astype(float) for weights in model.coefs_]
    for fitted in (model.fit(*IRIS), pickle.loads(pickle.dumps(model)).fit(*IRIS), model.fit(*IRIS)):
        assert {part.dtype for part in weights_of(fitted)} == {np.dtype(np.float32)}
    model.set_params(dtype="float64").fit(*IRIS)
    assert {part.dtype for part in weights_of(model)} == {np.dtype(float)}
    assert model.loss_ < loss
    model.set_params(dtype=None).coefs_ = [weights.astype("float32") for weights in model.coefs_]
    model.intercepts_ = [biases.astype("float32") for biases in model.intercepts_]
    assert model.fit(*IRIS).coefs_[0].dtype == np.float32


@UNCONVERGED
@pytest.mark.parametrize("kind", KINDS)
def test_rows_meet_weights_of_another_precision_that_were_assigned(kind):
    """Rows of the precision that the model had before need a conversion now."""
    X, y = IRIS[0], IRIS[1].astype(float if kind is MLPRegressor else int)
    first = small(kind, max_iter=1).fit(X, y)
    other = copy.deepcopy(first)
    for model, rows in ((first, X), (other, X.astype("float32"))):
        model.coefs_ = [weights.astype("float32") for weights in model.coefs_]
        model.intercepts_ = [biases.astype("float32") for biases in model.intercepts_]
        model.partial_fit(rows, y.astype("float32") if kind is MLPRegressor else y)
    assert_equal_weights(weights_of(first), weights_of(other))


@pytest.mark.parametrize("sizes", [(4, 8, 1), (4, 7, 1)])
def test_a_model_with_assigned_weights_is_copied_without_the_moments_of_others(sizes):
    model = small(MLPRegressor).partial_fit(*IRIS)
    model.coefs_ = [np.full(shape, 0.1) for shape in itertools.pairwise(sizes)]
    model.intercepts_ = [np.zeros(size) for size in sizes[1:]]
    other = pickle.loads(pickle.dumps(model))
    assert_equal_weights(weights_of(model.partial_fit(*IRIS)), weights_of(other.partial_fit(*IRIS)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_history_of_a_copy_grows_by_itself(kind):
    model = small(kind, max_iter=2)
    with pytest.warns(ConvergenceWarning):
        model.fit(*IRIS, X_val=IRIS[0], y_val=IRIS[1])
    model.partial_fit(*IRIS)
    other = copy.copy(model)
    other.partial_fit(*IRIS).partial_fit(*IRIS)
    model.partial_fit(*IRIS)
    assert [len(model.loss_curve_), len(other.loss_curve_)] == [4, 5]
    assert [model.t_, other.t_] == [4 * 150, 5 * 150]
    assert model.validation_loss_curve_ is not other.validation_loss_curve_


@UNCONVERGED
def test_a_metric_that_is_no_longer_used_is_no_obstacle_to_pickling():
    settings = {"early_stopping": True, "warm_start": True, "max_iter": 5}
    model = small(MLPClassifier, **settings, early_stopping_metric=lambda model, X, y: 100.0).fit(*IRIS)
    loaded = pickle.loads(pickle.dumps(model.set_params(early_stopping_metric="score"))).fit(*IRIS)
    assert loaded.best_validation_score_ == max(loaded.validation_scores_) <= 1


@UNCONVERGED
@pytest.mark.parametrize("early_stopping", [False, True])
def test_what_was_best_in_scikit_learn_is_measured_by_its_measure(early_stopping):
    kind, theirs = MLPRegressor, ScikitLearnRegressor
    if early_stopping:
        kind, theirs = MLPClassifier, ScikitLearnClassifier
    settings = {"warm_start": True, "early_stopping": early_stopping, "learning_rate_init": 0.01}
    fitted = small(theirs, **settings, max_iter=60).fit(*IRIS)
    other = {"early_stopping_metric": "loss"} if early_stopping else {"loss": "poisson"}
    model = kind.from_sklearn(fitted).set_params(**other, max_iter=5, n_iter_no_change=2).fit(*IRIS)
    assert model.n_iter_ == 5
    if early_stopping:
        assert model.best_validation_score_ == max(model.validation_scores_) < 0
        # And back: a best that is no accuracy would be beaten by none, or by all.
        with pytest.warns(UserWarning, match="has no early_stopping_metric='loss'"):
            assert model.to_sklearn().best_validation_score_ == -np.inf
    else:
        assert model.best_loss_ == min(model.loss_curve_[-5:])


@UNCONVERGED
def test_the_best_score_is_no_measure_of_losses():
    settings = {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 2, "tol": 0.0}
    model = small(MLPClassifier, early_stopping=True, **settings).fit(*IRIS)
    rate = model._optimizer.learning_rate
    model.set_params(early_stopping=False)
    twin = pickle.loads(pickle.dumps(model))
    for each in (model, twin):
        losses = [each.partial_fit(*IRIS).loss_ for _ in range(8)]
        assert losses == sorted(losses, reverse=True)
        assert each.best_loss_ == losses[-1]
    assert model._optimizer.learning_rate == rate


def test_online_learning_leaves_the_users_generator_alone():
    generator = np.random.RandomState(5)
    model = small(MLPClassifier, random_state=generator).partial_fit(*IRIS, classes=[0, 1, 2])
    before = generator.get_state()[1].copy()
    model.set_params(random_state=0).partial_fit(*IRIS)
    np.testing.assert_array_equal(generator.get_state()[1], before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_keeps_the_mean_of_gradients_when_betas_are_set(kind):
    classes = {"classes": [0, 1, 2]} if kind is MLPClassifier else {}
    model = small(kind).partial_fit(*IRIS, **classes)
    means = [np.array(mean) for mean in model.to_sklearn()._optimizer.ms]
    assert all(np.abs(mean).max() > 0 for mean in means)
    twin = pickle.loads(pickle.dumps(model.set_params(beta_1=0.99, beta_2=0.9)))
    for mean, kept in zip(means, twin.to_sklearn()._optimizer.ms, strict=True):
        np.testing.assert_allclose(kept, mean, rtol=1e-6)


@UNCONVERGED
@pytest.mark.parametrize("kind", KINDS)
def test_set_params_after_fit_leaves_predictions_alone(kind):
    X, y = IRIS
    model = small(kind).fit(X, y)
    before = model.predict(X)
    model.set_params(activation="logistic", **({"loss": "poisson"} if kind is MLPRegressor else {}))
    np.testing.assert_array_equal(model.predict(X), before)
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin.predict(X), before)
        assert twin.activation == "logistic"
    np.testing.assert_allclose(model.to_sklearn().predict(X), before, rtol=1e-9)
    model.coefs_ = [weights.copy() for weights in model.coefs_]
    np.testing.assert_array_equal(model.predict(X), before)
    model.set_params(**({"loss": "squared_error"} if kind is MLPRegressor else {})).fit(X, y)
    other = small(kind, activation="logistic").fit(X, y)
    np.testing.assert_array_equal(model.predict(X), other.predict(X))


@UNCONVERGED
def test_a_pickle_is_hardly_larger_than_the_weights(tmp_path):
    X, y = load_digits(return_X_y=True)
    model = MLPClassifier((200, 100), max_iter=1, dtype="float32").fit(X, y)
    weights = sum(part.nbytes for part in weights_of(model))
    assert len(pickle.dumps(model)) < 1.1 * weights
    joblib.dump(model, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


@UNCONVERGED
@pytest.mark.parametrize("kind", KINDS)
def test_a_clone_is_unfitted_and_keeps_every_parameter(kind):
    model = small(kind, max_time=5, n_threads=1, dtype="float32", early_stopping_metric="loss").fit(*IRIS)
    twin = clone(model)
    assert not hasattr(twin, "coefs_")
    assert twin.get_params() == model.get_params()


@UNCONVERGED
def test_grid_search_and_cross_validation():
    search = GridSearchCV(
        small(MLPClassifier), {"alpha": [1e-4, 1.0], "solver": ["adam", "sgd"]}, cv=3, n_jobs=2
    )
    assert search.fit(*IRIS).best_params_["solver"] in ("adam", "sgd")
    assert cross_val_score(make_pipeline(StandardScaler(), small(MLPClassifier)), *IRIS, cv=3).shape == (3,)
    halving = HalvingGridSearchCV(small(MLPClassifier), {"alpha": [0.1, 1.0, 10.0]}, cv=2, random_state=0)
    assert "alpha" in halving.fit(*IRIS).best_params_
    sizes, *_ = learning_curve(small(MLPClassifier), *IRIS, cv=3, shuffle=True, random_state=0)
    assert len(sizes) == 5


@UNCONVERGED
def test_stacking_and_calibration_by_temperature():
    stack = StackingClassifier([("net", small(MLPClassifier))], LogisticRegression(), cv=3)
    assert stack.fit(*IRIS).score(*IRIS) > 0.6
    try:
        calibrated = CalibratedClassifierCV(small(MLPClassifier, max_iter=100), method="temperature", cv=3)
        probabilities = calibrated.fit(*IRIS).predict_proba(IRIS[0])
    except ValueError:
        pytest.skip("this scikit-learn has no calibration by temperature")
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


@UNCONVERGED
def test_feature_names_of_a_pandas_frame():
    pandas = pytest.importorskip("pandas")
    X, y = IRIS
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = small(MLPClassifier).fit(frame, pandas.Series(y, name="kind"), X_val=frame[:20], y_val=y[:20])
    assert model.feature_names_in_.tolist() == list("abcd")
    np.testing.assert_array_equal(model.predict(frame), small(MLPClassifier).fit(X, y).predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"a": "z"}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)


@UNCONVERGED
def test_feature_names_of_a_polars_frame():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(IRIS[0], schema=list("abcd"))
    if not hasattr(small(ScikitLearnClassifier).fit(frame, IRIS[1]), "feature_names_in_"):
        pytest.skip("this scikit-learn is too old for the polars at hand")
    assert small(MLPClassifier).fit(frame, IRIS[1]).feature_names_in_.tolist() == list("abcd")


@UNCONVERGED
@pytest.mark.parametrize(
    "container", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array, sparse.coo_array]
)
def test_sparse_rows_predict_like_dense_ones(container):
    X, y = load_digits(return_X_y=True)
    model = small(MLPClassifier).fit(container(X), y)
    np.testing.assert_allclose(model.predict_proba(container(X)), model.predict_proba(X), rtol=1e-10)


@UNCONVERGED
@pytest.mark.parametrize(
    "parameters", [{}, {"early_stopping": True}, {"solver": "lbfgs", "max_iter": 2}], ids=str
)
def test_sparse_rows_are_never_made_dense(parameters):
    X = sparse.random_array((20_000, 2_000), density=0.005, format="csr", rng=np.random.default_rng(0))
    y = np.arange(20_000) % 3
    model = small(MLPClassifier, **{"max_iter": 1, **parameters})
    tracemalloc.start()
    try:
        model.fit(X, y).predict(X)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < X.shape[0] * X.shape[1] * X.dtype.itemsize / 10


@UNCONVERGED
def test_many_threads_predict_with_one_model():
    X, y = load_digits(return_X_y=True)
    model = small(MLPClassifier).fit(X, y)
    expected, differences = model.predict_proba(X), []

    def check():
        for start in range(0, 600, 7):
            rows = slice(start, start + 1 + start % 5)
            differences.append(np.abs(model.predict_proba(X[rows]) - expected[rows]).max())

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(differences) == 4 * 86
    assert max(differences) < 1e-12


@UNCONVERGED
@pytest.mark.parametrize("kind", KINDS)
def test_threads_that_train_one_model_online_take_turns(kind):
    X, y = load_digits(return_X_y=True)
    model = small(kind, batch_size=400, n_threads=2).fit(X[:400], y[:400])
    errors = []

    def learn():
        try:
            for _ in range(10):
                model.partial_fit(X, y)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=learn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert model.t_ == 20 * 400 + 40 * len(X)
    assert len(model.loss_curve_) == 60
    assert np.isfinite(model.predict(X)).all()
    assert pickle.loads(pickle.dumps(model)).t_ == model.t_


@UNCONVERGED
@pytest.mark.parametrize("kind", KINDS)
def test_the_result_does_not_depend_on_the_number_of_threads(kind):
    X, y = load_digits(return_X_y=True)
    models = [
        kind(hidden_layer_sizes=(60,), max_iter=2, random_state=0, n_threads=n).fit(X, y) for n in (1, 2)
    ]
    assert_equal_weights(*(weights_of(model) for model in models))


def test_without_callbacks_of_scikit_learn_the_estimators_work():
    assert small(MLPClassifier, tol=1.0, max_iter=100).fit(*IRIS).n_iter_ < 100
