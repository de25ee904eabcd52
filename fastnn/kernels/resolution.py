"""What an operation does to some types, found once.

Numba looks for it anew at every line: it tries the templates of the operation one after the other, 14 for
`x[i]` before that of arrays, and compares some 30 compiler flags at each. A first fit looks 6,600 times for
680 different things: 0.83 of its CPU time without (in turn; docs/engine.md).
"""

from typing import Any

from numba import types

# For flags: (operation, types of its arguments, and those with names) -> signature.
found_with: dict[Any, dict[Any, Any]] = {}


class RememberingContext:
    """Numba's typing context, for the type inference of one compilation with these flags.

    What was found belongs to the flags, since what is compiled on the way takes them over. A signature never
    changes, and an error is not remembered.
    """

    def __init__(self, context, flags):
        self.context = context
        self.found = found_with.setdefault(flags.copy(), {})

    def __getattr__(self, name):
        return getattr(self.context, name)

    def resolve_function_type(self, function, args, kws):
        """Signature of a call; of kernels Numba itself remembers what it has compiled."""
        if isinstance(function, types.Type) and not isinstance(function, types.Function):
            return self.context.resolve_function_type(function, args, kws)
        key = function, args, tuple(kws.items())
        if key not in self.found:
            self.found[key] = self.context.resolve_function_type(function, args, kws)
        return self.found[key]

    def resolve_setitem(self, target, index, value):
        """Signature of target[index] = value."""
        key = "setitem", target, index, value
        if key not in self.found:
            self.found[key] = self.context.resolve_setitem(target, index, value)
        return self.found[key]
