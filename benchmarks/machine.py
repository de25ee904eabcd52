"""What a measurement was made on and with: processor, system, versions, date, commit."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import joblib

from fastnn.cli.info import cpu_model

PACKAGES = ("fastnn", "numpy", "numba", "llvmlite", "scipy", "scikit-learn")
RIVAL_PACKAGES = ("torch", "jax", "jaxlib", "onnxruntime")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def describe() -> dict[str, str]:
    """The machine, one fact an entry."""
    limits = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
    return {
        "processor": cpu_model(),
        "cores": f"{joblib.cpu_count()} usable",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "thread limits": ", ".join(limits) or "none set",
        "load at the start": load(),
    }


def load() -> str:
    """Processes that want a core, averaged over one minute: above the number of cores, others are at work
    too."""
    try:
        return f"{os.getloadavg()[0]:.1f} processes on {joblib.cpu_count()} cores"
    except (AttributeError, OSError):
        return "unknown"


def versions() -> dict[str, str]:
    """Of Python, of fastnn and what it stands on, and of the rivals that are installed."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *RIVAL_PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            if name == "fastnn":
                import fastnn

                found[name] = fastnn.__version__
    return found


def commit() -> str:
    """The commit that the working tree is at, with a mark if it was changed; 'unknown' outside a clone."""
    folder = Path(__file__).parent
    try:
        named = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return named.stdout.strip()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def forget_peak() -> None:
    """Let the peak of memory begin anew at what is in use now, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Most bytes that this process has had in memory so far; 0 where the system doesn't tell."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: a process inherits that from the one that started it.
        lines = [line.split() for line in status.read_text().splitlines()]
        return next((int(words[1]) * 1024 for words in lines if words and words[0] == "VmHWM:"), 0)
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
