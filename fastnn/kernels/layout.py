"""Where everything lies: the flat parameter vector, the tile of activations, and how work is cut into pieces.

Nothing here depends on the number of threads, so neither does any result.
Legend: I inputs, O outputs of a layer, R rows of a panel, P numbers in the flat vector, `ld` the padded row
length.
"""

from typing import NamedTuple

import numpy as np

from fastnn.kernels.simd import PANEL_VECTORS, VECTOR_BITS

# Columns of the layer table, one row a layer.
(
    INPUTS,  # I
    OUTPUTS,  # O
    LD,  # numbers from one row of W to the next
    WEIGHTS_AT,  # start of W (I, ld) in the flat vector
    BIAS_AT,  # start of b (ld,)
    X_AT,  # start of the layer's input panels in a tile
    X_WIDTH,  # features of one input panel, padding included
    Z_AT,  # start of the output panels (they are the next layer's input)
    Z_WIDTH,
    DELTA_AT,  # start of the panels of dLoss/dz
    STRIPS_AT,  # start of the same, in strips of one vector for the weight gradients (dense.py)
    BY_DOTS,  # 1 if those are dot products along the rows, which need strips of a last, partial vector only
    LAYER_FIELDS,
) = range(13)

# Columns of the chunk table: a chunk is a range of rows of one W, the unit of gradient and update.
CHUNK_LAYER, CHUNK_FIRST, CHUNK_LAST, CHUNK_HAS_BIAS, CHUNK_FIELDS = range(5)

ROW_MULTIPLE = 8  # weight rows and panel features are padded to it: no kernel has a remainder loop
MAX_CHUNKS = 64
BLOCK_MULTIPLE = 24  # weight rows of larger chunks: whole blocks of 6 or 8, and a multiple of ROW_MULTIPLE
CHUNK_NUMBERS = 1024  # a smaller chunk is not worth its call
WINDOW_NUMBERS = 16384  # gradients of a run of chunks stay in L2, beside their parameters and moments
MAX_SHARDS = 8
SHARD_ROWS = 64
# Two threads both keep parameters up to here, and their moments (small.py). Where a step has enough to do for
# two, and not for five, such a network has a batch of SHARD_ROWS cut in two already. Against a shared tile,
# with two threads and with one: 64-100-10 with 64 rows 0.84 and 1.06, with 128 rows 0.81 and 1.03; with 32
# rows it would be 1.08 and 1.25 (in turn; docs/engine.md).
REPLICATED_BYTES = 128 * 1024
# Floating point operations of a step from which on two threads pay (engine.py), and from which on more than
# four would share a tile, if there are so many: what two replicas save is less than that.
TWO_THREADS_WORK, MORE_THREADS_WORK = 1e6, 1e7
DOT_ROWS = 16  # in a tile, for each input, from which on weight gradients are dot products
SHARD_TILE_BYTES = 256 * 1024  # a thread's tile stays in its L2 cache together with a small network
SHARED_TILE_BYTES = 8 * 1024 * 1024  # a tile that all threads share stays in L3


class Layout(NamedTuple):
    """Tables for one network on one kind of vector."""

    layers: np.ndarray  # (L, LAYER_FIELDS) int64, X_AT to STRIPS_AT for a tile of `tile_panels` panels
    chunks: np.ndarray  # (C, CHUNK_FIELDS) int64
    n_parameters: int  # P, padding included
    panel_rows: int  # R
    tile_panels: int
    tile_numbers: int  # size of a tile of activations, deltas and transposed deltas
    shard_rows: int  # rows of a batch for each shard, which has a gradient of its own; all, or more, for one
    replicates: bool  # whether two threads both keep the parameters
    window_numbers: int  # room for the gradients of a run of chunks
    window_chunks: int  # how many chunks it takes at least


