"""PyTorch as it is usually written: modules, autograd, an optimizer of torch.optim (fused: one call a
step)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from benchmarks import problems
from benchmarks.problems import Problem

ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}


@dataclass
class Job:
    problem: Problem
    X: Any
    y: Any
    threads: int
    model: Any
    loss: Any
    optimizer: Any
    order: Any
    random: Any
    rows: list[Any] = field(default_factory=list)
    output: Any = None


def prepare(problem: Problem, X: Any, y: Any, threads: int | None) -> Job:
    torch.set_num_threads(threads or 1)
    weights, biases, random = problems.initial(problem)
    layers: list[Any] = []
    for w, b in zip(weights, biases, strict=True):
        linear = torch.nn.Linear(*w.shape, dtype=getattr(torch, problem.dtype))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T.copy()))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, ACTIVATIONS[problem.activation]()]
    model = torch.nn.Sequential(*layers[:-1])
    order = np.arange(len(X))
    data = torch.from_numpy(X), torch.from_numpy(y)
    loss = torch.nn.CrossEntropyLoss() if problem.task == "classification" else _half_squares
    job = Job(problem, *data, threads or 1, model, loss, _optimizer(problem, model), order, random)
    job.rows = problems.pieces(problem, job.X, job.y)
    if problem.kind == "online":
        _step(job, *job.rows[0])
    return job


def _half_squares(output: Any, target: Any) -> Any:
    return 0.5 * (output - target).square().sum(dim=1).mean()


def _optimizer(problem: Problem, model: Any) -> Any:
    if problem.solver == "adam":
        return torch.optim.Adam(model.parameters(), lr=problem.learning_rate, fused=True)
    momentum = problems.MOMENTUM if problem.solver == "momentum" else 0.0
    return torch.optim.SGD(model.parameters(), lr=problem.learning_rate, momentum=momentum, fused=True)


def _step(job: Job, X: Any, y: Any) -> None:
    job.optimizer.zero_grad(set_to_none=True)
    job.loss(job.model(X), y).backward()
    job.optimizer.step()


def run(job: Job, epochs: int) -> None:
    torch.set_num_threads(job.threads)
    for _ in range(epochs):
        if job.problem.kind == "predict":
            _predict(job)
        elif job.problem.kind == "online":
            for X, y in job.rows:
                _step(job, X, y)
        else:
            _epoch(job)


def _epoch(job: Job) -> None:
    X, y, batch = job.X, job.y, job.problem.batch_rows
    if batch < len(X):
        draws = np.arange(len(X))
        job.random.shuffle(draws)
        job.order = job.order[draws]
        # Rows are put in order once an epoch; batches are then views.
        order = torch.from_numpy(job.order)
        X, y = X[order], y[order]
    for start in range(0, len(X), batch):
        _step(job, X[start : start + batch], y[start : start + batch])


def _predict(job: Job) -> None:
    with torch.inference_mode():
        job.output = [torch.softmax(job.model(X), dim=1) for X, _ in job.rows]


def final_loss(job: Job) -> float:
    if job.problem.kind == "predict":
        return problems.mean_log_loss(torch.cat(job.output).numpy(), job.y.numpy())
    linear = [layer for layer in job.model if isinstance(layer, torch.nn.Linear)]
    weights = [layer.weight.detach().numpy().T for layer in linear]
    biases = [layer.bias.detach().numpy() for layer in linear]
    return problems.loss(job.problem, job.X.numpy(), job.y.numpy(), weights, biases)


def threads(job: Job) -> int:
    return job.threads


def versions() -> dict[str, str]:
    return {"torch": torch.__version__}
