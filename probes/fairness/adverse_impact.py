"""Adverse impact by the Uniform Guidelines' four-fifths rule: how far a group's selections fall short, and what chance says.

Counts in, figures out. It draws no line at four fifths: it says how many selections lie between a group and that line, and
leaves the judgement to whoever reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy import stats

from probes.intervals import Int
from probes.multiplicity import holm
from probes.rates import Proportions

FOUR_FIFTHS = Fraction(4, 5)
_SMALL = 5.0


@dataclass(frozen=True, kw_only=True)
class Shortfall:
    """What lies between one group and the group with the highest selection rate, in persons.

    Attributes:
        to_parity: the fewest further selections that would bring the group's rate to the highest one, the others
            staying as they are; 0 for the highest group itself.
        to_four_fifths: the same to four fifths of the highest rate.
        one_person: whether one selection, had it gone to this group and not to the highest, would have left this
            group with the higher rate of the two. False for the highest group itself.
    """

    to_parity: int
    to_four_fifths: int
    one_person: bool


def highest(rates: Proportions) -> int:
    """The group with the highest rate; of several, the largest of them, then the first."""
    best = np.lexsort((np.arange(len(rates)), -rates.denominators, -rates.values))
    return int(best[0])


def shortfalls(rates: Proportions) -> tuple[Shortfall, ...]:
    """One a group, from whole numbers, so that no rounding decides; every denominator is positive."""
    top = highest(rates)
    best = Fraction(int(rates.successes[top]), int(rates.denominators[top]))
    out = []
    for g, (hits, rows) in enumerate(zip(rates.successes.tolist(), rates.denominators.tolist(), strict=True)):
        moved = Fraction(int(rates.successes[top]) - 1, int(rates.denominators[top]))
        out.append(
            Shortfall(
                to_parity=_lacking(hits, rows, best),
                to_four_fifths=_lacking(hits, rows, best * FOUR_FIFTHS),
                one_person=g != top and hits < rows and moved >= 0 and Fraction(hits + 1, rows) > moved,
            )
        )
    return tuple(out)


def _lacking(hits: int, rows: int, wanted: Fraction) -> int:
    return max(int(-((-rows * wanted) // 1)) - hits, 0)


@dataclass(frozen=True, kw_only=True)
class Tested:
    """Whether one group and the highest differ by more than chance: adjusted p-value, and the test that gave it."""

    p_value: float
    exact: bool


def against_highest(rates: Proportions) -> dict[int, Tested]:
    """Each group against the group with the highest rate, two-sided; the highest has no entry.

    The z test of two proportions with their pooled variance, or Fisher's exact test where any of the four expected
    counts is below 5. p-values are Holm's over all pairs of groups, since any group might have been the highest: a
    correction over the pairs that are shown alone would be too small. Where rows come in clusters, counts are divided
    by the pooled design effect first.
    """
    top, size = highest(rates), len(rates)
    rows: Int = np.maximum(np.rint(rates.denominators / rates.pooled_design_effect), 1).astype(np.int64)
    hits: Int = np.minimum(np.rint(rates.values * rows).astype(np.int64), rows)
    others = [g for g in range(size) if g != top]
    found = [_two(hits[[g, top]], rows[[g, top]]) for g in others]
    adjusted = holm([p for p, _ in found], compared=size * (size - 1) // 2)
    return {g: Tested(p_value=float(p), exact=exact) for g, p, (_, exact) in zip(others, adjusted, found, strict=True)}


def _two(hits: Int, rows: Int) -> tuple[float, bool]:
    share = hits.sum() / rows.sum()
    expected = np.concatenate([rows * share, rows * (1 - share)])
    if expected.min() < _SMALL:
        return float(stats.fisher_exact(np.stack([hits, rows - hits])).pvalue), True
    spread = np.sqrt(share * (1 - share) * np.sum(1 / rows))
    z = (hits[0] / rows[0] - hits[1] / rows[1]) / spread
    return float(2 * stats.norm.sf(abs(z))), False
