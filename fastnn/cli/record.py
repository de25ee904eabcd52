"""What one training run did, epoch by epoch, and the clock that leaves out the time spent on scoring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from fastnn.cli.recipes import Recipe


@dataclass
class Record:
    """One run: after each epoch the training time so far, the loss and the held-out score."""

    library: str
    recipe: Recipe
    rows: int
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    ending: str = "ran"
    share: float = 1.0  # of the training rows that an epoch went over

    @property
    def epochs(self) -> int:
        return len(self.seconds)

    @property
    def elapsed(self) -> float:
        return self.seconds[-1] if self.seconds else 0.0

    @property
    def rows_a_second(self) -> float:
        return self.rows * self.epochs / self.elapsed if self.seconds else 0.0

    def seconds_to(self, goal: float) -> float | None:
        """Training time until the held-out score was first at least `goal`; None if it never was."""
        return next((t for t, score in zip(self.seconds, self.scores, strict=True) if score >= goal), None)


class Recorder:
    """Fills a record while a library trains; its clock stands still while an epoch is scored and shown."""

    def __init__(self, record: Record, *, limit: float, show: Callable[[Record], None]) -> None:
        self.record = record
        self._limit = limit
        self._show = show
        self._spent = 0.0
        self._since = perf_counter()

    def start(self) -> None:
        self._since = perf_counter()

    def epoch(self, loss: Callable[[], float], score: Callable[[], float]) -> bool:
        """Note one epoch; True once the time limit is spent."""
        self._spent += perf_counter() - self._since
        self.record.seconds.append(self._spent)
        self.record.losses.append(loss())
        self.record.scores.append(score())
        self._show(self.record)
        out_of_time = self._spent >= self._limit
        if out_of_time and self.record.epochs < self.record.recipe.epochs:
            self.record.ending = "out of time"
        self._since = perf_counter()
        return out_of_time
