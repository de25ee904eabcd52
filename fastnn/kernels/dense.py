"""Bias + matrix product, its two gradients, and the ways into and out of a panel.

Legend: I inputs, O outputs, R rows of a panel, T rows of a tile. A panel holds [feature, row], so vectors run
along rows and any width runs at full speed. Widths are padded (layout.py): there are no remainder loops.
"""

from fastnn.kernels import arithmetic  # noqa: F401  blocks can be added then
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import INPUTS, LD, OUTPUTS, X_WIDTH
from fastnn.kernels.simd import (
    SQUARE,
    VECTOR_BITS,
    block_broadcast,
    block_gather,
    block_load,
    block_multiply_add,
    block_store,
    block_total,
    block_transpose,
    block_zero,
    lanes,
    panel_rows,
)

# A piece of the weights that serves all panels while it is in the cache: inputs that are summed before the
# next panel takes its turn, and outputs, a multiple of 12 and 8 (benchmarks/micro/dense.py; docs/engine.md).
SUM_LENGTH = 192
OUTPUT_PIECE = 120
# From this many terms on, high blocks pay: their many sums hide the wait for what is not in L1, where the 8
# of 4 x 2 just hide how long a multiply-add takes. Short sums lose: 20 -> 20 runs at 79 GFLOP/s in place of
# 84 (a trial).
LONG_SUM = 64
# Vectors below each other in a high block of a product, and of weight gradients: what the registers hold, 32
# of 512 bits or 16. 1024 -> 1024 in 6 x 2: 140 GFLOP/s, in 12 x 2: 153; 64-100-10's weight gradients in 12 x
# 2: 126, in 8 x 2, which leaves no rest of 4: 130 (benchmarks/micro/dense.py).
PRODUCT_HEIGHT, GRADIENT_HEIGHT = (12, 8) if VECTOR_BITS == 512 else (6, 6)
# Rows of a tile that are summed before the next weights take their turn: the deltas of so many stay in L1.
# 1024-1024-1024-10 with 1,024 rows takes 2 % less than without, 1024-256-10 with 512 rows 4 % (in turn).
GRADIENT_ROWS = 256


