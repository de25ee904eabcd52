"""Explicit vectors: a block of LLVM vectors that lives in registers, as a Numba type with a few operations.

LLVM vectorises plain loops well but fragile; a matrix product written with these blocks runs at the speed of
a tuned BLAS at every size (numbers in docs/engine.md, script benchmarks/micro/dense.py).

A `Block` has `rows` x `columns` vectors of `lanes` numbers. Positions (`at`, strides) count elements of the
flat, contiguous memory of an array; they are not checked, whatever NUMBA_BOUNDSCHECK says: tests put guard
zones around.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic, models, register_model


def cpu_has(feature):
    """Whether the CPU that Numba compiles for has a feature, by LLVM's name for it."""
    if config.CPU_FEATURES is not None:
        return f"+{feature}" in config.CPU_FEATURES.split(",")
    if config.CPU_NAME not in (None, llvm.get_host_cpu_name()):
        return False  # a named CPU without its features: what every CPU has that Numba runs on
    if feature.startswith("avx") and not config.ENABLE_AVX:
        return False  # NUMBA_ENABLE_AVX=0, and what Numba decides for some CPUs
    return bool(llvm.get_host_cpu_features().get(feature))


# Width of the widest vector registers, in bits.
VECTOR_BITS = 512 if cpu_has("avx512f") else 256 if cpu_has("avx") else 128
PANEL_VECTORS = 2
SQUARE = 0  # as `rows` of a block: as many rows as lanes


def uses_avx512():
    """Whether vectors are those of AVX-512, which has instructions of its own for them."""
    return VECTOR_BITS == 512 and cpu_has("avx512f")


def fuses():
    """Whether the CPU multiplies and adds in one instruction, which rounds once."""
    return cpu_has("fma") or cpu_has("avx512f")


class Block(types.Type):
    """rows x columns vectors; the register tile of a kernel."""

    def __init__(self, dtype, rows, columns, lanes):
        self.dtype, self.rows, self.columns, self.lanes = dtype, rows, columns, lanes
        super().__init__(name=f"Block({dtype}, {rows}x{columns}, {lanes})")

    @property
    def cells(self):
        return [(row, column) for row in range(self.rows) for column in range(self.columns)]


@register_model(Block)
class BlockModel(models.PrimitiveModel):
    def __init__(self, manager, block):
        vector = ir.VectorType(manager.lookup(block.dtype).get_value_type(), block.lanes)
        super().__init__(manager, block, ir.ArrayType(vector, block.rows * block.columns))


def lanes_of(dtype):
    """Numbers in one vector, e.g. 8 float32 with AVX2."""
    return VECTOR_BITS // dtype.bitwidth


def block_type(array, rows, columns):
    if isinstance(rows, types.IntegerLiteral) and isinstance(columns, types.IntegerLiteral):
        count = lanes_of(array.dtype)
        return Block(array.dtype, rows.literal_value or count, columns.literal_value, count)
    return None


