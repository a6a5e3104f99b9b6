"""One grouping's part of `fairness.groups`: its measurements, plots, tables, notes and remarks, put together.

It reads one class as positive after another and hands the statistics to others; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probes.answers import Answers
from probes.evidence import (
    AnyMeasurement,
    Axis,
    Cell,
    Evidence,
    IntervalPlot,
    IntervalPoint,
    Message,
    Note,
    Slice,
    Table,
    Undefined,
    message,
)
from probes.fairness.claims import claims, claims_evidence, claims_remarks, exchange_remark
from probes.fairness.clustering import standard_error_evidence
from probes.fairness.definitions import CRITERIA, HEADS, PLOT_TITLES, PLOT_TITLES_CLASS, PLOTTED, RATES, TABLED
from probes.fairness.gap_measures import ComparedGap, Gaps
from probes.fairness.group_measures import group_sizes, impact_measurements, rate_measurements
from probes.fairness.grouping import Grouping, count_rates
from probes.fairness.ranking_aid import ranking_evidence
from probes.permutation import exchange
from probes.probe import Context
from probes.rates import Proportions, Rate
from probes.reasons import naming


class Sheet:
    """One grouping's summary in the making."""

    def __init__(self, grouping: Grouping, every: Answers, ctx: Context, permutations: int) -> None:
        self.grouping, self.every, self.ctx = grouping, every, ctx
        self.gaps = Gaps(grouping=grouping, every=every, ctx=ctx, draws=permutations)
        self.measurements: list[AnyMeasurement] = group_sizes(grouping)
        self.evidence: list[Evidence] = []
        self.remarks: list[Message] = _remarks(grouping)
        self.tested: list[ComparedGap] = []

    def read(self, positive: int, *, many: bool) -> None:
        """Add what one class as positive gives; ``many`` puts the class into slices and titles."""
        name = self.every.classes[positive] if many else None
        tail: Slice = () if name is None else (Axis(kind="class", name=name),)
        rates = count_rates(self.grouping, self.every, positive)
        by_rate: dict[str, list[AnyMeasurement]] = {}
        for rate in RATES:
            if rate == "accuracy" and many:
                continue
            by_rate[rate] = rate_measurements(self.grouping, rate, rates[rate].proportions, self.ctx.level, tail)
            self.measurements += by_rate[rate]
        self.measurements += impact_measurements(
            self.grouping, rates["selection_rate"].proportions, self.ctx.level, tail
        )
        self._compare(rates, tail, accuracy=not many)
        for rate in TABLED:
            if rate in by_rate:
                self.measurements.append(self.gaps.spread(rate, rates[rate], tail))
        if many and positive == 0:
            # Accuracy does not depend on the class: the first class's pass gives it once, without a class axis.
            accuracy = rates["accuracy"]
            self.measurements += rate_measurements(self.grouping, "accuracy", accuracy.proportions, self.ctx.level, ())
            self._compare({"accuracy": accuracy}, (), accuracy=True)
            self.measurements.append(self.gaps.spread("accuracy", accuracy, ()))
        for rate in PLOTTED:
            self.evidence.append(self._plot(rate, by_rate[rate], rates[rate].proportions, name))
        self.evidence.append(self._table(by_rate, name))
        self.evidence += standard_error_evidence(self.grouping, rates, name)
        self.evidence += ranking_evidence(self.grouping, rates, name)
        cells = rates["selection_rate"].select(np.flatnonzero(self.grouping.enough)).cells
        if positive == 0 or not many:
            self.remarks += [] if cells is None or cells.size < 2 else [exchange_remark(self.grouping, exchange(cells))]

    def close(self) -> None:
        """Add what is said of all gaps together."""
        found = claims(self.tested, self.ctx.level)
        self.evidence += [*claims_evidence(self.grouping, found, self.ctx.level), *self.notes()]
        self.remarks += claims_remarks(self.grouping, found, self.ctx.level, self.gaps.draws)

    def _compare(self, rates: dict[str, Rate], tail: Slice, *, accuracy: bool) -> None:
        criteria = [c for c in CRITERIA if all(r in rates for r in c.rates)]
        if not accuracy:
            criteria = [c for c in criteria if "accuracy" not in c.rates]
        measured, tested = self.gaps.read(rates, criteria, tail)
        self.measurements += measured
        self.tested += tested

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
            title=title.put(**params),
            unit="share",
            points=tuple(points),
            reference=float(rates.successes.sum() / total) if total else None,
            reference_label=message("all groups together") if total else None,
        )

    def _table(self, by_rate: dict[str, list[AnyMeasurement]], name: str | None) -> Table:
        shown = {rate: by_rate[rate] for rate in TABLED if rate in by_rate}
        lines: list[tuple[Cell, ...]] = []
        for g in range(len(self.grouping)):
            cells = [getattr(m[g], "value", None) for m in shown.values()]
            lines.append((self.grouping.label(g), int(self.grouping.sizes[g]), *cells))
        title = message("Groups of {feature}", feature=self.grouping.title)
        if name is not None:
            title = message("Groups of {feature}, class {name}", feature=self.grouping.title, name=name)
        columns = (message("group"), message("rows"), *(HEADS[r] for r in shown))
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
