"""Exposure: how far up a planted secret stands among all that could have been planted (Carlini, Liu, Erlingsson, Kos and Song, 2019,
"The Secret Sharer"). Ranks in, bits out; it asks no model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from probes.intervals import Float, clopper_pearson


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """What one secret's likelihood gives away of it.

    Attributes:
        bits: log2 |R| - log2 rank, in [0, log2 |R|]. An exposure of e bits leaves |R| / 2^e guesses.
        low, high: limits over the draw of the others; both are ``bits`` where every other secret was asked for.
        exact: every other secret was asked for, so that the rank is no estimate.
        ceiling: the most that could have been found with so many others.
    """

    bits: float
    low: float
    high: float
    exact: bool
    ceiling: float


def exposure(own: float, others: Float, space: int, level: float) -> Exposure:
    """The exposure of a secret from log-likelihoods.

    Where the others are all of R, the rank is 1 plus the number of those that are at least as likely; ties count against the
    secret being known, so that a model that has learnt nothing exposes nothing. Where they were drawn from R, the share of
    more likely ones is estimated by (k + 1) / (m + 1), which cannot claim more than log2 (m + 1) bits, and its limits are
    Clopper and Pearson's for k of m.

    Args:
        own: log-likelihood of the planted secret.
        others: of m others, finite, shape (m,), m >= 1.
        space: |R|, the planted one included; ``m == space - 1`` means that the others are all of them.
        level: of the limits, two-sided.

    Raises:
        ValueError: there are no others, more than there can be, or a value is not finite.
    """
    m = len(others)
    if not 1 <= m <= space - 1:
        raise ValueError(f"{m} others of a space of {space}")
    if not (math.isfinite(own) and bool(np.isfinite(others).all())):
        raise ValueError("a log-likelihood is not finite")
    k, whole = int((others >= own).sum()), math.log2(space)
    if m == space - 1:
        bits = whole - math.log2(1 + k)
        return Exposure(bits=bits, low=bits, high=bits, exact=True, ceiling=whole)
    bits = math.log2(m + 1) - math.log2(k + 1)
    share = clopper_pearson(k, m, level)
    low, high = (whole - math.log2(1 + end * (space - 1)) for end in (share.high, share.low))
    return Exposure(
        bits=bits, low=min(low, bits), high=max(high, bits), exact=False, ceiling=min(whole, math.log2(m + 1))
    )
