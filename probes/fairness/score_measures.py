"""The figures of `fairness.scores` for one feature or intersection and one positive class.

It turns ranked and grouped rows into measurements, each Undefined with a reason where there is none; it draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from probes.binning import Bins, calibration_error, equal_mass
from probes.evidence import AnyMeasurement, Counts, Measurement, Message, Slice, Undefined, message
from probes.fairness.grouping import Grouping
from probes.fairness.score_definitions import BY_NAME, RATES
from probes.fairness.subgroup_ranking import Ranked, area, mean_area, taken
from probes.gaps import gap_high, gap_low, largest_gap, simultaneous_tail
from probes.intervals import Bool, Estimate, Float, mean_interval, tail_of
from probes.rates import Proportions, count
from probes.reasons import naming

_FEWER = message("Fewer than two groups are large enough to compare.")
_ONE_CLUSTER = message("All rows are one cluster, so nothing says how far the figure may be off.")
_LACKING: dict[tuple[str, bool], Message] = {
    ("all", True): message("{rows} rows have the positive label; at least two are needed."),
    ("all", False): message("{rows} rows have another label than the positive one; at least two are needed."),
    ("inside", True): message("The group has {rows} rows with the positive label; at least two are needed."),
    ("inside", False): message("The group has {rows} rows without the positive label; at least two are needed."),
    ("outside", True): message("Outside the group {rows} rows have the positive label; at least two are needed."),
    ("outside", False): message("Outside the group {rows} rows lack the positive label; at least two are needed."),
}
# Where the positive rows of an area come from, and where the others do.
_WITHIN: dict[tuple[str, bool], str] = {
    ("roc_auc", True): "all",
    ("roc_auc", False): "all",
    ("subgroup_auc", True): "inside",
    ("subgroup_auc", False): "inside",
    ("bpsn_auc", True): "outside",
    ("bpsn_auc", False): "inside",
    ("bnsp_auc", True): "inside",
    ("bnsp_auc", False): "outside",
}
_NO_DENOMINATOR: dict[str, tuple[Message, Message]] = {
    "recall": (
        message("No row in {names} has the positive label."),
        message("No row in {names} and {more} more groups has the positive label."),
    ),
    "false_positive_rate": (
        message("No row in {names} has a label other than the positive one."),
        message("No row in {names} and {more} more groups has a label other than the positive one."),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of every feature: the level, the probe's options, and the class's axis where there are several."""

    level: float
    power: float
    bins: int
    thresholds: int
    tail: Slice


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One feature's groups and the rows that have a label and a score."""

    grouping: Grouping
    rows: Ranked
    asked: Asked

    @property
    def kept(self) -> list[int]:
        """The groups that are large enough to be compared."""
        return [int(g) for g in np.flatnonzero(self.grouping.enough)]

    @property
    def grid(self) -> Float:
        """Evenly spaced thresholds strictly between 0 and 1, shape (T,)."""
        return np.arange(1, self.asked.thresholds + 1) / (self.asked.thresholds + 1)

    @cached_property
    def rates(self) -> dict[str, tuple[Proportions, ...]]:
        """Each rate of every group at each threshold; a row is selected where its score reaches the threshold."""
        rows, codes = self.rows, self.grouping.codes
        inside = {
            "selection_rate": codes,
            "recall": np.where(rows.positive, codes, -1),
            "false_positive_rate": np.where(rows.positive, -1, codes),
        }
        return {
            rate: tuple(count(inside[rate], len(self.grouping), rows.scores >= t, rows.clusters) for t in self.grid)
            for rate in RATES
        }

    def inside(self, g: int) -> Bool:
        found: Bool = self.grouping.codes == g
        return found

    def taken(self, name: str, g: int) -> Bool:
        """The rows of one of the three areas; rows whose group is missing are in nobody's background."""
        inside = self.inside(g)
        return taken(name, inside, (self.grouping.codes >= 0) & ~inside, self.rows.positive)

    def bins(self, g: int) -> Bins:
        """The group's rows in bins of equal size by score."""
        inside = self.inside(g)
        clusters = None if self.rows.clusters is None else self.rows.clusters[inside]
        return equal_mass(self.rows.scores[inside], self.rows.positive[inside], self.asked.bins, clusters)

    def too_small(self, g: int) -> Message | None:
        if self.grouping.enough[g]:
            return None
        return message(
            "The group has {rows} rows, fewer than the {least} that are shown as a rate.",
            rows=int(self.grouping.sizes[g]),
            least=self.grouping.min_group,
        )


