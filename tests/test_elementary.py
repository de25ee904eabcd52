"""kernels/elementary.py and lookup.py against NumPy in extended precision: dense grids, every exponent,
special values.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import WRITTEN, Guarded

from fastnn.kernels import elementary, lookup, simd
from fastnn.kernels.jit import kernel

ROOT = Path(__file__).parents[1]
DTYPES = [np.float32, np.float64]
LIMITS = {np.float32: 2e-7, np.float64: 1e-14}


def over_array(function):
    @kernel
    def loop(x, out):
        for i in range(x.shape[0]):
            out[i] = function(x[i])

    def call(x):
        out = np.empty_like(x)
        loop(x, out)
        return out

    return call


def logistic(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def in_place(kernel):
    def call(x):
        out = x.copy()
        kernel(out)
        return out

    return call


OF_ARRAYS = {"exp": lookup.exp, "tanh": lookup.tanh, "logistic": lookup.logistic}
KERNELS = {name: over_array(getattr(elementary, name)) for name in ("exp", "log", "tanh", "logistic")}
KERNELS |= {f"{name} of an array": in_place(kernel) for name, kernel in OF_ARRAYS.items()}
ORACLES = {"exp": np.exp, "log": np.log, "tanh": np.tanh, "logistic": logistic}
SIGNED = [0, -0.0, np.inf, -np.inf, 1000, -1000]
SPECIAL = {
    "exp": (SIGNED, [1, 1, np.inf, 0, np.inf, 0]),
    "log": ([1, 0, -0.0, np.inf, -1, -np.inf], [0, -np.inf, -np.inf, np.inf, np.nan, np.nan]),
    "tanh": (SIGNED, [0, -0.0, 1, -1, 1, -1]),
    "logistic": (SIGNED, [0.5, 0.5, 1, 0, 1, 0]),
}


def exact(name, x):
    """The function in extended precision, or in double where the platform has no more."""
    with np.errstate(all="ignore"):
        return ORACLES[name.split()[0]](x.astype(np.longdouble if x.dtype == np.float64 else np.float64))


def inputs(name, dtype):
    """Grids where the functions bend, and random bits: every sign, exponent and nan."""
    rng = np.random.default_rng(0)
    bits = np.uint32 if dtype == np.float32 else np.uint64
    anything = rng.integers(0, np.iinfo(bits).max, 200_000, dtype=bits, endpoint=True).view(dtype)
    ranges = (
        [(-1, 1), (-20, 20), (-110, 95), (-760, 720)] if name != "log" else [(0, 3), (0.9, 1.1), (0, 1e6)]
    )
    return np.concatenate([anything, *(np.linspace(*ends, 100_001).astype(dtype) for ends in ranges)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_relative_error_is_within_the_stated_limit(name, dtype):
    x = inputs(name, dtype)
    if dtype == np.float64 and np.finfo(np.longdouble).eps == np.finfo(np.float64).eps:
        x = x[np.isfinite(x)]
    got, expected = KERNELS[name](x), exact(name, x)
    finite = np.isfinite(expected) & (np.abs(expected) <= np.finfo(dtype).max)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(got[~finite], expected[~finite].astype(dtype))
    # A subnormal number has a fixed distance to the next one: there one unit of it is the limit.
    allowed = LIMITS[dtype] * np.abs(expected[finite]) + np.finfo(dtype).smallest_subnormal
    assert np.all(np.abs(got[finite] - expected[finite]) <= allowed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_special_values_are_exact(name, dtype):
    # More than a vector of them: of an array, whole vectors and the numbers after them.
    x, expected = (np.tile(values, 7).astype(dtype) for values in SPECIAL[name.split()[0]])
    got = KERNELS[name](x)
    np.testing.assert_array_equal(got, expected)
    if name.startswith("tanh"):
        np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_nan_gives_nan(name, dtype):
    # 19 numbers: whole vectors and the numbers after them.
    assert np.isnan(KERNELS[name](np.full(19, np.nan, dtype))).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in KERNELS if name != "log"])
def test_saturation_is_monotone(name, dtype):
    start, stop = (8, 40) if name.startswith("tanh") else (-800, -80)
    y = KERNELS[name](np.linspace(start, stop, 50_001).astype(dtype))
    assert np.all(np.diff(y) >= 0)
    assert y[-1] == 1 if name.startswith("tanh") else y[0] == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["logistic", "logistic of an array"])
def test_small_results_of_logistic_keep_their_digits(name, dtype):
    x = np.array([-20, -50, -80, -85, -100], dtype)
    smallest = float(np.finfo(dtype).smallest_subnormal)
    expected = np.exp(x.astype(float)) / (1 + np.exp(x.astype(float)))
    np.testing.assert_allclose(KERNELS[name](x), expected, rtol=2e-7, atol=smallest)


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_takes_subnormal_numbers(dtype):
    x = np.array([1, 2, 3, 1000], dtype) * np.finfo(dtype).smallest_subnormal
    np.testing.assert_allclose(KERNELS["log"](x), exact("log", x).astype(float), rtol=LIMITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "log", "tanh", "logistic"])
def test_the_precision_stays_that_of_the_argument(name, dtype):
    scalar = getattr(elementary, name)
    scalar(dtype(0.5))
    returned = {
        str(signature.args[0]): str(signature.return_type)
        for signature in scalar.dispatcher.nopython_signatures
    }
    assert returned[np.dtype(dtype).name] == np.dtype(dtype).name


def test_pieces_of_tanh_meet_within_a_unit_of_the_last_place():
    turn, middles, _ = lookup.tanh_pieces()
    bits = np.arange(turn + 1, turn + middles.size + 1, dtype=np.int32) << lookup.TANH_SHIFT
    ends = bits.view(np.float32) - np.float32(lookup.TANH_START)
    nearby = ends.view(np.int32)[:, np.newaxis] + np.arange(-8, 8, dtype=np.int32)
    y = KERNELS["tanh of an array"](nearby.view(np.float32).ravel()).reshape(nearby.shape)
    assert np.all(np.diff(y.view(np.int32), axis=1) >= -1)
    assert np.all(y <= 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OF_ARRAYS)
def test_an_array_leaves_what_lies_around_it(name, dtype):
    for n in (0, 1, 15, 16, 17, 40):
        buffer = Guarded(np.linspace(-3, 3, n).astype(dtype), WRITTEN)
        OF_ARRAYS[name](buffer.values)
        buffer.assert_guards_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OF_ARRAYS)
def test_a_result_does_not_depend_on_its_place_in_an_array(name, dtype):
    x = np.random.default_rng(0).normal(scale=4, size=101).astype(dtype)
    function = KERNELS[f"{name} of an array"]
    one_by_one = [function(x[i : i + 1])[0] for i in range(x.size)]
    np.testing.assert_array_equal(function(x), one_by_one)


@pytest.mark.skipif(
    simd.VECTOR_BITS < 512 or not simd.cpu_has("avx512f"),
    reason="without vectors of AVX-512 functions are computed number by number",
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OF_ARRAYS)
def test_numbers_are_looked_up_in_two_registers(name, dtype):
    function = OF_ARRAYS[name]
    function(np.ones(1, dtype))
    compiled = [each for each in function.dispatcher.overloads if each[0].dtype.name == dtype.__name__]
    found = [re.search(r"vperm[it]2p[sd]", function.dispatcher.inspect_asm(each)) for each in compiled]
    assert found
    # tanh in double is computed everywhere.
    assert all(found) == (name != "tanh" or dtype == np.float32)


PAGES = """
import ctypes, mmap, sys

sys.path.append("tests")
import conftest  # vectors of the same width as in this run
import numpy as np
from fastnn.kernels import lookup

memory, size = mmap.mmap(-1, 2 * mmap.PAGESIZE), ctypes.c_size_t(mmap.PAGESIZE)
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + mmap.PAGESIZE), size, 0) == 0
for dtype in (np.float32, np.float64):
    for n in range(1, 36):
        values = np.frombuffer(memory, dtype, n, mmap.PAGESIZE - n * np.dtype(dtype).itemsize)
        for function in (lookup.exp, lookup.tanh, lookup.logistic):
            values[:] = 0.5
            function(values)
print("nothing was read beyond")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="pages are protected as Linux does it")
def test_nothing_is_read_beyond_an_array_at_the_end_of_a_page():
    # Most reads beyond an array go unnoticed; the next page here may not be read at all.
    done = subprocess.run([sys.executable, "-c", PAGES], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "nothing was read beyond\n"), done.stderr
