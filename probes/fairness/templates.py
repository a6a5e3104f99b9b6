"""Twins as a grid: for each template one answer an identity, from rows that share a counterpart or were rewritten from one text. It
counts what cannot be compared, and draws no conclusion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from probes.answers import Answers
from probes.intervals import Bool, Float, Int


@dataclass(frozen=True, kw_only=True, eq=False)
class Templates:
    """T templates by G identities of one feature; only templates with two identities or more whose labels agree.

    Attributes:
        feature: what the twins differ in.
        identities: names, sorted as given.
        answers: class codes, shape (T, G); -1 where a template has no such identity.
        scores: shape (T, G, K), NaN where there is no such identity; or None where scores are unknown.
        first: a row of the table for each cell, shape (T, G); -1 where there is none.
        units: independent units, codes >= 0, shape (T,), or None where every template is one.
        few: identities that too few templates have, and their templates; not in ``identities``.
        rows: rows that the templates hold.
        labels_differ: templates left out because their twins have different labels.
        alone: templates left out because one identity alone is left.
        torn: cells whose rows were given different classes.
    """

    feature: str
    identities: tuple[str, ...]
    answers: Int
    scores: Float | None
    first: Int
    units: Int | None
    few: tuple[tuple[str, int], ...]
    rows: int
    labels_differ: int
    alone: int
    torn: int

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def present(self) -> Bool:
        """Which identities each template has, shape (T, G)."""
        return self.answers >= 0

    @property
    def flips(self) -> Bool:
        """Which templates have more than one answer, shape (T,)."""
        lowest = np.where(self.present, self.answers, np.iinfo(np.int64).max).min(
            axis=1, initial=np.iinfo(np.int64).max
        )
        return np.asarray(self.answers.max(axis=1, initial=-1) != lowest)

    def codes(self) -> Int:
        """The unit of each template, shape (T,)."""
        return np.arange(len(self)) if self.units is None else self.units


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Which template and identity each row of a table of N predictions is of; -1 where it is of none.

    Attributes:
        feature: what the identities are of.
        template, identity: codes, shape (N,).
        names: of the identities.
    """

    feature: str
    template: Int
    identity: Int
    names: tuple[str, ...]


def arrange(rows: Rows, answers: Answers, threshold: float | None, least: int) -> Templates:
    """The grid of one feature.

    Args:
        rows: where each row belongs.
        answers: of the same rows.
        threshold: of the subject, for classes of mean scores.
        least: templates that an identity must be in.
    """
    inside = np.flatnonzero((rows.template >= 0) & (rows.identity >= 0))
    numbers, template = np.unique(rows.template[inside], return_inverse=True)
    size, width = len(numbers), len(rows.names)
    cell = template * width + rows.identity[inside]
    said = answers.predictions[inside]
    low, high = _extremes(cell, said, size * width)
    times = np.bincount(cell, minlength=size * width)
    scores = None
    if answers.scores is not None:
        k = answers.scores.shape[1]
        sums = [np.bincount(cell, weights=answers.scores[inside, c], minlength=size * width) for c in range(k)]
        with np.errstate(invalid="ignore"):
            scores = np.stack(sums, axis=1) / np.where(times, times, np.nan)[:, None]
    torn = (times > 0) & (low != high)
    classes = np.where(times > 0, low, -1)
    at = np.flatnonzero(torn)
    classes[at] = _commonest(at, cell, said) if scores is None else _of_mean(scores[at], answers, threshold)
    first = np.full(size * width, -1, dtype=np.int64)
    first[cell[::-1]] = inside[::-1]
    known = answers.labels[inside] >= 0
    least_label, most_label = _extremes(template[known], answers.labels[inside][known], size)
    units = _units(template, None if answers.clusters is None else answers.clusters[inside], size)
    grid = Templates(
        feature=rows.feature, identities=rows.names, answers=classes.reshape(size, width),
        scores=None if scores is None else scores.reshape(size, width, -1), first=first.reshape(size, width), units=units,
        few=(), rows=0, labels_differ=0, alone=0, torn=0,
    )  # fmt: skip
    differ = (most_label >= 0) & (least_label != most_label) & (grid.present.sum(axis=1) >= 2)
    return _kept(grid, ~differ, times.reshape(size, width), torn.reshape(size, width), least)


def _kept(grid: Templates, agree: Bool, times: Int, torn: Bool, least: int) -> Templates:
    """Without identities in too few templates, and without templates of one identity."""
    chosen = np.ones(len(grid.identities), dtype=np.bool_)
    kept = agree & (grid.present.sum(axis=1) >= 2)
    while True:
        kept = agree & ((grid.present & chosen).sum(axis=1) >= 2)
        sizes = (grid.present & kept[:, None]).sum(axis=0)
        rare = chosen & (sizes < least)
        if not rare.any():
            break
        chosen &= ~rare
    both = (grid.present & agree[:, None]).sum(axis=0)
    few = tuple((grid.identities[g], int(both[g])) for g in np.flatnonzero(~chosen))
    part = np.ix_(kept, chosen)
    units = None if grid.units is None else np.unique(grid.units[kept], return_inverse=True)[1]
    if units is not None and len(np.unique(units)) == len(units):
        units = None
    return replace(
        grid,
        identities=tuple(grid.identities[g] for g in np.flatnonzero(chosen)),
        answers=grid.answers[part],
        scores=None if grid.scores is None else grid.scores[part],
        first=grid.first[part],
        units=units,
        few=few,
        rows=int(times[part].sum()),
        labels_differ=int(np.count_nonzero(~agree)),
        alone=int(np.count_nonzero(agree & ~kept)),
        torn=int(torn[part].sum()),
    )


def _extremes(group: Int, values: Int, size: int) -> tuple[Int, Int]:
    """Lowest and highest value of each group; -1 where a group has none."""
    low, high = np.full(size, np.iinfo(np.int64).max), np.full(size, -1, dtype=np.int64)
    np.minimum.at(low, group, values)
    np.maximum.at(high, group, values)
    return np.where(high < 0, -1, low), high


def _commonest(cells: Int, cell: Int, said: Int) -> Int:
    """The commonest class of each of ``cells``, the first of equals."""
    return np.array([np.bincount(said[cell == c]).argmax() for c in cells], dtype=np.int64)


def _of_mean(mean: Float, answers: Answers, threshold: float | None) -> Int:
    """The class that mean scores (N, K) name, by the subject's own rule."""
    from fine_tune.predictions import PredictionsMeta
    from fine_tune.rows import decide

    meta = PredictionsMeta(task="", classes=answers.classes, threshold=threshold, positive=answers.positive)
    return np.array([answers.classes.index(name) for name in decide(mean, meta)], dtype=np.int64)


def _units(template: Int, clusters: Int | None, size: int) -> Int | None:
    """Templates that share a cluster, directly or by way of others, are one unit."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if clusters is None or not size:
        return None
    _, cluster = np.unique(clusters, return_inverse=True)
    nodes = size + int(cluster.max()) + 1
    graph = coo_array((np.ones(len(template)), (template, size + cluster)), shape=(nodes, nodes))
    found = connected_components(graph, directed=False)[1][:size]
    return np.asarray(found, dtype=np.int64)
