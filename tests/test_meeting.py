"""Where threads meet: the barrier, who came late, and shares of which each thing is done once."""

import numpy as np
import pytest
from numba import TypingError

from fastnn.kernels.jit import kernel
from fastnn.kernels.meeting import (
    BARRIER_SIZE,
    barrier,
    new_barrier,
    note_late,
    reset,
    share,
    take_run,
    was_late,
)
from fastnn.kernels.team import Team

LINE = 16  # numbers from one thread's slot to the next, so that they don't share a cache line


@kernel
def exchange(rank, n_threads, state, slots, mistakes, rounds):
    """Every thread writes its slot; after the barrier each must see what all others have written."""
    for number in range(1, rounds + 1):
        slots[rank * LINE] = number
        barrier(state, n_threads)
        for other in range(n_threads):
            mistakes[rank] += slots[other * LINE] != number
        barrier(state, n_threads)


def check_exchange(team, rounds):
    slots, mistakes = np.zeros(team.n_threads * LINE, np.int64), np.zeros(team.n_threads, np.int64)
    team.run(exchange, team.n_threads, new_barrier(), slots, mistakes, rounds)
    assert slots[::LINE].tolist() == [rounds] * team.n_threads
    assert not mistakes.any()


@pytest.mark.parametrize("n_threads, rounds", [(1, 1000), (2, 20000), (3, 3000), (4, 2000), (8, 500)])
def test_after_a_barrier_every_thread_sees_what_all_have_written(n_threads, rounds):
    with Team(n_threads) as team:
        for _ in range(3):
            check_exchange(team, rounds)


def test_a_barrier_refuses_what_is_not_its_state():
    with pytest.raises(TypingError):
        barrier(np.zeros(3), 2)


def test_who_comes_late_to_a_barrier_is_remembered_once():
    state = new_barrier()
    assert not was_late(state)
    note_late(state)
    note_late(state)
    assert was_late(state)
    assert not was_late(state)


@kernel
def take_runs(rank, n_threads, counters, takers, unit):
    """Every thing is marked by the ranks that take it: takers[thing] counts them in ones, thousands, ..."""
    while True:
        first, last = take_run(counters, 1, rank, n_threads, takers.size, unit)
        if first == last:
            break
        for thing in range(first, last):
            takers[thing] += 1000**rank


@pytest.mark.parametrize("n_threads", [1, 2, 3, 5])
@pytest.mark.parametrize(("total", "unit"), [(0, 1), (1, 4), (7, 1), (64, 4), (1000, 7)])
def test_a_rank_alone_takes_every_thing_once_and_its_own_share_first(total, unit, n_threads):
    counters = np.zeros((3, n_threads, BARRIER_SIZE), np.int64)
    for rank in range(n_threads):
        taken = []
        while True:
            first, last = take_run(counters, 1, rank, n_threads, total, unit)
            if first == last:
                break
            assert last - first <= unit
            taken += range(first, last)
        assert sorted(taken) == list(range(total))
        begin, end = share(total, rank, n_threads)
        assert taken[: end - begin] == list(range(begin, end))
        assert not counters[[0, 2]].any()  # other phases
        for owner in range(n_threads):
            reset(counters[1, owner])


def test_threads_take_every_thing_once_together():
    takers, n_threads = np.zeros(5000, np.int64), 3
    with Team(n_threads) as crew:
        for unit in (1, 3, 16):
            counters = np.zeros((3, n_threads, BARRIER_SIZE), np.int64)
            takers[:] = 0
            crew.run(take_runs, n_threads, counters, takers, unit)
            assert set(takers) <= {1, 1000, 1000**2}
