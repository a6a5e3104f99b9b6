"""How far apart the highest and the lowest of many shares truly are: both ends, by calibrated critical values.

theta = max p - min p of G independent shares. Each end takes `probes.pairs`' largest Newcombe limit over pairs and asks only which
critical value it needs; both are never larger than those of the studentised range (low) and of a single pair (high), with which
they agree where nothing is known that would make them smaller. Errors are taken as normal, Wilson's limits carry them to
counts. Nothing is random: probabilities are one-dimensional integrals. Arrays are (..., G), so that a simulation runs through
the very functions that serve one table. It knows no rows, no rates by name and no records.

Low end. "theta <= t" is rejected where some pair's lower limit is above t; what that needs is P(some pair errs by more than its
slack). If group i is a_i below the highest and b_i above the lowest, then pair (i, j) has slack a_i + b_j, and a_i + b_i =
theta. Two things are used.
  1. Two steps (Romano, Shaikh and Wolf 2014; of the kind of Andrews and Soares 2010, and Berger and Boos 1994): a tenth of the tail
     buys limits on all pairs, which give each a_i and b_i a floor; the rest of the tail goes to the pairs with those slacks. A
     group that is certainly not the lowest costs nothing there. Where one pair dominates, z falls to that of a single pair.
  2. Under "theta = t" a group can't be both the highest and the lowest: least favourable is each group at one of its two extremes
     (the probability of no error is log-concave in a: Prekopa 1973), which is half of the groups at either end where nothing is
     known. Slacks grow with t, so the critical value falls with t, and the limit is climbed to: every t below the limit at z(t0),
     t0 already rejected, is rejected too.
High end. "theta >= T" says that some pair is T apart, and is rejected where every pair's upper limit is below T. That needs the pair
itself to err by z *and* all other groups to fall between the two (up to their errors), which is the likelier the nearer they
are to the middle: any place of theirs gives at most P(they fall into the middle of the window). The product of both
probabilities is held at the tail, so z falls where T is small beside the errors, as it is when there is no gap. For large T it
is that of a single pair (Berger 1982).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import special

from probes.intervals import Float, Limits, critical, wilson
from probes.pairs import gap_high, gap_low, shortfalls, simultaneous_tail
from probes.rates import Proportions

FIRST_STEP = 0.1  # of the low end's tail, as Romano, Shaikh and Wolf recommend
_CLIMBS, _HALVINGS = 2, 11
_GRID = 40
_FAR = 5.5  # standard deviations beyond which a normal error is neglected
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
_CELLS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Observed shares of G groups in any number of tables.

    Attributes:
        values: in [0, 1], shape (..., G).
        sizes: effective sizes, above 0, shape (..., G).
        freedom: Student's degrees of freedom of each group's limits, infinite where rows are independent, shape (..., G).
    """

    values: Float
    sizes: Float
    freedom: Float

    @classmethod
    def of(cls, rate: Proportions) -> Shares:
        """One table's, groups in an order that does not depend on their names."""
        values, sizes, freedom = rate.values, rate.denominators / rate.design_effects, rate.freedom
        order = np.lexsort((freedom, sizes, values))
        return cls(values=values[order], sizes=sizes[order], freedom=freedom[order])

    def limits(self, tail: Float | float) -> Limits:
        """Wilson limits; ``tail`` is one for each table, shape (...). As `Proportions.limits`."""
        return wilson(self.values, self.sizes, critical(np.asarray(tail)[..., None], self.freedom))

    def _part(self, flat: slice) -> Shares:
        parts = (a.reshape(-1, a.shape[-1])[flat] for a in (self.values, self.sizes, self.freedom))
        values, sizes, freedom = parts
        return Shares(values=values, sizes=sizes, freedom=freedom)


