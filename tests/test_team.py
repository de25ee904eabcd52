"""Threads of a team, and what happens when something goes wrong."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import joblib
import numpy as np
import pytest
from test_meeting import check_exchange

from fastnn import threads
from fastnn.kernels import team
from fastnn.kernels.jit import kernel
from fastnn.kernels.meeting import barrier, new_barrier, new_counter, take_next
from fastnn.kernels.placement import leave_shared_core
from fastnn.kernels.team import Team, run_with_helpers
from fastnn.threads import TakenCores, usable_threads


def test_all_ranks_run_at_the_same_time():
    meeting = threading.Barrier(3, timeout=30)
    ranks = []

    def meet(rank, number):
        meeting.wait()
        ranks.append((rank, number))

    with Team(3) as team:
        team.run(meet, 5)
    assert sorted(ranks) == [(0, 5), (1, 5), (2, 5)]


def test_some_ranks_run_where_not_all_are_asked_for():
    called = []
    with Team(3) as team:
        for ranks in (2, 1, 3):
            team.run(lambda rank, turn: called.append((turn, rank)), ranks, ranks=ranks)
    assert sorted(called) == [(turn, rank) for turn in (1, 2, 3) for rank in range(turn)]


@kernel
def take_all(rank, n_threads, state, counter, takers, takes):
    barrier(state, n_threads)
    while True:
        piece = take_next(counter)
        if piece >= takers.size:
            break
        takers[piece] = rank
        takes[piece] += 1


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_helpers_and_the_caller_do_each_piece_once(n_threads):
    all_takers = set()
    for _ in range(20):
        takers, takes = np.full(50_000, -1), np.zeros(50_000, np.int64)
        run_with_helpers(n_threads, take_all, n_threads, new_barrier(), new_counter(), takers, takes)
        assert (takes == 1).all()
        all_takers.update(takers)
    assert all_takers <= set(range(n_threads))
    assert len(all_takers) > 1 or n_threads == 1


def test_nobody_waits_for_a_helper_that_has_not_begun(monkeypatch):
    late = []
    monkeypatch.setattr(team._thread, "start_new_thread", lambda run, args: late.append(run))
    called = []
    run_with_helpers(3, called.append)
    assert called == [0]
    for run in late:  # it finds that it is not needed any more
        run()
    assert called == [0]


def test_threads_of_a_team_that_could_not_all_be_started_end(monkeypatch):
    start, started, ended = team._thread.start_new_thread, [], threading.Event()

    def refuse_the_second(function, args):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(start(lambda: (function(*args), ended.set()), ()))

    monkeypatch.setattr(team._thread, "start_new_thread", refuse_the_second)
    with Team(2) as pair, pytest.raises(RuntimeError, match="start new thread"):
        pair.run(lambda rank: None)
    assert ended.wait(30)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_the_exception_of_a_signal_is_raised_after_all_ranks_have_returned():
    def late(number, frame):
        raise TimeoutError("a signal")

    before, returned = signal.signal(signal.SIGALRM, late), []

    def run(rank):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGALRM)
        time.sleep(0.3)
        returned.append(rank)

    try:
        with Team(2) as pair:
            with pytest.raises(TimeoutError, match="a signal"):
                pair.run(run)
            assert sorted(returned) == [0, 1]
            check_exchange(pair, 10)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_the_caller_works_alone_where_no_thread_can_be_started(monkeypatch):
    def refuse(function, args):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(team._thread, "start_new_thread", refuse)
    takers, takes = np.full(100, -1), np.zeros(100, np.int64)
    run_with_helpers(4, take_all, 1, new_barrier(), new_counter(), takers, takes)
    assert (takers == 0).all() and (takes == 1).all()


def test_a_helper_that_has_begun_is_waited_for():
    begun, done = threading.Event(), []

    def function(rank):
        if rank:
            begun.set()
            time.sleep(0.2)
        else:
            assert begun.wait(30)
        done.append(rank)

    run_with_helpers(2, function)
    assert done == [0, 1]


@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_of_the_caller_or_of_a_helper_is_raised(failing):
    begun, returned = threading.Event(), []

    def function(rank):
        if rank == 1:
            begun.set()
        assert begun.wait(30)
        if rank == failing:
            raise ValueError(f"rank {rank}")
        returned.append(rank)

    with pytest.raises(ValueError, match=f"rank {failing}"):
        run_with_helpers(2, function)
    assert returned == [1 - failing]


def test_a_taken_core_is_left_for_twice_as_long_each_time(monkeypatch):
    now = 100.0
    monkeypatch.setattr(threads.time, "monotonic", lambda: now)
    taken = TakenCores()
    assert taken.leave(4) == 4
    for seconds in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 1.6):
        taken.note(4, begun=4, ended=3)
        now += 0.99 * seconds
        assert [taken.leave(wanted) for wanted in (8, 4, 3, 2, 1)] == [3, 3, 3, 2, 1]
        taken.note(4, begun=3, ended=3)  # tells nothing about the fourth core
        now += 0.02 * seconds
        assert taken.leave(4) == 4
    # One more is taken while the first one still is.
    taken.note(4, begun=4, ended=3)
    taken.note(4, begun=3, ended=2)
    assert taken.leave(4) == 2
    # All threads came in time: the next pause is a short one.
    now += 2
    taken.note(1, begun=1, ended=1)
    taken.note(4, begun=4, ended=4)
    taken.note(4, begun=4, ended=3)
    now += 0.06
    assert taken.leave(4) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a thread its core")
def test_where_cores_may_not_be_chosen_a_thread_works_where_it_is(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    cores = []
    for _ in range(3):
        leave_shared_core(cores)
    assert len(cores) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a thread its core")
def test_a_thread_leaves_a_core_that_is_taken_and_may_go_anywhere_afterwards():
    allowed = os.sched_getaffinity(0)
    cores = []
    for _ in allowed:
        leave_shared_core(cores)
    assert sorted(cores) == sorted(allowed)
    leave_shared_core(cores)  # nowhere left to go
    assert cores[-1] in allowed
    assert os.sched_getaffinity(0) == allowed


def test_a_team_keeps_its_threads_until_it_ends():
    members = set()

    def note(rank):
        members.add(threading.get_ident())

    with Team(2) as team:
        for _ in range(5):
            team.run(note)
        assert len(members) == 2
    patience = time.monotonic() + 10  # a thread says that it ends just before it does
    while not members.isdisjoint(sys._current_frames()) and time.monotonic() < patience:
        time.sleep(0.001)
    assert members.isdisjoint(sys._current_frames())


def test_a_team_of_one_runs_in_the_caller():
    callers = []
    with Team(1) as team:
        team.run(lambda rank: callers.append(threading.current_thread()))
    assert callers == [threading.current_thread()]


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_exceptions_are_raised_after_all_ranks_have_returned(n_threads):
    returned = []

    def fail_in_the_last(rank):
        if rank == n_threads - 1:
            raise ValueError(f"rank {rank}")
        time.sleep(0.1)
        returned.append(rank)

    with Team(n_threads) as team:
        with pytest.raises(ValueError, match=f"rank {n_threads - 1}"):
            team.run(fail_in_the_last)
        assert sorted(returned) == list(range(n_threads - 1))
        check_exchange(team, 10)


def test_arrays_are_let_go_after_a_run():
    class Big:
        pass

    released = threading.Event()
    big = Big()
    weakref.finalize(big, released.set)
    with Team(2) as team:
        team.run(lambda rank, array: None, big)
        del big
        assert released.wait(10)


def test_teams_of_several_threads_do_not_disturb_each_other():
    def work():
        with Team(2) as team:
            for _ in range(20):
                check_exchange(team, 20)
        finished.append(True)

    finished = []
    callers = [threading.Thread(target=work) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(finished) == 3


@pytest.mark.skipif(os.name == "nt", reason="a process can't interrupt itself on Windows")
def test_an_interrupt_surfaces_after_all_ranks_have_returned():
    returned = []

    def interrupted(rank):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        returned.append(rank)

    with Team(2) as team:
        with pytest.raises(KeyboardInterrupt):
            team.run(interrupted)
        assert sorted(returned) == [0, 1]
        check_exchange(team, 10)


# An interrupt at the first, the second, the third instruction of a run, and so on. A team that let it through
# between two ranks would leave the first at the barrier, and this would never end.
INTERRUPTS = """
import itertools, sys
from fastnn.kernels import team as module
from test_meeting import check_exchange

