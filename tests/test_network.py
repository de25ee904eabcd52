"""network.py: parameters and their views, forward propagation, copies, and what is refused."""

import copy
import itertools
import pickle
import threading

import joblib
import numpy as np
import pytest
import reference
from cases import ACTIVATIONS, DTYPES, PAIRS, ROWS, WIDTHS, Oracle, draw_data, make_network
from scipy import sparse
from sklearn.neural_network import MLPClassifier, MLPRegressor

from fastnn import Architecture, Network


def layers_of(network, X):
    """[X, a of each layer] by the oracle in double."""
    oracle = Oracle(network)
    names = oracle.settings["activation"], oracle.settings["output_activation"]
    return reference.forward(oracle.weights, oracle.biases, X.astype(float), *names)


def assert_close(actual, expected, dtype):
    """Relative to the largest number: some sqrt(terms) eps a layer, as in test_backprop.py, forward only."""
    assert actual.dtype == dtype
    tolerance = 160 * float(np.finfo(dtype).eps) * np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def padding_of(network):
    """Which numbers of the flat vector belong to no weight and no bias."""
    marked = Network(network.architecture, dtype=network.dtype)
    for view in (*marked.weights, *marked.biases):
        view[...] = 1
    return marked.parameters == 0


@pytest.mark.parametrize("hidden", [(100,), (7, 33, 3)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_initial_parameters_are_the_draws_of_scikit_learn(dtype, activation, hidden):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 10)).astype(dtype)
    # A rate so small that a step doesn't change the parameters; both write what they drew.
    settings = {"hidden_layer_sizes": hidden, "activation": activation, "random_state": 3, "batch_size": 30}
    settings |= {"solver": "sgd", "learning_rate_init": 1e-300, "alpha": 0.0}
    classifier = MLPClassifier(**settings).partial_fit(X, np.arange(30) % 4, classes=range(4))
    regressor = MLPRegressor(**settings).partial_fit(X, rng.normal(size=(30, 2)))
    for model, outputs in ((classifier, 4), (regressor, 2)):
        network = Network.initialize(Architecture((10, *hidden, outputs), activation), seed=3, dtype=dtype)
        for own, theirs in zip(
            network.weights + network.biases, model.coefs_ + model.intercepts_, strict=True
        ):
            assert theirs.dtype == dtype
            np.testing.assert_array_equal(own, theirs)


