"""Rates of many groups drawn towards their common mean: an aid for ranking groups of unequal size.

The rate of a small group is mostly noise, so that the highest and lowest of many are usually the smallest groups. Each rate is
mixed with the mean over groups, the more of its own the more rows it rests on (empirical Bayes: Efron and Morris 1975). It
gives no interval, for one would claim what the mixing has put in, and it is no measurement that a policy could rule on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probes.heterogeneity import between_variance
from probes.intervals import Float
from probes.rates import Proportions


@dataclass(frozen=True, kw_only=True)
class Shrunken:
    """The shrunken rates of G groups.

    Attributes:
        values: in [0, 1], shape (G,); NaN where a group has no rows.
        own: how much of each group's value is its own rate, the rest being the mean; in [0, 1), shape (G,).
        mean: what they are drawn to.
        tau: standard deviation of the groups' true rates, as estimated.
    """

    values: Float
    own: Float
    mean: float
    tau: float


def shrink(rate: Proportions) -> Shrunken | None:
    """Normal-normal shrinkage with the spread between groups of DerSimonian and Laird (1986).

    A group's sampling variance is taken at the pooled rate, m (1 - m) x design effect / rows, as it would be if groups were
    alike; at its own rate a small group of 0 or 1 would pass for certain.

    Returns:
        None where fewer than three groups have rows: of two, the spread can't be told from chance.
    """
    there = rate.denominators > 0
    if np.count_nonzero(there) < 3:
        return None
    p = rate.values[there]
    effective = rate.denominators[there] / rate.design_effects[there]
    pooled = float(np.average(p, weights=effective))
    variance = pooled * (1 - pooled) / effective
    values, own = np.full(len(rate), np.nan), np.zeros(len(rate))
    if pooled <= 0 or pooled >= 1:
        values[there] = pooled
        return Shrunken(values=values, own=own, mean=pooled, tau=0.0)
    squared = between_variance(p, variance)
    mean = float(np.average(p, weights=1 / (variance + squared)))
    own[there] = squared / (squared + variance)
    values[there] = own[there] * p + (1 - own[there]) * mean
    return Shrunken(values=values, own=own, mean=mean, tau=float(np.sqrt(squared)))
