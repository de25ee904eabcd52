"""Parts: functions that entry points call, compiled apart from them and sometimes by another process."""

import importlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

from fastnn.kernels import apart, cache
from fastnn.kernels.jit import entry
from fastnn.kernels.parts import dereference, part, reference

MODULE = """
from fastnn.kernels.jit import entry
from fastnn.kernels.parts import dereference, part, reference


@part("x", "out")
def scale(given, first, last, factor):
    x, out = dereference(given)
    for i in range(first, last):
        out[i] = factor * x[i]


@part("out")
def shift(given, first, last, amount):
    (out,) = dereference(given)
    for i in range(first, last):
        out[i] += amount


def begins_below_zero(x):
    return x[0] < 0


@part("out", when=begins_below_zero)
def clear_first(given):
    (out,) = dereference(given)
    out[0] = 0


@part("x", "out")
def finish(given, first, last):
    x, out = dereference(given)
    shift(reference((out,)), first, last, 1)
    if x[0] < 0:
        clear_first(reference((out,)))


@entry(reads=["x"], parts=[scale, finish, shift, clear_first])
def double_and_finish(x, out):
    given = reference((x, out))
    scale(given, 0, x.size, 2)
    finish(given, 0, x.size)


@entry(reads=["x"], parts=[scale, shift])
def double_and_add_one(x, out):
    scale(reference((x, out)), 0, x.size, 2)
    shift(reference((out,)), 0, x.size, 1)


@entry(reads=["x"], parts=[scale])
def scale_all_but_the_first(x, factor, out):
    given = reference((x, out))
    for i in range(1, x.size):
        scale(given, i, i + 1, factor)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A fresh module with two parts and two entry points, which another process can import as well."""
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(apart, "count_helpers", lambda: 1)
    monkeypatch.setattr(apart, "PATIENCE", 300.0)
    (tmp_path / "scaling.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("scaling")
    del sys.modules["scaling"]


@pytest.fixture
def started(monkeypatch):
    """The processes that were started."""
    processes, start = [], apart.start

    def recorded(*args):
        processes.append(start(*args))
        return processes[-1]

    monkeypatch.setattr(apart, "start", recorded)
    return processes


@pytest.fixture
def counts():
    """Functions that were compiled and loaded since the test began."""
    before = dict(cache.statistics)
    return lambda: {name: cache.statistics[name] - before[name] for name in before}


def arrays(dtype=np.float32):
    return np.arange(4, dtype=dtype), np.zeros(4, dtype)


def check(module, dtype=np.float32):
    x, out = arrays(dtype)
    module.double_and_add_one(x, out)
    np.testing.assert_array_equal(out, [1, 3, 5, 7])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_half_of_the_parts_are_compiled_by_another_process(module, counts, dtype):
    check(module, dtype)
    assert counts() == {"compiled": 2, "loaded": 1}


@pytest.mark.parametrize("helpers", [1, 2, 5])
def test_every_part_but_the_last_may_have_a_process(module, counts, monkeypatch, started, helpers):
    monkeypatch.setattr(apart, "count_helpers", lambda: helpers)
    x, out = arrays()
    module.double_and_finish(x, out)
    np.testing.assert_array_equal(out, [1, 3, 5, 7])
    assert len(started) == min(helpers, 2)
    assert counts() == {"compiled": 2, "loaded": 2}


@pytest.mark.parametrize("first_values", [[0, -1], [-1, 0]])
def test_a_part_is_compiled_when_a_call_may_come_to_it(module, counts, first_values):
    functions = 4
    for first in first_values:
        functions = 5 if first < 0 else functions
        x, out = arrays()
        for _ in range(2):
            module.double_and_finish(x + first, out)
            np.testing.assert_array_equal(out, [0, 1, 3, 5] if first < 0 else [1, 3, 5, 7])
        assert sum(counts().values()) == functions


def test_threads_that_need_the_same_parts_at_once_compile_them_once(module, counts, started):
    x, _ = arrays()
    # All first calls; then all calls that may come to one more part.
    for values, expected, functions in [(x, [1, 3, 5, 7], 4), (x - 1, [0, 1, 3, 5], 5)]:
        begin, outs = threading.Barrier(4), [np.zeros(4, np.float32) for _ in range(4)]

        def call(out, values=values, begin=begin):
            begin.wait()
            module.double_and_finish(values, out)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(call, outs))
        np.testing.assert_array_equal(outs, [expected] * 4)
        assert sum(counts().values()) == functions
        assert len(started) == 1


