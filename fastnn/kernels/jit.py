"""The two decorators of the engine, and its only compiler flags.

`kernel` compiles a function for other kernels. `entry` compiles one that Python calls: the arguments are
checked, and the machine code is kept on disk (cache.py).
"""

import functools
import os
from typing import NamedTuple

import numba
import numpy as np
from numba import types
from numba.core.compiler_lock import global_compiler_lock

from fastnn.kernels.cache import EntryCache

# Not `fastmath=True`: with nnan and ninf, isnan() is always false. This set was as fast.
FAST = frozenset({"contract", "reassoc", "nsz", "arcp", "afn"})
# For the reduction of a range, where x - n * high - n * low must not be rearranged.
EXACT = frozenset({"contract"})

# A child forked while another thread compiles would wait for ever at its first compilation.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def kernel(function=None, *, exact=False):
    """Compile a function when it is first called; `exact=True` keeps the order of its operations."""
    if function is None:
        return functools.partial(kernel, exact=exact)
    return numba.njit(error_model="numpy", nogil=True, fastmath=set(EXACT if exact else FAST))(function)


def entry(function=None, *, reads=()):
    """Compile a function that Python calls, once for each precision.

    The first call with float32 arrays, and the first with float64 arrays, fixes a signature: arrays are
    C-contiguous, integers int64, other numbers float64, and named tuples consist of such things. The first
    array of floats tells the precision of a call. A later call that doesn't fit raises TypeError; it never
    compiles.

    `reads` names the arguments ("X"), or fields of named tuples ("data.X"), that are only read. These may be
    read-only, like the memory maps that joblib hands to its workers; the compiler refuses to write to them.
    All others have to be writable. So the flags of an array never lead to another compilation.

    >>> @entry(reads=["x"])
    ... def double(x, out):
    ...     for i in range(x.size):
    ...         out[i] = 2 * x[i]
    """
    if function is None:
        return functools.partial(entry, reads=reads)
    return Entry(function, reads)


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


class Entry:
    """A compiled function that Python calls, as made by `entry`. Arguments are positional.

    Numba's own dispatch compiles again for every combination of read-only arrays: it turns a writable array
    into a read-only one, but never a named tuple of arrays.
    """

    def __init__(self, function, reads):
        functools.update_wrapper(self, function)
        self.parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
        self.reads = frozenset(reads)
        unknown = sorted(name for name in self.reads if name.partition(".")[0] not in self.parameters)
        if unknown:
            raise TypeError(f"{function.__qualname__}() has no argument {unknown[0]!r} to read.")
        self.dispatcher = kernel(function)
        self.dispatcher._cache = EntryCache(function)
        # Of (formals, machine code). Replaced and never changed, so that any thread can read it.
        self.specialisations = ()

    def __call__(self, *args):
        for formals, code in self.specialisations:
            if fits(args, formals):
                return code(*args)
        return self.specialise(args)(*args)

    def specialise(self, args):
        """Machine code for arguments like these, from disk or compiled."""
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.__qualname__}() takes {len(self.parameters)} arguments; got {len(args)}.")
        items = zip(args, self.parameters, strict=True)
        formals = tuple(formal_of(value, name, self.reads) for value, name in items)
        signature = tuple(formal.numba_type for formal in formals)
        with global_compiler_lock:
            for others, code in self.specialisations:
                if precision(others) == precision(formals):
                    self.check_same(signature, tuple(formal.numba_type for formal in others))
                    return code
            code = self.dispatcher.compile(signature)
            self.specialisations += ((formals, code),)
        return code

    def check_same(self, signature, expected):
        """TypeError that names the first argument of another type than the machine code takes."""
        for name, found, wanted in zip(self.parameters, signature, expected, strict=True):
            if found != wanted:
                raise TypeError(f"{self.__qualname__}(): {name} must be {wanted}; got {found}.")
