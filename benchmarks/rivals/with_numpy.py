"""A plain NumPy loop, as a course would write it, with BLAS on its better number of threads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from benchmarks import problems
from benchmarks.problems import Problem

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


@dataclass
class Job:
    problem: Problem
    X: Any
    y: Any
    threads: int
    weights: list[Any]
    biases: list[Any]
    random: Any
    order: Any
    controller: Any
    first: list[Any] = field(default_factory=list)
    second: list[Any] = field(default_factory=list)
    steps: int = 0
    rows: list[Any] = field(default_factory=list)
    output: Any = None


def prepare(problem: Problem, X: Any, y: Any, threads: int | None) -> Job:
    weights, biases, random = problems.initial(problem)
    controller, order = ThreadpoolController(), np.arange(len(X))
    job = Job(problem, X, y, threads or 1, weights, biases, random, order, controller)
    job.first = [np.zeros_like(p) for p in (*weights, *biases)]
    job.second = [np.zeros_like(p) for p in (*weights, *biases)]
    job.rows = problems.pieces(problem, X, y)
    if problem.kind == "online":
        _step(job, X[:1], y[:1])
    return job


def _forward(job: Job, X: Any) -> list[Any]:
    """What every layer puts out, X first; softmax at the end for classes."""
    outputs = [X]
    for index, (w, b) in enumerate(zip(job.weights, job.biases, strict=True)):
        z = outputs[-1] @ w + b
        if index < len(job.weights) - 1:
            z = np.maximum(z, 0) if job.problem.activation == "relu" else np.tanh(z)
        elif job.problem.task == "classification":
            z = np.exp(z - z.max(axis=1, keepdims=True))
            z /= z.sum(axis=1, keepdims=True)
        outputs.append(z)
    return outputs


def _gradient(job: Job, X: Any, y: Any) -> list[Any]:
    outputs = _forward(job, X)
    delta = outputs[-1]
    if job.problem.task == "classification":
        delta[np.arange(len(y)), y] -= 1
    else:
        delta -= y
    delta /= len(y)
    dw, db = [], []
    for index in range(len(job.weights) - 1, -1, -1):
        a = outputs[index]
        dw.append(a.T @ delta)
        db.append(delta.sum(axis=0))
        if index:
            slope = a > 0 if job.problem.activation == "relu" else 1 - a * a
            delta = (delta @ job.weights[index].T) * slope
    return [*dw[::-1], *db[::-1]]


def _step(job: Job, X: Any, y: Any) -> None:
    job.steps += 1
    gradient, rate = _gradient(job, X, y), job.problem.learning_rate
    if job.problem.solver == "adam":
        rate = float(rate * np.sqrt(1 - BETA_2**job.steps) / (1 - BETA_1**job.steps))
    for p, g, m, v in zip((*job.weights, *job.biases), gradient, job.first, job.second, strict=True):
        if job.problem.solver == "sgd":
            p -= rate * g
        elif job.problem.solver == "momentum":
            m *= problems.MOMENTUM
            m -= rate * g
            p += m
        else:
            m += (1 - BETA_1) * (g - m)
            v += (1 - BETA_2) * (g * g - v)
            p -= rate * m / (np.sqrt(v) + EPSILON)


def run(job: Job, epochs: int) -> None:
    with job.controller.limit(limits=job.threads, user_api="blas"):
        for _ in range(epochs):
            _epoch(job)


def _epoch(job: Job) -> None:
    X, y, batch = job.X, job.y, job.problem.batch_rows
    starts = range(0, len(X), batch)
    if job.problem.kind == "predict":
        job.output = [_forward(job, part)[-1] for part, _ in job.rows]
        return
    if job.problem.kind == "train" and batch < len(X):
        draws = np.arange(len(X))
        job.random.shuffle(draws)
        job.order = job.order[draws]
        X, y = X[job.order], y[job.order]
    for i in starts:
        _step(job, X[i : i + batch], y[i : i + batch])


def final_loss(job: Job) -> float:
    if job.problem.kind == "predict":
        return problems.mean_log_loss(np.concatenate(job.output), job.y)
    return problems.loss(job.problem, job.X, job.y, job.weights, job.biases)


def threads(job: Job) -> int:
    return job.threads


def versions() -> dict[str, str]:
    return {"numpy": np.__version__}
