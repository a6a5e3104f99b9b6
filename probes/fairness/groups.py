"""Are groups treated alike: the rates of every group, and how far apart groups are.

Values agree with fairlearn's wherever every denominator is positive; where one is not, there is no value. It
drops no group in silence, averages nothing over classes, and gives no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fine_tune.predictions import feature_names
from probes.answers import Answers, answers, group_codes
from probes.errors import ProbeError
from probes.evidence import (
    AnyMeasurement,
    Axis,
    Cell,
    Counts,
    Evidence,
    IntervalPlot,
    IntervalPoint,
    Measurement,
    Message,
    Need,
    Note,
    Reading,
    Slice,
    Table,
    Undefined,
    message,
)
from probes.fairness.definitions import DEFINES, PLOT_TITLES, PLOT_TITLES_CLASS, RATES
from probes.fairness.grouping import (
    Grouping,
    count_rates,
    gap_measurements,
    group,
    impact_measurements,
    rate_measurements,
)
from probes.rates import Proportions
from probes.reasons import naming
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject


@probe(
    "fairness.groups",
    needs={Need.PREDICTIONS, Need.GROUPS},
    defines=DEFINES,
    limits=(
        message("Equal rates do not show that a decision is right, and unequal rates do not show why."),
        message("Labels are taken as true: if they are biased, recall, precision and false positive rate inherit it."),
        message(
            "Groups are compared as independent samples; where clusters span groups, intervals are mostly too wide."
        ),
        message("It covers the features and intersections that were named, and no other."),
    ),
    method=message(
        "Rates have Wilson intervals on their own denominators. The low end of a largest gap holds "
        "simultaneously over all pairs of groups (studentised range), the high end is intersection-union "
        "over plain Newcombe limits; ratios mirror this with MOVER-R limits; equalized odds splits the low "
        "end's tail over its two rates. p-values permute group membership (given the label for recall and "
        "false positive rate, given the prediction for precision). Clusters enter by the design effect."
    ),
)
@dataclass(frozen=True, kw_only=True)
class Groups:
    """Are groups given the positive label alike, and equally often rightly?

    With two classes, or with `positive`, one class counts as positive. With more classes and no `positive`,
    each class is taken against the rest, with the class in the slice; there is no aggregate over classes.
    """

    positive: str | None = field(
        default=None,
        metadata={"help": "The class that counts as positive; needed where there are two classes."},
    )
    features: tuple[str, ...] | None = field(
        default=None, metadata={"help": "Sensitive features to look at; all of the data's by default."}
    )
    intersections: tuple[tuple[str, ...], ...] = field(
        default=(), metadata={"help": "Features to cross, such as [[gender, age]]."}
    )
    min_group: int = field(default=1, metadata={"help": "Groups with fewer rows are listed, and not compared."})
    permutations: int = field(default=2000, metadata={"help": "Random regroupings behind each p-value."})

    def __post_init__(self) -> None:
        if self.min_group < 1:
            raise ValueError(f"min_group is {self.min_group}; at least 1 is needed")
        if self.permutations < 1:
            raise ValueError(f"permutations is {self.permutations}; at least 1 is needed")
        for listed in (self.features or (), self.intersections):
            if len(set(listed)) != len(listed):
                raise ValueError(f"{list(listed)} names something twice")
        for crossed in self.intersections:
            if len(set(crossed)) < 2 or len(set(crossed)) != len(crossed):
                raise ValueError(f"an intersection needs two or more different features, not {list(crossed)}")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """The subject's predictions on its data; options are checked first, before anything slow."""
        self._positives(subject.classes, subject.positive)
        return subject.predictions(ctx)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Rates a group, gaps a feature or intersection; plots, a table and notes as evidence."""
        every = answers(rows)
        positives = self._positives(every.classes, every.positive)
        names = self.features if self.features is not None else feature_names(rows)
        if not names:
            raise ProbeError("the data has no sensitive feature", fix="give a column the role `groups`")
        columns = {
            n: group_codes(rows, n) for n in dict.fromkeys((*names, *(f for c in self.intersections for f in c)))
        }
        measurements: list[AnyMeasurement] = []
        evidence: list[Evidence] = []
        remarks = list(every.remarks())
        for features in (*((n,) for n in names), *self.intersections):
            grouping = group(features, [columns[f] for f in features], self.min_group)
            remarks += _remarks(grouping)
            sheet = _Sheet(grouping, every, ctx, self.permutations)
            measurements += sheet.counts()
            for k in positives:
                sheet.read(k, many=len(positives) > 1)
            measurements += sheet.measurements
            evidence += [*sheet.evidence, *sheet.notes()]
        if every.clusters is None:
            remarks.append(message("Rows are taken as independent: the data names no cluster."))
        return Reading(measurements=tuple(measurements), evidence=tuple(evidence), remarks=tuple(remarks))

    def _positives(self, classes: tuple[str, ...], decided: str | None) -> tuple[int, ...]:
        """Codes of the classes to take as positive, one after another."""
        named = self.positive if self.positive is not None else (decided if len(classes) <= 2 else None)
        if named is not None:
            if named not in classes:
                raise ProbeError(
                    f"the positive class {named!r} is no class of the subject",
                    expected=f"one of: {', '.join(classes)}",
                )
            return (classes.index(named),)
        if len(classes) <= 2:
            raise ProbeError(
                "fairness.groups does not know which class is positive",
                expected=f"positive: one of {', '.join(classes)}",
                fix="name it under the probe's options",
            )
        return tuple(range(len(classes)))


class _Sheet:
    """One grouping's summary in the making."""

    def __init__(self, grouping: Grouping, every: Answers, ctx: Context, permutations: int) -> None:
        self.grouping, self.every, self.ctx, self.permutations = grouping, every, ctx, permutations
        self.measurements: list[AnyMeasurement] = []
        self.evidence: list[Evidence] = []

    def counts(self) -> list[AnyMeasurement]:
        """Rows a group; exact."""
        out: list[AnyMeasurement] = []
        for g, size in enumerate(self.grouping.sizes.tolist()):
            counts = Counts(n=size, denominator=size, smallest=size)
            at = self.grouping.at(g)
            out.append(Measurement(name="count", value=size, interval=None, counts=counts, unit="rows", slice=at))
        return out

    def read(self, positive: int, *, many: bool) -> None:
        """Add what one class as positive gives; ``many`` puts the class into slices and titles."""
        name = self.every.classes[positive]
        tail: Slice = (Axis(kind="class", name=name),) if many else ()
        rates = count_rates(self.grouping, self.every, positive)
        by_rate: dict[str, list[AnyMeasurement]] = {}
        for rate in RATES:
            if rate == "accuracy" and many:
                # It does not depend on the class: the first class's pass gives it once, without a class axis.
                if positive == 0:
                    self.measurements += rate_measurements(self.grouping, rate, rates[rate], self.ctx.level, ())
                continue
            by_rate[rate] = rate_measurements(self.grouping, rate, rates[rate], self.ctx.level, tail)
            self.measurements += by_rate[rate]
        self.measurements += impact_measurements(self.grouping, rates["selection_rate"], self.ctx.level, tail)
        self.measurements += gap_measurements(
            self.grouping, rates, self.every, self.ctx, draws=self.permutations, tail=tail
        )
        for rate in ("selection_rate", "recall", "false_positive_rate"):
            self.evidence.append(self._plot(rate, by_rate[rate], rates[rate], name if many else None))
        self.evidence.append(self._table(by_rate, name if many else None))

    def notes(self) -> list[Evidence]:
        """How many groups are compared, and what that does to the largest gap."""
        if self.grouping.enough.sum() < 2:
            return []
        note = message(
            "{groups} groups of {feature} are compared: the more groups, the larger the gap that chance "
            "alone makes. The p-value says how often it makes one as large.",
            groups=int(self.grouping.enough.sum()),
            feature=self.grouping.title,
        )
        return [Note(text=note)]

    def _plot(
        self, rate: str, measured: Sequence[AnyMeasurement], rates: Proportions, name: str | None
    ) -> IntervalPlot:
        points = []
        for g, m in enumerate(measured):
            n, label = m.counts.denominator, self.grouping.label(g)
            if isinstance(m, Undefined):
                points.append(IntervalPoint(label=label, value=None, n=n, note=m.reason))
            else:
                low, high = (m.interval.low, m.interval.high) if m.interval else (None, None)
                points.append(IntervalPoint(label=label, value=m.value, low=low, high=high, n=n))
        total = int(rates.denominators.sum())
        title = PLOT_TITLES[rate] if name is None else PLOT_TITLES_CLASS[rate]
        params = {"feature": self.grouping.title} | ({} if name is None else {"name": name})
        return IntervalPlot(
            title=Message(text=title.text, params=params),
            unit="share",
            points=tuple(points),
            reference=float(rates.successes.sum() / total) if total else None,
            reference_label=message("all groups together") if total else None,
        )

    def _table(self, by_rate: dict[str, list[AnyMeasurement]], name: str | None) -> Table:
        heads = {
            "selection_rate": message("selection rate"),
            "recall": message("recall"),
            "false_positive_rate": message("false positive rate"),
            "precision": message("precision"),
            "accuracy": message("accuracy"),
        }
        lines: list[tuple[Cell, ...]] = []
        for g in range(len(self.grouping)):
            cells = [getattr(m[g], "value", None) for m in by_rate.values()]
            lines.append((self.grouping.label(g), int(self.grouping.sizes[g]), *cells))
        title = message("Groups of {feature}", feature=self.grouping.title)
        if name is not None:
            title = message("Groups of {feature}, class {name}", feature=self.grouping.title, name=name)
        columns = (message("group"), message("rows"), *(heads[r] for r in by_rate))
        return Table(title=title, columns=columns, rows=tuple(lines))


def _remarks(grouping: Grouping) -> list[Message]:
    out = []
    if grouping.missing:
        out.append(
            message(
                "{rows} rows have no {feature}; they are left out of it.",
                rows=grouping.missing,
                feature=grouping.title,
            )
        )
    small = [grouping.label(int(g)) for g in np.flatnonzero(~grouping.enough)]
    if small:
        few = message("Too few rows to compare in {feature}: {names}.", feature=grouping.title)
        many = message("Too few rows to compare in {feature}: {names} and {more} more.", feature=grouping.title)
        out.append(naming(few, many, small))
    return out
