"""What the measures of `fairness.mitigation` are called and what they mean. Definitions only."""

from __future__ import annotations

from probes.engines.fairlearn import Criterion
from probes.evidence import MeasureDefinition, Message, message

_HARDT = "Hardt, Price and Srebro 2016"

CRITERION_WORDS: dict[Criterion, Message] = {
    "demographic_parity": message("selection rate"),
    "equal_opportunity": message("recall"),
    "predictive_equality": message("false positive rate"),
    "equalized_odds": message("recall or false positive rate, whichever is larger"),
}
KIND_WORDS: dict[str, Message] = {
    "fixed": message("one threshold a group (fixed)"),
    "by_lot": message("two thresholds a group and a lot between them (by lot)"),
}
_SAME = message("all groups have the same rate")
_APART = message("one group's rate is 0 and another's is 1")

DEFINES: tuple[MeasureDefinition, ...] = (
    MeasureDefinition(
        name="present_gap",
        formula=message(
            "largest difference between groups in the rates that the criterion wants equal, by the present decisions, on "
            "the rows that no threshold was fitted on"
        ),
        zero=_SAME, one=_APART, unit="share", better="lower", smooth=False, source=_HARDT,
    ),
    MeasureDefinition(
        name="remaining_gap",
        formula=message("the same with the fitted thresholds, on the same rows; expected over the lots, if there are any"),
        zero=_SAME, one=_APART, unit="share", better="lower", smooth=False, source=_HARDT,
    ),
    MeasureDefinition(
        name="present_accuracy",
        formula=message("rows that the present model rightly gives or refuses the positive label / labelled rows"),
        zero=message("every decision is wrong"), one=message("every decision is right"),
        unit="share", better="higher", smooth=False,
    ),
    MeasureDefinition(
        name="mitigated_accuracy",
        formula=message("the same with the fitted thresholds, on the same rows; expected over the lots"),
        zero=message("every decision is wrong"), one=message("every decision is right"),
        unit="share", better="higher", smooth=False,
    ),
    MeasureDefinition(
        name="accuracy_change",
        formula=message("mitigated_accuracy less present_accuracy on the same rows: what the thresholds cost, or gain"),
        low=-1.0, zero=message("as many decisions are right as before"), unit="share", better="higher", smooth=False,
    ),
    MeasureDefinition(
        name="decisions_changed",
        formula=message("rows that are decided otherwise than now / rows; expected over the lots"),
        zero=message("every decision stays"), one=message("every decision turns round"), unit="share", smooth=False,
    ),
    MeasureDefinition(
        name="mitigated_selection_rate",
        formula=message("rows of the group given the positive label with the fitted thresholds / rows of the group"),
        unit="share", smooth=False,
        zero=message("nobody is given the positive label"), one=message("everybody is given the positive label"),
    ),
    MeasureDefinition(
        name="mitigated_recall",
        formula=message("rows of the group with the positive label that are given it / rows with it"),
        unit="share", better="higher", smooth=False,
        zero=message("nobody who should be is given the positive label"),
        one=message("everybody who should be is given the positive label"),
    ),
    MeasureDefinition(
        name="mitigated_false_positive_rate",
        formula=message("rows of the group without the positive label that are given it / rows without it"),
        unit="share", better="lower", smooth=False,
        zero=message("nobody is wrongly given the positive label"),
        one=message("everybody who should not be is given the positive label"),
    ),
)  # fmt: skip
BY_NAME = {d.name: d for d in DEFINES}