def test_one_seed_gives_one_network_and_a_generator_goes_on():
    architecture = Architecture((3, 4, 2))
    one, two = (Network.initialize(architecture, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.parameters, two.parameters)
    generator = np.random.RandomState(5)
    np.testing.assert_array_equal(Network.initialize(architecture, seed=generator).parameters, one.parameters)
    assert (Network.initialize(architecture, seed=generator).parameters != one.parameters).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_views_are_the_parameters_and_padding_is_zero(dtype):
    for sizes in [(1, 1), (10, 17, 3), (64, 100, 10), (130, 130, 130)]:
        network = Network.initialize(Architecture(sizes), seed=0, dtype=dtype)
        padding = padding_of(network)
        assert not network.parameters[padding].any()
        assert (~padding).sum() == network.architecture.n_parameters
        for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            assert network.weights[index].shape == (inputs, outputs)
            assert network.biases[index].shape == (outputs,)
            assert all(
                np.shares_memory(v[index], network.parameters) for v in (network.weights, network.biases)
            )


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_written_to_a_view_changes_the_outputs(dtype):
    network = Network(Architecture((3, 4, 2)), dtype=dtype)
    X = np.eye(3)
    assert not network.forward(X).any()
    network.biases[1][...] = 1, 2
    np.testing.assert_array_equal(network.forward(X), [[1, 2]] * 3)
    network.weights[0][1, 2], network.weights[1][2, 0] = 3, 0.5
    np.testing.assert_array_equal(network.forward(X), [[1, 2], [2.5, 2], [1, 2]])
    assert not network.parameters[padding_of(network)].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_rows", [*ROWS, 256, 257, 1000])
def test_forward_of_every_width_is_that_of_the_oracle(n_rows, dtype):
    for inputs, hidden, outputs in [
        *zip(WIDTHS, WIDTHS[::-1], WIDTHS[3:] + WIDTHS[:3], strict=True),
        (401, 260, 3),
    ]:
        network = make_network((inputs, hidden, outputs), "tanh", "identity", "squared_error", dtype)
        X, _ = draw_data(network, n_rows)
        assert_close(network.forward(X), layers_of(network, X)[-1], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("loss", "output_activation"), PAIRS)
def test_activations_and_outputs_are_those_of_the_oracle(loss, output_activation, activation, dtype):
    for hidden in [(), (7,), (17, 10), (10, 33, 3)]:
        network = make_network((10, *hidden, 3), activation, output_activation, loss, dtype)
        for n_rows in (1, 65):
            X, _ = draw_data(network, n_rows)
            expected = layers_of(network, X)
            activations = network.activations(X)
            assert len(activations) == len(hidden) + 2
            for actual, wanted in zip(activations, expected, strict=True):
                assert_close(actual, wanted, dtype)
            np.testing.assert_array_equal(network.forward(X), activations[-1])
            logits = expected[-2] @ network.weights[-1] + network.biases[-1]
            assert_close(network.forward(X, logits=True), logits, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_is_that_of_loss_and_gradient(dtype):
    network = make_network((10, 17, 3), "relu", "softmax", "cross_entropy", dtype)
    X, y = draw_data(network, 40)
    weights = np.linspace(0.5, 1.5, 40)
    assert network.loss(X, y, weights, alpha=0.5) == network.loss_and_gradient(X, y, weights, alpha=0.5)[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_outputs_are_the_same_to_the_bit_for_any_number_of_threads_and_rows_asked_for(dtype):
    regression, classes = ("identity", "squared_error"), ("softmax", "cross_entropy")
    for sizes, kind in [((10, 33, 3), classes), ((300, 530, 3), classes), ((40, 129, 1), regression)]:
        network = make_network(sizes, "relu", *kind, dtype)
        X, _ = draw_data(network, 1500)
        whole = network.forward(X, n_threads=1)
        for n_threads in (2, 3, 4, 8, None):
            np.testing.assert_array_equal(network.forward(X, n_threads=n_threads), whole)
        for rows in (slice(7), slice(100, 101), slice(300, 700)):
            np.testing.assert_array_equal(network.forward(X[rows]), whole[rows])


def test_forward_from_many_threads_at_once_gives_the_same_bits():
    network = make_network((10, 33, 3), "tanh", "softmax", "cross_entropy", np.float32)
    X, _ = draw_data(network, 600)
    sizes = [1, 5, 17, 300, 600]
    expected, differences = {n: network.forward(X[:n], n_threads=1) for n in sizes}, []
    start = threading.Barrier(8)

    def ask(thread):
        start.wait()
        for repeat in range(40):
            n = sizes[(thread + repeat) % len(sizes)]
            outputs = network.forward(X[:n], n_threads=2 if thread == 0 else 1)
            differences.append(not np.array_equal(outputs, expected[n]))

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(differences) == 8 * 40
    assert not any(differences)


def copies(network, folder):
    joblib.dump(network, folder / "network.joblib")
    return {
        "copy": network.copy(),
        "copy.copy": copy.copy(network),
        "deepcopy": copy.deepcopy(network),
        "pickle": pickle.loads(pickle.dumps(network)),
        "memory map": joblib.load(folder / "network.joblib", mmap_mode="r"),
        "arrays": Network.from_arrays(network.architecture, network.weights, network.biases),
    }


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_copy_has_the_same_outputs_and_parameters_of_its_own(dtype, tmp_path):
    network = make_network((10, 33, 3), "relu", "softmax", "cross_entropy", dtype)
    X, _ = draw_data(network, 20)
    outputs = network.forward(X)
    for name, other in copies(network, tmp_path).items():
        assert other.dtype == network.dtype, name
        assert other.architecture == network.architecture, name
        np.testing.assert_array_equal(other.forward(X), outputs, err_msg=name)
        other.biases[-1][0] += 1
        assert (other.forward(X) != outputs).any(), name
        np.testing.assert_array_equal(network.forward(X), outputs, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_of_any_kind_are_read_and_never_written(dtype, tmp_path):
    network = make_network((4, 7, 2), "relu", "identity", "squared_error", dtype)
    X, y = draw_data(network, 30)
    outputs, loss = network.forward(X), network.loss(X, y)
    joblib.dump((X, y), tmp_path / "data.joblib")
    read_only = joblib.load(tmp_path / "data.joblib", mmap_mode="r")
    kinds = [read_only, (X.tolist(), y.tolist()), (np.asfortranarray(X), np.asfortranarray(y))]
    kinds += [(np.repeat(X, 2, axis=0)[::2], y), (X.astype(">f8"), y.astype(np.longdouble))]
    for inputs, targets in kinds:
        before = np.array(inputs)
        np.testing.assert_array_equal(network.forward(inputs), outputs)
        assert network.loss(inputs, targets) == loss
        np.testing.assert_array_equal(np.array(inputs), before)
    integers = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(network.forward(integers), network.forward(integers.astype(float)))


def test_targets_of_one_output_may_be_flat():
    network = make_network((4, 7, 1), "relu", "identity", "squared_error", np.float32)
    X, y = draw_data(network, 30)
    assert network.loss(X, y.ravel()) == network.loss(X, y)


def test_extreme_inputs_give_finite_probabilities():
    network = make_network((3, 8, 4), "relu", "softmax", "cross_entropy", np.float32)
    X = np.array([[1e30, -1e30, 1e30], [1e-40, 0, -1e-40], [1e4, 1e4, 1e4]])
    outputs = network.forward(X)
    assert np.isfinite(outputs).all()
    np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-6)


SOFTMAX = Architecture((3, 4, 2), output_activation="softmax", loss="cross_entropy")
LOGISTIC = Architecture((3, 4, 2), output_activation="logistic", loss="cross_entropy")
POISSON = Architecture((3, 4, 2), output_activation="exp", loss="poisson")
PLAIN = Architecture((3, 4, 2))
GOOD_X, GOOD_Y = np.ones((5, 3)), np.ones((5, 2))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones((5, 4)), r"X must have the shape \(n, 3\); got \(5, 4\)"),
        (np.ones(3), r"X must have the shape \(n, 3\); got \(3,\)"),
        (np.ones((2, 5, 3)), r"X must have the shape \(n, 3\); got \(2, 5, 3\)"),
        (1.0, r"X must have the shape \(n, 3\); got \(\)"),
        (np.ones((0, 3)), r"X must have at least one row; got shape \(0, 3\)"),
        ([[1, np.nan, 1]], "X must be finite"),
        ([[1, 1, -np.inf]], "X must be finite"),
        ([[1, 1, 1e300]], "X must be finite"),
        ([["a", "b", "c"]], "X must .*numbers"),
        ([[1, 2, 3], [1, 2]], "X must .*numbers"),
        ([[None, 1, 1]], "X must "),
        ([[1j, 1, 1]], "X must .*numbers"),
    ],
)
def test_inputs_that_are_refused(X, message):
    network = Network.initialize(PLAIN, seed=0)
    for use in (network.forward, network.activations, lambda X: network.loss(X, GOOD_Y)):
        with pytest.raises(ValueError, match=message):
            use(X)


