from __future__ import annotations

import math
import re
import sys
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.evidence import Bar, Bars, Curve, CurvePoint, IntervalPlot, IntervalPoint, Series, message
from reports.charts import Scale, bars, curve, interval_plot, strip

finite = st.floats(allow_nan=False, allow_infinity=False)


def drawn(svg: str) -> Xml.Element:
    """The picture as XML; it parses, holds no style attribute, and every number in it is finite."""
    root = Xml.fromstring(svg)
    for element in root.iter():
        assert "style" not in element.attrib
        for value in element.attrib.values():
            assert "nan" not in value
            assert "inf" not in value
    return root


def places(root: Xml.Element, kind: str, axis: str = "cx") -> list[float]:
    return [float(e.attrib[axis]) for e in root.iter() if e.attrib.get("class") == kind]


def test_strip_puts_the_value_on_the_right_side_of_the_limit() -> None:
    over = drawn(strip((0.101, 0.143, 0.189), 0.1, True, "gap"))
    under = drawn(strip((0.01, 0.03, 0.05), 0.1, True, "gap"))
    for root, beyond in ((over, True), (under, False)):
        limit = next(e for e in root.iter() if e.attrib.get("class") == "limit").attrib["d"]
        at = float(re.match(r"M([\d.]+)", limit)[1])  # type: ignore[index]
        assert (places(root, "dot")[0] > at) is beyond


def test_strip_shades_what_is_allowed() -> None:
    top = drawn(strip((0.6, 0.7, 0.8), 0.5, False, "recall"))
    band = next(e for e in top.iter() if e.attrib.get("class") == "ok")
    assert float(band.attrib["x"]) + float(band.attrib["width"]) == pytest.approx(348)
    low = drawn(strip((0.6, 0.7, 0.8), 0.5, True, "gap"))
    band = next(e for e in low.iter() if e.attrib.get("class") == "ok")
    assert float(band.attrib["x"]) == 12


@given(low=finite | st.none(), value=finite, high=finite | st.none(), limit=finite, upper=st.booleans())
def test_strip_draws_any_numbers(
    low: float | None, value: float, high: float | None, limit: float, upper: bool
) -> None:
    root = drawn(strip((low, value, high), limit, upper, "x"))
    assert 0 <= places(root, "dot")[0] <= 360


@given(st.lists(st.tuples(finite, finite, finite), max_size=5))
def test_plots_draw_any_numbers(rows: list[tuple[float, float, float]]) -> None:
    title = message("t")
    points = tuple(IntervalPoint(label="p", value=a, low=min(a, b), high=max(b, c)) for a, b, c in rows)
    drawn(interval_plot(IntervalPlot(title=title, points=points, reference=0.0), "t"))
    drawn(bars(Bars(title=title, bars=tuple(Bar(label="b", value=a) for a, _, _ in rows)), "t"))
    series = Series(label="s", points=tuple(CurvePoint(x=a, y=b, low=c, high=c) for a, b, c in rows))
    drawn(curve(Curve(title=title, x_label=title, y_label=title, series=(series,), diagonal=True), "t", ("x", "y")))


def test_text_is_escaped_and_clean() -> None:
    svg = bars(Bars(title=message("t"), bars=(Bar(label="<b>\0&", value=1),)), '<img src="x">')
    root = drawn(svg)
    assert [e.tag for e in root.iter() if e.tag in ("b", "img")] == []
    assert "<b>\ufffd&" in "".join(root.itertext())


def test_order_is_kept_and_undefined_points_have_no_dot() -> None:
    points = (
        IntervalPoint(label="a", value=0.2),
        IntervalPoint(label="b", value=None),
        IntervalPoint(label="c", value=0.1),
    )
    root = drawn(interval_plot(IntervalPlot(title=message("t"), points=points), "t"))
    assert len(places(root, "dot")) == 2
    heights = places(root, "dot", "cy")
    assert heights == sorted(heights)


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-6, 1e6))
def test_ticks_lie_inside_and_are_few(low: float, width: float) -> None:
    ticks = Scale(low, low + width, 0, 100).ticks()
    assert len(ticks) <= 7
    slack = width * 1e-6 + abs(low) * 4 * sys.float_info.epsilon
    assert all(low - slack <= t <= low + width + slack for t in ticks)


def test_ticks_are_round() -> None:
    assert Scale(0, 1, 0, 100).ticks() == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert math.isclose(float(Scale(0, 2, 10, 110)(1.0)), 60)
