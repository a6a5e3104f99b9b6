"""Many groups compared: the largest gap, the smallest ratio, and each group against the best.

It takes `probes.rates.Proportions` whose denominators are all positive, and refuses (ValueError) fewer than
two groups. It never resamples rows for an interval; `probes.permutation` says what chance alone would make of a gap.

The two ends of an extreme over groups rest on two different arguments.

* Towards the extreme (low end of the largest gap, high end of the smallest ratio) limits of all pairs hold simultaneously,
  because any pair could be the largest. For ratios: critical value q(1 - tail, G, infinity) / sqrt(2) of the studentised range
  (Tukey), in MOVER-R's limits. For the gap the critical value counts only the pairs that can still be the largest (two-step
  moment selection), in Newcombe's limits.
* Away from it (high end of the largest gap) the claim "no pair exceeds T" needs *every* pair to be within T. Each pair is tested
  at the plain level; rejecting all of them errs no more often than one of them (intersection-union: Berger 1982), so nothing
  is paid for the number of groups. For the gap even less than the plain level is enough where T is small, since all other
  groups would have to fall between the two.

`probes.extremes` has both arguments for the gap in full; `benchmarks/fairness_coverage.py` shows that they cover. The ratio
keeps the plain forms: near a lowest rate of 0 the calibration above, made for differences, is not proven.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probes.evidence import Scalar
from probes.extremes import Shares, lower_end, upper_end
from probes.intervals import Estimate, Limits, ratio_high, ratio_low, tail_of
from probes.pairs import (
    gap_high,
    gap_low,
    least_ratio_high,
    least_ratio_low,
    pair_blocks,
    simultaneous_tail,
)
from probes.rates import Proportions

__all__ = [
    "gap_high",
    "gap_low",
    "largest_gap",
    "least_ratio_high",
    "least_ratio_low",
    "mean_gap",
    "ratios_to_highest",
    "simultaneous_tail",
    "smallest_ratio",
]


def largest_gap(rates: Sequence[Proportions], level: float) -> Estimate:
    """The largest difference between two groups' proportions, over one rate or the worst of several.

    For several rates (equalized odds, `fairlearn.metrics.equalized_odds_difference(agg="worst_case")`) the low end splits its tail
    evenly over them (Bonferroni): the true worst gap is at least each rate's gap, and one wrong lower limit is enough to be
    wrong. The high end needs no split: "no gap in any rate exceeds T" is a claim on every pair of every rate, which is again
    intersection-union.

    Args:
        rates: each over the same number of groups or not; all denominators positive.
        level: two-sided.
    """
    values, lows, highs = _gaps(rates, tail_of(level))
    return Estimate(
        value=max(values),
        low=max(lows),
        high=max(highs),
        method="largest gap: two-step simultaneous low, calibrated intersection-union high",
        params=_params(rates, "Newcombe hybrid score"),
    )


def mean_gap(rates: Sequence[Proportions], level: float) -> Estimate:
    """The mean over several rates of the largest difference between two groups' proportions, in [0, 1].

    For recall and false positive rate it is `fairlearn.metrics.equalized_odds_difference(agg="mean")`: a wide gap in one rate may
    be made up for by a narrow one in the other, which `largest_gap` does not allow. Low end: mean of the rates' low
    ends, the tail split evenly over them (Bonferroni), since an observed gap is biased upward and a sum of squares would take the bias
    for a gap. High end: that bias is on the safe side, so distances to the high ends of independent rates add up as squares
    (MOVER: Zou and Donner 2008).

    Args:
        rates: at least one; rows of different rates are different ones; all denominators positive.
        level: two-sided.
    """
    values, lows, highs = _gaps(rates, tail_of(level))
    value = float(np.mean(values))
    return Estimate(
        value=value,
        low=float(np.mean(lows)),
        high=min(value + float(np.hypot.reduce(np.array(highs) - values)) / len(rates), 1.0),
        method="mean of largest gaps: Bonferroni low, MOVER high",
        params=_params(rates, "Newcombe hybrid score"),
    )


def _gaps(rates: Sequence[Proportions], tail: float) -> tuple[list[float], list[float], list[float]]:
    """Each rate's largest gap, its low end at ``tail`` split over the rates, and its high end at ``tail``."""
    values, lows, highs = [], [], []
    for rate in rates:
        _at_least_two(rate)
        shares = Shares.of(rate)
        values.append(float(rate.values.max() - rate.values.min()))
        lows.append(float(lower_end(shares, tail / len(rates))))
        highs.append(float(upper_end(shares, tail)))
    return values, lows, highs


def smallest_ratio(rates: Sequence[Proportions], level: float) -> Estimate:
    """The lowest group's proportion over the highest's, over one rate or the worst of several; in [0, 1].

    Mirrors the plain form of `largest_gap`: low end intersection-union, high end simultaneous and split over the rates. The
    highest proportion of every rate must be positive.
    """
    tail = tail_of(level)
    lows, highs = [], []
    for rate in rates:
        plain, wide = _limits(rate, tail, len(rates))
        lows.append(float(least_ratio_low(rate.values, plain)))
        highs.append(float(least_ratio_high(rate.values, wide)))
    value = min(float(r.values.min() / r.values.max()) for r in rates)
    return Estimate(
        value=value,
        low=min(lows),
        high=min(highs),
        method="smallest ratio: intersection-union low, simultaneous high",
        params=_params(rates, "MOVER-R"),
    )


def ratios_to_highest(rate: Proportions, level: float) -> tuple[Estimate, ...]:
    """Each group's proportion over the highest group's, in [0, 1], with the highest one uncertain too.

    Which group is highest is itself estimated, so a group's true ratio is the least of 1 and its ratios to
    all others: low end by intersection-union over them, high end simultaneous over them (Bonferroni). The
    group observed highest has value 1 and a low end below 1 unless it is certain to be highest.
    """
    tail, size = tail_of(level), len(rate)
    _at_least_two(rate)
    plain = rate.limits(tail)
    wide = rate.limits(tail / (size - 1))
    values, top = rate.values, float(rate.values.max())
    lows, highs = np.ones(size), np.ones(size)
    for limit, ends, out in ((ratio_low, plain, lows), (ratio_high, (wide[1], wide[0]), highs)):
        for block, pairs in pair_blocks(limit, values, *ends):
            diagonal = np.arange(block.start, block.stop)
            pairs[diagonal - block.start, diagonal] = np.inf
            out[block] = np.minimum(pairs.min(axis=-1), 1.0)
    method, params = "ratio to highest: intersection-union low, simultaneous high", _params([rate], "MOVER-R")
    return tuple(
        Estimate(value=float(v / top), low=float(a), high=float(b), method=method, params=params)
        for v, a, b in zip(values, lows, highs, strict=True)
    )


def _limits(rate: Proportions, tail: float, rates: int) -> tuple[Limits, Limits]:
    _at_least_two(rate)
    return rate.limits(tail), rate.limits(simultaneous_tail(tail / rates, len(rate)))


def _at_least_two(rate: Proportions) -> None:
    if len(rate) < 2 or not (rate.denominators > 0).all():
        raise ValueError("comparing groups needs at least two, each with a denominator above 0")


def _params(rates: Sequence[Proportions], pairs: str) -> dict[str, Scalar]:
    params: dict[str, Scalar] = {"groups": max(len(r) for r in rates), "pairs": pairs}
    if len(rates) > 1:
        params["rates"] = len(rates)
    if any(r.clusters is not None for r in rates):
        params["largest_design_effect"] = max(float(r.design_effects.max()) for r in rates)
    return params
