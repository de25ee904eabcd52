"""Threads that stay together for a fit: Python threads inside compiled calls, meeting at a barrier, and
taking runs of what there is to do from each other's shares.

Every thread of a team makes the same call with its own rank, and kernels release the GIL. Not Numba's
`parallel=True`: its workqueue aborts when two threads enter, its OpenMP layer kills forked children, and its
sums depend on the number of threads.
"""

import _thread
import contextlib
import ctypes
import os
import sys
import threading
from queue import SimpleQueue
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.kernels.jit import kernel
from fastnn.kernels.placement import leave_shared_core

# Positions in the barrier's array (BARRIER_SIZE,) int64. 128 bytes from each other and from everything else,
# because cores fetch cache lines in pairs.
ARRIVED, GENERATION, LATE, BARRIER_SIZE = 16, 32, 48, 64
# Looks at the generation before the core is offered to others: 2 to 5 us. With 3 threads on 2 cores a barrier
# took 4 us with 100 looks and 26 us with 1000; with 2 threads 0.1 us (benchmarks/micro/barrier.py).
SPINS = 100

if sys.platform == "win32":
    _give_way = ctypes.windll.kernel32.SwitchToThread
else:
    _give_way = ctypes.CDLL(None).sched_yield
# By name, so that code from the disk finds it in every process.
llvm.add_symbol("fastnn_give_way", ctypes.cast(_give_way, ctypes.c_void_p).value)


def new_barrier():
    """State (BARRIER_SIZE,) of a barrier that nobody has reached."""
    return np.zeros(BARRIER_SIZE, dtype=np.int64)


def _is_state(array, position):
    return (
        isinstance(array, types.Array)
        and (array.dtype, array.ndim, array.layout, array.mutable) == (types.int64, 1, "C", True)
        and isinstance(position, types.IntegerLiteral)
    )


def _pointer(context, builder, array_type, array, position):
    data = context.make_array(array_type)(context, builder, array).data
    return cgutils.gep(builder, data, position.literal_value)


@intrinsic(prefer_literal=True)
def _add(typing, state, position, amount):
    """state[position] += amount, in one step for all threads; returns the old value."""
    if not _is_state(state, position):
        return None

    def generate(context, builder, sig, args):
        pointer = _pointer(context, builder, sig.args[0], args[0], position)
        return builder.atomic_rmw("add", pointer, args[2], "acq_rel")

    return types.int64(state, position, types.int64), generate


@intrinsic(prefer_literal=True)
def _load(typing, state, position):
    """state[position], and with it all that was written before it was stored: never hoisted out of a loop."""
    if not _is_state(state, position):
        return None

    def generate(context, builder, sig, args):
        return builder.load_atomic(_pointer(context, builder, sig.args[0], args[0], position), "acquire", 8)

    return types.int64(state, position), generate


@intrinsic(prefer_literal=True)
def _store(typing, state, position, value):
    """state[position] = value, visible after all that was written before."""
    if not _is_state(state, position):
        return None

    def generate(context, builder, sig, args):
        pointer = _pointer(context, builder, sig.args[0], args[0], position)
        builder.store_atomic(args[2], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(state, position, types.int64), generate


@intrinsic
def _pause(typing):
    """Tell the core that this is a loop that waits: its other hardware thread gets more of it."""

    def generate(context, builder, sig, args):
        number, void = ir.IntType(32), ir.VoidType()
        architecture = llvm.get_process_triple().partition("-")[0]
        if architecture in ("x86_64", "amd64", "i386", "i686"):
            function = ir.FunctionType(void, []), "llvm.x86.sse2.pause"
            builder.call(cgutils.get_or_insert_function(builder.module, *function), [])
        elif architecture in ("aarch64", "arm64"):
            function = ir.FunctionType(void, [number]), "llvm.aarch64.hint"
            builder.call(cgutils.get_or_insert_function(builder.module, *function), [number(1)])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _yield_core(typing):
    """Offer the core to another thread that is ready to run."""

    def generate(context, builder, sig, args):
        function = ir.FunctionType(ir.IntType(32), []), "fastnn_give_way"
        builder.call(cgutils.get_or_insert_function(builder.module, *function), [])
        return context.get_dummy_value()

    return types.void(), generate


@kernel
def barrier(state, n_threads):
    """Wait until n_threads threads have come here. What each wrote before, all can read after.

    `state` (BARRIER_SIZE,) int64, from `new_barrier`. Returns how often the thread has looked in vain.
    """
    looks = 0
    if n_threads == 1:
        return looks
    # Read before arriving: once the last has arrived, it moves on.
    generation = _load(state, GENERATION)
    if _add(state, ARRIVED, 1) == n_threads - 1:
        _store(state, ARRIVED, 0)
        _store(state, GENERATION, generation + 1)
        return looks
    while _load(state, GENERATION) == generation:
        looks += 1
        if looks <= SPINS:
            _pause()
        else:
            _yield_core()
    return looks


@kernel
def note_late(state):
    """Remember that some thread came late to the barrier."""
    _add(state, LATE, 1)


@kernel
def was_late(state):
    """Whether `note_late` has been called since the last time. One thread may ask."""
    late = _load(state, LATE) > 0
    _store(state, LATE, 0)
    return late


def new_counter():
    """State (BARRIER_SIZE,) of a counter at 0: a barrier of which only the arrivals are counted."""
    return new_barrier()


@kernel
def take_next(counter):
    """0, 1, 2 and so on: each number to one of the threads that ask."""
    return _add(counter, ARRIVED, 1)


@kernel
def reset(counter):
    """The counter at 0 again, while nobody asks it."""
    _store(counter, ARRIVED, 0)


@kernel
def share(total, index, parts):
    """Where part `index` of `total` things begins and ends, if `parts` share them."""
    return total * index // parts, total * (index + 1) // parts


@kernel
def take_run(counters, phase, rank, n_threads, total, unit):
    """(first, last) of the next run of at most `unit` of `total` things that nobody has taken: of the own
    share, then of the others'. (total, total) if nothing is left. counters (phases, n, BARRIER_SIZE).

    Cores are seldom equally fast: other programs use them, or what they share. The own share comes first: of
    weights, it is in the core's cache.
    """
    for turn in range(n_threads):
        owner = (rank + turn) % n_threads
        begin, end = share(total, owner, n_threads)
        # The look is for the end of a phase, when counters of others would be fetched to be written.
        counter = counters[phase, owner]
        if begin + unit * _load(counter, ARRIVED) < end:
            first = begin + unit * take_next(counter)
            if first < end:
                return first, min(first + unit, end)
    return total, total


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
