"""Bias + matrix product, its two gradients, and the ways into and out of a panel.

Legend: I inputs, O outputs, R rows of a panel, T rows of a tile. A panel holds [feature, row], so vectors run
along rows and any width runs at full speed. Widths are padded (layout.py): there are no remainder loops.
"""

from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import INPUTS, LD, OUTPUTS, X_WIDTH
from fastnn.kernels.simd import (
    SQUARE,
    block_broadcast,
    block_gather,
    block_load,
    block_multiply_add,
    block_store,
    block_transpose,
    block_zero,
    lanes,
    panel_rows,
)

# Inputs that are summed before the next panel takes its turn: their weights stay in L1 or L2.
# 1024 -> 1024 at 128 rows: 82 GFLOP/s with 192, 71 without (benchmarks/micro/dense.py).
SUM_LENGTH = 192


@kernel
def product(weights, across, along, bias, x, z, n_outputs, first, last):
    """z[o, r] = (bias[o] if first == 0 else z[o, r]) + sum_i weights[o*across + i*along] x[i, r],  first <= i
    < last.

    x (I, R), z (O, R), bias (O,); forward has the strides (1, ld), the gradient by the inputs (ld, 1).
    """
    # Two inputs a turn: 2 to 5 % less time for 64 inputs, 20 to 30 % for 4 (benchmarks/micro/dense.py).
    rows, even = panel_rows(x), last - (last - first) % 2
    for o in range(0, n_outputs, 4):
        block = block_broadcast(bias, 4, 2, o) if first == 0 else block_load(z, 4, 2, o * rows, rows)
        for i in range(first, even, 2):
            at = o * across + i * along
            block = block_multiply_add(block, weights, at, across, x, i * rows)
            block = block_multiply_add(block, weights, at + along, across, x, (i + 1) * rows)
        if even < last:
            block = block_multiply_add(block, weights, o * across + even * along, across, x, even * rows)
        block_store(block, z, o * rows, rows)


@kernel
def narrow_product(weights, across, along, bias, x, z, n_outputs, first, last):
    """`product` for the first half of the panel's rows: a last panel of few rows costs half."""
    rows, even = panel_rows(x), last - (last - first) % 2
    for o in range(0, n_outputs, 8):
        block = block_broadcast(bias, 8, 1, o) if first == 0 else block_load(z, 8, 1, o * rows, rows)
        for i in range(first, even, 2):
            at = o * across + i * along
            block = block_multiply_add(block, weights, at, across, x, i * rows)
            block = block_multiply_add(block, weights, at + along, across, x, (i + 1) * rows)
        if even < last:
            block = block_multiply_add(block, weights, o * across + even * along, across, x, even * rows)
        block_store(block, z, o * rows, rows)


@kernel
def weight_gradient(layer, x, delta_rows, gradient, first, last, n_rows, fresh):
    """gradient[i, o] = (0 if fresh else gradient[i, o]) + sum_r x[i, r] delta[r, o],  first <= i < last.

    x: panels (T/R, x_width, R); delta_rows (T, ld); gradient (I, ld); sums run over the n_rows real rows.
    """
    rows, step = panel_rows(x), lanes(x)
    ld, n_outputs, x_width = layer[LD], layer[OUTPUTS], layer[X_WIDTH]
    whole = n_rows - n_rows % rows
    # Rows of padding have no gradient: with 4 inputs, padded to 8, leaving them out saves half.
    last = min(last, (layer[INPUTS] + 3) // 4 * 4)
    # The same sums for blocks of two shapes. In a function of its own a block travels through memory: 37
    # GFLOP/s in place of 77 for 64-100-10.
    for o in range(0, n_outputs, 2 * step):
        if n_outputs - o > step:
            for i in range(first, last, 4):
                block = block_zero(x, 4, 2) if fresh else block_load(gradient, 4, 2, i * ld + o, ld)
                for start in range(0, whole, rows):
                    for r in range(rows):
                        at = start * x_width + i * rows + r
                        block = block_multiply_add(block, x, at, rows, delta_rows, (start + r) * ld + o)
                for r in range(n_rows - whole):
                    at = whole * x_width + i * rows + r
                    block = block_multiply_add(block, x, at, rows, delta_rows, (whole + r) * ld + o)
                block_store(block, gradient, i * ld + o, ld)
        else:
            for i in range(first, last, 8):
                block = block_zero(x, 8, 1) if fresh else block_load(gradient, 8, 1, i * ld + o, ld)
                for start in range(0, whole, rows):
                    for r in range(rows):
                        at = start * x_width + i * rows + r
                        block = block_multiply_add(block, x, at, rows, delta_rows, (start + r) * ld + o)
                for r in range(n_rows - whole):
                    at = whole * x_width + i * rows + r
                    block = block_multiply_add(block, x, at, rows, delta_rows, (whole + r) * ld + o)
                block_store(block, gradient, i * ld + o, ld)


@kernel
def bias_gradient(delta_rows, gradient, ld, n_rows, fresh):
    """gradient[o] = (0 if fresh else gradient[o]) + sum_r delta[r, o].  delta_rows (T, ld), gradient
    (ld,).
    """
    if fresh:
        for o in range(ld):
            gradient[o] = 0
    paired = n_rows - n_rows % 4
    for r in range(0, paired, 4):
        d0, d1 = delta_rows[r * ld : (r + 1) * ld], delta_rows[(r + 1) * ld : (r + 2) * ld]
        d2, d3 = delta_rows[(r + 2) * ld : (r + 3) * ld], delta_rows[(r + 3) * ld : (r + 4) * ld]
        for o in range(ld):
            gradient[o] += (d0[o] + d1[o]) + (d2[o] + d3[o])
    for r in range(paired, n_rows):
        for o in range(ld):
            gradient[o] += delta_rows[r * ld + o]


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
