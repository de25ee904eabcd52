"""Bias + matrix product, its two gradients, and the ways into and out of a panel.

Legend: I inputs, O outputs, R rows of a panel, T rows of a tile. A panel holds [feature, row], so vectors run
along rows and any width runs at full speed; its strips (ld / lanes, R, lanes) hold the same [row, feature], a
vector of features each. Widths are padded (layout.py): there are no remainder loops.
"""

from fastnn.kernels.arithmetic import (
    block_larger,
    block_times_logistic_slope,
    block_times_tanh_slope,
    block_where_equal,
)
from fastnn.kernels.codes import LOGISTIC, RELU, TANH
from fastnn.kernels.dots import add_by_dots, add_by_narrow_dots, grid_columns, narrow_grid, wide_grid
from fastnn.kernels.idle import word_start
from fastnn.kernels.jit import kernel
from fastnn.kernels.layout import BY_DOTS, INPUTS, LD, OUTPUTS
from fastnn.kernels.simd import (
    SQUARE,
    VECTOR_BITS,
    block_broadcast,
    block_gather,
    block_load,
    block_mask,
    block_multiply_add,
    block_prefetch,
    block_store,
    block_total,
    block_zero,
    lanes,
    panel_rows,
)
from fastnn.kernels.transposition import block_columns, block_gather_columns, block_transpose, piece

# Vectors below each other in a high block: what the registers hold, 32 of 512 bits or 16. 12 x 2 vectors of
# 512 bits are no faster, and 8 leave no rest (a trial; docs/engine.md).
HIGH = 8 if VECTOR_BITS == 512 else 6
# Rows below each other where vectors run along the outputs: 8 x 2 or 4 x 2 sums. With 512 bits, the last 4
# rows by themselves: 64-100-10 with 2 to 4 rows 0.90 to 0.93, with 12 rows 0.93 (in turn). With fewer, both
# are the same.
FEW, FEWEST = 8 if VECTOR_BITS == 512 else 4, 4
# Up to so many outputs, a block along a whole panel takes no longer: 8-100-1 with 16 rows 0.94 (in turn).
FEWEST_OUTPUTS = 4
# A piece of the weights that serves all panels while it is in L2: inputs, so few that those of a panel stay
# in L1, and outputs, a multiple of HIGH and of the lanes (benchmarks/micro/dense.py; docs/engine.md).
SUM_LENGTH = 192
OUTPUT_PIECE = 128 if VECTOR_BITS == 512 else 120
# From this many terms on, high blocks pay: their many sums hide the wait for what is not in L1, where the 8
# of 4 x 2 just hide how long a multiply-add takes. Shorter sums lose with AVX2: 20 -> 20 runs at 79 GFLOP/s
# in place of 84 (a trial). With AVX-512, against high blocks from 64 on, 20 layers of 32 take 0.94 to 1.0,
# 32-64-64-1 0.95 to 0.97, 20-20-20-3 1.0 (in turn).
LONG_SUM = 16 if VECTOR_BITS == 512 else 64
# Sums down a column of W wait for every row, which no prefetcher of a CPU foresees: where a piece of W is
# larger than L1, the rows are asked for so many ahead. Smaller layers would take 1 to 2 % longer.
# 1024-1024-1024-10 0.90, 784-256-128-10 with two threads, each of which changes half of W, 0.90 (in turn).
NEAR_BYTES, ROWS_AHEAD = 32 * 1024, 16
# What becomes of a finished sum: nothing, ReLU, its product with a derivative. In registers that costs next
# to nothing: forward 0.97 for 64-100-10 and 0.86 for 4-32-16-4, back 0.9 with any activation
# (benchmarks/micro/dense.py), a step of 8-100-1 0.95 (in turn).
PLAIN, RECTIFIED, TIMES_RELU_SLOPE, TIMES_LOGISTIC_SLOPE, TIMES_TANH_SLOPE = range(5)
# Rows of a tile that are summed before the next weights take their turn: the deltas of so many stay in L1.
# 1024-1024-1024-10 with 1,024 rows takes 2 % less than without, 1024-256-10 with 512 rows 4 % (in turn).
GRADIENT_ROWS = 256


