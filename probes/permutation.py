"""What chance alone makes of the gaps between groups, rows regrouped at random; by clusters where there are any.

It draws the largest gap of one rate under "the group plays no part" and turns drawn gaps into a p-value. It counts no rows
(`probes.rates` does), claims nothing, and never lets rows that belong together be torn apart as if they were independent.

Rows in clusters are exchanged in the one of two ways that their clusters allow, each cluster by itself:

* A cluster whose rows are all of one group (a user of one gender) is exchanged *whole*: the groups of such clusters are
  permuted over them, so that likeness within a cluster is as large in each draw as in the data.
* A cluster that spans groups (a template filled in with every identity) is exchanged *within*: its rows keep the cluster
  and permute their groups among themselves, so that what the cluster has in common cancels as it does in the data.

Together these are one group of permutations, under which the data is exchangeable if the group plays no part; the p-value is
therefore exact (Phipson and Smyth 2010), whatever the likeness in clusters. Several rates of one criterion are drawn
independently, which is exact where they share no clusters and, where they do, asymptotically conservative (Sidak 1967).
Beyond a fixed amount of work, totals over that many clusters are drawn from the normal distribution with the permutation's
own mean and covariance, and groups too small for it are drawn directly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probes.intervals import Bool, Float, Int
from probes.rates import Cells, Rate

_WORK = 20_000_000
_BLOCK = 2_000_000
_FEW_CLUSTERS = 200
_LITTLE_VARIANCE = 25.0

Draws = tuple[Float, Float]


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """How the rows of one rate are regrouped.

    Attributes:
        whole: clusters of one group that are exchanged whole.
        within: clusters of several groups, whose rows are exchanged within.
    """

    whole: int
    within: int


def exchange(cells: Cells) -> Exchange:
    """Count the clusters of each way."""
    _, at = np.unique(cells.cluster, return_inverse=True)
    spans = np.bincount(at)
    return Exchange(whole=int(np.count_nonzero(spans == 1)), within=int(np.count_nonzero(spans > 1)))


def chance_gaps(rate: Rate, rng: np.random.Generator, draws: int) -> Float:
    """The largest gap of one rate in each random regrouping; shape (draws,), in [0, 1].

    Where rows are independent the successes fall on the groups like draws without replacement (multivariate hypergeometric).

    Raises:
        ValueError: a group's denominator is 0.
    """
    if not (rate.proportions.denominators > 0).all():
        raise ValueError("regrouping needs a denominator above 0 in every group")
    if rate.cells is None:
        sizes, drawn = rate.proportions.denominators, int(rate.proportions.successes.sum())
        out = np.empty(draws)
        for start, stop in _blocks(draws, len(sizes)):
            fallen = rng.multivariate_hypergeometric(sizes, drawn, size=stop - start, method="marginals")
            out[start:stop] = _gap(fallen / sizes)
        return out
    rows, hits = _regrouped(rate.cells, rng, draws)
    return _gap(np.clip(hits / np.maximum(rows, 1.0), 0.0, 1.0))


def p_value(observed: float, chance: Float) -> tuple[float, float]:
    """(1 + draws at least as large) / (1 + draws), and its Monte Carlo standard error."""
    p = (1 + int(np.count_nonzero(chance >= observed - 1e-12))) / (1 + len(chance))
    return p, float(np.sqrt(p * (1 - p) / (1 + len(chance))))


def gap_p_value(rate: Rate, rng: np.random.Generator, draws: int) -> tuple[float, float]:
    """The p-value of one rate's largest gap, and its Monte Carlo standard error."""
    values = rate.proportions.values
    return p_value(float(values.max() - values.min()), chance_gaps(rate, rng, draws))


def _gap(rates: Float) -> Float:
    out: Float = rates.max(axis=1) - rates.min(axis=1)
    return out


def _regrouped(cells: Cells, rng: np.random.Generator, draws: int) -> Draws:
    """Rows and hits of each group in each regrouping, both of shape (draws, G)."""
    _, at = np.unique(cells.cluster, return_inverse=True)
    alone = (np.bincount(at) == 1)[at]
    whole, within = _kept(cells, at, alone), _kept(cells, at, ~alone)
    rows, hits = _whole(whole, rng, draws)
    more_rows, more_hits = _within(within, rng, draws)
    return rows + more_rows, hits + more_hits


def _kept(cells: Cells, at: Int, inside: Bool) -> Cells:
    """Some cells, ordered by cluster, clusters numbered from 0."""
    index = np.flatnonzero(inside)
    index = index[np.argsort(at[index], kind="stable")]
    _, cluster = np.unique(at[index], return_inverse=True)
    return Cells(
        rows=cells.rows[index],
        hits=cells.hits[index],
        group=cells.group[index],
        cluster=cluster.astype(np.int64),
        size=cells.size,
    )


def _whole(cells: Cells, rng: np.random.Generator, draws: int) -> Draws:
    """Clusters of one group each: one cell a cluster."""
    units, size = len(cells.rows), cells.size
    if units * draws > _WORK:
        return _whole_approximately(cells, rng, draws)
    rows, hits = np.zeros((draws, size)), np.zeros((draws, size))
    labels = cells.group.astype(np.int32)
    for start, stop in _blocks(draws, max(units, 1)):
        length = stop - start
        key = rng.permuted(np.broadcast_to(labels, (length, units)), axis=1).astype(np.int64)
        key += size * np.arange(length)[:, None]
        for values, out in ((cells.rows, rows), (cells.hits, hits)):
            weights = np.broadcast_to(values, (length, units)).ravel().astype(float)
            out[start:stop] = np.bincount(key.ravel(), weights, minlength=length * size).reshape(length, size)
    return rows, hits


