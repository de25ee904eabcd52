"""exp, log, tanh and logistic of one number, float32 or float64, without branches: loops become vectors.

Numba's own call the C library number by number, 4 to 20 times slower (benchmarks/micro/elementary.py).
The order of operations carries the precision, hence `exact=True` throughout. `x` is one number everywhere.
"""

import math
import struct

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.kernels.jit import kernel

INF, NAN = float("inf"), float("nan")
LOG2_E, LN2 = 1.4426950408889634, 0.6931471805599453
# ln 2 in two parts: an exponent times the first is exact (Cephes expf.c and fdlibm e_exp.c).
LN2_HIGH = 0.693359375, 6.93147180369123816490e-01
LN2_LOW = -2.12194440e-4, 1.90821492927058770002e-10
# Adding 1.5 * 2^(bits of the mantissa) rounds to an integer and leaves it in the lowest bits; the exponent's
# bias on top makes these bits the exponent field of a power of two.
MAGIC = 1.5 * 2.0**23 + 127, 1.5 * 2.0**52 + 1023

# (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2, least maximal relative error in e^r - 1: 1.3e-8 and 1.8e-17
# (benchmarks/micro/minimax.py computes them).
EXP_TERMS = (
    (
        *(0.5000000062086477, 0.16666542793863576, 0.04166628139742366),
        *(0.008366610602256835, 0.001394649716173204),
    ),
    (
        *(0.5000000000000006, 0.16666666666666685, 0.04166666666657332, 0.008333333333314543),
        *(0.0013888888932484214, 0.00019841269903154779, 2.4801504312202677e-05),
        *(2.7557227830094087e-06, 2.7626382186436446e-07, 2.5114515837024976e-08),
    ),
)
# ln(1 + f) = f - f^2/2 + s (f^2/2 + s^2 P(s^2)), s = f / (2 + f): fdlibm e_logf.c and e_log.c.
LOG_TERMS = (
    (0.66666662693, 0.40000972152, 0.28498786688, 0.24279078841),
    (
        *(6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01),
        *(2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01),
        1.479819860511658591e-01,
    ),
)


def bit_layout(real):
    """LLVM integer of a float's size, and the number of bits of its mantissa."""
    return (ir.IntType(32), 23) if real == types.float32 else (ir.IntType(64), 52)


def bit_pattern(number, integer):
    kinds = ("<f", "<i") if integer.width == 32 else ("<d", "<q")
    return ir.Constant(integer, struct.unpack(kinds[1], struct.pack(kinds[0], number))[0])


@intrinsic
def number(typing, x, pair):
    """pair[0] as float32 or pair[1] as float64, as x is: a bare 1.5 would turn float32 to double."""

    def generate(context, builder, sig, args):
        value = builder.extract_value(args[1], 0 if sig.return_type == types.float32 else 1)
        return context.cast(builder, value, types.float64, sig.return_type)

    return x(x, pair), generate


@intrinsic
def polynomial(typing, x, terms):
    """sum_k terms[0][k] x^k in float32, or the same of terms[1] in float64.

    In pairs, pairs of pairs, and so on (Estrin, 1960): a long chain of multiplications that wait for each
    other fills the scheduler. tanh 0.73 -> 0.60 ns a number (benchmarks/micro/elementary.py).
    """

    def generate(context, builder, sig, args):
        chosen = 0 if sig.return_type == types.float32 else 1
        real, own = context.get_value_type(sig.return_type), builder.extract_value(args[1], chosen)
        name = f"llvm.fmuladd.f{sig.return_type.bitwidth}"
        fused = cgutils.get_or_insert_function(builder.module, ir.FunctionType(real, [real] * 3), name)
        power, sums = args[0], []
        for term in range(sig.args[1][chosen].count):
            value = builder.extract_value(own, term)
            sums.append(context.cast(builder, value, types.float64, sig.return_type))
        while len(sums) > 1:
            pairs = zip(sums[::2], sums[1::2], strict=False)
            rest = sums[len(sums) - len(sums) % 2 :]
            sums = [builder.call(fused, [high, power, low]) for low, high in pairs] + rest
            power = builder.fmul(power, power)
        return sums[0]

    return x(x, terms), generate


@intrinsic
def power_of_two(typing, shifted):
    """2^k for shifted = k + MAGIC, while 2^k is a normal number."""

    def generate(context, builder, sig, args):
        integer, mantissa = bit_layout(sig.return_type)
        bits = builder.shl(builder.bitcast(args[0], integer), ir.Constant(integer, mantissa))
        return builder.bitcast(bits, args[0].type)

    return shifted(shifted), generate