def interrupt_at(number):
    instructions = itertools.count(1)

    def trace(frame, event, _):
        if frame.f_code.co_filename != module.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and next(instructions) == number:
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)

def until_none_comes(exchange):
    for number in itertools.count(1):
        try:
            interrupt_at(number)
            exchange()
        except KeyboardInterrupt:
            continue
        finally:
            sys.settrace(None)
        return number

def whole_life():
    with module.Team(2) as team:
        check_exchange(team, 1)

with module.Team(2) as team:
    check_exchange(team, 1)
    enough = until_none_comes(lambda: check_exchange(team, 1)) >= 100
    check_exchange(team, 1)
raise SystemExit(not enough or until_none_comes(whole_life) < 200)
"""

FORK = """
import os
from test_meeting import check_exchange
from fastnn.kernels.team import Team

with Team(2) as team:
    check_exchange(team, 10)
    child = os.fork()
    check_exchange(team, 10)
if child == 0:
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("script", [pytest.param(INTERRUPTS, id="interrupts"), pytest.param(FORK, id="fork")])
def test_nothing_waits_for_ever(script):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    assert subprocess.run(command, env=environment, timeout=60, check=False).returncode == 0


class TestUsableThreads:
    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
        monkeypatch.setattr(threads, "count_cores", lambda *_: 8)

    def test_without_a_limit_all_cores_count(self):
        assert usable_threads() == 8

    @pytest.mark.parametrize(
        "limit, expected", [("3", 3), ("20", 8), ("2,4", 2), ("", 8), ("many", 8), ("0", 8)]
    )
    def test_limits_in_the_environment(self, limit, expected, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
        assert usable_threads() == expected

    def test_a_changed_limit_is_counted_anew(self, monkeypatch):
        monkeypatch.undo()
        for name in threads.LIMITS:
            monkeypatch.delenv(name, raising=False)
        for limit in ("1", "2", "1"):
            monkeypatch.setenv("LOKY_MAX_CPU_COUNT", limit)
            assert usable_threads() == joblib.cpu_count()

    def test_threads_of_joblib_share_the_cores(self):
        parallel = joblib.Parallel(n_jobs=2, backend="threading")
        assert parallel(joblib.delayed(usable_threads)() for _ in range(2)) == [1, 1]


def test_worker_processes_of_joblib_keep_to_their_share():
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        assert joblib.Parallel(n_jobs=2)(joblib.delayed(usable_threads)() for _ in range(2)) == [1, 1]


# Shares, of which threads take runs