def test_a_part_is_shared_by_entry_points_and_compiled_once(module, counts):
    check(module)
    x, out = arrays()
    module.scale_all_but_the_first(x, 3, out)
    np.testing.assert_array_equal(out, [0, 3, 6, 9])
    assert counts() == {"compiled": 3, "loaded": 1}


def test_precisions_do_not_mix(module):
    check(module, np.float32)
    check(module, np.float64)
    check(module, np.float32)


def test_what_is_on_disk_is_compiled_by_nobody(module, counts, monkeypatch):
    check(module)
    del sys.modules["scaling"]
    monkeypatch.setattr(apart, "start", lambda *args: pytest.fail("there is nothing to compile"))
    check(importlib.import_module("scaling"))
    assert counts() == {"compiled": 2, "loaded": 4}


def test_a_single_part_is_compiled_here(module, monkeypatch):
    monkeypatch.setattr(apart, "start", lambda *args: pytest.fail("not worth a process"))
    x, out = arrays()
    module.scale_all_but_the_first(x, 3, out)
    np.testing.assert_array_equal(out, [0, 3, 6, 9])


@pytest.mark.parametrize("program", ["raise SystemExit(1)", "import time; time.sleep(600)", "syntax error"])
def test_a_process_that_fails_or_hangs_is_not_needed(module, counts, started, monkeypatch, program):
    monkeypatch.setattr(apart, "PROGRAM", program)
    monkeypatch.setattr(apart, "PATIENCE", 0.0)
    check(module)
    assert counts() == {"compiled": 3, "loaded": 0}
    (process,) = started
    assert process.returncode is not None


