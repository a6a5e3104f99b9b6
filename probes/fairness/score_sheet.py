"""All figures of `fairness.scores` on one feature, with the plots of its areas and the table of its groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from probes.evidence import (
    AnyMeasurement,
    Cell,
    Evidence,
    IntervalPlot,
    IntervalPoint,
    Measurement,
    Note,
    Table,
    Undefined,
    message,
)
from probes.fairness.score_measures import (
    Scored,
    calibration,
    calibration_gap,
    group_areas,
    mean_areas,
    overall,
    threshold_gaps,
)
from probes.fairness.subgroup_ranking import AREAS
from probes.reasons import naming

_TITLES = {
    "subgroup_auc": message("Subgroup AUC by {feature}"),
    "bpsn_auc": message("BPSN AUC by {feature}"),
    "bnsp_auc": message("BNSP AUC by {feature}"),
}
_TITLES_CLASS = {
    "subgroup_auc": message("Subgroup AUC by {feature}, class {name}"),
    "bpsn_auc": message("BPSN AUC by {feature}, class {name}"),
    "bnsp_auc": message("BNSP AUC by {feature}, class {name}"),
}


def read(sheet: Scored, name: str | None) -> tuple[list[AnyMeasurement], list[Evidence]]:
    """The figures, and the evidence that goes with them; ``name`` is the class where there are several."""
    figures: dict[str, list[AnyMeasurement]] = {area: group_areas(sheet, area) for area in AREAS}
    means = [mean_areas(sheet, area, figures[area]) for area in AREAS]
    figures |= calibration(sheet)
    whole = overall(sheet.rows, sheet.asked)
    reference = whole.value if isinstance(whole, Measurement) else None
    evidence: list[Evidence] = [
        *(_plot(sheet, area, figures[area], reference, name) for area in AREAS),
        _table(sheet, figures, name),
        *_flat(sheet, figures),
    ]
    gaps = [*means, calibration_gap(sheet, figures["calibration_in_the_large"]), *threshold_gaps(sheet)]
    return [*(m for found in figures.values() for m in found), *gaps], evidence


def _plot(
    sheet: Scored, area: str, found: Sequence[AnyMeasurement], reference: float | None, name: str | None
) -> IntervalPlot:
    points = []
    for g, m in enumerate(found):
        label, n = sheet.grouping.label(g), m.counts.denominator
        if isinstance(m, Undefined):
            points.append(IntervalPoint(label=label, value=None, n=n, note=m.reason))
        else:
            low, high = (m.interval.low, m.interval.high) if m.interval else (None, None)
            points.append(IntervalPoint(label=label, value=m.value, low=low, high=high, n=n))
    title = _TITLES[area] if name is None else _TITLES_CLASS[area]
    params = {"feature": sheet.grouping.title} | ({} if name is None else {"name": name})
    return IntervalPlot(
        title=title.put(**params),
        points=tuple(points),
        reference=reference,
        reference_label=None if reference is None else message("all rows together"),
    )


def _table(sheet: Scored, figures: Mapping[str, Sequence[AnyMeasurement]], name: str | None) -> Table:
    heads = {
        "subgroup_auc": message("subgroup AUC"),
        "bpsn_auc": message("BPSN AUC"),
        "bnsp_auc": message("BNSP AUC"),
        "calibration_error": message("calibration error"),
        "calibration_in_the_large": message("calibration in the large"),
    }
    lines: list[tuple[Cell, ...]] = []
    for g in range(len(sheet.grouping)):
        positive = int((sheet.rows.positive & sheet.inside(g)).sum())
        cells = [getattr(found[g], "value", None) for found in figures.values()]
        lines.append((sheet.grouping.label(g), int(sheet.grouping.sizes[g]), positive, *cells))
    title = message("Ranking and calibration by {feature}", feature=sheet.grouping.title)
    if name is not None:
        title = message("Ranking and calibration by {feature}, class {name}", feature=sheet.grouping.title, name=name)
    columns = (message("group"), message("rows"), message("positive rows"), *(heads[key] for key in figures))
    return Table(title=title, columns=columns, rows=tuple(lines))


def _flat(sheet: Scored, figures: Mapping[str, Sequence[AnyMeasurement]]) -> list[Evidence]:
    flat = [
        sheet.grouping.label(g)
        for g in range(len(sheet.grouping))
        if any(
            isinstance(m := figures[area][g], Measurement) and m.interval is not None and m.interval.degenerate
            for area in AREAS
        )
    ]
    if not flat:
        return []
    few = message(
        "An AUC of {names} shows no variation (scores separate the rows perfectly, or are all equal): its interval has no "
        "width, which is not certainty."
    )
    many = message(
        "An AUC of {names} and {more} more shows no variation (scores separate the rows perfectly, or are all equal): its "
        "interval has no width, which is not certainty."
    )
    return [Note(text=naming(few, many, flat))]
