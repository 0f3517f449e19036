"""The means to draw plots as SVG inside a page: axes and marks, whose colours and fonts are the page's own styles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 66, 24, 14, 44  # margins around the plotted area
SHAPES = ("circle", "square", "triangle", "diamond")
EDGE = 1e-9  # share of an axis by which rounding may push a value beyond it


@dataclass(frozen=True)
class Axis:
    """Maps values from low to high to places from start to end; values beyond go to the ends.

    `bend` > 0 makes it linear up to about that size and logarithmic beyond, on both sides of 0.
    """

    low: float
    high: float
    start: float
    end: float
    bend: float = 0.0

    def __call__(self, value: float) -> float:
        low, high, at = (self._bent(v) for v in (self.low, self.high, value))
        share = min(1.0, max(0.0, (at - low) / ((high - low) or 1.0)))
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values to be labelled, at most about seven."""
        return bent_ticks(self) if self.bend else round_ticks(self.low, self.high)

    def _bent(self, value: float) -> float:
        return math.asinh(value / self.bend) if self.bend else value


def across(low: float, high: float) -> Axis:
    """A linear axis from left to right."""
    return Axis(low, high, LEFT, WIDTH - RIGHT)


def upward(low: float, high: float, bend: float = 0.0) -> Axis:
    """An axis from bottom to top."""
    return Axis(low, high, HEIGHT - BOTTOM, TOP, bend)


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in the range."""
    span = (high - low) or 1.0
    unit = 10.0 ** math.floor(math.log10(span / most))
    step = next(unit * k for k in (1, 2, 5, 10) if span / (unit * k) <= most)
    first, last = math.ceil(low / step - EDGE), math.floor(high / step + EDGE)
    return [k * step for k in range(first, last + 1)]


def bent_ticks(axis: Axis) -> list[float]:
    """Zero and 1, 5 or 2 times powers of ten on both sides of it, as far as they do not touch their neighbours."""
    largest = max(abs(axis.low), abs(axis.high))
    exponents = range(math.floor(math.log10(axis.bend)), math.floor(math.log10(largest)) + 1)
    kept = [0.0]
    for value in (s * k * 10.0**e for k in (1, 5, 2) for e in reversed(exponents) for s in (1, -1)):
        inside = axis.low <= value <= axis.high
        if inside and all(abs(axis(value) - axis(other)) >= 24 for other in kept):
            kept.append(value)
    return sorted(kept)


def number(value: float) -> str:
    """A number for an axis, with a real minus sign."""
    return f"{value:.3g}".replace("-", "\u2212")


def percent(value: float) -> str:
    """A number between 0 and 1 as a percentage, for the labels of an axis."""
    return f"{100 * value:.4g}\u2009%"


def grid(x: Axis | None, y: Axis, x_label: str, y_label: str, shares: tuple[bool, bool] = (False, True)) -> Markup:
    """Lines and labels of the axes; `shares` says which of x and y are percentages. Without x, only its label."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [Markup('<line class="axis" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(LEFT, bottom, right, bottom)]
    for tick in y.ticks():
        at, name = f"{y(tick):.1f}", percent(tick) if shares[1] else number(tick)
        parts.append(Markup('<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(LEFT, at, right, at))
        parts.append(_text(LEFT - 7, y(tick) + 4, name, "end"))
    if x is not None:
        names = [(x(tick), percent(tick) if shares[0] else number(tick)) for tick in x.ticks()]
        parts += [_text(at, bottom + 17, name, "middle") for at, name in names]
    parts.append(_text((LEFT + right) / 2, HEIGHT - 8, x_label, "middle", "label"))
    middle = (TOP + bottom) / 2
    turned = Markup('<g transform="rotate(-90 12 {})">{}</g>')
    parts.append(turned.format(middle, _text(12, middle, y_label, "middle", "label")))
    return Markup("").join(parts)


def picture(title: str, parts: Iterable[Markup]) -> Markup:
    """The whole drawing; the title is what a screen reader says of it."""
    head = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, title)
    return head + Markup("").join(parts) + Markup("</svg>")


def line(points: Sequence[tuple[float, float]], style: str) -> Markup:
    """Straight lines through these places."""
    return Markup('<path class="{}" d="{}"/>').format(style, _path(points))


def area(points: Sequence[tuple[float, float]], style: str) -> Markup:
    """The polygon with these corners."""
    return Markup('<path class="{}" d="{}Z"/>').format(style, _path(points))


def strokes(bars: Iterable[tuple[float, float, float]], style: str, width: float) -> Markup:
    """Vertical bars (x, from y, to y), all in one element, so that thousands are cheap."""
    drawn = "".join(f"M{x:.1f} {start:.1f}V{end:.1f}" for x, start, end in bars)
    path = Markup('<path class="{}" stroke-width="{}" d="{}"/>')
    return path.format(style, f"{width:.2f}", drawn) if drawn else Markup("")


def mark(x: float, y: float, shape: str, style: str, title: str) -> Markup:
    """A point of this shape, one of `SHAPES`, with a tip."""
    r = 5
    corners = {
        "square": [(-r, -r), (r, -r), (r, r), (-r, r)],
        "triangle": [(0, -r - 1), (r + 1, r), (-r - 1, r)],
        "diamond": [(0, -r - 2), (r + 2, 0), (0, r + 2), (-r - 2, 0)],
    }
    tip = Markup("<title>{}</title>").format(title)
    if shape == "circle":
        circle = Markup('<circle class="{}" cx="{}" cy="{}" r="{}">{}</circle>')
        return circle.format(style, f"{x:.1f}", f"{y:.1f}", r, tip)
    places = [(x + a, y + b) for a, b in corners[shape]]
    return Markup('<path class="{}" d="{}Z">{}</path>').format(style, _path(places), tip)


def note(x: float, y: float, text: str, anchor: str = "start") -> Markup:
    """A short text in the drawing."""
    return _text(x, y, text, anchor, "note")


def _text(x: float, y: float, text: str, anchor: str, style: str = "tick") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        style, f"{x:.1f}", f"{y:.1f}", anchor, text)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
