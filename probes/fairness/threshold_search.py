"""One threshold for each group, found by looking at all of them: the best that keeps the groups' rates within a width.

No lot is drawn, so rates can be equal only as far as the rows allow: the width is at least one row of the smallest
group. It works on arrays of the fitting half and knows no tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.intervals import Bool, Float, Int

MOST_THRESHOLDS = 4000
MOST_STARTS = {1: 4000, 2: 200}
_NEAR = 1e-12


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """All thresholds of one group, from the one that nobody passes to the one that everybody passes.

    Attributes:
        thresholds: shape (T,), descending from inf to -inf, half-way between neighbouring scores.
        hits, false_alarms: rows above each threshold with the positive label, and with another; shape (T,).
    """

    thresholds: Float
    hits: Int
    false_alarms: Int

    @classmethod
    def of(cls, scores: Float, truly: Bool) -> Ladder:
        """Of one group's scores and labels. Beyond `MOST_THRESHOLDS` different scores, evenly spaced ones are kept."""
        values, place = np.unique(-scores, return_inverse=True)
        values = -values
        hits = np.append(0, np.cumsum(np.bincount(place, weights=truly, minlength=len(values)))).astype(np.int64)
        rows = np.append(0, np.cumsum(np.bincount(place, minlength=len(values)))).astype(np.int64)
        middle = values[1:] + (values[:-1] - values[1:]) / 2
        middle = np.where(middle < values[:-1], middle, values[1:])
        thresholds = np.concatenate([[np.inf], middle, [-np.inf]])
        kept = np.unique(np.linspace(0, len(thresholds) - 1, min(len(thresholds), MOST_THRESHOLDS)).round().astype(int))
        return cls(thresholds=thresholds[kept], hits=hits[kept], false_alarms=(rows - hits)[kept])

    def rate(self, name: str) -> Float:
        """selection_rate, recall or false_positive_rate at each threshold; never falls along the ladder."""
        if name == "selection_rate":
            return (self.hits + self.false_alarms) / float(self.hits[-1] + self.false_alarms[-1])
        part = self.hits if name == "recall" else self.false_alarms
        return part / float(part[-1])

    def denominator(self, name: str) -> int:
        """Rows that `rate` divides by."""
        both = {"selection_rate": self.hits + self.false_alarms, "recall": self.hits}
        return int(both.get(name, self.false_alarms)[-1])


def finest(ladders: Sequence[Ladder], rates: Sequence[str]) -> float:
    """The width that one row of the smallest group takes, in (0, 1]."""
    return max(1 / ladder.denominator(name) for ladder in ladders for name in rates)


def search(ladders: Sequence[Ladder], rates: Sequence[str], width: float, *, balanced: bool = False) -> list[float]:
    """A threshold for each group, such that no two groups' rates differ by more than ``width``, with most rows right.

    For each place where a window of that width may begin, each group takes its best threshold inside; the best place
    wins, the lowest of equals. There always is one: nobody, or everybody, is given the label.

    Args:
        ladders: each needs rows of both labels.
        rates: one or two names, see `Ladder.rate`. Of two, at most 200 beginnings each are tried, evenly spaced.
        width: in [0, 1]; less than `finest` leaves little but nobody and everybody.
        balanced: a share of the positive rows and one of the others count alike, whatever their numbers.
    """
    gains = _gains(ladders, balanced)
    values = [[ladder.rate(name) for ladder in ladders] for name in rates]
    starts = [_starts(v, MOST_STARTS[len(rates)]) for v in values]
    shape = [len(s) for s in starts]
    total = np.zeros(shape)
    chosen = []
    for g, gain in enumerate(gains):
        lows, highs = [], []
        for axis, (begin, value) in enumerate(zip(starts, values, strict=True)):
            spread = [1] * len(rates)
            spread[axis] = len(begin)
            lows.append(np.searchsorted(value[g], begin - _NEAR, "left").reshape(spread))
            highs.append(np.searchsorted(value[g], begin + width + _NEAR, "right").reshape(spread))
        low, high = np.maximum.reduce(np.broadcast_arrays(*lows)), np.minimum.reduce(np.broadcast_arrays(*highs))
        best = _best_inside(gain, low, high)
        total = total + np.where(high > low, gain[best], -np.inf)
        chosen.append(best)
    where = np.unravel_index(int(np.argmax(total)), total.shape)
    return [float(ladder.thresholds[best[where]]) for ladder, best in zip(ladders, chosen, strict=True)]


def _gains(ladders: Sequence[Ladder], balanced: bool) -> list[Float]:
    """What each threshold adds to the objective, up to a constant."""
    positives = sum(int(ladder.hits[-1]) for ladder in ladders)
    others = sum(int(ladder.false_alarms[-1]) for ladder in ladders)
    of_hit, of_alarm = (1 / positives, 1 / others) if balanced else (1.0, 1.0)
    return [ladder.hits * of_hit - ladder.false_alarms * of_alarm for ladder in ladders]


def _starts(values: Sequence[Float], most: int) -> Float:
    """Rates at which a window may begin: those that some group attains."""
    found = np.unique(np.concatenate(values))
    kept = np.unique(np.linspace(0, len(found) - 1, min(len(found), most)).round().astype(int))
    starts: Float = found[kept]
    return starts


def _best_inside(gain: Float, low: Int, high: Int) -> Int:
    """The first position of the largest gain in [low, high), by a sparse table; anything where that is empty."""
    table = [np.arange(len(gain))]
    while 2 ** len(table) <= len(gain):
        half = 2 ** (len(table) - 1)
        left, right = table[-1][:-half], table[-1][half:]
        table.append(np.where(gain[left] >= gain[right], left, right))
    span = np.maximum(high - low, 1)
    level = np.floor(np.log2(span)).astype(int)
    out = np.zeros(low.shape, dtype=np.int64)
    for k in np.unique(level):
        at = (level == k) & (high > low)
        one, other = table[k][low[at]], table[k][high[at] - 2**k]
        out[at] = np.where(gain[one] >= gain[other], one, other)
    return out