@kernel(embed=True)
def part_length(n_inputs, step):
    """Inputs that are summed before the next panel takes its turn: equal parts in whole vectors of `step`
    numbers, since a short last one would cost 3 % of 784-256-128-10.
    """
    parts = (n_inputs + SUM_LENGTH - 1) // SUM_LENGTH
    return ((n_inputs + parts - 1) // parts + step - 1) // step * step


@kernel(embed=True)
def rows_in_high_blocks(count, terms):
    """How many of `count` rows of blocks, rounded up to fours, are taken HIGH at a time; the rest, 4."""
    count = (count + 3) // 4 * 4
    rest = count % HIGH
    rest += HIGH * (rest % 4 // 2)  # a rest of 2 after blocks of 6 becomes one of 8
    return max(0, count - rest) if terms >= LONG_SUM else 0


def make_product(height, width, back=False, asks=False):
    """The product kernel with blocks of height x width vectors; whether it is the one for the way back, and
    whether it asks for weights ahead.
    """

    # Not one kernel that hands its loop blocks of any shape: LLVM optimises a kernel that calls no other
    # before it is inlined, which is worth 11 % of a step of 4-32-16-4.
    @kernel
    def product(weights, ld, bias, x, z, a, sizes, fresh, end):
        """z[o, r] = f((bias[o] if fresh else z[o, r]) + sum_i W[i, o] x[i, r]); back W[o, i].

        i < n_inputs; (n_outputs, n_inputs) = sizes; W has ld numbers from row to row; x (I, R), z (O, R),
        bias (O,). Forward, f is max(0, z) if `end` is RECTIFIED; back, z times f'(a[o, r]), a (O, R): relu
        [a != 0], logistic a - a^2, tanh 1 - a^2. With PLAIN it is z.
        """
        # One stride is a constant to LLVM: when both came as arguments, places of weights were a chain of 17
        # additions beside 32 multiply-adds. A step of 64-100-10 with 200 rows 0.975; on a core shared with
        # another program forward 0.83 (in turn).
        (n_outputs, n_inputs), across, along = sizes, ld if back else 1, 1 if back else ld
        # Two inputs a turn: 2 to 5 % less time for 64 inputs, 20 to 30 % for 4 (benchmarks/micro/dense.py).
        rows, step, even = panel_rows(x), lanes(x), n_inputs - n_inputs % 2
        zero = block_zero(z, height, width)
        for o in range(0, n_outputs, height):
            if fresh:
                block = block_broadcast(bias, height, width, o)
            else:
                block = block_load(z, height, width, o * rows, rows)
            for i in range(0, even, 2):
                at = o * across + i * along
                if asks:
                    block_prefetch(weights, 1, 1, at + ROWS_AHEAD * along, 0, 0)
                    block_prefetch(weights, 1, 1, at + (ROWS_AHEAD + 1) * along, 0, 0)
                block = block_multiply_add(block, weights, at, across, x, i * rows, step)
                block = block_multiply_add(block, weights, at + along, across, x, (i + 1) * rows, step)
            if even < n_inputs:
                at = o * across + even * along
                block = block_multiply_add(block, weights, at, across, x, even * rows, step)
            if back and end != PLAIN:
                below = block_load(a, height, width, o * rows, rows)
                if end == TIMES_RELU_SLOPE:
                    block = block_where_equal(below, zero, zero, block)
                elif end == TIMES_TANH_SLOPE:
                    block = block_times_tanh_slope(block, below)
                else:
                    block = block_times_logistic_slope(block, below)
            elif end == RECTIFIED:
                block = block_larger(zero, block)
            block_store(block, z, o * rows, rows)

    return product


# For sums of any length; for long ones; for weights that come from far away; for one output, where three of
# padding would take as long again.
product, long_product, far_product, single_product = (
    make_product(4, 2),
    make_product(HIGH, 2),
    make_product(HIGH, 2, asks=True),
    make_product(1, 2),
)
# Back; the last one for the first half of a panel, so that few rows cost half.
product_back, long_product_back, narrow_product_back = (
    make_product(4, 2, back=True),
    make_product(HIGH, 2, back=True),
    make_product(8, 1, back=True),
)


@kernel(embed=True)
def times_slope(activation):
    """The end of a product that is multiplied by the derivative of a hidden activation."""
    if activation == RELU:
        return TIMES_RELU_SLOPE
    if activation == LOGISTIC:
        return TIMES_LOGISTIC_SLOPE
    return TIMES_TANH_SLOPE if activation == TANH else PLAIN


def make_few_rows(height):
    """The kernel that multiplies `height` rows, with vectors along the outputs."""

    @kernel
    def few_rows(weights, ld, bias, x, products, n_inputs, r):
        """products[m, o] = bias[o] + sum_i W[i, o] x[i, m],  r <= m < r + height."""
        rows, step = panel_rows(x), lanes(x)
        pairs = ld - ld % (2 * step)
        for o in range(0, pairs, 2 * step):
            block = block_load(bias, height, 2, o, 0)
            for i in range(n_inputs):
                block_prefetch(weights, 1, 2, (i + ROWS_AHEAD) * ld + o, 0, 0)
                block = block_multiply_add(block, x, i * rows + r, 1, weights, i * ld + o, step)
            block_store(block, products, r * ld + o, ld)
        if pairs < ld:
            slim = block_load(bias, height, 1, pairs, 0)
            for i in range(n_inputs):
                slim = block_multiply_add(slim, x, i * rows + r, 1, weights, i * ld + pairs, 0)
            block_store(slim, products, r * ld + pairs, ld)

    return few_rows


few_rows = make_few_rows(FEW)
fewest_rows = few_rows if FEW == FEWEST else make_few_rows(FEWEST)


@kernel
def few_rows_product(weights, ld, bias, x, products, n_inputs, n_rows):
    """products[r, o] = bias[o] + sum_i W[i, o] x[i, r],  r < n_rows, rounded up to fours.

    weights (I, ld), bias (ld,), x (I, R), products (R, ld). Vectors run along the outputs, since along few
    rows they are half empty, or more, and W is read row by row, without a wait. A step of 64-100-10 with 8
    rows: 0.86, with 16 rows 0.95 (AVX-512, in turn).
    """
    high = n_rows - n_rows % FEW if n_rows % FEW <= FEWEST else n_rows
    for r in range(0, high, FEW):
        few_rows(weights, ld, bias, x, products, n_inputs, r)
    for r in range(high, n_rows, FEWEST):
        fewest_rows(weights, ld, bias, x, products, n_inputs, r)


@kernel(embed=True)
def add_rows(block, x, i, x_width, deltas, o, ld, n_rows):
    """block[m, o] += sum_r x[i + m, r] delta[r, o] over the rows of a tile."""
    rows, step = panel_rows(x), lanes(x)
    whole, apart = n_rows - n_rows % rows, rows * step
    for start in range(0, whole, rows):
        x_at, at = start * x_width + i * rows, start * ld + o * rows
        # Two at a time, as forward: 64-100-10 with 200 rows 0.95, 1024-wide 0.97 (in turn).
        for r in range(0, rows, 2):
            block = block_multiply_add(block, x, x_at + r, rows, deltas, at + r * step, apart)
            block = block_multiply_add(block, x, x_at + r + 1, rows, deltas, at + (r + 1) * step, apart)
    return add_last_rows(block, x, i, x_width, deltas, o, ld, whole, n_rows)


@kernel(embed=True)
def add_last_rows(block, x, i, x_width, deltas, o, ld, first, n_rows):
    """The same over the rows from `first` on, all of one panel."""
    rows, step = panel_rows(x), lanes(x)
    start, apart = first - first % rows, rows * step
    x_at, at = start * x_width + i * rows, start * ld + o * rows
    for r in range(first - start, n_rows - start):
        block = block_multiply_add(block, x, x_at + r, rows, deltas, at + r * step, apart)
    return block


@kernel(embed=True)
def clear_padding(gradient, n_outputs, ld, size):
    """gradient[i, o] = 0 for the vectors of padding in each row.  gradient (I, ld), `size` numbers of it."""
    step = lanes(gradient)
    for o in range((n_outputs + step - 1) // step * step, ld, step):
        for at in range(o, size, ld):
            block_store(block_zero(gradient, 1, 1), gradient, at, 0)


@kernel
def weight_gradient(layer, x, x_width, delta, deltas, gradient, inputs, n_rows, fresh):
    """gradient[i - first, o] = (0 if fresh else the same) + sum_r x[i, r] delta[o, r],  first <= i < last.

    (first, last) = inputs; x: panels (T/R, x_width, R); delta: panels (T/R, ld, R); deltas: the same in
    strips, in a layer BY_DOTS only of rows that fill no vector; gradient (last - first, ld); sums run over
    the n_rows real rows. Rows that are only padding stay as they are.
    """
    step, ld, n_outputs, (first, last) = lanes(x), layer[LD], layer[OUTPUTS], inputs
    # Rows of padding have no gradient: with 4 inputs, padded to 8, leaving them out saves half.
    last = min(last, (layer[INPUTS] + 3) // 4 * 4)
    high, origin = first + rows_in_high_blocks(last - first, n_rows), first * ld
    for o in range(0, n_outputs, step if layer[BY_DOTS] else 2 * step):
        if n_outputs - o > step and not layer[BY_DOTS]:
            for i in range(first, high, HIGH):
                at, block = i * ld + o - origin, block_zero(x, HIGH, 2)
                # The sums so far are far away: asked for now, they are there when they are needed. 1024 ->
                # 1024: 0.93 -> 1.0 of BLAS (a trial; docs/engine.md).
                if not fresh:
                    block_prefetch(gradient, HIGH, 2, at, ld, 1)
                block = add_rows(block, x, i, x_width, deltas, o, ld, n_rows)
                if not fresh:
                    block += block_load(gradient, HIGH, 2, at, ld)
                block_store(block, gradient, at, ld)
            for i in range(high, last, 4):
                at, rest = i * ld + o - origin, block_zero(x, 4, 2)
                rest = add_rows(rest, x, i, x_width, deltas, o, ld, n_rows)
                if not fresh:
                    rest += block_load(gradient, 4, 2, at, ld)
                block_store(rest, gradient, at, ld)
        else:
            # Whole vectors of rows by dots where outputs are few: 64 -> 4 with 224 rows 4.5 -> 1.5 us.
            left = min(step, n_outputs - o)
            few = layer[BY_DOTS] or left <= grid_columns(wide_grid(x))
            dotted = n_rows - n_rows % step if few else 0
            for i in range(first, last, 8):
                at, narrow = i * ld + o - origin, block_zero(x, 8, 1)
                if dotted:
                    narrow = add_last_rows(narrow, x, i, x_width, deltas, o, ld, dotted, n_rows)
                else:
                    narrow = add_rows(narrow, x, i, x_width, deltas, o, ld, n_rows)
                if not fresh:
                    narrow += block_load(gradient, 8, 1, at, ld)
                block_store(narrow, gradient, at, ld)
            stop = o + left if dotted else o
            for start in range(o, stop, grid_columns(wide_grid(x))):
                d = delta[start * panel_rows(x) :]
                if stop - start <= grid_columns(narrow_grid(x)):
                    add_by_narrow_dots(x, d, gradient[start:], first, last, x_width, ld, dotted)
                else:
                    add_by_dots(x, d, gradient[start:], first, last, x_width, ld, dotted)
    if fresh:
        clear_padding(gradient, n_outputs, ld, (last - first) * ld)


@kernel
def bias_gradient(deltas, gradient, ld, n_rows, fresh):
    """gradient[o] = (0 if fresh else gradient[o]) + sum_r delta[r, o].  deltas: strips; gradient (ld,)."""
    rows, step = panel_rows(gradient), lanes(gradient)
    for o in range(0, ld, step):
        sums, total = block_zero(gradient, 4, 1), block_zero(gradient, 1, 1)
        for start in range(0, n_rows, rows):
            at, count = start * ld + o * rows, min(rows, n_rows - start)
            for r in range(0, count - 3, 4):
                sums += block_load(deltas, 4, 1, at + r * step, step)
            for r in range(count - count % 4, count):
                total += block_load(deltas, 1, 1, at + r * step, 0)
        total += block_total(sums)
        if not fresh:
            total += block_load(gradient, 1, 1, o, 0)
        block_store(total, gradient, o, 0)


@kernel
def bias_by_vectors(delta, deltas, gradient, ld, n_rows, fresh):
    """gradient[o] = (0 if fresh else gradient[o]) + sum_r delta[o, r].  delta: panels (T/R, ld, R), of which
    rows that fill no vector are read from its strips, deltas (T/R, ld / lanes, R, lanes); gradient (ld,).
    """
    rows, step = panel_rows(delta), lanes(delta)
    whole = n_rows - n_rows % step
    for o in range(0, ld, step):
        sums = block_zero(delta, SQUARE, 1)
        for start in range(0, whole, rows):
            for r in range(0, min(rows, whole - start), step):
                sums += block_load(delta, SQUARE, 1, start * ld + o * rows + r, rows)
        total = block_total(block_transpose(sums))
        at = (whole - whole % rows) * ld + o * rows
        for r in range(whole % rows, whole % rows + n_rows - whole):
            total += block_load(deltas, 1, 1, at + r * step, 0)
        if not fresh:
            total += block_load(gradient, 1, 1, o, 0)
        block_store(total, gradient, o, 0)


@kernel
def transpose_panel(delta, deltas, first, n_rows):
    """deltas[o / lanes, r, o % lanes] = delta[o, r],  first <= r < n_rows, and some up to the next whole
    piece; `first` in whole vectors.  delta (ld, R); deltas: its strips.

    Strips of one vector, since the sums of the weight gradients run over 256 rows, and no prefetcher follows
    rows that lie 4 KB apart. 1024 -> 1024: 0.76 -> 0.93 of BLAS, 784 -> 256: 1.03 -> 1.07, less the same (a
    trial; docs/engine.md).
    """
    rows, step = panel_rows(delta), lanes(delta)
    for at in range(0, delta.size, rows * step):
        for r in range(first, n_rows, piece(delta)):
            block_store(block_columns(delta, at + r, rows), deltas, at + r * step, step)


@kernel
def delta_of_row(deltas, row, delta):
    """delta[o] = deltas[o / lanes, row, o % lanes].  deltas: strips, delta (ld,)."""
    rows, step = panel_rows(delta), lanes(delta)
    for o in range(0, delta.size, step):
        block_store(block_load(deltas, 1, 1, o * rows + row * step, 0), delta, o, 0)


@kernel
def transpose_back(products, z, ld, n_outputs, n_rows):
    """z[o, r] = products[r, o],  r < n_rows.  products (R, ld), z (O, R)."""
    rows, step = panel_rows(z), lanes(z)
    for r in range(0, n_rows, step):
        for o in range(0, n_outputs, piece(z)):
            block_store(block_columns(products, r * ld + o, ld), z, o * rows + r, rows)


@kernel
def gather_narrow(X, rows, panel, n_rows):
    """panel[i, r] = X[rows[r], i],  r < n_rows, and some up to the next whole vector: for targets and for few
    inputs, without masks.  X (n, I), rows (R,), panel (I, R).
    """
    height, step, width, apart = panel_rows(panel), lanes(panel), X.shape[1], piece(panel)
    if width < apart:
        for i in range(width):
            for r in range(n_rows):
                panel[i * height + r] = X[rows[r], i]
        return
    for r in range(0, n_rows, step):
        for i in range(0, width, apart):
            # The last piece overlaps its neighbour.
            start = min(i, width - apart)
            block_store(block_gather_columns(X, rows, r, start), panel, start * height + r, height)


@kernel
def gather_panel(X, rows, panel, masks, n_rows):
    """panel[i, r] = X[rows[r], i],  r < n_rows, and some up to the next whole vector; the masks of idle.py.
    X (n, I), rows (R,), panel (I, R).
    """
    height, step = panel_rows(panel), lanes(panel)
    width = X.shape[1]
    words = (width + step - 1) // step
    for r in range(0, n_rows, step):
        for word in range(words if width >= step else 0):
            # The last vector overlaps its neighbour instead of being filled number by number.
            start = word_start(word, step, width)
            block = block_gather(X, rows, r, start)
            before = masks[word] if r > 0 else 0
            masks[word] = before | block_mask(block)
            block_store(block_transpose(block), panel, start * height + r, height)
    if width < step:
        masks[0] = (1 << width) - 1
        gather_narrow(X, rows, panel, n_rows)


@kernel
def scatter_panel(panel, out, first, count):
    """out[first + r, o] = panel[o, r],  r < count.  panel (O, R), out (n, O)."""
    height = panel_rows(panel)
    for r in range(count):
        row = out[first + r]
        for o in range(row.shape[0]):
            row[o] = panel[o * height + r]
