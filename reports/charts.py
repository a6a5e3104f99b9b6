"""Pictures as inline SVG: small, deterministic, legible without colour, and without a script or a style attribute.

A picture never stands alone: the page puts the same numbers beside it as a table. Nothing here computes a figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from markupsafe import Markup

from probes.evidence import Bars, Curve, IntervalPlot, Series, format_number
from reports.drawing import (
    Point,
    Scale,
    axis,
    fill,
    joined,
    label,
    line,
    place,
    row_label,
    scale,
    side_axis,
    svg,
    text_width,
)
from reports.wording import visible

MOST_ROWS = 60
MOST_POINTS = 21
_ROW = 20
_NAMES = (60.0, 264.0)
_FIGURES = 50
_PLOT = 290

T = TypeVar("T")


def strip(ends: tuple[float | None, float, float | None], limit: float, upper: bool, name: str) -> Markup:
    """One figure with its interval against its limit.

    Args:
        ends: low, value, high; an end that is None runs to the edge as an arrow.
        limit: the threshold.
        upper: the figure should be at or below ``limit``, else at or above.
        name: what the figure is, for readers who cannot see the picture.
    """
    low, value, high = ends
    x = scale([v for v in (low, value, high, limit) if v is not None], 12, 348, zero=upper)
    side = (12.0, x.at(limit)) if upper else (x.at(limit), 348.0)
    path = f"M{'12' if low is None else x(low)} 29H{'348' if high is None else x(high)}"
    path += "".join(f"M{x(end)} 24v10" for end in (low, high) if end is not None)
    path += "M18 24l-6 5 6 5" if low is None else ""
    path += "M342 24l6 5-6 5" if high is None else ""
    sign = "≤" if upper else "≥"
    at_end = Markup(' text-anchor="end"') if x.at(limit) > 250 else Markup("")
    parts = [
        fill('<rect class="ok" x="{}" y="20" width="{}" height="18"/>', place(side[0]), place(side[1] - side[0])),
        axis(x, 44),
        fill('<path class="ci" d="{}"/>', path),
        fill('<circle class="dot" cx="{}" cy="29" r="4.5"/>', x(value)),
        fill('<path class="limit" d="M{} 15V44"/>', x(limit)),
        fill('<text x="{}" y="11"{}>{} {}</text>', x(limit), at_end, sign, format_number(limit)),
    ]
    told = f"{format_number(value)}, {_span(low, high)}; {sign} {format_number(limit)}"
    return svg((360, 60), name, told, parts, "strip")


def interval_plot(plot: IntervalPlot, title: str) -> Markup:
    """Estimates with their intervals, one a row with its figure, against a reference."""
    points = plot.points[:MOST_ROWS]
    numbers = [v for p in points for v in (p.value, p.low, p.high) if v is not None]
    if plot.reference is not None:
        numbers.append(plot.reference)
    names = _names(str(p.label) for p in points)
    x = scale(numbers or [0.0, 1.0], names + 10, names + 10 + _PLOT, zero=False)
    bottom = 14 + _ROW * len(points)
    parts = [axis(x, bottom)]
    if plot.reference is not None:
        parts.append(fill('<path class="limit" d="M{} 4V{}"/>', x(plot.reference), bottom))
    path, figures = "", x.end + _FIGURES
    for i, p in enumerate(points):
        y = 18 + _ROW * i
        parts.append(row_label(str(p.label), names, y + 4, names))
        if p.value is None:
            parts.append(fill('<text class="faint" x="{}" y="{}">–</text>', place(x.start), y + 4))
            continue
        if p.low is not None and p.high is not None:
            path += f"M{x(p.low)} {y}H{x(p.high)}M{x(p.low)} {y - 4}v8M{x(p.high)} {y - 4}v8"
        parts.append(_at_end(figures, y + 4, format_number(p.value)))
    if path:
        parts.append(fill('<path class="ci" d="{}"/>', path))
    parts += [
        fill('<circle class="dot" cx="{}" cy="{}" r="4"/>', x(p.value), 18 + _ROW * i)
        for i, p in enumerate(points)
        if p.value is not None
    ]
    return svg((figures + 4, bottom + 18), title, _listed((str(p.label), p.value) for p in points), parts, "plot")


def bars(chart: Bars, title: str) -> Markup:
    """Counts or shares by name, one bar a row."""
    shown = chart.bars[:MOST_ROWS]
    names = _names(str(b.label) for b in shown)
    x = scale([0.0, *(b.value for b in shown)], names + 10, names + 10 + _PLOT, zero=True)
    figures = x.end + _FIGURES
    parts = []
    for i, bar in enumerate(shown):
        y = 8 + _ROW * i
        left, right = sorted((x.at(0.0), x.at(bar.value)))
        parts.append(row_label(str(bar.label), names, y + 11, names))
        parts.append(
            fill(
                '<rect class="bar" x="{}" y="{}" width="{}" height="14"/>',
                place(left),
                y,
                place(right - left),
            )
        )
        parts.append(_at_end(figures, y + 11, figure(bar.value)))
    bottom = 8 + _ROW * len(shown)
    parts.append(fill('<path class="axis" d="M{} 4V{}"/>', x(0.0), bottom))
    return svg((figures + 4, bottom + 6), title, _listed((str(b.label), b.value) for b in shown), parts, "plot")


def curve(chart: Curve, title: str, labels: tuple[str, str]) -> Markup:
    """Lines over a numeric axis, with bands where there are any, and y = x where asked for."""
    points = [p for s in chart.series for p in s.points]
    whole = [0.0, 1.0] if chart.diagonal and all(0 <= v <= 1 for p in points for v in (p.x, p.y)) else []
    x = scale([p.x for p in points] + whole or [0.0, 1.0], 52, 430, zero=True)
    heights = [v for p in points for v in (p.y, p.low, p.high) if v is not None]
    y = scale(heights + whole or [0.0, 1.0], 250, 14, zero=True)
    parts = [axis(x, 250), side_axis(y, 52, 430)]
    if chart.diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(fill('<path class="ideal" d="M{} {}L{} {}"/>', x(low), y(low), x(high), y(high)))
    for i, series in enumerate(chart.series):
        parts += _line(series, i % 6, x, y)
    parts.append(fill('<text x="241" y="284" text-anchor="middle">{}</text>', label(labels[0], 370)))
    parts.append(
        fill('<text transform="translate(13 132) rotate(-90)" text-anchor="middle">{}</text>', label(labels[1], 260))
    )
    return svg((460, 290), title, "; ".join(_told(s) for s in chart.series), parts, "curve")


def figure(value: float) -> str:
    """A bar's value: counts are whole, and floats only because a bar may also be a share."""
    return str(int(value)) if float(value).is_integer() else format_number(value)


