"""What rules for the groups would do to rows that they were not fitted on: expected rates, and changes row by row.

A lot is not drawn: the expected rate is the mean of the rows' chances, and its interval also covers the rate that one
draw of the lots would give. It words nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from probes.fairness.mitigation_fit import Binary
from probes.intervals import Bool, Estimate, Float, Int, critical, mean_interval, tail_of
from probes.rates import Proportions, count
from probes.threshold_rules import ThresholdRule


@dataclass(frozen=True, kw_only=True)
class ExpectedRates(Proportions):
    """Proportions of what lots decide; ``successes`` are rounded, and `values` are not.

    Attributes:
        means: expected shares, shape (G,), NaN where the denominator is 0.
    """

    means: Float

    @property
    def values(self) -> Float:
        """Expected shares in [0, 1]; NaN where the denominator is 0."""
        return self.means

    def select(self, index: Int) -> ExpectedRates:
        """The expected rates of some groups."""
        some = super().select(index)
        return ExpectedRates(**vars(some), means=self.means[index])


def expected(groups: Int, size: int, chance: Float, clusters: Int | None) -> ExpectedRates:
    """Expected proportions; the same as `probes.rates.count` where every chance is 0 or 1.

    A draw adds chance * (1 - chance) to the variance of its row; with clusters, that is added to the clusters' own.

    Args:
        groups: group of each row in [0, size), or -1 for rows that belong to no denominator.
        size: number of groups.
        chance: that the row counts in the numerator, in [0, 1].
        clusters: cluster of each row, codes >= 0, or None where rows are independent.
    """
    base = count(groups, size, chance >= 0.5, clusters)
    inside = groups >= 0
    groups, chance = groups[inside], chance[inside]
    n = base.denominators.astype(np.float64)
    total = np.bincount(groups, weights=chance, minlength=size)
    means = np.divide(total, n, out=np.full(size, np.nan), where=n > 0)
    effects = base.design_effects
    if clusters is not None and base.clusters is not None:
        own = clusters[inside]
        width = int(own.max(initial=0)) + 1
        pairs, place = np.unique(groups * width + own, return_inverse=True)
        sums = np.bincount(place, weights=chance - means[groups], minlength=len(pairs))
        squares = np.bincount(pairs // width, weights=sums**2, minlength=size)
        lots = np.bincount(groups, weights=chance * (1 - chance), minlength=size)
        robust = squares * base.clusters / np.maximum(base.clusters - 1, 1) + lots
        spread = np.where(n > 0, n * np.nan_to_num(means) * (1 - np.nan_to_num(means)), 0.0)
        known = (spread > 0) & (base.clusters > 1) & (base.clusters < base.denominators)
        ratio = np.divide(robust, spread, out=np.ones(size), where=spread > 0)
        effects = np.where(known, np.maximum(ratio, 1.0), effects)
    settled = replace(base, design_effects=effects, successes=np.rint(total).astype(np.int64))
    return ExpectedRates(**vars(settled), means=means)


def chances(rules: Sequence[ThresholdRule], codes: Int, binary: Binary) -> Float:
    """The chance of the positive label in each row; the present decision where a row has no fitted group."""
    out = binary.chosen.astype(np.float64)
    for g, rule in enumerate(rules):
        rows = codes == g
        out[rows] = rule.chances(binary.scores[rows])
    return out


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one way of deciding gives on the measured rows.

    Attributes:
        chance: of the positive label in each row, shape (N,).
        codes: fitted group of each row, -1 where there is none; of ``size`` groups.
    """

    chance: Float
    codes: Int
    size: int
    binary: Binary

    def rates(self, name: str) -> ExpectedRates:
        """selection_rate, recall or false_positive_rate of every group."""
        inside = self._inside(name)
        return expected(np.where(inside, self.codes, -1), self.size, self.chance, self.binary.clusters)

    def accuracy(self) -> ExpectedRates:
        """Rows rightly given or refused the positive label, of all fitted groups together: one proportion."""
        inside = self.binary.known & (self.codes >= 0)
        return expected(np.where(inside, 0, -1), 1, self.right, self.binary.clusters)

    def changed(self, before: Outcome) -> ExpectedRates:
        """Rows whose decision is another one than ``before``: one proportion."""
        other = np.abs(self.chance - before.chance)
        return expected(np.where(self.codes >= 0, 0, -1), 1, other, self.binary.clusters)

    @property
    def right(self) -> Float:
        """The chance that each row is decided rightly, where its label is known."""
        return np.where(self.binary.truly, self.chance, 1 - self.chance)

    def _inside(self, name: str) -> Bool:
        if name == "selection_rate":
            return self.codes >= 0
        inside: Bool = (self.codes >= 0) & self.binary.known & (self.binary.truly == (name == "recall"))
        return inside


def accuracy_change(after: Outcome, before: Outcome, level: float) -> Estimate | None:
    """Accuracy after less before, from the differences on the same rows; None where nothing tells their spread.

    A t interval, robust to clusters, and at least as wide as no changed row at all would leave: z^2 / (n + z^2), with n
    the rows over their design effect.
    """
    inside = after.binary.known & (after.codes >= 0)
    clusters = None if after.binary.clusters is None else after.binary.clusters[inside]
    found = mean_interval((after.right - before.right)[inside], level, clusters, (-1.0, 1.0))
    if found is None:
        return None
    rows = int(np.count_nonzero(inside)) / float(found.params.get("design_effect", 1.0))
    z2 = float(critical(tail_of(level))) ** 2
    least = z2 / (rows + z2)
    return replace(
        found,
        low=max(min(found.low, found.value - least), -1.0),
        high=min(max(found.high, found.value + least), 1.0),
        method="t of paired differences",
    )
