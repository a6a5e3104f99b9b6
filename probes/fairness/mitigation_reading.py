"""What fitted thresholds do to the rows that they were not fitted on, worded: measurements, tables, plots and remarks.

It counts through `mitigation_figures`, compares groups through `probes.gaps`, and fits nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.engines.fairlearn import Criterion
from probes.evidence import (
    AnyMeasurement,
    Axis,
    Cell,
    Counts,
    Curve,
    CurvePoint,
    Evidence,
    IntervalPlot,
    IntervalPoint,
    Measurement,
    Message,
    Note,
    Reading,
    Series,
    Slice,
    Table,
    Undefined,
    feature_axes,
    group_axes,
    message,
)
from probes.fairness.definitions import NO_DENOMINATOR, NO_DENOMINATOR_MANY
from probes.fairness.mitigation_definitions import BY_NAME, CRITERION_WORDS, KIND_WORDS
from probes.fairness.mitigation_figures import ExpectedRates, Outcome, accuracy_change, chances
from probes.fairness.mitigation_fit import BY_LOT, EQUALISED, FIXED, Binary, Fit
from probes.gaps import largest_gap
from probes.intervals import Estimate, Int
from probes.reasons import naming
from probes.threshold_rules import ThresholdRule

FEWER = message("Fewer than two groups have enough labelled rows, of both labels, to fit thresholds on.")
_NO_ROWS = message("No labelled row is left to measure on.")
_ONE_UNIT = message("A single independent row or cluster does not tell how far differences spread.")
_SERIES = {"present": message("present model"), FIXED: message("fixed"), BY_LOT: message("by lot")}


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One feature or intersection on the measured rows.

    Attributes:
        fit: what was fitted.
        codes: fitted group of each measured row, -1 where there is none.
        binary: the measured rows.
        criterion: whose rates are compared.
        level: of the intervals.
    """

    fit: Fit
    codes: Int
    binary: Binary
    criterion: Criterion
    level: float

    def reading(self) -> Reading:
        """Everything that is said of the feature."""
        if not self.fit.rules:
            return Reading(measurements=tuple(self._nothing()), remarks=tuple(self._left_out()))
        present = self._outcome(None)
        after = {kind: self._outcome(rules) for kind, rules in self.fit.rules.items()}
        measured = [
            self._gap("present_gap", present, self._here),
            self._accuracy("present_accuracy", present, self._here),
        ]
        by_kind: dict[str, list[AnyMeasurement]] = {kind: self._of_kind(kind, o, present) for kind, o in after.items()}
        measured += [m for found in by_kind.values() for m in found]
        evidence: list[Evidence] = [self._thresholds(kind) for kind in after]
        evidence += [self._groups(present, after), *self._gaps(measured), *self._frontier(present, after), self._note()]
        remarks = [*self._left_out(), *self._price(measured[0], measured[1], by_kind)]
        return Reading(measurements=tuple(measured), evidence=tuple(evidence), remarks=tuple(remarks))

    @property
    def _here(self) -> Slice:
        return feature_axes(*self.fit.features)

    @property
    def _title(self) -> str:
        return " × ".join(self.fit.features)

    def _at(self, kind: str) -> Axis:
        return Axis(kind="setting", name="thresholds", value=kind)

    def _label(self, g: int) -> str:
        return " × ".join(self.fit.groups[g])

    def _outcome(self, rules: Sequence[ThresholdRule] | None) -> Outcome:
        chance = self.binary.chosen.astype(np.float64) if rules is None else chances(rules, self.codes, self.binary)
        return Outcome(chance=chance, codes=self.codes, size=len(self.fit.groups), binary=self.binary)

    def _nothing(self) -> list[AnyMeasurement]:
        counts = Counts(n=0, denominator=0, smallest=0)
        names = [(n, self._here) for n in ("present_gap", "present_accuracy")]
        after = ("remaining_gap", "mitigated_accuracy", "accuracy_change", "decisions_changed")
        names += [(n, (*self._here, self._at(kind))) for kind in (FIXED, BY_LOT) for n in after]
        return [Undefined(name=name, slice=at, counts=counts, reason=FEWER) for name, at in names]

    def _of_kind(self, kind: str, after: Outcome, present: Outcome) -> list[AnyMeasurement]:
        at = (*self._here, self._at(kind))
        changed = after.changed(present)
        out = [
            self._gap("remaining_gap", after, at),
            self._accuracy("mitigated_accuracy", after, at),
            self._change(after, present, at),
            self._one("decisions_changed", changed, at),
        ]
        for name in dict.fromkeys(("selection_rate", *EQUALISED[self.criterion])):
            rates = after.rates(name)
            for g, group in enumerate(self.fit.groups):
                place = (*group_axes(dict(zip(self.fit.features, group, strict=True))), self._at(kind))
                out.append(self._group_rate(name, rates, g, place))
        return out

    def _gap(self, name: str, outcome: Outcome, at: Slice) -> AnyMeasurement:
        rates = [outcome.rates(r) for r in EQUALISED[self.criterion]]
        clusters = None
        if self.binary.clusters is not None:
            clusters = len(np.unique(self.binary.clusters[self.codes >= 0]))
        counts = Counts(
            n=int(np.count_nonzero(self.codes >= 0)),
            denominator=sum(int(r.denominators.sum()) for r in rates),
            smallest=min(int(r.denominators.min()) for r in rates),
            clusters=clusters,
        )
        for rate, found in zip(EQUALISED[self.criterion], rates, strict=True):
            empty = [self._label(int(g)) for g in np.flatnonzero(found.denominators == 0)]
            if empty:
                reason = naming(NO_DENOMINATOR[rate], NO_DENOMINATOR_MANY[rate], empty)
                return Undefined(name=name, slice=at, counts=counts, reason=reason)
        return _measured(name, largest_gap(rates, self.level), counts, at, self.level)

    def _accuracy(self, name: str, outcome: Outcome, at: Slice) -> AnyMeasurement:
        return self._one(name, outcome.accuracy(), at)

    def _one(self, name: str, rate: ExpectedRates, at: Slice) -> AnyMeasurement:
        counts = _counts(rate, 0)
        if not counts.denominator:
            return Undefined(name=name, slice=at, counts=counts, reason=_NO_ROWS)
        return _measured(name, rate.estimate(0, self.level), counts, at, self.level)

    def _group_rate(self, name: str, rates: ExpectedRates, g: int, at: Slice) -> AnyMeasurement:
        counts, full = _counts(rates, g), f"mitigated_{name}"
        if not counts.denominator:
            reason = naming(NO_DENOMINATOR[name], NO_DENOMINATOR_MANY[name], [self._label(g)])
            return Undefined(name=full, slice=at, counts=counts, reason=reason)
        return _measured(full, rates.estimate(g, self.level), counts, at, self.level)

    def _change(self, after: Outcome, present: Outcome, at: Slice) -> AnyMeasurement:
        counts = _counts(after.accuracy(), 0)
        found = accuracy_change(after, present, self.level)
        if found is None:
            reason = _ONE_UNIT if counts.denominator else _NO_ROWS
            return Undefined(name="accuracy_change", slice=at, counts=counts, reason=reason)
        return _measured("accuracy_change", found, counts, at, self.level)

    def _thresholds(self, kind: str) -> Table:
        lines: list[tuple[Cell, ...]] = []
        for g, rule in enumerate(self.fit.rules[kind]):
            head = (self._label(g), self.fit.rows[g])
            if kind == FIXED:
                lines.append((*head, _threshold(rule.threshold)))
                continue
            other = rule.share < 1
            lines.append(
                (*head, rule.share, _threshold(rule.threshold), 1 - rule.share, _threshold(rule.other) if other else None,
                 rule.ignore, rule.constant if rule.ignore > 0 else None)
            )  # fmt: skip
        columns = [message("group"), message("rows fitted on")]
        if kind == FIXED:
            columns.append(message("given the label above the score"))
        else:
            columns += [
                message("chance of the first"), message("first threshold"),
                message("chance of the second"), message("second threshold"),
                message("chance of ignoring the score"), message("chance of the label then"),
            ]  # fmt: skip
        title = message("Thresholds by {feature}: {kind}", feature=self._title, kind=KIND_WORDS[kind])
        return Table(title=title, columns=tuple(columns), rows=tuple(lines))

    def _groups(self, present: Outcome, after: dict[str, Outcome]) -> Table:
        heads = {
            "selection_rate": message("selection rate"),
            "recall": message("recall"),
            "false_positive_rate": message("false positive rate"),
        }
        ways: list[tuple[Message, Outcome]] = [(message("present model"), present)]
        ways += [(KIND_WORDS[kind], o) for kind, o in after.items()]
        lines: list[tuple[Cell, ...]] = []
        rates = [[o.rates(name) for name in heads] for _, o in ways]
        for g in range(len(self.fit.groups)):
            for (word, _), found in zip(ways, rates, strict=True):
                cells = [float(r.values[g]) if r.denominators[g] else None for r in found]
                lines.append((self._label(g), word, int(found[0].denominators[g]), *cells))
        return Table(
            title=message("Groups of {feature} on the rows that no threshold was fitted on", feature=self._title),
            columns=(message("group"), message("decided by"), message("rows"), *heads.values()),
            rows=tuple(lines),
        )

    def _gaps(self, measured: Sequence[AnyMeasurement]) -> list[IntervalPlot]:
        points = []
        for m in measured:
            if m.name not in ("present_gap", "remaining_gap"):
                continue
            label = _SERIES[m.slice[-1].value if m.name == "remaining_gap" else "present"]
            if isinstance(m, Undefined):
                points.append(IntervalPoint(label=label, value=None, n=m.counts.denominator, note=m.reason))
            else:
                ends = (m.interval.low, m.interval.high) if m.interval else (None, None)
                points.append(
                    IntervalPoint(label=label, value=m.value, low=ends[0], high=ends[1], n=m.counts.denominator)
                )
        title = message(
            "Largest gap over {feature} ({rates}), on the rows that no threshold was fitted on",
            feature=self._title, rates=CRITERION_WORDS[self.criterion],
        )  # fmt: skip
        return [IntervalPlot(title=title, unit="share", points=tuple(points))]

    def _frontier(self, present: Outcome, after: dict[str, Outcome]) -> list[Curve]:
        """Accuracy over gap, measured: a line for fixed thresholds of every width, and a point for each other way."""
        line = [p for _, rules in self.fit.frontier for p in self._point(self._outcome(rules))]
        named = [(_SERIES[FIXED], line), (_SERIES["present"], self._point(present))]
        named.append((_SERIES[BY_LOT], self._point(after[BY_LOT])))
        series = [
            Series(label=label, points=tuple(sorted(set(points), key=lambda p: (p.x, p.y))))
            for label, points in named
            if points
        ]
        if not series:
            return []
        title = message(
            "Accuracy over the gap across {feature}, on the rows that no threshold was fitted on", feature=self._title
        )
        x = message("largest gap ({rates})", rates=CRITERION_WORDS[self.criterion])
        return [Curve(title=title, x_label=x, y_label=message("accuracy"), series=tuple(series))]

    def _point(self, outcome: Outcome) -> list[CurvePoint]:
        rates = [outcome.rates(r) for r in EQUALISED[self.criterion]]
        accuracy = outcome.accuracy()
        if not accuracy.denominators[0] or any((r.denominators == 0).any() for r in rates):
            return []
        gap = max(float(r.values.max() - r.values.min()) for r in rates)
        return [CurvePoint(x=gap, y=float(accuracy.values[0]), n=int(accuracy.denominators[0]))]

    def _note(self) -> Note:
        return Note(
            text=message(
                "Fixed thresholds were allowed a gap of {width} in the fitting half; along the line they were allowed "
                "{least} to 1. Rules with a lot leave none there. What is shown was measured on the other half, where chance "
                "opens gaps again.",
                width=self.fit.width,
                least=self.fit.frontier[0][0],
            )
        )

    def _left_out(self) -> list[Message]:
        names = [" × ".join(g) for g in self.fit.left_out]
        if not names:
            return []
        few = message(
            "No threshold was fitted for {names} of {feature}: too few labelled rows, or one label.",
            feature=self._title,
        )
        many = message(
            "No threshold was fitted for {names} and {more} more groups of {feature}: too few labelled rows, or one label.",
            feature=self._title,
        )
        return [naming(few, many, names)]

    def _price(
        self, gap: AnyMeasurement, accuracy: AnyMeasurement, by_kind: dict[str, list[AnyMeasurement]]
    ) -> list[Message]:
        """A sentence a kind, with its figures; and whether the gap may be chance, in which case nothing is promised."""
        if not isinstance(gap, Measurement) or not isinstance(accuracy, Measurement):
            return []
        if gap.interval is not None and not gap.interval.low:
            return [
                message(
                    "The present gap over {feature} may be chance: its interval begins at 0. Thresholds for each group may "
                    "have nothing to mend there.",
                    feature=self._title,
                )
            ]
        out = []
        for kind, found in by_kind.items():
            after = {m.name: m for m in found if isinstance(m, Measurement)}
            left, change = after.get("remaining_gap"), after.get("accuracy_change")
            if left is None or change is None or left.interval is None or change.interval is None:
                continue
            out.append(
                message(
                    "With {kind}, on rows that no threshold was fitted on, the gap over {feature} goes from {before} to {after} "
                    "[{low}, {high}], and the accuracy changes by {change} [{least}, {most}], from {accuracy}.",
                    kind=KIND_WORDS[kind], feature=self._title, before=gap.value, after=left.value,
                    low=left.interval.low or 0.0, high=left.interval.high or 0.0, change=change.value,
                    least=change.interval.low or 0.0, most=change.interval.high or 0.0, accuracy=accuracy.value,
                )
            )  # fmt: skip
        return out


def _threshold(value: float) -> Cell:
    if np.isposinf(value):
        return message("nobody")
    return message("everybody") if np.isneginf(value) else value


def _counts(rate: ExpectedRates, g: int) -> Counts:
    n = int(rate.denominators[g])
    return Counts(n=n, denominator=n, smallest=n, clusters=None if rate.clusters is None else int(rate.clusters[g]))


def _measured(name: str, estimate: Estimate, counts: Counts, at: Slice, level: float) -> Measurement:
    d = BY_NAME[name]
    return Measurement(
        name=name, value=estimate.value, interval=estimate.interval(level), counts=counts, unit=d.unit, slice=at,
        better=d.better,
    )  # fmt: skip
