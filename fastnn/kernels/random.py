"""The Mersenne Twister of NumPy's RandomState, number for number: the same seed, the batches of scikit-learn.

`key` is uint32 (625,): the 624 words and the position of RandomState.get_state()[1:3].
M. Matsumoto and T. Nishimura, ACM Transactions on Modeling and Computer Simulation 8 (1998), pages 3 to 30.
"""

import numpy as np

from fastnn.kernels.jit import kernel

WORDS, DISTANCE = 624, 397
GROUP = 16  # draws that are looked at together
# A bare integer beside a uint32 makes it an int64.
ZERO, ONE = np.uint32(0), np.uint32(1)
UPPER, LOWER, TWIST = np.uint32(0x80000000), np.uint32(0x7FFFFFFF), np.uint32(0x9908B0DF)
SHIFTS = np.uint32(11), np.uint32(7), np.uint32(15), np.uint32(18)
MASKS = np.uint32(0x9D2C5680), np.uint32(0xEFC60000)


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
def random_interval(key, maximum):
    """A whole number, 0 to `maximum` (below 2^32), all equally likely: masked draws until one fits."""
    mask, value = mask_of(maximum), maximum + 1
    while maximum > 0 and value > maximum:
        if key[WORDS] == WORDS:
            refill(key)
        value = np.int64(temper(key[key[WORDS]])) & mask
        key[WORDS] += ONE
    return value if maximum > 0 else 0


@kernel
def shuffle(indices, key):
    """Swap indices[i] and indices[j], j = random_interval(i), for i = n - 1, ..., 1.  indices (n,).

    `sklearn.utils.shuffle` applies these swaps to 0, ..., n - 1 and gathers by the result, which is the same:
    swaps move places, whatever lies there.
    """
    # Not a call of `random_interval`: whether a draw fits can't be predicted, so a draw that doesn't swaps i
    # with itself. 5 ns a number instead of 12 (benchmarks/micro/shuffle.py).
    i, position = indices.shape[0] - 1, np.int64(key[WORDS])
    mask = mask_of(i)
    while i > 0:
        if position == WORDS:
            refill(key)
            position = 0
        half = mask >> 1
        while position < WORDS and i > half:
            j = np.int64(temper(key[position])) & mask
            fits = j <= i
            j = j if fits else i
            other = indices[j]
            indices[j] = indices[i]
            indices[i] = other
            i -= fits
            position += 1
        mask = half if i <= half else mask
    key[WORDS] = position


@kernel
def skip_shuffle(n, key):
    """Leave the key as a shuffle of n indices leaves it."""
    i, position = n - 1, np.int64(key[WORDS])
    mask = mask_of(i)
    while i > 0:
        if position == WORDS:
            refill(key)
            position = 0
        half = mask >> 1
        # Draws are counted in vectors while none lies so close below i that their order counts: 4.5 -> 1.7 ns
        # for one of 10,000 numbers (benchmarks/micro/shuffle.py).
        settled = True
        while settled and position + GROUP <= WORDS and i - GROUP > half:
            low, high, bits = np.uint32(i - GROUP), np.uint32(i), np.uint32(mask)
            below, fitting = 0, 0
            for k in range(GROUP):
                value = temper(key[position + k]) & bits
                below += value <= low
                fitting += value <= high
            settled = below == fitting
            if settled:
                i -= below
                position += GROUP
        stop = min(position + GROUP, WORDS)
        while position < stop and i > half:
            i -= (np.int64(temper(key[position])) & mask) <= i
            position += 1
        mask = half if i <= half else mask
    key[WORDS] = position
