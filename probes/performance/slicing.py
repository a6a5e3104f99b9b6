"""A search for slices with more errors than the rest, and its confirmation on rows that the search never saw.

Everything here works on arrays: which rows have a trait, which answers are wrong, which rows belong together. The search
may try as many slices as it likes, because nothing is claimed from the half that it looks at; the claim comes from the
other half, where a few slices are tested and only those are paid for (Holm 1979). It reads no tables and words no report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from probes.evidence import Axis, Scalar
from probes.intervals import Bool, Estimate, Int, difference_high, difference_low, tail_of
from probes.rates import Proportions, count

SAME = 0.8


@dataclass(frozen=True, kw_only=True)
class Trait:
    """A property that rows have or lack.

    Attributes:
        axis: its name.
        rows: which rows have it, shape (N,).
        dimension: traits of one dimension exclude one another, and are not crossed.
        crossed: may form a pair with another trait of which one at least is crossed.
    """

    axis: Axis
    rows: Bool
    dimension: str
    crossed: bool = True


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A slice that the search proposes: ``traits`` are positions, ``n`` and ``errors`` count its rows in the search half."""

    traits: tuple[int, ...]
    n: int
    errors: int


@dataclass(frozen=True, kw_only=True)
class Search:
    """What came of the search: how many slices were looked at, and the proposed ones, the worst first."""

    tried: int
    candidates: tuple[Candidate, ...]


