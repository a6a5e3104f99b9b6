"""The lower bound on epsilon that one training run with planted canaries supports (Steinke, Nasr and Jagielski, 2023). It knows
scores and coin flips and nothing of models; it never turns a membership AUC into an epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from probes.intervals import Bool, Float

MOST_EPSILON = 60.0
FRACTIONS = (0.1, 0.25, 0.5, 1.0)
_HALVINGS = 40


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What a round of guesses shows.

    Attributes:
        epsilon: every (epsilon', delta) guarantee with epsilon' below this is rejected at the stated confidence; 0 where none is.
        guesses, right: canaries that were guessed on, and guessed rightly, in the round that gives the bound; in the largest
            of several that give the same.
        ceiling: the bound that this many canaries give when every guess is right.
    """

    epsilon: float
    guesses: int
    right: int
    ceiling: float


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """The largest probability that a training of that guarantee leads to so many right guesses.

    Theorem 5.2 of Steinke, Nasr and Jagielski (2023): the number of right guesses is dominated by a binomial with success
    probability e^epsilon / (1 + e^epsilon), and ``delta`` adds at most 2 * canaries * delta * alpha.

    Args:
        canaries: m, how many coins were flipped, heads and tails alike.
        guesses: r, on how many of them a guess was made; the others were abstained from.
        right: v of them were right.
        epsilon: at least 0.
        delta: in [0, 1); useful only where far below 1 / canaries.
    """
    if right <= 0:
        return 1.0
    share = 1 / (1 + math.exp(-epsilon))
    beta = float(stats.binom.sf(right - 1, guesses, share))
    if delta == 0:
        return min(1.0, beta)
    steps = np.arange(1, right + 1)
    below = stats.binom.cdf(right - 1, guesses, share) - stats.binom.cdf(right - steps - 1, guesses, share)
    alpha = float(np.max(below / steps))
    return min(1.0, beta + 2 * canaries * delta * alpha)


@lru_cache(maxsize=4096)
def epsilon_bound(canaries: int, guesses: int, right: int, delta: float, confidence: float) -> float:
    """The largest epsilon whose guarantee is rejected at ``confidence``; 0 where not even epsilon 0 is.

    The p-value grows with epsilon, so a bisection finds where it reaches 1 - confidence; the returned end is on the
    rejected side.
    """
    error = 1 - confidence
    if p_value(canaries, guesses, right, 0.0, delta) > error:
        return 0.0
    low, high = 0.0, 1.0
    while p_value(canaries, guesses, right, high, delta) <= error:
        low, high = high, high * 2
        if low >= MOST_EPSILON:
            return MOST_EPSILON
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if p_value(canaries, guesses, right, middle, delta) <= error:
            low = middle
        else:
            high = middle
    return low


def ceiling(canaries: int, delta: float, confidence: float, fractions: Sequence[float] = FRACTIONS) -> float:
    """The bound if every guess is right: nothing above it can be found with so many canaries."""
    each = 1 - (1 - confidence) / len(fractions)
    return max(epsilon_bound(canaries, 2 * k, 2 * k, delta, each) for k in _sides(canaries, fractions))


def one_run_bound(
    scores: Float, included: Bool, delta: float, confidence: float, fractions: Sequence[float] = FRACTIONS
) -> Bound:
    """The bound from scores: the highest are guessed to be in the training data, the lowest to be out of it.

    How many to guess on is tried at several shares of the canaries, fixed beforehand; each is held to
    1 - (1 - confidence) / shares (Bonferroni), so that the best of them still holds.

    Args:
        scores: one a canary, the higher the more it looks like a member; shape (m,), m at least 2.
        included: which coin fell on "in"; shape (m,).
        delta: of the claim that is tested.
        confidence: with which the bound holds, such as 0.95.
        fractions: shares of the canaries to guess on, half of them in and half out.

    Raises:
        ValueError: fewer than two canaries, or shapes that differ.
    """
    m = len(scores)
    if m < 2 or scores.shape != included.shape:
        raise ValueError(f"{m} scores and {len(included)} coins; one score a coin is wanted, and at least two")
    order = np.argsort(-scores, kind="stable")
    each = 1 - (1 - confidence) / len(fractions)
    best = Bound(epsilon=0.0, guesses=0, right=0, ceiling=ceiling(m, delta, confidence, fractions))
    for k in _sides(m, fractions):
        right = int(included[order[:k]].sum() + (~included[order[-k:]]).sum())
        found = epsilon_bound(m, 2 * k, right, delta, each)
        if (found, 2 * k) > (best.epsilon, best.guesses):
            best = Bound(epsilon=found, guesses=2 * k, right=right, ceiling=best.ceiling)
    return best


def _sides(canaries: int, fractions: Sequence[float]) -> list[int]:
    """How many to guess in, and as many out, for each share."""
    return [min(canaries // 2, max(1, round(canaries * share / 2))) for share in fractions]
