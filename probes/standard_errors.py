"""Standard errors of group rates and of their differences, with rows taken as independent and with clusters, side by side.

It linearises: a rate is a ratio of totals over clusters, and its variance is that of the clusters' residuals (Cochran 1977, 6.3;
Liang and Zeger 1986). What two groups share by sharing clusters enters as a covariance, so that a difference may be known better
than its parts. It makes no interval and no claim; a rate without rows has NaN, which callers leave out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probes.intervals import Float, Int
from probes.rates import Cells


@dataclass(frozen=True, kw_only=True)
class StandardErrors:
    """Of G rates that are counted in the same clusters.

    Attributes:
        values: the rates, shape (G,), in [0, 1].
        by_rows: standard error of each with rows taken as independent, shape (G,).
        covariance: of the rates by clusters, shape (G, G).
        shared: clusters that hold rows of both groups, shape (G, G); on the diagonal the group's clusters.
    """

    values: Float
    by_rows: Float
    covariance: Float
    shared: Int

    @property
    def by_clusters(self) -> Float:
        """Standard error of each rate by clusters, shape (G,)."""
        return np.sqrt(np.diag(self.covariance))

    def difference(self, a: int, b: int) -> tuple[float, float]:
        """The standard error of one rate less another: rows independent, and by clusters."""
        rows = float(np.hypot(self.by_rows[a], self.by_rows[b]))
        squared = self.covariance[a, a] + self.covariance[b, b] - 2 * self.covariance[a, b]
        return rows, float(np.sqrt(max(squared, 0.0)))

    def farthest(self) -> tuple[int, int] | None:
        """The groups of highest and lowest rate, or None where fewer than two have one."""
        there = np.flatnonzero(~np.isnan(self.values))
        if len(there) < 2:
            return None
        return int(there[np.argmax(self.values[there])]), int(there[np.argmin(self.values[there])])


def standard_errors(cells: Cells) -> StandardErrors:
    """Both kinds for every group.

    Each group's residuals are scaled by the square root of C / (C - 1), C its clusters; a group with a single cluster has no
    variance by clusters to estimate, hence NaN there.
    """
    from scipy import sparse

    size = cells.size
    n = np.bincount(cells.group, weights=cells.rows, minlength=size)
    hits = np.bincount(cells.group, weights=cells.hits, minlength=size)
    values = np.divide(hits, n, out=np.full(size, np.nan), where=n > 0)
    number = np.bincount(cells.group, minlength=size).astype(float)
    scale = np.sqrt(np.divide(number, number - 1, out=np.full(size, np.nan), where=number > 1))
    codes, at = np.unique(cells.cluster, return_inverse=True)
    place, shape = (at, cells.group), (len(codes), size)
    rest = scale[cells.group] * (cells.hits - values[cells.group] * cells.rows) / n[cells.group]
    # A group whose residuals are NaN must not spoil the sums of the others: sparse products keep it to its own line.
    residuals = sparse.csr_array((rest, place), shape=shape)
    touched = sparse.csr_array((np.ones(len(at)), place), shape=shape)
    covariance = (residuals.T @ residuals).toarray()
    unknown = np.isnan(scale)
    covariance[unknown, :] = np.nan
    covariance[:, unknown] = np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        by_rows = np.sqrt(values * (1 - values) / n)
    shared = np.rint((touched.T @ touched).toarray()).astype(np.int64)
    return StandardErrors(values=values, by_rows=by_rows, covariance=covariance, shared=shared)
