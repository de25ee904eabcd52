"""Machine code on disk: one file for each signature of an entry point or a part.

A file's name is the SHA-256 of everything that decides what the machine code is, so nothing has to be
compared or invalidated, and processes can't disturb each other: a file is complete or absent. Whatever goes
wrong, the answer is to compile again. Files are unpickled, that is, executed: only those are read that nobody
else can write.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import sys
import tempfile
import time
import warnings
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

from fastnn.kernels import simd
from fastnn.kernels.interrupts import interrupts_held

FORMAT = 1
SUFFIX = ".fastnn"
DIGEST_BYTES = hashlib.sha256().digest_size
MAX_AGE = 90 * 24 * 3600  # seconds since a file was last used
MAX_BYTES = 256 * 2**20  # of all files together
TOUCH_AFTER = 24 * 3600  # seconds between two notes that a file is in use

# What changes machine code besides the sources and the CPU. Not all of Numba's configuration: joblib sets the
# number of threads in its workers, and they shall find the same files.
CONFIGURATION = (
    *("OPT", "DEBUG", "DEBUGINFO_DEFAULT", "BOUNDSCHECK", "EXTEND_VARIABLE_LIFETIMES", "ENABLE_PROFILING"),
    *("LOOP_VECTORIZE", "SLP_VECTORIZE", "LLVM_REFPRUNE_PASS", "LLVM_REFPRUNE_FLAGS", "DISABLE_INTEL_SVML"),
)

# Entry points and parts of this process: compiled by it, and found on disk.
statistics = {"compiled": 0, "loaded": 0}
_state = {"warned": False}


class CacheWarning(RuntimeWarning):
    """Compiled code can't be kept, so every process compiles again."""


class CacheError(OSError):
    """No file can be read or written; the message says why."""


def warn(reason):
    """At most one warning a process: the first reason is the one to mend."""
    if not _state["warned"]:
        _state["warned"] = True
        message = f"fastnn can't keep its compiled code, so every process compiles it again: {reason}. "
        remedy = "To mend it, set FASTNN_CACHE_DIR to a folder that you, and nobody else, can write to."
        warnings.warn(message + remedy, CacheWarning, stacklevel=2)


def private(status):
    """Whether nobody but us (and the administrator) can write what has this `os.stat` result."""
    if not hasattr(os, "geteuid"):  # Windows: a user's folders are private by default, and modes say nothing
        return True
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022


def prepared(folder):
    """`folder`, made if need be; CacheError if code in it is not to be trusted."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if private(folder.stat()):
            return folder
    except OSError as error:
        raise CacheError(f"{folder}: {error.strerror or error}") from error
    raise CacheError(f"{folder} belongs to somebody else, or others may write to it (chmod go-w)")


def default_folders():
    """The folders that are tried, in this order, where FASTNN_CACHE_DIR is not set."""
    if Path(os.environ.get("XDG_CACHE_HOME", "")).is_absolute():
        yield Path(os.environ["XDG_CACHE_HOME"], "fastnn")
    try:
        if sys.platform == "win32":
            yield Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local", "fastnn")
        elif sys.platform == "darwin":
            yield Path.home() / "Library" / "Caches" / "fastnn"
        else:
            yield Path.home() / ".cache" / "fastnn"
    except RuntimeError:
        pass  # this user has no home
    user = os.geteuid() if hasattr(os, "geteuid") else os.environ.get("USERNAME", "user")
    yield Path(tempfile.gettempdir(), f"fastnn-{user}")


def usable_folder():
    """The folder in use, made if need be; CacheError if there is none."""
    if os.environ.get("FASTNN_CACHE_DIR"):
        return prepared(Path(os.environ["FASTNN_CACHE_DIR"]).absolute())
    reason = "there is no folder for it"
    for folder in default_folders():
        try:
            if os.access(prepared(folder), os.W_OK | os.X_OK):
                return folder
            reason = f"{folder} is read-only"
        except CacheError as error:
            reason = str(error)
    raise CacheError(reason)


def cache_folder():
    """Folder of the compiled code, or None where there is none that can be used."""
    try:
        return usable_folder()
    except OSError:
        return None


class Sources:
    """The source files of a folder as they were when its first entry point or part was defined."""

    def __init__(self, folder):
        self.folder = folder
        self.stamps = self.current_stamps()
        digest = hashlib.sha256()
        for name in self.stamps:
            content = (folder / name).read_bytes()
            digest.update(f"{name}:{len(content)}:".encode() + content)
        self.digest = digest.hexdigest()

    def current_stamps(self):
        """Size and time of each file; CacheError where there are none, as in a zip archive."""
        stamps = {}
        for path in sorted(self.folder.rglob("*.py")):
            status = path.stat()
            stamps[path.relative_to(self.folder).as_posix()] = (status.st_size, status.st_mtime_ns)
        if not stamps:
            raise CacheError(f"there are no source files in {self.folder}")
        return stamps

    def unchanged(self):
        """Whether the digest still tells which code this process has imported."""
        return self.current_stamps() == self.stamps


@functools.cache
def sources_in(folder):
    """Sources of a folder, or None where they can't be read."""
    try:
        return Sources(folder)
    except OSError:
        return None


