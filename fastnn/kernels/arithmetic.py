"""Arithmetic of blocks of one shape, vector by vector: + - * / and sqrt, as of numbers, and the maximum."""

import math
import operator

from llvmlite import ir
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from fastnn.kernels.simd import Block, Emitter


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
extend(math.sqrt, lambda emit, x: emit.call("sqrt", x), 1)


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
