"""JAX: a whole epoch in one jitted scan over rows that were put in order before, old parameters given
away."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import problems
from benchmarks.problems import Problem

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


@dataclass
class Job:
    problem: Problem
    X: Any
    y: Any
    epoch: Any  # jitted (params, state, X, y, order) -> (params, state)
    params: Any
    state: Any
    order: Any
    random: Any
    rows: list[Any] = field(default_factory=list)
    output: Any = None


def prepare(problem: Problem, X: Any, y: Any, threads: int | None) -> Job:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", problem.dtype == "float64")
    weights, biases, random = problems.initial(problem)
    params = [(jnp.asarray(w), jnp.asarray(b)) for w, b in zip(weights, biases, strict=True)]
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = (zeros, jax.tree.map(jnp.zeros_like, params), jnp.zeros((), problem.dtype))
    makers: dict[str, Any] = {"train": _epoch, "online": _step, "predict": _predict}
    donated = () if problem.kind == "predict" else (0, 1)
    epoch = jax.jit(partial(makers[problem.kind], problem), donate_argnums=donated)
    job = Job(problem, jnp.asarray(X), jnp.asarray(y), epoch, params, state, np.arange(len(X)), random)
    job.rows = problems.pieces(problem, X, y)
    if problem.kind == "online":
        job.params, job.state = epoch(params, state, job.rows[0])
    return job


def _forward(problem: Problem, params: Any, X: Any) -> Any:
    activation = jax.nn.relu if problem.activation == "relu" else jnp.tanh
    for w, b in params[:-1]:
        X = activation(X @ w + b)
    w, b = params[-1]
    return X @ w + b


def _loss(problem: Problem, params: Any, X: Any, y: Any) -> Any:
    z = _forward(problem, params, X)
    if problem.task == "regression":
        return 0.5 * jnp.mean(jnp.sum((z - y) ** 2, axis=1))
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1))


def _step(problem: Problem, params: Any, state: Any, batch: Any) -> Any:
    gradient = jax.grad(partial(_loss, problem))(params, *batch)
    first, second, t = state
    rate, each = problem.learning_rate, jax.tree.map
    if problem.solver == "sgd":
        return each(lambda p, g: p - rate * g, params, gradient), state
    if problem.solver == "momentum":
        first = each(lambda v, g: problems.MOMENTUM * v - rate * g, first, gradient)
        return each(jnp.add, params, first), (first, second, t)
    t = t + 1
    first = each(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, first, gradient)
    second = each(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, second, gradient)
    rate = rate * jnp.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
    params = each(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPSILON), params, first, second)
    return params, (first, second, t)


def _epoch(problem: Problem, params: Any, state: Any, X: Any, y: Any, order: Any) -> Any:
    """Full batches in one scan, then the rest: both are parts of one compiled function."""
    batch, whole = problem.batch_rows, problem.rows - problem.rows % problem.batch_rows
    if batch == problem.rows:
        return _step(problem, params, state, (X, y))
    X, y = X[order], y[order]
    batches = (X[:whole].reshape(-1, batch, *X.shape[1:]), y[:whole].reshape(-1, batch, *y.shape[1:]))
    carry, _ = jax.lax.scan(
        lambda carry, rows: (_step(problem, *carry, rows), None), (params, state), batches
    )
    return carry if whole == problem.rows else _step(problem, *carry, (X[whole:], y[whole:]))


def _predict(problem: Problem, params: Any, state: Any, X: Any) -> Any:
    return jax.nn.softmax(_forward(problem, params, X))


def run(job: Job, epochs: int) -> None:
    for _ in range(epochs):
        if job.problem.kind == "predict":
            job.output = [np.asarray(job.epoch(job.params, job.state, X)) for X, _ in job.rows]
        elif job.problem.kind == "online":
            for row in job.rows:
                job.params, job.state = job.epoch(job.params, job.state, row)
        else:
            if job.problem.batch_rows < job.problem.rows:
                draws = np.arange(job.problem.rows)
                job.random.shuffle(draws)
                job.order = job.order[draws]
            job.params, job.state = job.epoch(job.params, job.state, job.X, job.y, job.order)
    jax.block_until_ready(job.params)


def final_loss(job: Job) -> float:
    if job.problem.kind == "predict":
        return problems.mean_log_loss(np.concatenate(job.output), np.asarray(job.y))
    weights, biases = zip(*job.params, strict=True)
    return problems.loss(job.problem, np.asarray(job.X), np.asarray(job.y), list(weights), list(biases))


def threads(job: Job) -> int:
    """XLA takes as many as the process may run on; nothing tells how many of them a small step uses."""
    available = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    return len(available)


def versions() -> dict[str, str]:
    import jaxlib

    return {"jax": jax.__version__, "jaxlib": jaxlib.__version__}