def environment():
    """Versions and settings that machine code depends on."""
    settings = [(name, repr(getattr(numba.config, name, None))) for name in CONFIGURATION]
    settings.append(("NUMBA_OPT", os.environ.get("NUMBA_OPT")))  # 3 and 'max' look the same in numba.config
    versions = sys.version, numba.__version__, llvmlite.__version__, np.__version__
    return (*versions, settings, simd.VECTOR_BITS)


def read(path):
    """Body of a file, or None if there is none or it is damaged."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read()
    except FileNotFoundError:
        return None
    if not private(status):
        raise CacheError(f"{path} belongs to somebody else, or others may write to it")
    digest, body = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if digest != hashlib.sha256(path.name.encode() + body).digest():
        return None
    if time.time() - status.st_mtime > TOUCH_AFTER:
        os.utime(path)
    return body


def write(path, body):
    """Put a file in its place in one step, so that a reader finds all of it or nothing."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=SUFFIX)
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(path.name.encode() + body).digest() + body)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        # Windows lets nobody replace a file while another process reads it; it has the same content then.
        if not (sys.platform == "win32" and path.exists()):
            raise


def sweep(folder):
    """Delete the files that were not used for longest: those past MAX_AGE, and what exceeds MAX_BYTES."""
    files, total, now = [], 0, time.time()
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # another process sweeps, too
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    for used, size, path in sorted(files, reverse=True):
        total += size
        if total > MAX_BYTES or now - used > MAX_AGE:
            path.unlink(missing_ok=True)


class FunctionCache:
    """What Numba's dispatcher asks for code before it compiles (`dispatcher._cache`), for one function."""

    def __init__(self, function):
        self.function = function
        folders = {Path(__file__).parent, Path(function.__code__.co_filename).absolute().parent}
        self.sources = [sources_in(folder) for folder in sorted(folders)]

    @property
    def cache_path(self):
        return str(cache_folder())

    def path(self, signature, codegen):
        """The file for a signature, or None if sources were edited while this process runs."""
        name = f"{self.function.__module__}.{self.function.__qualname__}"
        if None in self.sources:
            raise CacheError(f"the source file of {name} can't be read")
        if not all(sources.unchanged() for sources in self.sources):
            return None
        digests = [sources.digest for sources in self.sources]
        key = (FORMAT, digests, name, str(signature), codegen.magic_tuple(), environment())
        return usable_folder() / (hashlib.sha256(repr(key).encode()).hexdigest() + SUFFIX)

    def misses(self, signature):
        """Whether there is no file for a signature, though there could be one."""
        try:
            path = self.path(signature, cpu_target.target_context.codegen())
            return path is not None and not path.exists() and os.access(path.parent, os.W_OK | os.X_OK)
        except OSError:
            return False

    def load_overload(self, signature, target_context):
        """The compiled function for a signature, or None."""
        target_context.refresh()
        try:
            path = self.path(signature, target_context.codegen())
            body = read(path) if path else None
            with interrupts_held():
                result = body and CompileResult._rebuild(target_context, *pickle.loads(body))
        except Exception as error:
            warn(error)
            return None
        statistics["loaded"] += result is not None
        return result

    def save_overload(self, signature, result):
        """Keep a function that was just compiled."""
        statistics["compiled"] += 1
        try:
            if result.lifted or result.library.has_dynamic_globals:
                raise CacheError(f"{self.function.__qualname__} refers to an address in this process")
            path = self.path(signature, result.codegen)
            if path:
                write(path, dumps(result._reduce()))
                sweep(path.parent)
        except Exception as error:
            warn(error)

    def enable(self):
        """Part of the dispatcher's protocol; FASTNN_CACHE_DIR is the only switch."""

    disable = flush = enable
