"""Libraries on the same work, side by side: a fresh process for each, repetitions in turn, nobody runs beside
another."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from benchmarks import ceiling
from benchmarks.problems import Problem
from benchmarks.rivals import RIVALS, get

ROOT = Path(__file__).parents[1]
PROBE_SECONDS = 0.05  # for the matrix product beside each repetition
# Thread pools look for work after their last piece, OpenBLAS's for 0.1 s: the next library must not run
# beside them.
REST_SECONDS = 0.3
Say = Callable[[str], None]


@dataclass(frozen=True)
class Rules:
    """How a race is run."""

    repeats: int = 5
    seconds: float = 0.25  # of one repetition, at least one epoch
    timeout: float = 120.0  # of one answer of a library
    threads: int | None = None  # None: the best for each library
    command: tuple[str, ...] = (sys.executable, "-m", "benchmarks.rivals.worker")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a race, with the repetitions that were done."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__()
        self.result = result


class Worker:
    """A library in a process of its own that answers one question at a time."""

    def __init__(self, library: str, problem: Problem, rules: Rules) -> None:
        self.rules, self.epochs = rules, 1
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the worker
        self._process = subprocess.Popen(
            rules.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C ends the race, which then ends them
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.row: dict[str, Any] = {"library": library, "status": "ok", "seconds": []}
        start = perf_counter()
        name, _, threads = library.partition("@")
        question = {
            "library": name,
            "problem": asdict(problem),
            "threads": int(threads or 0) or rules.threads,
        }
        answer = self._ask(question)
        if answer["status"] == "ready":
            answer["start_seconds"] = perf_counter() - start
            answer["status"] = "ok"
            self.epochs = max(1, round(rules.seconds / answer["epoch_seconds"]))
            answer["epochs"] = self.epochs
        self.row.update(answer)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _ask(self, question: Any) -> dict[str, Any]:
        """Send one line, wait for one line; a dead or late process gives a status that says so."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=self.rules.timeout)
        except queue.Empty:
            return {"status": "timed out", "detail": f"no answer in {self.rules.timeout:g} s"}
        except OSError:
            line = ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = self._process.wait()
        return {"status": "crashed", "detail": f"exit code {code}: {self._last_words()}"}

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    def repeat(self) -> None:
        """One repetition; its seconds an epoch are added to the row."""
        answer = self._ask(self.epochs)
        if "seconds" in answer:
            self.row["seconds"].append(answer["seconds"] / answer["epochs"])
        else:
            self.row.update(answer)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()


def libraries_for(problem: Problem, names: Sequence[str] | None = None) -> list[str]:
    """Those that can do a problem; NAME@THREADS holds a library to so many threads."""
    chosen = []
    for name in names or RIVALS:
        library, at, threads = name.partition("@")
        if at and not (threads.isdecimal() and int(threads) > 0):
            raise ValueError(f"a library is NAME or NAME@THREADS, such as fastnn@2; got {name!r}.")
        if problem.kind in get(library).kinds:
            chosen.append(get(library).name + at + threads)
    return chosen


def race(
    problem: Problem, libraries: Sequence[str], rules: Rules, say: Say = lambda _: None
) -> dict[str, Any]:
    """All libraries on one problem: their rows, and the peak that was measured beside each repetition.

    A library that is missing, crashes or takes too long has a row with that status and the repetitions done
    until then.
    """
    with ExitStack() as stack:
        workers = []
        for library in libraries:
            say(f"{problem.name}: {library} warms up")
            worker = Worker(library, problem, rules)
            stack.callback(worker.close)
            workers.append(worker)
        result = {**describe(problem), "peaks": [], "rows": [worker.row for worker in workers]}
        try:
            for number in range(rules.repeats):
                say(f"{problem.name}: repetition {number + 1} of {rules.repeats}")
                _repeat(workers, problem, result["peaks"])
        except KeyboardInterrupt:
            raise Interrupted(result) from None
    return result


def _repeat(workers: Sequence[Worker], problem: Problem, peaks: list[float]) -> None:
    """One repetition of every library that still runs, with the peak beside it."""
    peaks.append(ceiling.gemm_probe(problem.dtype, PROBE_SECONDS))
    for worker in workers:
        if worker.row["status"] == "ok":
            sleep(REST_SECONDS)
            worker.repeat()


def describe(problem: Problem) -> dict[str, Any]:
    """What the report says of a problem, so that it needs nothing but the stored figures."""
    cost = problem.cost
    return {
        "problem": asdict(problem),
        "name": problem.name,
        "title": problem.title,
        "steps": problem.steps,
        "rows_per_epoch": problem.rows,
        "flops": cost.flops,
        "l1_bytes": cost.l1_bytes,
        "memory_bytes": cost.memory_bytes,
        "footprint": problem.footprint,
    }


def races(
    problems: Sequence[Problem], names: Sequence[str] | None, rules: Rules, say: Say
) -> Iterator[dict[str, Any]]:
    """One result after the other, so that an interrupted run keeps those it has."""
    for problem in problems:
        yield race(problem, libraries_for(problem, names), rules, say)
