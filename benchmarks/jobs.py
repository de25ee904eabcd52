"""Whole jobs as a user feels them: fresh processes, from the start of Python to its end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).parents[1]
TIMEOUT = 180.0

IRIS = """
import warnings; warnings.simplefilter("ignore")
from {module} import MLPClassifier
from sklearn.datasets import load_iris
X, y = load_iris(return_X_y=True)
model = MLPClassifier(max_iter=200, random_state=0).fit(X.astype("float32"), y)
assert model.predict(X.astype("float32")).shape == y.shape
"""
SEARCH = """
import warnings; warnings.simplefilter("ignore")
from {module} import MLPClassifier
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
X, y = load_iris(return_X_y=True)
grid = {{"alpha": [1e-4, 1e-2, 1.0], "hidden_layer_sizes": [(20,), (50,), (100,)]}}
GridSearchCV(MLPClassifier(max_iter=200, random_state=0), grid, cv=3).fit(X.astype("float32"), y)
"""


@dataclass(frozen=True)
class Job:
    """A script, and whether it finds compiled kernels."""

    name: str
    title: str
    code: str
    cold: bool = False


def _pair(name: str, title: str, code: str) -> tuple[Job, Job]:
    return (
        Job(f"{name}-fastnn", f"{title}: fastnn", code.format(module="fastnn")),
        Job(f"{name}-sklearn", f"{title}: scikit-learn", code.format(module="sklearn.neural_network")),
    )


JOBS = (
    Job("python", "Python starts and ends", "pass"),
    Job("import-sklearn", "import numpy, sklearn.neural_network", "import numpy, sklearn.neural_network"),
    Job("import-fastnn", "import fastnn beside it", "import numpy, sklearn.neural_network, fastnn"),
    *_pair("iris", "iris: import, fit, predict", IRIS),
    *_pair("search", "grid search of 27 fits on iris", SEARCH),
    Job("iris-cold", "iris with an empty cache: fastnn compiles", IRIS.format(module="fastnn"), cold=True),
)


def measure(job: Job, repeats: int) -> dict[str, Any]:
    """Seconds of the whole process, several times; one run before to fill caches, unless the job is a cold
    start."""
    entry: dict[str, Any] = {"name": job.name, "title": job.title, "cold": job.cold, "seconds": []}
    for number in range(repeats if job.cold else repeats + 1):
        seconds, trouble = run(job)
        if trouble:
            return {**entry, "status": trouble}
        if job.cold or number:
            entry["seconds"].append(seconds)
    return {**entry, "status": "ok"}


def run(job: Job) -> tuple[float, str]:
    """One process: its seconds, and what went wrong, if anything."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **({"FASTNN_CACHE_DIR": folder} if job.cold else {})}
        start = perf_counter()
        try:
            done = subprocess.run(
                [sys.executable, "-c", job.code],
                capture_output=True,
                text=True,
                cwd=ROOT,
                env=environment,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return 0.0, f"no end in {TIMEOUT:g} s"
        seconds = perf_counter() - start
    return seconds, (done.stderr.strip().splitlines() or ["failed"])[-1] if done.returncode else ""
