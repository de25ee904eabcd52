"""What fastnn's and scikit-learn's estimators have in common: the same parameters, the same calls."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from benchmarks import problems
from benchmarks.problems import Problem


def make(kind: Any, problem: Problem, **more: Any) -> Any:
    """An MLPClassifier or MLPRegressor set to the problem."""
    # With a step of 1e-30 the weights stay as they were drawn: everybody predicts with the same ones.
    rate = problem.learning_rate if problem.kind != "predict" else 1e-30
    return kind(
        hidden_layer_sizes=problem.sizes[1:-1],
        activation=problem.activation,
        solver="adam" if problem.solver == "adam" else "sgd",
        momentum=problems.MOMENTUM if problem.solver == "momentum" else 0.0,
        nesterovs_momentum=False,
        alpha=0.0,
        batch_size=problem.batch_rows if problem.kind == "train" else 1,
        learning_rate_init=rate,
        random_state=0,
        tol=0.0,
        max_iter=1,
        **more,
    )


def begin(model: Any, problem: Problem, rows: list[Any]) -> None:
    """Let an estimator know its classes and draw its weights."""
    classes = np.arange(problem.sizes[-1])
    if problem.kind == "online":
        model.partial_fit(*rows[0], classes=classes)
        return
    with warnings.catch_warnings():
        # One epoch on nothing does not converge.
        warnings.simplefilter("ignore")
        model.fit(np.zeros((len(classes), problem.sizes[0]), problem.dtype), classes)


def run(job: Any, epochs: int) -> None:
    """`epochs` times over the rows: a call for each, to learn from or to predict."""
    for _ in range(epochs):
        if job.problem.kind == "online":
            for X, y in job.rows:
                job.model.partial_fit(X, y)
        else:
            job.output = [job.model.predict_proba(X) for X, _ in job.rows]