def test_where_no_process_can_be_started_all_is_compiled_here(module, counts, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError("no processes here")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    check(module)
    assert counts() == {"compiled": 3, "loaded": 0}


def test_without_a_folder_for_compiled_code_no_process_is_started(module, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(apart, "start", lambda *args: pytest.fail("its work would be lost"))
    monkeypatch.setitem(cache._state, "warned", True)
    check(module)


def test_an_interrupt_leaves_no_process_behind(module, started, monkeypatch):
    monkeypatch.setattr(apart, "PROGRAM", "import time; time.sleep(600)")

    def interrupted(signature):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.double_and_add_one.dispatcher, "compile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check(module)
    (process,) = started
    assert process.returncode is not None


@pytest.fixture
def large_machine(monkeypatch):
    """Two cores, no limit to memory, an interpreter called python."""
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 2)
    monkeypatch.setattr(apart, "free_memory", lambda: 2**40)
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3.11")
    assert apart.count_helpers() == 1


@pytest.mark.parametrize("program", ["/opt/app/bin/blender", "", None])
def test_a_program_that_embeds_python_is_not_started_again(program, large_machine, monkeypatch):
    monkeypatch.setattr(sys, "executable", program)
    assert apart.count_helpers() == 0


def test_one_core_compiles_in_one_process(large_machine, monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 1)
    assert apart.count_helpers() == 0


@pytest.mark.parametrize("free, helpers", [(2**28, 0), (2**29, 1), (2**31 - 1, 3), (2**40, 7)])
def test_each_process_has_memory_of_its_own(free, helpers, large_machine, monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 8)
    monkeypatch.setattr(apart, "free_memory", lambda: free)
    assert apart.count_helpers() == helpers


def test_unlimited_memory_helps_as_far_as_there_are_cores(large_machine, monkeypatch):
    monkeypatch.setattr(apart, "free_memory", lambda: float("inf"))
    assert apart.count_helpers() == 1


@pytest.mark.parametrize(
    "helpers, runs",
    [(0, []), (1, ["ab"]), (2, ["a", "bc"]), (3, ["a", "b", "c"]), (9, ["a", "b", "c"])],
)
def test_parts_are_dealt_to_as_many_processes_as_there_are(helpers, runs, monkeypatch):
    monkeypatch.setattr(apart, "count_helpers", lambda: helpers)
    assert apart.deal("abcd") == runs


@pytest.mark.parametrize("missing", ["", "a"])
def test_a_part_or_none_is_not_worth_a_process(missing, monkeypatch):
    monkeypatch.setattr(apart, "count_helpers", lambda: pytest.fail("nobody needs to know"))
    assert apart.deal(missing) == []


@pytest.mark.parametrize("limit, free", [(2**29, 2**28), (2**28 + 5, 5)])
def test_the_limit_of_a_container_counts(limit, free, tmp_path, monkeypatch):
    without = apart.free_memory()
    monkeypatch.setattr(apart, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text(f"{limit}\n", encoding="ascii")
    (tmp_path / "memory.current").write_text(f"{2**28}\n", encoding="ascii")
    assert apart.free_memory() == free
    (tmp_path / "memory.max").write_text("max\n", encoding="ascii")
    assert apart.free_memory() == pytest.approx(without, rel=0.5)


def test_modules_in_the_current_folder_are_not_imported(module, counts, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in ("pickle", "numpy", "fastnn"):
        (folder / f"{name}.py").write_text("raise RuntimeError", encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path, "lib"])
    check(module)
    assert counts() == {"compiled": 2, "loaded": 1}


def test_the_other_process_is_as_isolated_as_this_one(tmp_path):
    marker = tmp_path / "marker"
    (tmp_path / "sitecustomize.py").write_text(f"open({str(marker)!r}, 'w')", encoding="utf-8")
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from fastnn.kernels import apart; print(apart.start([], []).wait())"
    )
    for isolated in (True, False):
        command = [sys.executable, *(["-I"] if isolated else []), "-c", code]
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == "0\n"
        assert marker.exists() != isolated


def test_odd_entries_of_the_path_are_no_obstacle(module, counts, tmp_path, monkeypatch):
    class Entry(str):
        pass

    monkeypatch.setattr(sys, "path", [Entry(tmp_path), 5, tmp_path, *sys.path])
    check(module)
    assert counts() == {"compiled": 2, "loaded": 1}


def test_other_settings_than_the_environments_are_not_compiled_for(module, counts, monkeypatch):
    monkeypatch.setattr(numba.config, "LOOP_VECTORIZE", 0)
    check(module)
    assert counts() == {"compiled": 3, "loaded": 0}


def test_what_could_not_be_kept_is_not_compiled_by_another_process(module, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(apart, "start", lambda *args: pytest.fail("its work would be lost"))
    check(module)


def test_an_error_in_a_part_is_one_of_its_caller(tmp_path, monkeypatch):
    @part("x")
    def read_behind(given, at):
        (x,) = dereference(given)
        x[0] = x[at]

    @entry(parts=[read_behind])
    def call(x, at):
        read_behind(reference((x,)), at)

    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(numba.config, "BOUNDSCHECK", 1)
    call(np.ones(4), 3)
    with pytest.raises(IndexError):
        call(np.ones(4), 4)


def test_a_part_may_be_given_arrays_of_different_shapes(tmp_path, monkeypatch):
    @part("x", "out")
    def write_dimensions(given, at):
        x, out = dereference(given)
        out[at] = x.ndim

    def caller():
        @entry(reads=["x"], parts=[write_dimensions])
        def call(x, out):
            write_dimensions(reference((x, out)), 0)

        return call

    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path))
    for dimensions in (2, 1, 2):
        out = np.zeros(1)
        caller()(np.ones((3,) * dimensions), out)
        assert out[0] == dimensions


def test_a_part_takes_what_its_entry_point_declares():
    @part("x")
    def clear(given, first, last):
        (x,) = dereference(given)
        for i in range(first, last):
            x[i] = 0

    @entry(parts=[clear])
    def wrong(x, y):
        clear(reference((y,)), 0, y.size)

    with pytest.raises(numba.TypingError, match="clear"):
        wrong(np.ones(2), np.ones((2, 2)))
