"""scikit-learn's checks for estimators of third parties, in many configurations, with no expected failure."""

import warnings

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier as OriginalClassifier
from sklearn.neural_network import MLPRegressor as OriginalRegressor
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from threadpoolctl import threadpool_limits

from fastnn import MLPClassifier, MLPRegressor

CONFIGURATIONS = [
    {},
    {"solver": "sgd", "learning_rate_init": 0.01},
    {"solver": "sgd", "learning_rate": "adaptive", "momentum": 0.0, "learning_rate_init": 0.1},
    {"solver": "lbfgs"},
    {"hidden_layer_sizes": (20, 10), "activation": "tanh", "learning_rate_init": 0.01},
    {"hidden_layer_sizes": (), "batch_size": "full", "learning_rate_init": 0.02},
    {"activation": "logistic", "learning_rate_init": 0.01, "nesterovs_momentum": False},
    {"activation": "identity", "shuffle": False},
    {"dtype": "float64", "n_threads": 2, "max_time": 60.0, "early_stopping_metric": "loss"},
]
# Where scikit-learn's own estimators fail a check: weights are not the same as repeated rows once a batch, a
# split or the learning rate depends on the number of rows.
HARD_CONFIGURATIONS = [
    {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
    {"early_stopping": True},
    {"warm_start": True},
    {"solver": "sgd", "early_stopping": True, "warm_start": True},
]


EQUIVALENCE = "check_sample_weight_equivalence"


def configured(kind, configuration):
    return kind(**{"max_iter": 100, "random_state": 0, **configuration})


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        *(configured(kind, each) for kind in (MLPClassifier, MLPRegressor) for each in CONFIGURATIONS),
        # A probability has to stay below 1, also when it is rounded to single precision.
        configured(MLPClassifier, {"solver": "lbfgs", "dtype": "float32", "alpha": 0.1}),
        configured(MLPRegressor, {"solver": "lbfgs", "dtype": "float32"}),
    ]
)
def test_scikit_learns_checks(estimator, check):
    if estimator.dtype == "float32" and check.func.__name__.startswith(EQUIVALENCE):
        # It depends on how the CPU adds in NumPy and SciPy. What can be asked is asked below.
        pytest.skip("wants outputs alike within 1e-7, less than the precision of float32")
    check(estimator)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_weights_are_as_good_as_repeated_rows_in_single_precision(kind):
    rng = np.random.default_rng(0)
    X, y, weights = rng.normal(size=(15, 10)), np.arange(15) % 3, rng.integers(0, 5, size=15)
    # Few steps: what rounding adds to the gradients grows with each.
    settings = {"solver": "lbfgs", "dtype": "float32", "alpha": 0.1, "max_iter": 5}
    weighted = configured(kind, settings).fit(X, y, sample_weight=weights)
    repeated = configured(kind, settings).fit(X.repeat(weights, axis=0), y.repeat(weights))
    for left, right in zip(weighted.coefs_, repeated.coefs_, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)
    unweighted = configured(kind, settings).fit(X, y)
    assert np.abs(unweighted.coefs_[0] - weighted.coefs_[0]).max() > 1e-2


def outcomes(estimator):
    """The result of every check, by its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    return {result["check_name"]: result["status"] for result in results}


@pytest.mark.parametrize("configuration", HARD_CONFIGURATIONS, ids=str)
@pytest.mark.parametrize(
    ("kind", "original"), [(MLPClassifier, OriginalClassifier), (MLPRegressor, OriginalRegressor)]
)
def test_nothing_fails_that_the_original_passes(kind, original, configuration):
    # A subclass, because scikit-learn checks its own classes with other parameters.
    original = type(original.__name__, (original,), {"__init__": original.__init__})
    with threadpool_limits(1):
        ours, theirs = (outcomes(configured(each, configuration)) for each in (kind, original))
    assert set(theirs) <= set(ours)
    assert [name for name in theirs if theirs[name] == "passed" and ours[name] != "passed"] == []
