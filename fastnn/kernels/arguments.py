"""What the arguments of an entry point have to be, so that machine code can read them."""

from typing import NamedTuple

import numba
import numpy as np
from numba import types


class Formal(NamedTuple):
    """What a Python value has to be so that machine code can read it."""

    numba_type: types.Type
    classes: type | tuple[type, ...]
    dtype: np.dtype | None = None  # of an array, and so are ndim and flags
    ndim: int = 0
    flags: int = 0  # bits of `ndarray.flags.num` that it needs
    fields: tuple["Formal", ...] = ()  # of a named tuple


# NPY_ARRAY_C_CONTIGUOUS, _ALIGNED and _WRITEABLE of NumPy's C API, part of its stable binary interface.
READABLE, WRITABLE = 0x001 | 0x100, 0x001 | 0x100 | 0x400


def formal_array(array, name, read_only):
    """Formal of any array like this one. Its flags are those it needs, not those it has."""
    flags = READABLE if read_only else WRITABLE
    if array.flags.num & flags != flags:
        rule = "C-contiguous, aligned" + ("" if read_only else ", writable")
        raise TypeError(f"{name} must be an array that is {rule}; got one with flags\n{array.flags}")
    numba_type = types.Array(numba.from_dtype(array.dtype), array.ndim, "C", readonly=read_only)
    return Formal(numba_type, np.ndarray, array.dtype, array.ndim, flags)


def formal_of(value, name, reads, read_only=False):
    """Formal of the argument `name`."""
    read_only = read_only or name in reads
    if isinstance(value, np.ndarray):
        return formal_array(value, name, read_only)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        items = zip(value, value._fields, strict=True)
        fields = tuple(formal_of(item, f"{name}.{field}", reads, read_only) for item, field in items)
        numba_type = types.BaseTuple.from_types([field.numba_type for field in fields], type(value))
        return Formal(numba_type, type(value), fields=fields)
    if isinstance(value, (bool, np.bool_)):
        return Formal(types.boolean, (bool, np.bool_))
    if isinstance(value, (int, np.integer)):
        return Formal(types.int64, (int, np.integer))
    if isinstance(value, (float, np.floating)):
        return Formal(types.float64, (float, int, np.floating, np.integer))
    raise TypeError(f"{name} must be an array, a number or a named tuple of them; got {type(value)}.")


def fits(values, formals):
    """Whether machine code for `formals` can take these values; it would read wrong memory from others."""
    if len(values) != len(formals):
        return False
    for value, (_, classes, dtype, ndim, flags, fields) in zip(values, formals, strict=True):
        if not isinstance(value, classes):
            return False
        if dtype is not None:
            if value.dtype != dtype or value.ndim != ndim or value.flags.num & flags != flags:
                return False
        elif fields and not fits(value, fields):
            return False
    return True


def precision(formals):
    """The type of the first array of floats; None if there is none."""
    for formal in formals:
        found = precision(formal.fields)
        if found is None and formal.dtype is not None and formal.dtype.kind == "f":
            found = formal.dtype
        if found is not None:
            return found
    return None
