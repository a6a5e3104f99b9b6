"""What `fairness.groups` measures between groups: difference, ratio and p-value of every criterion, heterogeneity of every rate.

It compares the groups that are large enough; where one of them lacks a denominator there is no value. It claims nothing
(`claims` does) and computes no statistic itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probes.answers import Answers
from probes.evidence import AnyMeasurement, Counts, Measurement, Message, Slice, Undefined, message
from probes.fairness.definitions import BY_NAME, NO_DENOMINATOR, NO_DENOMINATOR_MANY, Criterion
from probes.fairness.group_measures import FEWER, measured
from probes.fairness.grouping import Grouping
from probes.gaps import largest_gap, mean_gap, smallest_ratio
from probes.heterogeneity import heterogeneity
from probes.intervals import Estimate, Float, Int
from probes.permutation import chance_gaps, p_value
from probes.probe import Context
from probes.rates import Proportions, Rate
from probes.reasons import naming

_ALONE = message("Fewer than two groups that are large enough have this rate.")
_ZERO = message("The highest rate is 0, so there is nothing to divide by.")


@dataclass(frozen=True, kw_only=True)
class ComparedGap:
    """A difference that was tested: what a claim rests on."""

    difference: Measurement
    p: float


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """The comparisons of one grouping.

    Attributes:
        grouping: its groups.
        every: the answers that its rates were counted from.
        ctx: for the level and the generators.
        draws: random regroupings behind each p-value.
    """

    grouping: Grouping
    every: Answers
    ctx: Context
    draws: int

    def read(
        self, rates: Mapping[str, Rate], criteria: Sequence[Criterion], tail: Slice
    ) -> tuple[list[AnyMeasurement], list[ComparedGap]]:
        """Three measurements a criterion, and those of the differences that have a value; ``tail`` ends the slices."""
        kept = np.flatnonzero(self.grouping.enough)
        at = (*self.grouping.here, *tail)
        needed = dict.fromkeys(name for c in criteria for name in c.rates)
        some = {name: rates[name].select(kept) for name in needed}
        chance: dict[str, Float] = {}
        out: list[AnyMeasurement] = []
        tested: list[ComparedGap] = []
        for criterion in criteria:
            mine = [some[name].proportions for name in criterion.rates]
            counts = self._counts(mine)
            names = [f"{criterion.name}_{end}" for end in ("difference", "ratio", "difference_p_value")]
            reason = FEWER if len(kept) < 2 else self._lacking(criterion, mine, kept)
            if reason is not None:
                out.extend(Undefined(name=n, slice=at, counts=counts, reason=reason) for n in names)
                continue
            for name in criterion.rates:
                if name not in chance:
                    rng = self.ctx.rng("\0".join((name, *(str(a) for a in at))))
                    chance[name] = chance_gaps(some[name], rng, self.draws)
            level = self.ctx.level
            difference = measured(names[0], _difference(criterion, mine, level), counts, at, level)
            out.append(difference)
            if all(r.successes.any() for r in mine):
                out.append(measured(names[1], _ratio(criterion, mine, level), counts, at, level))
            else:
                out.append(Undefined(name=names[1], slice=at, counts=counts, reason=_ZERO))
            together = np.mean if criterion.mean else np.max
            p, error = p_value(difference.value, together([chance[n] for n in criterion.rates], axis=0))
            out.append(_p(names[2], p, error, counts, at))
            tested.append(ComparedGap(difference=difference, p=p))
        return out, tested

    def spread(self, name: str, rate: Rate, tail: Slice) -> AnyMeasurement:
        """How much the groups with a rate differ beyond noise."""
        kept = np.flatnonzero(self.grouping.enough & (rate.proportions.denominators > 0))
        some = rate.select(kept).proportions
        counts, at, measure = self._counts([some]), (*self.grouping.here, *tail), f"{name}_heterogeneity"
        found = heterogeneity(some, self.ctx.level)
        if found is None:
            return Undefined(name=measure, slice=at, counts=counts, reason=_ALONE)
        return measured(measure, found, counts, at, self.ctx.level)

    def _lacking(self, criterion: Criterion, some: Sequence[Proportions], kept: Int) -> Message | None:
        for name, rates in zip(criterion.rates, some, strict=True):
            empty = [self.grouping.label(int(kept[i])) for i in np.flatnonzero(rates.denominators == 0)]
            if empty:
                return naming(NO_DENOMINATOR[name], NO_DENOMINATOR_MANY[name], empty)
        return None

    def _counts(self, some: Sequence[Proportions]) -> Counts:
        compared = np.zeros(len(self.grouping) + 1, dtype=bool)
        compared[:-1] = self.grouping.enough
        return Counts(
            n=int(self.grouping.sizes[self.grouping.enough].sum()),
            denominator=sum(int(r.denominators.sum()) for r in some),
            smallest=min((int(r.denominators.min()) for r in some if len(r)), default=0),
            clusters=self.every.distinct_clusters(compared[self.grouping.codes]),
        )


def _difference(criterion: Criterion, some: Sequence[Proportions], level: float) -> Estimate:
    if not criterion.mean:
        return largest_gap(some, level)
    if all(r.clusters is None for r in some):
        return mean_gap(some, level)
    # Rates that share clusters are not independent, which the sum of squares in `mean_gap` needs.
    return _mean([largest_gap([r], _shared(level, len(some))) for r in some])


def _ratio(criterion: Criterion, some: Sequence[Proportions], level: float) -> Estimate:
    if not criterion.mean:
        return smallest_ratio(some, level)
    return _mean([smallest_ratio([r], _shared(level, len(some))) for r in some])


def _shared(level: float, rates: int) -> float:
    """The level of each of several intervals such that all of them hold at ``level`` (Bonferroni)."""
    return 1 - (1 - level) / rates


def _mean(parts: Sequence[Estimate]) -> Estimate:
    """The mean of estimates whose intervals hold together: it lies between the means of their ends."""
    return Estimate(
        value=float(np.mean([e.value for e in parts])),
        low=float(np.mean([e.low for e in parts])),
        high=float(np.mean([e.high for e in parts])),
        method="mean of joint intervals (Bonferroni)",
        params={"of": parts[0].method, **parts[0].params},
    )


def _p(name: str, p: float, error: float, counts: Counts, at: Slice) -> Measurement:
    d = BY_NAME[name]
    return Measurement(
        name=name,
        value=p,
        interval=None,
        counts=counts,
        unit=d.unit,
        slice=at,
        better=d.better,
        monte_carlo_error=error,
    )
