"""exp, logistic and tanh of an array, in place, where the CPU looks up a number for each lane of a vector at
once, as AVX-512 does; elsewhere number by number (elementary.py).
"""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.kernels import elementary
from fastnn.kernels.jit import kernel
from fastnn.kernels.simd import Block, Emitter, lanes_of, uses_avx512

LOOKS_UP, BOTH = uses_avx512(), (types.float32, types.float64)

# e^x below the first is 0, above the second infinity.
LEAST, MOST = {np.float32: -110.0, np.float64: -750.0}, {np.float32: 90.0, np.float64: 711.0}
EXP_DEGREE = {np.float32: 3, np.float64: 6}

LN2_BELOW = 2.3190468138462996e-17  # ln 2 less its nearest double

# tanh has 32 pieces: the exponent and the three highest bits of the mantissa of |x| + TANH_START tell which,
# so that they are as long as 1/16 near 0, where tanh bends, and 1 at the end. In the last one, from 9.3 on,
# the result is 1.
TANH_START, TANH_END, TANH_PIECES, TANH_SHIFT, TANH_DEGREE = 0.6875, 10.0, 32, 20, 4


class Lookup(Emitter):
    """LLVM instructions for one vector of AVX-512 and tables of twice as many numbers as it has lanes."""

    def __init__(self, context, builder, dtype):
        super().__init__(context, builder, Block(dtype, 1, 1, lanes_of(dtype)))
        self.lanes, self.real = self.block.lanes, np.float32 if dtype == types.float32 else np.float64
        self.sign_bit = self.constant(-(2 ** (dtype.bitwidth - 1)))

    def bits(self, x):
        return self.builder.bitcast(x, self.integers)

    def from_bits(self, bits):
        return self.builder.bitcast(bits, self.vector)

    def at_most(self, limit, x):
        """The smaller of a number and x, lane by lane; nan stays."""
        limit = self.constant(limit)
        return self.builder.select(self.builder.fcmp_ordered("<", limit, x), limit, x)

    def first_lanes(self, count):
        """Mask of the first lanes."""
        one = ir.Constant(count.type, 1)
        ones = self.builder.sub(self.builder.shl(one, count), one)
        lanes = ir.VectorType(ir.IntType(1), self.lanes)
        return self.builder.bitcast(self.builder.trunc(ones, ir.IntType(self.lanes)), lanes)

    def masked(self, name, returned, *arguments):
        kind = ir.FunctionType(returned, [argument.type for argument in arguments])
        place = f"v{self.lanes}f{self.block.dtype.bitwidth}"
        name = f"llvm.masked.{name}.{place}.p0{place}"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def load_first(self, count, pointer):
        """A vector whose first `count` lanes are loaded; the others are 0."""
        pointer = self.builder.bitcast(pointer, self.vector.as_pointer())
        align = ir.Constant(ir.IntType(32), self.bytes)
        nothing = ir.Constant(self.vector, None)
        return self.masked("load", self.vector, pointer, align, self.first_lanes(count), nothing)

    def store_first(self, count, x, pointer):
        """Store the first `count` lanes."""
        pointer = self.builder.bitcast(pointer, self.vector.as_pointer())
        align = ir.Constant(ir.IntType(32), self.bytes)
        self.masked("store", ir.VoidType(), x, pointer, align, self.first_lanes(count))

    def chosen(self, table, index):
        """table[index mod its length] for each lane."""
        halves = np.split(table.astype(self.real).astype(float), 2)
        low, high = (ir.Constant(self.vector, half.tolist()) for half in halves)
        return self.of_avx512("vpermi2var", low, index, high)

    def scaled(self, x, power):
        """x 2^floor(power), lane by lane."""
        all_lanes, as_it_rounds = ir.Constant(ir.IntType(self.lanes), -1), ir.Constant(ir.IntType(32), 4)
        return self.of_avx512("mask.scalef", x, power, x, all_lanes, as_it_rounds)

    def sum_of_powers(self, coefficients, x):
        """sum_k coefficients[k] x^k; a coefficient is a number or a vector."""
        vectors = [self.constant(c) if isinstance(c, float) else c for c in coefficients]
        value = vectors.pop()
        while vectors:
            value = self.multiply_add(value, x, vectors.pop())
        return value


def interpolate(function, degree, low, high):
    """Coefficients of the polynomial through the function at Chebyshev's points of an interval, the lowest
    first; a few percent worse than the best one.
    """
    chebyshev = np.polynomial.Chebyshev.interpolate(function, degree, domain=[low, high])
    return chebyshev.convert(kind=np.polynomial.Polynomial).coef


def exp_terms(real, table_size):
    """Coefficients of (e^r - 1 - r) / r^2 for |r| <= ln 2 / (2 table_size)."""

    def function(r):
        return sum(r**k / math.factorial(k + 2) for k in range(12))

    half = math.log(2) / (2 * table_size)
    return [float(term) for term in interpolate(function, EXP_DEGREE[real] - 2, -half, half)]


