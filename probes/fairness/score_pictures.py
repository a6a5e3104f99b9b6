"""How scores lie in each group, and what every threshold would do: the curves and tables of `fairness.scores`.

Pictures show the six largest groups that are large enough, and say so where there are more. It measures nothing that
`score_measures` does not.
"""

from __future__ import annotations

import numpy as np

from probes.evidence import Cell, Curve, CurvePoint, Evidence, Message, Note, Series, Table, message
from probes.fairness.score_measures import Scored, no_denominator
from probes.gaps import largest_gap
from probes.intervals import Bool, Float, tail_of
from probes.rates import Proportions

MOST = 6
_DRAWN = 10
_SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
_TABLED = (0.05, 0.25, 0.5, 0.75, 0.95)
_RATE_TITLES = {
    "selection_rate": message("Selection rate by threshold and {feature}"),
    "recall": message("Recall by threshold and {feature}"),
    "false_positive_rate": message("False positive rate by threshold and {feature}"),
}
_RATE_LABELS = {
    "selection_rate": message("selection rate"),
    "recall": message("recall"),
    "false_positive_rate": message("false positive rate"),
}


def pictures(sheet: Scored) -> list[Evidence]:
    """Score distributions, reliability, rates at every threshold and their largest gaps."""
    order = sorted(sheet.kept, key=lambda g: -int(sheet.grouping.sizes[g]))
    shown = sorted(order[:MOST])
    out: list[Evidence] = []
    if len(order) > MOST:
        text = message(
            "Curves show the {shown} largest of {groups} groups of {feature}; the figures and tables have all of them.",
            shown=MOST,
            groups=len(order),
            feature=sheet.grouping.title,
        )
        out.append(Note(text=text))
    title = message("Scores of rows with the positive label, by {feature}", feature=sheet.grouping.title)
    other = message("Scores of rows without the positive label, by {feature}", feature=sheet.grouping.title)
    out += [_quantiles(sheet, shown, sheet.rows.positive, title), _quantiles(sheet, shown, ~sheet.rows.positive, other)]
    out += [_distribution(sheet), _reliability(sheet, shown)]
    out += [_rate(sheet, shown, rate) for rate in sheet.rates]
    return [*out, *_gaps(sheet)]


def _quantiles(sheet: Scored, shown: list[int], kind: Bool, title: Message) -> Curve:
    series = []
    for g in shown:
        scores = sheet.rows.scores[sheet.inside(g) & kind]
        values = np.quantile(scores, _SHARES) if len(scores) else np.zeros(0)
        points = tuple(CurvePoint(x=x, y=float(y), n=len(scores)) for x, y in zip(_SHARES, values, strict=False))
        series.append(Series(label=sheet.grouping.label(g), points=points))
    return Curve(
        title=title, x_label=message("share of the rows"), y_label=message("score at most"), series=tuple(series)
    )


def _distribution(sheet: Scored) -> Table:
    lines: list[tuple[Cell, ...]] = []
    for g in range(len(sheet.grouping)):
        for kind, label in ((True, message("positive")), (False, message("other"))):
            scores = sheet.rows.scores[sheet.inside(g) & (sheet.rows.positive == kind)]
            cells: list[Cell] = [None] * (1 + len(_TABLED))
            if len(scores) and sheet.grouping.enough[g]:
                cells = [float(scores.mean()), *(float(q) for q in np.quantile(scores, _TABLED))]
            lines.append((sheet.grouping.label(g), label, len(scores), *cells))
    columns = (
        message("group"),
        message("label"),
        message("rows"),
        message("mean score"),
        *(message("{share%} quantile", share=q) for q in _TABLED),
    )
    title = message("Score distributions by {feature} and label", feature=sheet.grouping.title)
    return Table(title=title, columns=columns, rows=tuple(lines))


def _reliability(sheet: Scored, shown: list[int]) -> Curve:
    series = []
    for g in shown:
        bins = sheet.bins(g)
        low, high = bins.right.limits(tail_of(sheet.asked.level))
        parts = zip(bins.confidence, bins.right.values, low, high, bins.right.denominators, strict=True)
        points = tuple(
            CurvePoint(x=float(x), y=float(y), low=float(a), high=float(b), n=int(n)) for x, y, a, b, n in parts
        )
        series.append(Series(label=sheet.grouping.label(g), points=points))
    return Curve(
        title=message("Reliability by {feature}", feature=sheet.grouping.title),
        x_label=message("mean score of the bin"),
        y_label=message("share of positive rows"),
        series=tuple(series),
        diagonal=True,
    )


def _rate(sheet: Scored, shown: list[int], rate: str) -> Curve:
    drawn = _drawn(sheet)
    found, grid = sheet.rates[rate][drawn], sheet.grid[drawn]
    series = []
    for g in shown:
        n = int(found[0].denominators[g])
        values: Float = np.array([r.values[g] for r in found]) if n else np.zeros(0)
        points = tuple(CurvePoint(x=float(t), y=float(y), n=n) for t, y in zip(grid, values, strict=False))
        series.append(Series(label=sheet.grouping.label(g), points=points))
    return Curve(
        title=_RATE_TITLES[rate].put(feature=sheet.grouping.title),
        x_label=message("threshold"),
        y_label=_RATE_LABELS[rate],
        series=tuple(series),
    )


def _drawn(sheet: Scored) -> slice:
    """No more than ten evenly spaced thresholds of the grid: lines look the same with all of them, and take less room."""
    return slice(None, None, -(-len(sheet.grid) // _DRAWN))


def _gaps(sheet: Scored) -> list[Evidence]:
    """The largest gap at each threshold, with bands that hold at all thresholds of one rate together."""
    if len(sheet.kept) < 2:
        return []
    level = 1 - (1 - sheet.asked.level) / sheet.asked.thresholds
    out: list[Evidence] = []
    series = []
    drawn = _drawn(sheet)
    for rate, found in sheet.rates.items():
        if no_denominator(sheet, rate) is None:
            some = [r.select(np.array(sheet.kept, dtype=np.int64)) for r in found[drawn]]
            points = tuple(_gap(float(t), r, level) for t, r in zip(sheet.grid[drawn], some, strict=True))
            series.append(Series(label=_RATE_LABELS[rate], points=points))
    if series:
        curve = Curve(
            title=message(
                "Largest gap over {feature} at every threshold; bands hold at all thresholds together",
                feature=sheet.grouping.title,
            ),
            x_label=message("threshold"),
            y_label=message("largest gap"),
            series=tuple(series),
        )
        out.append(curve)
    return out


def _gap(threshold: float, rate: Proportions, level: float) -> CurvePoint:
    found = largest_gap([rate], level)
    return CurvePoint(
        x=threshold,
        y=found.value,
        low=min(found.low, found.value),
        high=max(found.high, found.value),
        n=int(rate.denominators.sum()),
    )
