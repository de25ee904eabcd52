"""The engine as processes see it: what is compiled, what is counted, what a call leaves behind."""

import gc
import json
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from fastnn import SGD, Adam, Architecture, Network, Trainer, kernels
from fastnn.engine import Session

WORK = textwrap.dedent("""
    import json, sys
    import numpy as np
    import fastnn
    assert "numba" not in sys.modules, "import fastnn imports Numba"
    from fastnn import MLPClassifier, MLPRegressor
    assert "numba" not in sys.modules, "the estimators import Numba"
    from scipy.sparse import csr_array
    from numba.core import event
    compilations = event.RecordingListener()
    event.register("numba:compile", compilations)
    X = np.random.RandomState(0).rand(60, 5)
    results = []
    for model in (
        MLPClassifier(max_iter=3, n_iter_no_change=10, random_state=0),
        MLPRegressor(max_iter=3, batch_size=1, solver="sgd", random_state=0),
        MLPClassifier(max_iter=3, solver="lbfgs", random_state=0),
    ):
        y = np.arange(60) % 3 if isinstance(model, MLPClassifier) else X[:, 0]
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X.astype("float32"), y)
        results += [float(np.abs(w).sum()) for w in model.coefs_] + [float(model.predict(X[:7]).sum())]
    # What only some data need is compiled when they come, to a model that knows others.
    dense, y = np.random.RandomState(1).rand(300, 40).astype("float32"), np.arange(300) % 3
    zeros = np.where(dense < 0.1, dense, np.float32(0))
    model = MLPClassifier(random_state=0)
    for rows in (dense, zeros, dense, csr_array(zeros), csr_array(dense), zeros):
        model.partial_fit(rows, y, classes=[0, 1, 2])
        results += [float(np.abs(w).sum()) for w in model.coefs_] + [float(model.predict_proba(rows).std())]
    few_rows = MLPClassifier(batch_size=8, random_state=0).partial_fit(dense, y, classes=[0, 1, 2])
    results.append(float(few_rows.loss_))
    from fastnn.kernels import cache
    print(json.dumps([results, cache.statistics, len(compilations.buffer)]))
""")


def run_work(folder):
    environment = {"FASTNN_CACHE_DIR": str(folder), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WORK], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_second_process_finds_all_kernels_and_gets_the_same_numbers(tmp_path):
    first, second = run_work(tmp_path), run_work(tmp_path)
    assert first[1]["compiled"] > 0
    assert second[1]["compiled"] == second[2] == 0
    assert first[2] > 0
    # Another process may have compiled some for the first one.
    assert second[1]["loaded"] == first[1]["compiled"] + first[1]["loaded"]
    assert second[0] == first[0]


class Asked(Exception):
    """Which entry point was asked for machine code."""


@pytest.mark.parametrize(
    ("sizes", "batch_size", "n_threads", "loop"),
    [
        ((5, 20, 3), 128, 1, "train_small"),
        ((5, 20, 3), 128, 2, "train_small"),
        ((5, 20, 3), 256, 3, "train"),  # two take the same steps, more do not
        ((5, 20, 3), 32, 2, "train"),  # not enough rows for shards
        ((300, 200, 3), 128, 2, "train"),  # not a small network
        ((5, 20, 3), 1, 1, "train_samples"),
    ],
)
def test_a_fit_needs_one_kind_of_loop(monkeypatch, sizes, batch_size, n_threads, loop):
    """Whatever has to be compiled anew is compiled once, so a fit waits for no loop but its own."""

    def asked(name):
        def ask(*args):
            raise Asked(name)

        return ask

    for name in ("train", "train_small", "train_samples"):
        monkeypatch.setattr(getattr(kernels, name), "code_for", asked(name))
    network = Network.initialize(Architecture(sizes), seed=0)
    X, y = np.ones((256, sizes[0]), np.float32), np.ones((256, sizes[-1]), np.float32)
    trainer = Trainer(network, Adam(), batch_size=batch_size, n_threads=n_threads, random_state=0)
    with pytest.raises(Asked, match=f"^{loop}$"):
        trainer.run(X, y, epochs=1)


