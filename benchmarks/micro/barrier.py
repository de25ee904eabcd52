"""Microseconds per barrier for 2 to 8 threads, by the number of looks before a core is offered to others; and
of a call that does nothing, with threads that wait for it and with threads of its own.

python benchmarks/micro/barrier.py [SPINS ...]
"""

import statistics
import sys
import time

from fastnn.kernels import meeting
from fastnn.kernels.jit import Kernel
from fastnn.kernels.meeting import barrier, new_barrier
from fastnn.kernels.team import Team

ROUNDS, REPEATS = 20_000, 5


def measure(n_threads, spins):
    """Best of REPEATS: seconds a barrier when nothing is done in between."""
    # The number of looks is a constant of the compiled code, so each one needs kernels of its own.
    meeting.SPINS = spins
    meet = Kernel(barrier.py_func, frozenset())

    def rounds(rank, n_threads, state, count):
        for _ in range(count):
            meet(state, n_threads)

    call, state, best = Kernel(rounds, frozenset()), new_barrier(), float("inf")
    with Team(n_threads) as team:
        team.run(call, n_threads, state, 1)
        for _ in range(REPEATS):
            start = time.perf_counter()
            team.run(call, n_threads, state, ROUNDS)
            best = min(best, (time.perf_counter() - start) / ROUNDS)
    return best


def measure_call(n_threads, pause):
    """Median seconds of a call by a team that exists already, after a pause, and by a new one."""
    waiting, new = [], []
    with Team(n_threads) as team:
        for _ in range(20 * REPEATS):
            time.sleep(pause)
            start = time.perf_counter()
            team.run(lambda rank: None)
            waiting.append(time.perf_counter() - start)
    for _ in range(20 * REPEATS):
        start = time.perf_counter()
        with Team(n_threads) as team:
            team.run(lambda rank: None)
        new.append(time.perf_counter() - start)
    return statistics.median(waiting), statistics.median(new)


if __name__ == "__main__":
    for spins in [int(text) for text in sys.argv[1:]] or [meeting.SPINS]:
        for n_threads in (2, 3, 4, 8):
            print(f"{spins:6d} looks  {n_threads} threads  {1e6 * measure(n_threads, spins):8.3f} us")
    for n_threads in (2, 4):
        for pause in (0, 0.002, 0.02):
            waiting, new = measure_call(n_threads, pause)
            label = f"{n_threads} threads  called after {1e3 * pause:g} ms"
            print(f"{label:38s}{1e6 * waiting:8.0f} us, with new threads {1e6 * new:8.0f} us")
