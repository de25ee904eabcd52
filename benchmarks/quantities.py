"""Numbers as people read them."""

from __future__ import annotations


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits and no exponent."""
    if value == 0:
        return "0"
    rounded = abs(float(f"{value:.{digits}g}"))  # 0.9996 has one digit more than 1.00
    magnitude = len(f"{rounded:.0f}") if rounded >= 1 else 1 - _zeros(rounded)
    return f"{value:,.{max(0, digits - magnitude)}f}"


def _zeros(value: float) -> int:
    """Zeros after the point before the first other digit, plus 1: 1 for 0.5, 2 for 0.05."""
    count = 0
    while value < 1:
        value *= 10
        count += 1
    return count


def duration(seconds: float) -> str:
    """Seconds with a unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= 0.9995 * size:
            return f"{significant(seconds / size)} {unit}"
    return f"{significant(seconds * 1e9)} ns"


def tick(seconds: float) -> str:
    """A round duration, for an axis."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= 0.9995 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def rate(per_second: float) -> str:
    """So many a second, with k, M or G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if per_second >= 0.9995 * size:
            return f"{significant(per_second / size)} {unit}"
    return significant(per_second)


def ratio_text(ratio: float) -> str:
    """How many times as fast fastnn is; a loss is said as one."""
    return f"{significant(ratio, 2)}x" if ratio >= 1 else f"{ratio:.2f}x (loses)"
