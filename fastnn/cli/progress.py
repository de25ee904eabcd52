"""Live progress on standard error: one line that is rewritten in a terminal, one line a run elsewhere."""

from __future__ import annotations

from math import nan
from time import perf_counter
from typing import TextIO

from fastnn.cli.record import Record

# Redrawing more often than the eye follows only costs time.
_REDRAW_SECONDS = 0.1


class Progress:
    """Shows the runs of one command, one after the other."""

    def __init__(self, stream: TextIO, *, runs: int, score_name: str) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._runs = runs
        self._score_name = score_name
        self._done = 0
        self._drawn = 0.0
        self._width = 0

    def epoch(self, record: Record) -> None:
        if self._due():
            self._draw(self._line(record))

    def tick(self, text: str) -> None:
        """Show that something is going on; a log doesn't hear of it."""
        if self._due():
            self._draw(text)

    def finish(self, record: Record) -> None:
        """Close a run: its last line stays in a log, and gives way to the next run in a terminal."""
        self._done += 1
        if not self._live:
            self.say(self._line(record, self._done))

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        print(text, file=self._stream, flush=True)

    def clear(self) -> None:
        if self._live and self._width:
            print("\r" + " " * self._width + "\r", end="", file=self._stream, flush=True)
            self._width = 0

    def _due(self) -> bool:
        """Whether a terminal may be redrawn by now."""
        now = perf_counter()
        due = self._live and now - self._drawn >= _REDRAW_SECONDS
        if due:
            self._drawn = now
        return due

    def _line(self, record: Record, number: int | None = None) -> str:
        place = f"[{number or self._done + 1}/{self._runs}] "
        epochs = f"epoch {record.epochs}/{record.recipe.epochs}"
        loss, score = (record.losses[-1], record.scores[-1]) if record.epochs else (nan, nan)
        figures = f"loss {loss:.4f}  {self._score_name} {score:.3f}"
        ending = "" if record.ending == "ran" else f"  ({record.ending})"
        return (
            f"{place if self._runs > 1 else ''}{record.library:<12}  {record.recipe!s:<21}  "
            f"{epochs:<13}  {figures}  {record.elapsed:6.2f} s{ending}"
        )

    def _draw(self, line: str) -> None:
        print("\r" + line.ljust(self._width), end="", file=self._stream, flush=True)
        self._width = len(line)
