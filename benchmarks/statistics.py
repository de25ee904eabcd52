"""Middle, spread and ratios of repeated measurements."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# The standard error of a median is this much larger than that of a mean, for normal errors.
MEDIAN_FACTOR = math.sqrt(math.pi / 2)
# Two-sided 95 % points of Student's t for 1, 2, ... degrees of freedom; beyond the list the normal one.
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)
NORMAL = 1.96


@dataclass(frozen=True)
class Ratio:
    """A ratio with its 95 % interval."""

    value: float
    low: float
    high: float


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def spread(values: Sequence[float]) -> float:
    """Relative distance of the middle half's ends from each other; 0 for fewer than 3 values."""
    if len(values) < 3:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / median(values)


def log_error(values: Sequence[float]) -> float:
    """Standard error of the logarithm of the median; infinite for a single value.

    From the standard deviation, not from the middle half: a machine that is disturbed now and then shows in
    the error instead of being hidden by it.
    """
    if len(values) < 2:
        return math.inf
    deviation = statistics.stdev(math.log(value) for value in values)
    return MEDIAN_FACTOR * deviation / math.sqrt(len(values))


def ratio(new: Sequence[float], old: Sequence[float]) -> Ratio:
    """Median of `new` over median of `old`, with an interval that covers 95 % if errors are about
    log-normal."""
    value = median(new) / median(old)
    freedom = min(len(new), len(old)) - 1
    if freedom < 1:
        return Ratio(value, 0.0, math.inf)
    point = STUDENT[freedom - 1] if freedom <= len(STUDENT) else NORMAL
    width = point * math.hypot(log_error(new), log_error(old))
    return Ratio(value, value * math.exp(-width), value * math.exp(width))


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Slope of log y over log x by least squares: y grows like x to that power."""
    logs = [(math.log(x), math.log(y)) for x, y in zip(xs, ys, strict=True)]
    mean_x, mean_y = (statistics.fmean(column) for column in zip(*logs, strict=True))
    across = sum((x - mean_x) ** 2 for x, _ in logs)
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / across
