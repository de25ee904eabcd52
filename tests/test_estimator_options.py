"""What scikit-learn's MLPs do not have: class weights, validation sets, metrics, time limits, callbacks."""

import sys
import warnings

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, mean_squared_error, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from fastnn import Architecture, MLPClassifier, MLPRegressor
from fastnn.estimators._metrics import accuracy, mean_loss, r_squared
from fastnn.estimators._validation import Rows

UNCONVERGED = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = load_iris(return_X_y=True)
TRAIN, VALIDATION = np.arange(150) % 3 > 0, np.arange(150) % 3 == 0
HAS_CALLBACKS = hasattr(MLPClassifier, "set_callbacks")


def small(kind=MLPClassifier, **parameters):
    return kind(**{"hidden_layer_sizes": (8,), "max_iter": 20, "random_state": 0, **parameters})


def assert_equal_models(first, second):
    for part, other in zip(first.coefs_ + first.intercepts_, second.coefs_ + second.intercepts_, strict=True):
        np.testing.assert_array_equal(part, other)


@UNCONVERGED
@pytest.mark.parametrize("sample_weight", [None, np.linspace(0.5, 2, 120)])
@pytest.mark.parametrize("class_weight", ["balanced", {0: 3.0, 2: 0.5}])
def test_class_weight_is_a_factor_of_the_sample_weights(class_weight, sample_weight):
    rows = slice(0, 120)  # 50, 50 and 20 of the three classes
    own = np.ones(120) if sample_weight is None else sample_weight
    factor = compute_sample_weight(class_weight, y[rows])
    if class_weight == "balanced":
        totals = np.bincount(y[rows], weights=own)
        factor = (own.sum() / (3 * totals))[y[rows]]
    model = small(class_weight=class_weight).fit(X[rows], y[rows], sample_weight)
    expected = small().fit(X[rows], y[rows], own * factor)
    np.testing.assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-12)


@UNCONVERGED
def test_class_weight_by_dict_works_with_partial_fit():
    model = small(class_weight={0: 2.0}).partial_fit(X, y, classes=[0, 1, 2])
    expected = small().partial_fit(X, y, np.where(y == 0, 2.0, 1.0), classes=[0, 1, 2])
    assert_equal_models(model, expected)


@UNCONVERGED
def test_a_validation_set_is_recorded_and_changes_nothing():
    model = small().fit(X[TRAIN], y[TRAIN], X_val=X[VALIDATION], y_val=y[VALIDATION])
    assert_equal_models(model, small().fit(X[TRAIN], y[TRAIN]))
    assert len(model.validation_loss_curve_) == model.n_iter_
    expected = log_loss(y[VALIDATION], model.predict_proba(X[VALIDATION]))
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-9)
    assert model.validation_scores_ is None


@UNCONVERGED
def test_losses_of_a_validation_set_lie_beside_those_of_training():
    options = {"X_val": X[VALIDATION], "y_val": y[VALIDATION]}
    model = small(max_iter=3, warm_start=True).fit(X[TRAIN], y[TRAIN], **options)
    model.fit(X[TRAIN], y[TRAIN]).partial_fit(X[TRAIN], y[TRAIN]).fit(X[TRAIN], y[TRAIN], **options)
    assert len(model.validation_loss_curve_) == len(model.loss_curve_) == 10
    assert np.isnan(model.validation_loss_curve_).tolist() == [False] * 3 + [True] * 4 + [False] * 3


@UNCONVERGED
def test_a_validation_set_takes_the_place_of_the_split():
    options = {"X_val": X[VALIDATION], "y_val": y[VALIDATION]}
    model = small(early_stopping=True, n_iter_no_change=3, max_iter=200, learning_rate_init=0.01)
    model.fit(X[TRAIN], y[TRAIN], **options)
    best = max(model.validation_scores_)
    assert model.best_validation_score_ == best
    assert accuracy_score(y[VALIDATION], model.predict(X[VALIDATION])) == pytest.approx(best)
    assert model.t_ == model.n_iter_ * TRAIN.sum()


@UNCONVERGED
def test_a_validation_set_works_with_every_solver_and_with_weights():
    weights = np.linspace(1, 2, VALIDATION.sum())
    options = {"X_val": X[VALIDATION], "y_val": y[VALIDATION], "sample_weight_val": weights}
    model = small(solver="lbfgs").fit(X[TRAIN], y[TRAIN], **options)
    expected = log_loss(y[VALIDATION], model.predict_proba(X[VALIDATION]), sample_weight=weights)
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-6)