@pytest.mark.parametrize(
    ("architecture", "y", "message"),
    [
        (PLAIN, np.ones((5, 3)), r"y must have the shape \(n, 2\); got \(5, 3\)"),
        (PLAIN, np.ones(5), r"y must have the shape \(n, 2\); got \(5,"),
        (PLAIN, np.ones((4, 2)), "y must have one row for each row of X, 5; got 4"),
        (PLAIN, np.full((5, 2), np.nan), "y must be finite"),
        (PLAIN, [["a", "b"]] * 5, "y must .*numbers"),
        (SOFTMAX, [0, 1, 2, 0, 1], r"y must hold class numbers, integers in \[0, 2\); got .*2"),
        (SOFTMAX, [0, 1, -1, 0, 1], r"y must hold class numbers, integers in \[0, 2\); got .*-1"),
        (SOFTMAX, [0, 1, 0.5, 0, 1], r"y must hold class numbers, integers in \[0, 2\); got .*0.5"),
        (SOFTMAX, np.eye(2)[[0, 1, 0, 0, 1]], r"y must hold class numbers, .* got \(5, 2\): .*argmax"),
        (LOGISTIC, np.full((5, 2), 1.5), r"y must lie in \[0, 1\] with logistic outputs; got .*1.5"),
        (LOGISTIC, np.full((5, 2), -0.5), r"y must lie in \[0, 1\] with logistic outputs; got .*-0.5"),
        (POISSON, np.full((5, 2), -1), "y must be >= 0 with loss='poisson'; got -1"),
    ],
)
def test_targets_that_are_refused(architecture, y, message):
    network = Network.initialize(architecture, seed=0)
    with pytest.raises(ValueError, match=message):
        network.loss(GOOD_X, y)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(4), r"sample_weight must have the shape \(5,\); got \(4,\)"),
        (np.ones((5, 1)), r"sample_weight must have the shape \(5,\); got \(5, 1\)"),
        ([1, 1, 1, 1, -0.5], "sample_weight must be finite and >= 0; got -0.5"),
        ([1, 1, 1, 1, np.nan], "sample_weight must be finite and >= 0; got nan"),
        ([1, 1, 1, 1, np.inf], "sample_weight must be finite and >= 0; got inf"),
        (np.zeros(5), "sample_weight must be above 0 for at least one row"),
        (["a"] * 5, "sample_weight must .*numbers"),
    ],
)
def test_sample_weights_that_are_refused(weights, message):
    network = Network.initialize(PLAIN, seed=0)
    with pytest.raises(ValueError, match=message):
        network.loss(GOOD_X, GOOD_Y, weights)


