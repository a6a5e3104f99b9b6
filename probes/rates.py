"""Proportions of many groups at once, counted in one pass, with the price that clusters take from each.

It counts rows into groups and gives each group's proportion its design effect and Wilson limits. It does not
compare groups (`probes.gaps` does), and it never invents a value: a group without rows has NaN, which callers
turn into `Undefined`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from probes.evidence import Scalar
from probes.intervals import Bool, Estimate, Float, Int, Limits, critical, tail_of, wilson

_DENSE = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Proportions:
    """One proportion for each of G groups. All arrays have length G.

    Attributes:
        successes, denominators: counts.
        clusters: independent units in each denominator, or None where rows are taken as independent.
        design_effects: variance by clusters over binomial variance, never below 1 (conservative: rows of a cluster
            that differ more than chance are not rewarded). Where a group's rate is 0 or 1 its rows show no variation
            to estimate it from, and the rows of a cluster count as copies of one row (Kish 1965).
        pooled_design_effect: one figure over all groups, for tests that treat groups as exchangeable.
    """

    successes: Int
    denominators: Int
    clusters: Int | None
    design_effects: Float
    pooled_design_effect: float

    def __len__(self) -> int:
        return len(self.denominators)

    @property
    def values(self) -> Float:
        """Shares in [0, 1]; NaN where the denominator is 0."""
        out = np.full(len(self), np.nan)
        np.divide(self.successes, self.denominators, out=out, where=self.denominators > 0)
        return out

    @property
    def freedom(self) -> Float:
        """Degrees of freedom: clusters - 1, or infinite where every cluster is a single row."""
        if self.clusters is None:
            return np.full(len(self), np.inf)
        return np.where(self.clusters == self.denominators, np.inf, self.clusters - 1.0)

    def limits(self, tail: float) -> Limits:
        """Wilson limits with ``tail`` beyond each end, on the effective size denominators / design_effects.

        The critical value is Student's with `freedom` degrees, as in Korn and Graubard (1998), so that few
        clusters give wide limits.
        """
        return wilson(self.values, self.denominators / self.design_effects, critical(tail, self.freedom))

    def select(self, index: Int) -> Proportions:
        """The proportions of some groups; the pooled design effect stays that of all."""
        return Proportions(
            successes=self.successes[index],
            denominators=self.denominators[index],
            clusters=None if self.clusters is None else self.clusters[index],
            design_effects=self.design_effects[index],
            pooled_design_effect=self.pooled_design_effect,
        )

    def complement(self) -> Proportions:
        """The share of the rest: misses instead of hits, with the same design effects."""
        return replace(self, successes=self.denominators - self.successes)

    def params(self, group: int) -> dict[str, Scalar]:
        """What a reader needs to repeat one group's interval."""
        if self.clusters is None:
            return {}
        return {"clusters": int(self.clusters[group]), "design_effect": float(self.design_effects[group])}

    def estimate(self, group: int, level: float) -> Estimate:
        """One group's proportion with its Wilson interval; the denominator must not be 0."""
        one = self.select(np.array([group]))
        low, high = one.limits(tail_of(level))
        return Estimate(
            value=float(one.values[0]),
            low=float(low[0]),
            high=float(high[0]),
            method="Wilson score",
            params=self.params(group),
        )


def independent(successes: Int, denominators: Int) -> Proportions:
    """Proportions from counts alone, rows taken as independent."""
    return Proportions(
        successes=np.asarray(successes, dtype=np.int64),
        denominators=np.asarray(denominators, dtype=np.int64),
        clusters=None,
        design_effects=np.ones(len(denominators)),
        pooled_design_effect=1.0,
    )


def count(groups: Int, size: int, success: Bool, clusters: Int | None = None) -> Proportions:
    """Count rows into proportions.

    Args:
        groups: group of each row in [0, size), or -1 for rows that belong to no denominator.
        size: number of groups.
        success: whether each row counts in the numerator.
        clusters: cluster of each row, codes >= 0, or None where rows are independent.
    """
    if clusters is not None:
        return count_cells(groups, size, success, clusters).proportions()
    inside = groups >= 0
    groups, success = groups[inside], success[inside]
    return independent(np.bincount(groups[success], minlength=size), np.bincount(groups, minlength=size))