@UNCONVERGED
@pytest.mark.skipif(
    tuple(int(part) for part in sklearn.__version__.split(".")[:2]) < (1, 6), reason="no transform_input"
)
def test_a_pipeline_transforms_the_validation_set():
    with sklearn.config_context(enable_metadata_routing=True):
        net = small().set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), net, transform_input=["X_val"])
        pipeline.fit(X[TRAIN], y[TRAIN], X_val=X[VALIDATION], y_val=y[VALIDATION])
    scaled = pipeline[0].transform(X[VALIDATION])
    expected = log_loss(y[VALIDATION], pipeline[1].predict_proba(scaled))
    assert pipeline[1].validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-9)


@UNCONVERGED
@pytest.mark.parametrize(
    ("metric", "measure"),
    [
        ("score", lambda m: accuracy_score(y[VALIDATION], m.predict(X[VALIDATION]))),
        ("loss", lambda m: -log_loss(y[VALIDATION], m.predict_proba(X[VALIDATION]))),
        ("balanced_accuracy", lambda m: balanced_accuracy_score(y[VALIDATION], m.predict(X[VALIDATION]))),
        (lambda m, A, b: -np.abs(m.predict_proba(A)).max(), lambda m: -m.predict_proba(X[VALIDATION]).max()),
    ],
)
def test_early_stopping_keeps_the_best_by_the_chosen_metric(metric, measure):
    model = small(
        early_stopping=True, early_stopping_metric=metric, n_iter_no_change=4, learning_rate_init=0.05
    )
    model.fit(X[TRAIN], y[TRAIN], X_val=X[VALIDATION], y_val=y[VALIDATION])
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert measure(model) == pytest.approx(model.best_validation_score_, rel=1e-9)


@UNCONVERGED
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_time_limit_ends_training_with_a_usable_model(solver):
    A, b = load_diabetes(return_X_y=True)
    model = small(MLPRegressor, solver=solver, max_time=0.2, tol=0.0, hidden_layer_sizes=(100, 100))
    model.set_params(max_iter=10**6, n_iter_no_change=10**6, max_fun=10**6)
    with pytest.warns(ConvergenceWarning, match="max_time"):
        model.fit(A, b / 100)
    assert 0 < model.n_iter_ < 10**6
    assert np.isfinite(model.predict(A)).all()


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_a_time_limit_of_nothing_still_gives_a_model(solver):
    rows = np.random.RandomState(0).uniform(size=(20_000, 50))
    model = small(MLPRegressor, solver=solver, batch_size=1, max_time=0.0, max_iter=1000)
    with pytest.warns(ConvergenceWarning, match="max_time"):
        model.fit(rows, rows[:, 0])
    assert np.isfinite(model.predict(rows)).all()


class Recorder:
    """A callback that keeps what it is told, and asks to stop after some epochs."""

    def __init__(self, stop_after=None):
        self.calls, self.scores, self.stop_after = [], [], stop_after

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.calls.append(f"end {context.task_name}")
        if fitted_estimator is not None:
            self.scores.append(fitted_estimator.score(X, y))
        return self.stop_after is not None and self.calls.count("end epoch") >= self.stop_after


needs_callbacks = pytest.mark.skipif(not HAS_CALLBACKS, reason="scikit-learn before 1.9 has no callbacks")


@needs_callbacks
@UNCONVERGED
@pytest.mark.filterwarnings("ignore:lbfgs")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks_see_every_epoch_with_a_model_that_predicts(solver):
    recorder = Recorder()
    model = small(max_iter=5, solver=solver).set_callbacks(recorder).fit(X, y)
    assert recorder.calls[:2] == ["setup", "begin fit"]
    assert recorder.calls[-2:] == ["end fit", "teardown"]
    assert recorder.calls.count("begin epoch") == recorder.calls.count("end epoch") == 5
    assert recorder.scores[-1] == model.score(X, y)
    assert_equal_models(model, small(max_iter=5, solver=solver).fit(X, y))