def _whole_approximately(cells: Cells, rng: np.random.Generator, draws: int) -> Draws:
    """Clusters drawn for each group with replacement from all of them.

    Differences of means have the same variance as under permutation: S^2 / m + S^2 / m' both ways. Sums over many clusters are
    normal; those of groups with few clusters are drawn one by one.
    """
    pairs = np.stack([cells.rows, cells.hits], axis=1).astype(float)
    centre, spread = pairs.mean(axis=0), np.cov(pairs.T)
    out = np.empty((2, draws, cells.size))
    for g, count in enumerate(np.bincount(cells.group, minlength=cells.size).tolist()):
        if count < _FEW_CLUSTERS:
            out[:, :, g] = pairs[rng.integers(0, len(pairs), (draws, count))].sum(axis=1).T
        else:
            out[:, :, g] = rng.multivariate_normal(count * centre, count * spread, draws, method="eigh").T
    return out[0], np.maximum(out[1], 0.0)


@dataclass(frozen=True, kw_only=True)
class _Mixed:
    """Clusters that span groups and whose rows are neither all hits nor all misses.

    ``cells`` are ordered by cluster; ``length`` and ``hit`` are the rows and hits of each cluster.
    """

    cells: Cells
    length: Int
    hit: Int


def _within(cells: Cells, rng: np.random.Generator, draws: int) -> Draws:
    """Clusters of several groups: hits fall on the cluster's rows without replacement; rows a group stay."""
    size = cells.size
    counted: Float = np.bincount(cells.group, weights=cells.rows, minlength=size).astype(np.float64)
    rows: Float = np.broadcast_to(counted, (draws, size))
    length = np.bincount(cells.cluster, weights=cells.rows).astype(np.int64)
    hit = np.bincount(cells.cluster, weights=cells.hits).astype(np.int64)
    # A cluster of hits alone, or of misses alone, gives the same whatever happens.
    varies = (hit > 0) & (hit < length)
    moves = varies[cells.cluster]
    fixed = np.bincount(cells.group, weights=np.where(moves, 0, cells.hits), minlength=size)
    mixed = _Mixed(cells=_kept(cells, cells.cluster, moves), length=length[varies], hit=hit[varies])
    draw = _within_approximately if int(mixed.length.sum()) * draws > _WORK else _within_shuffled
    hits: Float = fixed + draw(mixed, rng, draws)
    return rows, hits


def _within_shuffled(mixed: _Mixed, rng: np.random.Generator, draws: int) -> Float:
    """Rows shuffled in every cluster, clusters of one length at a time; shape (draws, G)."""
    cells, length = mixed.cells, mixed.length
    out = np.zeros((draws, cells.size))
    groups = np.repeat(cells.group, cells.rows)
    starts = np.cumsum(length) - length
    for rows in np.unique(length).tolist():
        chosen = np.flatnonzero(length == rows)
        hits = (np.arange(rows) < mixed.hit[chosen, None]).astype(np.uint8)
        into = np.zeros((hits.size, cells.size), dtype=np.float32)
        into[np.arange(hits.size), groups[(starts[chosen, None] + np.arange(rows)).ravel()]] = 1.0
        for start, stop in _blocks(draws, hits.size):
            shuffled = rng.permuted(np.broadcast_to(hits, (stop - start, *hits.shape)), axis=-1)
            out[start:stop] += shuffled.reshape(stop - start, -1).astype(np.float32) @ into
    return out


def _within_approximately(mixed: _Mixed, rng: np.random.Generator, draws: int) -> Float:
    """Sums of multivariate hypergeometric draws over many clusters as a normal draw; shape (draws, G).

    A cluster of n rows with h hits has the mean h n_g / n and the covariance h (n - h) / (n (n - 1)) times
    (diag(n_g) - n_g n_g' / n). Groups whose hits hardly vary are drawn by themselves, exactly: what they share with the
    others is too little to matter.
    """
    from scipy import sparse

    cells = mixed.cells
    n, h, rows = mixed.length.astype(float), mixed.hit.astype(float), cells.rows.astype(float)
    factor = h * (n - h) / (n * (n - 1))
    mean = np.bincount(cells.group, weights=(h / n)[cells.cluster] * rows, minlength=cells.size)
    diagonal = np.bincount(cells.group, weights=factor[cells.cluster] * rows, minlength=cells.size)
    weights = np.sqrt(factor / n)[cells.cluster] * rows
    root = sparse.csr_array((weights, (cells.cluster, cells.group)), shape=(len(n), cells.size))
    covariance = np.diag(diagonal) - (root.T @ root).toarray()
    out: Float = rng.multivariate_normal(mean, covariance, draws, method="eigh")
    for g in np.flatnonzero(np.diag(covariance) < _LITTLE_VARIANCE).tolist():
        mine = np.flatnonzero(cells.group == g)
        at = cells.cluster[mine]
        good, bad = mixed.hit[at], (mixed.length - mixed.hit)[at]
        for start, stop in _blocks(draws, max(len(mine), 1)):
            drawn = rng.hypergeometric(good, bad, cells.rows[mine], size=(stop - start, len(mine)))
            out[start:stop, g] = drawn.sum(axis=1)
    return out


def _blocks(draws: int, width: int) -> list[tuple[int, int]]:
    step = max(1, _BLOCK // width)
    return [(start, min(start + step, draws)) for start in range(0, draws, step)]
