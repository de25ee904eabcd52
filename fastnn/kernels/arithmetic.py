"""Arithmetic of blocks of one shape, vector by vector: + - * / as of numbers, the larger of two, choices,
derivatives, the sum of a vector, and the quotient by a root of Adam.
"""

import operator

from llvmlite import ir
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from fastnn.kernels.simd import Block, Emitter, fuses, uses_avx512


def of_blocks(*kinds):
    """The type of the result, or None if these are not blocks of one shape."""
    first = kinds[0]
    return first if isinstance(first, Block) and all(kind == first for kind in kinds) else None


def vector_by_vector(instruction):
    """Code generator that applies instruction(emit, x, ...) to each vector of its arguments."""

    def generate(context, builder, sig, args):
        emit = Emitter(context, builder, sig.return_type)
        columns = [[emit.get(value, *cell) for cell in emit.block.cells] for value in args]
        return emit.pack([instruction(emit, *vectors) for vectors in zip(*columns, strict=True)])

    return generate


def extend(function, instruction, arity):
    """Let a function of numbers, such as operator.add, take blocks as well."""

    class Typing(AbstractTemplate):
        def generic(self, args, kws):
            block = of_blocks(*args) if len(args) == arity else None
            return block and signature(block, *args)

    infer_global(function)(Typing)
    lower_builtin(function, *[Block] * arity)(vector_by_vector(instruction))


extend(operator.add, lambda emit, x, y: emit.builder.fadd(x, y), 2)
extend(operator.iadd, lambda emit, x, y: emit.builder.fadd(x, y), 2)
extend(operator.sub, lambda emit, x, y: emit.builder.fsub(x, y), 2)
extend(operator.mul, lambda emit, x, y: emit.builder.fmul(x, y), 2)
extend(operator.truediv, lambda emit, x, y: emit.builder.fdiv(x, y), 2)


@intrinsic
def block_larger(typing, left, right):
    """The larger of two numbers; the right one if either is nan. One instruction, np.maximum takes four."""
    return of_blocks(left, right) and (left(left, right), vector_by_vector(Emitter.larger))


@intrinsic
def block_one(typing, block):
    """1 in every lane of a block of this shape."""
    return of_blocks(block) and (block(block), vector_by_vector(lambda emit, x: emit.constant(1.0)))


@intrinsic
def block_where_equal(typing, left, right, yes, no):
    """`yes` where left == right, else `no`."""

    def choose(emit, x, y, yes, no):
        return emit.builder.select(emit.builder.fcmp_ordered("==", x, y), yes, no)

    return of_blocks(left, right, yes, no) and (left(left, right, yes, no), vector_by_vector(choose))


def less_product(emit, limit, left, right):
    """limit - left right."""
    return emit.multiply_add(emit.builder.fsub(emit.constant(-0.0), left), right, limit)


def tanh_slope(emit, a):
    """1 - a^2, or (1 + a) (1 - a) where a^2 would be rounded: near 1 that error is all that would be left."""
    one = emit.constant(1.0)
    if fuses():
        return less_product(emit, one, a, a)
    return emit.product(emit.builder.fadd(one, a), emit.builder.fsub(one, a))


def logistic_slope(emit, a):
    """a - a^2, or a (1 - a) where a^2 would be rounded."""
    if fuses():
        return less_product(emit, a, a, a)
    return emit.product(a, emit.builder.fsub(emit.constant(1.0), a))


def make_times_slope(slope):
    """The function of blocks that multiplies by a derivative."""

    @intrinsic
    def block_times_slope(typing, block, a):
        """block f'(z), a = f(z)."""

        def multiply(emit, x, a):
            return emit.builder.fmul(x, slope(emit, a))

        return of_blocks(block, a) and (block(block, a), vector_by_vector(multiply))

    return block_times_slope


block_times_tanh_slope, block_times_logistic_slope = map(make_times_slope, (tanh_slope, logistic_slope))


