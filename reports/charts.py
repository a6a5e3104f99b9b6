"""Pictures as inline SVG: small, deterministic, legible without colour, and without a script or a style attribute.

Text reaches the markup only through escaping. A picture never stands alone: the page puts the same numbers beside it as a
table. Nothing here computes a figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from probes.evidence import Bars, Curve, IntervalPlot, Series, format_number
from reports.wording import visible

MOST_ROWS = 60
_ROW = 20
_LABEL = 20
_FAR, _NEAR = 1e300, 1e-300


@dataclass(frozen=True)
class Scale:
    """Data to places on the drawing: ``low`` lands on ``start``, ``high`` on ``end``; what lies beyond is held at the edge."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> str:
        share = (value - self.low) / (self.high - self.low)
        share = min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
        return _place(self.start + share * (self.end - self.start))

    def ticks(self, most: int = 5) -> tuple[float, ...]:
        """Round numbers inside the range, at most ``most`` steps apart."""
        raw = (self.high - self.low) / most
        magnitude = 10.0 ** math.floor(math.log10(raw))
        step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return tuple(round(i * step, 12) for i in range(first, last + 1))


def strip(ends: tuple[float | None, float, float | None], limit: float, upper: bool, name: str) -> Markup:
    """One figure with its interval against its limit.

    Args:
        ends: low, value, high; an end that is None runs to the edge as an arrow.
        limit: the threshold.
        upper: the figure should be at or below ``limit``, else at or above.
        name: what the figure is, for readers who cannot see the picture.
    """
    low, value, high = ends
    x = _scale([v for v in (low, value, high, limit) if v is not None], 12, 348, zero=upper)
    side = (12.0, float(x(limit))) if upper else (float(x(limit)), 348.0)
    left = "12" if low is None else x(low)
    right = "348" if high is None else x(high)
    near_end = float(x(limit)) > 250
    parts = [
        _fill('<rect class="ok" x="{}" y="20" width="{}" height="18"/>', _place(side[0]), _place(side[1] - side[0])),
        _axis(x, 44),
        _fill('<path class="ci" d="M{} 29H{}"/>', left, right),
        *(_fill('<path class="ci" d="M{} 24v10"/>', x(end)) for end in (low, high) if end is not None),
        _fill('<path class="ci" d="M18 24l-6 5 6 5"/>') if low is None else Markup(""),
        _fill('<path class="ci" d="M342 24l6 5-6 5"/>') if high is None else Markup(""),
        _fill('<circle class="dot" cx="{}" cy="29" r="4.5"/>', x(value)),
        _fill('<path class="limit" d="M{} 15V44"/>', x(limit)),
        _fill(
            '<text x="{}" y="11"{}>{} {}</text>',
            x(limit),
            _anchor(near_end),
            "≤" if upper else "≥",
            format_number(limit),
        ),
    ]
    told = f"{format_number(value)}, {_span(low, high)}; {'≤' if upper else '≥'} {format_number(limit)}"
    return _svg((360, 60), name, told, parts, "strip")


def interval_plot(plot: IntervalPlot, title: str) -> Markup:
    """Estimates with their intervals, one a row, against a reference."""
    points = plot.points[:MOST_ROWS]
    numbers = [v for p in points for v in (p.value, p.low, p.high) if v is not None]
    if plot.reference is not None:
        numbers.append(plot.reference)
    x = _scale(numbers or [0.0, 1.0], 160, 448, zero=False)
    bottom = 14 + _ROW * len(points)
    parts = [_axis(x, bottom)]
    if plot.reference is not None:
        parts.append(_fill('<path class="limit" d="M{} 4V{}"/>', x(plot.reference), bottom))
    for i, p in enumerate(points):
        y = 18 + _ROW * i
        parts.append(_fill('<text x="150" y="{}" text-anchor="end">{}</text>', y + 4, _label(p.label)))
        if p.value is None:
            parts.append(_fill('<text class="faint" x="160" y="{}">–</text>', y + 4))
            continue
        if p.low is not None and p.high is not None:
            d = f"M{x(p.low)} {y}H{x(p.high)}M{x(p.low)} {y - 4}v8M{x(p.high)} {y - 4}v8"
            parts.append(_fill('<path class="ci" d="{}"/>', d))
        parts.append(_fill('<circle class="dot" cx="{}" cy="{}" r="4"/>', x(p.value), y))
    return _svg((460, bottom + 18), title, _listed((p.label, p.value) for p in points), parts, "plot")


def bars(chart: Bars, title: str) -> Markup:
    """Counts or shares by name, one bar a row."""
    shown = chart.bars[:MOST_ROWS]
    x = _scale([0.0, *(b.value for b in shown)], 160, 400, zero=True)
    parts = []
    for i, bar in enumerate(shown):
        y = 8 + _ROW * i
        ends = sorted((float(x(0.0)), float(x(bar.value))))
        parts.append(_fill('<text x="150" y="{}" text-anchor="end">{}</text>', y + 11, _label(bar.label)))
        parts.append(
            _fill(
                '<rect class="bar" x="{}" y="{}" width="{}" height="14"/>',
                _place(ends[0]),
                y,
                _place(ends[1] - ends[0]),
            )
        )
        parts.append(_fill('<text x="{}" y="{}">{}</text>', _place(ends[1] + 5), y + 11, figure(bar.value)))
    parts.append(_fill('<path class="axis" d="M{} 4V{}"/>', x(0.0), 8 + _ROW * len(shown)))
    return _svg((460, 14 + _ROW * len(shown)), title, _listed((b.label, b.value) for b in shown), parts, "plot")


