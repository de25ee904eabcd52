"""Adam's step by where its four vectors begin within a page: nanoseconds a vector of the CPU, from L1 and L2.

    python benchmarks/micro/pages.py [float64]

First all vectors at the same place, then each so many bytes after the one before, then anywhere.
"""

import sys
import time

import numba
import numpy as np

from fastnn.engine import PAGE_BYTES, aligned_zeros
from fastnn.kernels import layout, optimizers

DTYPE = np.dtype(sys.argv[1] if sys.argv[1:] else np.float32)
LINE_BYTES, WINDOW = 64, 5e-4  # seconds


@numba.njit(nogil=True)
def adam(times, params, gradient, first, second, hyper):
    for _ in range(times):
        optimizers.adam(params, gradient, first, second, hyper)


def fastest(arguments):
    """Seconds of one turn: the best of 60 windows."""
    adam(1, *arguments)
    times, best = 1, np.inf
    for _ in range(60):
        start = time.perf_counter()
        adam(times, *arguments)
        best = min(best, (time.perf_counter() - start) / times)
        times = max(1, int(WINDOW / best))
    return best


def at_places(numbers, places):
    """Four vectors that begin `places` bytes after the beginning of a page, and hyper-parameters."""
    stride = layout.round_up(numbers * DTYPE.itemsize, PAGE_BYTES) + PAGE_BYTES
    memory = aligned_zeros((len(places) * stride,), np.uint8, 0)
    starts = [index * stride + place for index, place in enumerate(places)]
    vectors = [memory[start : start + numbers * DTYPE.itemsize].view(DTYPE) for start in starts]
    vectors[1][:] = np.random.RandomState(0).normal(size=numbers)
    return [*vectors, np.full(optimizers.N_HYPER, 1e-3, DTYPE)]


def nanoseconds(numbers, places):
    seconds = fastest(at_places(numbers, places))
    return seconds * 1e9 / (numbers / layout.vector_lanes(DTYPE))


if __name__ == "__main__":
    for numbers in (1024, 8960):
        print(f"{numbers} numbers")
        for apart in (0, 64, 128, 256, 512, PAGE_BYTES // 4):
            taken = nanoseconds(numbers, [apart * index for index in range(4)])
            print(f"{apart:6d} bytes apart {taken:8.2f} ns")
        random, trials = np.random.RandomState(1), []
        for _ in range(100):
            trials.append(nanoseconds(numbers, random.randint(PAGE_BYTES // LINE_BYTES, size=4) * LINE_BYTES))
        shares = ", ".join(f"{share} % {np.percentile(trials, share):.2f}" for share in (50, 75, 90, 95, 100))
        print(f"anywhere, of 100 trials up to: {shares} ns", flush=True)
