"""Idle inputs, which are 0 in every row of a tile, like the border of pictures or the categories that nobody
has: the first layer leaves them out.

What is multiplied then are copies without them, of rows of W and of the panels, and gradients go back to
where they belong. Sums have the same terms in the same order, but for zeros: results are the same to the bit,
but for the sign of a zero, while all parameters are finite (0 times infinity is left out, too).

Legend: a mask has a bit for each of `lanes` inputs, 1 if it isn't idle; `busy` lists the inputs that aren't.
The masks of a panel: word w is for the inputs from w * lanes on, the last one for the last `lanes` inputs.
"""

from fastnn.kernels.jit import kernel
from fastnn.kernels.simd import block_load, block_store, block_zero, lanes, ones

# Copies cost more than a few idle inputs: they pay below this share of busy ones (benchmarks/micro/idle.py).
BUSY_SHARE = 0.8


@kernel(embed=True)
def word_start(word, step, n_inputs):
    """The input that bit 0 of a word of a mask is for."""
    return max(0, min(word * step, n_inputs - step))


@kernel(embed=True)
def busy_bits(masks, panels, step, n_inputs, word, first, last):
    """Bit n is 1 if input word * step + n, first <= that < last, is busy in one of the panels."""
    bits, start = 0, word * step
    for panel in range(panels[0], panels[1]):
        bits |= masks[panel, word]
    bits >>= start - word_start(word, step, n_inputs)
    low, high = max(0, first - start), min(step, last - start)
    return bits & ((1 << high) - (1 << low))


@kernel
def count_busy(masks, panels, step, n_inputs, first, last):
    """How many inputs, first <= i < last, are busy in one of panels[0] <= panel < panels[1].

    masks (panels, I / lanes rounded up), step: lanes.
    """
    count = 0
    for word in range(first // step, (last + step - 1) // step):
        count += ones(busy_bits(masks, panels, step, n_inputs, word, first, last))
    return count


@kernel
def list_busy(masks, panels, step, n_inputs, first, last, busy):
    """busy[:count] = those that `count_busy` counts."""
    count = 0
    for word in range(first // step, (last + step - 1) // step):
        bits = busy_bits(masks, panels, step, n_inputs, word, first, last)
        for n in range(step):
            # Written in any case, and kept if it counts: a branch would be guessed wrong.
            busy[count] = word * step + n
            count += (bits >> n) & 1


@kernel
def pick_rows(source, ld, busy, numbers, target, width):
    """target[k, j] = source[busy[k], j],  j < numbers rounded up to whole vectors.

    source (I, ld), busy (K,), target (K, width).
    """
    step = lanes(source)
    for k in range(busy.size):
        at, to = busy[k] * ld, k * width
        for j in range(0, numbers, step):
            block_store(block_load(source, 1, 1, at + j, 0), target, to + j, 0)


@kernel
def spread_rows(source, ld, busy, count, target, first, last, fresh):
    """target[busy[k] - first] = source[k],  k < count; rows in between are 0 if fresh.

    source (K, ld), target (last - first, ld).
    """
    step, k = lanes(source), 0
    for i in range(first, last):
        to = (i - first) * ld
        if k < count and busy[k] == i:
            for j in range(0, ld, step):
                block_store(block_load(source, 1, 1, k * ld + j, 0), target, to + j, 0)
            k += 1
        elif fresh:
            for j in range(0, ld, step):
                block_store(block_zero(target, 1, 1), target, to + j, 0)
