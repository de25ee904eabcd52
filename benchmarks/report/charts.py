"""Charts as inline SVG, drawn 380 units wide so that their text stays readable on a phone.

Colours and fonts come from style.css by class, so charts follow light and dark mode. Every library has a
shape of its own beside its colour. Each chart has a title and a description for screen readers; the figures
stand in a table below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 380
LEFT, RIGHT = 8, 372
LABEL, TRACK = 14, 26  # height of a row's label, and from it to the next one's
SERIES = ("fastnn", "scikit-learn", "PyTorch", "JAX", "NumPy", "ONNX Runtime")

Format = Callable[[float], str]


@dataclass(frozen=True)
class Scale:
    """Values to horizontal (or vertical) places: logarithmic, or linear from 0."""

    low: float
    high: float
    start: float
    end: float
    log: bool = True

    def __call__(self, value: float) -> float:
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = value / self.high
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[float]:
        """Powers of ten, or with less than two decades also 2 and 5 times them; linear: quarters."""
        if not self.log:
            return [self.high * i / 4 for i in range(5)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if self.high / self.low < 100 else (1,)
        marks = [step * 10.0**decade for decade in decades for step in steps]
        inside = [mark for mark in marks if self.low * 0.999 <= mark <= self.high * 1.001]
        return inside[:: max(1, len(inside) // 5)]


def log_scale(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale with a little room beyond the smallest and the largest value."""
    low, high = min(values) / 1.3, max(values) * 1.3
    if high / low < 10:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    return Scale(low, high, start, end)


def svg(name: str, title: str, description: str, height: float, body: Sequence[str]) -> str:
    """The frame of every chart."""
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-labelledby="{name}-t {name}-d">',
            f'<title id="{name}-t">{escape(title)}</title>',
            f'<desc id="{name}-d">{escape(description)}</desc>',
            *body,
            "</svg>",
        ]
    )


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{kind}"/>'


def marker(series: str, x: float, y: float, size: float = 5) -> str:
    """The shape of a library at a place."""
    number, s = SERIES.index(series) if series in SERIES else 0, size
    shapes = {
        "circle": f"m{-s:g} 0a{s:g} {s:g} 0 1 0 {2 * s:g} 0a{s:g} {s:g} 0 1 0 {-2 * s:g} 0",
        "square": f"m{-s:g} {-s:g}h{2 * s:g}v{2 * s:g}h{-2 * s:g}z",
        "diamond": "m0 {0}l{1} {1}l{0} {1}l{0} {0}z".format(f"{-1.3 * s:g}", f"{1.3 * s:g}"),
        "triangle": f"m0 {-1.2 * s:g}l{1.2 * s:g} {2.2 * s:g}h{-2.4 * s:g}z",
        "triangle, point down": f"m0 {1.2 * s:g}l{1.2 * s:g} {-2.2 * s:g}h{-2.4 * s:g}z",
        "cross": f"m{-s:g} {-s:g}l{2 * s:g} {2 * s:g}m0 {-2 * s:g}l{-2 * s:g} {2 * s:g}",
    }
    path = list(shapes.values())[number]
    return f'<path d="M{x:g} {y:g}{path}" class="mark s{number}"/>'


def legend(series: Sequence[str], y: float) -> tuple[list[str], float]:
    """Names with their shapes, three a line, and the height that they take."""
    parts = []
    for index, name in enumerate(series):
        x, below = LEFT + 6 + index % 3 * 122, y + index // 3 * 18
        parts += [marker(name, x, below, 4.5), text(x + 11, below + 4, name, "key")]
    return parts, 18.0 * -(-len(series) // 3)


def dots(
    name: str,
    title: str,
    description: str,
    rows: Sequence[tuple[str, dict[str, float]]],
    write: Format,
    reference: tuple[float, str] | None = None,
) -> str:
    """One line a row with a mark for each series on a logarithmic axis; `reference` is a value with a line of
    its own."""
    series = [s for s in SERIES if any(s in values for _, values in rows)]
    values = [value for _, found in rows for value in found.values()] + ([reference[0]] if reference else [])
    scale = log_scale(values, LEFT + 8, RIGHT - 8)
    body, top = legend(series, 12)
    top += 16
    bottom = top + len(rows) * (LABEL + TRACK)
    for tick in scale.ticks:
        x = scale(tick)
        body += [line(x, top, x, bottom, "grid"), text(x, bottom + 14, write(tick), "tick", _anchor(x))]
    if reference:
        x = scale(reference[0])
        body += [line(x, top, x, bottom, "reference"), text(x, bottom + 30, reference[1], "tick", "middle")]
    for index, (label, found) in enumerate(rows):
        y = top + index * (LABEL + TRACK)
        body += [text(LEFT, y + 12, label, "label"), line(LEFT, y + 26, RIGHT, y + 26, "track")]
        # fastnn last: its mark lies on top.
        body += [marker(s, scale(found[s]), y + 26) for s in reversed(series) if s in found]
    return svg(name, title, description, bottom + (38 if reference else 22), body)


def _anchor(x: float) -> str:
    return "start" if x < LEFT + 24 else "end" if x > RIGHT - 24 else "middle"


def bars(name: str, title: str, description: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """Shares of a limit: a bar from 0, its end labelled."""
    scale = Scale(0, max(1.0, *(value for _, value, _ in rows)), LEFT, RIGHT - 70, log=False)
    body: list[str] = []
    bottom = 6 + len(rows) * (LABEL + TRACK)
    x = scale(1.0)
    body += [line(x, 6, x, bottom, "reference"), text(x, bottom + 12, "the limit", "tick", "middle")]
    for index, (label, value, note) in enumerate(rows):
        y = 6 + index * (LABEL + TRACK)
        width = max(1.0, scale(value) - LEFT)
        body += [
            text(LEFT, y + 12, label, "label"),
            f'<rect x="{LEFT}" y="{y + 18:g}" width="{width:g}" height="12" rx="2" class="bar"/>',
            text(LEFT + width + 5, y + 28, f"{value:.0%}{note}", "tick"),
        ]
    return svg(name, title, description, bottom + 20, body)


def curve(
    name: str,
    title: str,
    description: str,
    points: Sequence[tuple[float, float]],
    axis: str,
    write: Format,
) -> str:
    """A line through points on two logarithmic axes."""
    height, left = 230.0, 58.0
    across = log_scale([x for x, _ in points], left + 8, RIGHT - 8)
    up = log_scale([y for _, y in points], height - 50, 12)
    body = []
    for tick in up.ticks:
        y = up(tick)
        body += [line(left, y, RIGHT, y, "grid"), text(left - 6, y + 4, write(tick), "tick", "end")]
    for x, _ in points if len(points) <= 6 else points[::2]:
        body += [
            line(across(x), 12, across(x), height - 50, "grid"),
            text(across(x), height - 34, short(x), "tick", "middle"),
        ]
    path = "L".join(f"{across(x):g} {up(y):g}" for x, y in points)
    body += [
        f'<path d="M{path}" class="curve"/>',
        *(marker("fastnn", across(x), up(y), 4) for x, y in points),
    ]
    body.append(text((left + RIGHT) / 2, height - 12, axis, "label", "middle"))
    return svg(name, title, description, height, body)


def short(value: float) -> str:
    """A count that fits under an axis: 64, 16k, 1M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size and value % (size / 10) == 0:
            return f"{value / size:g}{unit}"
    return f"{value:,g}" if value < 10_000 else f"{value / 1e3:.0f}k"
