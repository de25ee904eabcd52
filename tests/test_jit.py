"""Entry points: which arguments they take, and how often they compile."""

import ctypes
import gc
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np
import pytest
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompileResult

from fastnn.kernels.interrupts import interrupts_held
from fastnn.kernels.jit import entry, kernel


class Pair(NamedTuple):
    matrix: np.ndarray
    vector: np.ndarray
    number: int


@entry(reads=["pair"])
def weigh(pair, out, scale):
    for i in range(out.size):
        out[i] = scale * pair.number * pair.matrix[i, 0] * pair.vector[i]


def arguments(dtype=np.float64, *, writable=True):
    arrays = np.full((3, 2), 2, dtype), np.arange(3, dtype=dtype)
    for array in arrays:
        array.flags.writeable = writable
    return Pair(*arrays, 5), np.empty(3, dtype)


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path))


def test_flags_of_arrays_never_lead_to_another_compilation():
    for dtype in (np.float32, np.float64):
        for writable in (False, True):
            pair, out = arguments(dtype, writable=writable)
            weigh(pair, out, 0.5)
            np.testing.assert_array_equal(out, [0, 5, 10])
    assert len(weigh.dispatcher.overloads) == 2


def test_memory_maps_are_arrays(tmp_path):
    pair, out = arguments()
    np.save(tmp_path / "matrix.npy", pair.matrix)
    weigh(pair._replace(matrix=np.load(tmp_path / "matrix.npy", mmap_mode="r")), out, 1.0)
    np.testing.assert_array_equal(out, [0, 10, 20])


@pytest.mark.filterwarnings("error")
def test_ctrl_c_in_a_callback_of_llvm_is_not_lost(monkeypatch):
    @entry(reads=["x"])
    def treble(x, out):
        for i in range(x.size):
            out[i] = 3 * x[i]

    finalize, handler = JITCodeLibrary._finalize_specific, signal.getsignal(signal.SIGINT)
    callback = ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGINT))

    def interrupted(library):
        callback()
        finalize(library)

    monkeypatch.setattr(JITCodeLibrary, "_finalize_specific", interrupted)
    out = np.zeros(3)
    with pytest.raises(KeyboardInterrupt):
        treble(np.ones(3), out)
    assert signal.getsignal(signal.SIGINT) is handler
    monkeypatch.undo()
    treble(np.ones(3), out)
    np.testing.assert_array_equal(out, 3)


def test_ctrl_c_while_code_comes_from_disk_is_not_lost(monkeypatch):
    def fourfold(x, out):
        for i in range(x.size):
            out[i] = 4 * x[i]

    rebuild, out = CompileResult._rebuild, np.zeros(3)
    callback = ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGINT))

    def interrupted(*parts):
        callback()
        return rebuild(*parts)

    entry(reads=["x"])(fourfold)(np.ones(3), out)
    monkeypatch.setattr(CompileResult, "_rebuild", interrupted)
    with pytest.raises(KeyboardInterrupt):
        entry(reads=["x"])(fourfold)(np.ones(3), out)


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it():
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)


def test_an_error_within_leaves_the_handler_of_ctrl_c_and_each_ctrl_c_is_told():
    heard = []
    before = signal.signal(signal.SIGINT, mine := lambda *arrived: heard.append(arrived))
    try:
        with pytest.raises(ZeroDivisionError), interrupts_held():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert not heard
            raise ZeroDivisionError
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(heard) == 2


def test_other_threads_compile_without_a_word_to_signals():
    @entry(reads=["x"])
    def halve(x, out):
        for i in range(x.size):
            out[i] = x[i] / 2

    out = np.zeros(3)
    with ThreadPoolExecutor() as threads:
        threads.submit(halve, np.ones(3), out).result()
    np.testing.assert_array_equal(out, 0.5)


@pytest.mark.parametrize("scale", [2, 2.0, np.float32(2), np.int64(2)])
def test_any_number_will_do_for_a_real_one(scale):
    pair, out = arguments()
    weigh(pair, out, 0.5)
    weigh(pair, out, scale)
    np.testing.assert_array_equal(out, [0, 20, 40])


def in_fortran_order(pair, out):
    return pair._replace(matrix=np.asfortranarray(pair.matrix)), out, 1.0


def in_another_precision(pair, out):
    return pair._replace(vector=pair.vector.astype(np.float32)), out, 1.0


def in_one_dimension(pair, out):
    return pair._replace(matrix=pair.vector), out, 1.0


def with_a_fraction_for_an_integer(pair, out):
    return pair._replace(number=1.5), out, 1.0


def with_a_plain_tuple(pair, out):
    return tuple(pair), out, 1.0


def with_read_only_output(pair, out):
    out.flags.writeable = False
    return pair, out, 1.0


def with_too_few(pair, out):
    return pair, out


@pytest.mark.parametrize(
    "wrong, named",
    [
        (in_fortran_order, "pair.matrix"),
        (in_another_precision, "pair"),
        (in_one_dimension, "pair"),
        (with_a_fraction_for_an_integer, "pair"),
        (with_a_plain_tuple, "pair"),
        (with_read_only_output, "out"),
        (with_too_few, "3 arguments"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(wrong, named):
    weigh(*arguments(), 1.0)
    with pytest.raises(TypeError, match=named):
        weigh(*wrong(*arguments()))


def test_the_compiler_refuses_to_write_what_is_only_read():
    @entry(reads=["x"])
    def wrong(x):
        x[0] = 1

    with pytest.raises(numba.TypingError, match="readonly array"):
        wrong(np.ones(1))


def test_only_an_argument_can_be_read():
    with pytest.raises(TypeError, match="'Y'"):

        @entry(reads=["X", "Y"])
        def wrong(X):
            return X


def test_kernels_keep_nan_and_inf():
    @kernel
    def classify(x):
        return np.isnan(x), np.isinf(x)

    assert classify(np.nan) == (True, False)
    assert classify(-np.inf) == (False, True)


def test_exact_kernels_keep_the_order_of_operations():
    @kernel(exact=True)
    def rounded(x, large):
        return (x + large) - large

    assert rounded(0.3, 2.0**52) == 0.0


FORK = """
import os, threading
from numba.core.compiler_lock import global_compiler_lock
import fastnn.kernels.jit

held, done = threading.Event(), threading.Event()

def compile_something():
    with global_compiler_lock:
        held.set()
        done.wait(0.5)

threading.Thread(target=compile_something).start()
held.wait()
child = os.fork()
if child == 0:
    os._exit(0 if global_compiler_lock._lock.acquire(timeout=5) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_child_forked_during_a_compilation_can_compile():
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("was_on", [True, False])
def test_garbage_is_collected_again_after_compiling_as_after_failing_to(was_on):
    @entry
    def double(x, out):
        out[0] = 2 * x[0]

    @entry
    def broken(x, out):
        out[0] = x.no_such_field

    (gc.enable if was_on else gc.disable)()
    try:
        double(np.ones(1), np.ones(1))
        assert gc.isenabled() == was_on
        with pytest.raises(numba.TypingError, match="no_such_field"):
            broken(np.ones(1), np.ones(1))
        assert gc.isenabled() == was_on
    finally:
        gc.enable()


def test_a_compiler_that_is_turned_off_is_named():
    command = [sys.executable, "-c", "import fastnn.kernels.loops"]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    result = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert result.returncode == 1
    assert "ImportError: fastnn is compiled by Numba, which NUMBA_DISABLE_JIT=1 forbids" in result.stderr
