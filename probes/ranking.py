"""The area under the ROC curve with DeLong's interval, for independent rows and for clusters.

Ranks only; it draws no curve and chooses no threshold.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from probes.evidence import Scalar
from probes.intervals import Bool, Estimate, Float, Int, critical, tail_of


def roc_auc(scores: Float, positive: Bool, level: float, clusters: Int | None = None) -> Estimate:
    """Probability that a positive row scores above a negative one, ties counting half; in [0, 1].

    The variance is DeLong's (1988), by mid-ranks (Sun and Xu 2014); with clusters it is Obuchowski's (1997),
    and never smaller than DeLong's. The interval is symmetric on the logit scale, which keeps it inside [0,
    1] and closer to its level near 1 (Pepe 2003). Where positives and negatives separate perfectly, or every
    score is equal, the data shows no variation: the interval is degenerate, and callers say so.

    Args:
        scores: finite, shape (n,).
        positive: shape (n,), at least one of each.
        clusters: codes >= 0, shape (n,).

    Raises:
        ValueError: one of the two kinds of row is missing.
    """
    places = placements(scores, positive)
    area = float(places[positive].mean())
    rest = places - area
    variance = _share_of(rest[positive]) + _share_of(rest[~positive])
    freedom, params = np.inf, dict[str, Scalar]()
    if clusters is not None:
        units = int(np.count_nonzero(np.bincount(clusters)))
        if units < len(scores):
            variance = max(variance, _clustered(rest, positive, clusters))
            freedom, params = units - 1.0, {"clusters": units}
    low, high = logit_limits(area, variance, float(critical(tail_of(level), freedom)))
    return Estimate(value=area, low=low, high=high, method="DeLong, logit scale", params=params)


def placements(scores: Float, positive: Bool) -> Float:
    """For each row the share of rows of the other kind that it is ranked rightly against, ties counting half; shape (n,).

    The mean over the positive rows is the area under the curve, and so is the mean over the others. The area's sampling
    error is, to first order, the mean deviation over either kind, added (Hanley and Hajian-Tilaki 1997).

    Raises:
        ValueError: one of the two kinds of row is missing.
    """
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        raise ValueError("a ROC curve needs positive and negative rows")
    ranks = np.empty(m + n)
    ranks[positive] = stats.rankdata(scores[positive])
    ranks[~positive] = stats.rankdata(scores[~positive])
    places: Float = (stats.rankdata(scores) - ranks) / np.where(positive, n, m)
    places[~positive] = 1 - places[~positive]
    return places


def _share_of(rest: Float) -> float:
    return float(np.sum(rest**2)) / max(len(rest) - 1, 1) / len(rest)


def _clustered(rest: Float, positive: Bool, clusters: Int) -> float:
    """Obuchowski's variance: placements summed by cluster, with the covariance of the two kinds of row."""
    size = int(clusters.max()) + 1
    up = np.bincount(clusters[positive], weights=rest[positive], minlength=size)
    down = np.bincount(clusters[~positive], weights=rest[~positive], minlength=size)
    m, n = int(positive.sum()), int((~positive).sum())
    with_up = len(np.unique(clusters[positive]))
    with_down = len(np.unique(clusters[~positive]))
    units = len(np.unique(clusters))
    return float(
        _spread(with_up) * np.sum(up**2) / m**2
        + _spread(with_down) * np.sum(down**2) / n**2
        + 2 * _spread(units) * np.sum(up * down) / (m * n)
    )


def _spread(units: int) -> float:
    return units / max(units - 1, 1)


def logit_limits(area: float, variance: float, crit: float) -> tuple[float, float]:
    """Limits of a figure in (0, 1), symmetric on the logit scale; the figure itself where it shows no variation."""
    if variance <= 0 or area <= 0 or area >= 1:
        return area, area
    centre = np.log(area / (1 - area))
    half = crit * np.sqrt(variance) / (area * (1 - area))
    return float(1 / (1 + np.exp(-(centre - half)))), float(1 / (1 + np.exp(-(centre + half))))
