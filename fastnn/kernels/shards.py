"""The gradient of a batch from those of its shards: the sum of two halves, each in the order of its shards.

A thread that has made the first shard of a half and the next ones joins them there, so others have one vector
to read and not several. Who joins what is chance; the sum is not, so the kernels that add are `exact`.

Legend: gradients (S, P), a row for each shard; joined (S,), 1 where a shard has been added to the first of
its half.
"""

from fastnn.kernels import arithmetic  # noqa: F401  blocks can be added then
from fastnn.kernels.jit import kernel
from fastnn.kernels.meeting import share
from fastnn.kernels.simd import PANEL_VECTORS, block_load, block_store, lanes


@kernel(embed=True)
def first_of_half(shard, n_shards):
    """The first shard of the half that a shard belongs to; of `n_shards`, that is where the second begins."""
    middle = n_shards // 2
    return 0 if shard < middle else middle


@kernel(embed=True)
def share_of_shard(vectors, shard, n_shards):
    """Where a shard begins and ends in a batch of so many vectors of rows: at least one for each of two
    shards, two for each of more.

    Halves are alike to a vector, for two threads; within a half, only the last shard may end with a panel
    that isn't full, and costs more than its share. 320 rows are 96 + 64 + 96 + 64, not 80 each: 10-100-1 with
    two threads 0.93, 32-64-64-1 with 450 rows 0.95 (in turn).
    """
    half = first_of_half(shard, n_shards)
    end = n_shards // 2 if shard < n_shards // 2 else n_shards
    begin, stop = vectors * half // n_shards, vectors * end // n_shards
    first, last = share(stop - begin, shard - half, end - half)
    return begin + whole_panels(first, stop - begin), begin + whole_panels(last, stop - begin)


@kernel(embed=True)
def whole_panels(vectors, most):
    """So many vectors, rounded up to whole panels, but no more than `most`."""
    return min((vectors + PANEL_VECTORS - 1) // PANEL_VECTORS * PANEL_VECTORS, most)


@kernel(exact=True)
def join(sums, gradient):
    """sums[i] += gradient[i]."""
    for i in range(sums.size):
        sums[i] += gradient[i]


def make_add_shards(height):
    """The kernel that adds blocks of `height` vectors."""

    @kernel(exact=True, embed=True)
    def add_half(gradients, joined, first_shard, last_shard, at):
        """Sum of the blocks gradients[s, at:],  first_shard <= s < last_shard, that are not joined."""
        step, size = lanes(gradients), gradients.shape[1]
        half = block_load(gradients, height, 1, first_shard * size + at, step)
        for shard in range(first_shard + 1, last_shard):
            if joined[shard] == 0:
                half += block_load(gradients, height, 1, shard * size + at, step)
        return half

    @kernel(exact=True)
    def add_blocks(gradients, joined, n_shards, first, begin, sums):
        """`add_shards` for begin <= i, as far as there are whole blocks; returns where they end."""
        middle, step = first_of_half(n_shards, n_shards), lanes(gradients)
        while begin + height * step <= sums.size:
            left = add_half(gradients, joined, 0, middle, first + begin)
            right = add_half(gradients, joined, middle, n_shards, first + begin)
            block_store(left + right, sums, begin, step)
            begin += height * step
        return begin

    return add_blocks


add_fours, add_ones = make_add_shards(4), make_add_shards(1)


@kernel
def add_shards(gradients, joined, n_shards, first, sums):
    """sums[i] = sum_s gradients[s, first + i],  s < n_shards, two or more.  sums, whole vectors, may be part
    of the first row.
    """
    end = add_fours(gradients, joined, n_shards, first, 0, sums)
    add_ones(gradients, joined, n_shards, first, end, sums)
