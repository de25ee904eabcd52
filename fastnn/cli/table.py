"""The one table that `compare` prints, and the notes that say how its figures came about."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from fastnn.cli.record import Record

SHORT_RUN = 0.2  # seconds; a run that takes less is repeated

Pair = tuple[Record, Record | None]  # fastnn's run, and scikit-learn's if it got that far

_GROUPS = "{:<22}  {:^25}  {:^15}  {:^25}  {:^15}"
_CELLS = "{:<14}  {:<6}  {:>7}  {:>8}  {:>6}  {:>6}  {:>7}  {:>7}  {:>8}  {:>6}  {:>6}  {:>7}"
_LIBRARIES = ("fastnn", "sklearn")


def render(pairs: Sequence[Pair], *, goal: float, score_name: str) -> str:
    """The table: one row a recipe, both libraries side by side with the ratio of their speeds."""
    groups = ("", "rows a second", "epochs", f"seconds to {score_name} {goal:g}", f"held-out {score_name}")
    names = (*_LIBRARIES, "ratio", *_LIBRARIES, *_LIBRARIES, "ratio", *_LIBRARIES)
    head = _CELLS.format("batches", "steps", *names)
    lines = [_GROUPS.format(*groups).rstrip(), head, "-" * len(head)]
    lines += [_CELLS.format(*_row(pair, goal)).rstrip() for pair in pairs]
    return "\n".join(lines)


def _row(pair: Pair, goal: float) -> list[str]:
    ours, theirs = pair
    cells = [ours.recipe.batches, ours.recipe.steps]
    cells += [_rate(ours), _rate(theirs), _ratio(speed_ratio(pair))]
    cells += [_epochs(ours), _epochs(theirs)]
    cells += [_time_to(ours, goal), _time_to(theirs, goal), _time_ratio(pair, goal)]
    return [*cells, _score(ours), _score(theirs)]


def speed_ratio(pair: Pair) -> float:
    """Rows a second of fastnn over those of scikit-learn; nan if one of them has none."""
    ours, theirs = pair
    if theirs is None or not theirs.epochs or not ours.epochs:
        return math.nan
    return ours.rows_a_second / theirs.rows_a_second


def notes(pairs: Sequence[Pair], *, goal: float, limit: float) -> str:
    """What was measured, what was cut short, and where scikit-learn wins."""
    lines = [
        "Same first weights, batches, learning rates and penalty for both libraries, in float32. Times are "
        "training alone: kernels compiled before, held-out rows scored off the clock after each epoch. "
        f"Runs below {SHORT_RUN:g} s are the median of five. scikit-learn (sklearn) has one BLAS thread or "
        "all, whichever a short trial found faster.",
    ]
    if any(r.ending == "out of time" or r.share < 1 for pair in pairs for r in pair if r is not None):
        lines.append(
            f"A run gets {limit:g} s. One with fewer epochs than the other library's ran out of it: its rows "
            "a second are those of what it did, its score the one it had by then; '>' means not reached yet."
        )
    slower = [f"{pair[0].recipe}" for pair in pairs if speed_ratio(pair) < 1]
    later = [f"{pair[0].recipe}" for pair in pairs if _lost_race(pair, goal)]
    for wins, measure in ((slower, "rows a second"), (later, f"seconds to {goal:g}")):
        if wins:
            lines.append(f"scikit-learn wins by {measure}: {'; '.join(wins)}.")
    return "\n".join(textwrap.fill(line, 110) for line in lines)


def _lost_race(pair: Pair, goal: float) -> bool:
    """Whether scikit-learn was the first to reach the goal, or the only one."""
    ours, theirs = (None if record is None else record.seconds_to(goal) for record in pair)
    return theirs is not None and (ours is None or theirs < ours)


def _rate(record: Record | None) -> str:
    if record is None or not record.epochs:
        return "-"
    rate = record.rows_a_second
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if rate >= size:
            return f"{rate / size:.3g} {unit}" if rate < 999.5 * size else f"{rate / size:.0f} {unit}"
    return f"{rate:.0f}"


def _epochs(record: Record | None) -> str:
    if record is None:
        return "-"
    return str(record.epochs) if record.share == 1 else f"{record.epochs * record.share:.2g}"


def _time_to(record: Record | None, goal: float) -> str:
    if record is None or not record.epochs:
        return "-"
    seconds = record.seconds_to(goal)
    if seconds is not None:
        return f"{seconds:.3g}" if seconds >= 0.1 else f"{seconds:.2g}"
    return f">{record.seconds[-1]:.3g}" if record.ending == "out of time" else "never"


def _time_ratio(pair: Pair, goal: float) -> str:
    ours, theirs = pair
    reached = ours.seconds_to(goal)
    if reached is None or theirs is None or not theirs.epochs:
        return "-"
    other = theirs.seconds_to(goal)
    if other is not None:
        return _ratio(other / reached)
    return ">" + _ratio(theirs.seconds[-1] / reached) if theirs.ending == "out of time" else "-"


def _ratio(ratio: float) -> str:
    if math.isnan(ratio):
        return "-"
    return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2f}x"


def _score(record: Record | None) -> str:
    if record is None or not record.epochs:
        return "-"
    return "diverged" if record.ending == "diverged" else f"{record.scores[-1]:.3f}"