# Of a part that no run before has needed there is no code: to jump to it ends the process.
LATE_SOLVER = textwrap.dedent("""
    import numpy as np
    from fastnn import SGD, Adam, Architecture, Network, Trainer
    X, y = np.random.RandomState(0).rand(50, 3).astype("f4"), np.ones((50, 1), "f4")
    parameters = []
    for first in (SGD(), Adam()):
        trainer = Trainer(Network.initialize(Architecture((3, 8, 1)), seed=0), first, batch_size=10)
        if first.code != Adam().code:
            trainer.run(X, y, epochs=1)
            trainer.network.parameters[...] = Network.initialize(Architecture((3, 8, 1)), seed=0).parameters
            trainer.optimizer = Adam()
        trainer.random_state = np.random.RandomState(1)
        trainer.run(X, y, epochs=1)
        parameters.append(trainer.network.parameters.tobytes())
    assert parameters[0] == parameters[1]
""")


def test_a_solver_that_is_assigned_later_finds_its_code():
    done = subprocess.run([sys.executable, "-c", LATE_SOLVER], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def trained(batch_size, optimizer=None, epochs=2):
    random = np.random.RandomState(0)
    X, y = random.rand(50, 3).astype(np.float32), random.rand(50, 1)
    network = Network.initialize(Architecture((3, 4, 1)), seed=0)
    Trainer(network, optimizer or SGD(0.01), batch_size=batch_size, random_state=0).run(X, y, epochs=epochs)
    return network


@pytest.mark.parametrize("batch_size", [1, 10])
def test_training_leaves_subnormal_numbers_to_other_code(batch_size):
    small = np.float32(1e-30)
    trained(batch_size)
    assert small * np.float32(1e-10) == np.float32(1e-40)
    assert float(np.float32(1e-40)) > 0


@pytest.mark.parametrize("batch_size", [1, 10])
def test_a_call_neither_keeps_nor_loses_references(batch_size):
    network = trained(batch_size)
    X, y = np.random.RandomState(0).rand(50, 3).astype(np.float32), np.zeros((50, 1), np.float32)
    trainer = Trainer(network, Adam(), batch_size=batch_size, random_state=0)
    trainer.run(X, y, epochs=1)
    network.forward(X)
    gc.collect()
    before = [sys.getrefcount(X), sys.getrefcount(y), sys.getrefcount(network.parameters)]
    for _ in range(20):
        trainer.run(X, y, epochs=1)
        network.forward(X)
    gc.collect()
    assert [sys.getrefcount(X), sys.getrefcount(y), sys.getrefcount(network.parameters)] == before


def test_moments_of_idle_weights_end_at_zero():
    """An input that is always 0 has no gradient but the penalty's; 2000 steps later nothing is subnormal."""
    X = np.zeros((8, 2), np.float32)
    X[:, 0] = np.linspace(-1, 1, 8)
    network = Network.initialize(Architecture((2, 3, 1)), seed=0)
    trainer = Trainer(network, SGD(1e-3, momentum=0.5), batch_size="full", random_state=0, tol=0)
    trainer.run(X, X[:, :1], epochs=2000)
    values = np.abs(trainer.state.first)
    assert not ((values > 0) & (values < np.finfo(np.float32).tiny)).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("copied", [False, True])
def test_what_a_step_walks_through_begins_in_different_quarters_of_a_page(dtype, copied):
    """A load waits for a store that lies just before it in another page (benchmarks/micro/pages.py)."""
    network = Network.initialize(Architecture((3, 40, 1)), seed=0, dtype=dtype)
    network = pickle.loads(pickle.dumps(network.copy())) if copied else network
    trainer = Trainer(network, Adam(), batch_size=10, random_state=0)
    trainer.run(np.ones((20, 3), dtype), np.ones((20, 1), dtype), epochs=1)
    session = trainer._session
    vectors = [network.parameters, trainer.state.first, trainer.state.second]
    vectors += [session.gradients, session.work.windows]
    assert [vector.ctypes.data % 4096 for vector in vectors] == [0, 1024, 2048, 3072, 3072]


def test_what_a_second_thread_keeps_begins_in_the_same_quarters():
    network = Network.initialize(Architecture((10, 33, 3)), seed=0)
    session = Session((10, 33, 3), network.architecture.codes, network.parameters, 150, n_threads=2)
    assert [vector.ctypes.data % 4096 for vector in session.replicas[0]] == [0, 1024, 2048]
