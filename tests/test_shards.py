"""kernels/shards.py: what is added to what, number by number in NumPy, since the order decides the bits."""

import numpy as np
import pytest
from cases import DTYPES, READ, WRITTEN, Guarded

from fastnn.kernels import shards
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import MAX_SHARDS, PANEL_VECTORS, vector_lanes

# Of parameters, in vectors: blocks of four, a rest, and both.
VECTORS = (1, 3, 4, 8, 11)


@kernel
def add_shards(gradients, joined, n_shards, first, sums):
    shards.add_shards(gradients, joined, n_shards, first, sums)


@kernel
def first_of_half(shard, n_shards):
    return shards.first_of_half(shard, n_shards)


@kernel
def share_of_shard(vectors, shard, n_shards):
    return shards.share_of_shard(vectors, shard, n_shards)


def numbers(shape, dtype):
    """Of which every order of addition has another sum."""
    random = np.random.default_rng(3)
    return (random.normal(size=shape) * 10.0 ** random.integers(-3, 4, shape)).astype(dtype)


def halves(n_shards):
    return range(n_shards // 2), range(n_shards // 2, n_shards)


def in_order(gradients, rows):
    total = gradients[rows[0]].copy()
    for row in rows[1:]:
        total += gradients[row]
    return total


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_shards", range(2, MAX_SHARDS + 1))
def test_the_sum_is_that_of_two_halves_whoever_has_joined_what(n_shards, dtype):
    lanes = vector_lanes(np.dtype(dtype))
    given = numbers((n_shards, 16 * lanes), dtype)
    left, right = halves(n_shards)
    expected = in_order(given, left) + in_order(given, right)
    for n_vectors in VECTORS:
        for at in (0, lanes, 5 * lanes):
            size = n_vectors * lanes
            for joined_left in range(len(left)):
                for joined_right in range(len(right)):
                    gradients, joined = given.copy(), np.zeros(MAX_SHARDS, np.int64)
                    joined[n_shards:] = 1  # of a larger batch before
                    for half, count in ((left, joined_left), (right, joined_right)):
                        for shard in half[1 : 1 + count]:
                            shards.join(gradients[half[0]], gradients[shard])
                            gradients[shard] = np.nan
                            joined[shard] = 1
                    read, out = Guarded(gradients, READ), Guarded(np.zeros(size, dtype), WRITTEN)
                    add_shards(read.values.reshape(gradients.shape), joined, n_shards, at, out.values)
                    np.testing.assert_array_equal(out.values, expected[at : at + size])
                    out.assert_guards_untouched()
                    read.assert_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_sum_may_take_the_place_of_the_first_shard(dtype):
    gradients = numbers((5, 7 * vector_lanes(np.dtype(dtype))), dtype)
    left, right = halves(5)
    expected = in_order(gradients, left) + in_order(gradients, right)
    add_shards(gradients, np.zeros(5, np.int64), 5, 0, gradients[0])
    np.testing.assert_array_equal(gradients[0], expected)


@pytest.mark.parametrize("n_shards", range(1, MAX_SHARDS + 1))
def test_every_shard_knows_the_first_of_its_half(n_shards):
    for half in halves(n_shards):
        assert all(first_of_half(shard, n_shards) == half[0] for shard in half)


@pytest.mark.parametrize("n_shards", range(1, MAX_SHARDS + 1))
def test_shards_share_the_vectors_of_a_batch(n_shards):
    for vectors in range(n_shards if n_shards <= 2 else 2 * n_shards, 9 * n_shards):
        places = [share_of_shard(vectors, shard, n_shards) for shard in range(n_shards)]
        sizes = [end - begin for begin, end in places]
        assert [begin for begin, _ in places] == [0, *np.cumsum(sizes)[:-1]]
        assert places[-1][1] == vectors
        assert min(sizes) > 0
        for half in filter(len, halves(n_shards)):
            of_half = [sizes[shard] for shard in half]
            assert abs(sum(of_half) - vectors * len(half) / n_shards) < 1
            assert all(size % PANEL_VECTORS == 0 for size in of_half[:-1])
            # No tile has to hold more panels than equal shards would fill.
            assert max(of_half) <= -(-vectors // (n_shards * PANEL_VECTORS)) * PANEL_VECTORS


def test_twenty_vectors_are_ten_panels_in_four_shards():
    places = [share_of_shard(20, shard, 4) for shard in range(4)]
    assert places == [(0, 6), (6, 10), (10, 16), (16, 20)]
