"""What the measures of `fairness.scores` are called and what they mean; the names that policies use.

Definitions only: it ranks nothing.
"""

from __future__ import annotations

from probes.evidence import MeasureDefinition, Message, message

_BORKAN = "Borkan, Dixon, Sorensen, Thain and Vasserman 2019"
_CHANCE = message("every pair is ranked rightly; 0.5 is chance")
_WRONG = message("every pair is ranked wrongly")

AREA_FORMULAS: dict[str, Message] = {
    "subgroup_auc": message(
        "probability that a positive row of the subgroup scores above another row of the subgroup, ties half"
    ),
    "bpsn_auc": message(
        "background positive, subgroup negative: probability that a positive row outside the subgroup scores above a row of "
        "the subgroup that is not positive, ties half; low where the subgroup's scores are too high"
    ),
    "bnsp_auc": message(
        "background negative, subgroup positive: probability that a positive row of the subgroup scores above a row outside "
        "it that is not positive, ties half; low where the subgroup's scores are too low"
    ),
}
_MEANS: dict[str, Message] = {
    "subgroup_auc": message("power mean of subgroup AUC over subgroups: (mean of AUC^p)^(1/p), p as the plan says"),
    "bpsn_auc": message("power mean of BPSN AUC over subgroups: (mean of AUC^p)^(1/p), p as the plan says"),
    "bnsp_auc": message("power mean of BNSP AUC over subgroups: (mean of AUC^p)^(1/p), p as the plan says"),
}
RATES = ("selection_rate", "recall", "false_positive_rate")
_GAPS: dict[str, Message] = {
    "selection_rate": message("highest less lowest selection rate over groups, at the worst threshold of the grid"),
    "recall": message("highest less lowest recall over groups, at the worst threshold of the grid"),
    "false_positive_rate": message(
        "highest less lowest false positive rate over groups, at the worst threshold of the grid"
    ),
}


def _area(name: str) -> MeasureDefinition:
    return MeasureDefinition(
        name=name, formula=AREA_FORMULAS[name], zero=_WRONG, one=_CHANCE, better="higher", source=_BORKAN
    )


def _mean(name: str) -> MeasureDefinition:
    return MeasureDefinition(
        name=f"{name}_mean",
        formula=_MEANS[name],
        zero=message("in one subgroup every pair is ranked wrongly"),
        one=_CHANCE,
        better="higher",
        source=_BORKAN,
        smooth=False,
    )


def _gap(rate: str) -> MeasureDefinition:
    return MeasureDefinition(
        name=f"{rate}_threshold_gap",
        formula=_GAPS[rate],
        zero=message("all groups have the same rate at every threshold of the grid"),
        one=message("at some threshold one group's rate is 0 and another's is 1"),
        better="lower",
        unit="share",
        smooth=False,
        source="Hardt, Price and Srebro 2016; Berger 1982 for the interval",
    )


DEFINES: tuple[MeasureDefinition, ...] = (
    MeasureDefinition(
        name="roc_auc",
        formula=message("probability that a positive row scores above another row, all rows together, ties half"),
        zero=_WRONG,
        one=_CHANCE,
        better="higher",
        source="DeLong et al. 1988; scikit-learn, sklearn.metrics.roc_auc_score",
    ),
    *(_area(name) for name in AREA_FORMULAS),
    *(_mean(name) for name in AREA_FORMULAS),
    MeasureDefinition(
        name="calibration_error",
        formula=message(
            "sum over equal-size bins of share * |mean score - share of positive rows|, less its bias, in the group"
        ),
        zero=message("scores are as high as positive rows are frequent"),
        one=message("scores say the opposite of what is true"),
        better="lower",
        unit="share",
        source="Guo et al. 2017; Kumar, Liang and Ma 2019 (debiasing)",
    ),
    MeasureDefinition(
        name="calibration_in_the_large",
        formula=message("mean score - share of positive rows, in the group"),
        low=-1.0,
        zero=message("on average scores are as high as positive rows are frequent"),
        one=message("every score is 1 and no row is positive"),
        unit="share",
        source="Van Calster et al. 2019",
    ),
    MeasureDefinition(
        name="calibration_in_the_large_gap",
        formula=message("highest less lowest calibration in the large over groups"),
        high=2.0,
        zero=message("scores are off by the same in every group"),
        one=message("scores are off by one whole more in one group than in another"),
        better="lower",
        unit="share",
        smooth=False,
        source="Pleiss et al. 2017",
    ),
    *(_gap(rate) for rate in RATES),
)
BY_NAME = {d.name: d for d in DEFINES}
