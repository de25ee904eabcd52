"""Arithmetic of blocks of one shape, vector by vector: the rows of a panel side by side."""

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.kernels.simd import Block, Emitter


def elementwise(instruction):
    """Intrinsic that applies instruction(emit, x, y), an LLVM value, to each pair of vectors."""

    def operation(typing, left, right):
        def generate(context, builder, sig, args):
            emit = Emitter(context, builder, left)
            pairs = [(emit.get(args[0], *cell), emit.get(args[1], *cell)) for cell in left.cells]
            return emit.pack([instruction(emit, x, y) for x, y in pairs])

        return (left(left, right), generate) if isinstance(left, Block) and left == right else None

    return intrinsic(operation)


def greater(emit, x, y):
    """np.maximum: nan where either is nan."""
    name = f"llvm.maximum.v{emit.block.lanes}f{emit.block.dtype.bitwidth}"
    kind = ir.FunctionType(emit.vector, [emit.vector] * 2)
    return emit.builder.call(cgutils.get_or_insert_function(emit.builder.module, kind, name), [x, y])


block_maximum = elementwise(greater)
block_sum = elementwise(lambda emit, x, y: emit.builder.fadd(x, y))
block_difference = elementwise(lambda emit, x, y: emit.builder.fsub(x, y))
block_quotient = elementwise(lambda emit, x, y: emit.builder.fdiv(x, y))
