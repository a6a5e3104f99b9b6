from __future__ import annotations

import math
import re
import sys
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.evidence import Bar, Bars, Curve, CurvePoint, IntervalPlot, IntervalPoint, Series, message
from reports.charts import bars, curve, interval_plot, strip, thinned
from reports.drawing import Scale, line, text_width

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


@given(st.lists(st.tuples(st.floats(0, 400), st.floats(0, 250)), min_size=1, max_size=60))
def test_a_thinned_line_keeps_its_ends_and_stays_within_half_a_pixel(points: list[tuple[float, float]]) -> None:
    kept = [tuple(float(v) for v in p.split(" ")) for p in line(points).split("L")]
    assert kept[0] == pytest.approx(points[0], abs=0.06)
    assert kept[-1] == pytest.approx(points[-1], abs=0.06)
    for p in points:
        assert min(_away(p, a, b) for a, b in zip(kept, kept[1:] or kept, strict=False)) < 0.5


def _away(p: tuple[float, ...], a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """By the projection on the piece of line, ends included."""
    along = complex(b[0] - a[0], b[1] - a[1])
    offset = complex(p[0] - a[0], p[1] - a[1])
    share = min(max((offset / along).real, 0.0), 1.0) if along else 0.0
    return abs(offset - share * along)


def test_a_straight_line_of_a_thousand_points_takes_two() -> None:
    assert line([(i / 10, i / 20) for i in range(1000)]) == "0 0L99.9 50"


def test_a_thinned_table_spreads_its_rows_and_keeps_both_ends() -> None:
    assert thinned(range(1001), 21) == tuple(range(0, 1001, 50))
    assert thinned(range(5), 21) == (0, 1, 2, 3, 4)


def test_labels_of_ordinary_length_are_whole_and_long_ones_tell_the_rest() -> None:
    long, ordinary = "w" * 80, "derog_neg_emote_h, young"
    points = tuple(IntervalPoint(label=t, value=0.5) for t in (ordinary, long))
    root = drawn(interval_plot(IntervalPlot(title=message("t"), points=points), "t"))
    texts = [e for e in root.iter("text") if e.text == ordinary or (e.find("title") is not None)]
    assert [e.text for e in texts][:1] == [ordinary]
    assert texts[1].find("title").text == long  # type: ignore[union-attr]
    assert text_width("漢字") > text_width("ab")


def test_every_figure_stands_beside_its_mark() -> None:
    points = (IntervalPoint(label="a", value=0.25, low=0.1, high=0.4), IntervalPoint(label="b", value=None))
    root = drawn(interval_plot(IntervalPlot(title=message("t"), points=points), "t"))
    assert [e.text for e in root.iter("text") if e.attrib.get("class") == "value"] == ["0.250"]
