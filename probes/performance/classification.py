"""How well a classifier answers: accuracy, precision, recall, F1 and ROC AUC, each with its interval.

Counts only, from the table of predictions. It sets no threshold, averages nothing by support, and puts no
zero where a class gives no denominator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probes.answers import Answers, answers
from probes.evidence import (
    AnyMeasurement,
    Axis,
    Counts,
    Evidence,
    IntervalPlot,
    IntervalPoint,
    Measurement,
    Message,
    Need,
    Reading,
    Scalar,
    Slice,
    Table,
    Undefined,
    message,
)
from probes.intervals import Estimate, Float, mean_of_parts, tail_of
from probes.performance.definitions import CLASSIFICATION
from probes.ranking import roc_auc
from probes.rates import Proportions, Rate, count, count_rate
from probes.reasons import naming
from probes.registry import probe
from probes.standard_errors import standard_errors

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject

_NO_LABELS = message("No row has a label.")
_NO_SUPPORT = message("No row has the label {names}.")
_NO_SUPPORT_MANY = message("No row has the labels {names} and {more} more.")
_NEVER_SAID = message("No row is predicted as {names}.")
_NEVER_SAID_MANY = message("No row is predicted as {names} and {more} more.")
_ABSENT = message("No row is labelled or predicted as {names}.")
_ABSENT_MANY = message("No row is labelled or predicted as {names} and {more} more.")
_FLAT = message(
    "The ROC AUC of {names} shows no variation (scores separate the rows perfectly, or are all equal): its "
    "interval has no width, which is not certainty."
)
_FLAT_MANY = message(
    "The ROC AUC of {names} and {more} more shows no variation (scores separate the rows perfectly, or are "
    "all equal): its interval has no width, which is not certainty."
)


@probe(
    "performance.classification",
    needs={Need.PREDICTIONS, Need.LABELS},
    defines=CLASSIFICATION,
    limits=(
        message("It says how the model does on rows like these; other data may be harder."),
        message("Labels are taken as true."),
        message("A class with few rows has wide intervals; means over classes weigh it as much as any other."),
    ),
    method=message(
        "Proportions have Wilson intervals on their own denominators; means over classes combine those of "
        "independent classes (MOVER); F1 is the Wilson interval of TP / (TP + FP + FN) turned into F1, and "
        "its mean over classes takes the mean of the limits, which allows for classes being fully "
        "correlated; ROC AUC has DeLong's interval. Clusters enter by the design effect."
    ),
)
@dataclass(frozen=True, kw_only=True)
class Classification:
    """How often is the prediction right, over all rows and for each class?

    With two classes `roc_auc` is given once, for the class that the subject's threshold applies to, else the
    last one; with more it is one class against the rest, a class a slice.
    """

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """The subject's predictions on its data."""
        return subject.predictions(ctx)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Measures over all rows and by class; the confusion matrix and plots as evidence."""
        every = answers(rows)
        known = every.where(every.labelled)
        remarks = list(every.remarks())
        if not len(known):
            nothing = Counts(n=len(every), denominator=0, smallest=0)
            missing = tuple(
                Undefined(name=d.name, counts=nothing, reason=_NO_LABELS) for d in CLASSIFICATION if "_macro" in d.name
            )
            whole = tuple(
                Undefined(name=name, counts=nothing, reason=_NO_LABELS) for name in ("accuracy", "balanced_accuracy")
            )
            return Reading(measurements=whole + missing, remarks=tuple(remarks))
        return _Sheet(known, ctx.level).reading(remarks)


class _Sheet:
    """One summary in the making: the labelled rows and their counts."""

    def __init__(self, known: Answers, level: float) -> None:
        self.rows, self.level, size = known, level, len(known.classes)
        right = known.labels == known.predictions
        wrong = ~right
        clusters = known.clusters
        self.accuracy = count(np.zeros(len(known), dtype=np.int64), 1, right, clusters)
        recall = count_rate(known.labels, size, right, clusters)
        precision = count_rate(known.predictions, size, right, clusters)
        self.recall, self.precision = recall.proportions, precision.proportions
        self.widening = {"recall": _widening(recall), "precision": _widening(precision)}
        self.jaccard = count(
            np.concatenate([known.labels, known.predictions[wrong]]),
            size,
            np.concatenate([right, np.zeros(int(wrong.sum()), dtype=bool)]),
            None if clusters is None else np.concatenate([clusters, clusters[wrong]]),
        )

    def reading(self, remarks: list[Message]) -> Reading:
        recall = self._by_class("recall", self.recall, _NO_SUPPORT)
        precision = self._by_class("precision", self.precision, _NEVER_SAID)
        f1 = self._by_class("f1", self.jaccard, _ABSENT)
        areas, area_remarks = self._areas()
        whole: list[AnyMeasurement] = [
            self._measured("accuracy", self.accuracy.estimate(0, self.level), self._counts(self.accuracy, 0), ()),
            self._macro("balanced_accuracy", self.recall, _NO_SUPPORT, _NO_SUPPORT_MANY),
            self._macro("precision_macro", self.precision, _NEVER_SAID, _NEVER_SAID_MANY),
            self._macro("recall_macro", self.recall, _NO_SUPPORT, _NO_SUPPORT_MANY),
            self._macro("f1_macro", self.jaccard, _ABSENT, _ABSENT_MANY),
        ]
        evidence: tuple[Evidence, ...] = (
            self._confusion(),
            _plot(message("Recall by class"), recall),
            _plot(message("Precision by class"), precision),
            _plot(message("F1 by class"), f1),
        )
        return Reading(
            measurements=(*whole, *precision, *recall, *f1, *areas),
            evidence=evidence,
            remarks=(*remarks, *area_remarks),
        )

    def _by_class(self, name: str, rates: Proportions, reason: Message) -> list[AnyMeasurement]:
        out: list[AnyMeasurement] = []
        for k, title in enumerate(self.rows.classes):
            at, counts = (Axis(kind="class", name=title),), self._counts(rates, k)
            if not counts.denominator:
                out.append(Undefined(name=name, slice=at, counts=counts, reason=naming(reason, reason, [title])))
                continue
            estimate = rates.estimate(k, self.level)
            out.append(self._measured(name, _as_f1(estimate) if name == "f1" else estimate, counts, at))
        return out

    def _macro(self, name: str, rates: Proportions, few: Message, many: Message) -> AnyMeasurement:
        counts = Counts(
            n=len(self.rows),
            denominator=len(self.rows),
            smallest=int(rates.denominators.min()),
            clusters=self.rows.distinct_clusters(self.rows.labelled),
        )
        empty = [c for c, n in zip(self.rows.classes, rates.denominators, strict=True) if n == 0]
        if empty:
            return Undefined(name=name, counts=counts, reason=naming(few, many, empty))
        values, (low, high) = rates.values, rates.limits(tail_of(self.level))
        params: dict[str, Scalar] = {}
        if name == "f1_macro":
            values, low, high = (_f1(a) for a in (values, low, high))
            ends, method = (float(low.mean()), float(high.mean())), "mean of the classes' Wilson limits"
        else:
            ends, method = mean_of_parts(values, low, high), "MOVER of the classes' Wilson limits"
            wider = self.widening["precision" if name == "precision_macro" else "recall"]
            centre = float(values.mean())
            ends = (max(centre - wider * (centre - ends[0]), 0.0), min(centre + wider * (ends[1] - centre), 1.0))
            params = {"shared_clusters": wider} if wider > 1 else {}
        estimate = Estimate(value=float(values.mean()), low=ends[0], high=ends[1], method=method, params=params)
        return self._measured(name, estimate, counts, ())

    def _areas(self) -> tuple[list[AnyMeasurement], list[Message]]:
        classes, scores = self.rows.classes, self.rows.scores
        if len(classes) == 2:
            wanted: list[tuple[int, Slice]] = [(classes.index(self.rows.positive or classes[-1]), ())]
        else:
            wanted = [(k, (Axis(kind="class", name=c),)) for k, c in enumerate(classes)]
        out: list[AnyMeasurement] = []
        flat: list[str] = []
        for k, at in wanted:
            positive = self.rows.labels == k
            smallest = int(min(positive.sum(), (~positive).sum()))
            counts = Counts(
                n=len(self.rows),
                denominator=len(self.rows),
                smallest=smallest,
                clusters=self.rows.distinct_clusters(self.rows.labelled),
            )
            reason = None
            if scores is None:
                reason = message("The predictions come without scores.")
            elif not np.isfinite(scores[:, k]).all():
                reason = message("{rows} rows have no score.", rows=int((~np.isfinite(scores[:, k])).sum()))
            elif not positive.any():
                reason = naming(_NO_SUPPORT, _NO_SUPPORT, [classes[k]])
            elif positive.all():
                reason = message("Every row has the label {name}.", name=classes[k])
            if reason is not None or scores is None:
                out.append(Undefined(name="roc_auc", slice=at, counts=counts, reason=reason or _NO_LABELS))
                continue
            estimate = roc_auc(scores[:, k], positive, self.level, self.rows.clusters)
            out.append(self._measured("roc_auc", estimate, counts, at))
            if estimate.low == estimate.high:
                flat.append(classes[k])
        return out, [naming(_FLAT, _FLAT_MANY, flat)] if flat else []

    def _counts(self, rates: Proportions, k: int) -> Counts:
        n = int(rates.denominators[k])
        clusters = None if rates.clusters is None else int(rates.clusters[k])
        return Counts(n=len(self.rows), denominator=n, smallest=n, clusters=clusters)

    def _measured(self, name: str, estimate: Estimate, counts: Counts, at: Slice) -> Measurement:
        definition = next(d for d in CLASSIFICATION if d.name == name)
        return Measurement(
            name=name, value=estimate.value, interval=estimate.interval(self.level), counts=counts,
            unit=definition.unit, slice=at, better=definition.better,
        )  # fmt: skip

    def _confusion(self) -> Table:
        size = len(self.rows.classes)
        cells = np.bincount(self.rows.labels * size + self.rows.predictions, minlength=size * size).reshape(size, size)
        return Table(
            title=message("Confusion matrix: rows are labels, columns are predictions"),
            columns=(
                message("label"),
                *(message("{name}", name=c) for c in self.rows.classes),
            ),
            rows=tuple((c, *(int(v) for v in line)) for c, line in zip(self.rows.classes, cells, strict=True)),
        )


def _f1(jaccard: Float) -> Float:
    return 2 * jaccard / (1 + jaccard)


def _as_f1(e: Estimate) -> Estimate:
    """F1 = 2 J / (1 + J) rises with J, so limits of J become limits of F1."""
    value, low, high = (float(v) for v in _f1(np.array([e.value, e.low, e.high])))
    return Estimate(
        value=value, low=low, high=high, method="Wilson score of TP / (TP + FP + FN), as F1", params=e.params
    )


def _plot(title: Message, measurements: Sequence[AnyMeasurement]) -> IntervalPlot:
    points = []
    for m in measurements:
        label, n = m.slice[0].name, m.counts.denominator
        if isinstance(m, Undefined):
            points.append(IntervalPoint(label=label, value=None, n=n, note=m.reason))
        else:
            low, high = (m.interval.low, m.interval.high) if m.interval else (None, None)
            points.append(IntervalPoint(label=label, value=m.value, low=low, high=high, n=n))
    return IntervalPlot(title=title, unit="share", points=tuple(points))


def _widening(rate: Rate) -> float:
    """How much less is known of the mean over classes than if their clusters were different ones; at least 1.

    Classes that share clusters err together. The ratio is that of standard errors by clusters, with and without the covariances; where a
    class lies in a single cluster they can't be estimated, and it is that of classes which err as one.
    """
    if rate.cells is None:
        return 1.0
    covariance = standard_errors(rate.cells).covariance
    if np.isnan(covariance).any():
        return float(np.sqrt(len(covariance)))
    alone = float(np.trace(covariance))
    return float(np.sqrt(max(covariance.sum() / alone, 1.0))) if alone > 0 else 1.0
