"""Mean weights of words, or of regions of images, over many inputs, by class, and which of them differ from 0 beyond chance. Pure
statistics of rows that `explanation.attribution` collected; it words no report and knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from probes.evidence import Message, message
from probes.intervals import Estimate, Float, Int, critical, mean_interval, tail_of, wilson
from probes.multiplicity import holm
from probes.rates import count

REGIONS: Mapping[tuple[int, int], Message] = {
    (0, 0): message("upper left"), (0, 1): message("upper middle"), (0, 2): message("upper right"),
    (1, 0): message("middle left"), (1, 1): message("centre"), (1, 2): message("middle right"),
    (2, 0): message("lower left"), (2, 1): message("lower middle"), (2, 2): message("lower right"),
}  # fmt: skip

Name = str | tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Pushing:
    """A word, or a region (row and column of nine), and what it adds to one class's log-odds on average.

    Attributes:
        p: two-sided, Holm-adjusted for every name and class that was compared.
        inputs, units: inputs that have it, and independent clusters of them.
    """

    name: Name
    towards: str
    estimate: Estimate
    p: float
    inputs: int
    units: int


def pushes(
    rows: Sequence[Mapping[str, Any]], classes: Sequence[str], clusters: Int, least: int, level: float
) -> list[Pushing]:
    """Every name that occurs in at least ``least`` clusters, for each class, the least likely by chance first.

    Args:
        rows: of one method: ``units``, ``weights``, ``prediction``, and ``rows`` and ``columns`` of patches.
        classes: all of them. With two, each weight is read towards the last one; with more, towards the prediction.
        clusters: codes >= 0, one a row.
        least: clusters a name must occur in.
        level: of the intervals.
    """
    found: dict[tuple[str, Name], list[tuple[float, int]]] = {}
    for row, cluster in zip(rows, clusters.tolist(), strict=True):
        towards, sign = row["prediction"], 1.0
        if len(classes) == 2:
            towards, sign = classes[1], 1.0 if row["prediction"] == classes[1] else -1.0
        for name, weight in by_name(row).items():
            found.setdefault((towards, name), []).append((sign * weight, cluster))
    kept = []
    for towards, name in sorted(found, key=str):
        values = np.array([value for value, _ in found[towards, name]])
        codes = np.array([cluster for _, cluster in found[towards, name]], dtype=np.int64)
        units = len(np.unique(codes))
        estimate = mean_interval(values, level, codes) if units >= least else None
        if estimate is not None:
            kept.append((towards, name, estimate, _p(estimate, units, level), len(values), units))
    adjusted = holm([one[3] for one in kept], len(kept))
    out = [
        Pushing(name=name, towards=towards, estimate=estimate, p=float(p), inputs=inputs, units=units)
        for (towards, name, estimate, _, inputs, units), p in zip(kept, adjusted, strict=True)
    ]
    return sorted(out, key=lambda one: (one.p, -abs(one.estimate.value), str(one.name), one.towards))


def by_name(row: Mapping[str, Any]) -> dict[Name, float]:
    """One input's weights by name: the mean over a word's occurrences, the sum over a region's patches."""
    high, wide = row["rows"], row["columns"]
    sums: dict[Name, list[float]] = {}
    for unit, weight in zip(row["units"], row["weights"], strict=True):
        name: Name = unit.casefold()
        if high:
            y, x = (int(part) for part in unit.split(","))
            name = (3 * y // high, 3 * x // wide)
        sums.setdefault(name, []).append(weight)
    return {name: float(np.sum(values) if high else np.mean(values)) for name, values in sums.items()}


def _p(estimate: Estimate, units: int, level: float) -> float:
    """Two-sided, that the mean is 0, from the t interval; of values that all agree, by their signs alone."""
    half = estimate.high - estimate.value
    if half <= 0:
        return 1.0 if estimate.value == 0 else float(2.0 ** (1 - units))
    error = half / float(critical(tail_of(level), units - 1))
    return float(2 * stats.t.sf(abs(estimate.value) / error, units - 1))


def median_estimate(values: Float, clusters: Int, level: float) -> Estimate:
    """The median with the interval of Woodruff (1952): Wilson's limits of the share below it, read off as quantiles.

    Clusters enter by the design effect of that share. Where the limits lie beyond the values, the outermost value stands.
    """
    ordered = np.sort(values)
    middle = float(np.median(values))
    share = count(np.zeros(len(values), dtype=np.int64), 1, values <= middle, clusters)
    size = len(values) / float(share.design_effects[0])
    low, high = wilson(0.5, size, critical(tail_of(level), float(share.freedom[0])))
    return Estimate(
        value=middle,
        low=float(ordered[max(int(np.floor(low * len(ordered))) - 1, 0)]),
        high=float(ordered[min(int(np.ceil(high * len(ordered))), len(ordered) - 1)]),
        method="Woodruff",
        params=share.params(0),
    )
