"""Dot products along the rows of a panel: weight gradients of so few outputs that a vector of them would be
nearly empty.

A grid is a block of as many vectors as lanes: grid_rows x grid_columns dot products, each spread over the
lanes of one vector until `sum_dots` makes all of them the lanes of a single one.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.jit import kernel
from fastnn.kernels.simd import SQUARE, Block, Emitter, block_zero, lanes, lanes_of, panel_rows

# (rows, columns) by lanes. Products of 4 x 4 vectors have 8 loads for 16 multiply-adds.
SHAPES = {16: (4, 4), 8: (4, 2), 4: (2, 2), 2: (2, 1)}


def shape_of(array):
    return SHAPES[lanes_of(array.dtype)]


@intrinsic
def grid_rows(typing, array):
    """How many inputs a grid has, for the array's dtype."""
    rows, _ = shape_of(array)
    return types.intp(array), lambda context, builder, sig, args: context.get_constant(types.intp, rows)


@intrinsic
def grid_columns(typing, array):
    """How many outputs a grid has, for the array's dtype."""
    _, columns = shape_of(array)
    return types.intp(array), lambda context, builder, sig, args: context.get_constant(types.intp, columns)


@intrinsic
def add_dots(typing, grid, left, at, right, start, apart):
    """grid[m, n] += left[at + m * apart : + lanes] * right[start + n * apart : + lanes], lane by lane."""

    def generate(context, builder, sig, args):
        emit, (value, left_, at, right_, start, apart_) = Emitter(context, builder, grid), args
        rows, columns = SHAPES[grid.lanes]
        loaded = []
        for _ in range(columns):
            loaded.append(emit.load(emit.pointer(sig.args[3], right_, start)))
            start = builder.add(start, apart_)
        for m in range(rows):
            vector = emit.load(emit.pointer(sig.args[1], left_, at))
            for n in range(columns):
                cell = m * columns + n
                value = emit.put(value, emit.multiply_add(vector, loaded[n], emit.get(value, cell)), cell)
            at = builder.add(at, apart_)
        return value

    return grid(grid, left, types.intp, right, types.intp, types.intp), generate


@intrinsic
def sum_dots(typing, grid):
    """A block of one vector: lane k is the sum of the lanes of vector k, added in pairs."""
    total = Block(grid.dtype, 1, 1, grid.lanes)

    def generate(context, builder, sig, args):
        emit, size = Emitter(context, builder, grid), 1
        vectors = [emit.get(args[0], cell) for cell in range(grid.lanes)]
        while len(vectors) > 1:
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [builder.fadd(*emit.exchange(left, right, size)) for left, right in pairs]
            size *= 2
        return Emitter(context, builder, total).pack(vectors)

    return total(grid), generate


@intrinsic
def add_grid(typing, dots, values, at, stride):
    """values[at + m * stride + n] += dots[m, n], the lanes of one vector."""

    def generate(context, builder, sig, args):
        emit, at = Emitter(context, builder, dots), args[2]
        rows, columns = SHAPES[dots.lanes]
        vector, part = emit.get(args[0], 0), ir.VectorType(emit.vector.element, columns)
        for m in range(rows):
            row = emit.shuffle(vector, vector, list(range(m * columns, (m + 1) * columns)))
            pointer = builder.bitcast(emit.pointer(sig.args[1], args[1], at), part.as_pointer())
            before = builder.load(pointer, align=emit.bytes)
            builder.store(builder.fadd(before, row), pointer, align=emit.bytes)
            at = builder.add(at, args[3])
        return context.get_dummy_value()

    return types.void(dots, values, types.intp, types.intp), generate


@kernel
def add_by_dots(x, delta, gradient, first, last, x_width, ld, n_rows):
    """gradient[i - first, n] += sum_r x[i, r] delta[n, r] for as many outputs n as a grid has columns.

    first <= i < last; x (T/R, x_width, R), delta (T/R, ld, R) from the first of the outputs on, gradient
    (last - first, ld) as well; n_rows is in whole vectors.
    """
    rows, step = panel_rows(x), lanes(x)
    for i in range(first, last, grid_rows(x)):
        grid = block_zero(x, SQUARE, 1)
        for start in range(0, n_rows, rows):
            x_at, at = start * x_width + i * rows, start * ld
            for r in range(0, min(rows, n_rows - start), step):
                grid = add_dots(grid, x, x_at + r, delta, at + r, rows)
        add_grid(sum_dots(grid), gradient, (i - first) * ld, ld)
