"""What the measures of `fairness.impact_ratio` are called and what they mean, by the two texts that define them.

Definitions only: it counts nothing, and holds no threshold.
"""

from __future__ import annotations

from probes.evidence import MeasureDefinition, message

NYC = "New York City Local Law 144 of 2021; 6 RCNY 5-300 (definitions) and 5-301 (bias audit)"
UGESP = "Uniform Guidelines on Employee Selection Procedures (1978), 29 CFR 1607.4(D)"
QUESTIONS = "questions and answers on the Uniform Guidelines (Federal Register vol. 44 no. 43, 2 March 1979)"

_NOBODY = message("nobody of the category is selected")
_HIGHEST = message("no category has a higher rate")

DEFINES: tuple[MeasureDefinition, ...] = (
    MeasureDefinition(
        name="applicants",
        formula=message("rows of the category"),
        high=None,
        unit="rows",
        source=NYC,
    ),
    MeasureDefinition(
        name="unknown",
        formula=message("rows without a known category, which are in no rate and no ratio"),
        high=None,
        unit="rows",
        source=NYC,
    ),
    MeasureDefinition(
        name="selection_rate",
        formula=message("rows of the category that are given the positive label / rows of the category"),
        zero=_NOBODY,
        one=message("everybody of the category is selected"),
        unit="share",
        source=NYC,
    ),
    MeasureDefinition(
        name="impact_ratio",
        formula=message("selection rate of the category / selection rate of the most selected category"),
        zero=_NOBODY,
        one=_HIGHEST,
        better="higher",
        unit="ratio",
        smooth=False,
        source=NYC,
    ),
    MeasureDefinition(
        name="scoring_rate",
        formula=message("rows of the category that score above the median of all rows / rows of the category"),
        zero=message("nobody of the category scores above the median"),
        one=message("everybody of the category scores above the median"),
        unit="share",
        source=NYC,
    ),
    MeasureDefinition(
        name="scoring_impact_ratio",
        formula=message("scoring rate of the category / scoring rate of the highest scoring category"),
        zero=message("nobody of the category scores above the median"),
        one=_HIGHEST,
        better="higher",
        unit="ratio",
        smooth=False,
        source=NYC,
    ),
    MeasureDefinition(
        name="four_fifths_ratio",
        formula=message("lowest over highest selection rate of the feature's groups"),
        zero=message("one group is never selected and another is"),
        one=message("all groups have the same rate"),
        better="higher",
        unit="ratio",
        smooth=False,
        source=UGESP,
    ),
    MeasureDefinition(
        name="four_fifths_p_value",
        formula=message(
            "two-sided test of the group's selection rate against the highest group's: z test of two proportions, or "
            "Fisher's exact test where an expected count is below 5; adjusted by Holm over all pairs of groups"
        ),
        zero=message("chance never makes such a difference"),
        one=message("chance always makes such a difference"),
        unit="probability",
        smooth=False,
        source=f"{UGESP} (statistical significance); Fisher 1935; Holm 1979",
    ),
    MeasureDefinition(
        name="shortfall_to_parity",
        formula=message("fewest further selections that bring the group's rate to the highest one, others unchanged"),
        high=None,
        zero=message("no group has a higher rate"),
        better="lower",
        unit="rows",
        smooth=False,
        source=f"{UGESP} (practical significance)",
    ),
    MeasureDefinition(
        name="shortfall_to_four_fifths",
        formula=message(
            "fewest further selections that bring the group's rate to four fifths of the highest one, others unchanged"
        ),
        high=None,
        zero=message("the group's rate is at least four fifths of the highest"),
        better="lower",
        unit="rows",
        smooth=False,
        source=f"{UGESP} (practical significance)",
    ),
)
BY_NAME = {d.name: d for d in DEFINES}
