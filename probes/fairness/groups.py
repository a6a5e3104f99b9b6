"""Are groups treated alike: the rates of every group, and how far apart groups are.

Values agree with fairlearn's wherever every denominator is positive; where one is not, there is no value. It
drops no group in silence, averages nothing over classes, and gives no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fine_tune.predictions import feature_names
from probes.answers import answers, group_codes
from probes.evidence import AnyMeasurement, Evidence, Need, Reading, message
from probes.fairness.asked import asked_features, check_features, positives
from probes.fairness.definitions import DEFINES
from probes.fairness.grouping import group
from probes.fairness.sheet import Sheet
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject


@probe(
    "fairness.groups",
    needs={Need.PREDICTIONS, Need.GROUPS},
    defines=DEFINES,
    limits=(
        message("Equal rates do not show that a decision is right, and unequal rates do not show why."),
        message("Labels are taken as true: if they are biased, recall, precision and false positive rate inherit it."),
        message(
            "Intervals compare groups as independent samples; where clusters span groups they are mostly too wide, and the "
            "table of standard errors shows by how much."
        ),
        message(
            "p-values ask whether the group plays any part: groups of equal rates whose clusters differ in size or likeness "
            "may be told apart too."
        ),
        message("A gap that is not shown may still be there."),
        message("It covers the features and intersections that were named, and no other."),
    ),
    method=message(
        "Rates have Wilson intervals on their own denominators. The low end of a largest gap holds "
        "simultaneously over the pairs of groups that can still be the largest, the high end is calibrated "
        "intersection-union over Newcombe limits; ratios have the plain forms with MOVER-R limits; equalized odds splits the low "
        "end's tail over its two rates. p-values permute group membership (given the label for recall and "
        "false positive rate, given the prediction for precision). Clusters enter intervals by the design effect; p-values "
        "exchange clusters of one group whole and rows of other clusters within them. The mean of equalized odds has the "
        "mean of two intervals that hold jointly. A gap is said to be shown where the p-value, corrected by Holm for all gaps "
        "of a feature, and the interval's low end agree."
    ),
)
@dataclass(frozen=True, kw_only=True)
class Groups:
    """Are groups given the positive label alike, and equally often rightly?

    With two classes, or with `positive`, one class counts as positive. With more classes and no `positive`,
    each class is taken against the rest, with the class in the slice; there is no aggregate over classes.
    """

    positive: str | None = field(
        default=None,
        metadata={"help": "The class that counts as positive; needed where there are two classes."},
    )
    features: tuple[str, ...] | None = field(
        default=None, metadata={"help": "Sensitive features to look at; all of the data's by default."}
    )
    intersections: tuple[tuple[str, ...], ...] = field(
        default=(), metadata={"help": "Features to cross, such as [[gender, age]]."}
    )
    min_group: int = field(default=1, metadata={"help": "Groups with fewer rows are listed, and not compared."})
    permutations: int = field(default=2000, metadata={"help": "Random regroupings behind each p-value."})

    def __post_init__(self) -> None:
        if self.min_group < 1:
            raise ValueError(f"min_group is {self.min_group}; at least 1 is needed")
        if self.permutations < 1:
            raise ValueError(f"permutations is {self.permutations}; at least 1 is needed")
        check_features(self.features, self.intersections)

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """The subject's predictions on its data; options are checked first, before anything slow."""
        positives(self.positive, subject.classes, subject.positive, "fairness.groups")
        return subject.predictions(ctx)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Rates a group, gaps a feature or intersection; plots, a table and notes as evidence."""
        every = answers(rows)
        codes = positives(self.positive, every.classes, every.positive, "fairness.groups")
        wanted = asked_features(self.features, self.intersections, feature_names(rows))
        columns = {n: group_codes(rows, n) for n in dict.fromkeys(name for crossed in wanted for name in crossed)}
        measurements: list[AnyMeasurement] = []
        evidence: list[Evidence] = []
        remarks = list(every.remarks())
        for features in wanted:
            grouping = group(features, [columns[f] for f in features], self.min_group)
            sheet = Sheet(grouping, every, ctx, self.permutations)
            for k in codes:
                sheet.read(k, many=len(codes) > 1)
            sheet.close()
            measurements += sheet.measurements
            evidence += sheet.evidence
            remarks += sheet.remarks
        if every.clusters is None:
            remarks.append(message("Rows are taken as independent: the data names no cluster."))
        return Reading(measurements=tuple(measurements), evidence=tuple(evidence), remarks=tuple(remarks))
