"""kernels/layout.py: paddings, places that don't overlap, chunks, shards and tiles."""

import itertools

import numpy as np
import pytest
from cases import DTYPES, ROWS, WIDTHS

from fastnn.engine import STEP_WORK_PER_THREAD
from fastnn.kernels import layout
from fastnn.kernels.layout import (
    BIAS_AT,
    CHUNK_FIRST,
    CHUNK_HAS_BIAS,
    CHUNK_LAST,
    CHUNK_LAYER,
    DELTA_AT,
    INPUTS,
    LD,
    OUTPUTS,
    ROW_MULTIPLE,
    STRIPS_AT,
    WEIGHTS_AT,
    X_AT,
    X_WIDTH,
    Z_AT,
    Z_WIDTH,
    make_layout,
    round_up,
    row_length,
    vector_lanes,
)

NETWORKS = [
    (1, 1),
    (64, 100, 10),
    (4, 32, 16, 4),
    (32, 64, 64, 1),
    (3, 130, 33, 17, 2),
    (784, 256, 128, 10),
    (1024, 1024, 1024, 10),
    (20, *[32] * 20, 3),
]
BATCHES = [*ROWS, 1000, 1797, 10_000, 1_000_000]
CASES = list(itertools.product(NETWORKS, BATCHES, DTYPES))


def layouts():
    return [(sizes, batch, make_layout(sizes, np.dtype(dtype), batch)) for sizes, batch, dtype in CASES]


def assert_apart(ranges, end):
    """Half-open ranges that don't overlap and lie in [0, end)."""
    ordered = sorted(ranges)
    assert ordered[0][0] >= 0
    assert ordered[-1][1] <= end
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(ordered))


@pytest.mark.parametrize("dtype", DTYPES)
def test_row_length_is_whole_vectors_and_no_multiple_of_256_numbers(dtype):
    lanes = vector_lanes(np.dtype(dtype))
    for outputs in range(1, 3000):
        ld = row_length(outputs, lanes)
        assert outputs <= ld <= outputs + 2 * max(lanes, ROW_MULTIPLE)
        assert ld % lanes == 0
        assert ld % ROW_MULTIPLE == 0
        assert ld % 256


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
def test_parameters_are_padded_and_apart(lanes):
    for sizes in [*NETWORKS, *itertools.product(WIDTHS, WIDTHS, [3])]:
        table, n_parameters = layout.parameter_table(sizes, lanes)
        ranges = []
        for row, inputs, outputs in zip(table, sizes, sizes[1:], strict=False):
            assert (row[INPUTS], row[OUTPUTS]) == (inputs, outputs)
            # Blocks are up to 8 rows of W high.
            ranges += [(row[WEIGHTS_AT], row[WEIGHTS_AT] + round_up(inputs, 8) * row[LD])]
            ranges += [(row[BIAS_AT], row[BIAS_AT] + row[LD])]
        assert_apart(ranges, n_parameters)
        # Without gaps, so that one loop over the flat vector meets nothing but parameters and padding.
        assert sum(end - start for start, end in ranges) == n_parameters


def test_buffers_of_a_tile_are_apart():
    for _, _, plan in layouts():
        rows, ranges = plan.panel_rows * plan.tile_panels, []
        for row in plan.layers:
            ranges += [(row[DELTA_AT], row[DELTA_AT] + row[LD] * rows)]
            ranges += [(row[STRIPS_AT], row[STRIPS_AT] + row[LD] * rows)]
            ranges += [(row[Z_AT], row[Z_AT] + row[Z_WIDTH] * rows)]
        first = plan.layers[0]
        ranges += [(first[X_AT], first[X_AT] + first[X_WIDTH] * rows)]
        assert_apart(ranges, plan.tile_numbers)


def test_outputs_of_a_layer_are_the_inputs_of_the_next():
    for _, _, plan in layouts():
        assert plan.layers[0][X_WIDTH] == round_up(int(plan.layers[0][INPUTS]), ROW_MULTIPLE)
        for below, above in itertools.pairwise(plan.layers):
            assert (below[Z_AT], below[Z_WIDTH]) == (above[X_AT], above[X_WIDTH])
            assert below[Z_WIDTH] == below[LD]


