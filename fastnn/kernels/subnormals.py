"""Numbers too small for full precision, as 0 while a training loop runs.

Adam drives the weights of an input that is always 0 towards 0, and its moments after them, into the subnormal
range below 1e-38, where the CPU computes many times slower. The switch belongs to the thread, and a call puts
it back.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Bits 15 and 6 of MXCSR, the control register of SSE and AVX: subnormal results, and operands, count as 0.
FLUSH = 0x8040
HAS_MXCSR = llvm.get_process_triple().partition("-")[0] in ("x86_64", "amd64", "i386", "i686")


def _call(builder, name, place):
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, ir.IntType(8).as_pointer())])


@intrinsic
def flush_subnormals(typing):
    """Count subnormal numbers as 0 in this thread; returns what `restore_subnormals` takes."""

    def generate(context, builder, sig, args):
        place = cgutils.alloca_once(builder, ir.IntType(32))
        if not HAS_MXCSR:
            return ir.IntType(32)(0)
        _call(builder, "stmxcsr", place)
        before = builder.load(place)
        builder.store(builder.or_(before, ir.IntType(32)(FLUSH)), place)
        _call(builder, "ldmxcsr", place)
        return before

    return types.int32(), generate


@intrinsic
def restore_subnormals(typing, before):
    """Undo `flush_subnormals`."""

    def generate(context, builder, sig, args):
        if HAS_MXCSR:
            place = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(args[0], place)
            _call(builder, "ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.int32), generate
