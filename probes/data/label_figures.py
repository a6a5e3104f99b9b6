"""How many labels a simple model contradicts with confidence, and how many are wrong by its estimate (confident learning). It calls no
label wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probes.evidence import AnyMeasurement, Counts, Slice, Undefined, group_axes, message
from probes.intervals import Bool, Estimate, Int, tail_of
from probes.rates import count

if TYPE_CHECKING:
    from probes.data.quality_figures import Sheet

SUSPECT, NOISE = "suspect_label_share", "label_noise_share"
_NO_LABELS = message("No row has a label.")
_NOT_LOOKED_AT = message("The simple model looked at none of these rows.")


@dataclass(frozen=True, kw_only=True)
class Relabelled:
    """What a simple model says of the labels of the rows that it looked at, M of them.

    Attributes:
        classes: that it knows.
        at: positions of the rows, shape (M,).
        given: codes of their labels, shape (M,).
        sure: codes of the classes that it puts them into with confidence, -1 for none; shape (M,).
    """

    classes: tuple[str, ...]
    at: Int
    given: Int
    sure: Int

    @property
    def suspect(self) -> Bool:
        """Rows that it puts with confidence into another class than their label says."""
        return np.asarray((self.sure >= 0) & (self.sure != self.given))


def label_measures(sheet: Sheet) -> list[AnyMeasurement]:
    """Suspect labels over all rows and by group, and the estimated share of wrong ones."""
    told = sheet.relabelled
    if told is None or not sheet.n:
        why = sheet.no_model("", _NO_LABELS)
        return [sheet.undefined(SUSPECT, why), sheet.undefined(NOISE, why)]
    out: list[AnyMeasurement] = [_rate(sheet, told, np.ones(len(told.at), dtype=bool), ())]
    for feature in sheet.features:
        names, codes = sheet.groups(feature)
        for k, group in enumerate(names):
            out.append(_rate(sheet, told, codes[told.at] == k, group_axes({feature: group})))
    return [*out, _noise(sheet, told)]


def _rate(sheet: Sheet, told: Relabelled, inside: Bool, here: Slice) -> AnyMeasurement:
    rows, need = int(inside.sum()), sheet.min_group if here else 1
    counts = Counts(n=sheet.n, denominator=rows, smallest=rows, clusters=sheet.independent(told.at[inside]))
    if rows < need:
        few = message("{rows} rows; {need} are needed.", rows=rows, need=need) if rows else _NOT_LOOKED_AT
        return Undefined(name=SUSPECT, slice=here, counts=counts, reason=few)
    rates = count(np.where(inside, 0, -1), 1, told.suspect, sheet.units[told.at])
    return sheet.estimated(SUSPECT, rates.estimate(0, sheet.level), counts, here)


def _noise(sheet: Sheet, told: Relabelled) -> AnyMeasurement:
    """The off-diagonal of the confident joint after it is scaled to the labels' frequencies (Northcutt et al. 2021, equation 3).

    For each label, the share of suspect rows among those that are put anywhere with confidence; their mean is weighted by the labels'
    frequencies, and its limits by MOVER, frequencies taken as fixed.
    """
    present = np.flatnonzero(np.bincount(told.given, minlength=len(told.classes)))
    weights = np.bincount(told.given, minlength=len(told.classes))[present] / len(told.given)
    every = count(np.where(told.sure >= 0, told.given, -1), len(told.classes), told.suspect, sheet.units[told.at])
    rates = every.select(present)
    surely = int(rates.denominators.sum())
    counts = Counts(
        n=sheet.n, denominator=surely, smallest=int(rates.denominators.min()),
        clusters=sheet.independent(told.at[told.sure >= 0]),
    )  # fmt: skip
    if not counts.smallest:
        reason = message("Rows of one label reach no class with confidence.")
        return Undefined(name=NOISE, counts=counts, reason=reason)
    values, (low, high) = rates.values, rates.limits(tail_of(sheet.level))
    centre = float(weights @ values)
    estimate = Estimate(
        value=centre, low=centre - float(np.sqrt(np.sum((weights * (values - low)) ** 2))),
        high=centre + float(np.sqrt(np.sum((weights * (high - values)) ** 2))),
        method="MOVER of the labels' Wilson limits", params={"labels": len(present)},
    )  # fmt: skip
    return sheet.estimated(NOISE, estimate, counts, ())
