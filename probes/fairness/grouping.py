"""One sensitive feature, or an intersection of several, with the rates of its groups.

It sorts rows into groups, sets small groups aside, counts rates, and compares them. It chooses no positive
class and reads no tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.answers import Answers
from probes.evidence import (
    AnyMeasurement,
    Counts,
    Interval,
    Measurement,
    Message,
    Slice,
    Undefined,
    feature_axes,
    group_axes,
    message,
)
from probes.fairness.definitions import BY_NAME, CRITERIA, NO_DENOMINATOR, NO_DENOMINATOR_MANY, Criterion
from probes.gaps import largest_gap, permutation_p_value, ratios_to_highest, smallest_ratio
from probes.intervals import Bool, Estimate, Int
from probes.probe import Context
from probes.rates import Proportions, count
from probes.reasons import naming


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """The groups of one feature or intersection.

    Attributes:
        features: the feature's name, or the intersection's names.
        names: each group's value in every feature, sorted; length G.
        codes: group of each row, -1 where some feature is missing.
        sizes: rows a group, shape (G,).
        enough: groups of at least the probe's ``min_group`` rows, shape (G,).
        min_group: that size.
    """

    features: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    codes: Int
    sizes: Int
    enough: Bool
    min_group: int

    def __len__(self) -> int:
        return len(self.names)

    @property
    def title(self) -> str:
        return " × ".join(self.features)

    @property
    def missing(self) -> int:
        """Rows without a group."""
        return int(np.count_nonzero(self.codes < 0))

    def label(self, g: int) -> str:
        return " × ".join(self.names[g])

    def at(self, g: int) -> Slice:
        return group_axes(dict(zip(self.features, self.names[g], strict=True)))

    @property
    def here(self) -> Slice:
        return feature_axes(*self.features)


def group(features: tuple[str, ...], columns: Sequence[tuple[Int, tuple[str, ...]]], min_group: int) -> Grouping:
    """The groups that occur in the rows, from each feature's codes and names."""
    joint = columns[0][0].copy()
    missing = joint < 0
    for codes, names in columns[1:]:
        joint = joint * max(len(names), 1) + codes
        missing |= codes < 0
    kept, codes = np.unique(joint[~missing], return_inverse=True)
    out = np.full(len(joint), -1, dtype=np.int64)
    out[~missing] = codes
    found = []
    for value in kept.tolist():
        parts: list[str] = []
        rest = value
        for _, names in reversed(columns):
            rest, last = divmod(rest, max(len(names), 1))
            parts.insert(0, names[last])
        found.append(tuple(parts))
    sizes = np.bincount(codes, minlength=len(kept))
    return Grouping(
        features=features,
        names=tuple(found),
        codes=out,
        sizes=sizes,
        enough=sizes >= min_group,
        min_group=min_group,
    )


def count_rates(grouping: Grouping, answers: Answers, positive: int) -> dict[str, Proportions]:
    """The five rates of every group, one class against the rest; accuracy is over all classes."""
    codes, size, clusters = grouping.codes, len(grouping), answers.clusters
    chosen, truly, known = answers.predictions == positive, answers.labels == positive, answers.labelled

    def rate(inside: Bool, success: Bool) -> Proportions:
        return count(np.where(inside, codes, -1), size, success, clusters)

    return {
        "selection_rate": rate(np.ones(len(codes), dtype=bool), chosen),
        "recall": rate(truly, chosen),
        "false_positive_rate": rate(known & ~truly, chosen),
        "precision": rate(known & chosen, truly),
        "accuracy": rate(known, answers.labels == answers.predictions),
    }


def rate_measurements(
    grouping: Grouping, name: str, rates: Proportions, level: float, tail: Slice
) -> list[AnyMeasurement]:
    """One rate of every group; ``tail`` is appended to the groups' slices."""
    out: list[AnyMeasurement] = []
    for g in range(len(grouping)):
        counts, at = _counts(grouping, rates, g), (*grouping.at(g), *tail)
        reason = _too_small(grouping, g)
        if reason is None and not rates.denominators[g]:
            reason = naming(NO_DENOMINATOR[name], NO_DENOMINATOR_MANY[name], [grouping.label(g)])
        if reason is not None:
            out.append(Undefined(name=name, slice=at, counts=counts, reason=reason))
        else:
            out.append(_measured(name, rates.estimate(g, level), counts, at, level))
    return out