def exp_of_limited(emit, x):
    """e^x = 2^k e^r for x up to MOST, where k is a multiple of 1 / the length of a table of powers of 2, and
    r is what is left of x (Tang, 1989).
    """
    builder, size, real = emit.builder, 2 * emit.lanes, emit.real
    x = emit.larger(emit.constant(LEAST[real]), x)  # nan stays
    # Added, it leaves no digits but those of k, and the last of them in the lowest bits.
    magic = 1.5 * 2.0 ** np.finfo(real).nmant / size
    shifted = emit.multiply_add(x, emit.constant(1 / math.log(2)), emit.constant(magic))
    k = builder.fsub(shifted, emit.constant(magic))
    high = float(real(math.log(2)))
    low = math.log(2) - high if real == np.float32 else LN2_BELOW
    r = emit.multiply_add(k, emit.constant(-low), emit.multiply_add(k, emit.constant(-high), x))
    powers = 2.0 ** (np.arange(size) / size)
    if real == np.float32:
        # A power is rounded, and its logarithm with it: 1.1e-7 -> 0.6e-7 of the value.
        logarithms = np.log(powers.astype(real).astype(float) / powers)
        r = builder.fsub(r, emit.chosen(logarithms, emit.bits(shifted)))
    rest = emit.multiply_add(builder.fmul(r, r), emit.sum_of_powers(exp_terms(real, size), r), r)
    power = emit.chosen(powers, emit.bits(shifted))
    return emit.scaled(emit.multiply_add(power, rest, power), k)


def exp_of_vector(emit, x):
    """e^x."""
    return exp_of_limited(emit, emit.at_most(MOST[emit.real], x))


def logistic_of_vector(emit, x):
    """1 / (1 + e^-x), as e^x / (1 + e^x) below 0."""
    builder, one = emit.builder, emit.constant(1.0)
    e = exp_of_limited(emit, emit.from_bits(builder.or_(emit.bits(x), emit.sign_bit)))
    is_negative = builder.icmp_signed("<", emit.bits(x), emit.constant(0))
    return builder.fdiv(builder.select(is_negative, e, one), builder.fadd(one, e))


def tanh_pieces():
    """(turn, middles, coefficients): tanh(x) = sum_k coefficients[k, i] (x - middles[i])^k in piece i, which
    is the one with turn + i in the bits that tell.

    In the first piece, which reaches 0, it is tanh(x) / x that is approached.
    """
    turn = np.float32(TANH_START).view(np.int32) >> TANH_SHIFT
    ends = (np.arange(turn, turn + TANH_PIECES + 1, dtype=np.int32) << TANH_SHIFT).view(np.float32)
    ends = ends.astype(float) - TANH_START
    middles = (ends[:-1] + ends[1:]) / 2
    middles[0] = 0.0
    coefficients = np.zeros((TANH_DEGREE + 1, TANH_PIECES))
    coefficients[1:, 0] = interpolate(lambda x: np.tanh(x) / x, TANH_DEGREE - 1, 0.0, ends[1])
    for index in range(1, TANH_PIECES - 1):
        middle, half = middles[index], (ends[index + 1] - ends[index]) / 2
        terms = interpolate(lambda x, middle=middle: np.tanh(middle + x), TANH_DEGREE, -half, half)
        coefficients[:, index] = terms
    coefficients[0, -1] = 1.0
    return turn, middles, coefficients


def tanh_of_vector(emit, x):
    """tanh of float32 by polynomials on pieces of its range."""
    builder = emit.builder
    turn, middles, coefficients = tanh_pieces()
    sign = builder.and_(emit.bits(x), emit.sign_bit)
    size = emit.at_most(TANH_END, emit.from_bits(builder.xor(emit.bits(x), sign)))
    moved = emit.bits(builder.fadd(size, emit.constant(TANH_START)))
    index = builder.lshr(moved, emit.constant(TANH_SHIFT))
    # The lowest bits of an index choose.
    place = builder.fsub(size, emit.chosen(np.roll(middles, turn), index))
    value = emit.sum_of_powers([emit.chosen(np.roll(row, turn), index) for row in coefficients], place)
    return emit.from_bits(builder.or_(emit.bits(value), sign))


def make_function(of_vector, of_number, dtypes):
    """Kernel of a function of an array: by lookups for some dtypes, else number by number."""

    def lookups(context, builder, sig, args):
        emit, size = Lookup(context, builder, sig.args[0].dtype), ir.IntType(64)
        array = context.make_array(sig.args[0])(context, builder, args[0])
        count = builder.extract_value(array.shape, 0)
        rest = builder.and_(count, ir.Constant(size, emit.lanes - 1))
        whole, step = builder.sub(count, rest), ir.Constant(size, emit.lanes)
        with cgutils.for_range_slice(builder, ir.Constant(size, 0), whole, step) as (at, _):
            pointer = emit.pointer(sig.args[0], args[0], at)
            emit.store(of_vector(emit, emit.load(pointer)), pointer)
        with builder.if_then(builder.icmp_unsigned("!=", rest, ir.Constant(size, 0))):
            # The same function for the last ones, so that a number's result doesn't depend on its place.
            pointer = emit.pointer(sig.args[0], args[0], whole)
            emit.store_first(rest, of_vector(emit, emit.load_first(rest, pointer)), pointer)
        return count

    @intrinsic
    def by_lookups(typing, values):
        """values = f(values) by lookups, if they are for its dtype; how many are done, all or none."""
        if values.dtype in dtypes:
            return types.intp(values), lookups
        return types.intp(values), lambda context, builder, sig, args: context.get_constant(types.intp, 0)

    @kernel(exact=True)
    def with_lookups(values):
        """values = f(values).  values (n,)."""
        by_lookups(values)

    @kernel(exact=True)
    def number_by_number(values):
        """values = f(values).  values (n,)."""
        for i in range(by_lookups(values), values.shape[0]):
            values[i] = of_number(values[i])

    # Where lookups serve both precisions, nothing else is compiled.
    return with_lookups if dtypes == BOTH else number_by_number


exp = make_function(exp_of_vector, elementary.exp, BOTH if LOOKS_UP else ())
logistic = make_function(logistic_of_vector, elementary.logistic, BOTH if LOOKS_UP else ())
tanh = make_function(tanh_of_vector, elementary.tanh, (types.float32,) if LOOKS_UP else ())
