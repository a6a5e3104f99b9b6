"""Are groups scored alike, whatever the threshold: ranking, calibration, score distributions and rates at every threshold.

It names no best threshold, combines its figures into no overall score, and gives no verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fine_tune.predictions import feature_names
from probes.answers import Answers, answers, group_codes
from probes.errors import Unavailable
from probes.evidence import AnyMeasurement, Axis, Evidence, Message, Need, Note, Reading, Slice, message
from probes.fairness.asked import asked_features, check_features, positives
from probes.fairness.grouping import Grouping, group
from probes.fairness.score_definitions import DEFINES
from probes.fairness.score_measures import Asked, Scored, overall
from probes.fairness.score_pictures import pictures
from probes.fairness.score_sheet import read
from probes.fairness.subgroup_ranking import Ranked
from probes.reasons import naming
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject


@probe(
    "fairness.scores",
    needs={Need.PREDICTIONS, Need.LABELS, Need.GROUPS},
    defines=DEFINES,
    limits=(
        message("Labels are taken as true: if they are biased, ranking and calibration inherit it."),
        message("The background of a subgroup is everybody else together, whoever they are."),
        message("Within a bin calibration errors of both signs cancel, so a finer look may find more error."),
        message("Rates are compared at the thresholds of the grid; between two of them groups may be further apart."),
        message("The power mean leans on the worst subgroups, and hides which ones they are; the table of areas says."),
        message("It covers the features and intersections that were named, and no other."),
    ),
    method=message(
        "Areas have DeLong's intervals on the logit scale, with Obuchowski's variance where rows come in clusters. Their "
        "power mean has a delta-method interval from the placement values of every row in every area, with its "
        "second-order bias taken off the centre. The largest gap over the threshold grid is intersection-union at its "
        "high end, and simultaneous over pairs of groups and thresholds at its low end. Calibration error is debiased, as "
        "performance.calibration does it; means have t intervals. Clusters enter by the design effect."
    ),
)
@dataclass(frozen=True, kw_only=True)
class Scores:
    """Are groups ranked and scored alike, at whatever threshold?

    With two classes, or with `positive`, one class's score is looked at. With more classes and no `positive`, each class is
    taken against the rest, with the class in the slice; curves are then left out. Rows without a label, a score or a
    group are left out and counted.
    """

    positive: str | None = field(
        default=None, metadata={"help": "The class whose score is looked at; needed where there are two classes."}
    )
    features: tuple[str, ...] | None = field(
        default=None, metadata={"help": "Sensitive features to look at; all of the data's by default."}
    )
    intersections: tuple[tuple[str, ...], ...] = field(
        default=(), metadata={"help": "Features to cross, such as [[gender, age]]."}
    )
    min_group: int = field(default=1, metadata={"help": "Groups with fewer rows are listed, and not compared."})
    power: float = field(
        default=-5.0, metadata={"help": "Power of the mean over subgroups; the lower, the more the worst one counts."}
    )
    bins: int = field(default=10, metadata={"help": "How many bins of equal size the calibration error uses."})
    thresholds: int = field(default=19, metadata={"help": "How many evenly spaced thresholds rates are compared at."})

    def __post_init__(self) -> None:
        for name in ("min_group", "bins", "thresholds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; at least 1 is needed")
        if not -100 <= self.power < 1:
            raise ValueError(f"power is {self.power}; it must be at least -100 and below 1, as low areas are to count")
        check_features(self.features, self.intersections)

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """The subject's predictions on its data; options are checked first, before anything slow."""
        positives(self.positive, subject.classes, subject.positive, "fairness.scores")
        return subject.predictions(ctx)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Areas, calibration and threshold gaps by group and feature; distributions and curves as evidence."""
        every = answers(rows)
        codes = positives(self.positive, every.classes, every.positive, "fairness.scores")
        if every.scores is None:
            raise Unavailable(
                "the predictions come without scores, and ranking needs them",
                expected="a column score_<class> for each class",
                fix="give the table its scores, or ask fairness.groups, which needs none",
            )
        wanted = asked_features(self.features, self.intersections, feature_names(rows))
        scored = np.isfinite(every.scores).all(axis=1)
        kept = every.labelled & scored
        known = every.where(kept)
        remarks = list(every.remarks())
        if (every.labelled & ~scored).any():
            missing = int((every.labelled & ~scored).sum())
            remarks.append(message("{rows} labelled rows have no score; they are left out.", rows=missing))
        if every.clusters is None:
            remarks.append(message("Rows are taken as independent: the data names no cluster."))
        columns = {n: group_codes(rows, n) for n in dict.fromkeys(f for features in wanted for f in features)}
        groupings = [
            group(features, [(columns[f][0][kept], columns[f][1]) for f in features], self.min_group)
            for features in wanted
        ]
        for grouping in groupings:
            remarks += _remarks(grouping)
        measurements, evidence = list[AnyMeasurement](), list[Evidence]()
        for ranked, name, tail in self._ranked(known, codes):
            asked = Asked(level=ctx.level, power=self.power, bins=self.bins, thresholds=self.thresholds, tail=tail)
            measurements.append(overall(ranked, asked))
            for grouping in groupings:
                sheet = Scored(grouping=grouping, rows=ranked, asked=asked)
                figures, plots = read(sheet, name if tail else None)
                measurements += figures
                evidence += plots
                if not tail:
                    evidence += pictures(sheet)
        if len(codes) > 1:
            text = message("Curves and distributions are drawn for one class: name it as `positive` to see them.")
            evidence.append(Note(text=text))
        return Reading(measurements=tuple(measurements), evidence=tuple(evidence), remarks=tuple(remarks))

    def _ranked(self, known: Answers, codes: tuple[int, ...]) -> Iterator[tuple[Ranked, str, Slice]]:
        for k in codes:
            name = known.classes[k]
            tail: Slice = (Axis(kind="class", name=name),) if len(codes) > 1 else ()
            scores = known.scores[:, k] if known.scores is not None else np.zeros(0)
            yield Ranked(scores=scores, positive=known.labels == k, clusters=known.clusters), name, tail


def _remarks(grouping: Grouping) -> list[Message]:
    out = []
    if grouping.missing:
        out.append(
            message(
                "{rows} rows with a label and a score have no {feature}; they are left out of it, and of every background.",
                rows=grouping.missing,
                feature=grouping.title,
            )
        )
    small = [grouping.label(int(g)) for g in np.flatnonzero(~grouping.enough)]
    if small:
        few = message("Too few rows to compare in {feature}: {names}.", feature=grouping.title)
        many = message("Too few rows to compare in {feature}: {names} and {more} more.", feature=grouping.title)
        out.append(naming(few, many, small))
    return out
