"""Nanoseconds a number of `kernels.random.shuffle`, `skip_shuffle`, NumPy's and a loop of masked draws.

python benchmarks/micro/shuffle.py
"""

import time

import numpy as np

from fastnn.kernels.jit import kernel
from fastnn.kernels.random import WORDS, mask_of, new_key, refill, shuffle, skip_shuffle, temper


@kernel
def shuffle_by_draws(indices, key):
    for i in range(indices.shape[0] - 1, 0, -1):
        mask, j = mask_of(i), i + 1
        while j > i:
            if key[WORDS] == WORDS:
                refill(key)
            j = np.int64(temper(key[key[WORDS]])) & mask
            key[WORDS] += np.uint32(1)
        indices[i], indices[j] = indices[j], indices[i]


def best_time(call, repeats=20):
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    state = np.random.RandomState(0)
    key = new_key()
    key[: WORDS + 1] = np.append(*state.get_state()[1:3])
    print("       n    fastnn    skipped   by draws      numpy   (ns a number)")
    for n in (1000, 10_000, 100_000, 1_000_000):
        indices = np.arange(n)
        calls = (
            lambda indices=indices: shuffle(indices, key),
            lambda n=n: skip_shuffle(n, key),
            lambda indices=indices: shuffle_by_draws(indices, key),
            lambda indices=indices: state.shuffle(indices),
        )
        print(f"{n:8d}" + "".join(f"{best_time(call) / n * 1e9:10.2f}" for call in calls))
