"""training.py: whole runs against NumPy, the same bits however they are cut and shared, and how runs end."""

import copy
import gc
import itertools
import os
import pickle
import signal
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.utils
from cases import DTYPES, PAIRS, Oracle, Step, assert_trained_alike, draw_data, make_network

from fastnn import SGD, Adam, Architecture, Network, Trainer, engine, training
from fastnn.engine import Session
from fastnn.kernels import layout, state
from fastnn.kernels.team import Team
from fastnn.threads import TakenCores

OPTIMIZERS = {
    "plain": SGD(0.05),
    "momentum": SGD(0.02, momentum=0.8),
    "nesterov": SGD(0.02, momentum=0.8, nesterov=True),
    # An epsilon beside which the rounding error of a gradient is small.
    "adam": Adam(0.005, epsilon=1e-3),
}
CLASSES = "softmax", "cross_entropy"


def classifier(dtype=np.float32, sizes=(10, 33, 3), activation="relu"):
    return make_network(sizes, activation, *CLASSES, dtype)


def parameters_of(network, optimizer, X, y, sample_weight=None, *, epochs=3, **settings):
    """The parameters of a copy of the network after a run, and the trainer."""
    network = network.copy()
    trainer = Trainer(network, optimizer, random_state=7, **settings)
    trainer.run(X, y, sample_weight, epochs=epochs)
    return network.parameters, trainer


# What the runs compute


def assert_run_agrees(
    network, optimizer, X, y, sample_weight=None, *, batch_size, epochs=4, alpha=0.0, seed=3
):
    """A shuffled run against the oracle: parameters, losses, and the generator's next number."""
    oracle, step, generator = Oracle(network), Step(optimizer), np.random.RandomState(seed)
    settings = {
        "alpha": alpha,
        "batch_size": batch_size,
        "tol": 0.0,
        "random_state": np.random.RandomState(seed),
    }
    trainer = Trainer(network, optimizer, **settings)
    assert trainer.run(X, y, sample_weight, epochs=epochs) == "max_iter"
    rows = training.resolve_batch(batch_size, len(X))
    order, losses = np.arange(len(X)), []
    for _ in range(epochs):
        order = sklearn.utils.shuffle(order, random_state=generator)
        losses.append(oracle.epoch(X, y, order, rows, step, sample_weight, alpha))
    steps = epochs * -(-len(X) // rows)
    assert_trained_alike(network, oracle, steps)
    rtol = (320 + 10 * steps) * float(np.finfo(network.dtype).eps)
    np.testing.assert_allclose(trainer.history.loss, losses, rtol=rtol)
    assert trainer.n_epochs == epochs
    assert trainer.samples_seen == epochs * len(X)
    assert trainer.best_loss == min(trainer.history.loss)
    assert trainer.random_state.randint(10**9) == generator.randint(10**9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 2, 15, 16, 17, 64, 65, 200, "auto", "full"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_takes_the_steps_of_the_oracle(name, batch_size, dtype):
    network = classifier(dtype)
    # A last batch of one row with 65 and 64; several shards with 200 and more.
    X, y = draw_data(network, 129 if batch_size != "full" else 701)
    assert_run_agrees(network, OPTIMIZERS[name], X, y, batch_size=batch_size, alpha=0.3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "output_activation"), PAIRS)
def test_every_loss_can_be_learned(loss, output_activation, dtype):
    network = make_network((7, 10, 2), "tanh", output_activation, loss, dtype)
    X, y = draw_data(network, 90)
    assert_run_agrees(network, SGD(0.02), X, y, batch_size=32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "sizes",
    [(1, 1), (2, 1, 1), (3, 7, 17, 2), (100, 130, 3), (401, 260, 4), (601, 128, 4), (5, *[8] * 12, 2)],
)
def test_networks_of_every_shape_learn(sizes, dtype):
    network = make_network(sizes, "tanh", "logistic", "squared_error", dtype)
    X, y = draw_data(network, 70)
    assert_run_agrees(network, OPTIMIZERS["momentum"], X, y, batch_size=32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 20, "full"])
def test_sample_weights_are_those_of_the_oracle(batch_size, dtype):
    network = classifier(dtype)
    X, y = draw_data(network, 70)
    weights = np.random.default_rng(4).uniform(0.5, 2, 70).astype(dtype)
    assert_run_agrees(network, SGD(0.05), X, y, weights, batch_size=batch_size, alpha=0.3)


def test_without_shuffling_rows_come_in_their_order_and_no_number_is_drawn():
    network = classifier()
    X, y = draw_data(network, 70)
    oracle, step, generator = Oracle(network), Step(SGD(0.05)), np.random.RandomState(3)
    Trainer(network, SGD(0.05), batch_size=32, shuffle=False, random_state=generator).run(X, y, epochs=2)
    for _ in range(2):
        oracle.epoch(X, y, np.arange(70), 32, step)
    assert_trained_alike(network, oracle, 6)
    assert generator.randint(10**9) == np.random.RandomState(3).randint(10**9)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("batch_size", [1, 32])
def test_a_second_run_goes_on_with_moments_and_steps(batch_size, name):
    network = classifier(np.float64)
    X, y = draw_data(network, 70)
    whole, _ = parameters_of(network, OPTIMIZERS[name], X, y, epochs=5, batch_size=batch_size, shuffle=False)
    trainer = Trainer(network, OPTIMIZERS[name], batch_size=batch_size, shuffle=False)
    for epochs in (2, 3):
        trainer.run(X, y, epochs=epochs)
    np.testing.assert_array_equal(network.parameters, whole)
    assert len(trainer.history.loss) == 5


def test_restart_forgets_moments_and_steps():
    network = classifier()
    X, y = draw_data(network, 70)
    trainer = Trainer(network, Adam(), shuffle=False)
    trainer.run(X, y, epochs=2)
    again, _ = parameters_of(network, Adam(), X, y, shuffle=False)
    trainer.restart()
    trainer.run(X, y, epochs=3)
    np.testing.assert_array_equal(network.parameters, again)


def test_what_is_set_between_runs_counts_in_the_next():
    network = classifier(sizes=(10, 130, 3))
    X, y = draw_data(network, 70)
    trainer = Trainer(network, Adam(), batch_size=1, shuffle=False)
    trainer.run(X, y, epochs=1)
    for batch_size, alpha, n_threads in ((1, 0.1, 1), (32, 0.2, 2), (1, 0.0, None)):
        trainer.optimizer, trainer.batch_size = SGD(0.01), batch_size
        trainer.alpha, trainer.n_threads = alpha, n_threads
        oracle = Oracle(network)
        trainer.run(X, y, epochs=1)
        loss = oracle.epoch(X, y, np.arange(70), batch_size, Step(SGD(0.01)), alpha=alpha)
        assert_trained_alike(network, oracle, 70)
        np.testing.assert_allclose(trainer.history.loss[-1], loss, rtol=1000 * np.finfo(np.float32).eps)


def test_a_trainer_takes_no_other_thing_for_an_optimizer():
    trainer = Trainer(classifier(), Adam())
    with pytest.raises(TypeError, match=r"optimizer must be a fastnn\.SGD or fastnn\.Adam; got 'adam'"):
        trainer.optimizer = "adam"
    assert trainer.optimizer == Adam()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))]
)
def test_a_copy_of_a_trainer_goes_on_as_the_original_would(duplicate, name):
    network = classifier()
    X, y = draw_data(network, 90)
    trainer = Trainer(network, OPTIMIZERS[name], alpha=0.1, batch_size=20, random_state=3, tol=0.01)
    trainer.run(X, y, epochs=2)
    twin, before = duplicate(trainer), network.parameters.copy()
    assert twin.run(X, y, epochs=3) == "max_iter"
    np.testing.assert_array_equal(network.parameters, before)
    trainer.run(X, y, epochs=3)
    np.testing.assert_array_equal(twin.network.parameters, network.parameters)
    assert twin.history == trainer.history
    assert (twin.best_loss, twin.samples_seen) == (trainer.best_loss, trainer.samples_seen)


