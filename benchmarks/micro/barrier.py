"""Microseconds per barrier for 2 to 8 threads, by the number of looks before a core is offered to others.

python benchmarks/micro/barrier.py [SPINS ...]
"""

import sys
import time

import fastnn.kernels.team as team_module
from fastnn.kernels.jit import Kernel
from fastnn.kernels.team import Team, barrier, new_barrier

ROUNDS, REPEATS = 20_000, 5


def measure(n_threads, spins):
    """Best of REPEATS: seconds a barrier when nothing is done in between."""
    # The number of looks is a constant of the compiled code, so each one needs kernels of its own.
    team_module.SPINS = spins
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


if __name__ == "__main__":
    for spins in [int(text) for text in sys.argv[1:]] or [team_module.SPINS]:
        for n_threads in (2, 3, 4, 8):
            print(f"{spins:6d} looks  {n_threads} threads  {1e6 * measure(n_threads, spins):8.3f} us")
