"""Dot products along the rows of a panel: weight gradients of so few outputs that a vector of them would be
nearly empty.

A grid is a block of as many vectors as lanes, inputs x outputs: dot products, each spread over the lanes of
one vector until `add_grid` makes all of them the lanes of a single one.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.jit import kernel
from fastnn.kernels.simd import Block, Emitter, lanes, lanes_of, panel_rows

# (rows, columns) by lanes. Products of 4 x 4 vectors have 8 loads for 16 multiply-adds; of 8 x 2, 10.
WIDE = {16: (4, 4), 8: (4, 2), 4: (2, 2), 2: (2, 1)}
NARROW = {16: (8, 2), 8: (8, 1), 4: (4, 1), 2: (2, 1)}


def make_grid(shapes):
    """The grid of zeros with these shapes."""

    @intrinsic
    def zero_grid(typing, array):
        """Dot products of nothing, of the array's dtype."""
        count = lanes_of(array.dtype)
        grid = Block(array.dtype, *shapes[count], count)
        zero = ir.Constant
        return grid(array), lambda context, builder, sig, args: zero(context.get_value_type(grid), None)

    return zero_grid


wide_grid, narrow_grid = make_grid(WIDE), make_grid(NARROW)


@intrinsic
def grid_rows(typing, grid):
    """How many inputs a grid has."""
    return types.intp(grid), lambda context, builder, sig, args: context.get_constant(types.intp, grid.rows)


@intrinsic
def grid_columns(typing, grid):
    """How many outputs a grid has."""
    return types.intp(grid), lambda context, builder, sig, args: context.get_constant(
        types.intp, grid.columns
    )


@intrinsic
def add_dots(typing, grid, left, at, right, start, apart):
    """grid[m, n] += left[at + m * apart : + lanes] * right[start + n * apart : + lanes], lane by lane."""

    def generate(context, builder, sig, args):
        emit, (value, left_, at, right_, start, apart_) = Emitter(context, builder, grid), args
        loaded = []
        for _ in range(grid.columns):
            loaded.append(emit.load(emit.pointer(sig.args[3], right_, start)))
            start = builder.add(start, apart_)
        for m in range(grid.rows):
            vector = emit.load(emit.pointer(sig.args[1], left_, at))
            for n in range(grid.columns):
                value = emit.put(value, emit.multiply_add(vector, loaded[n], emit.get(value, m, n)), m, n)
            at = builder.add(at, apart_)
        return value

    return grid(grid, left, types.intp, right, types.intp, types.intp), generate


@intrinsic
def add_grid(typing, grid, values, at, stride):
    """values[at + m * stride + n] += the sum of the lanes of grid[m, n], which are added in pairs."""

    def generate(context, builder, sig, args):
        emit, at, size, columns = Emitter(context, builder, grid), args[2], 1, grid.columns
        vectors = [emit.get(args[0], row, column) for row, column in grid.cells]
        while len(vectors) > 1:
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [builder.fadd(*emit.exchange(left, right, size)) for left, right in pairs]
            size *= 2
        part = ir.VectorType(emit.vector.element, columns)
        for m in range(grid.rows):
            row = emit.shuffle(vectors[0], vectors[0], list(range(m * columns, (m + 1) * columns)))
            pointer = builder.bitcast(emit.pointer(sig.args[1], args[1], at), part.as_pointer())
            before = builder.load(pointer, align=emit.bytes)
            builder.store(builder.fadd(before, row), pointer, align=emit.bytes)
            at = builder.add(at, args[3])
        return context.get_dummy_value()

    return types.void(grid, values, types.intp, types.intp), generate


def make_add_by_dots(zero_grid):
    """The kernel that takes dot products by such grids."""

    @kernel
    def add_by_dots(x, delta, gradient, first, last, x_width, ld, n_rows):
        """gradient[i - first, n] += sum_r x[i, r] delta[n, r] for as many outputs n as a grid has columns.

        first <= i < last, rounded up to whole grids; x (T/R, x_width, R), delta (T/R, ld, R) from the first
        of the outputs on, gradient (last - first, ld) as well; n_rows is in whole vectors.
        """
        rows, step = panel_rows(x), lanes(x)
        for i in range(first, last, grid_rows(zero_grid(x))):
            grid = zero_grid(x)
            for start in range(0, n_rows, rows):
                x_at, at = start * x_width + i * rows, start * ld
                for r in range(0, min(rows, n_rows - start), step):
                    grid = add_dots(grid, x, x_at + r, delta, at + r, rows)
            add_grid(grid, gradient, (i - first) * ld, ld)

    return add_by_dots


add_by_dots, add_by_narrow_dots = make_add_by_dots(wide_grid), make_add_by_dots(narrow_grid)