@intrinsic
def split(typing, x):
    """(k, m) with x = 2^k m and sqrt(1/2) <= m < sqrt(2), for normal x > 0."""

    def generate(context, builder, sig, args):
        integer, mantissa = bit_layout(sig.args[0])
        bias = (1 << (integer.width - mantissa - 2)) - 1
        bits = builder.bitcast(args[0], integer)
        centred = builder.add(bits, ir.Constant(integer, (bias << mantissa)))
        centred = builder.sub(centred, bit_pattern(0.5**0.5, integer))
        biased = builder.lshr(centred, ir.Constant(integer, mantissa))
        # 64-bit integers have no conversion before AVX-512: write the integer into the mantissa of 2^52.
        base = 2.0**mantissa
        k = builder.bitcast(builder.or_(biased, bit_pattern(base, integer)), args[0].type)
        k = builder.fsub(k, ir.Constant(args[0].type, base + bias))
        power = builder.shl(builder.sub(biased, ir.Constant(integer, bias)), ir.Constant(integer, mantissa))
        m = builder.bitcast(builder.sub(bits, power), args[0].type)
        return context.make_tuple(builder, sig.return_type, [k, m])

    return types.UniTuple(x, 2)(x), generate


@intrinsic
def maximum(typing, x, y):
    """np.maximum: nan where either is nan.

    Of a comparison LLVM makes masked stores: relu took 4 times as long (benchmarks/micro/elementary.py).
    """

    def generate(context, builder, sig, args):
        name = f"llvm.maximum.f{sig.return_type.bitwidth}"
        kind = ir.FunctionType(args[0].type, [args[0].type] * 2)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return x(x, x), generate


@kernel(exact=True)
def reduce(x):
    """(k + MAGIC, e^r - 1) with x = k ln 2 + r, |r| <= ln 2 / 2."""
    magic = number(x, MAGIC)
    shifted = x * type(x)(LOG2_E) + magic
    k = shifted - magic
    r = (x - k * number(x, LN2_HIGH)) - k * number(x, LN2_LOW)
    return shifted, r + r * r * polynomial(r, EXP_TERMS)


@kernel(exact=True)
def exp(x):
    """e^x. Below the smallest subnormal 0, above the largest number infinity."""
    real, magic = type(x), number(x, MAGIC)
    least, most = number(x, (-105.0, -746.0)), number(x, (89.0, 710.0))
    x = least if x < least else x
    x = most if x > most else x
    shifted, rest = reduce(x)
    # Two factors: 2^k itself would overflow at the top and be subnormal at the bottom.
    k = shifted - magic
    half = k * real(0.5) + magic
    return (real(1) + rest) * power_of_two(half) * power_of_two((k - (half - magic)) + magic)


@kernel(exact=True)
def log(x):
    """ln x; -infinity at 0, nan below."""
    real = type(x)
    tiny = number(x, (2.0**-126, 2.0**-1022))
    k, m = split(x * number(x, (2.0**23, 2.0**52)) if x < tiny else x)
    k -= number(x, (23.0, 52.0)) if x < tiny else real(0)
    f = m - real(1)
    s, half_square = f / (real(2) + f), real(0.5) * f * f
    z = s * s
    correction = s * (half_square + z * polynomial(z, LOG_TERMS)) + k * number(x, LN2_LOW)
    value = k * number(x, LN2_HIGH) - ((half_square - correction) - f)
    value = value if x < real(INF) else x
    below = real(-INF) if x == real(0) else real(NAN)
    return below if x <= real(0) else value


@kernel(exact=True)
def tanh(x):
    """(1 - e^-2|x|) / (1 + e^-2|x|) with the sign of x, through e^r - 1: precise at small x too."""
    real, magic, most = type(x), number(x, MAGIC), number(x, (10.0, 20.0))
    size = abs(x)
    size = most if size > most else size
    shifted = size * real(-2 * LOG2_E) + magic
    # One product: where k is large enough to make its error count, the result is 1 already.
    r = size * real(-2) - (shifted - magic) * real(LN2)
    rest = r + r * r * polynomial(r, EXP_TERMS)
    power = power_of_two(shifted)
    minus = power * rest + (power - real(1))
    return math.copysign(minus / (real(2) + minus), x)


@kernel(exact=True)
def logistic(x):
    """1 / (1 + e^-x), as e^x / (1 + e^x) below 0: no overflow, and a small result keeps its digits."""
    real = type(x)
    e = exp(-abs(x))
    return (real(1) if x >= real(0) else e) / (real(1) + e)
