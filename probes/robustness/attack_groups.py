"""Whose answers an attack changes: its success by true class, by group with the largest gap, and by budget of queries. It
counts `probes.robustness.outcomes.Outcomes` and shows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probes.answers import group_codes
from probes.evidence import (
    AnyMeasurement,
    Axis,
    CurvePoint,
    Slice,
    Undefined,
    feature_axes,
    group_axes,
    message,
)
from probes.gaps import largest_gap
from probes.intervals import Bool, Int
from probes.permutation import gap_p_value
from probes.probe import Context
from probes.rates import Rate, count_rate
from probes.robustness.outcomes import Outcomes, measured

if TYPE_CHECKING:
    import pyarrow as pa

CURVE_POINTS = 24
RATE, GAP, P_VALUE = (
    "attack_success_rate",
    "attack_success_rate_difference",
    "attack_success_rate_difference_p_value",
)


def by_class(outcomes: Outcomes, ctx: Context, least: int) -> list[AnyMeasurement]:
    """The success rate on the examples of each true class."""
    out: list[AnyMeasurement] = []
    for code, name in enumerate(outcomes.answers.classes):
        mine = outcomes.answers.labels == code
        if mine.any():
            out.append(_group_rate(outcomes, mine, (Axis(kind="class", name=name),), ctx, least))
    return out


@dataclass(frozen=True, kw_only=True)
class FeatureReading:
    """One sensitive feature: the rate of each group in order, and how far apart they are.

    Attributes:
        names: the data's groups, drawn from or not.
        rates: one a group.
        gaps: the largest difference and its p-value.
        compared: groups that have enough attacked examples.
        missing: drawn examples without a group.
        pooled: the success rate over all groups; None where nothing was attacked.
    """

    feature: str
    names: tuple[str, ...]
    rates: tuple[AnyMeasurement, ...]
    gaps: tuple[AnyMeasurement, ...]
    compared: int
    missing: int
    pooled: float | None


@dataclass(frozen=True, kw_only=True)
class Grouped:
    """How groups are compared.

    Attributes:
        feature: a sensitive feature.
        known: its groups in the data.
        least: attacked examples that a group needs.
        draws: random regroupings behind the p-value.
    """

    feature: str
    known: tuple[str, ...]
    least: int
    draws: int


def by_group(outcomes: Outcomes, rows: pa.Table, how: Grouped, ctx: Context) -> FeatureReading:
    """The success rate of every group of a feature, and the largest gap between those with enough attacked examples.

    Raises:
        DataError: the rows have no such feature.
    """
    feature, least = how.feature, how.least
    codes, names = _among(how.known, *group_codes(rows, feature))
    attacked, flipped = outcomes.attacked, outcomes.has("succeeded")
    rates = [_group_rate(outcomes, codes == g, group_axes({feature: name}), ctx, least) for g, name in enumerate(names)]
    every = count_rate(np.where(attacked, codes, -1), len(names), flipped, outcomes.answers.clusters)
    tally = every.proportions
    kept = np.flatnonzero(tally.denominators >= least)
    total = int(tally.denominators.sum())
    return FeatureReading(
        feature=feature,
        names=names,
        rates=tuple(rates),
        gaps=tuple(_gaps(outcomes, every.select(kept), attacked & np.isin(codes, kept), how, ctx)),
        compared=len(kept),
        missing=int((codes < 0).sum()),
        pooled=float(tally.successes.sum() / total) if total else None,
    )


def curve(outcomes: Outcomes, ctx: Context) -> tuple[CurvePoint, ...]:
    """Share of attacked examples flipped within so many queries, with pointwise limits; empty where none was attacked."""
    attacked, flipped = outcomes.attacked, outcomes.has("succeeded")
    if not attacked.any():
        return ()
    most = int(outcomes.queries[attacked].max())
    budgets = sorted({int(np.ceil(most * k / CURVE_POINTS)) for k in range(1, CURVE_POINTS + 1)})
    points = []
    for budget in budgets:
        share = outcomes.share(attacked, flipped & (outcomes.queries <= budget))
        estimate = share.estimate(0, ctx.level)
        interval = estimate.interval(ctx.level)
        points.append(
            CurvePoint(
                x=float(budget), y=estimate.value, low=interval.low, high=interval.high, n=int(share.denominators[0])
            )
        )
    return tuple(points)


def _group_rate(outcomes: Outcomes, mine: Bool, at: Slice, ctx: Context, least: int) -> AnyMeasurement:
    attacked = outcomes.attacked & mine
    counts = outcomes.counts(attacked, n=int(mine.sum()))
    if counts.denominator < least:
        few = message(
            "{attacked} of its examples were attacked, fewer than the {least} that are shown as a rate.",
            attacked=counts.denominator,
            least=least,
        )
        return Undefined(name=RATE, slice=at, counts=counts, reason=few)
    estimate = outcomes.share(attacked, outcomes.has("succeeded")).estimate(0, ctx.level)
    return measured(RATE, estimate.value, estimate.interval(ctx.level), counts, at)


def _gaps(outcomes: Outcomes, rate: Rate, inside: Bool, how: Grouped, ctx: Context) -> list[AnyMeasurement]:
    at, rates = feature_axes(how.feature), rate.proportions
    smallest = int(rates.denominators.min()) if len(rates) else 0
    counts = outcomes.counts(inside, smallest=smallest)
    if len(rates) < 2:
        reason = message("Fewer than two groups have at least {least} attacked examples to compare.", least=how.least)
        return [Undefined(name=name, slice=at, counts=counts, reason=reason) for name in (GAP, P_VALUE)]
    gap = largest_gap([rates], ctx.level)
    p, error = gap_p_value(rate, ctx.rng(f"{GAP}\0{how.feature}"), how.draws)
    return [
        measured(GAP, gap.value, gap.interval(ctx.level), counts, at),
        measured(P_VALUE, p, None, counts, at).model_copy(update={"monte_carlo_error": error}),
    ]


def _among(known: tuple[str, ...], codes: Int, found: tuple[str, ...]) -> tuple[Int, tuple[str, ...]]:
    """Codes into the names of all groups instead of those that were drawn."""
    names = tuple(sorted({*known, *found}))
    places = np.array([*(names.index(name) for name in found), -1], dtype=np.int64)
    return places[codes], names
