"""The two decorators of the engine, and its only compiler flags.

`kernel` compiles a function for other kernels. `entry` compiles one that Python calls: the arguments are
checked, and the machine code is kept on disk (cache.py).
"""

import contextlib
import functools
import gc
import os

import llvmlite.binding as llvm
import numba
from numba import types
from numba.core import config, typed_passes, untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager

from fastnn.kernels.apart import compiled_apart, deal
from fastnn.kernels.arguments import fits, formal_of, precision
from fastnn.kernels.cache import FunctionCache
from fastnn.kernels.interrupts import interrupts_held
from fastnn.kernels.resolution import RememberingContext
from fastnn.kernels.simd import VECTOR_BITS

if config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError("fastnn is compiled by Numba, which NUMBA_DISABLE_JIT=1 forbids: unset that variable.")

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


def kernel(function=None, *, exact=False, embed=False):
    """Compile a function when it is first called; `exact=True` keeps the order of its operations.

    `embed=True` is for kernels of a few instructions, and for those that take blocks or named tuples of
    arrays: these travel by value, some 200 words a call, and LLVM by itself may leave it at that. For one
    sample at a time it was worth 2.7 -> 2.4 us (benchmarks/micro/sample.py).
    """
    if function is None:
        return functools.partial(kernel, exact=exact, embed=embed)
    return Kernel(function, EXACT if exact else FAST, embed)


def entry(function=None, *, reads=(), parts=()):
    """Compile a function that Python calls, once for each precision.

    The first call with float32 arrays, and the first with float64 arrays, fixes a signature: arrays are
    C-contiguous, integers int64, other numbers float64, and named tuples consist of such things. The first
    array of floats tells the precision of a call. A later call that doesn't fit raises TypeError; it never
    compiles.

    `reads` names the arguments ("X"), or fields of named tuples ("data.X"), that are only read. These may be
    read-only, like the memory maps that joblib hands to its workers; the compiler refuses to write to them.
    All others have to be writable. So the flags of an array never lead to another compilation.

    `parts` are the parts (parts.py) that it calls. Other processes may compile the first of them: with one,
    half of them, which should take as long as the rest and the entry point itself.

    >>> @entry(reads=["x"])
    ... def double(x, out):
    ...     for i in range(x.size):
    ...         out[i] = 2 * x[i]
    """
    if function is None:
        return functools.partial(entry, reads=reads, parts=parts)
    return Entry(function, reads, parts)


def dispatcher_for(function, flags=FAST, **others):
    """Numba's dispatcher of a function, with the options that all have and some others."""
    options = {
        "error_model": "numpy",
        "nogil": True,
        "fastmath": set(flags),
        "no_cfunc_wrapper": True,
        # References are not counted: whoever calls an entry holds its arrays, and kernels make none. Numba
        # counts one for each slice, in atomic steps: one sample of 64-100-10 took 2.3 us in place of 1.5
        # (benchmarks/micro/sample.py), and compiling 10 % longer.
        "_nrt": False,
        "pipeline_class": WholeVectorCompiler,
    }
    return numba.njit(**(options | others))(function)