def test_what_is_copied_together_stays_together():
    network = classifier()
    X, y = draw_data(network, 30)
    twin, trainer = copy.deepcopy((network, Trainer(network, Adam())))
    trainer.run(X, y, epochs=1)
    assert trainer.network is twin
    assert (twin.parameters != network.parameters).any()


# Turns


@pytest.mark.parametrize("batch_size", [1, 300])
def test_runs_of_one_trainer_from_several_threads_take_turns(batch_size):
    network = classifier()
    X, y = draw_data(network, 601)
    settings = {"batch_size": batch_size, "n_threads": 2}
    trainer, other = (Trainer(each, Adam(), random_state=7, **settings) for each in (network, network.copy()))
    threads = [threading.Thread(target=trainer.run, args=(X, y), kwargs={"epochs": 4}) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(6):
        other.run(X, y, epochs=4)
    np.testing.assert_array_equal(network.parameters, other.network.parameters)
    assert trainer.history == other.history


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_during_a_run_trains_by_itself():
    network = classifier()
    X, y = draw_data(network, 50)
    trainer = Trainer(network, Adam(), n_iter_no_change=np.inf)
    trainer.run(X, y, epochs=1)
    begun, forked = threading.Event(), threading.Event()

    def wait(each):
        begun.set()
        return forked.wait(30)

    thread = threading.Thread(target=trainer.run, args=(X, y), kwargs={"epochs": 2, "on_epoch": wait})
    thread.start()
    begun.wait(30)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # a child that waits for a lock for ever is ended by it
        os._exit(0 if trainer.run(X, y, epochs=1) == "max_iter" else 1)
    forked.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("random_state", "seed", "random_state must be None, an int"),
        ("shuffle", "no", "shuffle must be True or False; got 'no'"),
        ("alpha", -1, r"alpha must be a number in \[0, inf\); got -1"),
        ("batch_size", 0, "batch_size must be 'auto', 'full' or an int >= 1; got 0"),
        ("n_threads", 0, "n_threads must be None or an int >= 1; got 0"),
    ],
)
def test_what_is_set_between_runs_is_checked(name, value, message):
    network = classifier()
    X, y = draw_data(network, 50)
    trainer = Trainer(network, Adam())
    trainer.random_state = 5
    trainer.run(X, y, epochs=1)
    setattr(trainer, name, value)
    with pytest.raises(ValueError, match=message):
        trainer.run(X, y, epochs=1)
    assert len(trainer.history.loss) == 1


def test_a_trainer_keeps_its_network():
    trainer = Trainer(classifier(), Adam())
    with pytest.raises(AttributeError, match="no setter"):
        trainer.network = classifier()


@pytest.mark.parametrize(
    "act",
    [
        lambda trainer, X, y: trainer.run(X, y, epochs=1),
        lambda trainer, X, y: trainer.restart(),
        lambda trainer, X, y: setattr(trainer, "optimizer", SGD(0.1)),
    ],
    ids=["run", "restart", "optimizer"],
)
def test_a_run_is_not_disturbed_by_its_own_callback(act):
    network = classifier()
    X, y = draw_data(network, 50)
    expected, _ = parameters_of(network, Adam(), X, y, epochs=3)
    refused = []

    def disturb(trainer):
        with pytest.raises(RuntimeError, match="is not possible while the trainer runs"):
            act(trainer, X, y)
        refused.append(trainer.n_epochs)

    trainer = Trainer(network, Adam(), random_state=7)
    assert trainer.run(X, y, epochs=3, on_epoch=disturb) == "max_iter"
    assert refused == [1, 2, 3]
    np.testing.assert_array_equal(network.parameters, expected)
    assert trainer.run(X, y, epochs=1) == "max_iter"


# The same bits

# A small network cuts its batches into shards; a large one shares a tile, and its threads share its chunks.
SHARED = {"shards": ((10, 33, 3), 701), "tiles": ((100, 130, 130, 3), 150)}
# Two threads keep parameters of their own. With two shards neither has anything to join.
FEW_SHARDS = (10, 33, 3), 150
# Several pieces of weights, of which each thread needs all, and two blocks of rows for the weight gradients.
SHARED_OR_WIDE = SHARED | {"few shards": FEW_SHARDS, "wide": ((300, 530, 3), 300)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["plain", "momentum", "adam"])
@pytest.mark.parametrize("kind", SHARED_OR_WIDE)
def test_training_is_the_same_to_the_bit_for_any_number_of_threads(kind, name, dtype):
    sizes, batch = SHARED_OR_WIDE[kind]
    network = classifier(dtype, sizes)
    # Two full batches and a small one, an epoch.
    X, y = draw_data(network, 2 * batch + 77)
    weights = np.random.default_rng(4).uniform(0.5, 2, len(X))
    settings = {"batch_size": batch, "alpha": 0.1, "epochs": 2}
    alone, trainer = parameters_of(network, OPTIMIZERS[name], X, y, weights, n_threads=1, **settings)
    for n_threads in (2, 3, 4, 8, None):
        shared, other = parameters_of(
            network, OPTIMIZERS[name], X, y, weights, n_threads=n_threads, **settings
        )
        np.testing.assert_array_equal(shared, alone)
        assert other.history.loss == trainer.history.loss


@pytest.mark.parametrize(
    ("kind", "n_threads"), [("shards", 4), ("shards", 2), ("few shards", 2), ("tiles", 4)]
)
def test_the_team_gets_smaller_when_one_comes_late_and_no_bit_changes(kind, n_threads, monkeypatch):
    monkeypatch.setattr(engine, "LONG_WAIT", 0)
    monkeypatch.setattr(engine, "WORK_PER_LOOK", np.inf)  # whoever waits at all finds the others late
    monkeypatch.setattr(engine, "taken_cores", TakenCores())
    monkeypatch.setattr(training, "FIRST_SLICE_WORK", 1e18)  # one call
    sizes, batch = SHARED_OR_WIDE[kind]
    network = classifier(sizes=sizes)
    X, y = draw_data(network, 3 * batch)
    settings = {"batch_size": batch, "epochs": 50}
    alone, _ = parameters_of(network, Adam(), X, y, n_threads=1, **settings)
    shared, trainer = parameters_of(network, Adam(), X, y, n_threads=n_threads, **settings)
    np.testing.assert_array_equal(shared, alone)
    assert trainer.state.ints[state.TEAM] == 1


def test_who_was_late_is_known_after_a_call_of_a_single_step(monkeypatch):
    monkeypatch.setattr(engine, "LONG_WAIT", 0)
    monkeypatch.setattr(engine, "WORK_PER_LOOK", np.inf)  # whoever waits at all finds the others late
    monkeypatch.setattr(engine, "taken_cores", TakenCores())
    sizes, batch = FEW_SHARDS
    network = classifier(sizes=sizes)
    X, y = draw_data(network, batch)
    trainer, teams = Trainer(network, Adam(), batch_size="full", n_threads=2), []
    trainer.run(X, y, epochs=200, on_epoch=lambda each: teams.append(each.state.ints[state.TEAM]))
    assert 1 in teams


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_threads_keep_small_networks_of_their_own(dtype):
    for sizes, batch, n_threads, kept in [
        *(((10, 33, 3), 150, 2, 1), ((10, 33, 3), 150, 1, 0), ((10, 33, 3), 300, 3, 0)),
        *(((10, 33, 3), 701, 2, 1), ((100, 130, 130, 3), 150, 2, 0), ((200, 400, 3), 1000, 2, 0)),
    ]:
        network = classifier(dtype, sizes)
        session = Session(sizes, network.architecture.codes, network.parameters, batch, n_threads=n_threads)
        assert len(session.replicas) == kept