def test_chunks_cover_every_weight_row_once_and_in_order():
    for _, _, plan in layouts():
        for index, row in enumerate(plan.layers):
            own = plan.chunks[plan.chunks[:, CHUNK_LAYER] == index]
            assert own[0, CHUNK_FIRST] == 0
            np.testing.assert_array_equal(own[1:, CHUNK_FIRST], own[:-1, CHUNK_LAST])
            assert own[-1, CHUNK_LAST] == round_up(int(row[INPUTS]), ROW_MULTIPLE)
            assert own[:, CHUNK_HAS_BIAS].tolist() == [0] * (len(own) - 1) + [1]
            # Blocks of the weight gradient are up to 8 rows high.
            assert not (own[:, [CHUNK_FIRST, CHUNK_LAST]] % ROW_MULTIPLE).any()
        assert (np.diff(plan.chunks[:, CHUNK_LAYER]) >= 0).all()


def test_a_window_takes_as_many_chunks_in_a_row_as_it_says():
    for _, _, plan in layouts():
        ld = plan.layers[plan.chunks[:, CHUNK_LAYER], LD]
        heights = plan.chunks[:, CHUNK_LAST] - plan.chunks[:, CHUNK_FIRST] + plan.chunks[:, CHUNK_HAS_BIAS]
        ends = np.concatenate([[0], np.cumsum(heights * ld)])
        assert plan.window_chunks >= 1
        for first in range(len(plan.chunks)):
            last = min(first + plan.window_chunks, len(plan.chunks))
            assert ends[last] - ends[first] <= plan.window_numbers
        # Chunks follow one another in the flat vector without a gap.
        assert ends[-1] == plan.n_parameters


def test_shards_cover_the_batch_and_are_few():
    for _, batch, plan in layouts():
        shards = -(-batch // plan.shard_rows)
        assert shards in (1, 2, 4, 8)
        assert shards <= layout.MAX_SHARDS


def test_small_networks_have_two_shards_where_two_threads_pay_and_more_do_not():
    assert layout.TWO_THREADS_WORK == 4 * STEP_WORK_PER_THREAD
    for sizes, batch, shards, replicates in [
        ((64, 100, 10), 32, 1, False),  # 16 rows for each
        ((64, 100, 10), 64, 2, True),
        ((64, 100, 10), 200, 2, True),
        ((64, 100, 10), 1797, 8, True),
        ((10, 100, 1), 200, 2, True),  # there would be 3 to share
        ((10, 100, 1), 520, 8, True),
        ((4, 8, 2), 64, 1, False),  # little to do
        ((784, 32, 10), 200, 1, False),  # enough for more than two
        ((784, 256, 128, 10), 64, 1, False),  # large
    ]:
        plan = make_layout(sizes, np.dtype(np.float32), batch)
        assert (-(-batch // plan.shard_rows), plan.replicates) == (shards, replicates)


def test_few_inputs_or_outputs_beside_many_rows_have_their_gradient_by_dots():
    wide = layout.VECTOR_BITS == 512
    for sizes, batch, by_dots in [
        ((4, 32, 16, 4), 10_000, [1, 0, 1]),  # tiles of 320 rows
        ((4, 100, 10), 1000, [1, 0]),
        ((8, 100, 1), 200, [0, 1]),
        ((4, 32, 1), 32, [0, 0]),  # a panel is learned from at once, by its strips
    ]:
        plan = make_layout(sizes, np.dtype(np.float32), batch)
        expected = by_dots if wide else [0] * len(by_dots)
        assert plan.layers[:, layout.BY_DOTS].tolist() == expected


def test_tiles_are_no_larger_than_their_shard():
    for _, _, plan in layouts():
        lanes = plan.panel_rows // layout.PANEL_VECTORS
        largest = -(-plan.shard_rows // lanes) * lanes
        assert 1 <= plan.tile_panels <= -(-largest // plan.panel_rows)
