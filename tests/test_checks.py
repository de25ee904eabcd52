"""What the border refuses, where the engine would read or write out of its arrays, or learn nothing in
silence.
"""

import numpy as np
import pytest
import scipy.sparse

from fastnn import SGD, Adam, Architecture, MLPClassifier, MLPRegressor, Network, Trainer, checks

X = np.arange(15.0, dtype=np.float32).reshape(3, 5) / 15


def network():
    return Network.initialize(Architecture((5, 4, 1)), seed=0)


def trainer(**options):
    return Trainer(network(), Adam(), **options)


def broken(column):
    """CSR of (3, 5) with an entry in a column that isn't there; SciPy doesn't look."""
    indices, starts = np.array([0, column, 2]), np.array([0, 1, 2, 3])
    return scipy.sparse.csr_matrix((np.ones(3, np.float32), indices, starts), shape=(3, 5))


@pytest.mark.parametrize("column", [5, 7, 60_000_000, -1])
@pytest.mark.parametrize(
    "use",
    [
        lambda X: network().forward(X),
        lambda X: Trainer(network(), Adam()).run(X, np.zeros(3), epochs=1),
        lambda X: MLPRegressor(max_iter=1).fit(X, np.zeros(3)),
    ],
)
def test_sparse_columns_outside_of_the_matrix_are_refused(use, column):
    with pytest.raises(ValueError, match=r"indices fit its shape \(3, 5\)"):
        use(broken(column))


def test_sparse_row_pointers_beyond_the_entries_are_refused():
    empty = scipy.sparse.csr_matrix((3, 5), dtype=np.float32)
    empty.indptr[1:] = 2
    with pytest.raises(ValueError, match=r"indices fit its shape \(3, 5\)"):
        network().forward(empty)


def test_sparse_rows_with_duplicates_are_summed_although_their_flag_says_there_are_none():
    twice = scipy.sparse.csr_matrix(
        (np.ones(12, np.float32), np.zeros(12, int), np.array([0, 12, 12, 12])), shape=(3, 5)
    )
    twice.has_canonical_format = True
    # A dozen operations in float32, in another order.
    eps = np.finfo(np.float32).eps
    np.testing.assert_allclose(
        network().forward(twice), network().forward(twice.toarray()), rtol=0, atol=12 * eps
    )


@pytest.mark.parametrize("fit", ["trainer", "estimator"])
def test_weights_that_are_too_small_to_count_are_refused(fit):
    weight = np.full(3, 1e-44)
    with pytest.raises(ValueError, match="sample_weight must"):
        if fit == "trainer":
            Trainer(network(), SGD()).run(X, np.zeros(3), weight, epochs=1)
        else:
            MLPRegressor(max_iter=1).fit(X, np.zeros(3), sample_weight=weight)


def test_more_threads_than_tiles_are_not_started():
    model = MLPClassifier(max_iter=2, n_iter_no_change=5, random_state=0, n_threads=3000)
    y = np.arange(600) % 2
    rows = np.random.RandomState(0).rand(600, 5)
    with pytest.warns(Warning, match="Maximum iterations"):
        model.fit(rows, y)
    assert model.predict_proba(rows).shape == (600, 2)
    assert all(threads <= 600 for _, threads in model._network.predictor._free)


def test_epochs_beyond_an_int64_are_as_good_as_for_ever():
    trainer = Trainer(network(), SGD(), n_iter_no_change=1, tol=1.0)
    assert trainer.run(X, np.zeros(3), epochs=10**19) == "no_improvement"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Trainer(None, Adam()), TypeError, "network must be a fastnn.Network; got None"),
        (lambda: Trainer(network(), "adam"), TypeError, "optimizer must be .*; got 'adam'"),
        (lambda: trainer(random_state="a"), ValueError, "random_state must be .*; got 'a'"),
        (lambda: trainer(n_threads=True), ValueError, "n_threads must be .*; got True"),
        (lambda: trainer(loss_scale=np.nan), ValueError, "loss_scale must be .*; got nan"),
        (lambda: trainer().run(X, np.zeros(3), epochs=True), ValueError, "epochs must be .*; got True"),
        (lambda: trainer().run(X, np.zeros(3), epochs=1, score=5), TypeError, "score must be .*; got 5"),
        (lambda: network().loss(X, np.zeros(3), alpha=-5), ValueError, "alpha must be .*; got -5"),
        (lambda: network().loss(X, np.zeros(3), alpha=np.nan), ValueError, "alpha must be .*; got nan"),
        (lambda: network().forward(X.astype(str)), ValueError, "X must be an array of real numbers"),
        (lambda: network().forward(X.astype("datetime64[s]")), ValueError, "X must be an array of real"),
        (lambda: Network.initialize(Architecture((2, 1)), seed=1.5), ValueError, "seed must be .*; got 1.5"),
    ],
)
def test_wrong_kinds_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 7, checks.SMALL, checks.SMALL + 1, 100_003])
def test_finite_numbers_are_told_from_others_whatever_their_size(size, dtype):
    numbers = np.full(size, np.finfo(dtype).max, dtype)  # neither their sum nor their squares are finite
    assert checks.is_finite(numbers)
    assert checks.is_finite(numbers[::-2])
    for bad in (np.nan, np.inf, -np.inf) if size else ():
        spoilt = np.zeros(size, dtype)
        spoilt[size // 2] = bad
        assert not checks.is_finite(spoilt)
        spoilt[0] = -bad  # infinities that cancel out
        assert not checks.is_finite(spoilt)