@pytest.mark.parametrize("n_threads", [0, -1, 1.5, "2"])
def test_numbers_of_threads_that_are_refused(n_threads):
    network = Network.initialize(PLAIN, seed=0)
    with pytest.raises(ValueError, match=r"n_threads must be None or an int >= 1; got"):
        network.forward(np.ones((1000, 3)), n_threads=n_threads)


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.longdouble, complex, None, "single-ish"])
def test_only_single_and_double_precision_are_known(dtype):
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float64'; got"):
        Network(PLAIN, dtype=dtype)


def test_a_network_needs_an_architecture():
    with pytest.raises(TypeError, match=r"architecture must be a fastnn\.Architecture; got \(3, 2\)"):
        Network((3, 2))


def test_views_can_be_written_into_but_not_replaced():
    network = Network.initialize(PLAIN, seed=0)
    with pytest.raises(
        AttributeError, match=r"parameters can't be replaced: .*network\.assign\(weights, biases\)"
    ):
        network.parameters = network.parameters.copy()
    with pytest.raises(AttributeError, match="no setter"):
        network.weights = [w.copy() for w in network.weights]
    with pytest.raises(TypeError, match=r"can't be replaced: .*network\.assign\(weights, biases\)"):
        network.weights[0] = network.weights[0].copy()
    network.weights[-1][...] = 0
    network.biases[-1][...] = 5
    np.testing.assert_array_equal(network.forward(np.ones((2, 3))), 5)
    network.biases[-1] += 1
    np.testing.assert_array_equal(network.forward(np.ones((2, 3))), 6)
    network.parameters *= 2
    np.testing.assert_array_equal(network.forward(np.ones((2, 3))), 12)


def test_a_network_says_what_it_is():
    network = Network(Architecture((2, 1)), dtype="float64")
    assert repr(network) == f"Network({network.architecture!r}, dtype='float64')"


def test_what_is_too_large_for_float32_is_told_from_what_is_infinite():
    network = Network(Architecture((2, 1)))
    with pytest.raises(ValueError, match=r"X must be finite in float32; .* too large for float32\."):
        network.forward([[1e39, 0.0]])


def test_sparse_targets_are_refused():
    with pytest.raises(ValueError, match=r"y must be dense; got a sparse matrix: pass y\.toarray\(\)"):
        Network(Architecture((2, 1))).loss(np.ones((3, 2)), sparse.csr_matrix(np.ones((3, 1))))


