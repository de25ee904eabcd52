"""Rows into columns and back: squares of vectors, and columns of a matrix wherever its rows lie.

Both end with squares of 128 bits, a piece of a vector each, which are transposed by interleaving.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.simd import Block, Emitter, lanes_of


def piece_of(dtype):
    """Numbers of a Numba dtype in 128 bits."""
    return 128 // dtype.bitwidth


@intrinsic
def piece(typing, array):
    """Numbers of the array's dtype in 128 bits."""
    count = piece_of(array.dtype)
    return types.intp(array), lambda context, builder, sig, args: context.get_constant(types.intp, count)


def interleave(emit, left, right, width):
    """The lower, and the upper, halves of each piece of two vectors, `width` numbers by turns."""
    piece, halves = piece_of(emit.block.dtype), []
    for start in (0, piece // 2):
        mask = []
        for lane in range(emit.block.lanes):
            base, turn = lane - lane % piece, lane % piece // width
            at = base + start + turn // 2 * width + lane % width
            mask.append(at + (emit.block.lanes if turn % 2 else 0))
        halves.append(emit.shuffle(left, right, mask))
    return halves


def transpose_pieces(emit, vectors):
    """Every square of pieces of as many vectors, 4 or 2, as a piece has numbers, transposed."""
    pairs = [interleave(emit, *vectors[j : j + 2], 1) for j in range(0, len(vectors), 2)]
    if len(vectors) == 2:
        return pairs[0]
    (a, b), (c, d) = pairs
    return [*interleave(emit, a, c, 2), *interleave(emit, b, d, 2)]


def load_columns(emit, pointers):
    """Vectors of the first, second, ... numbers behind as many pointers as lanes, for a piece of them.

    What their squares consist of is loaded where it belongs, so that only these have to be transposed: a
    panel of 100 features 0.86, a step of 4-100-3 with 200 rows, whose inputs and targets are read so, too,
    0.90 to 0.92 (in turn).
    """
    piece, lanes = piece_of(emit.block.dtype), emit.block.lanes
    part, spread = ir.VectorType(emit.vector.element, piece), [lane % piece for lane in range(lanes)]
    vectors = []
    for j in range(piece):
        vector = None
        for start in range(0, lanes, piece):
            pointer = emit.builder.bitcast(pointers[start + j], part.as_pointer())
            loaded = emit.builder.load(pointer, align=emit.bytes)
            wide = emit.shuffle(loaded, loaded, spread)
            own = [lane + (lanes if lane >= start else 0) for lane in range(lanes)]
            vector = wide if vector is None else emit.shuffle(vector, wide, own)
        vectors.append(vector)
    return transpose_pieces(emit, vectors)


def column_block(array):
    """The type of a block of some columns of a matrix."""
    count = lanes_of(array.dtype)
    return Block(array.dtype, piece_of(array.dtype), 1, count)


@intrinsic
def block_columns(typing, values, at, stride):
    """block[m, 0] = values[at + m], values[at + m + stride], ... for m < piece: columns of a matrix."""
    block = column_block(values)

    def generate(context, builder, sig, args):
        emit, at, pointers = Emitter(context, builder, block), args[1], []
        for _ in range(block.lanes):
            pointers.append(emit.pointer(sig.args[0], args[0], at))
            at = builder.add(at, args[2])
        return emit.pack(load_columns(emit, pointers))

    return block(values, types.intp, types.intp), generate


@intrinsic
def block_gather_columns(typing, table, rows, at, column):
    """block[m, 0] = table[rows[at], column + m], table[rows[at + 1], column + m], ... for m < piece; table
    (n, I) and rows contiguous.
    """
    block = column_block(table)

    def generate(context, builder, sig, args):
        emit, pointers = Emitter(context, builder, block), []
        width = builder.extract_value(context.make_array(sig.args[0])(context, builder, args[0]).shape, 1)
        for lane in range(block.lanes):
            row = builder.load(emit.pointer(sig.args[1], args[1], args[2], lane))
            pointers.append(emit.pointer(sig.args[0], args[0], builder.add(builder.mul(row, width), args[3])))
        return emit.pack(load_columns(emit, pointers))

    return block(table, rows, types.intp, types.intp), generate


@intrinsic
def block_transpose(typing, block):
    """Block of lanes x 1: result[m][n] = block[n][m].

    Each mask is one instruction of x86 and of Arm. Plain interleaving of whole vectors, which would do as
    well, takes three: 217 ns against 93 for 100 x 16 float32 (benchmarks/micro/dense.py).
    """

    def generate(context, builder, sig, args):
        emit, count, piece = Emitter(context, builder, block), block.lanes, piece_of(block.dtype)
        vectors = [emit.get(args[0], row) for row in range(count)]
        # Exchange the upper right and the lower left of squares, down to squares of 128 bits.
        size = count // 2
        while size >= piece:
            for j in range(count):
                if not j & size:
                    vectors[j], vectors[j + size] = emit.exchange(vectors[j], vectors[j + size], size)
            size //= 2
        # Those are transposed by interleaving: numbers, then pairs of numbers.
        for j in range(0, count, piece):
            vectors[j : j + piece] = transpose_pieces(emit, vectors[j : j + piece])
        return emit.pack(vectors)

    return block(block), generate