@kernel(embed=True)
def rows_in_high_blocks(count, terms, height):
    """How many of `count` rows of blocks, rounded up to fours, are taken `height` at a time; the rest, 4."""
    count = (count + 3) // 4 * 4
    rest = count % height
    rest += height * (rest % 4 // 2)  # a rest of 2 after blocks of 6 becomes one of 8
    return max(0, count - rest) if terms >= LONG_SUM else 0


def make_product(height, width):
    """The product kernel with blocks of height x width vectors."""

    # Not one kernel that hands its loop blocks of any shape: LLVM optimises a kernel that calls no other
    # before it is inlined, which is worth 11 % of a step of 4-32-16-4.
    @kernel
    def product(weights, across, along, bias, x, z, n_outputs, first, last):
        """z[o, r] = (bias[o] if first == 0 else z[o, r]) + sum_i weights[o*across + i*along] x[i, r].

        first <= i < last; x (I, R), z (O, R), bias (O,). Forward has the strides (1, ld), the gradient by the
        inputs (ld, 1).
        """
        # Two inputs a turn: 2 to 5 % less time for 64 inputs, 20 to 30 % for 4 (benchmarks/micro/dense.py).
        rows, even = panel_rows(x), last - (last - first) % 2
        for o in range(0, n_outputs, height):
            if first == 0:
                block = block_broadcast(bias, height, width, o)
            else:
                block = block_load(z, height, width, o * rows, rows)
            for i in range(first, even, 2):
                at = o * across + i * along
                block = block_multiply_add(block, weights, at, across, x, i * rows)
                block = block_multiply_add(block, weights, at + along, across, x, (i + 1) * rows)
            if even < last:
                block = block_multiply_add(block, weights, o * across + even * along, across, x, even * rows)
            block_store(block, z, o * rows, rows)

    return product


# For sums of any length; for long ones; and for the first half of a panel, so that few rows cost half.
product, long_product, narrow_product = (
    make_product(4, 2),
    make_product(PRODUCT_HEIGHT, 2),
    make_product(8, 1),
)


@kernel(embed=True)
def add_rows(block, x, i, x_width, delta_rows, o, ld, n_rows):
    """block[m, o] += sum_r x[i + m, r] delta[r, o] over the rows of a tile."""
    rows = panel_rows(x)
    whole = n_rows - n_rows % rows
    for start in range(0, whole, rows):
        for r in range(rows):
            at = start * x_width + i * rows + r
            block = block_multiply_add(block, x, at, rows, delta_rows, (start + r) * ld + o)
    for r in range(n_rows - whole):
        at = whole * x_width + i * rows + r
        block = block_multiply_add(block, x, at, rows, delta_rows, (whole + r) * ld + o)
    return block


@kernel
def weight_gradient(layer, x, delta_rows, gradient, first, last, n_rows, fresh):
    """gradient[i, o] = (0 if fresh else gradient[i, o]) + sum_r x[i, r] delta[r, o],  first <= i < last.

    x: panels (T/R, x_width, R); delta_rows (T, ld); gradient (I, ld); sums run over the n_rows real rows.
    """
    step, ld, n_outputs, x_width = lanes(x), layer[LD], layer[OUTPUTS], layer[X_WIDTH]
    # Rows of padding have no gradient: with 4 inputs, padded to 8, leaving them out saves half.
    last = min(last, (layer[INPUTS] + 3) // 4 * 4)
    high = first + rows_in_high_blocks(last - first, n_rows, GRADIENT_HEIGHT)
    for o in range(0, n_outputs, 2 * step):
        if n_outputs - o > step:
            for i in range(first, high, GRADIENT_HEIGHT):
                at = i * ld + o
                block = block_zero(x, GRADIENT_HEIGHT, 2)
                if not fresh:
                    block = block_load(gradient, GRADIENT_HEIGHT, 2, at, ld)
                block = add_rows(block, x, i, x_width, delta_rows, o, ld, n_rows)
                block_store(block, gradient, at, ld)
            for i in range(high, last, 4):
                rest = block_zero(x, 4, 2) if fresh else block_load(gradient, 4, 2, i * ld + o, ld)
                rest = add_rows(rest, x, i, x_width, delta_rows, o, ld, n_rows)
                block_store(rest, gradient, i * ld + o, ld)
        else:
            for i in range(first, last, 8):
                narrow = block_zero(x, 8, 1) if fresh else block_load(gradient, 8, 1, i * ld + o, ld)
                narrow = add_rows(narrow, x, i, x_width, delta_rows, o, ld, n_rows)
                block_store(narrow, gradient, i * ld + o, ld)


@kernel
def bias_gradient(delta_rows, gradient, ld, n_rows, fresh):
    """gradient[o] = (0 if fresh else gradient[o]) + sum_r delta[r, o].  delta_rows (T, ld), gradient
    (ld,).
    """
    paired = n_rows - n_rows % 4
    for o in range(0, ld, lanes(gradient)):
        sums = block_zero(gradient, 4, 1)
        for r in range(0, paired, 4):
            sums += block_load(delta_rows, 4, 1, r * ld + o, ld)
        total = block_total(sums)
        for r in range(paired, n_rows):
            total += block_load(delta_rows, 1, 1, r * ld + o, 0)
        if not fresh:
            total += block_load(gradient, 1, 1, o, 0)
        block_store(total, gradient, o, 0)


@kernel
def transpose_panel(delta, delta_rows, ld, n_outputs):
    """delta_rows[r, o] = delta[o, r].  delta (O, R), delta_rows (R, ld)."""
    rows, step = panel_rows(delta), lanes(delta)
    for r in range(0, rows, step):
        for o in range(0, n_outputs, step):
            block = block_transpose(block_load(delta, SQUARE, 1, o * rows + r, rows))
            block_store(block, delta_rows, r * ld + o, ld)


@kernel
def transpose_back(products, z, ld, n_outputs):
    """z[o, r] = products[r, o].  products (R, ld), z (O, R)."""
    rows, step = panel_rows(z), lanes(z)
    for r in range(0, rows, step):
        for o in range(0, n_outputs, step):
            block = block_transpose(block_load(products, SQUARE, 1, r * ld + o, ld))
            block_store(block, z, o * rows + r, rows)


@kernel
def gather_panel(X, rows, panel):
    """panel[i, r] = X[rows[r], i].  X (n, I), rows (R,), panel (I, R)."""
    height, step = panel_rows(panel), lanes(panel)
    width = X.shape[1]
    for r in range(0, height, step):
        for start in range(0, width - step + 1, step):
            block_store(block_transpose(block_gather(X, rows, r, start)), panel, start * height + r, height)
        if width > step and width % step:
            # The last vector overlaps its neighbour instead of being filled number by number.
            start = width - step
            block_store(block_transpose(block_gather(X, rows, r, start)), panel, start * height + r, height)
    if width < step:
        for r in range(height):
            row = X[rows[r]]
            for i in range(width):
                panel[i * height + r] = row[i]


@kernel
def scatter_panel(panel, out, first, count):
    """out[first + r, o] = panel[o, r],  r < count.  panel (O, R), out (n, O)."""
    height = panel_rows(panel)
    for r in range(count):
        row = out[first + r]
        for o in range(row.shape[0]):
            row[o] = panel[o * height + r]