class Emitter:
    """LLVM instructions for one block type; positions are LLVM integers."""

    def __init__(self, context, builder, block):
        self.context, self.builder, self.block = context, builder, block
        self.vector = ir.VectorType(context.get_value_type(block.dtype), block.lanes)
        self.integers = ir.VectorType(ir.IntType(block.dtype.bitwidth), block.lanes)
        self.bytes = block.dtype.bitwidth // 8

    def empty(self):
        return ir.Constant(self.context.get_value_type(self.block), ir.Undefined)

    def constant(self, number):
        """The same real number, a float, or the same integer in all lanes."""
        kind = self.vector if isinstance(number, float) else self.integers
        return ir.Constant(kind, [number] * self.block.lanes)

    def pointer(self, array_type, array, at, offset=0):
        data = self.context.make_array(array_type)(self.context, self.builder, array).data
        return self.builder.gep(data, [self.builder.add(at, ir.Constant(at.type, offset))])

    def load(self, pointer):
        return self.builder.load(self.builder.bitcast(pointer, self.vector.as_pointer()), align=self.bytes)

    def store(self, vector, pointer):
        self.builder.store(vector, self.builder.bitcast(pointer, self.vector.as_pointer()), align=self.bytes)

    def broadcast(self, pointer):
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(
            undefined, self.builder.load(pointer), ir.Constant(ir.IntType(32), 0)
        )
        return self.shuffle(first, undefined, [0] * self.block.lanes)

    def shuffle(self, left, right, lanes):
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
        return self.builder.shuffle_vector(left, right, mask)

    def exchange(self, left, right, size):
        """Two vectors, the odd pieces (of `size`) of `left` exchanged for the even ones of `right`."""
        lanes, count = range(self.block.lanes), self.block.lanes
        evens = [lane + (count - size if lane & size else 0) for lane in lanes]
        odds = [lane + (count if lane & size else size) for lane in lanes]
        return self.shuffle(left, right, evens), self.shuffle(left, right, odds)

    def get(self, value, row, column=0):
        return self.builder.extract_value(value, row * self.block.columns + column)

    def put(self, value, vector, row, column=0):
        return self.builder.insert_value(value, vector, row * self.block.columns + column)

    def pack(self, vectors):
        value = self.empty()
        for index, vector in enumerate(vectors):
            value = self.builder.insert_value(value, vector, index)
        return value

    def multiply_add(self, left, right, addend):
        # llvm.fmuladd, not llvm.fma: where the CPU has no fused instruction the latter is a library call.
        return self.call("fmuladd", left, right, addend)

    def product(self, left, right):
        """left * right as it stands: a kernel's flags let LLVM reorder factors, but not within a call."""
        return self.multiply_add(left, right, self.constant(-0.0))

    def larger(self, left, right):
        """The larger of two numbers, lane by lane; the right one if either is nan."""
        return self.builder.select(self.builder.fcmp_ordered(">", left, right), left, right)

    def call(self, name, *vectors):
        """LLVM's function llvm.<name> of vectors."""
        name = f"llvm.{name}.v{self.block.lanes}f{self.block.dtype.bitwidth}"
        kind = ir.FunctionType(self.vector, [self.vector] * len(vectors))
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), vectors)

    def of_avx512(self, name, *arguments):
        """An instruction of AVX-512 that gives a vector, by LLVM's name; only where it `uses_avx512`."""
        name = f"llvm.x86.avx512.{name}.{'ps' if self.bytes == 4 else 'pd'}.512"
        kind = ir.FunctionType(self.vector, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)


@intrinsic
def lanes(typing, array):
    """Numbers in one vector of the array's dtype."""
    count = lanes_of(array.dtype)
    return types.intp(array), lambda context, builder, sig, args: context.get_constant(types.intp, count)


@intrinsic
def panel_rows(typing, array):
    """R, the rows of a panel: two vectors."""
    count = PANEL_VECTORS * lanes_of(array.dtype)
    return types.intp(array), lambda context, builder, sig, args: context.get_constant(types.intp, count)


@intrinsic
def panel_of(typing, tile, at, width, panel):
    """The slice of a tile (1-D) that holds one panel (width, R): from at + panel * width * R on."""

    def generate(context, builder, sig, args):
        tile_, at_, width_, panel_ = args
        rows = context.get_constant(types.intp, PANEL_VECTORS * lanes_of(sig.args[0].dtype))
        size = builder.mul(width_, rows)
        array = context.make_array(sig.args[0])(context, builder, tile_)
        array.data = builder.gep(array.data, [builder.add(at_, builder.mul(panel_, size))])
        array.nitems, array.shape = size, cgutils.pack_array(builder, [size])
        return impl_ret_borrowed(context, builder, sig.return_type, array._getvalue())

    return tile(tile, types.intp, types.intp, types.intp), generate


@intrinsic(prefer_literal=True)
def block_broadcast(typing, values, rows, columns, at):
    """block[m, v] = values[at + m] in every lane."""
    block = block_type(values, rows, columns)

    def generate(context, builder, sig, args):
        emit = Emitter(context, builder, block)
        vectors = [
            emit.broadcast(emit.pointer(sig.args[0], args[0], args[3], row)) for row in range(block.rows)
        ]
        return emit.pack([vectors[row] for row, _ in block.cells])

    return block and (block(values, rows, columns, types.intp), generate)


@intrinsic(prefer_literal=True)
def block_zero(typing, like, rows, columns):
    """block[m, v] = 0; `like` gives the dtype."""
    block = block_type(like, rows, columns)
    return block and (
        block(like, rows, columns),
        lambda context, builder, sig, args: ir.Constant(context.get_value_type(block), None),
    )