def lower_end(shares: Shares, tail: float) -> Float:
    """Lower limit of the largest gap that fails with probability ``tail``; shape (...), in [0, 1]."""
    rest = tail * (1 - FIRST_STEP)
    size = shares.values.shape[-1]
    first = gap_low(shares.values, shares.limits(simultaneous_tail(rest, size)))
    out = first.reshape(-1).copy()
    # Where no pair is above 0 at this critical value, none is in the first step either: nothing is known, and 0 it is.
    open_ = np.flatnonzero(out > 0)
    whole = shares._part(slice(None))
    step = max(1, _CELLS // (size * max(size, _GRID)))
    for start in range(0, len(open_), step):
        some = open_[start : start + step]
        part = Shares(values=whole.values[some], sizes=whole.sizes[some], freedom=whole.freedom[some])
        out[some] = _climb(part, out[some], tail)
    return out.reshape(first.shape)


def upper_end(shares: Shares, tail: float) -> Float:
    """Upper limit of the largest gap that fails with probability ``tail``; shape (...), in [0, 1]."""
    size = shares.values.shape[-1]
    plain = gap_high(shares.values, shares.limits(tail))
    if size == 2:
        return plain
    out = plain.reshape(-1).copy()
    step = max(1, _CELLS // (size * max(size, len(_NODES))))
    for start in range(0, len(out), step):
        some = slice(start, start + step)
        out[some] = _upper(shares._part(some), tail)
    return out.reshape(plain.shape)


def _climb(shares: Shares, start: Float, tail: float) -> Float:
    size, rest = shares.values.shape[-1], tail * (1 - FIRST_STEP)
    floors = shortfalls(shares.values, shares.limits(simultaneous_tail(tail * FIRST_STEP, size)))
    smooth = (shares.values * shares.sizes + 2) / (shares.sizes + 4)
    errors = np.sqrt(smooth * (1 - smooth) / shares.sizes)
    least, z = float(critical(rest)), np.full(start.shape, float(critical(simultaneous_tail(rest, size))))
    reached = start
    for _ in range(_CLIMBS):
        slack = least_favourable(*floors, errors, reached)
        low, high = shares.limits(special.ndtr(-z))
        top, bottom = (low.argmax(axis=-1)[:, None], high.argmin(axis=-1)[:, None])
        pair = np.stack([np.take_along_axis(errors, i, -1)[:, 0] for i in (top, bottom)])
        for weights in (np.full(pair.shape, np.sqrt(0.5)), pair / np.hypot(*pair)):
            z = _smallest(z, least, partial(crossing, weights=weights, slack=slack, errors=errors), rest)
        reached = np.maximum(reached, gap_low(shares.values, shares.limits(special.ndtr(-z))))
    return reached


def least_favourable(below: Float, above: Float, errors: Float, gap: Float) -> Limits:
    """Slacks (a, b), each (S, G), that make an error likeliest if the largest gap is ``gap``, shape (S,).

    Each group goes to the end that its floors ``below`` and ``above`` keep it nearer to; those that they say nothing about are
    dealt to both ends, the smaller end first, then in turn by the size of their ``errors``.
    """
    top, bottom = below < above, above < below
    free = ~top & ~bottom
    more = top.sum(axis=-1, keepdims=True) - bottom.sum(axis=-1, keepdims=True)
    order = np.argsort(errors, axis=-1, kind="stable")
    turn = np.empty(order.shape, dtype=np.int64)
    np.put_along_axis(turn, order, np.cumsum(np.take_along_axis(free, order, -1), axis=-1) - 1, -1)
    filled = turn < np.abs(more)
    dealt = np.where(filled, more < 0, (turn - np.abs(more)) % 2 == 0)
    up = top | (free & dealt)
    whole = gap[:, None]
    return (
        np.where(up, below, np.maximum(whole - above, below)),
        np.where(up, np.maximum(whole - below, above), above),
    )


def crossing(z: Float, weights: Float, slack: Limits, errors: Float) -> Float:
    """P(some pair i, j has e_i - e_j > z s_ij + a_i + b_j) for independent normal errors, from above; shape (S,).

    s_ij = sqrt(s_i^2 + s_j^2) is replaced by ``weights[0]`` s_i + ``weights[1]`` s_j, never larger for weights on the unit circle,
    so that the event is max_i X_i > min_j Y_j with X_i = e_i - z w_0 s_i - a_i and Y_j = e_j + z w_1 s_j + b_j: integrated over
    where the largest X falls. In each cell of the grid Y must be above its upper or its lower edge, which bounds the
    probability from both sides; the mean of the bounds is taken.

    Args:
        z: shape (S,). weights: (2, S). slack: a and b, each (S, G). errors: standard deviations (S, G).
    """
    up = (z * weights[0])[:, None] * errors + slack[0]
    down = (z * weights[1])[:, None] * errors + slack[1]
    end = np.minimum((_FAR * errors - up).max(axis=-1), (_FAR * errors + down).min(axis=-1))
    start = np.minimum((-_FAR * errors - up).max(axis=-1), end - 1e-9)
    grid = (start[:, None] + (end - start)[:, None] * np.linspace(0, 1, _GRID))[:, None, :]
    under = special.ndtr((grid + up[..., None]) / errors[..., None])
    over = special.ndtr((grid - down[..., None]) / errors[..., None])

    def inside(x: Float, y: Float) -> Float:
        out: Float = np.maximum(x - y, 0.0).prod(axis=1)
        return out

    same = inside(under, over)
    low = same[:, 1:] - inside(under[..., :-1], over[..., 1:])
    high = inside(under[..., 1:], over[..., :-1]) - same[:, :-1]
    out: Float = 1 - (low + high).sum(axis=-1) / 2
    return out


def _upper(shares: Shares, tail: float) -> Float:
    centre = (shares.values.max(axis=-1) + shares.values.min(axis=-1)) / 2
    plain = np.full(centre.shape, float(critical(tail)))

    def limit(z: Float) -> Float:
        return gap_high(shares.values, shares.limits(special.ndtr(-z)))

    return limit(_smallest(plain, 0.0, lambda z: staying(z, limit(z), centre, shares.sizes), tail))


def staying(z: Float, gap: Float, centre: Float, sizes: Float) -> Float:
    """P(all pairs stay below ``gap`` at ``z`` though one pair is that far apart), from above; shape (S,).

    If the pair errs by -(z + u) standard errors, each other group has a window of gap + u s - z (s_ak + s_kb - s_ab) to fall into,
    a, b and k of the least favourable sizes. Its place is unknown: at best the middle. Shares near 0 or 1 hardly vary, so the
    chance is taken on the arcsine scale with a continuity correction, and as 1 where the window touches 0 or 1. The two
    groups with the smallest chances are the pair.

    Args:
        z, gap: shape (S,). centre: the middle of the window, (S,). sizes: (S, G).
    """
    errors = np.sqrt((centre * (1 - centre))[:, None] / sizes)
    small, large = errors.min(axis=-1, keepdims=True), errors.max(axis=-1, keepdims=True)
    cost = np.minimum(
        np.minimum(2 * np.hypot(small, errors) - np.sqrt(2) * small, 2 * np.hypot(large, errors) - np.sqrt(2) * large),
        np.hypot(small, errors) + np.hypot(large, errors) - np.hypot(small, large),
    )
    further = (_NODES + 1) * 2.5
    width = (gap[:, None] - z[:, None] * cost)[:, None, :] + (further * np.sqrt(2) * large)[..., None]
    half = np.maximum(width, 0.0) / 2 + 0.5 / sizes[:, None, :]
    low, high = centre[:, None, None] - half, centre[:, None, None] + half
    arcs = np.arcsin(np.sqrt(np.minimum(high, 1.0))) - np.arcsin(np.sqrt(np.maximum(low, 0.0)))
    chance = np.where((low <= 0) | (high >= 1), 1.0, 2 * special.ndtr(arcs * np.sqrt(sizes)[:, None, :]) - 1)
    others = np.sort(chance, axis=-1)[..., 2:].prod(axis=-1)
    density = np.exp(-((z[:, None] + further) ** 2) / 2) / np.sqrt(2 * np.pi)
    out: Float = (density * others * _WEIGHTS * 2.5).sum(axis=-1)
    return out


def _smallest(high: Float, low: float, chance: Callable[[Float], Float], tail: float) -> Float:
    """The smallest z in [low, high] of which ``chance`` is at most ``tail``, by bisection from above; else ``high``."""
    over, under = high, np.full(high.shape, low)
    for _ in range(_HALVINGS):
        middle = (over + under) / 2
        good = chance(middle) <= tail
        over, under = np.where(good, middle, over), np.where(good, under, middle)
    return over
