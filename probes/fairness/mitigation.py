"""What would close the gap between groups, and at what price: thresholds for each group, fitted on one half of the rows
and measured on the other.

It runs only where a plan names it, changes no model, and advises nobody to use the groups in decisions. Fitting is in
`probes.fairness.mitigation_fit`, the search in `threshold_search`, fairlearn behind `probes.engines.fairlearn`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fine_tune.predictions import feature_names
from probes.answers import Answers, answers, group_codes
from probes.engines.fairlearn import Criterion, Objective
from probes.errors import Unavailable
from probes.evidence import AnyMeasurement, Evidence, Message, Need, Reading, message
from probes.fairness.asked import asked_features, check_features, one_positive
from probes.fairness.grouping import Grouping, group
from probes.fairness.halves import halves, units_of
from probes.fairness.mitigation_definitions import DEFINES
from probes.fairness.mitigation_fit import Asked, Binary, Fit, fit_groups, fits_of, with_fits
from probes.fairness.mitigation_reading import Sheet
from probes.intervals import Int
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject

FITTING = "fitting_half"


@probe(
    "fairness.mitigation",
    needs={Need.PREDICTIONS, Need.LABELS, Need.GROUPS},
    defines=DEFINES,
    limits=(
        message(
            "Other thresholds for other groups are treatment by group. Where a decision is about people that may be unlawful "
            "(in US employment, 42 U.S.C. 2000e-2(l) forbids cutoff scores adjusted by race, color, religion, sex or national "
            "origin): ask a lawyer before any use."
        ),
        message("Whoever decides so must know the group of each person at the time of the decision."),
        message("A lot treats people with the same score differently; fixed thresholds do not, and are coarser."),
        message("Labels are taken as true: if they are biased, both the thresholds and the accuracy inherit it."),
        message(
            "It moves thresholds and leaves scores as they are: if scores rank one group worse, equal recall and false "
            "positive rates are bought by ranking the others as badly."
        ),
        message("Thresholds hold for rows like these; other shares of groups or labels need other thresholds."),
    ),
    method=message(
        "Rows are halved by cluster (else by equal input, else by row), alike in labels and groups, with the plan's seed. On "
        "one half, fairlearn's ThresholdOptimizer fits rules with a lot, and a search over all thresholds fits fixed ones. "
        "Every figure is of the other half: expected over lots, gaps as in fairness.groups, rates with Wilson intervals, the "
        "change of accuracy with a t interval over paired rows. Clusters enter by the design effect."
    ),
    requires=("fairlearn",),
)
@dataclass(frozen=True, kw_only=True)
class Mitigation:
    """Which thresholds would close the gap between groups, and what would they cost in accuracy?

    The present model's own decisions on the same rows stand beside them. With more than two classes, `positive` is taken
    against the rest.
    """

    positive: str | None = field(
        default=None, metadata={"help": "The class that counts as positive; needed unless the subject has a threshold."}
    )
    criterion: Criterion = field(
        metadata={
            "help": "What is to be equal: selection rate (demographic_parity), recall (equal_opportunity), false positive "
            "rate (predictive_equality), or recall and false positive rate (equalized_odds)."
        },
    )
    objective: Objective = field(
        default="accuracy", metadata={"help": "What is best among rules that are equal: accuracy or balanced_accuracy."}
    )
    features: tuple[str, ...] | None = field(
        default=None, metadata={"help": "Sensitive features to fit thresholds for; all of the data's by default."}
    )
    intersections: tuple[tuple[str, ...], ...] = field(
        default=(), metadata={"help": "Features to cross, such as [[gender, age]]."}
    )
    slack: float = field(
        default=0.02,
        metadata={
            "help": "Gap that fixed thresholds may leave in the fitting half; at least one row of the smallest group."
        },
    )
    points: int = field(
        default=9, metadata={"help": "Widths tried between no gap and the present one, for the frontier."}
    )
    min_group: int = field(default=10, metadata={"help": "Labelled rows that a group needs in the fitting half."})

    def __post_init__(self) -> None:
        if not 0 <= self.slack <= 1:
            raise ValueError(f"slack is {self.slack}; a share from 0 to 1 is needed")
        if self.points < 2:
            raise ValueError(f"points is {self.points}; at least 2 are needed")
        if self.min_group < 2:
            raise ValueError(f"min_group is {self.min_group}; at least 2 is needed")
        check_features(self.features, self.intersections)

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """The subject's predictions with the column `FITTING`, and in the schema's metadata the fitted thresholds."""
        import pyarrow as pa

        one_positive(self.positive, subject.classes, subject.positive, "fairness.mitigation")
        rows = subject.predictions(ctx)
        every = answers(rows)
        if every.scores is None or not np.isfinite(every.scores).all():
            raise Unavailable(
                "the subject gives no scores, or not for every row, so no threshold can be moved",
                expected="score_<class> columns without gaps, or a model that gives them",
            )
        binary = self._binary(every)
        asked = Asked(
            criterion=self.criterion, objective=self.objective, slack=self.slack, points=self.points,
            min_group=self.min_group,
        )  # fmt: skip
        groupings = [
            group(features, [group_codes(rows, f) for f in features], 1)
            for features in asked_features(self.features, self.intersections, feature_names(rows))
        ]
        strata = [every.labels, *(g.codes for g in groupings)]
        first = halves(units_of(rows, every), strata, ctx.rng("halves"))
        fits = [fit_groups(g, first, binary, asked) for g in groupings]
        return with_fits(rows.append_column(FITTING, pa.array(first)), fits)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Gap and accuracy before and after, a feature or intersection; thresholds, rates, and the frontier."""
        import pyarrow as pa

        fitted_by, fits = fits_of(rows)
        fitting = np.asarray(rows.column(FITTING).to_numpy(), dtype=bool)
        measured = rows.filter(pa.array(~fitting))
        every = answers(measured)
        binary = self._binary(every)
        measurements: list[AnyMeasurement] = []
        evidence: list[Evidence] = []
        remarks: list[Message] = [*every.remarks()]
        remarks.append(
            message(
                "Thresholds were fitted on {fitted} rows and measured on the other {measured}; those with a lot by fairlearn "
                "{version}.",
                fitted=int(fitting.sum()), measured=len(every), version=fitted_by,
            )
        )  # fmt: skip
        if every.clusters is None:
            remarks.append(message("Rows are taken as independent: the data names no cluster."))
        for fit in fits:
            grouping = group(fit.features, [group_codes(measured, f) for f in fit.features], 1)
            codes = _fitted_codes(fit, grouping)
            sheet = Sheet(fit=fit, codes=codes, binary=binary, criterion=self.criterion, level=ctx.level)
            found = sheet.reading()
            measurements += found.measurements
            evidence += found.evidence
            remarks += found.remarks
        return Reading(measurements=tuple(measurements), evidence=tuple(evidence), remarks=tuple(remarks))

    def _binary(self, every: Answers) -> Binary:
        positive = one_positive(self.positive, every.classes, every.positive, "fairness.mitigation")
        scores = np.zeros(len(every)) if every.scores is None else every.scores[:, positive]
        return Binary(
            scores=scores,
            truly=every.labels == positive,
            known=every.labelled,
            chosen=every.predictions == positive,
            clusters=every.clusters,
        )


def _fitted_codes(fit: Fit, grouping: Grouping) -> Int:
    """The fitted group of each row, -1 where it has none."""
    place = {names: g for g, names in enumerate(fit.groups)}
    to_fitted = np.array([*(place.get(names, -1) for names in grouping.names), -1], dtype=np.int64)
    return to_fitted[grouping.codes]