def round_up(number, multiple):
    return -(-number // multiple) * multiple


def vector_lanes(dtype):
    """Numbers of a NumPy dtype in one vector."""
    return VECTOR_BITS // (8 * dtype.itemsize)


def row_length(outputs, lanes):
    """`ld`: whole vectors, at least 8 numbers, and no multiple of 128.

    Rows that lie a power of two apart share few cache sets: 1024 -> 1024 runs at 35 GFLOP/s with ld = 1024
    and at 82 with ld = 1032 (benchmarks/micro/dense.py).
    """
    ld = round_up(outputs, max(lanes, ROW_MULTIPLE))
    return ld + max(lanes, ROW_MULTIPLE) if ld % 128 == 0 else ld


def parameter_table(sizes, lanes):
    """The part of the layer table that describes the flat vector, and P."""
    table, at = np.zeros((len(sizes) - 1, LAYER_FIELDS), dtype=np.int64), 0
    for row, inputs, outputs in zip(table, sizes, sizes[1:], strict=False):
        row[INPUTS], row[OUTPUTS], row[LD] = inputs, outputs, row_length(outputs, lanes)
        row[WEIGHTS_AT], row[BIAS_AT] = at, at + round_up(inputs, ROW_MULTIPLE) * row[LD]
        at = row[BIAS_AT] + row[LD]
    return table, int(at)


def row_numbers(table):
    """Numbers that one row of data occupies in a tile."""
    widths = [round_up(int(table[0, INPUTS]), ROW_MULTIPLE)]
    widths += [3 * int(ld) for ld in table[:, LD]]
    return sum(widths)


def place_tile(table, panel_rows, tile_panels):
    """Fill X_AT to STRIPS_AT for tiles of `tile_panels` panels; return the numbers in a tile."""
    rows = panel_rows * tile_panels
    width, at = round_up(int(table[0, INPUTS]), ROW_MULTIPLE), 0
    for row in table:
        row[X_AT], row[X_WIDTH] = at, width
        at += width * rows
        width = row[Z_WIDTH] = row[LD]
        row[Z_AT] = at
    at += width * rows
    for row in table:
        row[DELTA_AT], row[STRIPS_AT] = at, at + row[LD] * rows
        at += 2 * row[LD] * rows
    return int(at)


def takes_dots(inputs, outputs, rows, lanes):
    """Whether the weight gradients of a layer are dot products along the rows, so many in a tile.

    They need no strips of delta, but end, once a tile, with the sum of a vector each: they pay for a column
    or two of a grid (dots.py), and where inputs are few beside the rows. 4-100-3 with 1,000 rows 0.91,
    4-32-16-4 with 10,000 0.95 (in turn); with vectors of 256 bits 1.02 and 0.99, in double 1.03.
    """
    if VECTOR_BITS < 512:
        return False
    return rows > PANEL_VECTORS * lanes and (outputs <= lanes // 4 or inputs * DOT_ROWS <= rows)


def cut_chunks(table, n_parameters):
    """Chunk table: row ranges of about P / 64 numbers, in the order of the flat vector."""
    target, chunks = max(CHUNK_NUMBERS, n_parameters // MAX_CHUNKS), []
    for layer, row in enumerate(table):
        height, ld = round_up(int(row[INPUTS]), ROW_MULTIPLE), int(row[LD])
        step = max(ROW_MULTIPLE, round_up(target // ld, ROW_MULTIPLE))
        step = round_up(step, BLOCK_MULTIPLE) if step > BLOCK_MULTIPLE else step
        for first in range(0, height, step):
            last = min(first + step, height)
            chunks.append((layer, first, last, last == height))
    return np.array(chunks, dtype=np.int64)


def make_layout(sizes, dtype, batch_rows):
    """Layout for layer sizes (inputs, ..., outputs), a NumPy dtype and batches of `batch_rows` rows.

    A batch is cut into shards with gradients of their own where they are cheap: where the network has fewer
    numbers than the shard's activations, or is so small that two threads may both update it. Otherwise all
    threads share one tile and each computes a part of the gradient.

    Shards are a power of two, which two and four threads share evenly: of 200 rows in 3 shards, one thread
    has 136. 10-100-1 with two threads 0.88, with one 0.99, in double 0.91 and 1.00 (in turn).
    """
    lanes = vector_lanes(dtype)
    table, n_parameters = parameter_table(sizes, lanes)
    panel_rows, numbers = PANEL_VECTORS * lanes, row_numbers(table)
    shards = min(batch_rows // SHARD_ROWS, batch_rows * numbers // (4 * n_parameters), MAX_SHARDS)
    shards = 1 << max(0, shards.bit_length() - 1)
    small, work = n_parameters * dtype.itemsize <= REPLICATED_BYTES, 6 * batch_rows * n_parameters
    if small and batch_rows >= SHARD_ROWS and TWO_THREADS_WORK <= work < MORE_THREADS_WORK:
        shards = max(2, shards)
    panel_bytes = panel_rows * numbers * dtype.itemsize
    if shards > 1:
        shard_rows = -(-batch_rows // shards)
        largest_shard = -(-round_up(shard_rows, lanes) // panel_rows)
        tile_panels = min(max(2, SHARD_TILE_BYTES // panel_bytes), largest_shard)
    else:
        shard_rows = round_up(batch_rows, panel_rows)
        tile_panels = min(max(8, SHARED_TILE_BYTES // panel_bytes), -(-batch_rows // panel_rows))
    tile_numbers = place_tile(table, panel_rows, tile_panels)
    rows = min(tile_panels * panel_rows, shard_rows)
    table[:, BY_DOTS] = [takes_dots(*row[[INPUTS, OUTPUTS]], rows, lanes) for row in table]
    chunks = cut_chunks(table, n_parameters)
    heights = chunks[:, CHUNK_LAST] - chunks[:, CHUNK_FIRST] + chunks[:, CHUNK_HAS_BIAS]
    largest = int((heights * table[chunks[:, CHUNK_LAYER], LD]).max())
    window = max(WINDOW_NUMBERS, largest)
    tile = panel_rows, tile_panels, tile_numbers, shard_rows, small and shard_rows < batch_rows
    return Layout(table, chunks, n_parameters, *tile, window, window // largest)
