"""The fresh process in which one library does one problem: `python -m benchmarks.rivals.worker`, JSON in,
JSON out.

The first line on standard input describes the work; the answer says what the warm-up took. Each line after it
is a number of epochs to run; the answer is how long they took. The end of the input ends the process.
"""

from __future__ import annotations

import json
import os
import sys
from time import perf_counter
from typing import Any, TextIO

import joblib

from benchmarks import problems
from benchmarks.rivals import Rival, get

TRIAL_SECONDS = 0.2  # of both tries, for each number of threads


def main() -> None:
    answers = claim_stdout()
    task = json.loads(sys.stdin.readline())
    problem = problems.Problem(**{**task["problem"], "sizes": tuple(task["problem"]["sizes"])})
    rival = get(task["library"])
    start = perf_counter()
    try:
        module = rival.load()
    except ImportError as error:
        say(answers, {"status": "not installed", "detail": str(error)})
        return
    imported = perf_counter() - start
    job, first = begin(module, rival, problem, task["threads"])
    say(answers, {"status": "ready", "import_seconds": imported, "versions": module.versions(), **first})
    for line in sys.stdin:
        epochs = json.loads(line)
        start = perf_counter()
        module.run(job, epochs)
        say(answers, {"seconds": perf_counter() - start, "epochs": epochs})


def claim_stdout() -> TextIO:
    """A private copy of standard output; whatever a library prints goes to standard error instead."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def say(answers: TextIO, content: dict[str, Any]) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


def begin(
    module: Any, rival: Rival, problem: problems.Problem, threads: int | None
) -> tuple[Any, dict[str, Any]]:
    """A warm job on the best number of threads, and what led to it."""
    X, y = problems.load(problem)
    choices = [threads] if threads else [c if c != 0 else joblib.cpu_count() for c in rival.thread_choices]
    trials: list[tuple[float, Any, dict[str, Any]]] = []
    for choice in dict.fromkeys(choices):
        start = perf_counter()
        job = module.prepare(problem, X, y, choice)
        module.run(job, problem.check_epochs)
        first = perf_counter() - start
        loss = module.final_loss(job)
        seconds = trial(module, job)
        facts = {"first_run_seconds": first, "loss": loss, "threads": module.threads(job)}
        trials.append((seconds, job, {**facts, "epoch_seconds": seconds}))
    # What the first choice took includes compilation and loading, which the next ones find done.
    best = min(trials, key=lambda tried: tried[0])
    best[2]["first_run_seconds"] = trials[0][2]["first_run_seconds"]
    return best[1], best[2]


def trial(module: Any, job: Any) -> float:
    """Seconds of an epoch, the better of two tries that take about TRIAL_SECONDS."""
    epochs, seconds = 1, 0.0
    while True:
        start = perf_counter()
        module.run(job, epochs)
        seconds = perf_counter() - start
        if seconds >= TRIAL_SECONDS / 2:
            break
        epochs *= 2
    start = perf_counter()
    module.run(job, epochs)
    return min(seconds, perf_counter() - start) / epochs


if __name__ == "__main__":
    main()
