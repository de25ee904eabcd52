"""How many threads a computation may use."""

from __future__ import annotations

import os
import threading
import time
from functools import cache
from typing import Any

# The variables that joblib sets in its worker processes, and that people set to keep a program small. The
# first is the one that scikit-learn's own threads obey.
LIMITS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


def usable_threads() -> int:
    """Number of threads that this process may use, at least 1.

    Its cores (as counted by joblib, which knows containers and affinity), but no more than OMP_NUM_THREADS or
    NUMBA_NUM_THREADS allow, and 1 in a worker of joblib that shares the cores with others and was given no
    number.

    Examples
    --------
    >>> from fastnn.threads import usable_threads
    >>> usable_threads() >= 1
    True
    """
    from joblib.parallel import get_active_backend

    limits = [int(text) for text in map(_first_number, LIMITS) if text.isdecimal() and int(text) > 0]
    backend, _ = get_active_backend()
    if not limits and backend.nesting_level:
        limits = [1]
    return max(1, min([count_cores(*_affinity()), *limits]))


class TakenCores:
    """Remembers that another program has taken a core: the next calls begin with one thread fewer.

    A team gets smaller within a call when one of its threads comes late, but every call would have to find
    that out again, which takes it some milliseconds. After a while all threads are tried once more, after
    twice the time if one is late again. Results don't depend on the number of threads.

    >>> taken = TakenCores()
    >>> taken.note(wanted=8, begun=8, ended=7)
    >>> taken.leave(8), taken.leave(2)
    (7, 2)
    """

    FIRST_SECONDS, MOST_SECONDS = 0.05, 1.6

    def __init__(self) -> None:
        self._free, self._seconds, self._until = 0, 0.0, 0.0

    def leave(self, wanted: int) -> int:
        """Threads to begin with, where `wanted` would be best."""
        return min(wanted, self._free) if time.monotonic() < self._until else wanted

    def note(self, wanted: int, begun: int, ended: int) -> None:
        """A call has begun with so many threads and ended with so many."""
        if ended < begun:
            self._seconds = min(max(2 * self._seconds, self.FIRST_SECONDS), self.MOST_SECONDS)
            self._free, self._until = ended, time.monotonic() + self._seconds
        elif begun == wanted > 1:
            self._seconds = 0.0


@cache
def count_cores(cores: int, limit: str) -> int:
    """joblib's count of cores, which takes 90 us: once for each affinity and limit."""
    import joblib

    count: int = joblib.cpu_count()
    return count


def turn_of(turns: dict[int, Any]) -> Any:
    """The lock of this process, of those that `turns` has by process. A forked child has one of its own: its
    parent's may be held by a thread that the child doesn't have. Reentrant, so that a call within a call
    meets an error and not itself.
    """
    return turns.setdefault(os.getpid(), threading.RLock())


def _affinity() -> tuple[int, str]:
    """What the process may change about its cores: how many it may use, and joblib's limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return cores, os.environ.get("LOKY_MAX_CPU_COUNT", "")


def _first_number(variable: str) -> str:
    """OMP_NUM_THREADS may list a number for each level of nesting: "4,2"."""
    return os.environ.get(variable, "").partition(",")[0].strip()