@pytest.fixture
def nobody_is_late(monkeypatch):
    """Threads wait for each other as long as it takes, whatever happened in other runs."""
    monkeypatch.setattr(engine, "LONG_WAIT", 1 << 60)
    monkeypatch.setattr(engine, "taken_cores", TakenCores())


@pytest.mark.parametrize("optimizer", [SGD(0.01), SGD(0.01, momentum=0.9), Adam()])
def test_what_two_threads_keep_is_the_same_and_begins_with_what_there_is(
    optimizer, nobody_is_late, monkeypatch
):
    # Who is late goes home, and keeps what it had.
    monkeypatch.setattr(Session, "release", lambda session: None)
    sizes, batch = FEW_SHARDS
    network = classifier(sizes=sizes)
    X, y = draw_data(network, 2 * batch + 77)
    settings = {"batch_size": batch, "random_state": 0}
    alone = Trainer(network.copy(), optimizer, n_threads=1, **settings)
    trainer = Trainer(network, optimizer, n_threads=2, **settings)
    for each in (alone, trainer):
        for _ in range(3):
            each.run(X, y, epochs=3)
    np.testing.assert_array_equal(network.parameters, alone.network.parameters)
    replicas = trainer._session.replicas[0]
    vectors = network.parameters, trainer.state.first, trainer.state.second
    for vector, replica in zip(vectors, replicas, strict=True):
        np.testing.assert_array_equal(replica[: vector.size], vector)
        assert not replica[vector.size :].any()
    _, moments, data, _, control = trainer._session._args
    mine = control.ints, control.reals, control.loss_curve, control.key, data.order, moments.hyper
    for array, replica in zip(mine, control.replica, strict=False):
        np.testing.assert_array_equal(replica, array)


