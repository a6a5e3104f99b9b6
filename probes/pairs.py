"""Pairs of groups: limits that hold over all of them, and the extremes of a pairwise limit.

It knows values and limits of groups, whatever they are shares of; `probes.gaps` and `probes.extremes` say which limits belong
to which end. It never builds all pairs of many groups at once: blocks of `BLOCK` are reduced one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from scipy import stats

from probes.intervals import Float, Limits, difference_high, difference_low, ratio_high, ratio_low

BLOCK = 1_000_000
Pairwise = Callable[[Float, Float, Float, Float], Float]


@lru_cache(maxsize=4096)
def simultaneous_tail(tail: float, groups: int) -> float:
    """The tail for one pair's limit such that those of all ordered pairs hold but for ``tail``."""
    z = float(stats.studentized_range.isf(tail, groups, np.inf)) / np.sqrt(2)
    return float(stats.norm.sf(z))


def gap_low(values: Float, wide: Limits) -> Float:
    """Lower end of the largest gap from simultaneous ``wide`` limits; arrays (..., G) give (...)."""
    return np.maximum(_over_pairs(difference_low, np.maximum, values, wide), 0.0)


def gap_high(values: Float, plain: Limits) -> Float:
    """Upper end of the largest gap from ``plain`` limits; arrays (..., G) give (...)."""
    return np.minimum(_over_pairs(difference_high, np.maximum, values, plain[::-1]), 1.0)


def least_ratio_low(values: Float, plain: Limits) -> Float:
    """Lower end of the smallest ratio from ``plain`` limits; arrays (..., G) give (...)."""
    return np.minimum(_over_pairs(ratio_low, np.minimum, values, plain), 1.0)


def least_ratio_high(values: Float, wide: Limits) -> Float:
    """Upper end of the smallest ratio from simultaneous ``wide`` limits; arrays (..., G) give (...)."""
    return np.minimum(_over_pairs(ratio_high, np.minimum, values, wide[::-1]), 1.0)


def _over_pairs(limit: Pairwise, best: np.ufunc, values: Float, ends: Limits) -> Float:
    """The extreme of ``limit(p_i, mine_i, p_j, theirs_j)`` over ordered pairs i != j, with ends = (mine, theirs)."""
    start = -np.inf if best is np.maximum else np.inf
    out = np.full(values.shape[:-1], start)
    for block, pairs in pair_blocks(limit, values, *ends):
        diagonal = np.arange(block.start, block.stop)
        pairs[..., diagonal - block.start, diagonal] = start
        out = best(out, best.reduce(pairs, axis=(-2, -1)))
    return out


def pair_blocks(limit: Pairwise, values: Float, mine: Float, theirs: Float) -> Iterator[tuple[slice, Float]]:
    """``limit(p_i, mine_i, p_j, theirs_j)`` for a block of i and every j, block after block; (..., b, G) each."""
    size = values.shape[-1]
    step = max(1, BLOCK // max(values.size, 1))
    for start in range(0, size, step):
        block = slice(start, min(start + step, size))
        yield (
            block,
            limit(values[..., block, None], mine[..., block, None], values[..., None, :], theirs[..., None, :]),
        )


def shortfalls(values: Float, wide: Limits) -> Limits:
    """How far each group is at least below the highest and above the lowest, from simultaneous ``wide`` limits.

    Returns:
        two arrays (..., G), 0 where a group may be the highest (or the lowest).
    """
    below, above = np.zeros(values.shape), np.zeros(values.shape)
    for block, pairs in pair_blocks(difference_low, values, *wide):
        diagonal = np.arange(block.start, block.stop)
        pairs[..., diagonal - block.start, diagonal] = 0.0
        above[..., block] = np.maximum(pairs.max(axis=-1), 0.0)
        below = np.maximum(below, pairs.max(axis=-2))
    return below, above
