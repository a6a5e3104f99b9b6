"""Rows binned by confidence, and the debiased calibration error over bins with its two-ended interval.

It knows neither classes nor tables. Bins follow the data (equal mass); equal scores are never split between
bins, so the order of rows does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from probes.intervals import Bool, Estimate, Float, Int, critical
from probes.rates import Proportions, count


@dataclass(frozen=True, kw_only=True)
class Bins:
    """B bins by rising confidence: mean confidence, shape (B,), and how often right.

    ``freedom`` is the number of clusters over all bins less one, infinite where rows are independent.
    """

    confidence: Float
    right: Proportions
    freedom: float


def equal_mass(confidence: Float, right: Bool, bins: int, clusters: Int | None = None) -> Bins:
    """At most ``bins`` bins of about equal size; fewer where scores tie.

    Args:
        confidence: finite, shape (n,), n at least 1.
        right: whether each answer was right, shape (n,).
        clusters: codes >= 0, shape (n,).
    """
    shares = np.arange(1, bins) / bins
    edges = np.unique(np.asarray(np.quantile(confidence, shares, method="inverted_cdf"), dtype=float))
    place: Int = np.searchsorted(edges, confidence, side="left").astype(np.int64)
    filled, place = np.unique(place, return_inverse=True)
    tally = count(place.astype(np.int64), len(filled), right, clusters)
    freedom = np.inf if clusters is None else float(max(int(np.count_nonzero(np.bincount(clusters))) - 1, 1))
    return Bins(confidence=np.bincount(place, weights=confidence) / tally.denominators, right=tally, freedom=freedom)


def calibration_error(sheet: Bins, tail: float) -> Estimate:
    """The expected calibration error, debiased, with an interval from two arguments.

    With d_b the difference between mean confidence and accuracy in bin b, w_b its share of rows and s_b its
    standard error, the plain figure sum w_b |d_b| is biased upward: even a calibrated model has |d_b| of
    about 0.8 s_b. The value subtracts E|N(d_b, s_b)| - |d_b| for each bin, and is cut at 0.

    Low end: |observed d_b| is at most |true d_b| + |noise|, so plain - quantile of sum w_b |N(0, s_b)|
    exceeds the truth only in the tail (Cornish-Fisher on the sum's closed moments). High end: the plain
    figure is biased upward (Jensen), and its standard deviation is at most sqrt(sum w_b^2 s_b^2); so plain +
    z times that falls short only in the tail. s_b comes from the smoothed share (k + 1) / (n + 2), so that
    bins of all right answers are not taken as certain, and from the pooled design effect of clusters.
    """
    n = sheet.right.denominators.astype(float)
    weight = n / n.sum()
    off = sheet.confidence - sheet.right.values
    smooth = (sheet.right.successes + 1) / (n + 2)
    spread = np.sqrt(smooth * (1 - smooth) / n * sheet.right.pooled_design_effect)
    plain = float(np.sum(weight * np.abs(off)))
    excess = float(np.sum(weight * (_folded_mean(off, spread) - np.abs(off))))
    crit = float(critical(tail, sheet.freedom))
    high = plain + crit * float(np.sqrt(np.sum((weight * spread) ** 2)))
    low = plain - noise_quantile(weight * spread, tail) * crit / float(critical(tail))
    return Estimate(
        value=max(plain - excess, 0.0),
        low=max(low, 0.0),
        high=min(high, 1.0),
        method="calibration error: noise quantile low, normal high",
        params={
            "bins": len(n),
            "plain": plain,
            "bias": excess,
            "design_effect": sheet.right.pooled_design_effect,
        },
    )


def _folded_mean(centre: Float, spread: Float) -> Float:
    """E|X| for X normal."""
    ratio = centre / spread
    return np.asarray(
        spread * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + centre * (1 - 2 * stats.norm.cdf(-ratio)),
        dtype=float,
    )


def noise_quantile(scales: Float, tail: float) -> float:
    """What sum |N(0, scales_b)| exceeds with probability ``tail``, within 2 %: Cornish-Fisher, order 3."""
    root = np.sqrt(2 / np.pi)
    # Cumulants of |N(0, 1)|: the half-normal's mean, variance, third and fourth.
    second, third = 1 - 2 / np.pi, root * (4 / np.pi - 1)
    fourth = second**2 * 8 * (np.pi - 3) / (np.pi - 2) ** 2
    mean = root * scales.sum()
    deviation = np.sqrt(second * np.sum(scales**2))
    skew = third * np.sum(scales**3) / deviation**3
    kurtosis = fourth * np.sum(scales**4) / deviation**4
    z = float(critical(tail))
    bent = z + (z**2 - 1) * skew / 6 + (z**3 - 3 * z) * kurtosis / 24 - (2 * z**3 - 5 * z) * skew**2 / 36
    return float(mean + deviation * bent)
