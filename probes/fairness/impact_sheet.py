"""One set of categories read for `fairness.impact_ratio`: figures, the published table, and the four-fifths rule beside it.

It gets its rows counted and its options checked; it knows neither tables of predictions nor plans.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from probes.answers import Answers
from probes.evidence import (
    AnyMeasurement,
    Cell,
    Counts,
    Evidence,
    IntervalPlot,
    IntervalPoint,
    Measurement,
    Message,
    Reading,
    Slice,
    Table,
    Undefined,
    message,
)
from probes.fairness.adverse_impact import against_highest, highest, shortfalls
from probes.fairness.grouping import Grouping
from probes.fairness.impact_definitions import BY_NAME, QUESTIONS
from probes.gaps import ratios_to_highest, smallest_ratio
from probes.intervals import Bool, Estimate
from probes.rates import count
from probes.reasons import naming

_FEWER = message("Fewer than two categories are left to compare.")
_ZERO = message("No category has anyone selected, so there is no highest rate to divide by.")
_ZERO_SCORING = message("No category has anyone above the median, so there is no highest rate to divide by.")
_SMALL_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the options ask of every sheet.

    Attributes:
        measure: whose rate it is.
        excluded: categories that are left out of impact ratios, shape (G,).
        justification: why; empty where none is.
    """

    measure: Literal["selection", "scoring"]
    excluded: Bool
    justification: str


