"""The Mersenne Twister of NumPy's RandomState, number for number: the same seed, the batches of scikit-learn.

`key` is uint32 (KEY_LENGTH,): the 624 words and the position of RandomState.get_state()[1:3], then room for
the draws that the words stand for.
M. Matsumoto and T. Nishimura, ACM Transactions on Modeling and Computer Simulation 8 (1998), pages 3 to 30.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.jit import kernel

WORDS, DISTANCE = 624, 397
DRAWS = WORDS + 1  # where they begin in the key
KEY_LENGTH = DRAWS + WORDS
GROUP = 16  # draws that are looked at together
# A bare integer beside a uint32 makes it an int64.
ZERO, ONE = np.uint32(0), np.uint32(1)
UPPER, LOWER, TWIST = np.uint32(0x80000000), np.uint32(0x7FFFFFFF), np.uint32(0x9908B0DF)
SHIFTS = np.uint32(11), np.uint32(7), np.uint32(15), np.uint32(18)
MASKS = np.uint32(0x9D2C5680), np.uint32(0xEFC60000)


def new_key():
    """A key without words, for whoever shuffles nothing or fills them in."""
    return np.zeros(KEY_LENGTH, np.uint32)


@kernel
def twist(word, following, far):
    """far ^ (y >> 1) ^ (TWIST if y is odd), y = the top bit of `word` and the others of `following`."""
    y = (word & UPPER) | (following & LOWER)
    return far ^ (y >> ONE) ^ (TWIST if y & ONE else ZERO)


@kernel
def refill(key):
    """The next 624 words: key[k] = twist(key[k], key[k + 1], key[k + 397]), indices modulo 624."""
    # In three pieces without a modulo: 0.17 ns a word, in vectors.
    for k in range(WORDS - DISTANCE):
        key[k] = twist(key[k], key[k + 1], key[k + DISTANCE])
    for k in range(WORDS - DISTANCE, WORDS - 1):
        key[k] = twist(key[k], key[k + 1], key[k + DISTANCE - WORDS])
    key[WORDS - 1] = twist(key[WORDS - 1], key[0], key[DISTANCE - 1])
    key[WORDS] = ZERO


@kernel
def temper(y):
    """The number that a word of the key stands for."""
    y ^= y >> SHIFTS[0]
    y ^= (y << SHIFTS[1]) & MASKS[0]
    y ^= (y << SHIFTS[2]) & MASKS[1]
    return y ^ (y >> SHIFTS[3])


@kernel
def mask_of(maximum):
    """The smallest 2^k - 1 >= maximum."""
    mask = 0
    while mask < maximum:
        mask = 2 * mask + 1
    return mask


@kernel
def make_draws(key):
    """key[DRAWS + k] = temper(key[k]) from the position on, of new words if none are left; the position."""
    if key[WORDS] == WORDS:
        refill(key)
    position = np.int64(key[WORDS])
    for k in range(position, WORDS):
        key[DRAWS + k] = temper(key[k])
    return position


@intrinsic
def count_up_to(typing, numbers, at, mask, limit):
    """How many of numbers[at : at + GROUP] & mask are at most `limit`; numbers, mask and limit uint32."""

    def generate(context, builder, sig, args):
        array, at, mask, limit = args
        integer = ir.IntType(32)
        group, undefined = ir.VectorType(integer, GROUP), ir.Constant(ir.VectorType(integer, 1), ir.Undefined)

        def vector_of(number):
            first = builder.insert_element(undefined, number, ir.Constant(integer, 0))
            return builder.shuffle_vector(first, undefined, ir.Constant(group, [0] * GROUP))

        data = context.make_array(sig.args[0])(context, builder, array).data
        pointer = builder.bitcast(builder.gep(data, [at]), group.as_pointer())
        numbers = builder.and_(builder.load(pointer, align=4), vector_of(mask))
        flags = builder.icmp_unsigned("<=", numbers, vector_of(limit))
        return builder.zext(builder.ctpop(builder.bitcast(flags, ir.IntType(GROUP))), ir.IntType(64))

    return types.int64(numbers, types.intp, types.uint32, types.uint32), generate


@kernel
def shuffle(indices, key):
    """Swap indices[i] and indices[j], j drawn from 0, ..., i, for i = n - 1, ..., 1.  indices (n,).

    A draw is masked to the smallest 2^k - 1 >= i, and the first one that fits is taken.
    `sklearn.utils.shuffle` applies these swaps to 0, ..., n - 1 and gathers by the result, which is the same:
    swaps move places, whatever lies there.
    """
    i = indices.shape[0] - 1
    mask = mask_of(i)
    while i > 0:
        position, top, count = make_draws(key), i, 0
        # Whether a draw fits can't be predicted: each is written behind those that do, and kept if it does,
        # too. For 100,000 numbers, 15 to 20 ns each one by one, 7.9 with each swap right after its draw, and
        # so 5.7 (benchmarks/micro/shuffle.py).
        while position < WORDS and i > 0:
            half = mask >> 1
            while position < WORDS and i > half:
                j = np.int64(key[DRAWS + position]) & mask
                key[DRAWS + count] = j
                fits = j <= i
                count += fits
                i -= fits
                position += 1
            mask = half if i <= half else mask
        key[WORDS] = position
        for k in range(count):
            j = np.int64(key[DRAWS + k])
            other = indices[j]
            indices[j] = indices[top - k]
            indices[top - k] = other


@kernel
def skip_shuffle(n, key):
    """Leave the key as a shuffle of n indices leaves it."""
    i = n - 1
    mask = mask_of(i)
    while i > 0:
        position = make_draws(key)
        while position < WORDS and i > 0:
            half = mask >> 1
            # Draws are counted in vectors while none lies so close below i that their order counts: one
            # by one 4.5 ns for one of 10,000 numbers, so 1.2 (benchmarks/micro/shuffle.py).
            settled = True
            while settled and position + GROUP <= WORDS and i - GROUP > half:
                below = count_up_to(key, DRAWS + position, np.uint32(mask), np.uint32(i - GROUP))
                fitting = count_up_to(key, DRAWS + position, np.uint32(mask), np.uint32(i))
                settled = below == fitting
                if settled:
                    i -= below
                    position += GROUP
            stop = min(position + GROUP, WORDS)
            while position < stop and i > half:
                i -= (np.int64(key[DRAWS + position]) & mask) <= i
                position += 1
            mask = half if i <= half else mask
        key[WORDS] = position
