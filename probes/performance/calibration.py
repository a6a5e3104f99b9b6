"""Do the scores mean what they say: calibration error, proper scores, over-confidence, reliability curve.

It takes scores as they are: no recalibration, no temperature, no renormalising.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from probes.answers import Answers, answers
from probes.binning import Bins, calibration_error, equal_mass
from probes.evidence import (
    AnyMeasurement,
    Counts,
    Curve,
    CurvePoint,
    MeasureDefinition,
    Measurement,
    Message,
    Need,
    Reading,
    Series,
    Table,
    Undefined,
    message,
)
from probes.intervals import Estimate, Float, mean_interval, tail_of
from probes.performance.definitions import CALIBRATION
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject

_EPSILON = float(np.finfo(np.float64).eps)


@probe(
    "performance.calibration",
    needs={Need.PREDICTIONS, Need.LABELS},
    defines=CALIBRATION,
    limits=(
        message("Only the score of the predicted class is checked for calibration, not those of the others."),
        message("Within a bin errors of both signs cancel, so a finer look may find more error."),
        message("The mean of log loss can hang on a few rows; its interval is then too narrow."),
    ),
    method=message(
        "The calibration error sorts rows by confidence into bins of equal size (equal scores stay together) "
        "and takes off the folded-normal bias of each bin. Its low end subtracts what sampling alone exceeds "
        "only at the level's tail; its high end is a normal limit around the plain, upward-biased figure. "
        "The other means have t intervals. Clusters enter by the design effect."
    ),
)
@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Is the model right as often as its scores say?

    Rows without a label or without a score are left out and counted.
    """

    bins: int = field(default=15, metadata={"help": "How many bins of equal size the calibration error uses."})

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ValueError(f"bins is {self.bins}; at least 1 is needed")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """The subject's predictions on its data."""
        return subject.predictions(ctx)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Four measures over all rows; the reliability curve and its table as evidence."""
        every = answers(rows)
        remarks = list(every.remarks())
        if every.scores is None:
            return _nothing(len(every), message("The predictions come without scores."), remarks)
        scored = np.isfinite(every.scores).all(axis=1)
        if (every.labelled & ~scored).any():
            missing = int((every.labelled & ~scored).sum())
            remarks.append(message("{rows} labelled rows have no score; they are left out.", rows=missing))
        known = every.where(every.labelled & scored)
        if known.scores is None or len(known) < 2:
            return _nothing(len(every), message("Fewer than two rows have both a label and a score."), remarks)
        off = int((np.abs(known.scores.sum(axis=1) - 1) > 1e-3).sum())
        if off:
            remarks.append(
                message("The scores of {rows} rows do not add up to 1; they are taken as they are.", rows=off)
            )
        return _read(known, known.scores, self.bins, ctx.level, remarks)


def _nothing(n: int, reason: Message, remarks: list[Message]) -> Reading:
    counts = Counts(n=n, denominator=0, smallest=0)
    return Reading(
        measurements=tuple(Undefined(name=d.name, counts=counts, reason=reason) for d in CALIBRATION),
        remarks=tuple(remarks),
    )


def _read(known: Answers, scores: Float, bins: int, level: float, remarks: list[Message]) -> Reading:
    right = known.labels == known.predictions
    confidence = scores[np.arange(len(known)), known.predictions]
    sheet = equal_mass(confidence, right, bins, known.clusters)
    truth = np.eye(len(known.classes))[known.labels]
    if len(known.classes) == 2:
        one = known.classes.index(known.positive or known.classes[-1])
        brier, most = (scores[:, one] - truth[:, one]) ** 2, 1.0
    else:
        brier, most = ((scores - truth) ** 2).sum(axis=1), 2.0
    surprise = -np.log(np.clip(scores[np.arange(len(known)), known.labels], _EPSILON, 1.0))
    whole = len(known)
    counts = Counts(
        n=whole,
        denominator=whole,
        smallest=whole,
        clusters=known.distinct_clusters(np.ones(whole, dtype=bool)),
    )
    estimates = {
        "expected_calibration_error": calibration_error(sheet, tail_of(level)),
        "brier_score_loss": mean_interval(brier, level, known.clusters, (0.0, most)),
        "log_loss": mean_interval(surprise, level, known.clusters, (0.0, np.inf)),
        "overconfidence": mean_interval(confidence - right, level, known.clusters, (-1.0, 1.0)),
    }
    return Reading(
        measurements=tuple(_measured(d, estimates[d.name], counts, level) for d in CALIBRATION),
        evidence=(_curve(sheet, level), _table(sheet, level)),
        remarks=tuple(remarks),
    )


def _measured(definition: MeasureDefinition, estimate: Estimate | None, counts: Counts, level: float) -> AnyMeasurement:
    if estimate is None:
        reason = message("All rows are one cluster, so nothing says how far the figure may be off.")
        return Undefined(name=definition.name, counts=counts, reason=reason)
    return Measurement(
        name=definition.name,
        value=estimate.value,
        interval=estimate.interval(level),
        counts=counts,
        unit=definition.unit,
        better=definition.better,
    )


def _curve(sheet: Bins, level: float) -> Curve:
    low, high = sheet.right.limits(tail_of(level))
    points = tuple(
        CurvePoint(x=float(x), y=float(y), low=float(a), high=float(b), n=int(n))
        for x, y, a, b, n in zip(sheet.confidence, sheet.right.values, low, high, sheet.right.denominators, strict=True)
    )
    return Curve(
        title=message("Reliability: accuracy against confidence"),
        x_label=message("mean confidence of the bin"),
        y_label=message("accuracy in the bin"),
        series=(Series(label="", points=points),),
        diagonal=True,
    )


def _table(sheet: Bins, level: float) -> Table:
    low, high = sheet.right.limits(tail_of(level))
    columns = (
        message("bin"), message("rows"), message("mean confidence"), message("accuracy"), message("low"), message("high"),
    )  # fmt: skip
    return Table(
        title=message("Reliability by bin"),
        columns=columns,
        rows=tuple(
            (
                b + 1,
                int(sheet.right.denominators[b]),
                float(sheet.confidence[b]),
                float(sheet.right.values[b]),
                float(low[b]),
                float(high[b]),
            )
            for b in range(len(sheet.confidence))
        ),
    )
