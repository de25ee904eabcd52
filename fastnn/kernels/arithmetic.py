"""Arithmetic of blocks of one shape, vector by vector: + - * / as of numbers, the maximum, the sum of a
vector, and the quotient by a root of Adam.
"""

import math
import operator

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from fastnn.kernels import simd
from fastnn.kernels.simd import Block, Emitter

# The least positive normal number of float32 and of float64.
LEAST = [float(np.finfo(real).tiny) for real in (np.float32, np.float64)]


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
def block_maximum(typing, left, right):
    """np.maximum: nan where either is nan."""
    block = of_blocks(left, right)
    return block and (
        block(left, right),
        vector_by_vector(lambda emit, x, y: emit.call("maximum", x, y)),
    )


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


def estimated_inverse_root(emit, x):
    """AVX-512's estimate of 1 / sqrt(x) with 14 bits, for a vector of positive normal numbers."""
    kind = "ps" if emit.block.dtype.bitwidth == 32 else "pd"
    mask = ir.IntType(max(8, emit.block.lanes))
    function_type = ir.FunctionType(emit.vector, [emit.vector, emit.vector, mask])
    name = f"llvm.x86.avx512.rsqrt14.{kind}.512"
    function = cgutils.get_or_insert_function(emit.builder.module, function_type, name)
    return emit.builder.call(function, [x, ir.Constant(emit.vector, ir.Undefined), mask(-1)])


def over_estimated_root(emit, x, y, epsilon):
    """x / (sqrt(y) + epsilon) of vectors, the root by Newton's steps, each of which doubles the bits.

    A smaller y than the least normal number, of which there is no estimate, counts as that.
    """
    builder, double = emit.builder, emit.block.dtype.bitwidth == 64

    def number(value):
        return ir.Constant(emit.vector, [value] * emit.block.lanes)

    def negative(value):
        return builder.fsub(number(-0.0), value)

    least, infinite = number(LEAST[double]), number(math.inf)
    # In this order of the operands a nan in y stays one.
    y = builder.select(builder.fcmp_ordered(">", least, y), least, y)
    inverse = estimated_inverse_root(emit, y)
    if double:
        # 1 / sqrt(y) = r + r / 2 (1 - y r^2)
        rest = emit.multiply_add(negative(builder.fmul(y, inverse)), inverse, number(1.0))
        inverse = emit.multiply_add(builder.fmul(inverse, number(0.5)), rest, inverse)
    # sqrt(y) = s + r / 2 (y - s^2), s = y r
    root = builder.fmul(y, inverse)
    rest = emit.multiply_add(negative(root), root, y)
    root = emit.multiply_add(builder.fmul(inverse, number(0.5)), rest, root)
    # Of infinity it would be 0 times that.
    root = builder.select(builder.fcmp_ordered("==", y, infinite), y, root)
    return builder.fdiv(x, builder.fadd(root, epsilon))


@intrinsic
def over_root(typing, x, y, epsilon):
    """x / (sqrt(y) + epsilon), within a few units in the last place where y is normal and epsilon > 0; a
    smaller y may count as the least normal number.

    A root and a division of AVX-512's vectors take the divider 22 cycles for 16 float32, and 40 for 8
    float64. The root comes from an estimate there, and Adam's step takes 0.7 and 0.5 of the time. CPUs with
    shorter vectors gain nothing (benchmarks/micro/dense.py; docs/engine.md).
    """
    block = of_blocks(x, y, epsilon)
    estimates = simd.VECTOR_BITS == 512 and simd.cpu_has("avx512f")

    def divide(emit, x, y, epsilon):
        return emit.builder.fdiv(x, emit.builder.fadd(emit.call("sqrt", y), epsilon))

    quotient = vector_by_vector(over_estimated_root if estimates else divide)
    return block and (block(x, y, epsilon), quotient)