def overall(rows: Ranked, asked: Asked) -> AnyMeasurement:
    """The area over all rows together."""
    everyone = np.ones(len(rows.scores), dtype=bool)
    counts = _counts(rows, everyone)
    reason = _unrankable("roc_auc", rows.positive, everyone)
    if reason is not None:
        return Undefined(name="roc_auc", slice=asked.tail, counts=counts, reason=reason)
    return _measured("roc_auc", area(rows, everyone, asked.level), counts, asked.tail, asked.level)


def group_areas(sheet: Scored, name: str) -> list[AnyMeasurement]:
    """One of the three areas for every group."""
    out: list[AnyMeasurement] = []
    for g in range(len(sheet.grouping)):
        some, at = sheet.taken(name, g), (*sheet.grouping.at(g), *sheet.asked.tail)
        counts = _counts(sheet.rows, some)
        reason = sheet.too_small(g) or _unrankable(name, sheet.rows.positive, some)
        if reason is not None:
            out.append(Undefined(name=name, slice=at, counts=counts, reason=reason))
        else:
            out.append(_measured(name, area(sheet.rows, some, sheet.asked.level), counts, at, sheet.asked.level))
    return out


def _unrankable(name: str, positive: Bool, some: Bool) -> Message | None:
    """Why an area over the rows ``some`` has no value, or no interval."""
    for kind in (True, False):
        found = int((positive[some] == kind).sum())
        if found < 2:
            reason = _LACKING[_WITHIN[name, kind], kind]
            return reason.model_copy(update={"params": {"rows": found}})
    return None


def mean_areas(sheet: Scored, name: str, areas: Sequence[AnyMeasurement]) -> AnyMeasurement:
    """The power mean of one area over the groups that are large enough."""
    at = (*sheet.grouping.here, *sheet.asked.tail)
    counts = _gap_counts(sheet, [areas[g].counts.denominator for g in sheet.kept])
    lacking = [sheet.grouping.label(g) for g in sheet.kept if isinstance(areas[g], Undefined)]
    reason = _FEWER if len(sheet.kept) < 2 else None
    if reason is None and lacking:
        few = message("{names} has no such area, so there is no mean over subgroups; see its own reason.")
        many = message("{names} and {more} more have no such area, so there is no mean over subgroups.")
        reason = naming(few, many, lacking)
    if reason is not None:
        return Undefined(name=f"{name}_mean", slice=at, counts=counts, reason=reason)
    every = (sheet.taken(name, g) for g in sheet.kept)
    estimate = mean_area(sheet.rows, every, sheet.asked.power, sheet.asked.level)
    return _measured(f"{name}_mean", estimate, counts, at, sheet.asked.level)


def calibration(sheet: Scored) -> dict[str, list[AnyMeasurement]]:
    """Calibration error and calibration in the large of every group."""
    out: dict[str, list[AnyMeasurement]] = {"calibration_error": [], "calibration_in_the_large": []}
    for g in range(len(sheet.grouping)):
        at, counts = (*sheet.grouping.at(g), *sheet.asked.tail), _counts(sheet.rows, sheet.inside(g))
        reason = sheet.too_small(g)
        if reason is None and counts.denominator < 2:
            reason = message("The group has a single row, which says nothing about spread.")
        large = None if reason else _off(sheet, g, sheet.asked.level)
        if reason is None and large is None:
            reason = _ONE_CLUSTER
        if reason is not None or large is None:
            for name, found in out.items():
                found.append(Undefined(name=name, slice=at, counts=counts, reason=reason or _ONE_CLUSTER))
            continue
        error = calibration_error(sheet.bins(g), tail_of(sheet.asked.level))
        for name, estimate in (("calibration_error", error), ("calibration_in_the_large", large)):
            out[name].append(_measured(name, estimate, counts, at, sheet.asked.level))
    return out


def _off(sheet: Scored, g: int, level: float) -> Estimate | None:
    inside, clusters = sheet.inside(g), sheet.rows.clusters
    off = sheet.rows.scores[inside] - sheet.rows.positive[inside]
    return mean_interval(off, level, None if clusters is None else clusters[inside], (-1.0, 1.0))


