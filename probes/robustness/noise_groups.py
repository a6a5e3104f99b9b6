"""Groups under noise: each group's flip rate and drop in accuracy, and how far apart groups are.

It drops no group in silence, and compares only those with enough changed examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probes.answers import group_codes
from probes.evidence import AnyMeasurement, Counts, Message, Slice, Undefined, feature_axes, group_axes, message
from probes.gaps import gap_high, gap_low, largest_gap, simultaneous_tail
from probes.intervals import Bool, Estimate, Float, Int, tail_of
from probes.permutation import gap_p_value
from probes.rates import Rate, count_rate
from probes.reasons import naming
from probes.robustness.noise_sheet import Sheet, drop, drop_in_accuracy, exact, measured

if TYPE_CHECKING:
    from probes.probe import Context

DRAWS = 2000
_FEWER = message("Fewer than two groups are large enough to compare.")


@dataclass(frozen=True, kw_only=True)
class Groups:
    """The groups of one feature: code of each variant, names, and the smallest number of examples to compare."""

    feature: str
    codes: Int
    names: tuple[str, ...]
    least: int

    @classmethod
    def of(cls, sheet: Sheet, feature: str, least: int) -> Groups:
        codes, names = group_codes(sheet.table, feature)
        return cls(feature=feature, codes=codes, names=names, least=least)

    def cell(self, sheet: Sheet, at: Slice, inside: Bool, ctx: Context) -> list[AnyMeasurement]:
        changed = inside & sheet.changed
        labelled = changed & sheet.known
        rate = count_rate(np.where(changed, self.codes, -1), len(self.names), sheet.flipped, sheet.units)
        flips = rate.proportions
        out: list[AnyMeasurement] = []
        for g, name in enumerate(self.names):
            mine = self.codes == g
            here = (*group_axes({self.feature: name}), *at)
            why = self._small(sheet, changed & mine)
            counts = sheet.counts(inside & mine, changed & mine)
            if why is not None:
                out.append(Undefined(name="group_flip_rate", slice=here, counts=counts, reason=why))
                held = sheet.counts(inside & mine, labelled & mine)
                out.append(Undefined(name="group_accuracy_drop", slice=here, counts=held, reason=why))
                continue
            out.append(measured("group_flip_rate", flips.estimate(g, ctx.level), counts, here, ctx.level))
            out.append(drop(sheet, "group_accuracy_drop", here, (inside & mine, labelled & mine), ctx.level))
        kept = [g for g in range(len(self.names)) if self._small(sheet, changed & (self.codes == g)) is None]
        here = (*feature_axes(self.feature), *at)
        return [*out, *self._flip_gap(rate, kept, (sheet, changed), here, ctx),
                self._drop_gap(sheet, labelled, kept, here, ctx.level)]  # fmt: skip

    def _flip_gap(
        self, flips: Rate, kept: Sequence[int], cell: tuple[Sheet, Bool], here: Slice, ctx: Context
    ) -> list[AnyMeasurement]:
        sheet, changed = cell
        counts = self._gap_counts(sheet, changed, kept)
        names = ("flip_rate_difference", "flip_rate_difference_p_value")
        if len(kept) < 2:
            return [Undefined(name=name, slice=here, counts=counts, reason=_FEWER) for name in names]
        some = flips.select(np.array(kept))
        p, error = gap_p_value(some, ctx.rng("\0".join(("flips", *(str(a) for a in here)))), DRAWS)
        gap = measured(names[0], largest_gap([some.proportions], ctx.level), counts, here, ctx.level)
        return [gap, exact(names[1], p, counts, here).model_copy(update={"monte_carlo_error": error})]

    def _drop_gap(self, sheet: Sheet, labelled: Bool, kept: Sequence[int], here: Slice, level: float) -> AnyMeasurement:
        """Both ends in the plain form that `probes.gaps` keeps for ratios, from the limits of each group's drop."""
        name = "accuracy_drop_difference"
        counts = self._gap_counts(sheet, labelled, kept)
        if len(kept) < 2:
            return Undefined(name=name, slice=here, counts=counts, reason=_FEWER)
        tail = tail_of(level)
        used = [labelled & (self.codes == g) for g in kept]
        plain = self._limits(sheet, used, tail)
        wide = self._limits(sheet, used, simultaneous_tail(tail, len(kept)))
        if plain is None or wide is None:
            few = message("{names}: fewer than two independent examples with a label were changed.")
            many = message("{names} and {more} more: fewer than two independent examples with a label were changed.")
            lacking = [self.names[g] for g, u in zip(kept, used, strict=True) if len(np.unique(sheet.units[u])) < 2]
            return Undefined(name=name, slice=here, counts=counts, reason=naming(few, many, lacking))
        # Drops lie in [-1, 1]; halved they differ by at most 1, which is the range that the limits of a gap are cut to.
        values, low, high = (part / 2 for part in plain)
        estimate = Estimate(
            value=2 * float(values.max() - values.min()),
            low=2 * float(gap_low(values, (wide[1] / 2, wide[2] / 2))),
            high=2 * float(gap_high(values, (low, high))),
            method="largest gap: simultaneous low, intersection-union high",
            params={"groups": len(kept), "pairs": "hybrid of paired t limits"},
        )
        return measured(name, estimate, counts, here, level)

    def _limits(self, sheet: Sheet, used: Sequence[Bool], tail: float) -> tuple[Float, Float, Float] | None:
        found = [drop_in_accuracy(sheet.before[u], sheet.after[u], sheet.units[u], 1 - 2 * tail) for u in used]
        some = [f for f in found if f is not None]
        if len(some) < len(found):
            return None
        return np.array([f.value for f in some]), np.array([f.low for f in some]), np.array([f.high for f in some])

    def _small(self, sheet: Sheet, used: Bool) -> Message | None:
        examples = len(np.unique(sheet.rows[used]))
        if examples >= self.least:
            return None
        return message(
            "{examples} examples of the group were changed, fewer than the {least} that are shown as a rate.",
            examples=examples, least=self.least,
        )  # fmt: skip

    def _gap_counts(self, sheet: Sheet, used: Bool, kept: Sequence[int]) -> Counts:
        compared = used & np.isin(self.codes, kept)
        sizes = [int(np.count_nonzero(used & (self.codes == g))) for g in kept]
        return Counts(
            n=int(np.count_nonzero(np.isin(self.codes, kept))),
            denominator=sum(sizes),
            smallest=min(sizes, default=0),
            clusters=len(np.unique(sheet.units[compared])),
        )

    def remarks(self, sheet: Sheet) -> list[Message]:
        out = []
        missing = len(np.unique(sheet.rows[self.codes < 0]))
        if missing:
            out.append(
                message(
                    "{rows} examples have no {feature}; they are left out of it.", rows=missing, feature=self.feature
                )
            )
        small = [n for g, n in enumerate(self.names) if self._small(sheet, sheet.changed & (self.codes == g))]
        if small:
            few = message("Too few examples to compare in {feature}: {names}.", feature=self.feature)
            many = message("Too few examples to compare in {feature}: {names} and {more} more.", feature=self.feature)
            out.append(naming(few, many, small))
        return out