@intrinsic(prefer_literal=True)
def block_load(typing, values, rows, columns, at, stride):
    """block[m, v] = values[at + m * stride + v * lanes : + lanes]."""
    block = block_type(values, rows, columns)

    def generate(context, builder, sig, args):
        emit, at, vectors = Emitter(context, builder, block), args[3], []
        for _ in range(block.rows):
            for column in range(block.columns):
                vectors.append(emit.load(emit.pointer(sig.args[0], args[0], at, column * block.lanes)))
            at = builder.add(at, args[4])
        return emit.pack(vectors)

    return block and (block(values, rows, columns, types.intp, types.intp), generate)


@intrinsic(prefer_literal=True)
def block_prefetch(typing, values, rows, columns, at, stride, written):
    """Asks for what `block_load` would load, which may lie past the end; for this core alone if it is to be
    `written`, a literal 1 or 0.
    """
    block = block_type(values, rows, columns)

    def generate(context, builder, sig, args):
        emit, at, byte, number = Emitter(context, builder, block), args[3], ir.IntType(8), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), number, number, number])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        how = [ir.Constant(number, code) for code in (written.literal_value, 3, 1)]  # into L1, as data
        for _ in range(block.rows):
            for column in range(block.columns):
                pointer = emit.pointer(sig.args[0], args[0], at, column * block.lanes)
                builder.call(prefetch, [builder.bitcast(pointer, byte.as_pointer()), *how])
            at = builder.add(at, args[4])
        return context.get_dummy_value()

    known = block and isinstance(written, types.IntegerLiteral)
    return (types.void(values, rows, columns, types.intp, types.intp, written), generate) if known else None


@intrinsic
def block_gather(typing, table, rows, at, column):
    """block[m, 0] = table[rows[at + m], column : column + lanes] for m < lanes; table (n, I) and rows
    contiguous.
    """
    block = Block(table.dtype, lanes_of(table.dtype), 1, lanes_of(table.dtype))

    def generate(context, builder, sig, args):
        emit, vectors = Emitter(context, builder, block), []
        width = builder.extract_value(context.make_array(sig.args[0])(context, builder, args[0]).shape, 1)
        for m in range(block.rows):
            row = builder.load(emit.pointer(sig.args[1], args[1], args[2], m))
            at = builder.add(builder.mul(row, width), args[3])
            vectors.append(emit.load(emit.pointer(sig.args[0], args[0], at)))
        return emit.pack(vectors)

    return block(table, rows, types.intp, types.intp), generate


@intrinsic
def block_mask(typing, block):
    """Which lanes of a block of one column are not +0 in all rows: bit n of an integer is lane n."""

    def generate(context, builder, sig, args):
        emit = Emitter(context, builder, block)
        terms = [builder.bitcast(emit.get(args[0], row), emit.integers) for row in range(block.rows)]
        while len(terms) > 1:
            terms = [builder.or_(a, b) for a, b in zip(terms[::2], terms[1::2], strict=True)]
        bits = builder.icmp_unsigned("!=", terms[0], emit.constant(0))
        return builder.zext(builder.bitcast(bits, ir.IntType(block.lanes)), ir.IntType(64))

    return types.int64(block), generate