def calibration_gap(sheet: Scored, large: Sequence[AnyMeasurement]) -> AnyMeasurement:
    """The largest difference of calibration in the large; limits of each pair's difference are MOVER's, as for rates."""
    at, level = (*sheet.grouping.here, *sheet.asked.tail), sheet.asked.level
    counts = _gap_counts(sheet, [large[g].counts.denominator for g in sheet.kept])
    name = "calibration_in_the_large_gap"
    if len(sheet.kept) < 2:
        return Undefined(name=name, slice=at, counts=counts, reason=_FEWER)
    wide_tail = simultaneous_tail(tail_of(level), len(sheet.kept))
    plain = [_off(sheet, g, level) for g in sheet.kept]
    wide = [_off(sheet, g, 1 - 2 * wide_tail) for g in sheet.kept]
    lacking = [sheet.grouping.label(g) for g, e in zip(sheet.kept, plain, strict=True) if e is None]
    if lacking:
        few = message("{names} has too few independent rows to compare.")
        many = message("{names} and {more} more have too few independent rows to compare.")
        return Undefined(name=name, slice=at, counts=counts, reason=naming(few, many, lacking))
    # Halved, as gaps of shares end at 1 and this one ends at 2.
    values, ends, far = (
        np.array([[e.value / 2, e.low / 2, e.high / 2] for e in found if e is not None]).T
        for found in (plain, plain, wide)
    )
    estimate = Estimate(
        value=2 * float(values[0].max() - values[0].min()),
        low=2 * float(gap_low(values[0], (far[1], far[2]))),
        high=2 * float(gap_high(values[0], (ends[1], ends[2]))),
        method="largest gap: simultaneous low, intersection-union high",
        params={"groups": len(sheet.kept), "pairs": "MOVER of t limits"},
    )
    return _measured(name, estimate, counts, at, level)


def threshold_gaps(sheet: Scored) -> list[AnyMeasurement]:
    """The largest gap of each rate over groups and thresholds.

    "No gap at any threshold exceeds T" is a claim on every pair at every threshold, so its limit pays for neither
    (intersection-union); the low end splits its tail evenly over the thresholds (Bonferroni).
    """
    out: list[AnyMeasurement] = []
    at = (*sheet.grouping.here, *sheet.asked.tail)
    for rate, found in sheet.rates.items():
        name, some = f"{rate}_threshold_gap", [r.select(np.array(sheet.kept, dtype=np.int64)) for r in found]
        rows = some[0].denominators
        counts = _gap_counts(sheet, rows.tolist())
        reason = _FEWER if len(sheet.kept) < 2 else no_denominator(sheet, rate)
        if reason is not None:
            out.append(Undefined(name=name, slice=at, counts=counts, reason=reason))
            continue
        estimate = largest_gap(some, sheet.asked.level)
        out.append(_measured(name, estimate, counts, at, sheet.asked.level))
    return out


def no_denominator(sheet: Scored, rate: str) -> Message | None:
    """Which of the groups that are large enough have no row that the rate divides by."""
    rows = sheet.rates[rate][0].denominators
    empty = [sheet.grouping.label(g) for g in sheet.kept if not rows[g]]
    return naming(*_NO_DENOMINATOR[rate], empty) if empty else None


def _counts(rows: Ranked, some: Bool) -> Counts:
    n = int(some.sum())
    clusters = None
    if rows.clusters is not None:
        clusters = len(np.unique(rows.clusters[some]))
    return Counts(n=n, denominator=n, smallest=n, clusters=clusters)


def _gap_counts(sheet: Scored, denominators: Sequence[int]) -> Counts:
    compared = np.append(sheet.grouping.enough, False)[sheet.grouping.codes]
    whole = _counts(sheet.rows, compared)
    return whole.model_copy(update={"denominator": sum(denominators), "smallest": min(denominators, default=0)})


def _measured(name: str, estimate: Estimate, counts: Counts, at: Slice, level: float) -> Measurement:
    d = BY_NAME[name]
    return Measurement(
        name=name,
        value=estimate.value,
        interval=estimate.interval(level),
        counts=counts,
        unit=d.unit,
        slice=at,
        better=d.better,
    )
