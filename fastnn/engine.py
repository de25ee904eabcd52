"""Between Python and the kernels: memory, tables and threads for one network.

A `Session` owns what training one network on batches of one size needs; `Predictor` what running it needs.
Neither validates: that is done once, by whoever calls.
"""

from functools import cache
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import kernels
from fastnn.threads import TakenCores, usable_threads

ALIGNMENT = 64  # bytes: no vector crosses a cache line
# Vectors that a step walks through side by side begin in different quarters of a page; in a window, gradients
# lie where its first chunk begins. A CPU compares the last 12 bits of addresses first, and lets a load wait
# for a store 64 or 128 bytes before it in another page: where chance had laid them so, in one process of ten,
# Adam took 1.1 to 2.4 times as long with AVX-512 (benchmarks/micro/pages.py).
PAGE_BYTES = 4096
PARAMETERS, FIRST, SECOND, GRADIENT = range(4)
# Floating point operations that take as long as one more thread delays a step. Work W on n threads takes
# W / n + c n, the least at n = sqrt(W / c): two threads from 4 c on (benchmarks/micro/threads.py), which
# layout.py knows too.
STEP_WORK_PER_THREAD = 2.5e5
# Where threads share a tile, they meet more often, and each fetches the parameters that the others have
# changed: what that takes for one parameter. Before they had shards, 64-100-10 with 64 rows took 32 us, and
# 44 with two threads; 30-50-2 12 and 20.
SHARED_WORK_PER_THREAD, WORK_PER_PARAMETER = 5e5, 200.0
# Of a call: to wake a team takes 0.1 to 0.3 ms (benchmarks/micro/barrier.py).
CALL_WORK_PER_THREAD = 2e7
# Of a prediction, which begins before other threads do.
PREDICT_WORK_PER_THREAD = 1.2e7
# Looks at a barrier (0.3 us each) before a thread counts as late: 1 ms, or its share of a step at 20 GFLOP/s.
LONG_WAIT, WORK_PER_LOOK = 3000, 6000.0
PREDICT_ROWS = 256
# Of all fits of the process, one after the other or side by side.
taken_cores = TakenCores()
# What a dense table has in place of CSR arrays.
NOTHING = {np.dtype(real): np.empty(0, real) for real in (np.float32, np.float64)}
NO_COLUMNS, NO_STARTS = np.empty(0, np.int32), np.empty(0, np.int64)
# As `Table.zeros`. At most so many rows are looked at; of fewer rows, or fewer inputs, nothing is skipped.
ALL_COUNT, ZEROS_SKIPPED = np.zeros(1, np.int64), np.ones(1, np.int64)
for flag in (ALL_COUNT, ZEROS_SKIPPED):  # every table shares them
    flag.setflags(write=False)
SAMPLED_ROWS, FEWEST_SAMPLED, FEWEST_INPUTS = 256, 16, 32


def aligned_zeros(shape: tuple[int, ...], dtype: Any, quarter: int | None = None) -> NDArray[Any]:
    """Zeros whose rows begin at cache lines, the first of them at a `quarter` of a page if it matters which.
    A padded row length is the caller's to hide.
    """
    dtype = np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    unit = ALIGNMENT if quarter is None else PAGE_BYTES
    memory = np.zeros(size + 2 * unit, dtype=np.uint8)
    start = -memory.ctypes.data % unit + (quarter or 0) * unit // 4
    aligned: NDArray[Any] = memory[start : start + size].view(dtype).reshape(shape)
    return aligned


