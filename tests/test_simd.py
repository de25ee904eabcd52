"""kernels/simd.py and arithmetic.py: every operation on blocks against NumPy, in both precisions."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import DTYPES, READ, WRITTEN, Guarded
from numba import TypingError

from fastnn.kernels import dense, layout, passes, simd
from fastnn.kernels.arithmetic import (
    block_larger,
    block_one,
    block_sum,
    block_times_logistic_slope,
    block_times_tanh_slope,
    block_where_equal,
    over_root,
)
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import vector_lanes
from fastnn.kernels.simd import (
    SQUARE,
    block_broadcast,
    block_gather,
    block_load,
    block_multiply_add,
    block_prefetch,
    block_store,
    block_zero,
)
from fastnn.kernels.transposition import block_columns, block_gather_columns, block_transpose

ROOT = Path(__file__).parents[1]
OTHER_WIDTHS = [bits for bits in (128, 256, 512) if bits != simd.VECTOR_BITS]


@kernel
def sizes(values):
    return simd.lanes(values), simd.panel_rows(values)


@kernel
def number_panel(tile, at, width, panel):
    part = simd.panel_of(tile, at, width, panel)
    for i in range(part.size):
        part[i] = i
    return len(part), part.shape[0]


@kernel
def copy_4x2(source, at, stride, out, start, step):
    block_store(block_load(source, 4, 2, at, stride), out, start, step)


@kernel
def copy_8x1(source, at, stride, out, start, step):
    block_store(block_load(source, 8, 1, at, stride), out, start, step)


@kernel
def broadcast_4x2(source, at, out, start, step):
    block_store(block_broadcast(source, 4, 2, at), out, start, step)


@kernel
def zero_4x2(out, start, step):
    block_store(block_zero(out, 4, 2), out, start, step)


@kernel
def transpose(source, at, stride, out, start, step):
    block_store(block_transpose(block_load(source, SQUARE, 1, at, stride)), out, start, step)


@kernel
def gather(table, rows, at, column, out, start, step):
    block_store(block_gather(table, rows, at, column), out, start, step)


@kernel
def take_columns(source, at, stride, out, start, step):
    block_store(block_columns(source, at, stride), out, start, step)


@kernel
def gather_columns(table, rows, at, column, out, start, step):
    block_store(block_gather_columns(table, rows, at, column), out, start, step)


@kernel
def multiply_add_4x2(addend, factors, at, stride, values, start, apart, out):
    n = 2 * simd.lanes(addend)
    block = block_load(addend, 4, 2, 0, n)
    block_store(block_multiply_add(block, factors, at, stride, values, start, apart), out, 0, n)


@kernel
def ask(values, at):
    block_prefetch(values, 3, 2, at, 40, 0)
    block_prefetch(values, 2, 1, at, 40, 1)


@kernel
def combine(left, right, out):
    n = simd.lanes(left)
    x, y = block_load(left, 2, 1, 0, n), block_load(right, 2, 1, 0, n)
    block_store(x + y, out, 0, n)
    block_store(x - y, out, 2 * n, n)
    block_store(x / y, out, 4 * n, n)
    block_store(x * y, out, 6 * n, n)
    block_store(block_larger(x, y), out, 8 * n, n)
    block_store(block_where_equal(x, y, block_one(x), y), out, 10 * n, n)
    block_store(block_times_tanh_slope(x, y), out, 12 * n, n)
    block_store(block_times_logistic_slope(x, y), out, 14 * n, n)


@kernel(exact=True)
def divide_by_root(x, scale, y, epsilon, out):
    x, y = block_load(x, 1, 1, 0, 0), block_load(y, 1, 1, 0, 0)
    scale, epsilon = block_broadcast(scale, 1, 1, 0), block_broadcast(epsilon, 1, 1, 0)
    block_store(over_root(x, scale, y, epsilon), out, 0, 0)


@kernel
def total(values):
    return block_sum(block_load(values, 1, 1, 0, 0))


def lanes(dtype):
    return vector_lanes(np.dtype(dtype))


def draw(size, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=size).astype(dtype)


def positions(start, step, shape):
    """Where the rows of a block lie in flat memory."""
    return start + step * np.arange(shape[0])[:, None] + np.arange(shape[1])


def assert_stored(out, start, step, expected):
    """`expected` lies where it was stored, and all else is as before."""
    wanted = out.before.copy()
    wanted[len(wanted) // 2 - out.values.size // 2 :][positions(start, step, expected.shape)] = expected
    np.testing.assert_array_equal(out.memory, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_lanes_fill_a_vector_and_a_panel_has_two(dtype):
    n, rows = sizes(np.zeros(1, dtype))
    assert n * np.dtype(dtype).itemsize * 8 == simd.VECTOR_BITS
    assert (n, rows) == (lanes(dtype), simd.PANEL_VECTORS * lanes(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("at", "width", "panel"), [(0, 1, 0), (5, 3, 2), (8, 10, 1)])
def test_a_panel_is_a_slice_of_its_tile(at, width, panel, dtype):
    size = width * simd.PANEL_VECTORS * lanes(dtype)
    tile = Guarded(draw(at + 4 * size, dtype), WRITTEN)
    expected = tile.values.copy()
    expected[at + panel * size : at + (panel + 1) * size] = np.arange(size)
    # Many times: a reference that is given back but was never taken shows only after a while.
    for _ in range(3000):
        assert number_panel(tile.values, at, width, panel) == (size, size)
    np.testing.assert_array_equal(tile.values, expected)
    tile.assert_guards_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("copy", "shape"), [(copy_4x2, (4, 2)), (copy_8x1, (8, 1))])
def test_load_and_store_place_every_number_at_its_stride(copy, shape, dtype):
    width = shape[1] * lanes(dtype)
    for at, stride, start, step in [(0, width, 0, width), (3, width + 5, 1, width + 2), (7, 0, 0, width)]:
        source = Guarded(draw(at + 7 * stride + width, dtype), READ)
        out = Guarded(np.zeros(start + 7 * step + width, dtype), WRITTEN)
        copy(source.values, at, stride, out.values, start, step)
        assert_stored(out, start, step, source.values[positions(at, stride, (shape[0], width))])
        source.assert_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
def test_broadcast_puts_one_number_into_all_lanes_of_a_row(dtype):
    width = 2 * lanes(dtype)
    source, out = Guarded(draw(7, dtype), READ), Guarded(np.zeros(5 * width, dtype), WRITTEN)
    broadcast_4x2(source.values, 3, out.values, 2, width + 1)
    assert_stored(out, 2, width + 1, np.repeat(source.values[3:, None], width, axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_is_zero(dtype):
    width = 2 * lanes(dtype)
    out = Guarded(draw(5 * width, dtype), WRITTEN)
    zero_4x2(out.values, 3, width)
    assert_stored(out, 3, width, np.zeros((4, width), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose_exchanges_rows_and_lanes(dtype):
    n = lanes(dtype)
    source = Guarded(np.arange(2 + (n - 1) * (n + 3) + n, dtype=dtype), READ)
    out = Guarded(np.zeros(1 + n * (n + 2), dtype), WRITTEN)
    transpose(source.values, 2, n + 3, out.values, 1, n + 2)
    assert_stored(out, 1, n + 2, source.values[positions(2, n + 3, (n, n))].T)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gather_takes_each_row_from_where_its_index_says(dtype):
    n = lanes(dtype)
    table = Guarded(draw(9 * (n + 5), dtype), READ)
    rows = np.random.default_rng(1).integers(0, 9, n + 4)
    rows[3], rows[n + 2] = 0, 8
    out = Guarded(np.zeros(n * n, dtype), WRITTEN)
    gather(table.values.reshape(9, n + 5), rows, 3, 5, out.values, 0, n)
    assert_stored(out, 0, n, table.values.reshape(9, n + 5)[rows[3 : n + 3], 5:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_are_read_from_rows_of_any_length(dtype):
    n, count = lanes(dtype), 16 // np.dtype(dtype).itemsize
    for stride in (count, n + 3):
        source = Guarded(draw(2 + (n - 1) * stride + count, dtype), READ)
        out = Guarded(np.zeros(1 + count * (n + 2), dtype), WRITTEN)
        take_columns(source.values, 2, stride, out.values, 1, n + 2)
        assert_stored(out, 1, n + 2, source.values[positions(2, stride, (n, count))].T)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gathered_columns_come_from_where_each_index_says(dtype):
    n, count = lanes(dtype), 16 // np.dtype(dtype).itemsize
    for width in (count, count + 3):
        table = Guarded(draw(9 * width, dtype), READ)
        rows = np.random.default_rng(1).integers(0, 9, n + 4)
        rows[3], rows[n + 2] = 0, 8
        out = Guarded(np.zeros(count * n, dtype), WRITTEN)
        matrix = table.values.reshape(9, width)
        gather_columns(matrix, rows, 3, width - count, out.values, 0, n)
        assert_stored(out, 0, n, matrix[rows[3 : n + 3], width - count :].T)


@pytest.mark.parametrize("dtype", DTYPES)
def test_multiply_add_is_the_outer_product_added(dtype):
    n, width = lanes(dtype), 2 * lanes(dtype)
    addend = Guarded(draw(4 * width, dtype), READ)
    for at, stride, apart in [(0, 1, n), (2, 5, n), (2, 5, n + 3)]:
        factors = Guarded(draw(at + 3 * stride + 1, dtype, 1), READ)
        values = Guarded(draw(3 + apart + n, dtype, 2), READ)
        out = Guarded(np.zeros(4 * width, dtype), WRITTEN)
        multiply_add_4x2(addend.values, factors.values, at, stride, values.values, 3, apart, out.values)
        both = np.concatenate([values.values[3 : 3 + n], values.values[3 + apart :]])
        product = np.outer(factors.values[at::stride].astype(float), both)
        expected = addend.values.reshape(4, width) + product
        # One rounding where multiply and add are fused, two where they are not; and the expected value's own.
        error = np.abs(out.values.reshape(4, width) - expected)
        assert (error <= 1.5 * np.finfo(dtype).eps * (np.abs(product) + np.abs(expected))).all()
        out.assert_guards_untouched()


def prefetches_of(function):
    """Whether to write, of each prefetch in the compiled code of a kernel that has been called."""
    code = "".join(function.dispatcher.inspect_llvm().values())
    return re.findall(r"call void @llvm\.prefetch\S*\(.*i32 (\d), i32 3, i32 1\)", code)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_prefetch_asks_for_each_vector_of_a_block_and_may_reach_past_the_end(dtype):
    values = Guarded(draw(8, dtype), WRITTEN)
    ask(values.values, 10**6)
    compiled = len(ask.dispatcher.overloads)
    assert sorted(prefetches_of(ask)) == 6 * compiled * ["0"] + 2 * compiled * ["1"]
    values.assert_untouched()


def test_what_comes_from_far_away_is_asked_for():
    z, x, bias, W = (np.zeros(size, np.float32) for size in (2 * 16 * 32, 4 * 32, 16, 4 * 16))
    for product, asks in [(dense.far_product, True), (dense.long_product, False)]:
        product(W, 16, bias, x, z, z, (dense.HIGH, 4), True, dense.PLAIN)
        assert bool(prefetches_of(product)) == asks
    # A loop whose turns have one each, or a few if it is unrolled.
    dense.few_rows_product(W, 16, bias, x, z, 4, 1)
    passes.ask_for(np.zeros(64, np.float32))
    assert set(prefetches_of(dense.few_rows_product)) == {"0"}
    assert set(prefetches_of(passes.ask_for)) == {"0"}
    # A gradient that is added to is written afterwards.
    table = np.zeros(layout.LAYER_FIELDS, np.int64)
    dense.weight_gradient(table, x, 8, z, z, W, (0, 0), 0, False)
    assert set(prefetches_of(dense.weight_gradient)) == {"1"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_is_that_of_numpy(dtype):
    n = 2 * lanes(dtype)
    left, right = draw(n, dtype), draw(n, dtype, 1)
    left[0], right[1], left[2], right[2], left[-1] = np.nan, np.nan, np.inf, 0, right[-1]
    out = Guarded(np.zeros(8 * n, dtype), WRITTEN)
    combine(left, right, out.values)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = [left + right, left - right, left / right, left * right]
        larger = np.where(left > right, left, right)
        expected += [larger, np.where(left == right, 1, right)]
        a = right.astype(np.longdouble)
        exact = np.concatenate([left * (1 - a**2), left * (a - a**2)])
        size = np.concatenate([np.abs(left) * (1 + a**2), np.abs(left) * (np.abs(a) + a**2)])
    # Division may multiply by the reciprocal: a rounding more.
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(out.values[: 6 * n], np.concatenate(expected), rtol=2 * eps)
    slopes, known = out.values[6 * n :], np.isfinite(exact)
    np.testing.assert_array_equal(np.isfinite(slopes), known)
    assert np.all(np.abs(slopes[known] - exact[known]) <= 2 * eps * size[known])
    out.assert_guards_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epsilon", [0.0, 1e-8, 1.0])
def test_quotient_by_a_root_is_exact_to_a_few_units_at_every_magnitude(epsilon, dtype):
    n, limits, rng = lanes(dtype), np.finfo(dtype), np.random.default_rng(0)
    exponents = np.linspace(np.log10(float(limits.tiny)) + 0.01, np.log10(float(limits.max)) - 0.01, 64 * n)
    for part in np.split(exponents, 64):
        x, y = rng.uniform(-2, 2, n).astype(dtype), (10.0**part).astype(dtype)
        out = Guarded(np.zeros(n, dtype), WRITTEN)
        divide_by_root(x, np.array([0.75], dtype), y, np.array([epsilon], dtype), out.values)
        exact = dtype(0.75) * x.astype(np.longdouble) / (np.sqrt(y.astype(np.longdouble)) + dtype(epsilon))
        np.testing.assert_allclose(out.values, exact, rtol=4 * float(limits.eps))
        out.assert_guards_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
def test_quotient_by_a_root_at_the_ends_is_what_a_step_needs(dtype):
    n, limits = lanes(dtype), np.finfo(dtype)
    epsilon, one = np.array([1e-8], dtype), np.ones(n, dtype)

    def quotient(x, y):
        out = np.empty(n, dtype)
        divide_by_root(x * one, one, dtype(y) * one, epsilon, out)
        return out

    np.testing.assert_array_equal(quotient(0, 0), 0)  # a weight without a gradient stays where it is
    np.testing.assert_allclose(quotient(1, 0), 1e8, rtol=1e-6)
    np.testing.assert_allclose(quotient(1, -0.0), 1e8, rtol=1e-6)
    np.testing.assert_allclose(quotient(1, limits.smallest_subnormal), 1e8, rtol=1e-6)
    # A gradient whose square has overflowed moves nothing, however large it is.
    np.testing.assert_array_equal(quotient(np.sqrt(limits.max) * 1e10, np.inf), 0)
    assert np.isnan(quotient(np.inf, np.inf)).all()
    assert np.isnan(quotient(1, np.nan)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_sum_of_a_vector_has_every_lane_once(dtype):
    powers = Guarded(2.0 ** np.arange(lanes(dtype), dtype=dtype), READ)
    assert total(powers.values) == 2 ** lanes(dtype) - 1


def test_blocks_of_two_shapes_do_not_add():
    @kernel
    def mismatched(values):
        block_store(block_load(values, 1, 1, 0, 0) + block_load(values, 2, 1, 0, 8), values, 0, 0)

    with pytest.raises(TypingError, match=r"built-in function i?add"):
        mismatched(np.zeros(64, np.float32))


def test_a_block_has_a_shape_known_to_the_compiler():
    @kernel
    def shapeless(values, rows):
        block_store(block_load(values, rows, 1, 0, 8), values, 0, 8)

    with pytest.raises(Exception, match="block_load"):
        shapeless(np.zeros(64, np.float32), 2)


def vectors_of(bits):
    """Settings that make the engine use vectors of another width, for a process of its own."""
    settings = dict(os.environ)
    if bits == 128:
        return settings | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    if bits < simd.VECTOR_BITS:
        return settings | {"NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+sse4.2,+popcnt"}
    # LLVM builds vectors that are too wide for the processor from two halves.
    return settings | {"FASTNN_TEST_VECTOR_BITS": str(bits)}


@pytest.mark.parametrize("bits", OTHER_WIDTHS)
def test_features_of_another_processor_decide_on_the_width(bits):
    if bits > simd.VECTOR_BITS:
        settings = dict(os.environ) | {
            "NUMBA_CPU_NAME": "skylake-avx512",
            "NUMBA_CPU_FEATURES": "+avx,+avx512f",
        }
    else:
        settings = vectors_of(bits)
    code = "from fastnn.kernels import simd; print(simd.VECTOR_BITS)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=settings, cwd=ROOT, capture_output=True, check=True
    )
    assert int(done.stdout) == bits


def test_numba_without_avx_has_short_vectors():
    # Numba takes features that are given as they are, so none may be.
    settings = {name: value for name, value in os.environ.items() if name != "NUMBA_CPU_FEATURES"}
    settings |= {"NUMBA_ENABLE_AVX": "0"}
    code = "from fastnn.kernels import simd; print(simd.VECTOR_BITS, simd.cpu_has('avx512f'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=settings, cwd=ROOT, capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == ["128", "False"]


ZEROS = (
    "a_byte_tells_which_of_8_numbers_are_not_0",
    "lists_name_what_one_of_two_has",
    "product_without_zeros_is_weighted_sum_plus_bias",
    "gradient_without_zeros_is_the_sum_of_outer_products",
)
# A part of the tests, each kernel at least once. All of them run with
# `FASTNN_TEST_VECTOR_BITS=512 pytest`, or `NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES= pytest`.
OTHER_TESTS = [
    "tests/test_simd.py",
    "tests/test_dots.py",
    "tests/test_layout.py",
    "tests/test_shards.py",
    "tests/test_random.py::test_a_shuffle_that_is_skipped_leaves_the_same_state",
    *(
        f"tests/test_elementary.py::test_an_array_leaves_what_lies_around_it[{name}-{dtype}]"
        for name in ("exp", "logistic", "tanh")
        for dtype in ("float32", "float64")
    ),
    *(
        f"tests/test_optimizers.py::test_adam_by_few_rows_has_the_sum_of_outer_products_as_its_gradient[{dtype}]"
        for dtype in ("float32", "float64")
    ),
    *(
        f"tests/test_dense.py::{name}[{width}-{dtype}]"
        for name, width in [
            ("test_product_is_weighted_sum_plus_bias", 33),
            ("test_the_product_back_is_the_gradient_by_the_inputs", 33),
            ("test_long_products_are_the_same_with_more_outputs_at_a_time", "64-long_product_back"),
            ("test_long_products_are_the_same_with_more_outputs_at_a_time", "130-far_product"),
            ("test_a_finished_product_goes_through_relu", "product"),
            ("test_a_finished_product_goes_through_relu", "long_product"),
            *(
                ("test_a_finished_product_is_multiplied_by_a_derivative", f"product_back-{end}")
                for end in (2, 3, 4)
            ),
            *(("test_a_derivative_keeps_its_digits_near_saturation", end) for end in (3, 4)),
            ("test_product_of_few_rows_is_weighted_sum_plus_bias", 33),
            ("test_weight_gradient_is_the_sum_of_outer_products", 17),
            ("test_weight_gradient_by_dots_needs_no_strips_of_whole_vectors", 17),
        ]
        for dtype in ("float32", "float64")
    ),
    "tests/test_dense.py::test_bias_gradient_is_the_sum_over_the_rows",
    "tests/test_dense.py::test_transpose_panel_turns_features_into_strips_of_rows",
    "tests/test_dense.py::test_transpose_back_turns_rows_into_features",
    "tests/test_dense.py::test_delta_of_row_finds_the_row_in_all_strips",
    "tests/test_dense.py::test_gather_panel_takes_the_rows_asked_for",
    *(
        f"tests/test_sample.py::test_{name}[33-{dtype}]"
        for name in (
            "product_by_rows_is_matrix_times_vector",
            "product_by_columns_is_the_transposed_matrix_times_vector",
            "update_rows_adds_the_outer_product_to_active_rows",
        )
        for dtype in ("float32", "float64")
    ),
    *(
        f"tests/test_sparse.py::test_outputs_and_gradient_are_those_of_the_oracle[{density}-float32]"
        for density in (0.02, 0.3)
    ),
    *(f"tests/test_zeros.py::test_{name}[{dtype}]" for dtype in ("float32", "float64") for name in ZEROS),
    "tests/test_optimizers.py::test_steps_by_rows_have_the_outer_product_as_their_gradient",
    # A whole network in one precision only: it takes ten seconds to compile.
    "tests/test_backprop.py::test_network_of_every_width_has_the_gradient_of_the_oracle[65-float32]",
]


def test_kernels_are_right_with_vectors_of_another_width(tmp_path):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "not another",
        *OTHER_TESTS,
    ]
    running = {}
    for bits in OTHER_WIDTHS:
        # Not where the developer keeps compiled code.
        settings = vectors_of(bits) | {"FASTNN_CACHE_DIR": str(tmp_path / str(bits))}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        running[bits] = subprocess.Popen(command, env=settings, cwd=ROOT, **pipes)
    # Side by side: most of it is compilation.
    reports = {bits: process.communicate()[0] for bits, process in running.items()}
    for bits, process in running.items():
        assert process.returncode == 0, reports[bits][-3000:]
