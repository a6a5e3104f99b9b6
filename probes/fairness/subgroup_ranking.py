"""How well scores rank within a subgroup and between it and everybody else: three areas under the ROC curve, and their
power mean over subgroups (Borkan et al. 2019).

It takes arrays, chooses no threshold, and gives no figure where a kind of row is missing or stands alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from probes.evidence import Scalar
from probes.intervals import Bool, Estimate, Float, Int, critical, tail_of
from probes.ranking import logit_limits, placements, roc_auc

AREAS = ("subgroup_auc", "bpsn_auc", "bnsp_auc")


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Rows that have a label and a score: score of the positive class, whether they have it, and cluster, shape (N,)."""

    scores: Float
    positive: Bool
    clusters: Int | None


def taken(name: str, inside: Bool, outside: Bool, positive: Bool) -> Bool:
    """The rows that one of the three areas is about.

    ``subgroup_auc`` takes the subgroup's; ``bpsn_auc`` the background's positives and the subgroup's negatives;
    ``bnsp_auc`` the background's negatives and the subgroup's positives.
    """
    if name == "subgroup_auc":
        return inside
    if name == "bpsn_auc":
        return np.where(positive, outside, inside)
    if name == "bnsp_auc":
        return np.where(positive, inside, outside)
    raise ValueError(f"{name!r} is none of {', '.join(AREAS)}")


def area(rows: Ranked, kept: Bool, level: float) -> Estimate:
    """One area with DeLong's interval, or Obuchowski's variance where rows come in clusters."""
    clusters = None if rows.clusters is None else rows.clusters[kept]
    return roc_auc(rows.scores[kept], rows.positive[kept], level, clusters)


def power_mean(values: Float, power: float) -> float:
    """(mean of values^power)^(1/power), for values in [0, 1]; power 0 is the geometric mean.

    With a power of 0 or below it is 0 where a value is.
    """
    if power <= 0 and (values <= 0).any():
        return 0.0
    if power == 0:
        return float(np.exp(np.mean(np.log(values))))
    # Scaled by the value that dominates, so that a large power neither overflows nor vanishes.
    scale = float(values.min() if power < 0 else values.max())
    if scale == 0:
        return 0.0
    return scale * float(np.mean((values / scale) ** power) ** (1 / power))


def mean_area(rows: Ranked, kept: Iterable[Bool], power: float, level: float) -> Estimate:
    """The power mean of several areas, with an interval from the placement values of every row in every area.

    The delta method: each area's weight is the mean's derivative by it, and a row's influence is its weighted deviation
    summed over the areas that it is in. Areas that share rows (every background does) are therefore not taken as
    independent. Rows, or clusters where there are any, are the independent units; the variance by clusters is never the
    smaller. The power mean of noisy areas is biased towards the smallest one; half the second derivative times the
    variance takes that bias, to second order, off the interval's centre (not off the value, which is Borkan's). The
    interval is symmetric on the logit scale.

    Args:
        rows: N of them.
        kept: which rows each of the areas is about, each shape (N,), with at least two positives and two negatives.
        power: of the mean, not 1 or above.
        level: two-sided.
    """
    values, variances, parts = [], [], []
    for some in kept:
        positive = rows.positive[some]
        places = placements(rows.scores[some], positive)
        value = float(places[positive].mean())
        m, n = int(positive.sum()), int((~positive).sum())
        # The usual correction for the means being estimated, as DeLong's variance has it.
        influence = (places - value) / np.where(positive, np.sqrt(m * (m - 1.0)), np.sqrt(n * (n - 1.0)))
        values.append(value)
        parts.append((some, influence))
        variances.append(_variance(influence, None if rows.clusters is None else rows.clusters[some]))
    areas = np.array(values)
    mean = power_mean(areas, power)
    groups, params = len(areas), dict[str, Scalar]({"subgroups": len(areas), "power": float(power)})
    if mean <= 0:
        return Estimate(value=mean, low=mean, high=mean, method=_METHOD, params=params)
    weights = (areas / mean) ** (power - 1) / groups
    summed, touched = np.zeros(len(rows.scores)), np.zeros(len(rows.scores), dtype=bool)
    for weight, (some, influence) in zip(weights, parts, strict=True):
        summed[some] += weight * influence
        touched |= some
    clusters = None if rows.clusters is None else rows.clusters[touched]
    variance = _variance(summed[touched], clusters)
    # The second derivative by one area; those by two are left to the variance of the weighted sum.
    bend = (power - 1) * (np.sum(weights * np.array(variances) / areas) - variance / mean)
    centre = float(np.clip(mean - bend / 2, 1e-6, 1 - 1e-6)) if mean < 1 else mean
    freedom = np.inf
    if clusters is not None:
        units = len(np.unique(clusters))
        freedom, params["clusters"] = max(units - 1.0, 1.0), units
    low, high = logit_limits(centre, variance, float(critical(tail_of(level), freedom)))
    params["centre"] = centre
    return Estimate(value=mean, low=low, high=high, method=_METHOD, params=params)


_METHOD = "power mean of areas: placement values, delta method, logit scale"


def _variance(influence: Float, clusters: Int | None) -> float:
    alone = float(np.sum(influence**2))
    if clusters is None:
        return alone
    sums = np.bincount(clusters, weights=influence)
    there = len(np.unique(clusters))
    return max(alone, float(np.sum(sums**2)) * there / max(there - 1, 1))
