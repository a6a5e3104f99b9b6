"""How much groups differ beyond noise: the standard deviation of their true proportions.

The largest gap grows with the number of groups even where all are alike; this does not. It models true proportions as a sample
with variance tau^2 around their mean, estimates tau by moments, and gives it an interval. It says nothing of which groups differ
(`probes.gaps` has the extremes) and shrinks no group's rate.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from probes.intervals import Estimate, Float, tail_of
from probes.rates import Proportions

_HALVINGS = 60


def within_variances(rate: Proportions) -> Float:
    """The variance of each group's observed proportion, shape (G,), positive.

    (x + 2) / (n + 4) of Agresti and Coull (1998) stands for the proportion, so that a group observed at 0 or 1 is not taken as
    known without error; divided by the effective size, denominators / design_effects.
    """
    size = rate.denominators / rate.design_effects
    share = (rate.values * size + 2) / (size + 4)
    out: Float = share * (1 - share) / size
    return out


def cochran_q(values: Float, variances: Float, between: float = 0.0) -> float:
    """Sum of (y - weighted mean)^2 / (v + between), weights 1 / (v + between) (Cochran 1954).

    Args:
        values, variances: shape (G,). between: tau^2, at least 0.
    """
    weights = 1 / (variances + between)
    rest = values - np.sum(weights * values) / np.sum(weights)
    return float(np.sum(weights * rest**2))


def between_variance(values: Float, variances: Float) -> float:
    """tau^2 by DerSimonian and Laird (1986): max(0, (Q - (G - 1)) / (W - sum w^2 / W)), w = 1 / ``variances`` and W their sum.

    Args:
        values, variances: shape (G,), G at least 2; variances positive.
    """
    weights = 1 / variances
    total = float(weights.sum())
    excess = cochran_q(values, variances) - (len(values) - 1)
    return max(0.0, excess / (total - float(np.sum(weights**2)) / total))


def heterogeneity(rate: Proportions, level: float) -> Estimate | None:
    """tau, the standard deviation of groups' true proportions, in [0, 1]; 0 means no more variation than noise makes.

    Value: the root of `between_variance` over `within_variances`. Interval: Q-profile (Viechtbauer 2007): all tau^2 at which Q(tau^2) lies between the tails of chi-squared with
    G - 1 degrees; the value is held inside it. ``params`` has Cochran's Q and its p-value.

    Returns:
        None for fewer than two groups with a positive denominator; groups without one are left out.
    """
    some = rate.select(np.flatnonzero(rate.denominators > 0))
    freedom = len(some) - 1
    if freedom < 1:
        return None
    values, variances = some.values, within_variances(some)
    q, between = cochran_q(values, variances), between_variance(values, variances)
    tail = tail_of(level)
    low = _between_at(values, variances, float(stats.chi2.isf(tail, freedom)))
    high = _between_at(values, variances, float(stats.chi2.ppf(tail, freedom)))
    value = min(float(np.sqrt(between)), 1.0)
    return Estimate(
        value=value,
        low=min(float(np.sqrt(low)), value),
        high=max(min(float(np.sqrt(high)), 1.0), value),
        method="DerSimonian-Laird tau, Q-profile interval",
        params={
            "groups": len(some),
            "cochran_q": q,
            "cochran_q_p_value": float(stats.chi2.sf(q, freedom)),
        },
    )


def _between_at(values: Float, variances: Float, target: float) -> float:
    """The tau^2 at which Q, which falls in tau^2, is ``target``: in [0, 1], and 1 where it is still above."""
    low, high = 0.0, 1.0
    if cochran_q(values, variances) <= target:
        return 0.0
    if cochran_q(values, variances, high) > target:
        return high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if cochran_q(values, variances, middle) > target else (low, middle)
    return (low + high) / 2