@intrinsic
def block_sum(typing, block):
    """The sum of all numbers of a block of one vector, added in pairs."""

    def generate(context, builder, sig, args):
        emit = Emitter(context, builder, block)
        vector = emit.get(args[0], 0)
        terms = [builder.extract_element(vector, ir.IntType(32)(lane)) for lane in range(block.lanes)]
        while len(terms) > 1:
            half = len(terms) // 2
            terms = [builder.fadd(a, b) for a, b in zip(terms[:half], terms[half:], strict=True)]
        return terms[0]

    one = isinstance(block, Block) and len(block.cells) == 1
    return (block.dtype(block), generate) if one else None


# What vfixupimm makes of a number, four bits for each kind: +1 (code 10) of 0 (kind 2) and of -infinity and
# infinity (kinds 4 and 5), all others stay as they are.
ONE_FOR_ZERO_AND_INFINITY = 10 << 4 * 2 | 10 << 4 * 4 | 10 << 4 * 5


def estimated_inverse_root(emit, x):
    """AVX-512's estimate of 1 / sqrt(x) with 14 bits, for a vector of numbers >= 0; for 0 and infinity, 1."""
    mask, number = ir.IntType(max(8, emit.block.lanes)), ir.IntType(32)
    table = emit.constant(ONE_FOR_ZERO_AND_INFINITY)
    estimate = emit.of_avx512("rsqrt14", x, ir.Constant(emit.vector, ir.Undefined), mask(-1))
    return emit.of_avx512("mask.fixupimm", estimate, estimate, table, number(0), mask(-1), number(4))


def over_estimated_root(emit, x, scale, y, epsilon):
    """scale * x / (sqrt(y) + epsilon) of vectors, the root by Newton's steps, each of which doubles the bits.

    With r an estimate of 1 / sqrt(y), and s = y r, the next are r (3 - s r) / 2 and s (3 - s r) / 2. Their
    halves are left out: both sides of the fraction are multiplied by 2 for one step and by 16 for two, which
    `scale` and `epsilon` are once for all vectors.
    """
    builder, double = emit.builder, emit.block.dtype.bitwidth == 64
    # With the estimates of 0 and infinity themselves, infinity and 0, the root would be nan; with 1 it is y.
    inverse = estimated_inverse_root(emit, y)
    root = builder.fmul(y, inverse)
    if double:
        step = less_product(emit, emit.constant(3.0), root, inverse)
        inverse, root = builder.fmul(inverse, step), builder.fmul(root, step)
    step = less_product(emit, emit.constant(12.0 if double else 3.0), root, inverse)
    times = emit.constant(16.0 if double else 2.0)
    divisor = emit.multiply_add(root, step, builder.fmul(times, epsilon))
    return builder.fmul(builder.fmul(times, scale), builder.fdiv(x, divisor))


@intrinsic
def over_root(typing, x, scale, y, epsilon):
    """scale * x / (sqrt(y) + epsilon), within a few units in the last place where y is normal; the root of a
    smaller y may count as anything from 0 to that of the least normal number. 0 / 0 is nan. `scale` comes
    last, so that it and a subtraction are one instruction.

    A root and a division of AVX-512's vectors take the divider 22 cycles for 16 float32, and 40 for 8
    float64. The root comes from an estimate there, and Adam's step takes 0.65 and 0.45 of the time. CPUs with
    shorter vectors gain nothing (benchmarks/micro/dense.py; docs/engine.md).
    """
    block = of_blocks(x, scale, y, epsilon)

    def divide(emit, x, scale, y, epsilon):
        builder = emit.builder
        return builder.fmul(scale, builder.fdiv(x, builder.fadd(emit.call("sqrt", y), epsilon)))

    quotient = vector_by_vector(over_estimated_root if uses_avx512() else divide)
    return block and (block(x, scale, y, epsilon), quotient)
