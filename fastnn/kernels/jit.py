"""The two decorators of the engine, and the only compiler flags."""

import functools

import numba

from fastnn.kernels.cache import EntryCache

FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}
EXACT = {"contract"}


def kernel(function=None, *, exact=False):
    """Compile lazily with the engine's flags; `exact=True` keeps the order of operations."""
    if function is None:
        return functools.partial(kernel, exact=exact)
    return numba.njit(error_model="numpy", nogil=True, fastmath=EXACT if exact else FAST)(function)


def entry(function=None, *, writes=()):
    """A kernel that Python calls: its machine code is kept on disk."""
    if function is None:
        return functools.partial(entry, writes=writes)
    dispatcher = kernel(function)
    dispatcher._cache = EntryCache(function)
    return dispatcher
