"""Shares over drawn units: all together, of each group, and the largest gap between groups, with intervals that allow for
clusters. It knows neither attacks nor corruptions, and compares groups only where each has something to divide by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fine_tune.predictions import feature_names
from probes.answers import Answers, group_codes
from probes.evidence import (
    AnyMeasurement,
    Counts,
    MeasureDefinition,
    Measurement,
    Message,
    Slice,
    Undefined,
    feature_axes,
    group_axes,
    message,
)
from probes.gaps import largest_gap
from probes.intervals import Bool, Estimate, Int, tail_of
from probes.permutation import gap_p_value
from probes.probe import Context
from probes.rates import Proportions, Rate, count, count_rate
from probes.reasons import naming

if TYPE_CHECKING:
    import pyarrow as pa

_NOTHING = message("There is nothing to divide by.")
_FEWER = message("Fewer than two groups are large enough to compare.")
_LACKING = message("Nothing to divide by in {names}.")
_LACKING_MANY = message("Nothing to divide by in {names} and {more} more.")


@dataclass(frozen=True, kw_only=True)
class Shares:
    """N drawn units, and how shares of them are measured.

    Attributes:
        size: N.
        definitions: of every measure that is asked for, by name.
        clusters: codes of units that belong together, shape (N,), or None where each stands alone.
        groups: for each sensitive feature the code of each unit's group, -1 where missing, and the groups' names.
        min_group: groups with fewer units' rows are listed, and not compared.
        permutations: random regroupings behind each p-value.
        ctx: level and generators.
        per_row: units that one row has; a group's size is counted in rows.
    """

    size: int
    definitions: Mapping[str, MeasureDefinition]
    clusters: Int | None
    groups: Mapping[str, tuple[Int, tuple[str, ...]]]
    min_group: int
    permutations: int
    ctx: Context
    per_row: int = 1

    def spread(self, times: int) -> Shares:
        """The same where each unit has become ``times`` units in a row, which belong together."""
        clusters = np.arange(self.size) if self.clusters is None else self.clusters
        return replace(
            self,
            clusters=np.repeat(clusters, times),
            groups={name: (np.repeat(codes, times), names) for name, (codes, names) in self.groups.items()},
            size=self.size * times,
            per_row=self.per_row * times,
        )

    def overall(self, name: str, success: Bool, inside: Bool, at: Slice = ()) -> AnyMeasurement:
        """The share of ``success`` among the units ``inside``; both have shape (N,)."""
        rates = count(np.where(inside, 0, -1), 1, success, self.clusters)
        counts = _counts(rates, 0, len(success))
        if not rates.denominators[0]:
            return Undefined(name=name, slice=at, counts=counts, reason=_NOTHING)
        return self._measured(name, rates.estimate(0, self.ctx.level), counts, at)

    def less(self, name: str, lost: Bool, gained: Bool, at: Slice = ()) -> AnyMeasurement:
        """The share of units ``lost`` less that ``gained``, of all; no unit is both.

        Limits by the method of variance estimates recovery with the two shares' correlation, which is negative, as in one
        multinomial sample (Zou and Donner 2008); they have a width even where nothing was lost or gained.
        """
        every = np.zeros(len(lost), dtype=np.int64)
        down, up = (count(every, 1, part, self.clusters) for part in (lost, gained))
        counts = _counts(down, 0, len(lost))
        if not len(lost):
            return Undefined(name=name, slice=at, counts=counts, reason=_NOTHING)
        tail = tail_of(self.ctx.level)
        (p,), (q,) = down.values, up.values
        ((p_low,), (p_high,)), ((q_low,), (q_high,)) = down.limits(tail), up.limits(tail)
        together = -np.sqrt(p * q / ((1 - p) * (1 - q))) if 0 < p < 1 and 0 < q < 1 else 0.0

        def reach(a: float, b: float) -> float:
            return float(np.sqrt(a**2 - 2 * together * a * b + b**2))

        estimate = Estimate(
            value=float(p - q),
            low=max(float(p - q) - reach(p - p_low, q_high - q), -1.0),
            high=min(float(p - q) + reach(p_high - p, q - q_low), 1.0),
            method="paired difference by MOVER, Wilson score",
            params=down.params(0),
        )
        return self._measured(name, estimate, counts, at)

    def by_group(
        self, name: str, success: Bool, inside: Bool, at: Slice = (), *, compare: bool = True
    ) -> list[AnyMeasurement]:
        """For every feature: each group's share, and where ``compare`` is set the largest gap and its p-value.

        A group's share is called ``group_{name}``, so that a policy's rule on the whole is not taken for one on groups; the
        gap ``{name}_difference``, and the p-value ``{name}_difference_p_value``.
        """
        out: list[AnyMeasurement] = []
        for feature, (codes, names) in self.groups.items():
            rate = count_rate(np.where(inside, codes, -1), len(names), success, self.clusters)
            rates = rate.proportions
            sizes = np.bincount(codes[codes >= 0], minlength=len(names)) // self.per_row
            for g, group in enumerate(names):
                here = (*group_axes({feature: group}), *at)
                counts = _counts(rates, g, int(sizes[g]) * self.per_row)
                reason = self._why_not(int(sizes[g]), int(rates.denominators[g]))
                if reason is not None:
                    out.append(Undefined(name=f"group_{name}", slice=here, counts=counts, reason=reason))
                else:
                    out.append(self._measured(f"group_{name}", rates.estimate(g, self.ctx.level), counts, here))
            if compare:
                out += self._gap(name, rate, sizes, names, (*feature_axes(feature), *at))
        return out

    def _gap(self, name: str, rate: Rate, sizes: Int, names: tuple[str, ...], at: Slice) -> list[AnyMeasurement]:
        kept = np.flatnonzero(sizes >= self.min_group)
        compared = rate.select(kept)
        some = compared.proportions
        counts = Counts(
            n=int(sizes[kept].sum()) * self.per_row,
            denominator=int(some.denominators.sum()),
            smallest=int(some.denominators.min()) if len(kept) else 0,
            clusters=None if some.clusters is None else int(some.clusters.sum()),
        )
        gap, chance = f"{name}_difference", f"{name}_difference_p_value"
        empty = [names[int(kept[i])] for i in np.flatnonzero(some.denominators == 0)]
        if len(kept) < 2 or empty:
            reason = _FEWER if len(kept) < 2 else naming(_LACKING, _LACKING_MANY, empty)
            return [Undefined(name=one, slice=at, counts=counts, reason=reason) for one in (gap, chance)]
        rng = self.ctx.rng("\0".join((name, *(str(axis) for axis in at))))
        p, error = gap_p_value(compared, rng, self.permutations)
        definition = self.definitions[chance]
        return [
            self._measured(gap, largest_gap([some], self.ctx.level), counts, at),
            Measurement(
                name=chance, value=p, interval=None, counts=counts, unit=definition.unit, slice=at,
                better=definition.better, monte_carlo_error=error,
            ),
        ]  # fmt: skip

    def _why_not(self, size: int, denominator: int) -> Message | None:
        if size < self.min_group:
            return message(
                "The group has {rows} rows, fewer than the {least} that are shown as a rate.",
                rows=size, least=self.min_group,
            )  # fmt: skip
        return None if denominator else _NOTHING

    def _measured(self, name: str, estimate: Estimate, counts: Counts, at: Slice) -> Measurement:
        definition = self.definitions[name]
        return Measurement(
            name=name, value=estimate.value, interval=estimate.interval(self.ctx.level), counts=counts,
            unit=definition.unit, slice=at, better=definition.better,
        )  # fmt: skip


def shares_of(
    rows: pa.Table,
    answers: Answers,
    definitions: tuple[MeasureDefinition, ...],
    ctx: Context,
    *,
    min_group: int,
    permutations: int,
) -> Shares:
    """For a table with one line a drawn row, and the same as arrays."""
    return Shares(
        size=len(answers),
        definitions={d.name: d for d in definitions},
        clusters=answers.clusters,
        groups={name: group_codes(rows, name) for name in feature_names(rows)},
        min_group=min_group,
        permutations=permutations,
        ctx=ctx,
    )


def _counts(rates: Proportions, g: int, n: int) -> Counts:
    size = int(rates.denominators[g])
    return Counts(
        n=n, denominator=size, smallest=size, clusters=None if rates.clusters is None else int(rates.clusters[g])
    )