class Sheet:
    """The reading of one feature, or of two crossed."""

    def __init__(self, grouping: Grouping, every: Answers, hit: Bool, level: float, asked: Asked) -> None:
        self.grouping, self.every, self.level, self.asked = grouping, every, level, asked
        self.rates = count(grouping.codes, len(grouping), hit, every.clusters)
        self.names = (
            ("selection_rate", "impact_ratio")
            if asked.measure == "selection"
            else ("scoring_rate", "scoring_impact_ratio")
        )

    def reading(self, *, four_fifths: bool) -> Reading:
        """Applicants, rate and ratio of each category, who is unknown; and the four-fifths rule where asked for."""
        ratios = self._ratios()
        measured: list[AnyMeasurement] = [self._unknown()]
        for g in range(len(self.grouping)):
            measured.append(self._exact("applicants", int(self.grouping.sizes[g]), g))
            measured.append(self._sampled(self.names[0], self.rates.estimate(g, self.level), g))
        measured += ratios
        evidence: list[Evidence] = [self._published(ratios), self._plot(ratios)]
        if four_fifths:
            figures, table = self._four_fifths()
            measured += figures
            evidence += table
        return Reading(measurements=tuple(measured), evidence=tuple(evidence), remarks=self._remarks(four_fifths))

    def _counts(self, g: int) -> Counts:
        n = int(self.grouping.sizes[g])
        clusters = None if self.rates.clusters is None else int(self.rates.clusters[g])
        return Counts(n=n, denominator=n, smallest=n, clusters=clusters)

    def _all_counts(self, kept: Bool) -> Counts:
        sizes = self.grouping.sizes[kept]
        inside = np.append(kept, False)[self.grouping.codes]
        return Counts(
            n=int(sizes.sum()),
            denominator=int(sizes.sum()),
            smallest=int(sizes.min()) if len(sizes) else 0,
            clusters=self.every.distinct_clusters(inside),
        )

    def _unknown(self) -> AnyMeasurement:
        n = len(self.grouping.codes)
        counts = Counts(n=n, denominator=n, smallest=n)
        if not n:
            return Undefined(
                name="unknown", slice=self.grouping.here, counts=counts, reason=message("There are no rows.")
            )
        return self._figure("unknown", self.grouping.missing, counts, self.grouping.here)

    def _exact(self, name: str, value: float, g: int) -> Measurement:
        return self._figure(name, value, self._counts(g), self.grouping.at(g))

    def _figure(self, name: str, value: float, counts: Counts, at: Slice) -> Measurement:
        d = BY_NAME[name]
        return Measurement(name=name, value=value, interval=None, counts=counts, unit=d.unit, slice=at, better=d.better)

    def _sampled(self, name: str, estimate: Estimate, g: int) -> Measurement:
        exact = self._figure(name, estimate.value, self._counts(g), self.grouping.at(g))
        return exact.model_copy(update={"interval": estimate.interval(self.level)})

    def _ratios(self) -> list[AnyMeasurement]:
        kept = np.flatnonzero(~self.asked.excluded)
        some = self.rates.select(kept)
        reason = self._incomparable(len(kept), bool(some.successes.any()))
        estimates = {} if reason else dict(zip(kept.tolist(), ratios_to_highest(some, self.level), strict=True))
        out: list[AnyMeasurement] = []
        for g in range(len(self.grouping)):
            if g in estimates:
                out.append(self._sampled(self.names[1], estimates[g], g))
                continue
            why = reason or _FEWER
            if self.asked.excluded[g]:
                why = message(
                    "The auditor left this category out of the impact ratios, as {rows} rows are too small a share: "
                    "{justification}",
                    rows=int(self.grouping.sizes[g]),
                    justification=self.asked.justification,
                )
            out.append(Undefined(name=self.names[1], slice=self.grouping.at(g), counts=self._counts(g), reason=why))
        return out

    def _incomparable(self, categories: int, some: bool) -> Message | None:
        if categories < 2:
            return _FEWER
        if not some:
            return _ZERO if self.asked.measure == "selection" else _ZERO_SCORING
        return None

    def _four_fifths(self) -> tuple[list[AnyMeasurement], list[Evidence]]:
        """Over all groups: the guidelines know no exclusion, only that the smallest need no determination."""
        size = len(self.grouping)
        counts = self._all_counts(np.ones(size, dtype=bool))
        reason = self._incomparable(size, bool(self.rates.successes.any()))
        by_group = ("four_fifths_p_value", "shortfall_to_parity", "shortfall_to_four_fifths")
        if reason is not None:
            whole = Undefined(name="four_fifths_ratio", slice=self.grouping.here, counts=counts, reason=reason)
            groups = [
                Undefined(name=name, slice=self.grouping.at(g), counts=self._counts(g), reason=reason)
                for g in range(size)
                for name in by_group
            ]
            return [whole, *groups], []
        ratio = self._figure("four_fifths_ratio", 0.0, counts, self.grouping.here)
        estimate = smallest_ratio([self.rates], self.level)
        found: list[AnyMeasurement] = [
            ratio.model_copy(update={"value": estimate.value, "interval": estimate.interval(self.level)})
        ]
        tested, short, top = against_highest(self.rates), shortfalls(self.rates), highest(self.rates)
        lines: list[tuple[Cell, ...]] = []
        values = self.rates.values
        for g in range(size):
            if g in tested:
                found.append(self._exact("four_fifths_p_value", tested[g].p_value, g))
            else:
                own = message("It is the group with the highest rate, which the others are compared with.")
                found.append(
                    Undefined(name="four_fifths_p_value", slice=self.grouping.at(g), counts=self._counts(g), reason=own)
                )
            found.append(self._exact("shortfall_to_parity", short[g].to_parity, g))
            found.append(self._exact("shortfall_to_four_fifths", short[g].to_four_fifths, g))
            lines.append(
                (
                    self.grouping.label(g),
                    int(self.grouping.sizes[g]),
                    int(self.rates.successes[g]),
                    float(values[g]),
                    float(values[g] / values[top]),
                    tested[g].p_value if g in tested else None,
                    (message("Fisher's exact") if tested[g].exact else message("z")) if g in tested else None,
                    short[g].to_parity,
                    short[g].to_four_fifths,
                    None if g == top else (message("yes") if short[g].one_person else message("no")),
                )
            )
        columns = (
            message("group"),
            message("applicants"),
            message("selected"),
            message("selection rate"),
            message("ratio to the highest"),
            message("adjusted p-value"),
            message("test"),
            message("selections short of parity"),
            message("selections short of four fifths"),
            message("one person would reverse it"),
        )
        title = message("Four-fifths rule with its tests, by {feature}", feature=self.grouping.title)
        return found, [Table(title=title, columns=columns, rows=tuple(lines))]

    def _published(self, ratios: list[AnyMeasurement]) -> Table:
        """The layout of a published summary of results (6 RCNY 5-303)."""
        selection = self.asked.measure == "selection"
        columns = (
            *(message("{feature}", feature=f) for f in self.grouping.features),
            message("applicants"),
            *([message("selected")] if selection else []),
            message("selection rate") if selection else message("scoring rate"),
            message("impact ratio"),
        )
        values = self.rates.values
        lines: list[tuple[Cell, ...]] = []
        for g in range(len(self.grouping)):
            picked = [int(self.rates.successes[g])] if selection else []
            ratio = getattr(ratios[g], "value", None)
            lines.append((*self.grouping.names[g], int(self.grouping.sizes[g]), *picked, float(values[g]), ratio))
        title = (
            message("Selection rates and impact ratios by {feature}", feature=self.grouping.title)
            if selection
            else message("Scoring rates and impact ratios by {feature}", feature=self.grouping.title)
        )
        return Table(title=title, columns=columns, rows=tuple(lines))

    def _plot(self, ratios: list[AnyMeasurement]) -> IntervalPlot:
        points = []
        for g, m in enumerate(ratios):
            label, n = self.grouping.label(g), int(self.grouping.sizes[g])
            if isinstance(m, Undefined):
                points.append(IntervalPoint(label=label, value=None, n=n, note=m.reason))
            else:
                low, high = (m.interval.low, m.interval.high) if m.interval else (None, None)
                points.append(IntervalPoint(label=label, value=m.value, low=low, high=high, n=n))
        title = message("Impact ratio by {feature}", feature=self.grouping.title)
        return IntervalPlot(title=title, unit="ratio", points=tuple(points))

    def _remarks(self, four_fifths: bool) -> tuple[Message, ...]:
        feature, out = self.grouping.title, []
        if self.grouping.missing:
            out.append(
                message(
                    "{rows} rows are of unknown {feature}; they are in none of its rates and ratios.",
                    rows=self.grouping.missing,
                    feature=feature,
                )
            )
        gone = [self.grouping.label(int(g)) for g in np.flatnonzero(self.asked.excluded)]
        if gone:
            few = message(
                "Left out of the impact ratios of {feature} by the auditor, whose reason is “{why}”: {names}.",
                feature=feature,
                why=self.asked.justification,
            )
            many = message(
                "Left out of the impact ratios of {feature} by the auditor, whose reason is “{why}”: {names} and {more} "
                "more.",
                feature=feature,
                why=self.asked.justification,
            )
            out.append(naming(few, many, gone))
        small = self.grouping.sizes < _SMALL_SHARE * self.grouping.sizes.sum()
        if four_fifths and small.any():
            few = message(
                "Below 2 % of the rows with a known {feature}: {names}. The {source} ask for no determination of "
                "adverse impact for groups below 2 % of the labor force or workforce, which these rows do not show.",
                feature=feature,
                source=QUESTIONS,
            )
            many = message(
                "Below 2 % of the rows with a known {feature}: {names} and {more} more. The {source} ask for no "
                "determination of adverse impact for groups below 2 % of the labor force or workforce, which these rows "
                "do not show.",
                feature=feature,
                source=QUESTIONS,
            )
            out.append(naming(few, many, [self.grouping.label(int(g)) for g in np.flatnonzero(small)]))
        return tuple(out)
