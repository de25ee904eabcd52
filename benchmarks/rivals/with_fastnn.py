"""fastnn: the model layer for training, the estimator for single rows and for prediction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import problems
from benchmarks.problems import Problem
from benchmarks.rivals import estimators
from fastnn import SGD, Adam, Architecture, MLPClassifier, Network, Trainer


@dataclass
class Job:
    problem: Problem
    X: Any
    y: Any
    threads: int | None
    model: Any = None  # Trainer or MLPClassifier
    rows: list[Any] = field(default_factory=list)
    output: Any = None


def prepare(problem: Problem, X: Any, y: Any, threads: int | None) -> Job:
    job = Job(problem, X, y, threads)
    if problem.kind == "train":
        job.model = _trainer(problem, threads)
    else:
        job.model = estimators.make(MLPClassifier, problem, n_threads=threads)
        job.rows = problems.pieces(problem, X, y)
        estimators.begin(job.model, problem, job.rows)
    return job


def _trainer(problem: Problem, threads: int | None) -> Trainer:
    classes = problem.task == "classification"
    architecture = Architecture(
        problem.sizes,
        problem.activation,
        output_activation="softmax" if classes else "identity",
        loss="cross_entropy" if classes else "squared_error",
    )
    random = np.random.RandomState(0)
    momentum = problems.MOMENTUM if problem.solver == "momentum" else 0.0
    rate = problem.learning_rate
    return Trainer(
        Network.initialize(architecture, seed=random, dtype=np.dtype(problem.dtype)),
        Adam(rate) if problem.solver == "adam" else SGD(rate, momentum),
        batch_size=problem.batch or "full",
        random_state=random,
        tol=0,
        n_iter_no_change=np.inf,
        n_threads=threads,
    )


def run(job: Job, epochs: int) -> None:
    if job.problem.kind == "train":
        status = job.model.run(job.X, job.y, epochs=epochs)
        if status == "interrupted":
            raise KeyboardInterrupt
        if status != "max_iter":
            raise RuntimeError(f"training ended with {status!r}")
    else:
        estimators.run(job, epochs)


def final_loss(job: Job) -> float:
    if job.problem.kind == "predict":
        return problems.mean_log_loss(np.concatenate(job.output), job.y)
    if job.problem.kind == "train":
        weights, biases = job.model.network.weights, job.model.network.biases
    else:
        weights, biases = job.model.coefs_, job.model.intercepts_
    return problems.loss(job.problem, job.X, job.y, weights, biases)


def threads(job: Job) -> int:
    session = getattr(job.model, "_session", None)
    if session is not None:
        return int(session.n_threads)
    if job.problem.kind == "predict" and job.problem.batch_rows > 1:
        from fastnn.threads import usable_threads

        return job.threads or usable_threads()
    return 1


def versions() -> dict[str, str]:
    import llvmlite
    import numba

    import fastnn

    return {"fastnn": fastnn.__version__, "numba": numba.__version__, "llvmlite": llvmlite.__version__}