@contextlib.contextmanager
def no_garbage_collection():
    """Compiling makes millions of objects that live on, and is not the time to look for cycles among them.

    Before there were parts, a first fit took 11.5 s in place of 12.5, and 417 MB in place of 347 (a trial).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class WholeVectorLibrary(JITCodeLibrary):
    """Code whose loops become the widest vectors, like the explicit ones.

    LLVM takes half of AVX-512's width for Intel's CPUs, whose clock once suffered: tanh 0.40 -> 0.33 ns a
    number with all of it, logistic 0.54 -> 0.44, in double 0.98 -> 0.77 and 1.33 -> 1.02
    (benchmarks/micro/elementary.py).
    """

    def add_ir_module(self, ir_module):
        for function in ir_module.functions if VECTOR_BITS == 512 else ():
            # Of all that LLVM knows, llvmlite lets pass only attributes without a value.
            set.add(function.attributes, '"prefer-vector-width"="512"')
        super().add_ir_module(ir_module)

    def _finalize_specific(self):
        with interrupts_held():
            super()._finalize_specific()


class CalleeLibrary(WholeVectorLibrary):
    """Code of a kernel that is linked into its callers and has no machine code of its own."""

    def _optimize_final_module(self):
        """Only kernels that call no other: the rest would be optimised again in every caller up to the entry.

        Without any, the training loop ran at half the speed (benchmarks/micro/compile.py): loops over vectors
        have to be simplified before they are inlined.
        """
        if not any(isinstance(library, CalleeLibrary) for library in self._linking_libraries):
            super()._optimize_final_module()

    def _finalize_final_module(self):
        self._shared_module = self._final_module.clone()
        for function in self._shared_module.functions:
            if not function.is_declaration and function.linkage == llvm.Linkage.external:
                function.linkage = llvm.Linkage.linkonce_odr
        # What is left for the machine code generator has no functions: 1.2 of 13.4 s.
        for function in self._final_module.functions:
            if not function.is_declaration:
                function.linkage = llvm.Linkage.internal
        passes = llvm.create_new_module_pass_manager()
        passes.add_global_dead_code_eliminate_pass()
        tuning = llvm.create_pipeline_tuning_options()
        passes.run(self._final_module, llvm.create_pass_builder(self._codegen._tm, tuning))
        super()._finalize_final_module()


class WholeVectorCompiler(Compiler):
    """Numba's compiler with another library to compile into, and a memory for what operations do."""

    LIBRARY = WholeVectorLibrary

    def __init__(self, typing, target, library, *others):
        if library is None:
            library = self.LIBRARY(target.codegen(), "kernel")
            library.enable_object_caching()  # as Numba does with its own: what is on disk comes from there
        super().__init__(typing, target, library, *others)
        self.state.typingctx = RememberingContext(typing, self.state.flags)


class CalleeCompiler(WholeVectorCompiler):
    """The same for kernels, with the passes that one needs.

    Left out are those for closures, `with`, inlined overloads, unrolled tuples and array expressions, which
    no kernel has: 0.5 of 14 s.
    """

    LIBRARY = CalleeLibrary
    PASSES = (
        *(untyped_passes.TranslateByteCode, untyped_passes.FixupArgs, untyped_passes.IRProcessing),
        *(untyped_passes.RewriteSemanticConstants, untyped_passes.DeadBranchPrune),
        *(untyped_passes.GenericRewrites, untyped_passes.ReconstructSSA),
        *(typed_passes.NopythonTypeInference, typed_passes.PreLowerStripPhis, typed_passes.IRLegalization),
        *(typed_passes.AnnotateTypes, typed_passes.NativeLowering, typed_passes.NoPythonBackend),
    )

    def define_pipelines(self):
        passes = PassManager("kernel")
        for step in self.PASSES:
            passes.add_pass(step, step.__name__)
        passes.finalize()
        return [passes]


class Kernel:
    """A function compiled by `kernel`. Kernels call `callee`; Python calls `dispatcher`, mostly in tests.

    Numba makes machine code and two wrappers for every function, although what runs is the code that is
    compiled once more with the caller. Leaving them out, optimising most callees only in the entry, and not
    compiling a kernel again for every literal argument takes the training loop from 35 s of CPU to 11 s. It
    runs at the same speed (benchmarks/micro/compile.py).
    """

    def __init__(self, function, flags, embed=False):
        functools.update_wrapper(self, function)
        self.py_func = function
        self.flags = flags
        self.callee = dispatcher_for(
            function, flags, forceinline=embed, no_cpython_wrapper=True, pipeline_class=CalleeCompiler
        )
        resolve = self.callee.get_call_template
        # A literal argument, as in f(x, 0), is no reason to compile f once more.
        self.callee.get_call_template = lambda args, kws: resolve(tuple(map(types.unliteral, args)), kws)

    @property
    def _numba_type_(self):
        return self.callee._numba_type_

    @functools.cached_property
    def dispatcher(self):
        """The same function for Python to call.

        It counts references, since it may return a slice. What it calls doesn't, so no kernel that it calls
        may return one.
        """
        return dispatcher_for(self.py_func, self.flags, _nrt=True)

    def __call__(self, *args):
        return self.dispatcher(*args)


