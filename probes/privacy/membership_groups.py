"""Whose training rows are found most: the loss attack among the rows of each group, the largest gap, and which groups stand out. It
compares groups of one feature at a time and drops none in silence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from probes.evidence import (
    AnyMeasurement,
    Axis,
    Cell,
    Evidence,
    IntervalPlot,
    IntervalPoint,
    Measurement,
    Message,
    Slice,
    Table,
    Undefined,
    feature_axes,
    group_axes,
    message,
)
from probes.gaps import gap_high, gap_low, simultaneous_tail
from probes.intervals import Bool, Estimate, Int, critical, tail_of
from probes.multiplicity import holm
from probes.privacy.membership_definitions import GAP, GROUP
from probes.privacy.membership_figures import Scored, area_measure
from probes.reasons import naming

CHANCE = 0.5


@dataclass(frozen=True, kw_only=True)
class Feature:
    """The groups of one sensitive feature: a code a row, -1 where it is missing."""

    name: str
    codes: Int
    groups: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Group:
    feature: str
    name: str
    rows: Scored
    rest: Scored
    enough: bool

    @property
    def axes(self) -> Slice:
        return group_axes({self.feature: self.name})


@dataclass(frozen=True, kw_only=True)
class GroupFigures:
    """What is told about groups."""

    measurements: tuple[AnyMeasurement, ...]
    evidence: tuple[Evidence, ...]
    remarks: tuple[Message, ...]


def measure_groups(features: tuple[Feature, ...], rows: Scored, level: float, min_group: int) -> GroupFigures:
    """AUC of every group, the largest gap of every feature, and the groups whose rows are told more easily than the rest's."""
    every = [_groups(feature, rows, min_group) for feature in features]
    measurements: list[AnyMeasurement] = []
    evidence: list[Evidence] = []
    for feature, groups in zip(features, every, strict=True):
        measurements += [_group_measure(group, level, min_group) for group in groups]
        measurements.append(_gap(feature, [g for g in groups if g.enough], rows, level))
        evidence.append(_plot(feature, groups, level))
    compared = [g for groups in every for g in groups if g.enough and min(g.rest.members, g.rest.others) >= min_group]
    adjusted = holm([_p_value(group, level) for group in compared]) if compared else np.empty(0)
    told = {(g.feature, g.name): float(p) for g, p in zip(compared, adjusted, strict=True)}
    if any(every):
        evidence.append(_table([g for groups in every for g in groups], told, level))
    missing = tuple(
        message(
            "{rows} rows have no value for {feature}; they are in none of its groups.",
            rows=int(np.count_nonzero(f.codes < 0)), feature=f.name,
        )
        for f in features if (f.codes < 0).any()
    )  # fmt: skip
    return GroupFigures(
        measurements=tuple(measurements), evidence=tuple(evidence), remarks=(*missing, *_claim(compared, told, level))
    )  # fmt: skip


def _groups(feature: Feature, rows: Scored, min_group: int) -> list[_Group]:
    out = []
    for code, name in enumerate(feature.groups):
        inside: Bool = feature.codes == code
        own, rest = rows.where(inside), rows.where((feature.codes >= 0) & ~inside)
        enough = min(own.members, own.others) >= min_group
        out.append(_Group(feature=feature.name, name=name, rows=own, rest=rest, enough=enough))
    return out


def _group_measure(group: _Group, level: float, min_group: int) -> AnyMeasurement:
    if not group.enough:
        reason = message(
            "{members} training rows and {others} others of this group; {least} of each are the least that is measured.",
            members=group.rows.members, others=group.rows.others, least=min_group,
        )  # fmt: skip
        return Undefined(name=GROUP, slice=group.axes, counts=group.rows.counts(), reason=reason)
    return area_measure(GROUP, group.rows, level, group.axes)


