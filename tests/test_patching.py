"""Adoption without editing code: patching scikit-learn, running a script patched, converting models."""

import copy
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
import sklearn.neural_network
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier as OriginalClassifier
from sklearn.neural_network import MLPRegressor as OriginalRegressor
from sklearn.neural_network import _multilayer_perceptron as home

import fastnn

X, y = load_iris(return_X_y=True)
KINDS = [(fastnn.MLPClassifier, home.MLPClassifier), (fastnn.MLPRegressor, home.MLPRegressor)]
STOCHASTIC = [
    {"solver": "adam"},
    {"solver": "sgd"},
    {"solver": "sgd", "momentum": 0.0, "learning_rate": "invscaling"},
]


@pytest.fixture
def patched():
    fastnn.patch_sklearn(verbose=False)
    yield
    fastnn.unpatch_sklearn()


@pytest.fixture
def consumer():
    """A module that imported the class before anything was patched."""
    module = types.ModuleType("consumer_of_scikit_learn")
    exec("from sklearn.neural_network import MLPClassifier as Net", module.__dict__)
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


@pytest.mark.usefixtures("patched")
def test_a_patched_import_gets_fastnn():
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    assert MLPClassifier is fastnn.MLPClassifier
    assert MLPRegressor is fastnn.MLPRegressor


def test_names_imported_before_are_replaced_and_put_back(consumer):
    original = consumer.Net
    fastnn.patch_sklearn(verbose=False)
    assert consumer.Net is fastnn.MLPClassifier
    fastnn.unpatch_sklearn()
    assert consumer.Net is original
    assert sklearn.neural_network.MLPClassifier is home.MLPClassifier is original


def test_patching_twice_is_undone_at_once():
    fastnn.patch_sklearn(verbose=False)
    fastnn.patch_sklearn(verbose=False)
    fastnn.unpatch_sklearn()
    assert sklearn.neural_network.MLPRegressor is home.MLPRegressor
    fastnn.unpatch_sklearn()


def test_a_name_changed_by_someone_else_is_left_alone(consumer):
    fastnn.patch_sklearn(verbose=False)
    consumer.Net = int
    fastnn.unpatch_sklearn()
    assert consumer.Net is int


def test_patching_says_so_in_one_line_on_stderr(capsys):
    fastnn.patch_sklearn()
    fastnn.unpatch_sklearn()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "fastnn" in printed.err


@pytest.mark.usefixtures("patched")
def test_pickles_of_the_originals_load_as_originals():
    original = home.MLPClassifier(max_iter=500, hidden_layer_sizes=3, tol=0.1).fit(X, y)
    assert type(pickle.loads(pickle.dumps(original))) is home.MLPClassifier


SCRIPT = """
import sys
from sklearn.neural_network import MLPClassifier
print(MLPClassifier.__module__.split('.')[0], sys.argv[1:], __name__)
"""


def run_patch(*arguments):
    return subprocess.run([sys.executable, "-m", "fastnn.patch", *arguments], capture_output=True, text=True)


