"""Another process that compiles something while this one compiles the rest.

Not a thread: Numba and llvmlite let one thread at a time compile. The processes meet in the folder of
compiled code alone; whatever goes wrong, what isn't there is compiled here.
"""

import contextlib
import gc
import importlib
import math
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 10.0  # seconds to wait for the other process once this one is ready
MEMORY = 2**29  # bytes that have to be free; the other process takes 231 MB (docs/engine.md)
CGROUP = Path("/sys/fs/cgroup")
# Modules are found as here; -P: none in the folder that the user happens to be in.
PROGRAM = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from fastnn.kernels import apart
apart.main()
"""


def can_help():
    """Whether there are a core and memory to spare, and `sys.executable` is Python, not what embeds it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = Path(sys.executable or "").name.lower()
    is_python = name.startswith("python") and not getattr(sys, "frozen", False)
    return is_python and cores > 1 and free_memory() >= MEMORY


def free_memory():
    """Bytes that Linux says are free, on this machine and in this container; elsewhere no limit is known."""
    free = math.inf
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = 1024 * int(line.split()[1])
    with contextlib.suppress(OSError, ValueError):  # "max": there is no limit
        limit, used = (int((CGROUP / f"memory.{name}").read_text("ascii")) for name in ("max", "current"))
        free = min(free, limit - used)
    return free


def start(message):
    """The process, with its task; None where none can be started."""
    nowhere, no_window = subprocess.DEVNULL, getattr(subprocess, "CREATE_NO_WINDOW", 0)
    streams = {"stdin": subprocess.PIPE, "stdout": nowhere, "stderr": nowhere}
    try:
        process = subprocess.Popen([sys.executable, "-P", "-c", PROGRAM], **streams, creationflags=no_window)
    except OSError:
        return None
    with contextlib.suppress(OSError), process.stdin:  # where it has ended already
        process.stdin.write(message)
    return process


@contextlib.contextmanager
def compiled_apart(tasks):
    """Compile functions in another process during a `with` block, as far as there can be one.

    `tasks` are pairs of a function with a `dispatcher`, to be found in its module, and a signature. At the
    end of the block the process is waited for, since it should be ready by then, but not for ever.
    """
    names = [(function.__module__, function.__qualname__, signature) for function, signature in tasks]
    process = start(pickle.dumps(sys.path) + pickle.dumps(names)) if names and can_help() else None
    begun = time.monotonic()
    try:
        yield
        if process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=time.monotonic() - begun + PATIENCE)
    finally:
        if process:
            process.kill()
            process.wait()


def main():
    """What the other process does."""
    gc.disable()  # as in jit.py
    for module, name, signature in pickle.load(sys.stdin.buffer):
        getattr(importlib.import_module(module), name).dispatcher.compile(signature)
