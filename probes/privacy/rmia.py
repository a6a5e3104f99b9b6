"""The robust membership inference attack (Zarifzadeh, Liu and Shokri, 2024): how many rows of the population does a row beat,
once each is set against what models in general say of it? Arrays in, scores out; it trains nothing.
"""

from __future__ import annotations

import numpy as np

from probes.intervals import Bool, Float


def usual(shadows: Float, inside: Bool) -> Float:
    """p(x) of the online attack, shape (n,): the mean of what models with and models without the row give to its label.

    Args:
        shadows: probability of the label under each shadow model, shape (k, n).
        inside: whether the row was in that model's training rows, shape (k, n).

    Returns:
        In [0, 1]; NaN for rows that every model saw, or none.
    """
    return (_mean(shadows, inside) + _mean(shadows, ~inside)) / 2


def usual_outside(shadows: Float, inside: Bool, offset: float) -> Float:
    """p(x) of the offline attack, shape (n,), from models without the row: ((1 + a) p_out(x) + 1 - a) / 2.

    ``offset`` is the paper's a in [0, 1]: how p(x) under models with the row is taken to grow from p_out(x). Arguments and NaN
    as `usual`.
    """
    return ((1 + offset) * _mean(shadows, ~inside) + 1 - offset) / 2


def beaten(observed: Float, usually: Float, population: Bool, gamma: float) -> Float:
    """The attack's score: the share of population rows z with (p(x|model) / p(x)) / (p(z|model) / p(z)) >= gamma.

    p(z) comes from the same models in the same way as p(x). A row of the population is not compared with itself.

    Args:
        observed: probability of the label under the examined model, shape (n,).
        usually: p(x), from `usual` or `usual_outside`, shape (n,).
        population: rows that the examined model never saw, shape (n,).
        gamma: at least 1.

    Returns:
        In [0, 1], higher is more like a member; NaN where p(x) is, or where there is no other row to compare with.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(usually > 0, observed / usually, np.nan)
    known = population & ~np.isnan(ratio)
    others = np.sort(ratio[known])
    wins = np.searchsorted(others, ratio / gamma, side="right").astype(np.float64)
    size = np.full(len(ratio), len(others), dtype=np.float64)
    wins[known] -= ratio[known] / gamma >= ratio[known]
    size[known] -= 1
    out = np.full(len(ratio), np.nan)
    np.divide(wins, size, out=out, where=~np.isnan(ratio) & (size > 0))
    return out


def _mean(shadows: Float, chosen: Bool) -> Float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(chosen, shadows, 0.0).sum(axis=0) / chosen.sum(axis=0))
