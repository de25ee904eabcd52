"""scikit-learn's MLPClassifier and MLPRegressor, with BLAS on its better number of threads."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from benchmarks import problems
from benchmarks.problems import Problem
from benchmarks.rivals import estimators


@dataclass
class Job:
    problem: Problem
    X: Any
    y: Any
    threads: int
    model: Any
    controller: Any
    rows: list[Any] = field(default_factory=list)
    output: Any = None


def prepare(problem: Problem, X: Any, y: Any, threads: int | None) -> Job:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    kind = MLPClassifier if problem.task == "classification" else MLPRegressor
    # Each call of fit goes on from the weights of the one before; one call trains all epochs of a run.
    model = estimators.make(kind, problem, warm_start=problem.kind == "train", n_iter_no_change=2**31 - 1)
    target = y.ravel() if problem.task == "regression" and y.shape[1] == 1 else y
    job = Job(problem, X, target, threads or 1, model, ThreadpoolController())
    if problem.kind != "train":
        job.rows = problems.pieces(problem, X, y)
        estimators.begin(job.model, problem, job.rows)
    return job


def run(job: Job, epochs: int) -> None:
    with job.controller.limit(limits=job.threads, user_api="blas"), warnings.catch_warnings():
        # Unconverged after so many epochs is what was asked for.
        warnings.simplefilter("ignore")
        if job.problem.kind == "train":
            job.model.set_params(max_iter=epochs).fit(job.X, job.y)
        else:
            estimators.run(job, epochs)


def final_loss(job: Job) -> float:
    if job.problem.kind == "predict":
        return problems.mean_log_loss(np.concatenate(job.output), job.y)
    y = job.y.reshape(len(job.y), -1) if job.problem.task == "regression" else job.y
    return problems.loss(job.problem, job.X, y, job.model.coefs_, job.model.intercepts_)


def threads(job: Job) -> int:
    return job.threads


def versions() -> dict[str, str]:
    import scipy
    import sklearn

    return {"scikit-learn": sklearn.__version__, "numpy": np.__version__, "scipy": scipy.__version__}
