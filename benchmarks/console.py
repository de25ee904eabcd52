"""What a terminal sees: one line of progress, and plain tables."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any, TextIO

from benchmarks import store
from benchmarks.quantities import duration, ratio_text

BAR_WIDTH = 24


class Progress:
    """A bar on standard error: rewritten in place in a terminal, one line a stage elsewhere."""

    def __init__(self, stream: TextIO, stages: int) -> None:
        self._stream, self._stages, self._done = stream, stages, 0
        self._live = stream.isatty()
        self._start = perf_counter()
        self._width = 0

    def say(self, text: str) -> None:
        """What is going on now."""
        if self._live:
            self._draw(text)

    def stage(self, text: str) -> None:
        """A stage begins; the ones before it are done."""
        if self._live:
            self._draw(text)
        else:
            print(f"[{self._done + 1}/{self._stages}] {text}", file=self._stream, flush=True)

    def advance(self) -> None:
        self._done += 1

    def close(self) -> None:
        if self._live and self._width:
            print("\r" + " " * self._width + "\r", end="", file=self._stream, flush=True)

    def _draw(self, text: str) -> None:
        filled = BAR_WIDTH * self._done // max(1, self._stages)
        bar = "#" * filled + "-" * (BAR_WIDTH - filled)
        line = f"[{bar}] {self._done}/{self._stages} {perf_counter() - self._start:4.0f} s  {text}"[:110]
        print("\r" + line.ljust(self._width), end="", file=self._stream, flush=True)
        self._width = len(line)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns in line: the first to the left, the rest to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for cells in (header, *rows):
        first, *rest = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        lines.append("  ".join((first.strip().ljust(widths[0]), *rest)).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def race_table(result: dict[str, Any], ceiling: dict[str, float] | None) -> str:
    """One problem, one library a line; the ratio says how many times as long as fastnn it takes."""
    unit = {"predict": "call", "online": "row"}.get(result["problem"]["kind"], "step")
    header = [result["name"], f"a {unit}", "spread", "fastnn is", "of limit", "threads", "warm-up", "loss"]
    lines = []
    for row in result["rows"]:
        if not store.measured(row):
            lines.append([row["library"], row["status"], *[""] * 6])
            continue
        ratio = store.advantage(result, row["library"])
        share = f"{store.share_of_limit(result, row, ceiling):.0%}" if ceiling else ""
        same = store.same_work(result, row)
        lines.append(
            [
                row["library"] + ("" if row["status"] == "ok" else f" ({row['status']})"),
                duration(store.step_seconds(result, row)),
                f"{store.noise(row):.0%}",
                "" if row["library"] == "fastnn" or ratio is None else ratio_text(ratio),
                share,
                str(row["threads"]),
                duration(store.warm_up(row)),
                f"{row['loss']:.5f}" + ("" if same in (None, True) else " other work!"),
            ]
        )
    failed = [row for row in result["rows"] if row["status"] in ("crashed", "timed out")]
    notes = [f"{row['library']}: {row['detail']}" for row in failed]
    return "\n".join([result["title"], table(header, lines), *notes])
