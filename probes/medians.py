"""The median of a sample with limits that assume no distribution. It refuses nothing but an empty sample; where a sample is
too small to hold an end at the level that is asked for, it gives what is certain, or leaves that end open.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from probes.evidence import Interval, Method, Scalar
from probes.intervals import Float, Int, critical, tail_of, wilson
from probes.rates import count


def median_interval(
    values: Float, level: float, clusters: Int | None = None, bounds: tuple[float | None, float | None] = (None, None)
) -> tuple[float, Interval | None]:
    """The median with the order statistics between which it lies (Conover 1999, 3.2).

    The number of values below the median is binomial with share one half, so the r-th smallest and the r-th largest
    value hold it between them, at least at ``level``, also where values are tied. Rows of a cluster are alike: there
    the ranks come from the limits of that share at the effective sample size (Woodruff 1952), and are never narrower.

    Args:
        values: finite, shape (n,), n >= 1.
        level: two-sided.
        clusters: codes >= 0, shape (n,), or None where values are independent.
        bounds: the least and the largest possible value. They stand in for an end that the sample is too small to hold;
            None where there is no such bound.

    Returns:
        The median, and its interval; None where neither end has a value.

    Raises:
        ValueError: there are no values.
    """
    n = len(values)
    if not n:
        raise ValueError("the median of nothing")
    ordered = np.sort(values)
    centre = float(np.median(ordered))
    rank = int(stats.binom.ppf(tail_of(level), n, 0.5))
    params: dict[str, Scalar] = {}
    if clusters is not None:
        below = count(np.zeros(n, dtype=np.int64), 1, values <= centre, clusters)
        effect = float(below.design_effects[0])
        low, _ = wilson(0.5, n / effect, critical(tail_of(level), below.freedom[0]))
        rank = min(rank, math.floor(n * float(low)))
        params = below.params(0)
    ends = [float(ordered[rank - 1]), float(ordered[n - rank])] if rank >= 1 else list(bounds)
    if ends[0] is None and ends[1] is None:
        return centre, None
    return centre, Interval(
        low=ends[0], high=ends[1], level=level, method=Method(name="order statistics", params=params)
    )
