"""Impact ratios by sex, race or ethnicity and both, as New York City's bias audits publish them, and the four-fifths rule.

It counts who is selected, or who scores above the median, as two rules of law define it. It draws no line at 0.8, and
what it shows is no legal opinion.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from fine_tune.predictions import MISSING
from probes.answers import Answers, answers, group_codes
from probes.errors import ProbeError, Unavailable
from probes.evidence import Message, Need, Reading, message
from probes.fairness.grouping import Grouping, group
from probes.fairness.impact_definitions import DEFINES
from probes.fairness.impact_sheet import Asked, Sheet
from probes.intervals import Bool, Int
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject

MOST_EXCLUDED = 0.02


@probe(
    "fairness.impact_ratio",
    needs={Need.PREDICTIONS, Need.GROUPS},
    defines=DEFINES,
    limits=(
        message("Ratios compare rates and nothing else: they do not show whether a selection is right, or lawful."),
        message(
            "Neither Local Law 144 nor its rules name an impact ratio that is high enough, and none is assumed here."
        ),
        message(
            "The four-fifths rule is a rule of thumb of the enforcing agencies: smaller differences may be adverse impact "
            "where they are significant in statistical and practical terms, and greater ones may not be where numbers are "
            "small or recruiting has changed who applies (29 CFR 1607.4(D))."
        ),
        message(
            "Categories are taken as the data names them; whether they are those of the EEO-1 report is not checked."
        ),
        message("The median score is taken as given: intervals of scoring rates do not allow for its own uncertainty."),
    ),
    method=message(
        "Rates have Wilson intervals. A ratio to the highest rate allows for the highest one being uncertain too: MOVER-R "
        "limits, intersection-union at the low end and simultaneous at the high end; so does the lowest over the highest. "
        "Rows of unknown category are counted and left out. Clusters enter by the design effect."
    ),
)
@dataclass(frozen=True, kw_only=True)
class ImpactRatio:
    """How do selections, or scores above the median, compare over sex, race or ethnicity and both together?

    Three sets of categories are compared: those of sex, those of race or ethnicity, and those of both crossed. With
    `measure: selection` the four-fifths rule of the Uniform Guidelines is read beside it, for sex and for race or
    ethnicity, which are the groups that 29 CFR 1607.4(B) names.
    """

    sex: str | None = field(
        metadata={"help": "The sensitive feature that holds sex categories; null if there is none."}
    )
    race_ethnicity: str | None = field(
        metadata={"help": "The sensitive feature that holds race or ethnicity categories; null if there is none."}
    )
    positive: str | None = field(
        default=None, metadata={"help": "The class that counts as selected, or whose score ranks."}
    )
    measure: Literal["selection", "scoring"] = field(
        default="selection",
        metadata={"help": "selection: who is given the positive label; scoring: who scores above the median."},
    )
    unknown: tuple[str, ...] = field(
        default=(),
        metadata={"help": "Values that mean an unknown category, such as [Declined]; missing ones always do."},
    )
    exclude_below: float | None = field(
        default=None,
        metadata={
            "help": "Leave categories below this share out of impact ratios; at most 0.02, and with a justification."
        },
    )
    justification: str | None = field(
        default=None, metadata={"help": "The independent auditor's reason for leaving small categories out."}
    )

    def __post_init__(self) -> None:
        if self.sex is not None and self.sex == self.race_ethnicity:
            raise ValueError(f"sex and race_ethnicity are both {self.sex!r}; two different features are needed")
        if self.exclude_below is not None and not 0 < self.exclude_below <= MOST_EXCLUDED:
            raise ValueError(
                f"exclude_below is {self.exclude_below}; it must be above 0 and at most {MOST_EXCLUDED}, which is as far "
                "as 6 RCNY 5-301 lets an auditor go"
            )
        if self.exclude_below is not None and not (self.justification or "").strip():
            raise ValueError(
                "exclude_below leaves categories out without a justification; 6 RCNY 5-301 asks for the auditor's own"
            )
        if self.exclude_below is None and self.justification is not None:
            raise ValueError("there is a justification and nothing is left out; name exclude_below, or remove it")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """The subject's predictions on its data; options are checked first, before anything slow."""
        self._named()
        self._positive(subject.classes, subject.positive)
        return subject.predictions(ctx)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Rates and ratios a category, by sex, race or ethnicity and both; a table of each as evidence."""
        every = answers(rows)
        hit = self._hits(every, self._positive(every.classes, every.positive))
        columns = {name: self._known(group_codes(rows, name)) for name in self._named()}
        singles = [(name,) for name in columns]
        reading = Reading(measurements=(), remarks=self._remarks(every))
        for features in (*singles, *([tuple(columns)] if len(columns) == 2 else [])):
            grouping = group(features, [columns[f] for f in features], 1)
            asked = Asked(
                measure=self.measure, excluded=self._excluded(grouping), justification=self.justification or ""
            )
            sheet = Sheet(grouping, every, hit, ctx.level, asked)
            part = sheet.reading(four_fifths=len(features) == 1 and self.measure == "selection")
            reading = Reading(
                measurements=reading.measurements + part.measurements,
                evidence=reading.evidence + part.evidence,
                remarks=reading.remarks + part.remarks,
            )
        return reading

    def _named(self) -> tuple[str, ...]:
        names = tuple(n for n in (self.sex, self.race_ethnicity) if n is not None)
        if not names:
            raise ProbeError(
                "fairness.impact_ratio does not know which feature holds sex, or race or ethnicity",
                expected="sex, race_ethnicity, or both, each the name of a sensitive feature",
                fix="name them under the probe's options",
            )
        return names

    def _positive(self, classes: tuple[str, ...], decided: str | None) -> int:
        named = self.positive if self.positive is not None else (decided if len(classes) <= 2 else None)
        if named is None:
            raise ProbeError(
                "fairness.impact_ratio does not know which class counts as selected",
                expected=f"positive: one of {', '.join(classes)}",
                fix="name it under the probe's options",
            )
        if named not in classes:
            raise ProbeError(
                f"the positive class {named!r} is no class of the subject", expected=f"one of: {', '.join(classes)}"
            )
        return classes.index(named)

    def _hits(self, every: Answers, positive: int) -> Bool:
        """Who is selected, or who scores above the median of the full sample, shape (N,)."""
        if self.measure == "selection":
            chosen: Bool = every.predictions == positive
            return chosen
        if every.scores is None:
            raise Unavailable(
                "the predictions come without scores, and scoring rates need them",
                expected=f"a score of {every.classes[positive]} for each row",
                fix="give the table its score columns, or use measure: selection",
            )
        scores = every.scores[:, positive]
        if not np.isfinite(scores).all():
            raise ProbeError(
                f"{int((~np.isfinite(scores)).sum())} rows have no score",
                expected="a score for each row: the median is that of the full sample",
            )
        return scores > np.median(scores) if len(scores) else np.zeros(0, dtype=bool)

    def _known(self, column: tuple[Int, tuple[str, ...]]) -> tuple[Int, tuple[str, ...]]:
        """The feature with what means unknown taken out."""
        codes, names = column
        hidden = np.array([n in (*self.unknown, MISSING) for n in names] + [True])
        return np.where(hidden[codes], -1, codes), names

    def _excluded(self, grouping: Grouping) -> Bool:
        if self.exclude_below is None:
            return np.zeros(len(grouping), dtype=bool)
        small: Bool = grouping.sizes < self.exclude_below * grouping.sizes.sum()
        return small

    def _remarks(self, every: Answers) -> tuple[Message, ...]:
        # Labels play no part here, so rows without one are not worth a remark; clusters and weights are.
        out = list(replace(every, labels=every.predictions).remarks())
        if every.clusters is None:
            out.append(message("Rows are taken as independent: the data names no cluster."))
        if self.measure == "scoring":
            out.append(message("The four-fifths rule compares selections; it is not read where scores are compared."))
        elif self.sex is not None and self.race_ethnicity is not None:
            out.append(message("The four-fifths rule is read for sex and for race or ethnicity, not for both crossed."))
        return tuple(out)