@needs_callbacks
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_callback_can_stop_training(solver):
    model = small(solver=solver).set_callbacks(Recorder(stop_after=3)).fit(X, y)
    assert model.n_iter_ == 3


@needs_callbacks
def test_callbacks_are_torn_down_when_fit_fails():
    recorder = Recorder()
    with pytest.raises(ValueError, match="NaN"):
        small().set_callbacks(recorder).fit(np.full((4, 2), np.nan), [0, 1, 0, 1])
    assert recorder.calls[-1] == "teardown"


@needs_callbacks
@UNCONVERGED
def test_scoring_monitor_and_progress_bar_attach_and_work(capsys):
    from sklearn.callback import ProgressBar, ScoringMonitor

    monitor = ScoringMonitor(scoring="accuracy")
    callbacks = [monitor]
    if "rich" in sys.modules or pytest.importorskip("rich"):
        callbacks.append(ProgressBar())
    model = small(max_iter=6).set_callbacks(*callbacks).fit(X, y)
    epochs = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(epochs) == 6
    assert epochs[-1] == pytest.approx(model.score(X, y))
    assert "MLPClassifier" in capsys.readouterr().out


@UNCONVERGED
def test_ctrl_c_leaves_a_usable_model():
    class Interrupter:
        def __init__(self):
            self.scores = 0

        def __call__(self, model, A, b):
            self.scores += 1
            if self.scores == 4:
                raise KeyboardInterrupt
            return model.score(A, b)

    model = small(early_stopping=True, early_stopping_metric=Interrupter(), n_iter_no_change=100)
    with pytest.warns(UserWarning, match="Training interrupted by user."):
        model.fit(X, y)
    assert len(model.validation_scores_) == 3
    assert np.isfinite(model.predict_proba(X)).all()


def test_ctrl_c_in_partial_fit_is_told():
    model = small().partial_fit(X, y, classes=np.unique(y))
    run, taken = model._optimizer._slices, []

    def interrupt(*arguments):
        run(*arguments)
        taken.append(len(model.loss_curve_))
        raise KeyboardInterrupt

    model._optimizer._slices = interrupt
    with pytest.warns(UserWarning, match="Training interrupted by user."):
        model.partial_fit(X, y)
    assert len(taken) == 1
    assert np.isfinite(model.predict_proba(X)).all()


def test_a_warning_points_to_the_line_that_has_called_fit():
    with pytest.warns(ConvergenceWarning) as caught:
        small(max_iter=2).fit(X, y)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_warning_that_is_an_error_leaves_the_model(solver):
    model = small(solver=solver, max_iter=2)
    with pytest.raises(ConvergenceWarning):
        model.fit(X, y)
    assert model.n_iter_ == 2
    assert np.isfinite(model.predict_proba(X)).all()


@pytest.mark.parametrize("weights", [None, np.linspace(0.1, 2, 30)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_metrics_are_scikit_learns(outputs, weights):
    random = np.random.RandomState(0)
    targets, predictions = random.normal(size=(2, 30, outputs))
    rows = Rows(None, targets, weights)
    expected = r2_score(targets, predictions, sample_weight=weights)
    assert r_squared(predictions, rows) == pytest.approx(expected, rel=1e-12)
    numbers = random.randint(0, 3, size=(30, 1))
    p = random.dirichlet([1, 1, 1], size=30)
    rows = Rows(None, numbers.astype(float), weights)
    expected = accuracy_score(numbers, p.argmax(axis=1), sample_weight=weights)
    assert accuracy(p, rows) == pytest.approx(expected, rel=1e-12)
    rows = Rows(None, targets, weights)
    expected = 0.5 * mean_squared_error(targets, predictions, sample_weight=weights)
    assert mean_loss(Architecture((1, outputs)), predictions, rows) == pytest.approx(expected, rel=1e-12)


def test_early_stopping_with_lbfgs_says_that_it_has_no_effect():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with pytest.warns(UserWarning, match="early_stopping has no effect with solver='lbfgs'"):
            small(solver="lbfgs", early_stopping=True).fit(X, y)


@UNCONVERGED
def test_a_batch_whose_weights_are_all_zero_is_skipped():
    weights = np.ones(150)
    weights[:32] = 0
    model = small(batch_size=32, shuffle=False).fit(X, y, weights)
    assert np.isfinite(model.loss_curve_).all()
