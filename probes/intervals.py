"""Closed-form confidence limits that every probe shares: critical values, proportions, ratios, means.

Everything here is a pure function of counts or values, broadcasts over arrays, and uses no random numbers. It
does not know groups, tables or probes (`probes.rates` counts, `probes.gaps` compares many groups), and it
offers no percentile
bootstrap: for the largest of several gaps its coverage collapses.

Limits are *one* end at a time: ``tail`` is the probability allowed beyond that end, so a two-sided interval
at level 0.95 asks for both ends at ``tail = 0.025``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from probes.evidence import Interval, Method, Scalar

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Limits = tuple[Float, Float]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with both limits and how they came about; `interval` puts it into a record's form."""

    value: float
    low: float
    high: float
    method: str
    params: dict[str, Scalar]

    def interval(self, level: float) -> Interval:
        """The interval, widened by rounding errors only, so that it always holds the value."""
        return Interval(
            low=float(min(self.low, self.value)),
            high=float(max(self.high, self.value)),
            level=level,
            method=Method(name=self.method, params=self.params),
        )


def tail_of(level: float) -> float:
    """The probability beyond each end of a two-sided interval at ``level``."""
    return (1 - level) / 2


def critical(tail: float | Float, freedom: npt.ArrayLike = np.inf) -> Float:
    """What a standard normal, or a t with ``freedom`` degrees, exceeds with probability ``tail``."""
    known = np.maximum(np.asarray(freedom, dtype=float), 1.0)
    endless = np.isinf(known)
    return np.where(endless, -special.ndtri(tail), -special.stdtrit(np.where(endless, 1.0, known), tail))


def wilson(share: npt.ArrayLike, n: npt.ArrayLike, crit: npt.ArrayLike) -> Limits:
    """Wilson's score limits of a proportion (Wilson 1927).

    Args:
        share: observed proportion, in [0, 1].
        n: sample size it rests on; may be an effective, fractional one. Not defined for 0: gives NaN.
        crit: critical value, such as 1.96.

    Returns:
        low and high, in [0, 1]; exactly 0 or 1 where the share is.
    """
    p, size, z = (np.asarray(a, dtype=float) for a in (share, n, crit))
    with np.errstate(divide="ignore", invalid="ignore"):
        shrink = z * z / size
        centre = (p + shrink / 2) / (1 + shrink)
        half = z / (1 + shrink) * np.sqrt(np.maximum(p * (1 - p), 0) / size + shrink / size / 4)
    low = np.where(p <= 0, 0.0, np.maximum(centre - half, 0.0))
    high = np.where(p >= 1, 1.0, np.minimum(centre + half, 1.0))
    bad = ~(size > 0) | np.isnan(p)
    return np.where(bad, np.nan, low), np.where(bad, np.nan, high)


def clopper_pearson(successes: int, n: int, level: float) -> Estimate:
    """The exact interval of a proportion (Clopper and Pearson 1934): covers at least ``level``."""
    if n < 1:
        raise ValueError("a proportion needs a denominator of at least 1")
    tail = tail_of(level)
    low = float(stats.beta.ppf(tail, successes, n - successes + 1)) if successes > 0 else 0.0
    high = float(stats.beta.isf(tail, successes + 1, n - successes)) if successes < n else 1.0
    return Estimate(value=successes / n, low=low, high=high, method="Clopper-Pearson", params={})


def difference_low(p1: Float, l1: Float, p2: Float, u2: Float) -> Float:
    """Lower limit of p1 - p2 from limits of its parts: Newcombe's (1998) hybrid score method, number 10."""
    return p1 - p2 - np.sqrt((p1 - l1) ** 2 + (u2 - p2) ** 2)


def difference_high(p1: Float, u1: Float, p2: Float, l2: Float) -> Float:
    """Upper limit of p1 - p2 from limits of its parts: Newcombe's (1998) hybrid score method, number 10."""
    return p1 - p2 + np.sqrt((u1 - p1) ** 2 + (p2 - l2) ** 2)


def ratio_low(p1: Float, l1: Float, p2: Float, u2: Float) -> Float:
    """Lower limit of p1 / p2 for non-negative parts, in [0, inf): MOVER-R (Donner and Zou 2012).

    It is the t at which the lower limit of p1 - t * p2 reaches 0, written so that p2 = 0 and wide limits need
    no special case. Limits on the log scale miss equally often in simulation, are no narrower, and need an
    arbitrary correction for zeros.
    """
    a = u2 * (2 * p2 - u2)
    c = l1 * (2 * p1 - l1)
    below = p1 * p2 + np.sqrt(np.maximum((p1 * p2) ** 2 - a * c, 0.0))
    out = np.zeros(np.broadcast(c, below).shape)
    np.divide(c, below, out=out, where=below > 0)
    return out


def ratio_high(p1: Float, u1: Float, p2: Float, l2: Float) -> Float:
    """Upper limit of p1 / p2 for non-negative parts, in (0, inf]: MOVER-R; infinite where p2 may be 0."""
    a = l2 * (2 * p2 - l2)
    c = u1 * (2 * p1 - u1)
    above = p1 * p2 + np.sqrt(np.maximum((p1 * p2) ** 2 - a * c, 0.0))
    out = np.full(np.broadcast(a, above).shape, np.inf)
    np.divide(above, a, out=out, where=a > 0)
    return out


def mean_of_parts(values: Float, low: Float, high: Float) -> tuple[float, float]:
    """Limits of the mean of independent estimates from the limits of each: MOVER (Zou and Donner 2008)."""
    centre = float(np.mean(values))
    under = float(np.sqrt(np.sum((values - low) ** 2))) / len(values)
    over = float(np.sqrt(np.sum((high - values) ** 2))) / len(values)
    return centre - under, centre + over


def mean_interval(
    values: Float, level: float, clusters: Int | None = None, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> Estimate | None:
    """The mean with its t interval, robust to clusters.

    With ``clusters`` (codes >= 0, one a value) the variance is the linearised one of a ratio estimator over
    clusters, never smaller than that of independent rows, with (clusters - 1) degrees of freedom. ``bounds``
    cut the interval.

    Returns:
        None where fewer than two independent units leave no variance to estimate.
    """
    n = len(values)
    centre = float(np.mean(values)) if n else 0.0
    rest = values - centre
    variance = float(np.sum(rest**2)) / (n - 1) / n if n > 1 else 0.0
    units = n
    params: dict[str, Scalar] = {}
    if clusters is not None and n > 1:
        sums = np.bincount(clusters, weights=rest)
        units = int(np.count_nonzero(np.bincount(clusters)))
        if units < n:
            robust = units / max(units - 1, 1) * float(np.sum(sums**2)) / n**2
            params = {
                "clusters": units,
                "design_effect": max(robust / variance, 1.0) if variance > 0 else 1.0,
            }
            variance = max(robust, variance)
    if units < 2:
        return None
    # Values that are all equal leave a variance of rounding errors, which would look like a real width.
    if variance < 1e-24 * max(1.0, centre**2):
        variance = 0.0
    half = float(critical(tail_of(level), units - 1)) * float(np.sqrt(variance))
    return Estimate(
        value=centre,
        low=max(centre - half, bounds[0]),
        high=min(centre + half, bounds[1]),
        method="t",
        params=params,
    )
