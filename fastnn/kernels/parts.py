"""Parts: functions that are compiled apart from the entry points that call them.

A part has a file of its own on disk, so several entry points share it, and one process can compile it while
another compiles the rest. Its arguments travel as one pointer: by value a step would copy 500 words.
"""

import ctypes
import functools
import hashlib
import inspect

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

from fastnn.kernels.cache import FunctionCache
from fastnn.kernels.jit import dispatcher_for

POINTER = ir.IntType(8).as_pointer()


class Reference(types.Type):
    """Where a value lies in the frame of a caller."""

    def __init__(self, value):
        self.value = value
        super().__init__(name=f"Reference({value})")


@register_model(Reference)
class ReferenceModel(models.PrimitiveModel):
    def __init__(self, manager, reference):
        super().__init__(manager, reference, POINTER)


@intrinsic
def reference(typing_context, value):
    """Reference to a copy of the value, for as long as the function runs that calls this."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(cgutils.alloca_once_value(builder, arguments[0]), POINTER)

    return Reference(value)(value), generate


@intrinsic
def dereference(typing_context, pointer):
    """The value that a reference leads to."""

    def generate(context, builder, signature, arguments):
        value_type = context.get_value_type(signature.return_type)
        return builder.load(builder.bitcast(arguments[0], value_type.as_pointer()))

    return (pointer.value(pointer), generate) if isinstance(pointer, Reference) else None


def part(*given, when=None):
    """Compile a function apart, once for each precision. Every entry point that calls it has to list it, also
    where the call is in another part.

    `given` names arguments of the entry point. The part takes a reference to a tuple of them, and integers;
    it returns nothing.

    `when(...)` tells whether a call of the entry point may come to this part, which isn't compiled before
    one does: for what most programs never need. Its parameters are names of arguments as well.

    >>> @part("x", "out")
    ... def double(given, first, last):
    ...     x, out = dereference(given)
    ...     for i in range(first, last):
    ...         out[i] = 2 * x[i]
    >>> @entry(reads=["x"], parts=[double])
    ... def double_all(x, out):
    ...     double(reference((x, out)), 0, x.size)
    """
    return functools.partial(Part, given, when)


class Part:
    """A function compiled by `part`.

    Callers go through a pointer that they find by name. So they can be compiled, or read from disk, before
    there is anything at its end.
    """

    def __init__(self, given, when, function):
        functools.update_wrapper(self, function)
        self.given, self.when = given, when
        self.decisive = tuple(inspect.signature(when).parameters) if when else ()
        self.n_numbers = len(inspect.signature(function).parameters) - 1
        self.dispatcher = dispatcher_for(function, no_cpython_wrapper=True)
        self.cache = self.dispatcher._cache = FunctionCache(function)
        self.call = self._make_call()
        self._slots = {}  # of (name, pointer) for each type of reference

    @property
    def _numba_type_(self):
        return cpu_target.typing_context.resolve_value_type(self.call)

    def signature_for(self, formals):
        """Signature for an entry point whose arguments are these, a dictionary by name."""
        chosen = [formals[name] for name in self.given]
        signature = (Reference(types.Tuple([formal.numba_type for formal in chosen])),)
        signature += (types.int64,) * self.n_numbers
        self.declare(signature)
        return signature

    def declare(self, signature):
        """Make a place for the address of the code, so that callers can be compiled."""
        given = signature[0]
        if given not in self._slots:
            digest = hashlib.sha256(str(given).encode()).hexdigest()
            symbol = f"fastnn.{self.__module__}.{self.__qualname__}.{digest[:16]}"
            address = ctypes.c_void_p()
            llvm.add_symbol(symbol, ctypes.addressof(address))
            self._slots[given] = symbol, address

    def is_needed(self, arguments):
        """Whether a call of an entry point with these arguments, a dictionary by name, may come here."""
        return self.when is None or self.when(*[arguments[name] for name in self.decisive])

    def is_ready(self, signature):
        """Whether callers find machine code."""
        return self._slots[signature[0]][1].value is not None

    def is_missing(self, signature):
        """Whether the machine code is neither in this process nor on disk."""
        return signature not in self.dispatcher.overloads and self.cache.misses(signature)

    def compile(self, signature):
        """Get the machine code for a signature, from disk if it is there."""
        self.dispatcher.compile(signature)
        compiled = self.dispatcher.overloads[signature]
        _, address = self._slots[signature[0]]
        address.value = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)

    def _make_call(self):
        """What calls of this part are compiled to."""

        def define(typing_context, given, *numbers):
            if given not in self._slots:
                return None
            symbol, _ = self._slots[given]

            def generate(context, builder, signature, arguments):
                kind = context.call_conv.get_function_type(types.none, signature.args)
                module = builder.module
                slot = module.globals.get(symbol) or ir.GlobalVariable(module, POINTER, symbol)
                code = builder.load(builder.bitcast(slot, kind.as_pointer().as_pointer()))
                status, _ = context.call_conv.call_function(
                    builder, code, types.none, signature.args, arguments
                )
                with cgutils.if_unlikely(builder, status.is_error):  # NUMBA_BOUNDSCHECK
                    context.call_conv.return_status_propagate(builder, status)
                return context.get_dummy_value()

            return types.none(given, *[types.int64] * len(numbers)), generate

        # Numba binds arguments by the signature that it finds, and the part's own has names for all of them.
        parameters = inspect.signature(self.__wrapped__).parameters.values()
        context = inspect.Parameter("typing_context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        define.__signature__ = inspect.Signature([context, *parameters])
        return intrinsic(define)