def impact_measurements(grouping: Grouping, rates: Proportions, level: float, tail: Slice) -> list[AnyMeasurement]:
    """Every group's selection rate over the highest one's."""
    kept = np.flatnonzero(grouping.enough)
    some = rates.select(kept)
    reason: Message | None = None
    estimates: dict[int, Estimate] = {}
    if len(kept) < 2:
        reason = _FEWER
    elif not some.successes.any():
        reason = message(
            "No group has a row that is given the positive label, so there is no highest rate to divide by."
        )
    else:
        estimates = dict(zip(kept.tolist(), ratios_to_highest(some, level), strict=True))
    out: list[AnyMeasurement] = []
    for g in range(len(grouping)):
        counts, at = _counts(grouping, rates, g), (*grouping.at(g), *tail)
        why = _too_small(grouping, g) or reason
        if why is not None:
            out.append(Undefined(name="impact_ratio", slice=at, counts=counts, reason=why))
        else:
            out.append(_measured("impact_ratio", estimates[g], counts, at, level))
    return out


_FEWER = message("Fewer than two groups are large enough to compare.")


def gap_measurements(
    grouping: Grouping,
    rates: dict[str, Proportions],
    answers: Answers,
    ctx: Context,
    *,
    draws: int,
    tail: Slice,
) -> list[AnyMeasurement]:
    """Difference, ratio and p-value of every criterion; Undefined where a group lacks a denominator."""
    kept = np.flatnonzero(grouping.enough)
    out: list[AnyMeasurement] = []
    for criterion in CRITERIA:
        some = [rates[name].select(kept) for name in criterion.rates]
        counts = _gap_counts(grouping, some, answers)
        at = (*grouping.here, *tail)
        reason = _FEWER if len(kept) < 2 else _lacking(grouping, criterion, some, kept)
        names = [f"{criterion.name}_{end}" for end in ("difference", "ratio", "difference_p_value")]
        if reason is not None:
            out.extend(Undefined(name=n, slice=at, counts=counts, reason=reason) for n in names)
            continue
        out.append(_measured(names[0], largest_gap(some, ctx.level), counts, at, ctx.level))
        if all(r.successes.any() for r in some):
            out.append(_measured(names[1], smallest_ratio(some, ctx.level), counts, at, ctx.level))
        else:
            zero = message("The highest rate is 0, so there is nothing to divide by.")
            out.append(Undefined(name=names[1], slice=at, counts=counts, reason=zero))
        rng = ctx.rng("\0".join((criterion.name, *(str(a) for a in at))))
        p, error = permutation_p_value(some, rng, draws)
        out.append(
            Measurement(
                name=names[2],
                value=p,
                interval=None,
                counts=counts,
                unit=BY_NAME[names[2]].unit,
                slice=at,
                better=BY_NAME[names[2]].better,
                monte_carlo_error=error,
            )
        )
    return out


def _lacking(grouping: Grouping, criterion: Criterion, some: Sequence[Proportions], kept: Int) -> Message | None:
    for name, rates in zip(criterion.rates, some, strict=True):
        empty = [grouping.label(int(kept[i])) for i in np.flatnonzero(rates.denominators == 0)]
        if empty:
            return naming(NO_DENOMINATOR[name], NO_DENOMINATOR_MANY[name], empty)
    return None


def _too_small(grouping: Grouping, g: int) -> Message | None:
    if grouping.enough[g]:
        return None
    return message(
        "The group has {rows} rows, fewer than the {least} that are shown as a rate.",
        rows=int(grouping.sizes[g]),
        least=grouping.min_group,
    )


def _counts(grouping: Grouping, rates: Proportions, g: int) -> Counts:
    n = int(rates.denominators[g])
    clusters = None if rates.clusters is None else int(rates.clusters[g])
    return Counts(n=int(grouping.sizes[g]), denominator=n, smallest=n, clusters=clusters)


def _gap_counts(grouping: Grouping, some: Sequence[Proportions], answers: Answers) -> Counts:
    compared = np.zeros(len(grouping) + 1, dtype=bool)
    compared[:-1] = grouping.enough
    return Counts(
        n=int(grouping.sizes[grouping.enough].sum()),
        denominator=sum(int(r.denominators.sum()) for r in some),
        smallest=min((int(r.denominators.min()) for r in some if len(r)), default=0),
        clusters=answers.distinct_clusters(compared[grouping.codes]),
    )


def _measured(name: str, estimate: Estimate, counts: Counts, at: Slice, level: float) -> Measurement:
    definition = BY_NAME[name]
    interval: Interval = estimate.interval(level)
    return Measurement(
        name=name,
        value=estimate.value,
        interval=interval,
        counts=counts,
        unit=definition.unit,
        slice=at,
        better=definition.better,
    )