def curve(chart: Curve, title: str, labels: tuple[str, str]) -> Markup:
    """Lines over a numeric axis, with bands where there are any, and y = x where asked for."""
    points = [p for s in chart.series for p in s.points]
    whole = [0.0, 1.0] if chart.diagonal and all(0 <= v <= 1 for p in points for v in (p.x, p.y)) else []
    x = _scale([p.x for p in points] + whole or [0.0, 1.0], 52, 430, zero=True)
    heights = [v for p in points for v in (p.y, p.low, p.high) if v is not None]
    y = _scale(heights + whole or [0.0, 1.0], 250, 14, zero=True)
    parts = [_axis(x, 250), _side_axis(y)]
    if chart.diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(_fill('<path class="ideal" d="M{} {}L{} {}"/>', x(low), y(low), x(high), y(high)))
    for i, series in enumerate(chart.series):
        parts += _line(series, i % 6, x, y)
    parts.append(_fill('<text x="241" y="284" text-anchor="middle">{}</text>', _label(labels[0], 60)))
    parts.append(
        _fill('<text transform="translate(13 132) rotate(-90)" text-anchor="middle">{}</text>', _label(labels[1], 36))
    )
    told = "; ".join(f"{s.label}: {len(s.points)}" for s in chart.series)
    return _svg((460, 290), title, told, parts, "curve")


def figure(value: float) -> str:
    """A bar's value: counts are whole, and floats only because a bar may also be a share."""
    return str(int(value)) if float(value).is_integer() else format_number(value)


def key(number: int) -> Markup:
    """The piece of line that stands for a series in its legend."""
    body = [_fill('<path class="line s{}" d="M0 5H28"/>', number % 6), _marker(number % 6, "14", "5")]
    return Markup('<svg class="key" viewBox="0 0 28 10" aria-hidden="true">{}</svg>').format(Markup("").join(body))


def _line(series: Series, number: int, x: Scale, y: Scale) -> list[Markup]:
    banded = [p for p in series.points if p.low is not None and p.high is not None]
    parts = []
    if len(banded) > 1:
        over = [f"{x(p.x)} {y(p.high)}" for p in banded if p.high is not None]
        under = [f"{x(p.x)} {y(p.low)}" for p in reversed(banded) if p.low is not None]
        parts.append(_fill('<path class="band s{}" d="M{}Z"/>', number, "L".join(over + under)))
    d = "L".join(f"{x(p.x)} {y(p.y)}" for p in series.points)
    if d:
        parts.append(_fill('<path class="line s{}" d="M{}"/>', number, d))
    if len(series.points) <= 40:
        parts += [_marker(number, x(p.x), y(p.y)) for p in series.points]
    return parts


def _marker(number: int, x: str, y: str) -> Markup:
    shapes = (
        '<circle class="mark s{}" cx="{}" cy="{}" r="3"/>',
        '<path class="mark s{}" d="M{} {}m-3-3h6v6h-6z"/>',
        '<path class="mark s{}" d="M{} {}m0-4l4 7h-8z"/>',
    )
    return _fill(shapes[number % 3], number, x, y)


def _scale(values: Sequence[float], start: float, end: float, zero: bool) -> Scale:
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


def _axis(x: Scale, y: float) -> Markup:
    ticks = [
        _fill(
            '<path class="axis" d="M{} {}v4"/><text class="faint" x="{}" y="{}" text-anchor="middle">{}</text>',
            x(t),
            y,
            x(t),
            _place(y + 15),
            _tick(t),
        )
        for t in x.ticks()
    ]
    return _fill('<path class="axis" d="M{} {}H{}"/>', _place(x.start), y, _place(x.end)) + Markup("").join(ticks)


def _side_axis(y: Scale) -> Markup:
    ticks = [
        _fill(
            '<path class="grid" d="M52 {}H430"/><text class="faint" x="46" y="{}" text-anchor="end">{}</text>',
            y(t),
            _place(float(y(t)) + 4),
            _tick(t),
        )
        for t in y.ticks()
    ]
    return Markup("").join(ticks)


def _svg(size: tuple[int, int], title: str, told: str, parts: Iterable[Markup], kind: str) -> Markup:
    return Markup('<svg class="{}" role="img" viewBox="0 0 {} {}"><title>{}</title><desc>{}</desc>{}</svg>').format(
        kind, *size, visible(title)[:300], visible(told)[:600], Markup("").join(parts)
    )


def _fill(template: str, *values: str | float | Markup) -> Markup:
    return Markup(template).format(*values)  # noqa: S704  templates are the literals of this module; values are escaped


def _anchor(near_end: bool) -> Markup:
    return Markup(' text-anchor="end"') if near_end else Markup(' text-anchor="start"')


def _place(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _tick(value: float) -> str:
    return f"{value:.6g}"


def _label(text: str, longest: int = _LABEL) -> str:
    text = visible(text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _span(low: float | None, high: float | None) -> str:
    return f"[{'–' if low is None else format_number(low)}, {'–' if high is None else format_number(high)}]"


def _listed(pairs: Iterable[tuple[str, float | None]]) -> str:
    return "; ".join(f"{label}: {'–' if value is None else format_number(value)}" for label, value in pairs)
