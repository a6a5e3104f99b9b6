"""How well weights find the units that people marked: token F1, area under the precision-recall curve and IoU F1 of one text,
and what random weights would get on the same text. Pure functions of arrays (DeYoung et al. 2020).
"""

from __future__ import annotations

import numpy as np

from probes.explanation.rationales import runs
from probes.intervals import Bool, Float

MATCH = 0.5


def top(weights: Float, k: int) -> Bool:
    """The ``k`` units with the largest weights, shape (U,); the first of equals."""
    chosen = np.zeros(len(weights), dtype=np.bool_)
    chosen[np.argsort(-weights, kind="stable")[:k]] = True
    return chosen


def token_f1(chosen: Bool, marked: Bool) -> float:
    """2 |both| / (|chosen| + |marked|), in [0, 1]; some unit must be marked."""
    return float(2 * np.count_nonzero(chosen & marked) / (np.count_nonzero(chosen) + np.count_nonzero(marked)))


def iou_f1(chosen: Bool, marked: Bool) -> float:
    """F1 over stretches, in [0, 1]: a stretch counts as found where it shares at least half of its union with one of the others.

    DeYoung et al. count a predicted stretch that matches a marked one; precision is over chosen stretches, recall over
    marked ones.
    """
    mine, theirs = runs(chosen), runs(marked)
    if not mine or not theirs:
        return 0.0
    shares = np.array([[_overlap(a, b) for b in theirs] for a in mine])
    precision = float((shares.max(axis=1) >= MATCH).mean())
    recall = float((shares.max(axis=0) >= MATCH).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def average_precision(weights: Float, marked: Bool) -> float:
    """Area under the precision-recall curve, in (0, 1], by the step rule of `sklearn.metrics.average_precision_score`; units of
    equal weight come together."""
    order = np.argsort(-weights, kind="stable")
    hits = np.cumsum(marked[order])
    last = np.append(np.flatnonzero(np.diff(weights[order])), len(weights) - 1)
    precision = hits[last] / (last + 1)
    recall = hits[last] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def by_chance(marked: Bool, k: int, draws: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Token F1, average precision and IoU F1 of random weights, the mean over ``draws`` random orders of the units."""
    found = np.zeros((draws, 3))
    for i in range(draws):
        weights = rng.permutation(len(marked)).astype(np.float64)
        chosen = top(weights, k)
        found[i] = token_f1(chosen, marked), average_precision(weights, marked), iou_f1(chosen, marked)
    means = found.mean(axis=0)
    return float(means[0]), float(means[1]), float(means[2])


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> float:
    both = max(min(a[1], b[1]) - max(a[0], b[0]), 0)
    return both / (a[1] - a[0] + b[1] - b[0] - both)
