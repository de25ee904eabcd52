"""Threads that stay together for a fit: Python threads inside compiled calls.

Every thread of a team makes the same call with its own rank, and kernels release the GIL. Not Numba's
`parallel=True`: its workqueue aborts when two threads enter, its OpenMP layer kills forked children, and its
sums depend on the number of threads.
"""

import _thread
import contextlib
import os
import threading
from queue import SimpleQueue
from typing import Any

from fastnn.kernels.placement import leave_shared_core


class _Task:
    """One call in a thread of a team. It runs once, however often it is queued.

    Plain locks: an interrupt inside `threading.Condition`, or a `Future`, can leave it locked for ever.
    """

    def __init__(self, function, args):
        self.call = function, args
        self.done, self.error = False, None
        self.begun, self.finished = threading.Lock(), threading.Lock()
        self.finished.acquire()

    def run(self):
        if not self.begun.acquire(blocking=False):
            return
        function, args = self.call
        try:
            function(*args)
        except BaseException as error:
            self.error = error
        self.call = None
        self.done = True
        self.finished.release()


def _work(tasks, ended):
    """Life of a thread: one task after the other, until there is None."""
    try:
        while (task := tasks.get()) is not None:
            task.run()
            del task  # while it waits, it keeps no arrays alive
    finally:
        ended.release()


def _tasks_of(function, args, ranks):
    """Tasks that call function(rank, *args), each on a core of its own if it can."""
    cores: list[int] = []

    def run_rank(rank):
        leave_shared_core(cores)
        function(rank, *args)

    return [_Task(run_rank, (rank,)) for rank in range(ranks)]


def run_with_helpers(n_threads, function, *args):
    """Call function(rank, *args) here with rank 0, and with other ranks in threads of their own meanwhile.

    For functions that share pieces of work by `take_next` and never wait for each other: what rank 0 finds
    left when it starts, it could do alone. So nobody waits for a thread that has not begun yet, because its
    core is taken, say; it never will then. After an interrupt, one that has begun may still finish its piece.
    """
    own, *others = tasks = _tasks_of(function, args, n_threads)
    try:
        with contextlib.suppress(RuntimeError):  # the system has no thread left
            for task in others:
                _thread.start_new_thread(task.run, ())
        own.run()
    finally:
        for task in others:
            if task.begun.acquire(blocking=False):
                task.call = None  # until its core is free, it would keep the arrays alive
            else:
                task.finished.acquire()
    for task in tasks:
        if task.error:
            raise task.error


class Team:
    """`n_threads` threads that run the same function together, for the length of a fit.

    Ranks run in threads of the team while the caller waits. An interrupt can hit the caller between any two
    instructions; if it called a rank itself, it could leave the others at a barrier, waiting for ever for the
    one that it never called. A single rank waits for nobody: it runs in the caller.

    >>> with Team(2) as team:
    ...     team.run(print, "is a rank")  # doctest: +SKIP
    0 is a rank
    1 is a rank
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._queues: list[SimpleQueue[Any]] = []
        self._ended: list[Any] = []  # locks that the threads release
        self._tasks: list[_Task] = []  # of the last run
        self._process = 0  # the one that has the threads

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, *exception: object) -> None:
        self._complete_last_run()
        for queue in self._queues:
            queue.put(None)
        if self._process == os.getpid():
            for ended in self._ended:
                ended.acquire()
        self._queues, self._ended, self._tasks, self._process = [], [], [], 0

    def run(self, function, *args, ranks: int | None = None) -> None:
        """Call function(rank, *args) on the first `ranks` ranks, or on all; return when all have returned.

        An exception of a rank is raised here, after all ranks have returned, and so is one of a signal, such
        as an interrupt.
        """
        ranks = self.n_threads if ranks is None else ranks
        if ranks == 1:
            function(0, *args)
            return
        self._start()
        self._complete_last_run()
        tasks = self._tasks = _tasks_of(function, args, ranks)
        queued, signal, waiting = list(zip(self._queues[:ranks], tasks, strict=True)), None, True
        # Queued by the caller, not by the first rank: 250 -> 130 us for two (benchmarks/micro/barrier.py). A
        # task runs once, however often it is queued, so a signal may come anywhere: no rank is left out.
        while waiting:
            try:
                for queue, task in queued:
                    queue.put(task)
                for task in tasks:
                    if not task.done:
                        task.finished.acquire()
                waiting = False
            except BaseException as error:
                signal = signal or error
        for failure in (signal, *(task.error for task in tasks)):
            if failure:
                raise failure

    def _complete_last_run(self):
        """Queue the ranks that `run` has left out, because of a second interrupt while it handled the first:
        the others may wait for them.
        """
        for queue, task in zip(self._queues, self._tasks, strict=False):
            if not task.done:
                queue.put(task)

    def _start(self):
        # A forked child has the objects but not the threads: it starts its own.
        if self._process == os.getpid():
            return
        self._queues, self._ended, self._tasks = [], [], []
        try:
            for _ in range(self.n_threads):
                queue, ended = SimpleQueue(), threading.Lock()
                ended.acquire()
                # `threading.Thread` waits until its thread runs: 380 us for a team of two, this 160.
                _thread.start_new_thread(_work, (queue, ended))
                self._queues.append(queue)
                self._ended.append(ended)
        except RuntimeError:  # the system has no thread left: those that there are go home
            for queue in self._queues:
                queue.put(None)
            raise
        self._process = os.getpid()