def split(units: Int, rng: np.random.Generator) -> Bool:
    """A random half of the units: True for the rows to search in, shape (N,). Rows of one unit stay together."""
    size = int(units.max()) + 1 if len(units) else 0
    return (rng.permutation(size) < size // 2)[units]


def inside(traits: Sequence[Trait], chosen: Sequence[int]) -> Bool:
    """The rows that have all the chosen traits."""
    rows = traits[chosen[0]].rows
    for i in chosen[1:]:
        rows = rows & traits[i].rows
    return rows


def search(
    traits: Sequence[Trait], wrong: Bool, clusters: Int | None, *, min_rows: int, most: int, alpha: float
) -> Search:
    """Rank every trait and pair of traits by how surely it has more errors than the rest.

    The rank is the lower limit of the difference in error rates, at a level that allows for all slices tried, so that
    a small slice needs a larger difference. A pair is proposed only where it is worse than both of its parts, and a
    slice only where it shares less than 80 % of the smaller one's rows with every slice proposed before it.

    Args:
        traits: their rows and all other arrays are of the search half.
        wrong: which answers are wrong, shape (N,).
        clusters: codes, shape (N,), or None where rows are independent.
        min_rows: rows that a slice and its rest need at least.
        most: how many slices are proposed at most.
        alpha: see `confirm`; here it only sets the rank.
    """
    n = len(wrong)
    rate: dict[int, float] = {}
    found: list[tuple[float, float, Candidate]] = []
    tried = 0

    def look(chosen: tuple[int, ...], rows: Bool) -> float | None:
        nonlocal tried
        size = int(np.count_nonzero(rows))
        if size < min_rows or n - size < min_rows:
            return None
        tried += 1
        at = np.flatnonzero(rows)
        errors = int(np.count_nonzero(wrong[at]))
        share = errors / size
        if len(chosen) == 2 and share <= max(rate[i] for i in chosen):
            return share
        gap, deviation = _rough_gap(at, wrong, clusters)
        if gap > 0:
            found.append((gap, deviation, Candidate(traits=chosen, n=size, errors=errors)))
        return share

    for i, trait in enumerate(traits):
        share = look((i,), trait.rows)
        if share is not None:
            rate[i] = share
    kept = list(rate)
    for a, i in enumerate(kept):
        for j in kept[a + 1 :]:
            one, other = traits[i], traits[j]
            if one.dimension != other.dimension and (one.crossed or other.crossed):
                look((i, j), one.rows & other.rows)
    z = float(stats.norm.isf(alpha / max(tried, 1)))
    found.sort(key=lambda f: (-(f[0] - z * f[1]), f[2].traits))
    return Search(tried=tried, candidates=_distinct([f[2] for f in found], traits, most))


def _rough_gap(at: Int, wrong: Bool, clusters: Int | None) -> tuple[float, float]:
    """Error rate of the rows ``at`` less that of the others, and its standard error under equal rates."""
    n, size, errors = len(wrong), len(at), int(np.count_nonzero(wrong))
    inside_errors = int(np.count_nonzero(wrong[at]))
    gap = inside_errors / size - (errors - inside_errors) / (n - size)
    mean = errors / n
    own = mean * (1 - mean) / size
    if clusters is not None:
        sums = np.bincount(clusters[at], weights=wrong[at] - mean)
        units = int(np.count_nonzero(np.bincount(clusters[at])))
        own = max(own, units / (units - 1) * float(np.sum(sums**2)) / size**2 if units > 1 else np.inf)
    return gap, float(np.sqrt(own + mean * (1 - mean) / (n - size)))


def _distinct(ranked: Sequence[Candidate], traits: Sequence[Trait], most: int) -> tuple[Candidate, ...]:
    chosen: list[tuple[Candidate, Bool]] = []
    for candidate in ranked:
        if len(chosen) == most:
            break
        rows = inside(traits, candidate.traits)
        if all(np.count_nonzero(rows & other) < SAME * min(candidate.n, c.n) for c, other in chosen):
            chosen.append((candidate, rows))
    return tuple(c for c, _ in chosen)


def p_value(rows: Bool, wrong: Bool, clusters: Int | None) -> float:
    """One-sided p-value of "the slice has no more errors than the rest".

    Fisher's exact test; where rows come in clusters, the larger of it and a score test whose variance is that of
    the clusters' sums (never below that of independent rows), with Student's t of (clusters - 1) degrees, counting
    those of the smaller side. 1 where the slice, or the rest, holds no row.
    """
    n, size, errors = len(wrong), int(np.count_nonzero(rows)), int(np.count_nonzero(wrong))
    if size in (0, n):
        return 1.0
    own = int(np.count_nonzero(wrong & rows))
    exact = float(stats.hypergeom.sf(own - 1, n, errors, size))
    if clusters is None:
        return min(exact, 1.0)
    mean = errors / n
    scaled = (wrong - mean) * np.where(rows, 1 / size, -1 / (n - size))
    sums = np.bincount(clusters, weights=scaled)
    units = int(np.count_nonzero(np.bincount(clusters)))
    sides = (len(np.unique(clusters[rows])), len(np.unique(clusters[~rows])))
    freedom = min(sides) - 1
    if freedom < 1:
        return 1.0
    floor = mean * (1 - mean) * (1 / size + 1 / (n - size))
    variance = max(units / (units - 1) * float(np.sum(sums**2)), floor)
    gap = own / size - (errors - own) / (n - size)
    if variance <= 0:
        return 1.0
    return min(max(exact, float(stats.t.sf(gap / np.sqrt(variance), freedom))), 1.0)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A slice against the rest of the rows; ``rates`` holds the error rates of the two, in this order."""

    rates: Proportions

    @classmethod
    def of(cls, rows: Bool, wrong: Bool, clusters: Int | None) -> Compared:
        """Count both sides."""
        return cls(rates=count(np.where(rows, 0, 1), 2, wrong, clusters))

    @property
    def comparable(self) -> bool:
        """Both sides hold rows."""
        return bool((self.rates.denominators > 0).all())

    def error(self, level: float, together: int = 1) -> Estimate:
        """The slice's error rate; ``together`` intervals hold jointly at ``level`` (Bonferroni)."""
        low, high = self.rates.limits(tail_of(level) / together)
        return Estimate(
            value=float(self.rates.values[0]), low=float(low[0]), high=float(high[0]), method="Wilson score",
            params=self._params(together),
        )  # fmt: skip

    def gap(self, level: float, together: int = 1) -> Estimate:
        """The slice's error rate less that of the rest: Newcombe's limits; ``together`` as in `error`."""
        low, high = self.rates.limits(tail_of(level) / together)
        p = self.rates.values
        return Estimate(
            value=float(p[0] - p[1]),
            low=float(difference_low(p[0], low[0], p[1], high[1])),
            high=float(difference_high(p[0], high[0], p[1], low[1])),
            method="Newcombe",
            params=self._params(together),
        )

    def _params(self, together: int) -> dict[str, Scalar]:
        return {**self.rates.params(0), **({"simultaneous_over": together} if together > 1 else {})}
