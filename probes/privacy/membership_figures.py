"""What one attack's scores are worth: area under the curve, members found at small false positive rates, and the curve itself. It
takes scores from wherever they came and knows neither models nor tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from probes.evidence import AnyMeasurement, Counts, CurvePoint, Measurement, Message, Series, Slice, Undefined, message
from probes.intervals import Bool, Estimate, Float, Int, clopper_pearson, critical, tail_of
from probes.privacy.membership_definitions import AUC, RATES, Attack, Rate
from probes.ranking import roc_auc
from probes.rates import count

_CURVE_POINTS = 60


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Rows with one attack's score, higher for what looks more like a member; all arrays of shape (n,).

    Attributes:
        scores: finite.
        member: whether the row moved the weights.
        clusters: codes >= 0, or None where rows stand alone.
    """

    scores: Float
    member: Bool
    clusters: Int | None

    def where(self, kept: Bool) -> Scored:
        """The rows where ``kept``."""
        clusters = None if self.clusters is None else self.clusters[kept]
        return Scored(scores=self.scores[kept], member=self.member[kept], clusters=clusters)

    @property
    def members(self) -> int:
        return int(np.count_nonzero(self.member))

    @property
    def others(self) -> int:
        return len(self.member) - self.members

    def counts(self, denominator: int | None = None) -> Counts:
        """Both kinds of row; ``denominator`` where a figure rests on one of them."""
        fewer = min(self.members, self.others)
        clusters = None if self.clusters is None else len(np.unique(self.clusters))
        return Counts(
            n=len(self.member), denominator=len(self.member) if denominator is None else denominator,
            smallest=fewer if denominator is None else denominator, clusters=clusters,
        )  # fmt: skip

    def area(self, level: float) -> Estimate | None:
        """The AUC with DeLong's interval; None without rows of both kinds."""
        if not self.members or not self.others:
            return None
        return roc_auc(self.scores, self.member, level, self.clusters)


def measure_attack(attack: Attack, rows: Scored, level: float) -> tuple[AnyMeasurement, ...]:
    """AUC, then members found at each of `RATES`."""
    area = area_measure(attack.prefix + AUC, rows, level, ())
    return (area, *(_found(attack.prefix + rate.measure, rows, rate, level) for rate in RATES))


def area_measure(name: str, rows: Scored, level: float, slice_: Slice) -> AnyMeasurement:
    """The AUC as a record has it."""
    estimate = rows.area(level)
    if estimate is None:
        reason = message("Rows of both kinds are needed, trained on and not.")
        return Undefined(name=name, slice=slice_, counts=rows.counts(), reason=reason)
    return Measurement(
        name=name, value=estimate.value, interval=estimate.interval(level), counts=rows.counts(), slice=slice_, better="lower"
    )  # fmt: skip


def undefined_attack(attack: Attack, counts: Counts, reason: Message) -> tuple[AnyMeasurement, ...]:
    """Every measure of an attack, without a value."""
    names = (AUC, *(rate.measure for rate in RATES))
    return tuple(Undefined(name=attack.prefix + name, counts=counts, reason=reason) for name in names)


def threshold(others: Float, share: float) -> float:
    """The score above which at most ``share`` of the non-members lie.

    Args:
        others: scores of non-members, shape (m,) with m * share at least 1.
    """
    allowed = int(np.floor(share * len(others) + 1e-9))
    return float(np.sort(others)[::-1][allowed])


def _found(name: str, rows: Scored, rate: Rate, level: float) -> AnyMeasurement:
    counts = rows.counts(rows.members)
    if rows.others < rate.least or not rows.members:
        reason = message(
            "Not resolvable: a false positive rate of {share%} needs {least} non-members at least, and there are {others}.",
            share=rate.share, least=rate.least, others=rows.others,
        )  # fmt: skip
        return Undefined(name=name, counts=counts, reason=reason)
    hits = rows.scores[rows.member] > threshold(rows.scores[~rows.member], rate.share)
    clusters = None if rows.clusters is None else rows.clusters[rows.member]
    return Measurement(
        name=name, value=float(hits.mean()), interval=exact_share(hits, clusters, level).interval(level), counts=counts,
        unit="share", better="lower",
    )  # fmt: skip


def exact_share(hits: Bool, clusters: Int | None, level: float) -> Estimate:
    """Share of hits with Clopper and Pearson's limits; with clusters on the effective size (Korn and Graubard 1998)."""
    found, n = int(hits.sum()), len(hits)
    rate = count(np.zeros(n, dtype=np.int64), 1, hits, clusters)
    freedom = float(rate.freedom[0])
    if not np.isfinite(freedom):
        return clopper_pearson(found, n, level)
    tail = tail_of(level)
    shrink = float(critical(tail, n - 1)) / float(critical(tail, freedom))
    size = n / float(rate.design_effects[0]) * min(shrink, 1.0) ** 2
    hit = found / n * size
    low = float(stats.beta.ppf(tail, hit, size - hit + 1)) if found else 0.0
    high = float(stats.beta.isf(tail, hit + 1, size - hit)) if found < n else 1.0
    return Estimate(
        value=found / n, low=low, high=high, method="Clopper-Pearson, effective size", params=rate.params(0)
    )  # fmt: skip


def curve(attack: Attack, rows: Scored) -> Series:
    """The ROC curve at some thresholds, close together where false positives are rare."""
    others, members = np.sort(rows.scores[~rows.member]), np.sort(rows.scores[rows.member])
    m = len(others)
    steps = np.unique(np.concatenate([np.geomspace(1, m, _CURVE_POINTS // 2), np.linspace(1, m, _CURVE_POINTS // 2)]))
    cuts = others[m - np.unique(steps.astype(np.int64))]
    points = {(0.0, 0.0), (1.0, 1.0)}
    for cut in cuts:
        x = 1 - np.searchsorted(others, cut, side="right") / m
        y = 1 - np.searchsorted(members, cut, side="right") / len(members)
        points.add((float(x), float(y)))
    return Series(
        label=attack.title, points=tuple(CurvePoint(x=x, y=y, n=len(members)) for x, y in sorted(points))
    )  # fmt: skip
