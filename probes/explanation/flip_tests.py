"""Whether what happens to answers when words are taken away is more than chance: an exact test by clusters, the part of a push
that labels explain, and Holm's correction. Pure functions of arrays; they know no words, tables or models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from probes.intervals import Bool, Estimate, Float, Int, critical, tail_of


def sign_flip_p(differences: Int, clusters: Int) -> float:
    """The exact one-sided p-value that the sum of ``differences`` is as large by chance, clusters kept whole.

    Under the null hypothesis each cluster's sum is as likely as its negative. All sign patterns are counted by convolution.
    With rows as clusters and differences of -1, 0 and 1 this is McNemar's exact test.

    Args:
        differences: whole numbers, shape (n,).
        clusters: codes >= 0, shape (n,).

    Returns:
        in (0, 1]; 1 where every sum is 0.
    """
    if not len(differences):
        return 1.0
    sums = np.bincount(clusters, weights=differences).astype(np.int64)
    sizes = np.abs(sums[sums != 0])
    if not len(sizes):
        return 1.0
    total = int(sizes.sum())
    chances = np.zeros(2 * total + 1)
    chances[total] = 1.0
    for size in sizes.tolist():
        # Where a sum of 0 is possible nothing wraps around: the mass never lies further out than the sizes so far.
        chances = 0.5 * (np.roll(chances, size) + np.roll(chances, -size))
    return float(min(chances[total + int(sums.sum()) :].sum(), 1.0))


@dataclass(frozen=True, kw_only=True)
class Push:
    """How far a word pushes a score, less what labels explain of it.

    Attributes:
        push: mean over the texts asked of what the word adds to the score, in [-1, 1].
        lift: share of the class among all labelled texts with the word less that among those without, in [-1, 1].
        excess: push less lift, or push alone where the lift is below 0, with its interval; in [-2, 1].
        p: one-sided, that the excess is no more than ``least``.
    """

    push: float
    lift: float
    excess: Estimate
    p: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """What labels say of N texts.

    Attributes:
        positive: whether each is of the class, shape (N,).
        holds: whether each has the word, shape (N,); some have it and some have not.
        clusters: codes >= 0, shape (N,).
    """

    positive: Bool
    holds: Bool
    clusters: Int


def excess_push(pushes: Float, asked: Int, known: Labelled, level: float, least: float) -> Push:
    """Compare a push with the lift that labels show; labels that lean the other way explain nothing of it.

    The excess is the lesser of two figures, push less lift and push alone: it exceeds ``least`` only if both do, so the
    larger p-value counts (intersection-union). Its lower limit is the lesser of theirs, and its upper limit the lesser of
    theirs at half the tail each.

    Variances are linearised and by clusters, never below those of independent texts. Each of the three means gets two
    made-up texts, one each way (Agresti and Caffo 2000), so that texts that all agree are not taken as certain; degrees of
    freedom are one less than the clusters that hold the word.

    Args:
        pushes: what the word adds to the score of one class, one a text asked, shape (m,), in [-1, 1].
        asked: positions of these texts among the N labelled ones, shape (m,).
        known: the labelled texts.
        level: of the interval, two-sided.
        least: what is too little to speak of.
    """
    positive, holds, clusters = known.positive, known.holds, known.clusters
    inside, outside = np.flatnonzero(holds), np.flatnonzero(~holds)
    push, here, there = float(pushes.mean()), float(positive[inside].mean()), float(positive[outside].mean())
    alone, with_labels = np.zeros(len(positive)), np.zeros(len(positive))
    alone[asked] = (pushes - push) / len(asked)
    with_labels[inside] = -(positive[inside] - here) / len(inside)
    with_labels[outside] = (positive[outside] - there) / len(outside)
    guard = (2 + 2 * push**2) / (len(asked) + 2) ** 2
    guards = guard + sum((s**2 + (1 - s) ** 2) / (len(i) + 2) ** 2 for s, i in ((here, inside), (there, outside)))
    values = np.array([push - (here - there), push])
    errors = np.sqrt([_variance(alone + with_labels, clusters) + guards, _variance(alone, clusters) + guard])
    freedom = max(len(np.unique(clusters[inside])) - 1, 1)
    tail = tail_of(level)
    estimate = Estimate(
        value=float(values.min()),
        low=max(float((values - critical(tail, freedom) * errors).min()), -2.0),
        high=min(float((values + critical(tail / 2, freedom) * errors).min()), 1.0),
        method="t, linearised by clusters",
        params={"clusters": freedom + 1},
    )
    p = float(stats.t.sf((values - least) / errors, freedom).max())
    return Push(push=push, lift=here - there, excess=estimate, p=p)


def _variance(influence: Float, clusters: Int) -> float:
    sums = np.bincount(clusters, weights=influence)
    units = max(int(np.count_nonzero(np.bincount(clusters))), 2)
    return max(units / (units - 1) * float(np.sum(sums**2)), float(np.sum(influence**2)))
