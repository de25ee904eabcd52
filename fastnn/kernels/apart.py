"""Another process that compiles something while this one compiles the rest.

Not a thread: Numba and llvmlite let one thread at a time compile. The processes meet in the folder of
compiled code alone; whatever goes wrong, what isn't there is compiled here.
"""

import contextlib
import gc
import importlib
import math
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numba

from fastnn.kernels.cache import environment

PATIENCE = 5.0  # seconds to wait for the other process, or for as long as this one took
MEMORY = 2**29  # bytes that have to be free; the other process takes 231 MB (docs/engine.md)
CGROUP = Path("/sys/fs/cgroup")
HERE = str(Path(__file__).absolute().parents[2])  # before anybody changes the current folder
PROGRAM = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from fastnn.kernels import apart
apart.main()
"""


def can_help():
    """Whether there are a core and memory to spare, and `sys.executable` is Python, not what embeds it.

    Numba counts the cores: those that this process may use, or NUMBA_NUM_THREADS, which joblib sets for its
    workers.
    """
    name = Path(sys.executable or "").name.lower()
    is_python = name.startswith("python") and not getattr(sys, "frozen", False)
    return is_python and numba.config.NUMBA_NUM_THREADS > 1 and free_memory() >= MEMORY


def free_memory():
    """Bytes that are free on this machine and in its outermost control group, if this is Linux; else
    infinity.
    """
    free = math.inf
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = 1024 * int(line.split()[1])
    with contextlib.suppress(OSError, ValueError):  # "max": there is no limit
        limit, used = (int((CGROUP / f"memory.{name}").read_text("ascii")) for name in ("max", "current"))
        free = min(free, limit - used)
    return free


def module_path():
    """Where the other process finds modules: as this one, but not in the folder that the user happens to be
    in.
    """
    absolute = [entry for entry in sys.path if isinstance(entry, str) and Path(entry).is_absolute()]
    return [*map("".join, absolute), HERE]  # of plain strings: others may not be known there


def start(tasks, parts):
    """The process, with its tasks; None where none can be started."""
    message = pickle.dumps(module_path()) + pickle.dumps((environment(), tasks, parts))
    isolated = "-I" if sys.flags.ignore_environment else "-P"
    nowhere, no_window = subprocess.DEVNULL, getattr(subprocess, "CREATE_NO_WINDOW", 0)
    streams = {"stdin": subprocess.PIPE, "stdout": nowhere, "stderr": nowhere}
    try:
        process = subprocess.Popen(
            [sys.executable, isolated, "-c", PROGRAM], **streams, creationflags=no_window
        )
    except OSError:
        return None
    with contextlib.suppress(OSError), process.stdin:  # where it has ended already
        process.stdin.write(message)
    return process


def names_of(parts):
    """Where another process finds them."""
    return [(part.__module__, part.__qualname__, signature) for part, signature in parts]


@contextlib.contextmanager
def compiled_apart(chosen, parts):
    """Compile the chosen ones of these parts in another process during a `with` block, as far as there can be
    one. Both are pairs of a part and its signature; a part may call any of them.

    At the end of the block the process is waited for, at most as long again, or PATIENCE.
    """
    begun, process = time.monotonic(), None
    try:
        process = start(names_of(chosen), names_of(parts)) if chosen and can_help() else None
        yield
        if process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(PATIENCE, time.monotonic() - begun))
    finally:
        if process:
            process.kill()
            process.wait()


def main():
    """What the other process does. With other settings its files would never be looked for."""
    settings, tasks, parts = pickle.load(sys.stdin.buffer)
    gc.disable()  # as in jit.py
    if settings != environment():
        return
    for module, name, signature in parts:
        getattr(importlib.import_module(module), name).declare(signature)
    for module, name, signature in tasks:
        getattr(importlib.import_module(module), name).dispatcher.compile(signature)