def test_a_call_ends_soon_after_its_team_has_got_smaller(monkeypatch):
    monkeypatch.setattr(engine, "LONG_WAIT", 0)
    monkeypatch.setattr(engine, "WORK_PER_LOOK", np.inf)
    monkeypatch.setattr(training, "FIRST_SLICE_WORK", 1e18)
    monkeypatch.setattr(TakenCores, "leave", lambda self, wanted: wanted)
    calls, advance = [], Session.advance

    def recording(self, team):
        ints = self._args[-1].ints
        budget, first = int(ints[state.BUDGET]), int(ints[state.STEP])
        advance(self, team)
        calls.append((budget, int(ints[state.SHRUNK_AT]) - first, int(ints[state.STEP]) - first))

    monkeypatch.setattr(Session, "advance", recording)
    sizes, batch = SHARED["tiles"]
    network = classifier(sizes=sizes)
    X, y = draw_data(network, 3 * batch)
    parameters_of(network, Adam(), X, y, n_threads=4, batch_size=batch, epochs=50)
    late = [(budget, steps - until) for budget, until, steps in calls if until > 0]
    assert late and sum(steps for *_, steps in calls) == 150
    assert all(rest <= max(1, budget // training.REST_SHARE) for budget, rest in late)


@pytest.mark.parametrize("kind", SHARED)
def test_a_call_begins_with_the_threads_that_were_left(kind, monkeypatch):
    calls = []

    class ThreeOfFour(TakenCores):
        def leave(self, wanted):
            return min(wanted, 3)

        def note(self, wanted, begun, ended):
            calls.append((wanted, begun))

    monkeypatch.setattr(engine, "taken_cores", ThreeOfFour())
    sizes, batch = SHARED[kind]
    network = classifier(sizes=sizes)
    X, y = draw_data(network, 2 * batch + 77)
    settings = {"batch_size": batch, "epochs": 5}
    alone, _ = parameters_of(network, Adam(), X, y, n_threads=1, **settings)
    shared, _ = parameters_of(network, Adam(), X, y, n_threads=4, **settings)
    np.testing.assert_array_equal(shared, alone)
    assert set(calls) == {(1, 1), (4, 3)}


@pytest.fixture
def ranks_of_calls(nobody_is_late, monkeypatch):
    """How many threads each call of the compiled loop gets, on a computer of four cores."""
    calls, run = [], Team.run

    def recording(self, function, *args, ranks=None):
        calls.append(ranks)
        run(self, function, *args, ranks=ranks)

    monkeypatch.setattr(Team, "run", recording)
    monkeypatch.setattr(engine, "usable_threads", lambda: 4)
    monkeypatch.setattr(training, "FIRST_SLICE_WORK", 1e18)  # one call, or one for each epoch
    return calls


def test_only_a_thread_that_is_late_early_in_a_call_counts_as_taken(monkeypatch):
    noted = []

    class Noting(TakenCores):
        def note(self, wanted, begun, ended):
            noted.append((begun, ended))

    monkeypatch.setattr(engine, "taken_cores", Noting())
    session = Session((8, 5, 3), (1, 4, 1), np.zeros(10_000), 400, n_threads=2)
    ints = np.zeros(state.N_INTS, np.int64)
    session._args = (SimpleNamespace(ints=ints),)

    def late_after(steps, left, all_steps=20):
        class FakeTeam:
            def run(self, function, *args, ranks):
                ints[state.STEP] += all_steps
                ints[state.TEAM] = ranks - left
                ints[state.SHRUNK_AT] = ints[state.STEP] - all_steps + steps if left else 0

        ints[[state.BUDGET, state.STEP]] = all_steps, 1000
        session.advance(FakeTeam())
        return noted.pop()

    assert late_after(0, left=0) == (2, 2)
    assert late_after(5, left=1) == (2, 1)
    assert late_after(6, left=1) == (2, 2)
    assert late_after(1, left=1, all_steps=1) == (2, 1)


def test_a_team_is_not_woken_for_less_work_than_that_takes(ranks_of_calls):
    network = classifier(sizes=(8, 100, 3))
    X, y = draw_data(network, 400)

    def calls(n_threads=None, **options):
        ranks_of_calls.clear()
        trainer = Trainer(network, Adam(), batch_size=400, n_threads=n_threads, tol=0, n_iter_no_change=500)
        trainer.run(X, y, **options)
        return ranks_of_calls

    assert set(calls(epochs=500)) == {4}
    assert set(calls(epochs=3)) == {1}
    # Python comes back after each epoch.
    assert set(calls(epochs=20, on_epoch=lambda trainer: None)) == {1}
    assert set(calls(n_threads=2, epochs=3)) == {2}
    # Every second call only takes note of a score.
    assert calls(n_threads=2, epochs=3, score=lambda network: 0.5) == [2, 1] * 3


def test_threads_asked_for_are_really_used():
    for sizes, batch in SHARED.values():
        network = classifier(sizes=sizes)
        session = Session(sizes, network.architecture.codes, network.parameters, batch, n_threads=4)
        assert session.n_threads == 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_is_the_same_to_the_bit_for_any_number_of_threads(dtype):
    for sizes, n_rows in SHARED_OR_WIDE.values():
        network = classifier(dtype, sizes)
        X, y = draw_data(network, n_rows)
        targets, none = y.reshape(-1, 1).astype(dtype), np.empty(0, dtype)
        from fastnn.network import Gradient

        results = []
        for n_threads in (1, 2, 3, 8):
            with Gradient(network, X, targets, none, n_threads=n_threads) as gradient:
                results.append(gradient())
        for loss, dW, db in results[1:]:
            assert loss == results[0][0]
            for one, other in zip(dW + db, results[0][1] + results[0][2], strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.fixture
def slices(monkeypatch):
    """slices(limit) lets no call do more than so many batches; returns the list of the calls' budgets."""
    advance = Session.advance

    def cut(limit):
        budgets = []

        def bounded(self, team):
            ints = self._args[-1].ints
            ints[state.BUDGET] = min(ints[state.BUDGET], limit)
            budgets.append(int(ints[state.BUDGET]))
            advance(self, team)

        monkeypatch.setattr(Session, "advance", bounded)
        return budgets

    return cut


@pytest.mark.parametrize("name", ["plain", "adam"])
def test_tiles_that_all_threads_share_follow_each_other(name, monkeypatch):
    monkeypatch.setattr(layout, "SHARED_TILE_BYTES", 0)  # tiles of eight panels, of which a batch fills three
    network = classifier(sizes=(300, 530, 3))
    X, y = draw_data(network, 677)
    settings = {"batch_size": 600, "alpha": 0.1, "epochs": 3}
    alone, trainer = parameters_of(network, OPTIMIZERS[name], X, y, n_threads=1, **settings)
    tall = trainer._session.layout
    assert tall.shard_rows >= 600 > 2 * tall.tile_panels * tall.panel_rows
    for n_threads in (2, 3, 4, 8):
        shared, other = parameters_of(network, OPTIMIZERS[name], X, y, n_threads=n_threads, **settings)
        np.testing.assert_array_equal(shared, alone)
        assert other.history.loss == trainer.history.loss
    assert_run_agrees(network, OPTIMIZERS[name], X, y, batch_size=600, alpha=0.1)


def test_an_order_shuffled_before_batches_that_are_passed_over_is_the_second_threads_too(
    slices, nobody_is_late, monkeypatch
):
    # One row counts: of the twelve batches of an epoch eleven are passed over. Where the call that shuffles
    # is one thread's and ends with such a batch, the next call finds a new order, but no new step or epoch.
    sizes, batch = FEW_SHARDS
    network = classifier(sizes=sizes)
    X, y = draw_data(network, 12 * batch)
    weights = np.zeros(len(X))
    weights[17] = 1
    settings = {"batch_size": batch, "epochs": 12}
    alone, trainer = parameters_of(network, Adam(), X, y, weights, n_threads=1, **settings)
    teams = itertools.cycle([2, 1, 1, 2, 2, 1, 2])
    monkeypatch.setattr(Session, "_threads_of_call", lambda session: next(teams))
    slices(1)
    advance, copied = Session.advance, []

    def comparing(self, team):
        advance(self, team)
        _, _, data, _, control = self._args
        theirs = control.replica.ints  # whose step is -1 before the first call of two threads
        if theirs[state.STEP] >= 0 and theirs[state.CURSOR] == control.ints[state.CURSOR]:
            np.testing.assert_array_equal(control.replica.order, data.order)
            copied.append(int(control.ints[state.STEP]))

    monkeypatch.setattr(Session, "advance", comparing)
    shared, other = parameters_of(network, Adam(), X, y, weights, n_threads=2, **settings)
    assert len(copied) > 70
    np.testing.assert_array_equal(shared, alone)
    assert other.history.loss == trainer.history.loss


@pytest.fixture
def one_core():
    """Threads that are started now share a core: each goes on until it has to wait, and so is a step ahead of
    the other, or behind it, all the time.
    """
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("only Linux lets a thread choose its core")
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("kind", SHARED_OR_WIDE)
def test_threads_that_take_turns_on_one_core_take_the_same_steps(
    kind, late, one_core, nobody_is_late, monkeypatch
):
    monkeypatch.setattr(Session, "release", lambda session: None)
    run = Team.run

    def run_late(self, function, *args, ranks=None):
        def begin(rank, *rest):
            if rank == late:
                time.sleep(0.001)
            function(rank, *rest)

        run(self, begin, *args, ranks=ranks)

    monkeypatch.setattr(Team, "run", run_late)
    sizes, batch = SHARED_OR_WIDE[kind]
    network = classifier(sizes=sizes)
    X, y = draw_data(network, 2 * batch + 77)
    settings = {"batch_size": batch, "alpha": 0.1, "epochs": 20, "tol": 0, "n_iter_no_change": np.inf}
    alone, trainer = parameters_of(network, Adam(), X, y, n_threads=1, **settings)
    shared, other = parameters_of(network, Adam(), X, y, n_threads=2, **settings)
    np.testing.assert_array_equal(shared, alone)
    assert other.history.loss == trainer.history.loss
    control = other._session._args[-1]
    mine = control.ints, control.reals, control.loss_curve
    for array, replica in zip(mine, control.replica, strict=False):
        if replica.size:  # where two threads keep what a run has
            np.testing.assert_array_equal(replica, array)


def test_what_one_of_two_threads_has_taken_the_other_does_not_do_again(
    one_core, slices, nobody_is_late, monkeypatch
):
    slices(1)
    advance, busy = Session.advance, []

    def recording(self, team):
        self.work.losses[...] = -1
        advance(self, team)
        busy.append(int((self.work.losses >= 0).any(axis=1).sum()))

    monkeypatch.setattr(Session, "advance", recording)
    sizes, batch = FEW_SHARDS
    network = classifier(sizes=sizes)
    X, y = draw_data(network, batch)
    _, trainer = parameters_of(network, Adam(), X, y, n_threads=2, batch_size="full", epochs=40)
    assert len(trainer._session.replicas) == 1
    # Whoever comes last to the second barrier goes on and takes all, unless it loses the core.
    assert busy.count(1) >= 20


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 16, "full"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_the_same_to_the_bit_in_slices_of_any_size(name, batch_size, dtype, slices):
    network = classifier(dtype)
    X, y = draw_data(network, 45)
    settings = {"batch_size": batch_size, "alpha": 0.5}
    whole, trainer = parameters_of(network, OPTIMIZERS[name], X, y, **settings)
    for limit in (1, 2, 7):
        budgets = slices(limit)
        sliced, other = parameters_of(network, OPTIMIZERS[name], X, y, **settings)
        np.testing.assert_array_equal(sliced, whole)
        assert other.history.loss == trainer.history.loss
        batches = 3 * -(-45 // training.resolve_batch(batch_size, 45))
        assert len(budgets) >= batches / limit


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("limit", [1, 3])
def test_a_second_thread_that_comes_and_goes_takes_the_same_steps(limit, weighted, slices, monkeypatch):
    sizes, batch = FEW_SHARDS
    network = classifier(sizes=sizes)
    X, y = draw_data(network, 2 * batch + 77)
    weights = None
    if weighted:  # the second batch of an unshuffled epoch is passed over
        weights = np.ones(len(X))
        weights[batch : 2 * batch] = 0
    settings = {"batch_size": batch, "epochs": 9, "shuffle": not weighted}
    alone, trainer = parameters_of(network, Adam(), X, y, weights, n_threads=1, **settings)
    teams = itertools.cycle([2, 2, 1, 2, 1, 1])
    monkeypatch.setattr(Session, "_threads_of_call", lambda session: next(teams))
    slices(limit)
    shared, other = parameters_of(network, Adam(), X, y, weights, n_threads=2, **settings)
    np.testing.assert_array_equal(shared, alone)
    assert other.history.loss == trainer.history.loss
    assert other.random_state.randint(10**9) == trainer.random_state.randint(10**9)


def test_losses_are_the_same_to_the_bit_in_slices_while_weights_vanish(slices):
    # The sum of squares of the weights is kept up to date by differences, which may cancel to less than 0.
    settings = {"batch_size": 1, "alpha": 0.01, "epochs": 2}
    drawn = [
        make_network((10, 3), "relu", "identity", "squared_error", np.float32, seed) for seed in range(6)
    ]
    data = [draw_data(network, 2000, seed) for seed, network in enumerate(drawn)]
    runs = [(network, SGD(0.05), X, 0 * y) for network, (X, y) in zip(drawn, data, strict=True)]
    whole = [parameters_of(*run, **settings) for run in runs]
    slices(7)
    for run, (parameters, trainer) in zip(runs, whole, strict=True):
        sliced, other = parameters_of(*run, **settings)
        np.testing.assert_array_equal(sliced, parameters)
        assert other.history.loss == trainer.history.loss


@pytest.mark.parametrize("batch_size", [1, 16])
def test_slices_follow_from_the_time_a_call_takes(batch_size, monkeypatch):
    network = classifier()
    X, y = draw_data(network, 45)
    whole, _ = parameters_of(network, Adam(), X, y, batch_size=batch_size)
    monkeypatch.setattr(training, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(training, "FIRST_SLICE_WORK", 0)
    sliced, trainer = parameters_of(network, Adam(), X, y, batch_size=batch_size)
    np.testing.assert_array_equal(sliced, whole)
    assert len(trainer.history.loss) == 3


@pytest.mark.parametrize("batch_size", [1, 16])
def test_training_is_the_same_to_the_bit_when_watched(batch_size):
    network = classifier()
    X, y = draw_data(network, 45)
    whole, trainer = parameters_of(network, Adam(), X, y, batch_size=batch_size, alpha=0.5)
    watched, seen = network.copy(), []
    other = Trainer(watched, Adam(), batch_size=batch_size, alpha=0.5, random_state=7)
    other.run(X, y, epochs=3, on_epoch=lambda each: seen.append(each.history.loss[-1]))
    np.testing.assert_array_equal(watched.parameters, whole)
    assert seen == other.history.loss == trainer.history.loss


@pytest.mark.parametrize("batch_size", [1, 16, "full"])
def test_one_seed_gives_one_result(batch_size):
    network = classifier()
    X, y = draw_data(network, 45)
    runs = [parameters_of(network, Adam(), X, y, batch_size=batch_size)[0] for _ in range(2)]
    np.testing.assert_array_equal(*runs)


def test_many_runs_at_once_give_the_bits_of_one():
    network = classifier()
    X, y = draw_data(network, 701)
    settings = {"batch_size": 300, "epochs": 5}
    alone, _ = parameters_of(network, Adam(), X, y, **settings)
    results = {}

    def run(number):
        results[number] = parameters_of(network, Adam(), X, y, n_threads=1 + number % 3, **settings)[0]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    for parameters in results.values():
        np.testing.assert_array_equal(parameters, alone)


# Learning rates


def test_invscaling_divides_the_rate_by_a_power_of_the_rows_seen():
    network = classifier()
    X, y = draw_data(network, 50)
    rates, rule = [], SGD(0.1, schedule="invscaling", power_t=0.3)
    trainer = Trainer(network, rule, batch_size=20)
    trainer.run(X, y, epochs=4, on_epoch=lambda each: rates.append(each.learning_rate))
    np.testing.assert_allclose(rates, [0.1 / (50 * epoch + 1) ** 0.3 for epoch in range(1, 5)], rtol=1e-14)


@pytest.mark.parametrize("batch_size", [1, 20])
def test_invscaling_steps_are_those_of_the_oracle(batch_size):
    network, rule = classifier(np.float64), SGD(0.1, schedule="invscaling", power_t=0.3)
    X, y = draw_data(network, 50)
    oracle, step = Oracle(network), Step(rule)
    Trainer(network, rule, batch_size=batch_size, shuffle=False, alpha=0.1).run(X, y, epochs=4)
    for epoch in range(4):
        step.rate = 0.1 / (50 * epoch + 1) ** 0.3 if epoch else 0.1
        oracle.epoch(X, y, np.arange(50), batch_size, step, alpha=0.1)
    assert_trained_alike(network, oracle, 4 * 50)


def idle_data(n=20):
    """Nothing to learn: outputs are 0 already, and the loss stays 0."""
    return np.ones((n, 2)), np.zeros((n, 1))


@pytest.mark.parametrize("batch_size", [1, 20])
def test_adaptive_divides_the_rate_by_five_until_it_is_too_small(batch_size):
    rates, rule = [], SGD(1e-3, schedule="adaptive")
    trainer = Trainer(
        Network(Architecture((2, 1))), rule, n_iter_no_change=2, tol=1e-4, batch_size=batch_size
    )
    status = trainer.run(*idle_data(), epochs=1000, on_epoch=lambda each: rates.append(each.learning_rate))
    assert status == "rate_too_small"
    # The first epoch improves on infinity; then more than two idle epochs make a cut.
    cuts = [1e-3 / 5**cut for cut in range(6) for _ in range(4 if cut == 0 else 3)]
    assert cuts[-1] < 1e-6
    np.testing.assert_allclose(rates, [*cuts[1:], cuts[-1]], rtol=1e-14)
    assert trainer.rate_cuts == 5
    assert trainer.n_epochs == len(cuts)


# How runs end


def test_a_loss_that_is_tol_below_the_best_is_an_improvement():
    # As in scikit-learn: none is what is larger than the best less tol; here all three are 0.
    trainer = Trainer(Network(Architecture((2, 1))), Adam(), n_iter_no_change=3, tol=0)
    assert trainer.run(*idle_data(), epochs=30) == "max_iter"


def test_a_rate_of_just_the_smallest_is_too_small_for_another_cut():
    trainer = Trainer(Network(Architecture((2, 1))), SGD(1e-6, schedule="adaptive"), n_iter_no_change=2)
    assert trainer.run(*idle_data(), epochs=30) == "rate_too_small"
    assert (trainer.n_epochs, trainer.rate_cuts, trainer.learning_rate) == (4, 0, 1e-6)


@pytest.mark.parametrize("batch_size", [1, 20])
def test_a_run_that_stops_improving_in_its_last_epoch_has_stopped_improving(batch_size):
    trainer = Trainer(Network(Architecture((2, 1))), Adam(), n_iter_no_change=3, batch_size=batch_size)
    assert trainer.run(*idle_data(), epochs=5) == "no_improvement"


def test_losses_are_not_measured_by_the_best_score_nor_scores_by_the_best_loss():
    X, y = draw_data(classifier(), 60)
    trainer = Trainer(classifier(), SGD(0.01), random_state=0, n_iter_no_change=3, tol=0.0)
    falling, rising = itertools.count(100.0, -1.0), itertools.count(-100.0)
    assert trainer.run(X, y, epochs=9, score=lambda _: next(falling)) == "no_improvement"
    assert trainer.best_loss == -100.0
    before = len(trainer.history.loss)
    assert trainer.run(X, y, epochs=9) == "max_iter"
    assert trainer.best_loss == min(trainer.history.loss[before:])
    assert trainer.run(X, y, epochs=9, score=lambda _: next(rising)) == "max_iter"


@pytest.mark.parametrize("rule", [SGD(0.01), Adam()])
@pytest.mark.parametrize("batch_size", [1, 20])
def test_idle_epochs_end_a_run_when_they_are_more_than_tolerated(batch_size, rule):
    trainer = Trainer(Network(Architecture((2, 1))), rule, n_iter_no_change=3, batch_size=batch_size)
    assert trainer.run(*idle_data(), epochs=1000) == "no_improvement"
    assert trainer.n_epochs == len(trainer.history.loss) == 5
    assert trainer.best_loss == 0


def test_improvement_smaller_than_tol_is_none():
    network = classifier()
    X, y = draw_data(network, 50)
    trainer = Trainer(network, SGD(0.05), tol=1e9, n_iter_no_change=4)
    assert trainer.run(X, y, epochs=1000) == "no_improvement"
    assert trainer.n_epochs == 6


def test_rules_of_stopping_may_be_changed_between_runs_and_go_with_a_copy():
    trainer = Trainer(Network(Architecture((2, 1))), Adam())
    assert (trainer.tol, trainer.n_iter_no_change, trainer.loss_scale) == (1e-4, 10, 1.0)
    trainer.tol, trainer.n_iter_no_change, trainer.loss_scale = 1e-3, np.inf, 2.0
    trainer = copy.copy(trainer)
    assert (trainer.tol, trainer.n_iter_no_change, trainer.loss_scale) == (1e-3, np.inf, 2.0)
    assert trainer.run(*idle_data(), epochs=30) == "max_iter"
    trainer.n_iter_no_change = 4
    assert trainer.run(*idle_data(), epochs=30) == "no_improvement"
    for name in ("tol", "n_iter_no_change", "loss_scale"):
        with pytest.raises(ValueError, match=f"{name} must be a number"):
            setattr(trainer, name, -1)
    assert (trainer.tol, trainer.n_iter_no_change, trainer.loss_scale) == (1e-3, 4, 2.0)


def test_a_rule_of_stopping_set_by_another_thread_waits_for_the_end_of_the_run():
    network, seen, threads = classifier(), [], []
    X, y = draw_data(network, 40)
    trainer = Trainer(network, Adam())

    def on_epoch(running):
        if not threads:
            threads.append(threading.Thread(target=setattr, args=(trainer, "tol", 0.5)))
            threads[0].start()
            threads[0].join(0.05)
        seen.append(running.tol)

    trainer.run(X, y, epochs=3, on_epoch=on_epoch)
    threads[0].join()
    assert seen == [1e-4] * 3
    assert trainer.tol == 0.5


def test_loss_scale_multiplies_the_data_term_of_the_next_run():
    network = classifier()
    X, y = draw_data(network, 30)
    trainer = Trainer(network, SGD(1e-30), alpha=0.5, batch_size="full")
    trainer.run(X, y, epochs=1)
    trainer.loss_scale = 3.0
    trainer.run(X, y, epochs=1)
    penalty = 0.25 * sum((w.astype(float) ** 2).sum() for w in network.weights) / 30
    once, thrice = np.array(trainer.history.loss) - penalty
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-6)


def test_infinite_patience_does_all_epochs():
    trainer = Trainer(Network(Architecture((2, 1))), Adam(), n_iter_no_change=np.inf)
    assert trainer.run(*idle_data(), epochs=3000) == "max_iter"
    assert len(trainer.history.loss) == 3000


@pytest.mark.parametrize("batch_size", [1, 25])
def test_the_score_decides_on_stopping_and_the_best_network_is_kept(batch_size):
    network = classifier()
    X, y = draw_data(network, 50)
    scores, seen = iter([0.1, 0.5, 0.7, 0.7, 0.6, 0.65, 0.9]), []

    def score(each):
        seen.append(each.parameters.copy())
        return next(scores)

    trainer = Trainer(network, Adam(), batch_size=batch_size, tol=0.01, n_iter_no_change=2, random_state=0)
    assert trainer.run(X, y, epochs=100, score=score) == "no_improvement"
    assert trainer.history.score == [0.1, 0.5, 0.7, 0.7, 0.6, 0.65]
    assert len(trainer.history.loss) == trainer.n_epochs == 6
    np.testing.assert_array_equal(trainer.best.parameters, seen[2])
    np.testing.assert_array_equal(network.parameters, seen[5])
    whole, _ = parameters_of(classifier(), Adam(), X, y, epochs=6, batch_size=batch_size)
    assert whole.shape == seen[5].shape


def test_negative_scores_are_judged_like_any():
    network = classifier()
    X, y = draw_data(network, 50)
    scores = iter([-5.0, -3.0, -4.0, -4.0])
    trainer = Trainer(network, Adam(), n_iter_no_change=1)
    assert trainer.run(X, y, epochs=100, score=lambda each: next(scores)) == "no_improvement"
    assert trainer.history.score == [-5, -3, -4, -4]


def test_a_score_that_fails_leaves_the_verdicts_as_they_were():
    network = classifier()
    X, y = draw_data(network, 50)
    trainer = Trainer(network, Adam(), n_iter_no_change=1)

    def fail(each):
        raise RuntimeError("no score today")

    with pytest.raises(RuntimeError, match="no score today"):
        trainer.run(X, y, epochs=5, score=fail)
    scores = iter([-5.0, -4.0, -3.0, -2.0, -1.0])
    assert trainer.run(X, y, epochs=5, score=lambda each: next(scores)) == "max_iter"
    assert trainer.n_epochs == 5


def test_a_score_that_is_no_number_is_refused():
    network = classifier()
    X, y = draw_data(network, 50)
    with pytest.raises(TypeError, match="score must return a number, higher is better; got None"):
        Trainer(network, Adam()).run(X, y, epochs=5, score=lambda each: None)


def test_a_score_of_nan_is_not_the_best():
    network = classifier()
    X, y = draw_data(network, 50)
    scores, seen = iter([np.nan, 0.5, np.nan]), []

    def score(each):
        seen.append(each.parameters.copy())
        return next(scores)

    trainer = Trainer(network, Adam())
    trainer.run(X, y, epochs=3, score=score)
    np.testing.assert_array_equal(trainer.best.parameters, seen[1])


@pytest.mark.parametrize("batch_size", [1, 25])
def test_on_epoch_comes_after_every_epoch_and_may_end_the_run(batch_size):
    network = classifier()
    X, y = draw_data(network, 50)
    epochs = []

    def watch(trainer):
        epochs.append((trainer.n_epochs, len(trainer.history.loss), trainer.network.loss(X, y)))
        return len(epochs) == 3

    trainer = Trainer(network, SGD(0.05), batch_size=batch_size)
    assert trainer.run(X, y, epochs=10, on_epoch=watch) == "stopped"
    assert [epoch[:2] for epoch in epochs] == [(1, 1), (2, 2), (3, 3)]
    assert epochs[-1][2] == network.loss(X, y)


def test_only_true_from_on_epoch_ends_the_run():
    network = classifier()
    X, y = draw_data(network, 50)
    answers = iter([None, False, 1, "yes", np.False_, np.True_])
    trainer = Trainer(network, SGD(0.05))
    assert trainer.run(X, y, epochs=9, on_epoch=lambda each: next(answers)) == "stopped"
    assert trainer.n_epochs == 6


@pytest.mark.parametrize("batch_size", [1, 25])
def test_a_time_limit_ends_the_run_with_a_usable_network(batch_size):
    network = classifier()
    X, y = draw_data(network, 50)
    before = network.loss(X, y)
    trainer = Trainer(network, SGD(0.01), batch_size=batch_size, n_iter_no_change=np.inf, alpha=0.01)
    assert trainer.run(X, y, epochs=10**9, max_time=0.2) == "max_time"
    assert network.loss(X, y) < before
    assert len(trainer.history.loss) == trainer.n_epochs


def test_a_time_limit_of_nothing_still_trains_and_ends():
    network = classifier()
    X, y = draw_data(network, 50)
    trainer = Trainer(network, SGD(0.01), batch_size=1, n_iter_no_change=np.inf)
    assert trainer.run(X, y, epochs=10**9, max_time=0) == "max_time"
    assert trainer.n_epochs > 0


@pytest.mark.parametrize("batch_size", [1, 5])
def test_batches_whose_weights_sum_to_zero_are_passed_over(batch_size):
    network = classifier()
    X, y = draw_data(network, 20)
    weights = np.ones(20)
    weights[5:15] = 0
    kept = np.r_[0:5, 15:20]
    settings = {"batch_size": batch_size, "shuffle": False, "alpha": 0.1}
    with_rows, trainer = parameters_of(network, Adam(), X, y, weights, **settings)
    without, other = parameters_of(network, Adam(), X[kept], y[kept], **settings)
    np.testing.assert_array_equal(with_rows, without)
    # The loss of an epoch is a mean over all its rows, as in scikit-learn.
    np.testing.assert_allclose(
        np.array(trainer.history.loss) * 20, np.array(other.history.loss) * 10, rtol=1e-6
    )


def test_losses_of_many_epochs_with_batches_passed_over_are_all_recorded():
    network = Network.initialize(Architecture((2, 1)), seed=0)
    X, y = draw_data(network, 4)
    weights = [1, 1, 0, 0]
    trainer = Trainer(network, SGD(0.001), batch_size=2, shuffle=False, n_iter_no_change=np.inf, tol=0)
    trainer.run(X, y, weights, epochs=5000)
    other = Network.initialize(Architecture((2, 1)), seed=0)
    watched, losses = (
        Trainer(other, SGD(0.001), batch_size=2, shuffle=False, n_iter_no_change=np.inf, tol=0),
        [],
    )
    watched.run(X, y, weights, epochs=5000, on_epoch=lambda each: losses.append(each.history.loss[-1]))
    assert len(losses) == 5000
    assert trainer.history.loss == losses


# Interrupts


def assert_usable(network, X, y):
    assert np.isfinite(network.parameters).all()
    outputs = network.forward(X)
    np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-5)
    trainer = Trainer(network, SGD(0.01), batch_size=10)
    assert trainer.run(X, y, epochs=1) == "max_iter"


@pytest.mark.parametrize("batch_size", [1, 25])
def test_ctrl_c_in_a_callback_ends_the_run_with_the_epochs_done(batch_size):
    network = classifier()
    X, y = draw_data(network, 50)

    def watch(trainer):
        if trainer.n_epochs == 2:
            raise KeyboardInterrupt

    trainer = Trainer(network, SGD(0.01), batch_size=batch_size, random_state=7)
    twin, _ = parameters_of(network, SGD(0.01), X, y, epochs=2, batch_size=batch_size)
    assert trainer.run(X, y, epochs=10, on_epoch=watch) == "interrupted"
    assert len(trainer.history.loss) == trainer.n_epochs == 2
    np.testing.assert_array_equal(network.parameters, twin)
    assert_usable(network, X, y)


@pytest.mark.parametrize(("batch_size", "n_threads"), [(1, 1), (25, 1), (701, 1), (701, 2)])
def test_ctrl_c_during_a_compiled_call_leaves_a_usable_network(batch_size, n_threads):
    network = classifier()
    X, y = draw_data(network, 701)
    before = network.loss(X, y)
    trainer = Trainer(network, SGD(0.001), batch_size=batch_size, n_threads=n_threads, alpha=1.0)
    trainer.state.ints[state.PATIENCE] = training.NEVER
    # Compiled before the signal is on its way; max_time, should it get lost.
    trainer.run(X, y, epochs=1)
    done = len(trainer.history.loss)
    alarm = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    alarm.start()
    try:
        status = trainer.run(X, y, epochs=10**9, max_time=60)
    finally:
        alarm.join()
    assert status == "interrupted"
    assert trainer.n_epochs > 0
    assert len(trainer.history.loss) == done + trainer.n_epochs
    assert network.loss(X, y) < before
    assert_usable(network, X, y)


@pytest.fixture
def interrupt(monkeypatch):
    """interrupt(batches): the next call does so many batches, then Ctrl-C is pressed."""
    advance = Session.advance

    def after(batches):
        def interrupted(self, team):
            ints = self._args[-1].ints
            ints[state.BUDGET] = min(ints[state.BUDGET], batches)
            advance(self, team)
            monkeypatch.setattr(Session, "advance", advance)
            raise KeyboardInterrupt

        monkeypatch.setattr(Session, "advance", interrupted)

    return after


@pytest.mark.parametrize("batch_size", [1, 5])
def test_ctrl_c_in_the_middle_of_an_epoch_leaves_what_was_learned_so_far(batch_size, interrupt):
    network, rule = classifier(np.float64), SGD(0.05)
    X, y = draw_data(network, 40)
    oracle, step = Oracle(network), Step(rule)
    trainer = Trainer(network, rule, batch_size=batch_size, shuffle=False, alpha=1.0)
    interrupt(3)
    assert trainer.run(X, y, epochs=10) == "interrupted"
    oracle.epoch(X, y, np.arange(3 * batch_size), batch_size, step, alpha=1.0)
    assert_trained_alike(network, oracle, 3)
    assert trainer.history.loss == []
    # The next run begins with the first row.
    assert trainer.run(X, y, epochs=1) == "max_iter"
    loss = oracle.epoch(X, y, np.arange(40), batch_size, step, alpha=1.0)
    assert_trained_alike(network, oracle, 43)
    np.testing.assert_allclose(trainer.history.loss, [loss], rtol=1e-13)


def test_ctrl_c_leaves_the_losses_of_all_epochs_done(interrupt):
    network = classifier()
    X, y = draw_data(network, 40)
    trainer = Trainer(network, SGD(0.05), batch_size=10)
    interrupt(4 * 7 + 2)
    assert trainer.run(X, y, epochs=10) == "interrupted"
    assert trainer.n_epochs == len(trainer.history.loss) == 7


# Divergence


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 25, "full"])
def test_divergence_is_told(batch_size, dtype):
    network = make_network((3, 8, 2), "relu", "identity", "squared_error", dtype)
    X, y = draw_data(network, 50)
    trainer = Trainer(network, SGD(1e10), batch_size=batch_size)
    assert trainer.run(X, y, epochs=100) == "diverged"
    assert trainer.n_epochs < 100
    assert not np.isfinite(network.parameters).all()


def test_divergence_in_the_last_step_is_told():
    network = make_network((3, 2), "relu", "identity", "squared_error", np.float32)
    X, y = draw_data(network, 50)
    trainer = Trainer(network, SGD(1e30), batch_size="full")
    assert trainer.run(1e10 * X, y, epochs=1) == "diverged"
    assert not np.isfinite(network.parameters).all()


@pytest.mark.parametrize("batch_size", [1, 39, "full"])
@pytest.mark.parametrize("width", [25, 128])
def test_nothing_is_left_of_a_divergence_once_there_are_good_weights_again(width, batch_size):
    network = make_network((20, width, 4), "identity", "identity", "squared_error", np.float32)
    X, y = draw_data(network, 55)
    settings = {"batch_size": batch_size, "random_state": 0, "shuffle": False}
    fresh, weights, biases = (
        network.copy(),
        *([w.copy() for w in p] for p in (network.weights, network.biases)),
    )
    Trainer(fresh, Adam(), **settings).run(X, y, epochs=2)
    trainer = Trainer(network, Adam(), **settings)
    for _ in range(2):
        assert trainer.run(1e30 * X, y, epochs=2) == "diverged"
        network.assign(weights, biases)
        trainer.restart()
        assert trainer.run(X, y, epochs=2) == "max_iter"
        np.testing.assert_array_equal(network.parameters, fresh.parameters)


@pytest.mark.parametrize("batch_size", [1, 20])
@pytest.mark.parametrize("epsilon", [1e-46, 1e-300])
def test_an_epsilon_that_float32_does_not_have_is_no_division_by_zero(epsilon, batch_size):
    network = make_network((5, 10, 2), "relu", "identity", "squared_error", np.float32)
    X, y = draw_data(network, 40)
    X[:, 2] = 0  # weights without a gradient
    kept = network.weights[0][2].copy()
    trainer = Trainer(network, Adam(epsilon=epsilon), alpha=0, batch_size=batch_size)
    assert trainer.run(X, y, epochs=3) == "max_iter"
    np.testing.assert_array_equal(network.weights[0][2], kept)
    assert np.isfinite(network.parameters).all()


def test_a_loss_that_overflows_while_the_parameters_do_not_is_no_divergence():
    network = make_network((1, 1), "relu", "identity", "squared_error", np.float32)
    X, y = np.ones((4, 1)), np.full((4, 1), 1e25)
    trainer = Trainer(network, SGD(1e-3), n_iter_no_change=np.inf)
    assert trainer.run(X, y, epochs=3) == "max_iter"
    assert not np.isfinite(trainer.history.loss).any()
    assert np.isfinite(network.parameters).all()


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 'auto', 'full' or an int >= 1; got 0"),
        ({"batch_size": -1}, "batch_size must be 'auto', 'full' or an int >= 1; got -1"),
        ({"batch_size": 2.5}, "batch_size must be 'auto', 'full' or an int >= 1; got 2.5"),
        ({"batch_size": "all"}, "batch_size must be 'auto', 'full' or an int >= 1; got 'all'"),
        ({"batch_size": True}, "batch_size must be 'auto', 'full' or an int >= 1; got True"),
        ({"batch_size": None}, "batch_size must be 'auto', 'full' or an int >= 1; got None"),
        ({"alpha": -1}, r"alpha must be a number in \[0, inf\); got -1"),
        ({"alpha": np.nan}, r"alpha must be a number in \[0, inf\); got nan"),
        ({"alpha": "1"}, r"alpha must be a number in \[0, inf\); got '1'"),
        ({"tol": -1}, r"tol must be a number in \[0, inf\]; got -1"),
        ({"n_iter_no_change": 0}, r"n_iter_no_change must be a number in \[1, inf\]; got 0"),
        ({"n_iter_no_change": 1.5}, "n_iter_no_change must be a whole number or inf; got 1.5"),
        ({"shuffle": "yes"}, "shuffle must be True or False; got 'yes'"),
        ({"n_threads": 0}, "n_threads must be None or an int >= 1; got 0"),
        ({"n_threads": 1.5}, "n_threads must be None or an int >= 1; got 1.5"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Trainer(classifier(), SGD(), **settings)


@pytest.mark.parametrize(
    ("rule", "settings", "message"),
    [
        (SGD, {"learning_rate": 0}, r"learning_rate must be a number in \(0, inf\); got 0"),
        (SGD, {"learning_rate": -1}, r"learning_rate must be a number in \(0, inf\); got -1"),
        (SGD, {"learning_rate": np.nan}, r"learning_rate must be a number in \(0, inf\); got nan"),
        (SGD, {"learning_rate": np.inf}, r"learning_rate must be a number in \(0, inf\); got inf"),
        (SGD, {"momentum": 0.9, "nesterov": "no"}, "nesterov must be True or False; got 'no'"),
        (SGD, {"nesterov": True}, "nesterov=True needs a momentum above 0"),
        (SGD, {"momentum": 1.5}, r"momentum must be a number in \[0, 1\]; got 1.5"),
        (SGD, {"momentum": -0.5}, r"momentum must be a number in \[0, 1\]; got -0.5"),
        (SGD, {"schedule": "cosine"}, "schedule must be one of 'constant', .*; got 'cosine'"),
        (SGD, {"power_t": -1}, r"power_t must be a number in \[0, inf\); got -1"),
        (Adam, {"learning_rate": 0}, r"learning_rate must be a number in \(0, inf\); got 0"),
        (Adam, {"beta_1": 1}, r"beta_1 must be a number in \[0, 1\); got 1"),
        (Adam, {"beta_2": 1.0}, r"beta_2 must be a number in \[0, 1\); got 1"),
        (Adam, {"beta_2": -0.1}, r"beta_2 must be a number in \[0, 1\); got -0.1"),
        (Adam, {"epsilon": 0}, r"epsilon must be a number in \(0, inf\); got 0"),
    ],
)
def test_optimizer_settings_that_are_refused(rule, settings, message):
    with pytest.raises(ValueError, match=message):
        rule(**settings)


GOOD = np.ones((5, 10)), np.zeros(5)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.ones((5, 9)), np.zeros(5)), {}, r"X must have the shape \(n, 10\); got \(5, 9\)"),
        (
            (np.ones((0, 10)), np.zeros(0)),
            {},
            r"X must have at least one row|X must have the shape .* n >= 1",
        ),
        ((np.full((5, 10), np.inf), np.zeros(5)), {}, "X must be finite"),
        ((np.ones((5, 10)), np.zeros(4)), {}, "y must have one row for each row of X, 5; got 4"),
        ((np.ones((5, 10)), np.full(5, 3)), {}, "y must hold class numbers"),
        ((*GOOD, np.zeros(5)), {}, "sample_weight must be above 0 for at least one row"),
        (GOOD, {"epochs": 0}, "epochs must be an int >= 1; got 0"),
        (GOOD, {"epochs": 2.5}, "epochs must be an int >= 1; got 2.5"),
        (GOOD, {"max_time": -1}, r"max_time must be a number in \[0, inf\]; got -1"),
        (GOOD, {"max_time": np.nan}, r"max_time must be a number in \[0, inf\]; got nan"),
    ],
)
def test_runs_that_are_refused_change_nothing(arguments, options, message):
    network = classifier()
    trainer, before = Trainer(network, Adam(), random_state=0), network.parameters.copy()
    with pytest.raises(ValueError, match=message):
        trainer.run(*arguments, **{"epochs": 2} | options)
    np.testing.assert_array_equal(network.parameters, before)
    assert trainer.history.loss == []
    assert trainer.random_state.randint(10**9) == np.random.RandomState(0).randint(10**9)