def test_whole_numbers_make_a_network_in_double_precision():
    network = Network.from_arrays(Architecture((2, 1)), [[[1], [2]]], iter([[3]]))
    assert network.dtype == np.float64
    assert network.forward([[1, 1]]).tolist() == [[6.0]]


def test_wrong_shapes_leave_the_network_as_it_is():
    network = Network.initialize(PLAIN, seed=0)
    before = network.parameters.copy()
    bad = [
        ([np.ones((3, 4))], network.biases),
        ([np.ones((3, 4)), np.ones((4, 3))], network.biases),
        ([np.ones((3, 4)), np.ones((4, 2))], [np.ones(4), np.ones(3)]),
    ]
    for weights, biases in bad:
        with pytest.raises(ValueError, match=r"must have the shapes .*; got"):
            network.assign(weights, biases)
        with pytest.raises(ValueError, match=r"must have the shapes .*; got"):
            Network.from_arrays(PLAIN, weights, biases, dtype=np.float32)
    np.testing.assert_array_equal(network.parameters, before)


def test_parameters_of_the_network_itself_may_be_assigned_and_what_lies_between_them_is_0_again():
    network = Network.initialize(Architecture((3, 10, 2)), seed=0)
    before = network.parameters.copy()
    network.assign(network.weights, network.biases)
    np.testing.assert_array_equal(network.parameters, before)
    weights, biases = [w.copy() for w in network.weights], [b.copy() for b in network.biases]
    network.parameters[...] = np.nan
    network.assign(weights, biases)
    np.testing.assert_array_equal(network.parameters, before)


@pytest.mark.parametrize(
    ("weights", "biases", "error", "message"),
    [
        (None, [], TypeError, "weights must be a list of arrays, one a layer; got None"),
        ([np.ones((3, 4)), np.ones((4, 2))], 5, TypeError, "biases must be a list of arrays, .*; got 5"),
        ([[[1], [2, 3]]], [], ValueError, r"weights\[0\] must be an array of real numbers; got list"),
        ([np.ones((3, 4)), "ab"], [], ValueError, r"weights\[1\] must be an array of real numbers; got str"),
    ],
)
def test_what_is_no_list_of_arrays_is_refused_by_name(weights, biases, error, message):
    with pytest.raises(error, match=message):
        Network.from_arrays(PLAIN, weights, biases)
    with pytest.raises(error, match=message):
        Network.initialize(PLAIN, seed=0).assign(weights, biases)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused_and_nothing_changes(bad):
    network = Network.initialize(PLAIN, seed=0)
    before = network.parameters.copy()
    weights, biases = [w.copy() for w in network.weights], [b + 1 for b in network.biases]
    weights[1][0, 0] = bad
    with pytest.raises(ValueError, match="weights must be finite"):
        network.assign(weights, biases)
    biases[0][0], weights[1][0, 0] = bad, 0
    with pytest.raises(ValueError, match="biases must be finite"):
        network.assign(weights, biases)
    np.testing.assert_array_equal(network.parameters, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((3,),), "layer_sizes must be at least two integers >= 1.*got"),
        (((3, 0, 2),), "layer_sizes must be at least two integers >= 1.*got"),
        (((3, 2.5),), "layer_sizes must be at least two integers >= 1.*got"),
        (((3, -1, 2),), "layer_sizes must be at least two integers >= 1.*got"),
        ((7,), "layer_sizes must be at least two integers >= 1.*got 7"),
        ((None,), "layer_sizes must be at least two integers >= 1.*got None"),
        (((3, 2), "sigmoid"), "activation must be one of 'identity', .*; got 'sigmoid'"),
        (((3, 2), ["relu"]), "activation must be one of 'identity', .*; got"),
        (
            ((3, 2), "relu", "softmax"),
            "output_activation with loss='squared_error' must be one of .*'softmax'",
        ),
        (((3, 2), "relu", "identity", "hinge"), "loss must be one of .*; got 'hinge'"),
        (((3, 1), "relu", "softmax", "cross_entropy"), "softmax needs at least 2 outputs"),
    ],
)
def test_architectures_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Architecture(*arguments)
