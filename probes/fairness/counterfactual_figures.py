"""How far answers and scores depend on who is meant: shares of templates that flip, shifts of scores, and what chance alone would
do. Pure functions of `probes.fairness.templates.Templates`; they word nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from probes.bounded_means import bounded_mean
from probes.fairness.templates import Templates
from probes.intervals import Estimate, Float, Int, tail_of
from probes.multiplicity import holm
from probes.rates import Proportions, count

_BLOCK = 2_000_000


def flip_share(grid: Templates) -> Proportions:
    """Templates whose answer differs between identities."""
    return count(np.zeros(len(grid), dtype=np.int64), 1, grid.flips, grid.units)


def pair_flip_share(grid: Templates) -> Proportions:
    """Pairs of identities within a template that get different answers; the template, or its unit, is the cluster."""
    first, second = np.triu_indices(len(grid.identities), 1)
    here, there = grid.answers[:, first], grid.answers[:, second]
    both = (here >= 0) & (there >= 0)
    codes = np.broadcast_to(grid.codes()[:, None], both.shape)[both]
    return count(np.zeros(len(codes), dtype=np.int64), 1, (here != there)[both], codes)


def shifts(scores: Float) -> Float:
    """Each score less its template's mean; (T, G) with NaN where a template has no such identity."""
    filled = np.where(np.isnan(scores), 0.0, scores)
    mean = filled.sum(axis=1) / (~np.isnan(scores)).sum(axis=1)
    return np.asarray(scores - mean[:, None], dtype=np.float64)


def shift_estimate(moved: Float, g: int, codes: Int, level: float) -> Estimate | None:
    """The mean shift of one identity; None where fewer than two units have it."""
    there = ~np.isnan(moved[:, g])
    return bounded_mean(moved[there, g], level, codes[there], (-1.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The largest mean difference between two identities.

    Attributes:
        estimate: with limits in [0, 1].
        high, low: positions of the identity that scores higher, and of the other.
        templates: that have both.
        pairs: pairs of identities compared.
        unmet: pairs that fewer than two units have in common, which are not compared.
    """

    estimate: Estimate
    high: int
    low: int
    templates: int
    pairs: int
    unmet: int


def largest_gap(scores: Float, codes: Int, level: float) -> Gap | None:
    """The largest of all paired mean differences, over templates that have both identities.

    Low end: lower limits of all ordered pairs hold at once (Bonferroni), so the largest of them, or 0, is below the true
    largest gap. High end: the largest plain upper limit, as the pair that truly lies furthest apart is among them.

    Args:
        scores: shape (T, G), NaN where a template has no such identity.
        codes: the unit of each template.
        level: two-sided.

    Returns:
        None where no two identities share two units.
    """
    size = scores.shape[1]
    ordered = list(permutations(range(size), 2))
    joint = 1 - 2 * tail_of(level) / max(len(ordered), 1)
    best: tuple[float, int, int, int] | None = None
    low, high, met = 0.0, 0.0, 0
    for a, b in ordered:
        both = ~np.isnan(scores[:, a]) & ~np.isnan(scores[:, b])
        differences = scores[both, a] - scores[both, b]
        plain = bounded_mean(differences, level, codes[both], (-1.0, 1.0))
        wide = bounded_mean(differences, joint, codes[both], (-1.0, 1.0))
        if plain is None or wide is None:
            continue
        met += 1
        low, high = max(low, wide.low), max(high, plain.high)
        if best is None or plain.value > best[0]:
            best = (plain.value, a, b, int(both.sum()))
    if best is None:
        return None
    estimate = Estimate(
        value=max(best[0], 0.0),
        low=low,
        high=high,
        method="largest paired gap: simultaneous low, intersection-union high",
        params={"pairs": met // 2, "limits": "t"},
    )
    return Gap(
        estimate=estimate, high=best[1], low=best[2], templates=best[3], pairs=met // 2, unmet=(len(ordered) - met) // 2
    )


@dataclass(frozen=True, kw_only=True)
class Chance:
    """p-values of exchanges within templates.

    Attributes:
        raw, adjusted: one an identity, the second by Holm's correction.
        spread: of the range of the identities' mean shifts.
        draws: random exchanges.
    """

    raw: Float
    adjusted: Float
    spread: float
    draws: int

    def error(self, p: float) -> float:
        """Monte Carlo standard error of a p-value that is not adjusted."""
        return float(np.sqrt(p * (1 - p) / (1 + self.draws)))


def chance(moved: Float, units: Int | None, rng: np.random.Generator, draws: int) -> Chance:
    """How often exchanging the identities within templates shifts scores as far; p = (1 + hits) / (1 + draws).

    Under "it does not matter who is meant" a template's scores could belong to its identities in any order. Templates of one
    unit are exchanged alike: each draw puts the identities of a unit into one random order, and each of its templates follows
    it with the identities that it has.

    Args:
        moved: shifts, shape (T, G), NaN where a template has no such identity.
        units: codes >= 0, or None where every template is one.
        rng: for the draws.
        draws: how many.
    """
    size, width = moved.shape
    present = ~np.isnan(moved)
    times = present.sum(axis=0)
    codes = np.arange(size) if units is None else units
    number = int(codes.max()) + 1
    patterns, pattern = np.unique(present, axis=0, return_inverse=True)
    observed = np.where(present, moved, 0.0).sum(axis=0) / times
    hits, apart = np.zeros(width), 0
    step = max(1, _BLOCK // (number * width))
    for start in range(0, draws, step):
        many = min(step, draws - start)
        keys = rng.random((many, number, width))
        sums = np.zeros((many, width))
        for p, held in enumerate(patterns):
            mine, columns = np.flatnonzero(pattern.ravel() == p), np.flatnonzero(held)
            order = keys[:, codes[mine]][:, :, columns].argsort(axis=2)
            values = np.broadcast_to(moved[np.ix_(mine, columns)], order.shape)
            sums[:, columns] += np.take_along_axis(values, order, axis=2).sum(axis=1)
        means = sums / times
        hits += (np.abs(means) >= np.abs(observed) - 1e-12).sum(axis=0)
        apart += int(((means.max(axis=1) - means.min(axis=1)) >= np.ptp(observed) - 1e-12).sum())
    raw = (1 + hits) / (1 + draws)
    return Chance(raw=raw, adjusted=holm(raw.tolist()), spread=(1 + apart) / (1 + draws), draws=draws)