def key(number: int) -> Markup:
    """The piece of line that stands for a series in its legend."""
    body = [fill('<path class="line s{}" d="M0 5H28"/>', number % 6), _marker(number % 6, [(14, 5)])]
    return fill('<svg class="key" viewBox="0 0 28 10" aria-hidden="true">{}</svg>', joined(body))


def thinned(points: Sequence[T], most: int = MOST_POINTS) -> tuple[T, ...]:
    """At most ``most`` of a curve's points, evenly spread, the first and the last among them."""
    if len(points) <= most:
        return tuple(points)
    return tuple(points[round(i * (len(points) - 1) / (most - 1))] for i in range(most))


def _line(series: Series, number: int, x: Scale, y: Scale) -> list[Markup]:
    banded = [p for p in series.points if p.low is not None and p.high is not None]
    parts = []
    if len(banded) > 1:
        over = line([(x.at(p.x), y.at(p.high)) for p in banded if p.high is not None])
        under = line([(x.at(p.x), y.at(p.low)) for p in reversed(banded) if p.low is not None])
        parts.append(fill('<path class="band s{}" d="M{}L{}Z"/>', number, over, under))
    places = [(x.at(p.x), y.at(p.y)) for p in series.points]
    if places:
        parts.append(fill('<path class="line s{}" d="M{}"/>', number, line(places)))
    if 0 < len(places) <= 40:
        parts.append(_marker(number, places))
    return parts


def _marker(number: int, places: Sequence[Point]) -> Markup:
    """A disc, a square or a triangle at each place: what tells series apart without colour, with the dashes of the line."""
    shapes = ("m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0", "m-3-3h6v6h-6z", "m0-4l4 7h-8z")
    path = "".join(f"M{place(a)} {place(b)}{shapes[number % 3]}" for a, b in places)
    return fill('<path class="mark s{}" d="{}"/>', number, path)


def _names(labels: Iterable[str]) -> float:
    """How wide the column of labels must be."""
    low, high = _NAMES
    return min(max([low, *(text_width(visible(t)) for t in labels)]), high)


def _at_end(x: float, y: float, text: str) -> Markup:
    return fill('<text class="value" x="{}" y="{}" text-anchor="end">{}</text>', place(x), place(y), text)


def _told(series: Series) -> str:
    """A line in words: where it starts, where it ends, and how far it ranges."""
    if not series.points:
        return f"{series.label}: –"
    first, last = series.points[0], series.points[-1]
    heights = [p.y for p in series.points]
    ends = f"({format_number(first.x)}, {format_number(first.y)}) → ({format_number(last.x)}, {format_number(last.y)})"
    return f"{series.label}: {ends}, {format_number(min(heights))} … {format_number(max(heights))}"


def _span(low: float | None, high: float | None) -> str:
    return f"[{'–' if low is None else format_number(low)}, {'–' if high is None else format_number(high)}]"


def _listed(pairs: Iterable[tuple[str, float | None]]) -> str:
    return "; ".join(f"{name}: {'–' if value is None else format_number(value)}" for name, value in pairs)
