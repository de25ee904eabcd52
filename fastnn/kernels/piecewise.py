"""tanh of an array: by polynomials on pieces of its range where the CPU looks up a number for each lane of a
vector at once, elsewhere number by number (elementary.py).
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.kernels import elementary, simd
from fastnn.kernels.jit import kernel
from fastnn.kernels.simd import Block, Emitter, lanes_of

PIECES = 32  # what one instruction of AVX-512 chooses from, in two registers of float32
# The exponent and the two highest bits of the mantissa tell the piece: four of them in each octave from 1/16
# on; below it, one.
SHIFT, SMALLEST, LARGEST = 21, 1 / 16, 10.0
DEGREE = 5


def bits_of(number):
    return int(np.float32(number).view(np.int32))


def piece_ends(index):
    """Where the piece with this index, 0 for the first, begins and ends."""
    bits = [(bits_of(SMALLEST) >> SHIFT) + index + end << SHIFT for end in (0, 1)]
    low, high = np.array(bits, np.int32).view(np.float32).astype(float)
    return (0.0, high) if index == 0 else (low, high)


def polynomials():
    """(middles, coefficients): tanh(x) = sum_k coefficients[k, i] (x - middles[i])^k for x in piece i.

    They go through Chebyshev's points, which is a few percent worse than the best ones: 1.3e-8 of the value
    at most. In the first piece, which reaches 0, it is tanh(x) / x that is approached, by powers of x^2; from
    LARGEST on the result is 1.
    """
    middles, coefficients = np.zeros(PIECES), np.zeros((DEGREE + 1, PIECES))

    def interpolate(function, degree, low, high):
        chebyshev = np.polynomial.Chebyshev.interpolate(function, degree, domain=[low, high])
        return chebyshev.convert(kind=np.polynomial.Polynomial).coef

    for index in range(PIECES):
        low, high = piece_ends(index)
        if index == 0:
            coefficients[1::2, 0] = interpolate(lambda s: np.tanh(s**0.5) / s**0.5, 2, 0.0, high**2)
        elif low < LARGEST:
            middle = middles[index] = (low + high) / 2
            half = high - middle
            coefficients[:, index] = interpolate(lambda x, at=middle: np.tanh(at + x), DEGREE, -half, half)
        else:
            middles[index], coefficients[0, index] = low, 1.0
    return middles, coefficients


def tanh_of_vector(emit, x):
    """tanh of a vector of 16 float32."""
    builder, integers = emit.builder, ir.VectorType(ir.IntType(32), emit.block.lanes)
    middles, coefficients = polynomials()
    # The lowest five bits of an index choose.
    turn = bits_of(SMALLEST) >> SHIFT
    choice = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(emit.vector, [emit.vector, integers, emit.vector]),
        "llvm.x86.avx512.vpermi2var.ps.512",
    )

    def constant(kind, number):
        return ir.Constant(kind, [number] * emit.block.lanes)

    def chosen(table, index):
        halves = np.split(np.roll(table.astype(np.float32), turn).astype(float), 2)
        low, high = (ir.Constant(emit.vector, half.tolist()) for half in halves)
        return builder.call(choice, [low, index, high])

    sign = builder.and_(builder.bitcast(x, integers), constant(integers, -(2**31)))
    size = builder.bitcast(builder.xor(builder.bitcast(x, integers), sign), emit.vector)
    most = constant(emit.vector, LARGEST)
    size = builder.select(builder.fcmp_ordered(">", size, most), most, size)  # nan stays
    index = builder.lshr(builder.bitcast(size, integers), constant(integers, SHIFT))
    least = constant(integers, turn)
    index = builder.select(builder.icmp_unsigned(">", index, least), index, least)
    place = builder.fsub(size, chosen(middles, index))
    value = chosen(coefficients[DEGREE], index)
    for power in reversed(range(DEGREE)):
        value = emit.multiply_add(value, place, chosen(coefficients[power], index))
    return builder.bitcast(builder.or_(builder.bitcast(value, integers), sign), emit.vector)


@intrinsic
def tanh_of_vectors(typing, values):
    """values = tanh(values) for the whole vectors of an array. Returns where they end, or 0 if the CPU has no
    lookup for the dtype.
    """
    looks_up = simd.VECTOR_BITS == 512 and simd.cpu_has("avx512f") and values.dtype == types.float32

    def generate(context, builder, sig, args):
        if not looks_up:
            return context.get_constant(types.intp, 0)
        emit = Emitter(context, builder, Block(values.dtype, 1, 1, lanes_of(values.dtype)))
        array = context.make_array(sig.args[0])(context, builder, args[0])
        step = context.get_constant(types.intp, emit.block.lanes)
        whole = builder.sub(array.nitems, builder.urem(array.nitems, step))
        with cgutils.for_range_slice(builder, context.get_constant(types.intp, 0), whole, step) as (at, _):
            pointer = emit.pointer(sig.args[0], args[0], at)
            emit.store(tanh_of_vector(emit, emit.load(pointer)), pointer)
        return whole

    return types.intp(values), generate


@kernel(exact=True)
def tanh(values):
    """values = tanh(values).  values (n,).

    Of 16 float32 11 cycles, and 16 number by number, which LLVM makes vectors of; half of the error, too: 1.4
    units in the last place (benchmarks/micro/elementary.py; docs/engine.md).
    """
    for i in range(tanh_of_vectors(values), values.shape[0]):
        values[i] = elementary.tanh(values[i])