def aligned_length(numbers: int, dtype: Any) -> int:
    """Numbers in whole cache lines."""
    line: int = ALIGNMENT // np.dtype(dtype).itemsize
    return -(-max(1, numbers) // line) * line


def make_work(
    layout: Any, n_outputs: int, dtype: Any, n_threads: int, n_tiles: int, *, windows: bool = True
) -> Any:
    """Scratch memory for `n_threads` threads that share or own `n_tiles` tiles; `windows` for learning from
    batches.
    """
    rows = layout.panel_rows
    width = aligned_length(int(layout.layers[:, kernels.layout.INPUTS].max()) + 16, dtype)
    lists = max(n_threads, len(layout.layers))
    window = aligned_length(layout.window_numbers, dtype) if windows else 0
    n_inputs, zeros = int(layout.layers[0, kernels.layout.INPUTS]), kernels.zeros
    words = -(-n_inputs // kernels.layout.vector_lanes(np.dtype(dtype)))
    copies = aligned_length(kernels.backprop.copy_numbers(layout), dtype)
    # What each thread writes for every panel shares no cache line with another's: five small networks 0.99
    # (in turn).
    panels = aligned_length(layout.tile_panels, float)
    return kernels.state.Work(
        tiles=aligned_zeros((n_tiles, aligned_length(layout.tile_numbers, dtype)), dtype),
        rows=aligned_zeros((n_threads, rows), np.int64),
        targets=aligned_zeros((n_threads, aligned_length(n_outputs * rows, dtype)), dtype),
        weights=aligned_zeros((n_threads, aligned_length(rows, dtype)), dtype),
        losses=aligned_zeros((n_threads, panels), float),
        windows=aligned_zeros((n_threads, window), dtype, GRADIENT),
        inputs=kernels.state.Inputs(
            active=np.zeros((lists, width), dtype=np.int64),
            values=aligned_zeros((lists, width), dtype),
            counts=np.zeros(lists, dtype=np.int64),
            sums=aligned_zeros((width,), dtype),
        ),
        masks=aligned_zeros((n_tiles, panels, words), np.int64),
        copies=aligned_zeros((n_threads, copies), dtype),
        busy=np.zeros((n_tiles, layout.tile_panels, rows, -(-n_inputs // 8)), dtype=np.uint8),
        lists=np.zeros((n_threads, zeros.LISTED_INPUTS // 2, zeros.LIST_LENGTH), dtype=np.uint8),
    )


def make_table(X: Any) -> Any:
    """Rows of X (n, I) as the kernels read them: a C-contiguous array, or CSR without duplicates.

    Nothing is copied but indices of another width.
    """
    dtype, table = X.dtype, kernels.sparse.Table
    zeros = ZEROS_SKIPPED if mostly_zeros(X) else ALL_COUNT
    if isinstance(X, np.ndarray):
        return table(X, NOTHING[dtype], NO_COLUMNS, NO_STARTS, zeros)
    columns, starts = X.indices.astype(np.int32, copy=False), X.indptr.astype(np.int64, copy=False)
    return table(np.empty((0, X.shape[1]), dtype), X.data, columns, starts, zeros)


def mostly_zeros(X: Any) -> bool:
    """Whether so many numbers of X (n, I) are 0, in a sample of its rows, that it pays to skip them."""
    n, n_inputs = X.shape
    if n < FEWEST_SAMPLED or n_inputs < FEWEST_INPUTS:
        return False
    if not isinstance(X, np.ndarray):
        return bool(X.nnz < kernels.zeros.NUMBERS_SHARE * n * n_inputs)
    # -0 counts as a number, here as in the kernels.
    sample = X[:: -(-n // SAMPLED_ROWS)].view(f"u{X.itemsize}")
    return bool(np.count_nonzero(sample) < kernels.zeros.NUMBERS_SHARE * sample.size)


@cache
def no_replica(dtype: np.dtype[Any]) -> Any:
    """What there is where no two threads take the same steps."""
    ints, reals, key = NO_STARTS, np.empty(0), np.empty(0, np.uint32)
    return kernels.state.Replica(ints, reals, reals, key, ints, np.empty((0, 0), dtype), ints)


def make_model(layout: Any, codes: tuple[int, int, int], params: NDArray[Any]) -> Any:
    widest = int(layout.layers[:, kernels.layout.X_WIDTH].max())
    return kernels.backprop.Model(
        layout.layers, np.array(codes, dtype=np.int64), params, aligned_zeros((widest,), params.dtype)
    )


class Predictor:
    """Runs a network on X (n, I), an array or CSR. Any number of Python threads may call it at once: each
    takes scratch memory of its own.
    """

    def __init__(self, sizes: tuple[int, ...], codes: tuple[int, int, int], params: NDArray[Any]) -> None:
        self.sizes, self.codes, self.params = sizes, codes, params
        self._models: dict[int, tuple[Any, Any]] = {}
        # What a call takes, and puts back, besides X, for (rows of a tile, threads).
        self._free: dict[tuple[int, int], list[tuple[Any, Any, Any]]] = {}
        self._work_per_row = 2.0 * params.size
        # What there is to learn from rows that are only run, and entries of rows that are dense.
        nothing = NOTHING[params.dtype]
        self._no_targets = nothing.reshape(0, 1), nothing, np.empty(0, np.int64)
        self._no_entries = nothing, NO_COLUMNS, NO_STARTS, ALL_COUNT
        # Machine code that has been checked against everything but X: one row takes 8 us less.
        self._code: Any = None

    def _model(self, rows: int) -> tuple[Any, Any]:
        if rows not in self._models:
            layout = kernels.layout.make_layout(self.sizes, self.params.dtype, rows)
            self._models[rows] = layout, make_model(layout, self.codes, self.params)
        return self._models[rows]

    def _count_threads(self, n: int, n_threads: int | None) -> int:
        layout, _ = self._model(PREDICT_ROWS)
        threads = count_threads(n * self._work_per_row / PREDICT_WORK_PER_THREAD, n_threads)
        tiles: int = -(-n // (layout.tile_panels * layout.panel_rows))
        return min(threads, tiles)

    def _prepare(self, rows: int, threads: int) -> tuple[Any, Any, Any]:
        """(counter, model, work) for one call at a time."""
        layout, model = self._model(rows)
        dtype, outputs = self.params.dtype, self.sizes[-1]
        work = make_work(layout, outputs, dtype, threads, threads, windows=False)
        return kernels.meeting.new_counter(), model, work

    def __call__(self, X: Any, *, logits: bool, n_threads: int | None = None) -> NDArray[Any]:
        """Outputs (n, K) for X (n, I), C-contiguous and of the network's dtype."""
        n, dtype = X.shape[0], self.params.dtype
        rows = 1 if n == 1 else PREDICT_ROWS
        threads = self._count_threads(n, n_threads) if n_threads != 1 and n > PREDICT_ROWS else 1
        free = self._free.setdefault((rows, threads), [])
        try:
            prepared = free.pop()
        except IndexError:
            prepared = self._prepare(rows, threads)
        counter, model, work = prepared
        counter.fill(0)
        out = np.empty((n, self.sizes[-1]), dtype)
        readable = plain(X, dtype)
        few = readable and n <= PREDICT_ROWS  # to look for zeros takes as long as to multiply them
        table = kernels.sparse.Table(X, *self._no_entries) if few else make_table(X)
        data = kernels.backprop.Data(table, *self._no_targets)
        args = counter, model, data, out, work, 0 if logits else 1
        # To skip zeros parts may be missing.
        if self._code is None or not readable or table.zeros[0]:
            self._code = kernels.predict.code_for(0, *args)
        if threads > 1:
            kernels.team.run_with_helpers(threads, self._code, *args)
        else:
            self._code(0, *args)
        free.append(prepared)
        return out


def plain(X: Any, dtype: np.dtype[Any]) -> bool:
    """Whether X is a matrix that machine code for this dtype may read."""
    if not isinstance(X, np.ndarray) or X.ndim != 2 or X.dtype != dtype:
        return False
    return X.flags.c_contiguous and X.flags.aligned


def count_threads(worth: float, requested: int | None) -> int:
    """Threads for a piece of work: as asked for, else as many as it is worth and the process may use."""
    if requested is not None:
        return int(requested)
    return 1 if worth < 2 else min(int(worth), usable_threads())


class Session:
    """Memory, tables and state for training `params` on batches of `batch_rows` rows."""

    def __init__(
        self,
        sizes: tuple[int, ...],
        codes: tuple[int, int, int],
        params: NDArray[Any],
        batch_rows: int,
        n_threads: int | None = None,
    ) -> None:
        dtype = params.dtype
        self.batch_rows = batch_rows
        layout = kernels.layout.make_layout(sizes, dtype, batch_rows)
        shards = -(-batch_rows // layout.shard_rows)
        limit = shards if shards > 1 else max(1, min(layout.tile_panels, len(layout.chunks)))
        work = 6.0 * params.size * batch_rows
        if shards > 1:
            worth = sqrt(work / STEP_WORK_PER_THREAD)
        else:
            worth = sqrt(max(0.0, work - WORK_PER_PARAMETER * params.size) / SHARED_WORK_PER_THREAD)
        self.n_threads = 1 if batch_rows == 1 else min(count_threads(worth, n_threads), limit)
        self.threads_asked = n_threads
        self.step_work = work + 20.0 * params.size
        self._long_wait = max(LONG_WAIT, int(self.step_work / self.n_threads / WORK_PER_LOOK))
        self.model = make_model(layout, codes, params)
        tiles = self.n_threads if shards > 1 else 1
        # One row at a time learns without a window.
        windows = batch_rows > 1
        self.work = make_work(layout, sizes[-1], dtype, self.n_threads, tiles, windows=windows)
        page, replicas = PAGE_BYTES // dtype.itemsize, (0, 3, 0)
        self._small = layout.replicates and self.n_threads <= 2
        if self._small and self.n_threads == 2:
            # A row, and a quarter of a page: moments begin in the quarters that they have anyway.
            replicas = 1, 3, kernels.layout.round_up(params.size, page) + page // 4
        self.replicas = aligned_zeros(replicas, dtype, PARAMETERS)
        gradients = shards, aligned_length(params.size, dtype)
        self.gradients = aligned_zeros(gradients, dtype, GRADIENT)
        self.others = aligned_zeros(gradients if self._small else (0, 0), dtype, GRADIENT)
        self.hyper = np.zeros((2, kernels.optimizers.N_HYPER), dtype=dtype)
        self.squares = aligned_zeros((self.n_threads, aligned_length(len(layout.chunks), float)), float)
        self.shard_losses, self.joined = np.zeros(2 * shards), np.zeros(2 * shards, dtype=np.int64)
        self.layout = layout
        self.barrier = kernels.meeting.new_barrier()
        counters = kernels.state.PHASES, self.n_threads, kernels.meeting.BARRIER_SIZE
        self.taken = np.zeros(counters, dtype=np.int64)
        self._args: tuple[Any, ...] = ()
        self._code: Any = None
        self._solver: Any = None  # for which there is code

    def control(
        self, ints: NDArray[Any], reals: NDArray[Any], loss_curve: NDArray[Any], key: NDArray[Any]
    ) -> Any:
        state = kernels.state
        ints[state.SHARD_ROWS] = self.layout.shard_rows
        ints[state.BATCH] = self.batch_rows
        ints[state.WINDOW_CHUNKS] = self.layout.window_chunks
        ints[state.LONG_WAIT] = self._long_wait
        replica = no_replica(self.hyper.dtype)
        if self._small:
            own = (np.empty_like(array) for array in (ints, reals, loss_curve, key))
            order, team = np.empty(ints[state.N_ROWS], np.int64), np.zeros(2, np.int64)
            replica = state.Replica(*own, order, np.empty_like(self.hyper), team)
            replica.ints[state.STEP] = -1  # nothing is copied yet
        meeting = self.barrier, self.taken, replica
        sums = self.squares, self.shard_losses, self.joined
        return state.Control(ints, reals, loss_curve, key, self.layout.chunks, *sums, *meeting)

    def moments(self, first: NDArray[Any], second: NDArray[Any]) -> Any:
        gradients = self.gradients, self.others
        return kernels.state.Moments(*gradients, first, second, self.hyper, self.replicas)

    def bind(self, moments: Any, data: Any, control: Any) -> None:
        """Make ready for `advance`: the arguments are checked once a run, not once a slice.

        From the second run on only rows and targets are, if there is nothing else to learn from, no zeros to
        skip, and no other solver than before, for which parts may be missing: the rest is made here and by
        the trainer, always alike. It saves 17 us of 100 where a run is one row.
        """
        self._args = self.model, moments, data, self.work, control
        one_row, dtype = self.batch_rows == 1, self.gradients.dtype
        solver = control.ints[kernels.state.SOLVER]
        X, y = data.table.X, data.y
        bare = X.size > 0 and data.weights.size == 0 and data.table.zeros[0] == 0
        if self._solver == solver and bare and plain(X, dtype) and plain(y, dtype):
            return
        if one_row:
            self._code = kernels.train_samples.code_for(*self._args)
        else:
            small = self._small and solver != kernels.codes.GRADIENT_ONLY
            loop = kernels.train_small if small else kernels.train
            self._code = loop.code_for(0, self.n_threads, *self._args)
        self._solver = solver

    def release(self) -> None:
        """Keep no data alive between runs."""
        self._args = ()

    def advance(self, team: Any) -> None:
        """One call of the compiled loop: as many batches as the budget in `control` allows."""
        if self.batch_rows == 1:
            self._code(*self._args)
            return
        wanted, state, ints = self._threads_of_call(), kernels.state, self._args[-1].ints
        threads, first = taken_cores.leave(wanted), int(ints[state.STEP])
        ints[state.SHRUNK_AT] = 0
        team.run(self._code, threads, *self._args, ranks=threads)
        steps, until_late = int(ints[state.STEP]) - first, int(ints[state.SHRUNK_AT]) - first
        # Somebody late for a moment, later on, says nothing about the next call.
        taken = ints[state.TEAM] < threads and until_late <= max(1, steps // 4)
        taken_cores.note(wanted, threads, int(ints[state.TEAM]) if taken else threads)

    def _threads_of_call(self) -> int:
        """Fewer than a step is worth where the call has few steps to do, such as one epoch of a small data
        set: for those it takes longer to wake the team.
        """
        state, ints = kernels.state, self._args[-1].ints
        if self.n_threads == 1 or ints[state.BUDGET] == 0:
            return 1
        if self.threads_asked is not None:
            return self.n_threads
        epochs = 1 if ints[state.PAUSE] else int(ints[state.EPOCHS] - ints[state.EPOCH])
        rows = epochs * int(ints[state.N_ROWS]) - int(ints[state.CURSOR])
        batches = min(int(ints[state.BUDGET]), -(-rows // self.batch_rows))
        return max(1, min(self.n_threads, int(batches * self.step_work / CALL_WORK_PER_THREAD)))