@intrinsic
def busy_byte(typing, values, at):
    """Bit n of an integer is 1 if values[at + n], n < 8, is not +0."""

    def generate(context, builder, sig, args):
        # 8 numbers, however many lanes a vector has: LLVM makes of them what the CPU can do.
        width = sig.args[0].dtype.bitwidth
        integers = ir.VectorType(ir.IntType(width), 8)
        pointer = Emitter(context, builder, Block(sig.args[0].dtype, 1, 1, 8)).pointer(sig.args[0], *args)
        numbers = builder.load(builder.bitcast(pointer, integers.as_pointer()), align=width // 8)
        bits = builder.icmp_unsigned("!=", numbers, ir.Constant(integers, None))
        return builder.zext(builder.bitcast(bits, ir.IntType(8)), ir.IntType(64))

    return types.int64(values, types.intp), generate


@intrinsic
def store_word(typing, bytes_, at, word):
    """bytes_[at : at + 8] = the bytes of a 64-bit word, the lowest first.  bytes_ (n,) uint8."""

    def generate(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(64).as_pointer())
        builder.store(args[2], pointer, align=1)
        return context.get_dummy_value()

    return types.void(bytes_, types.intp, types.uint64), generate


@intrinsic
def ones(typing, bits):
    """How many bits of an integer are 1."""
    return types.int64(types.int64), lambda context, builder, sig, args: builder.ctpop(args[0])


@intrinsic
def block_store(typing, block, values, at, stride):
    """values[at + m * stride + v * lanes : + lanes] = block[m, v]."""

    def generate(context, builder, sig, args):
        emit, at = Emitter(context, builder, block), args[2]
        for row in range(block.rows):
            for column in range(block.columns):
                pointer = emit.pointer(sig.args[1], args[1], at, column * block.lanes)
                emit.store(emit.get(args[0], row, column), pointer)
            at = builder.add(at, args[3])
        return context.get_dummy_value()

    return types.void(block, values, types.intp, types.intp), generate


@intrinsic
def block_multiply_add(typing, block, factors, at, stride, values, start, apart):
    """block[m, v] += factors[at + m * stride] * values[start + v * apart : + lanes]."""

    def generate(context, builder, sig, args):
        emit, (value, factors_, at, stride_, values_, start, apart_) = Emitter(context, builder, block), args
        loaded = []
        for _ in range(block.columns):
            loaded.append(emit.load(emit.pointer(sig.args[4], values_, start)))
            start = builder.add(start, apart_)
        for row in range(block.rows):
            factor = emit.broadcast(emit.pointer(sig.args[1], factors_, at))
            for column in range(block.columns):
                total = emit.multiply_add(factor, loaded[column], emit.get(value, row, column))
                value = emit.put(value, total, row, column)
            at = builder.add(at, stride_)
        return value

    return block(block, factors, types.intp, types.intp, values, types.intp, types.intp), generate


@intrinsic
def block_add_rows(typing, block, factors, rows, at, table, ld, column):
    """block[m, 0] += factors[at + m] * table[rows[at + m] * ld + column : + lanes]."""

    def generate(context, builder, sig, args):
        emit, (value, factors_, rows_, at, table_, ld_, column_) = Emitter(context, builder, block), args
        for m in range(block.rows):
            row = builder.load(emit.pointer(sig.args[2], rows_, at, m))
            start = builder.add(builder.mul(row, ld_), column_)
            factor = emit.broadcast(emit.pointer(sig.args[1], factors_, at, m))
            vector = emit.load(emit.pointer(sig.args[4], table_, start))
            value = emit.put(value, emit.multiply_add(factor, vector, emit.get(value, m)), m)
        return value

    return block(block, factors, rows, types.intp, table, types.intp, types.intp), generate


@intrinsic
def block_add_products(typing, block, table, rows, at, ld, values, column):
    """block[m, 0] += table[rows[at + m] * ld + column : + lanes] * values[column : + lanes]."""

    def generate(context, builder, sig, args):
        emit, (value, table_, rows_, at, ld_, values_, column_) = Emitter(context, builder, block), args
        right = emit.load(emit.pointer(sig.args[5], values_, column_))
        for m in range(block.rows):
            row = builder.load(emit.pointer(sig.args[2], rows_, at, m))
            left = emit.load(emit.pointer(sig.args[1], table_, builder.add(builder.mul(row, ld_), column_)))
            value = emit.put(value, emit.multiply_add(left, right, emit.get(value, m)), m)
        return value

    return block(block, table, rows, types.intp, types.intp, values, types.intp), generate


@intrinsic
def block_total(typing, block):
    """total[0, v] = sum_m block[m, v], added in pairs."""
    total = Block(block.dtype, 1, block.columns, block.lanes)

    def generate(context, builder, sig, args):
        emit, vectors = Emitter(context, builder, block), []
        for column in range(block.columns):
            terms = [emit.get(args[0], row, column) for row in range(block.rows)]
            while len(terms) > 1:
                pairs = [builder.fadd(a, b) for a, b in zip(terms[::2], terms[1::2], strict=False)]
                terms = pairs + terms[2 * len(pairs) :]
            vectors.append(terms[0])
        return Emitter(context, builder, total).pack(vectors)

    return total(block), generate
