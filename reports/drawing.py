"""The pencil behind `charts`: places, axes, lines and labels of inline SVG.

Knows neither figures nor evidence, and writes text only through escaping. No script, no style attribute: what a thing looks
like is the page's style sheet's affair.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reports.wording import visible

_FAR, _NEAR = 1e300, 1e-300
_NARROW, _WIDE = 6.6, 11.5
_ENLARGED = 1.15
_STRAIGHT = 0.35

Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """Data to places on the drawing: ``low`` lands on ``start``, ``high`` on ``end``; what lies beyond is held at the edge."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> str:
        return place(self.at(value))

    def at(self, value: float) -> float:
        """The place as a number."""
        share = (value - self.low) / (self.high - self.low)
        share = min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 5) -> tuple[float, ...]:
        """Round numbers inside the range, at most ``most`` steps apart."""
        raw = (self.high - self.low) / most
        magnitude = 10.0 ** math.floor(math.log10(raw))
        step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return tuple(round(i * step, 12) for i in range(first, last + 1))


def scale(values: Sequence[float], start: float, end: float, zero: bool) -> Scale:
    """The range of ``values`` with some air, at 0 where they start near it and at 1 where they are shares."""
    held = [min(max(v, -_FAR), _FAR) for v in values]
    low, high = min(held), max(held)
    if zero and low >= 0:
        low = 0.0
    room = (high - low) * 0.08
    if room <= max(abs(low), abs(high)) * 1e-6 or room < _NEAR:
        room = max(abs(low), abs(high)) * 0.1 or 0.1
    room = max(room, _NEAR)
    below = low if low == 0 else low - room
    above = high + room
    if low >= 0:
        below = max(below, 0.0)
    if low >= 0 and high <= 1 and below < 1:
        above = min(above, 1.0)
    return Scale(below, above, start, end)


def axis(x: Scale, y: float) -> Markup:
    """The bottom line with its ticks and their figures."""
    marks = "".join(f"M{x(t)} {place(y)}v4" for t in x.ticks())
    names = [
        fill('<text class="faint" x="{}" y="{}" text-anchor="middle">{}</text>', x(t), place(y + 15), tick(t))
        for t in x.ticks()
    ]
    return fill('<path class="axis" d="M{} {}H{}{}"/>', place(x.start), place(y), place(x.end), marks) + joined(names)


def side_axis(y: Scale, left: float, right: float) -> Markup:
    """Lines across the drawing at round figures, with the figures at their left."""
    lines = "".join(f"M{place(left)} {y(t)}H{place(right)}" for t in y.ticks())
    names = [
        fill(
            '<text class="faint" x="{}" y="{}" text-anchor="end">{}</text>',
            place(left - 6),
            place(y.at(t) + 4),
            tick(t),
        )
        for t in y.ticks()
    ]
    return fill('<path class="grid" d="{}"/>', lines) + joined(names)


def line(points: Sequence[Point]) -> str:
    """A path through the points. Those that no eye could miss are left out: the line moves by less than half a pixel."""
    return "L".join(f"{place(a)} {place(b)}" for a, b in _straightened(points))


def _straightened(points: Sequence[Point]) -> list[Point]:
    """Douglas and Peucker's way of thinning a line, without recursion."""
    if len(points) < 3:
        return list(points)
    kept, todo = {0, len(points) - 1}, [(0, len(points) - 1)]
    while todo:
        first, last = todo.pop()
        away, furthest = 0.0, first
        for i in range(first + 1, last):
            d = _distance(points[i], points[first], points[last])
            if d > away:
                away, furthest = d, i
        if away > _STRAIGHT:
            kept.add(furthest)
            todo += [(first, furthest), (furthest, last)]
    return [points[i] for i in sorted(kept)]


def _distance(p: Point, a: Point, b: Point) -> float:
    """From ``p`` to the piece of line between ``a`` and ``b``."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    long = dx * dx + dy * dy
    along = min(max(((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / long, 0.0), 1.0) if long else 0.0
    return math.hypot(p[0] - a[0] - along * dx, p[1] - a[1] - along * dy)


def text_width(text: str) -> float:
    """About how wide a label is at the pictures' letter size; the letters of East Asia take two places."""
    return sum(_WIDE if unicodedata.east_asian_width(c) in "WF" else _NARROW for c in text)


def label(text: str, widest: float) -> str:
    """``text``, cut with a mark where it would be wider than ``widest``."""
    text = visible(text)
    if text_width(text) <= widest:
        return text
    width, kept = _WIDE, []
    for c in text:
        width += text_width(c)
        if width > widest:
            break
        kept.append(c)
    return "".join(kept).rstrip() + "…"


def row_label(text: str, x: float, y: float, widest: float) -> Markup:
    """A label that ends at ``x``; one that had to be cut tells the whole to a pointer that rests on it."""
    short = label(text, widest)
    whole = fill("<title>{}</title>", visible(text)[:300]) if short != visible(text) else Markup("")
    return fill('<text x="{}" y="{}" text-anchor="end">{}{}</text>', place(x), place(y), whole, short)


def svg(size: tuple[float, float], title: str, told: str, parts: Iterable[Markup], kind: str) -> Markup:
    """The picture, with its title and what it shows in words."""
    width, height = (place(v) for v in size)
    head = '<svg class="{}" role="img" width="{}" viewBox="0 0 {} {}"><title>{}</title><desc>{}</desc>{}</svg>'
    shown = round(size[0] * _ENLARGED)
    return fill(head, kind, shown, width, height, visible(title)[:300], visible(told)[:600], joined(parts))


def fill(template: str, *values: str | float | Markup) -> Markup:
    """A literal of this package with escaped values in its places."""
    return Markup(template).format(*values)  # noqa: S704  templates are literals; values are escaped


def joined(parts: Iterable[Markup]) -> Markup:
    """Pieces of markup, one after another."""
    return Markup("").join(parts)


def place(value: float) -> str:
    """A place on the drawing, to a tenth."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def tick(value: float) -> str:
    """The figure at a tick."""
    return f"{value:.6g}"
