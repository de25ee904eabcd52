"""The limits of this machine, measured on the spot: matrix products, main memory, the L1 cache."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import joblib
import numpy as np
from threadpoolctl import threadpool_limits

# Neighbours interrupt whatever lasts longer than a few milliseconds: small products find a quiet moment more
# often, large ones keep several threads busy.
GEMM_SIZES = (256, 384, 768)
PROBE_SIZE = 384
MEMORY_BYTES = 128 * 2**20  # well past any last cache
SLICE_BYTES = 4 * 2**20
L1_BYTES = 16 * 2**10
ASSUMED_CACHE = 32 * 2**20  # where the system doesn't tell


def best_rate(piece: Callable[[], Any], amount: float, seconds: float) -> float:
    """Amount a second of the quickest run: a limit is what the machine can do, not what neighbours leave."""
    piece()
    best, until = np.inf, perf_counter() + seconds
    while perf_counter() < until or best == np.inf:
        start = perf_counter()
        piece()
        best = min(best, perf_counter() - start)
    return amount / best


def gemm(dtype: str, size: int) -> Callable[[], Any]:
    """A product of two square matrices by NumPy's BLAS."""
    a = np.random.default_rng(0).random((size, size)).astype(dtype)
    b, out = a.T.copy(), np.empty_like(a)
    return partial(np.matmul, a, b, out=out)


def gemm_rate(dtype: str, threads: int, seconds: float = 0.3) -> float:
    """Most operations a second of the matrix product on `threads` threads."""
    each = seconds / len(GEMM_SIZES)
    with threadpool_limits(threads, user_api="blas"):
        return max(best_rate(gemm(dtype, size), 2.0 * size**3, each) for size in GEMM_SIZES)


def gemm_probe(dtype: str, seconds: float) -> float:
    """Operations a second of the matrix product on one thread on the average: what the machine gives just
    now."""
    piece, count, start = gemm(dtype, PROBE_SIZE), 0, 0.0
    with threadpool_limits(1, user_api="blas"):
        piece()
        start = perf_counter()
        while perf_counter() - start < seconds:
            piece()
            count += 1
    return count * 2.0 * PROBE_SIZE**3 / (perf_counter() - start)


def memory_rate(seconds: float = 0.2) -> float:
    """Bytes a second, read plus written, of copies between arrays that no cache can hold, slice by slice."""
    source = np.ones((MEMORY_BYTES // SLICE_BYTES, SLICE_BYTES // 8))
    target = np.empty_like(source)
    np.copyto(target, source)
    turn = itertools.cycle(range(len(source)))

    def copy() -> None:
        index = next(turn)
        np.copyto(target[index], source[index])

    return best_rate(copy, 2.0 * SLICE_BYTES, seconds)


def l1_rate(seconds: float = 0.1) -> float:
    """Bytes a second, read plus written, of y += x on arrays that stay in the L1 cache of one core."""
    import numba

    @numba.njit(fastmath=True)
    def add_often(x, y, times):  # type: ignore[no-untyped-def]
        for _ in range(times):
            for i in range(x.size):
                y[i] += x[i]

    count, times = L1_BYTES // 8, 2000
    x, y = aligned(count), aligned(count)
    return best_rate(lambda: add_often(x, y, times), 3.0 * 4 * count * times, seconds)


def aligned(count: int) -> Any:
    """float32 zeros that begin at a cache line."""
    memory = np.zeros(4 * count + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + 4 * count].view(np.float32)


def last_cache_bytes() -> int:
    """Size of the largest cache that the system tells of."""
    sizes = [ASSUMED_CACHE] if not Path("/sys/devices/system/cpu/cpu0/cache").exists() else []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        unit = {"K": 2**10, "M": 2**20}.get(text[-1:], 1)
        sizes.append(int(text.rstrip("KM")) * unit)
    return max(sizes, default=ASSUMED_CACHE)


def measure(seconds: float = 0.4) -> dict[str, float]:
    """All limits: sgemm and dgemm in 1/s on one core and on all, memory and L1 in bytes/s."""
    cores = joblib.cpu_count()
    rates = {}
    for name, dtype in (("sgemm", "float32"), ("dgemm", "float64")):
        rates[f"{name}_1"] = gemm_rate(dtype, 1, seconds)
        rates[f"{name}_all"] = gemm_rate(dtype, cores, seconds) if cores > 1 else rates[f"{name}_1"]
    return {
        **rates,
        "memory": memory_rate(seconds / 2),
        "l1": l1_rate(seconds / 4),
        "cores": cores,
        "last_cache_bytes": last_cache_bytes(),
    }