def test_batches_larger_than_the_data_are_cut_to_it():
    network = classifier()
    X, y = draw_data(network, 30)
    all_rows = [
        parameters_of(network, SGD(0.05), X, y, batch_size=size)[0] for size in (30, 1000, "full", "auto")
    ]
    for parameters in all_rows[1:]:
        np.testing.assert_array_equal(parameters, all_rows[0])


def test_a_trainer_keeps_no_data():
    network = classifier()
    X, y = draw_data(network, 50)
    for batch_size in (1, 20):
        trainer, copy = Trainer(network, Adam(), batch_size=batch_size), X.copy()
        trainer.run(copy, y, epochs=1)
        kept = weakref.ref(copy)
        del copy
        gc.collect()
        assert kept() is None
        assert trainer.n_epochs == 1


@pytest.mark.parametrize("batch_size", [1, 20])
def test_training_leaves_subnormal_numbers_to_the_caller(batch_size):
    network = classifier()
    X, y = draw_data(network, 50)
    Trainer(network, Adam(), batch_size=batch_size).run(X, y, epochs=1)
    small = np.full(8, 1e-40, np.float32)
    assert (small * np.float32(0.5)).all()


def test_one_row_is_enough():
    network = classifier()
    X, y = draw_data(network, 1)
    before = network.loss(X, y)
    for batch_size in ("auto", "full", 1, 10):
        assert Trainer(network, SGD(0.05), batch_size=batch_size).run(X, y, epochs=2) == "max_iter"
    assert network.loss(X, y) < before


@pytest.mark.parametrize("sizes", [(3, 2), (6, 2)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_padding_stays_zero_while_training_diverges(sizes, dtype):
    network = Network.initialize(Architecture(sizes), seed=0, dtype=dtype)
    X = np.full((10, sizes[0]), np.finfo(dtype).max / 2, dtype)
    X[::2] *= -1
    trainer = Trainer(network, Adam(), batch_size=5, random_state=0)
    assert trainer.run(X, np.zeros((10, 2), dtype), epochs=5) == "diverged"
    marked = Network(network.architecture, dtype=dtype)
    for view in (*marked.weights, *marked.biases):
        view[...] = 1
    assert not network.parameters[marked.parameters == 0].any()
    # So a network that is given other weights learns again.
    for view in (*network.weights, *network.biases):
        view[...] = 0.1
    again = Trainer(network, Adam(), batch_size=5, random_state=0)
    assert again.run(0 * X, np.zeros((10, 2), dtype), epochs=2) == "max_iter"
