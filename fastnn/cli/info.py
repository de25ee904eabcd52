"""`info`: what this machine and this installation bring to a run."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from fastnn import __version__
from fastnn.kernels import cache, simd
from fastnn.threads import usable_threads

_PACKAGES = ("numpy", "numba", "llvmlite", "scikit-learn", "scipy")


def run(options: argparse.Namespace) -> int:
    """Print one fact a line."""
    facts = {
        "fastnn": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        "system": platform.platform(),
        "cpu": cpu_model(),
        "vectors": vectors(simd.VECTOR_BITS),
        "threads": f"{usable_threads()} usable",
        "cache": describe_cache(cache.cache_folder()),
    }
    width = max(map(len, facts))
    for name, fact in facts.items():
        print(f"{name:<{width}}  {fact}")
    return 0


def cpu_model() -> str:
    """The processor's name, as well as the system tells it."""
    if sys.platform == "darwin":
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        return asked.stdout.strip() or platform.processor()
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model", "cpu model"):
                return value.strip()
    return platform.processor() or platform.machine()


def vectors(bits: int) -> str:
    return f"{bits} bits: {bits // 32} float32 or {bits // 64} float64"


def describe_cache(folder: Path | None) -> str:
    """The folder of the compiled kernels, with their number and size."""
    if folder is None:
        return "no writable folder: every process compiles anew (let FASTNN_CACHE_DIR name one)"
    sizes = [path.stat().st_size for path in folder.iterdir() if path.is_file()]
    return f"{folder} ({len(sizes)} compiled kernels, {sum(sizes) / 2**20:.1f} MB)"
