"""The libraries that are compared, one module each, with the same five functions.

    prepare(problem, X, y, threads) -> job   arrays, model, optimizer; the same first weights for everybody
    run(job, epochs)                         go on for so many epochs, or, of kind 'predict', passes over X
    final_loss(job) -> float                 mean loss over all rows, by what the job has learned
    threads(job) -> int                      threads that it computes with
    versions() -> dict                       of the library and of what it computes with

The first `run` of a job is its warm-up: `problem.check_epochs` epochs, compilation included.
Every library shuffles by the same draws, so losses agree to rounding as long as everybody does the same work.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

EVERY_KIND = ("train", "online", "predict")


@dataclass(frozen=True)
class Rival:
    """Where a library's module is, and what it can be asked for."""

    name: str
    module: str
    requires: str  # what has to be importable
    # Numbers of threads to try, the best is taken; 0 stands for all cores, None leaves the choice to the
    # library.
    thread_choices: tuple[int | None, ...] = (1, 0)
    kinds: tuple[str, ...] = EVERY_KIND

    def load(self) -> Any:
        """The module; ImportError if the library is not installed."""
        import_module(self.requires)
        return import_module(f"benchmarks.rivals.{self.module}")


RIVALS = {
    rival.name: rival
    for rival in (
        Rival("fastnn", "with_fastnn", "fastnn", (None,)),
        Rival("scikit-learn", "with_sklearn", "sklearn"),
        Rival("PyTorch", "with_torch", "torch"),
        Rival("JAX", "with_jax", "jax", (None,)),
        Rival("NumPy", "with_numpy", "numpy"),
        Rival("ONNX Runtime", "with_onnx", "onnxruntime", kinds=("predict",)),
    )
}


def get(name: str) -> Rival:
    """A library by its name, in any case; an unknown name answers with the known ones."""
    by_name = {known.lower(): rival for known, rival in RIVALS.items()}
    if name.lower() not in by_name:
        raise ValueError(f"unknown library {name!r}; known: {', '.join(RIVALS)}.")
    return by_name[name.lower()]
