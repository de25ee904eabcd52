"""What the threads of a team tell each other: that all have come to a barrier, that one was late, and which
of the things to do are taken.
"""

import ctypes
import sys

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.kernels.jit import kernel

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
