"""The bootstrap of group rates without touching rows: counts are resampled instead, which gives the same distribution
thousands of times faster. It serves comparisons and composed quantities; it is never the gate's interval for a largest gap,
whose coverage it would ruin (`probes.gaps` has that one), and it decides nothing.

Drawing N rows with replacement fills the cells (group x hit or miss, and one for rows outside every denominator) with
counts that are multinomial(N, counts / N): a statistic of the counts therefore has exactly the distribution that resampling
rows gives it (Efron 1979). Where rows come in clusters, clusters are drawn instead, with multinomial weights (Davison and
Hinkley 1997, 3.8). `fairlearn.metrics.MetricFrame(n_boot=...)` is this bootstrap with rows as units, read by percentiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probes.evidence import Interval, Method
from probes.intervals import Bool, Float, Int, tail_of

if TYPE_CHECKING:
    from scipy import sparse

METHOD = "percentile bootstrap by counts"
_BLOCK = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What replicates are drawn from: units that are alike are kept once.

    Attributes:
        profiles: hits of each group, then rows of each group, shape (P, 2 G); one line a kind of unit.
        times: how many units are of each kind, shape (P,).
    """

    profiles: sparse.csr_array
    times: Int

    @property
    def units(self) -> int:
        """Rows, or clusters: how many are drawn for one replicate."""
        return int(self.times.sum())

    @property
    def rates(self) -> Float:
        """The observed rate of each group, shape (G,); NaN where its denominator is 0."""
        return _rates(np.asarray(self.times @ self.profiles, dtype=np.float64))


def pool_rows(groups: Int, size: int, success: Bool) -> Pool:
    """Rows as units.

    Args:
        groups: group of each row in [0, size), or -1 for rows that belong to no denominator.
        size: number of groups, G.
        success: whether each row counts in the numerator.
    """
    from scipy import sparse

    inside = groups >= 0
    cells = np.bincount(groups[inside] * 2 + success[inside], minlength=2 * size)
    profiles = np.zeros((2 * size + 1, 2 * size))
    cell = np.arange(2 * size)
    profiles[cell[1::2], cell[1::2] // 2] = 1.0
    profiles[cell, size + cell // 2] = 1.0
    times = np.append(cells, np.count_nonzero(~inside)).astype(np.int64)
    kept = times > 0
    return Pool(profiles=sparse.csr_array(profiles[kept]), times=times[kept])


def pool_clusters(groups: Int, size: int, success: Bool, clusters: Int) -> Pool:
    """Clusters as units; the first arguments are those of `pool_rows`.

    Args:
        groups, size, success: as there.
        clusters: cluster of each row, codes >= 0. A cluster whose rows are all outside is drawn too.
    """
    from scipy import sparse

    codes, unit = np.unique(clusters, return_inverse=True)
    inside = groups >= 0
    hit = inside & success
    where = (
        np.concatenate([unit[hit], unit[inside]]),
        np.concatenate([groups[hit], size + groups[inside]]),
    )
    profiles = sparse.coo_array((np.ones(len(where[0])), where), shape=(len(codes), 2 * size)).tocsr()
    return Pool(profiles=profiles, times=np.ones(len(codes), dtype=np.int64))


def draw_rates(pool: Pool, replicates: int, rng: np.random.Generator) -> Float:
    """Rates of every group in each replicate.

    Returns:
        shape (replicates, G), in [0, 1]; NaN where a replicate has no row in a group's denominator.

    Raises:
        ValueError: fewer than one replicate, or nothing to draw from.
    """
    if replicates < 1 or not pool.units:
        raise ValueError(f"{replicates} replicates of {pool.units} units; at least one of each is needed")
    step = max(1, _BLOCK // len(pool.times))
    out = np.empty((replicates, pool.profiles.shape[1] // 2))
    for start in range(0, replicates, step):
        stop = min(start + step, replicates)
        out[start:stop] = _rates(np.asarray(_weights(pool, stop - start, rng) @ pool.profiles, dtype=np.float64))
    return out


def gaps(rates: Float) -> Float:
    """Highest less lowest rate of each replicate, groups without a rate left out; shape (..., G) gives (...).

    Of rates that are all missing the gap is NaN.
    """
    missing = np.isnan(rates)
    high = np.where(missing, -np.inf, rates).max(axis=-1)
    low = np.where(missing, np.inf, rates).min(axis=-1)
    out: Float = np.where(missing.all(axis=-1), np.nan, high - low)
    return out


def percentile_interval(draws: Float, level: float) -> Interval:
    """The percentile interval of one statistic, with the Monte Carlo error of its less certain end.

    For comparisons and composed quantities. Biased statistics (a largest gap, a calibration error) are not covered at
    ``level``: use `probes.gaps`, or debias first.

    Args:
        draws: the statistic in each replicate, shape (B,); NaN replicates are left out and counted in the method.
        level: two-sided.

    Raises:
        ValueError: no replicate has a value.
    """
    there = draws[~np.isnan(draws)]
    if not len(there):
        raise ValueError("no replicate has a value")
    tail = tail_of(level)
    low, high = np.quantile(there, [tail, 1 - tail])
    error = max(quantile_error(there, tail), quantile_error(there, 1 - tail))
    params = {"replicates": len(draws), "without_value": len(draws) - len(there)}
    method = Method(name=METHOD, params=params)
    return Interval(low=float(low), high=float(high), level=level, method=method, monte_carlo_error=error)


def quantile_error(draws: Float, share: float) -> float:
    """The Monte Carlo standard deviation of a quantile of ``draws``, shape (B,), from its neighbours.

    The number of draws below a quantile is binomial with variance B p (1 - p); half the distance between the order
    statistics one such standard deviation away on either side estimates the quantile's own (Maritz and Jarrett 1978 give a
    smoother one).
    """
    ordered = np.sort(draws)
    count = len(ordered)
    spread = np.sqrt(count * share * (1 - share))
    ends = np.clip(np.array([share * count - spread, share * count + spread]), 0, count - 1)
    below, above = np.interp(ends, np.arange(count), ordered)
    return float(above - below) / 2


def _weights(pool: Pool, replicates: int, rng: np.random.Generator) -> Float:
    units, kinds = pool.units, len(pool.times)
    if units > kinds:
        return rng.multinomial(units, pool.times / units, replicates).astype(np.float64)
    # The same distribution where every unit is of its own kind, without a binomial draw for each of them.
    drawn = rng.integers(0, units, (replicates, units)) + kinds * np.arange(replicates)[:, None]
    return np.bincount(drawn.ravel(), minlength=replicates * kinds).reshape(replicates, kinds).astype(np.float64)


def _rates(totals: Float) -> Float:
    """Hits over rows from (..., 2 G) totals."""
    size = totals.shape[-1] // 2
    hits, rows = totals[..., :size], totals[..., size:]
    out: Float = np.divide(hits, rows, out=np.full(hits.shape, np.nan), where=rows > 0)
    return out