@dataclass(frozen=True, kw_only=True)
class Cells:
    """One proportion for each of G groups before its clusters are summed: one entry a non-empty pair of both.

    Attributes:
        rows, hits: denominator and numerator of each cell, shape (M,).
        group: of each cell, in [0, G), ascending; shape (M,).
        cluster: of each cell, any codes >= 0; shape (M,).
        size: G.
    """

    rows: Int
    hits: Int
    group: Int
    cluster: Int
    size: int

    def select(self, index: Int) -> Cells:
        """The cells of some groups, which are numbered anew in the order of ``index`` (ascending)."""
        place = np.full(self.size, -1, dtype=np.int64)
        place[index] = np.arange(len(index))
        kept = place[self.group] >= 0
        return Cells(
            rows=self.rows[kept],
            hits=self.hits[kept],
            group=place[self.group[kept]],
            cluster=self.cluster[kept],
            size=len(index),
        )

    def complement(self) -> Cells:
        """Misses instead of hits."""
        return replace(self, hits=self.rows - self.hits)

    def merged(self) -> Cells:
        """All groups as one."""
        _, at = np.unique(self.cluster, return_inverse=True)
        rows, hits = (np.bincount(at, weights=w).astype(np.int64) for w in (self.rows, self.hits))
        return Cells(
            rows=rows, hits=hits, group=np.zeros(len(rows), dtype=np.int64), cluster=np.arange(len(rows)), size=1
        )

    def proportions(self) -> Proportions:
        """The proportions with their design effects."""
        rows, hits = self.rows.astype(float), self.hits.astype(float)
        denominators = np.bincount(self.group, weights=rows, minlength=self.size).astype(np.int64)
        successes = np.bincount(self.group, weights=hits, minlength=self.size).astype(np.int64)
        return _clustered(successes, denominators, rows, hits, self.group)


def count_cells(groups: Int, size: int, success: Bool, clusters: Int) -> Cells:
    """Count rows into cells of group and cluster; arguments as of `count`."""
    inside = groups >= 0
    groups, success, clusters = groups[inside], success[inside], clusters[inside]
    width = int(clusters.max()) + 1 if len(clusters) else 1
    key = groups.astype(np.int64) * width + clusters
    if size * width <= _DENSE:
        rows = np.bincount(key, minlength=size * width)
        hits = np.bincount(key[success], minlength=size * width)
        kept = np.flatnonzero(rows)
        rows, hits = rows[kept], hits[kept]
    else:
        kept, position = np.unique(key, return_inverse=True)
        rows = np.bincount(position, minlength=len(kept))
        hits = np.bincount(position[success], minlength=len(kept))
    return Cells(rows=rows, hits=hits, group=kept // width, cluster=kept % width, size=size)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """One proportion for each of G groups, with the cells that it was counted from where rows have clusters, else None."""

    proportions: Proportions
    cells: Cells | None

    def __len__(self) -> int:
        return len(self.proportions)

    def select(self, index: Int) -> Rate:
        """The rate of some groups, in ascending order."""
        cells = None if self.cells is None else self.cells.select(index)
        return Rate(proportions=self.proportions.select(index), cells=cells)

    def complement(self) -> Rate:
        """The share of the rest."""
        cells = None if self.cells is None else self.cells.complement()
        return Rate(proportions=self.proportions.complement(), cells=cells)


def count_rate(groups: Int, size: int, success: Bool, clusters: Int | None) -> Rate:
    """Count rows into a rate; arguments as of `count`."""
    if clusters is None:
        return Rate(proportions=count(groups, size, success), cells=None)
    cells = count_cells(groups, size, success, clusters)
    return Rate(proportions=cells.proportions(), cells=cells)


def _clustered(successes: Int, denominators: Int, rows: Float, hits: Float, group: Int) -> Proportions:
    size = len(denominators)
    n = denominators.astype(float)
    p = np.divide(successes, n, out=np.zeros(size), where=n > 0)
    number = np.bincount(group, minlength=size)
    squares = np.bincount(group, weights=(hits - p[group] * rows) ** 2, minlength=size)
    robust = squares * number / np.maximum(number - 1, 1)
    binomial = n * p * (1 - p)
    copies = np.divide(np.bincount(group, weights=rows**2, minlength=size), n, out=np.ones(size), where=n > 0)
    estimable = (binomial > 0) & (number > 1)
    effects = np.where(estimable, np.divide(robust, binomial, out=np.ones(size), where=binomial > 0), copies)
    effects = np.where(number == denominators, 1.0, np.maximum(effects, 1.0))
    if np.array_equal(number, denominators):
        pooled = 1.0
    elif estimable.any():
        pooled = max(float(robust[estimable].sum() / binomial[estimable].sum()), 1.0)
    else:
        pooled = max(float(np.average(copies, weights=n)), 1.0) if n.sum() > 0 else 1.0
    return Proportions(
        successes=successes,
        denominators=denominators,
        clusters=number,
        design_effects=effects,
        pooled_design_effect=pooled,
    )
