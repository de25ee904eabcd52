"""Arrays without reference counts, for the length of a call.

Numba counts references to every slice, in atomic steps that take longer than small pieces of work. The caller
of an entry point holds its arrays anyway. Stripped at the start, no slice of them is counted: 64-100-10, one
sample, 2.3 -> 1.5 us (benchmarks/micro/sample.py).
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _strip(context, builder, kind, value):
    """The same array, or tuple of arrays, that owns nothing."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = ir.Constant(array.meminfo.type, None)
        array.parent = ir.Constant(array.parent.type, None)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        items = zip(kind, cgutils.unpack_tuple(builder, value), strict=True)
        return context.make_tuple(builder, kind, [_strip(context, builder, *item) for item in items])
    return value


@intrinsic
def borrow(typing, value):
    """The same array, or named tuple of arrays, uncounted. It must not outlive the caller's."""

    def generate(context, builder, sig, args):
        return _strip(context, builder, sig.args[0], args[0])

    return value(value), generate
