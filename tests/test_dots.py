"""kernels/dots.py against NumPy, each buffer between guard zones."""

import numpy as np
import pytest
from cases import DTYPES, READ, WRITTEN, Guarded

from fastnn.kernels import dots
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import ROW_MULTIPLE, vector_lanes


def make_kernels(zero_grid):
    """The shape of such a grid, and dot products by it."""

    @kernel
    def shape(values):
        grid = zero_grid(values)
        return dots.grid_rows(grid), dots.grid_columns(grid)

    @kernel
    def multiply(left, at, right, start, apart, turns, out, first, stride):
        grid = zero_grid(out)
        for turn in range(turns):
            grid = dots.add_dots(grid, left, at + turn * apart, right, start + turn * apart, apart)
        dots.add_grid(grid, out, first, stride)

    return shape, multiply


GRIDS = {"wide": make_kernels(dots.wide_grid), "narrow": make_kernels(dots.narrow_grid)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_grid_has_as_many_places_as_a_vector_has_lanes(grid, dtype):
    rows, columns = GRIDS[grid][0](np.zeros(1, dtype))
    assert rows * columns == vector_lanes(np.dtype(dtype))
    assert ROW_MULTIPLE % rows == 0  # what weight rows are padded to


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("turns", [0, 1, 3])
def test_dots_are_sums_over_the_lanes_added_where_they_belong(turns, grid, dtype):
    shape, multiply = GRIDS[grid]
    n, (rows, columns) = vector_lanes(np.dtype(dtype)), shape(np.zeros(1, dtype))
    # Row m of the left matrix and row n of the right one begin `apart` numbers after the one before.
    at, start, apart, first, stride = 3, 1, n + 5, 2, columns + 3
    rng = np.random.default_rng(turns)
    left = Guarded(rng.normal(size=at + (max(turns, 1) + rows - 2) * apart + n).astype(dtype), READ)
    right = Guarded(rng.normal(size=start + (max(turns, 1) + columns - 2) * apart + n).astype(dtype), READ)
    out = Guarded(rng.normal(size=first + (rows - 1) * stride + columns).astype(dtype), WRITTEN)
    expected, magnitude = out.values.astype(float), np.abs(out.values.astype(float))
    for turn, i, o in np.ndindex(turns, rows, columns):
        x = left.values[at + (turn + i) * apart :][:n].astype(float)
        y = right.values[start + (turn + o) * apart :][:n]
        expected[first + i * stride + o] += x @ y
        magnitude[first + i * stride + o] += np.abs(x) @ np.abs(y)
    multiply(left.values, at, right.values, start, apart, turns, out.values, first, stride)
    error = np.abs(out.values - expected)
    assert (error <= (turns * n + 1) * np.finfo(dtype).eps * magnitude).all()
    out.assert_guards_untouched()
    left.assert_untouched()
    right.assert_untouched()