class Entry:
    """A compiled function that Python calls, as made by `entry`. Arguments are positional.

    Numba's own dispatch compiles again for every combination of read-only arrays: it turns a writable array
    into a read-only one, but never a named tuple of arrays.
    """

    def __init__(self, function, reads, parts):
        functools.update_wrapper(self, function)
        self.parts = parts
        self.parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
        self.reads = frozenset(reads)
        unknown = sorted(name for name in self.reads if name.partition(".")[0] not in self.parameters)
        if unknown:
            raise TypeError(f"{function.__qualname__}() has no argument {unknown[0]!r} to read.")
        self.dispatcher = dispatcher_for(function)
        self.dispatcher._cache = FunctionCache(function)
        # Of (formals, machine code, parts with signatures). Replaced and never changed, so that any thread
        # can read it.
        self.specialisations = ()

    def __call__(self, *args):
        return self.code_for(*args)(*args)

    def code_for(self, *args):
        """Machine code that fits these arguments, for callers that make the same call again and again.

        Checking some 25 arrays takes 10 us, the call itself 3. The code checks nothing: it may be called with
        these arguments, or others of the same types, precision and contiguity that need no other parts: of a
        part that isn't compiled there is no code to jump to.
        """
        for formals, code, parts in self.specialisations:
            if fits(args, formals):
                self.complete(parts, args)
                return code
        return self.specialise(args)

    def needed(self, parts, args):
        """Those parts that a call with these arguments may come to, and for which there is no code yet."""
        by_name = dict(zip(self.parameters, args, strict=True))
        return [pair for pair in parts if pair[0].is_needed(by_name) and not pair[0].is_ready(pair[1])]

    def complete(self, parts, args):
        """Compile those parts that these arguments need, and no call before."""
        if needed := self.needed([pair for pair in parts if pair[0].when], args):
            with global_compiler_lock, no_garbage_collection():
                self.compile(needed, parts)

    def specialise(self, args):
        """Machine code for arguments like these, from disk or compiled."""
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.__qualname__}() takes {len(self.parameters)} arguments; got {len(args)}.")
        items = zip(args, self.parameters, strict=True)
        formals = tuple(formal_of(value, name, self.reads) for value, name in items)
        signature = tuple(formal.numba_type for formal in formals)
        with global_compiler_lock:
            for others, code, parts in self.specialisations:
                if precision(others) == precision(formals):
                    self.check_same(signature, tuple(formal.numba_type for formal in others))
                    self.complete(parts, args)
                    return code
            by_name = dict(zip(self.parameters, formals, strict=True))
            parts = [(part, part.signature_for(by_name)) for part in self.parts]
            with no_garbage_collection():
                code = self.compile(self.needed(parts, args), parts, signature)
            self.specialisations += ((formals, code, parts),)
        return code

    def compile(self, needed, parts, signature=None):
        """Machine code for the parts that are `needed`, and for the entry point with this signature, if any.

        Of the needed parts that are neither here nor on disk, other processes compile some (figures in
        docs/engine.md). Both lists are pairs of a part and its signature.
        """
        missing = [(part, its_signature) for part, its_signature in needed if part.is_missing(its_signature)]
        runs = deal(missing)
        elsewhere = [pair for run in runs for pair in run]
        with compiled_apart(runs, parts):
            for part, its_signature in needed:
                if (part, its_signature) not in elsewhere:
                    part.compile(its_signature)
            code = self.dispatcher.compile(signature) if signature else None
        for part, its_signature in elsewhere:
            part.compile(its_signature)
        return code

    def check_same(self, signature, expected):
        """TypeError that names the first argument of another type than the machine code takes."""
        for name, found, wanted in zip(self.parameters, signature, expected, strict=True):
            if found != wanted:
                raise TypeError(f"{self.__qualname__}(): {name} must be {wanted}; got {found}.")
