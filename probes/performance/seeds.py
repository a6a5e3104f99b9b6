"""How much the seed of training alone moves accuracy: every member of an ensemble is asked on the same rows.

It compares trainings that differ in nothing but their seed. It ranks no members, and takes no spread from fewer than
three of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from probes.answers import answers
from probes.evidence import (
    AnyMeasurement,
    Axis,
    Counts,
    IntervalPlot,
    IntervalPoint,
    Label,
    Measurement,
    Message,
    Need,
    Reading,
    Undefined,
    message,
)
from probes.intervals import Bool, Estimate, Float, mean_interval
from probes.performance.definitions import SEEDS
from probes.rates import count
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject, SubjectOfMembers

MEMBER = "member_"
FEWEST = 3
_FLAT = message(
    "Every member is right equally often: the interval of the mean has no width, which is not certainty about further "
    "seeds."
)
_KEPT = ("row_id", "unit_id", "label", "prediction", "cluster", "weight")


@probe(
    "performance.seeds",
    needs={Need.PREDICTIONS, Need.LABELS, Need.MEMBERS},
    defines=SEEDS,
    limits=(
        message("A handful of seeds says little: the interval of the mean is wide, and rests on normal variation."),
        message(
            "The interval of the mean is about further seeds on these same rows; it does not allow for other rows."
        ),
        message(
            "Only the seed of training differs; the rows trained on are the same, so other training rows may move "
            "accuracy more."
        ),
        message("Labels are taken as true."),
    ),
    method=message(
        "Each member's accuracy has a Wilson interval; the mean over members has Student's t interval with one degree "
        "of freedom less than members; the lowest and the highest have Wilson limits at a level that Bonferroni's "
        "inequality keeps over all members at once. Clusters enter the Wilson intervals by the design effect."
    ),
)
@dataclass(frozen=True, kw_only=True)
class Seeds:
    """How much does accuracy differ between models that were trained with different seeds?

    Every member of an ensemble is asked on the same rows, and the ensemble beside them.
    """

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """The ensemble's labels and predictions, with one column of predictions a member."""
        whole = subject.predictions(ctx)
        table = whole.select([name for name in _KEPT if name in whole.column_names])
        for name, member in cast("SubjectOfMembers", subject).members.items():
            table = table.append_column(f"{MEMBER}{name}", member.predictions(ctx).column("prediction"))
        return table

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Accuracy of each member and of the ensemble; mean, lowest and highest over members."""
        every = answers(rows)
        names = [name for name in rows.column_names if name.startswith(MEMBER)]
        titles = [name.removeprefix(MEMBER) for name in names]
        known = every.where(every.labelled)
        if not len(known):
            nothing = Counts(n=len(every), denominator=0, smallest=0)
            reason = message("No row has a label.")
            wanted = [d.name for d in SEEDS if d.name != "member_accuracy"]
            return Reading(
                measurements=tuple(Undefined(name=name, counts=nothing, reason=reason) for name in wanted),
                remarks=every.remarks(),
            )
        right = [_right(rows, name)[every.labelled] for name in names]
        sheet = _Sheet(
            right=right, together=known.labels == known.predictions, clusters=known.clusters, level=ctx.level
        )
        return sheet.reading(titles, len(every), every.remarks())


@dataclass(frozen=True, kw_only=True)
class _Sheet:
    """Which labelled rows each member, and all together, answered rightly."""

    right: list[Bool]
    together: Bool
    clusters: np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None
    level: float

    def reading(self, titles: list[str], rows: int, remarks: tuple[Message, ...]) -> Reading:
        alone = [self._accuracy(right, self.level) for right in self.right]
        together = self._accuracy(self.together, self.level)
        simultaneous = 1 - (1 - self.level) / len(alone)
        wide = [self._accuracy(right, simultaneous) for right in self.right]
        shares = np.array([one.value for one in alone])
        counts = Counts(
            n=rows,
            denominator=len(self.together),
            smallest=len(self.together),
            clusters=None if self.clusters is None else len(np.unique(self.clusters)),
        )
        measurements: list[AnyMeasurement] = [
            self._mean(shares, counts),
            _measured("lowest_accuracy", _extreme(wide, min), self.level, counts),
            _measured("highest_accuracy", _extreme(wide, max), self.level, counts),
            _measured("ensemble_accuracy", together, self.level, counts),
        ]
        for title, one in zip(titles, alone, strict=True):
            member = _measured("member_accuracy", one, self.level, counts)
            at = (Axis(kind="setting", name="member", value=title),)
            measurements.append(member.model_copy(update={"slice": at}))
        spread = message(
            "{members} members; the standard deviation of their accuracy is {deviation}.",
            members=len(alone),
            deviation=float(np.std(shares, ddof=1)),
        )
        points: list[tuple[Label, Estimate]] = [*zip(titles, alone, strict=True), (message("ensemble"), together)]
        plot = IntervalPlot(
            title=message("Accuracy of each member, and of all together"),
            unit="share",
            points=tuple(
                IntervalPoint(label=title, value=e.value, low=e.low, high=e.high, n=counts.denominator)
                for title, e in points
            ),
            reference=float(shares.mean()),
            reference_label=message("mean of the members"),
        )
        said = (spread, _FLAT) if len(alone) >= FEWEST and np.ptp(shares) == 0 else (spread,)
        return Reading(measurements=tuple(measurements), evidence=(plot,), remarks=(*remarks, *said))

    def _accuracy(self, right: Bool, level: float) -> Estimate:
        return count(np.zeros(len(right), dtype=np.int64), 1, right, self.clusters).estimate(0, level)

    def _mean(self, shares: Float, counts: Counts) -> AnyMeasurement:
        estimate = mean_interval(shares, self.level, bounds=(0.0, 1.0)) if len(shares) >= FEWEST else None
        if estimate is None:
            reason = message(
                "{members} members are too few to tell how further seeds would do; {fewest} are the least.",
                members=len(shares),
                fewest=FEWEST,
            )
            return Undefined(name="mean_accuracy", counts=counts, reason=reason)
        said = Estimate(
            value=estimate.value, low=estimate.low, high=estimate.high, method="t over members",
            params={"members": len(shares)},
        )  # fmt: skip
        return _measured("mean_accuracy", said, self.level, counts)


def _right(rows: pa.Table, member: str) -> Bool:
    """Whether a member answered each row as labelled; False where there is no label."""
    import pyarrow.compute as pc

    same = pc.fill_null(pc.equal(rows.column(member), rows.column("label")), False)
    return np.asarray(same.to_numpy(), dtype=np.bool_)


def _extreme(wide: list[Estimate], pick: Callable[[Iterable[float]], float]) -> Estimate:
    """The lowest or highest of several: where every limit holds at once, the same pick of the limits holds its own."""
    return Estimate(
        value=pick(e.value for e in wide),
        low=pick(e.low for e in wide),
        high=pick(e.high for e in wide),
        method="Wilson score, Bonferroni over members",
        params={"members": len(wide)},
    )


def _measured(name: str, estimate: Estimate, level: float, counts: Counts) -> Measurement:
    definition = next(d for d in SEEDS if d.name == name)
    return Measurement(
        name=name, value=estimate.value, interval=estimate.interval(level), counts=counts, unit=definition.unit,
        better=definition.better,
    )  # fmt: skip
