"""Old figures against new ones: has fastnn become slower?

What is compared is each repetition's speed divided by the peak of the matrix product that was measured right
beside it. A machine that is busy or clocked lower slows both, and the quotient stays.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from benchmarks import store
from benchmarks.statistics import Ratio, ratio

THRESHOLD = 0.10


@dataclass(frozen=True)
class Verdict:
    """One work: the new speed over the old one, both as shares of their ceilings."""

    title: str
    ratio: Ratio | None
    word: str  # 'slower', 'lost', 'unclear', 'same' or 'faster'

    @property
    def failed(self) -> bool:
        return self.word in ("slower", "lost")


def speeds(result: dict[str, Any], row: dict[str, Any]) -> list[float]:
    """Epochs for each operation that the ceiling would have allowed, one number a repetition."""
    return [1.0 / (s * peak) for s, peak in zip(row["seconds"], result["peaks"], strict=False)]


def judge(change: Ratio, threshold: float) -> str:
    """A loss counts only where the whole interval lies beyond the threshold."""
    if change.high < 1 - threshold:
        return "slower"
    if change.low > 1 + threshold:
        return "faster"
    if change.low > 1 - threshold and change.high < 1 + threshold:
        return "same"
    return "unclear"


def alike(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether two results of one name are about the same work: a definition may have changed in between."""
    return json.dumps(old["problem"]) == json.dumps(new["problem"])


def compare(
    old: dict[str, Any], new: dict[str, Any], threshold: float = THRESHOLD, library: str = "fastnn"
) -> list[Verdict]:
    """A verdict for each work that both documents have; one that has a figure only in the old run is
    'lost'."""
    before = {result["name"]: result for result in old["rivals"]}
    verdicts = []
    for result in new["rivals"]:
        earlier = before.get(result["name"])
        old_row = store.row_of(earlier, library) if earlier else None
        if earlier is None or old_row is None or not alike(earlier, result):
            continue
        row = store.row_of(result, library)
        if row is None or row["status"] != "ok":
            verdicts.append(Verdict(result["title"], None, "lost"))
            continue
        change = ratio(speeds(result, row), speeds(earlier, old_row))
        verdicts.append(Verdict(result["title"], change, judge(change, threshold)))
    return verdicts


def rows(verdicts: list[Verdict]) -> list[tuple[str, str, str, str]]:
    """Cells for a table."""
    lines = []
    for verdict in verdicts:
        change = verdict.ratio
        value = f"{change.value:.2f}" if change else "–"
        interval = f"{change.low:.2f} to {min(change.high, 99):.2f}" if change else "no figure"
        lines.append((verdict.title, value, interval, verdict.word))
    return lines