def _gap(feature: Feature, groups: list[_Group], rows: Scored, level: float) -> AnyMeasurement:
    """Largest difference of two groups' AUC; the two ends have the plain form that `probes.gaps` keeps for ratios."""
    where = feature_axes(feature.name)
    counts = rows.where(feature.codes >= 0).counts()
    if len(groups) < 2:
        reason = message("Fewer than two groups have enough rows of both kinds to be compared.")
        return Undefined(name=GAP, slice=where, counts=counts, reason=reason)
    counts = counts.model_copy(update={"smallest": min(min(g.rows.members, g.rows.others) for g in groups)})
    tail = tail_of(level)
    plain = [_area(g.rows, 1 - 2 * tail) for g in groups]
    flat = [g.name for g, e in zip(groups, plain, strict=True) if e.low == e.high]
    if flat:
        reason = naming(
            message("Training rows are told from others without any error, or never, in {names}, which leaves no width to compare by."),
            message("Training rows are told from others without any error, or never, in {names} and {more} more groups, which leaves no width to compare by."),
            flat,
        )  # fmt: skip
        return Undefined(name=GAP, slice=where, counts=counts, reason=reason)
    wide = [_area(g.rows, 1 - 2 * simultaneous_tail(tail, len(groups))) for g in groups]
    values = np.array([e.value for e in plain])
    ends = [(np.array([e.low for e in es]), np.array([e.high for e in es])) for es in (plain, wide)]
    estimate = Estimate(
        value=float(values.max() - values.min()),
        low=float(gap_low(values, ends[1])),
        high=float(gap_high(values, ends[0])),
        method="largest gap: simultaneous low, intersection-union high",
        params={"groups": len(groups), "pairs": "hybrid of DeLong limits"},
    )
    return Measurement(
        name=GAP, value=estimate.value, interval=estimate.interval(level), counts=counts, slice=where, better="lower"
    )  # fmt: skip


def _area(rows: Scored, level: float) -> Estimate:
    found = rows.area(level)
    assert found is not None
    return found


def _p_value(group: _Group, level: float) -> float:
    """One-sided, for "members of this group are told more easily than the rest's": Wald on the logit of both AUCs."""
    one, other = _area(group.rows, level), _area(group.rest, level)
    if one.low == one.high or other.low == other.high:
        return 1.0
    gap = _logit(one.value) - _logit(other.value)
    return float(stats.norm.sf(gap / np.hypot(_error(one, level), _error(other, level))))


def _error(estimate: Estimate, level: float) -> float:
    clusters = estimate.params.get("clusters")
    freedom = float(clusters) - 1 if isinstance(clusters, int) else np.inf
    return (_logit(estimate.high) - _logit(estimate.value)) / float(critical(tail_of(level), freedom))


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def _claim(compared: list[_Group], told: dict[tuple[str, str], float], level: float) -> tuple[Message, ...]:
    if not compared:
        return ()
    sure = [f"{f}={name}" for (f, name), p in told.items() if p <= 1 - level]
    if not sure:
        return (
            message(
                "No group's training rows are told more easily than the rest's, after Holm's correction for {compared} groups.",
                compared=len(compared),
            ),
        )
    return (
        message(
            "Training rows of these groups are told more easily than the rest's, after Holm's correction for {compared} groups: {names}.",
            compared=len(compared), names=", ".join(sure),
        ),
    )  # fmt: skip


def _plot(feature: Feature, groups: list[_Group], level: float) -> IntervalPlot:
    points = []
    for group in groups:
        found = group.rows.area(level) if group.enough else None
        few = None if found is not None else message("too few rows")
        points.append(
            IntervalPoint(
                label=str(Axis(kind="group", name=group.feature, value=group.name).selector),
                value=None if found is None else found.value,
                low=None if found is None else min(found.low, found.value),
                high=None if found is None else max(found.high, found.value),
                n=len(group.rows.member),
                note=few,
            )
        )
    return IntervalPlot(
        title=message("How well the loss attack tells training rows, by {feature}", feature=feature.name),
        unit="AUC",
        points=tuple(points),
        reference=CHANCE,
        reference_label=message("chance"),
    )


def _table(groups: list[_Group], told: dict[tuple[str, str], float], level: float) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for g in groups:
        found = g.rows.area(level) if g.enough else None
        rows.append(
            (
                f"{g.feature}={g.name}", g.rows.members, g.rows.others, None if found is None else found.value,
                told.get((g.feature, g.name)),
            )
        )  # fmt: skip
    return Table(
        title=message("Whose training rows are found most"),
        columns=(
            message("group"), message("training rows"), message("others"), message("AUC"),
            message("p-value against the rest (Holm)"),
        ),
        rows=tuple(rows),
    )  # fmt: skip
