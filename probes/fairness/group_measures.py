"""What `fairness.groups` measures of each group: its rates, and its selection rate over the highest one's.

It turns counts into measurements, undefined ones with their reason. It compares no two groups but by the impact ratio.
"""

from __future__ import annotations

import numpy as np

from probes.evidence import AnyMeasurement, Counts, Measurement, Message, Slice, Undefined, message
from probes.fairness.definitions import BY_NAME, NO_DENOMINATOR, NO_DENOMINATOR_MANY
from probes.fairness.grouping import Grouping
from probes.gaps import ratios_to_highest
from probes.intervals import Estimate
from probes.rates import Proportions
from probes.reasons import naming

FEWER = message("Fewer than two groups are large enough to compare.")


def group_sizes(grouping: Grouping) -> list[AnyMeasurement]:
    """Rows a group; exact."""
    out: list[AnyMeasurement] = []
    for g, size in enumerate(grouping.sizes.tolist()):
        counts = Counts(n=size, denominator=size, smallest=size)
        at = grouping.at(g)
        out.append(Measurement(name="count", value=size, interval=None, counts=counts, unit="rows", slice=at))
    return out


def rate_measurements(
    grouping: Grouping, name: str, rates: Proportions, level: float, tail: Slice
) -> list[AnyMeasurement]:
    """One rate of every group; ``tail`` is appended to the groups' slices."""
    out: list[AnyMeasurement] = []
    for g in range(len(grouping)):
        counts, at = grouping.counts(rates, g), (*grouping.at(g), *tail)
        reason = grouping.too_small(g)
        if reason is None and not rates.denominators[g]:
            reason = naming(NO_DENOMINATOR[name], NO_DENOMINATOR_MANY[name], [grouping.label(g)])
        if reason is not None:
            out.append(Undefined(name=name, slice=at, counts=counts, reason=reason))
        else:
            out.append(measured(name, rates.estimate(g, level), counts, at, level))
    return out


def impact_measurements(grouping: Grouping, rates: Proportions, level: float, tail: Slice) -> list[AnyMeasurement]:
    """Every group's selection rate over the highest one's."""
    kept = np.flatnonzero(grouping.enough)
    some = rates.select(kept)
    reason: Message | None = None
    estimates: dict[int, Estimate] = {}
    if len(kept) < 2:
        reason = FEWER
    elif not some.successes.any():
        reason = message(
            "No group has a row that is given the positive label, so there is no highest rate to divide by."
        )
    else:
        estimates = dict(zip(kept.tolist(), ratios_to_highest(some, level), strict=True))
    out: list[AnyMeasurement] = []
    for g in range(len(grouping)):
        counts, at = grouping.counts(rates, g), (*grouping.at(g), *tail)
        why = grouping.too_small(g) or reason
        if why is not None:
            out.append(Undefined(name="impact_ratio", slice=at, counts=counts, reason=why))
        else:
            out.append(measured("impact_ratio", estimates[g], counts, at, level))
    return out


def measured(name: str, estimate: Estimate, counts: Counts, at: Slice, level: float) -> Measurement:
    """An estimate as a measurement, with its definition's unit and direction."""
    definition = BY_NAME[name]
    return Measurement(
        name=name,
        value=estimate.value,
        interval=estimate.interval(level),
        counts=counts,
        unit=definition.unit,
        slice=at,
        better=definition.better,
    )
