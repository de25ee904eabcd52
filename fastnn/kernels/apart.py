"""Other processes that compile something while this one compiles the rest.

Not a thread: Numba and llvmlite let one thread at a time compile. The processes meet in the folder of
compiled code alone; whatever goes wrong, what isn't there is compiled here.
"""

import contextlib
import gc
import importlib
import itertools
import math
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numba

from fastnn.kernels.cache import environment

PATIENCE = 5.0  # seconds to wait for the other processes, or for as long as this one took
MEMORY = 2**29  # bytes that have to be free for each; one takes 231 MB (docs/engine.md)
CGROUP = Path("/sys/fs/cgroup")
HERE = str(Path(__file__).absolute().parents[2])  # before anybody changes the current folder
PROGRAM = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from fastnn.kernels import apart
apart.main()
"""


def count_helpers():
    """For how many other processes there are a core and memory to spare; none where `sys.executable` isn't
    Python, but what embeds it.

    Numba counts the cores: those that this process may use, or NUMBA_NUM_THREADS, which joblib sets for its
    workers.
    """
    name = Path(sys.executable or "").name.lower()
    is_python = name.startswith("python") and not getattr(sys, "frozen", False)
    cores = numba.config.NUMBA_NUM_THREADS - 1 if is_python else 0
    return int(min(free_memory(), cores * MEMORY) // MEMORY)


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


def deal(missing):
    """Runs of the missing parts, one for each process that is worth starting. This one has the last run to
    compile, which is not among them, and what calls the parts, which takes as long as one of them.
    """
    hands = min(count_helpers() + 1, len(missing)) if len(missing) > 1 else 1
    ends = [(len(missing) + 1) * hand // hands for hand in range(hands)]
    return [missing[begin:end] for begin, end in itertools.pairwise(ends)]


@contextlib.contextmanager
def compiled_apart(runs, parts):
    """Compile runs of these parts, each in another process, during a `with` block, as far as one can be
    started. All are pairs of a part and its signature; a part may call any of them.

    At the end of the block the processes are waited for, at most as long again, or PATIENCE.
    """
    begun, processes = time.monotonic(), []
    try:
        processes += filter(None, (start(names_of(run), names_of(parts)) for run in runs))
        yield
        deadline = time.monotonic() + max(PATIENCE, time.monotonic() - begun)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main():
    """What another process does. With other settings its files would never be looked for."""
    settings, tasks, parts = pickle.load(sys.stdin.buffer)
    gc.disable()  # as in jit.py
    if settings != environment():
        return
    for module, name, signature in parts:
        getattr(importlib.import_module(module), name).declare(signature)
    for module, name, signature in tasks:
        getattr(importlib.import_module(module), name).dispatcher.compile(signature)