def test_a_script_runs_patched_with_its_arguments(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = run_patch(str(script), "--rows", "3")
    assert (done.returncode, done.stdout) == (0, "fastnn ['--rows', '3'] __main__\n")
    assert done.stderr.count("\n") == 1


def test_a_missing_script_is_named(tmp_path):
    done = run_patch(str(tmp_path / "nothing.py"))
    assert done.returncode == 2
    assert "nothing.py" in done.stderr


def task(ours, parameters):
    target = y if ours is fastnn.MLPClassifier else y.astype(float)
    parameters = {"hidden_layer_sizes": (5, 4), "max_iter": 8, "n_iter_no_change": 1000, **parameters}
    return parameters, target


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("parameters", STOCHASTIC, ids=str)
@pytest.mark.parametrize(("ours", "original"), KINDS)
def test_a_model_from_scikit_learn_goes_on_as_the_original_does(ours, original, parameters):
    parameters, target = task(ours, parameters)
    theirs = original(random_state=1, **parameters).fit(X, target)
    mine = ours.from_sklearn(theirs)
    assert mine.get_params()["hidden_layer_sizes"] == (5, 4)
    np.testing.assert_allclose(mine.predict(X), theirs.predict(X), rtol=1e-12)
    for model in (mine, theirs):
        model.partial_fit(X, target)
    assert mine.loss_curve_ == pytest.approx(theirs.loss_curve_, rel=1e-10)
    assert mine.t_ == theirs.t_
    for part, other in zip(mine.coefs_ + mine.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("parameters", STOCHASTIC, ids=str)
@pytest.mark.parametrize(("ours", "original"), KINDS)
def test_a_model_for_scikit_learn_goes_on_as_ours_does(ours, original, parameters):
    parameters, target = task(ours, parameters)
    mine = ours(random_state=1, **parameters).fit(X, target)
    theirs = mine.to_sklearn()
    assert type(theirs) is original
    np.testing.assert_allclose(mine.predict(X), theirs.predict(X), rtol=1e-12)
    for model in (mine, theirs):
        model.partial_fit(X, target)
    for part, other in zip(mine.coefs_ + mine.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("fitted", "now"), [("adam", "sgd"), ("adam", "lbfgs"), ("sgd", "adam")])
@pytest.mark.parametrize(("ours", "original"), KINDS)
def test_a_model_whose_solver_was_changed_is_converted(ours, original, fitted, now):
    parameters, target = task(ours, {"solver": fitted})
    theirs = original(random_state=1, **parameters).fit(X, target).set_params(solver=now)
    mine = ours.from_sklearn(theirs)
    np.testing.assert_allclose(mine.predict(X), theirs.predict(X), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("ours", "original"), KINDS)
def test_there_and_back_is_the_same_model(ours, original):
    mine = ours(hidden_layer_sizes=(6,), max_iter=5, random_state=0, early_stopping=True).fit(X, y)
    back = ours.from_sklearn(copy.deepcopy(mine.to_sklearn()))
    for name in (
        "loss_curve_",
        "validation_scores_",
        "n_iter_",
        "t_",
        "best_loss_",
        "n_features_in_",
        "out_activation_",
    ):
        assert getattr(back, name) == getattr(mine, name)
    for part, other in zip(mine.coefs_ + mine.intercepts_, back.coefs_ + back.intercepts_, strict=True):
        np.testing.assert_array_equal(part, other)


def test_an_unfitted_model_is_converted_too():
    mine = fastnn.MLPClassifier.from_sklearn(OriginalClassifier(alpha=0.5))
    assert (mine.alpha, hasattr(mine, "coefs_")) == (0.5, False)
    assert mine.to_sklearn().alpha == 0.5


def test_the_other_class_is_refused():
    with pytest.raises(TypeError, match=r"needs a sklearn\.neural_network\.MLPClassifier; got one of"):
        fastnn.MLPClassifier.from_sklearn(OriginalRegressor())


def test_what_scikit_learn_has_no_parameter_for_is_named():
    mine = fastnn.MLPClassifier(class_weight="balanced", max_time=9.0, n_threads=1, dtype="float32")
    with pytest.warns(UserWarning, match=r"has no class_weight='balanced', max_time=9.0: its next fit"):
        mine.to_sklearn()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_subclass_with_a_constructor_of_its_own_is_converted():
    class Small(fastnn.MLPClassifier):
        def __init__(self, units=5):
            super().__init__((units,), max_iter=9, random_state=0)
            self.units = units

    mine = Small(7).fit(X, y)
    theirs = mine.to_sklearn()
    assert theirs.hidden_layer_sizes == (7,)
    np.testing.assert_allclose(theirs.predict_proba(X), mine.predict_proba(X), rtol=1e-9)


def test_a_batch_size_that_scikit_learn_does_not_know_is_refused():
    with pytest.raises(ValueError, match="batch_size='full'"):
        fastnn.MLPClassifier(batch_size="full").to_sklearn()


@pytest.mark.usefixtures("patched")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_converted_model_works_in_scikit_learns_tools_while_patched():
    original = fastnn.MLPClassifier(max_iter=30, random_state=0).fit(X, y).to_sklearn()
    assert type(original) is home.MLPClassifier
    assert cross_val_score(original, X, y, cv=2).shape == (2,)
