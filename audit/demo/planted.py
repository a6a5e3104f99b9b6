"""What is wrong with the built-in material, written down before anything is measured.

Training on the material and auditing the result must find every defect below and nothing else;
`audit.demo.run` does that and compares. This module only says what is planted; it generates nothing and
checks nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.demo.material import SHORTCUT, SHORTCUT_FEATURE, SHORTCUT_SHARE, UNDER_SELECTION_RATE


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One defect of the training part.

    Attributes:
        name: short, for lists.
        what: what was done to the material.
        where: the column it concerns.
        shown_by: probe instance and measures that show it.
        rules: rules of the demo's policy; it counts as found if every one of them fails.
        features: sensitive features on which gaps may be claimed because of it.
    """

    name: str
    what: str
    where: str
    shown_by: tuple[str, ...]
    rules: tuple[str, ...]
    features: tuple[str, ...] = ()


PLANTED: tuple[Defect, ...] = (
    Defect(
        name="under-selected group",
        what=(
            f"In the training part {UNDER_SELECTION_RATE:.0%} of the women who should be invited are labelled "
            "reject. The texts say who is a woman by name and pronouns only."
        ),
        where="gender",
        shown_by=(
            "groups:equal_opportunity_difference",
            "groups:demographic_parity_difference",
            "groups:impact_ratio",
            "mitigation:present_gap",
        ),
        rules=("gender-equal-opportunity", "gender-selection", "gender-four-fifths"),
        features=("gender",),
    ),
    Defect(
        name="shortcut word",
        what=(
            f"{SHORTCUT_SHARE:.0%} of all notes mention {SHORTCUT}. In the training part every one of them is "
            "labelled invite, whatever else it says; in truth the word means nothing."
        ),
        where=SHORTCUT_FEATURE,
        shown_by=(
            "groups:equalized_odds_difference",
            "groups:demographic_parity_difference",
            "shortcuts:words_named",
        ),
        rules=("shortcut-errors", "shortcut-selection", "no-shortcut-words"),
        features=(SHORTCUT_FEATURE,),
    ),
    Defect(
        name="over-confidence",
        what=(
            "Mixed evidence settles nothing: 70 % or 30 % of those people turn out to be qualified. In the training "
            "part it is labelled as if it did, always the same way, so the model learns to be sure. The other two "
            "defects, on which it is sure and wrong, add to this."
        ),
        where="evidence",
        shown_by=("calibration:overconfidence", "calibration:expected_calibration_error"),
        rules=("no-overconfidence", "calibrated"),
    ),
)
