"""What the measures of `fairness.groups` are called and what they mean; the names that policies use.

Definitions only: it counts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from probes.evidence import MeasureDefinition, Message, message

RATES = (
    "selection_rate",
    "recall",
    "false_negative_rate",
    "false_positive_rate",
    "true_negative_rate",
    "precision",
    "accuracy",
)
TABLED = ("selection_rate", "recall", "false_positive_rate", "precision", "accuracy")
PLOTTED = ("selection_rate", "recall", "false_positive_rate")
HEADS = {
    "selection_rate": message("selection rate"),
    "recall": message("recall"),
    "false_positive_rate": message("false positive rate"),
    "precision": message("precision"),
    "accuracy": message("accuracy"),
}

NO_DENOMINATOR = {
    "selection_rate": message("No row in {names}."),
    "recall": message("No row in {names} has the positive label."),
    "false_negative_rate": message("No row in {names} has the positive label."),
    "false_positive_rate": message("No row in {names} has a label other than the positive one."),
    "true_negative_rate": message("No row in {names} has a label other than the positive one."),
    "precision": message("No row in {names} is given the positive label."),
    "accuracy": message("No row in {names} has a label."),
}
NO_DENOMINATOR_MANY = {
    "selection_rate": message("No row in {names} and {more} more groups."),
    "recall": message("No row in {names} and {more} more groups has the positive label."),
    "false_negative_rate": message("No row in {names} and {more} more groups has the positive label."),
    "false_positive_rate": message("No row in {names} and {more} more groups has a label other than the positive one."),
    "true_negative_rate": message("No row in {names} and {more} more groups has a label other than the positive one."),
    "precision": message("No row in {names} and {more} more groups is given the positive label."),
    "accuracy": message("No row in {names} and {more} more groups has a label."),
}
PLOT_TITLES = {
    "selection_rate": message("Selection rate by {feature}"),
    "recall": message("Recall by {feature}"),
    "false_positive_rate": message("False positive rate by {feature}"),
    "precision": message("Precision by {feature}"),
    "accuracy": message("Accuracy by {feature}"),
}
PLOT_TITLES_CLASS = {
    "selection_rate": message("Selection rate by {feature}, class {name}"),
    "recall": message("Recall by {feature}, class {name}"),
    "false_positive_rate": message("False positive rate by {feature}, class {name}"),
    "precision": message("Precision by {feature}, class {name}"),
}


@dataclass(frozen=True)
class Criterion:
    """A fairness criterion: the rates that it wants equal over groups.

    ``mean`` makes its difference and ratio the mean over its rates; otherwise the worst of them counts.
    """

    name: str
    rates: tuple[str, ...]
    mean: bool = False


CRITERIA = (
    Criterion("demographic_parity", ("selection_rate",)),
    Criterion("equalized_odds", ("recall", "false_positive_rate")),
    Criterion("equalized_odds_mean", ("recall", "false_positive_rate"), mean=True),
    Criterion("equal_opportunity", ("recall",)),
    Criterion("predictive_equality", ("false_positive_rate",)),
    Criterion("predictive_parity", ("precision",)),
    Criterion("accuracy_equality", ("accuracy",)),
)

_FAIRLEARN = "fairlearn.metrics"
_SOURCES = {
    "demographic_parity": f"Agarwal et al. 2018; {_FAIRLEARN}",
    "equalized_odds": f"Hardt, Price and Srebro 2016; {_FAIRLEARN} (agg='worst_case')",
    "equalized_odds_mean": f"average odds difference, Bellamy et al. 2018; {_FAIRLEARN} (agg='mean')",
    "equal_opportunity": f"Hardt, Price and Srebro 2016; {_FAIRLEARN}",
    "predictive_equality": f"Corbett-Davies et al. 2017; {_FAIRLEARN} (false_positive_rate_difference)",
    "predictive_parity": "Chouldechova 2017",
    "accuracy_equality": f"overall accuracy equality, Berk et al. 2021; {_FAIRLEARN} (accuracy_score_difference)",
}
_DIFFERENCES: dict[str, Message] = {
    "demographic_parity": message("highest less lowest selection rate over groups"),
    "equalized_odds": message("the larger of two: highest less lowest recall, highest less lowest false positive rate"),
    "equalized_odds_mean": message(
        "the mean of two: highest less lowest recall, highest less lowest false positive rate"
    ),
    "equal_opportunity": message("highest less lowest recall over groups"),
    "predictive_equality": message("highest less lowest false positive rate over groups"),
    "predictive_parity": message("highest less lowest precision over groups"),
    "accuracy_equality": message("highest less lowest accuracy over groups"),
}
_RATIOS: dict[str, Message] = {
    "demographic_parity": message("lowest over highest selection rate"),
    "equalized_odds": message(
        "the smaller of two: lowest over highest recall, lowest over highest false positive rate"
    ),
    "equalized_odds_mean": message(
        "the mean of two: lowest over highest recall, lowest over highest false positive rate"
    ),
    "equal_opportunity": message("lowest over highest recall"),
    "predictive_equality": message("lowest over highest false positive rate"),
    "predictive_parity": message("lowest over highest precision"),
    "accuracy_equality": message("lowest over highest accuracy"),
}
_SAME = message("all groups have the same rate")
_APART = message("one group's rate is 0 and another's is 1")
_NONE = message("one group's rate is 0 and another's is not")


def _criterion(c: Criterion) -> tuple[MeasureDefinition, ...]:
    source = _SOURCES[c.name]
    return (
        MeasureDefinition(
            name=f"{c.name}_difference",
            formula=_DIFFERENCES[c.name],
            zero=_SAME,
            one=_APART,
            source=source,
            better="lower",
            unit="share",
            smooth=False,
        ),
        MeasureDefinition(
            name=f"{c.name}_ratio",
            formula=_RATIOS[c.name],
            zero=_NONE,
            one=_SAME,
            source=source,
            better="higher",
            unit="ratio",
            smooth=False,
        ),
        MeasureDefinition(
            name=f"{c.name}_difference_p_value",
            formula=message(
                "share of random regroupings of the same rows (of clusters, where there are any) whose difference is at "
                "least the observed one"
            ),
            zero=message("chance never makes so large a gap"),
            one=message("chance always makes so large a gap"),
            source="Phipson and Smyth 2010",
            unit="probability",
            smooth=False,
        ),
    )


def _heterogeneity(rate: str) -> MeasureDefinition:
    return MeasureDefinition(
        name=f"{rate}_heterogeneity",
        formula=message(
            "tau: standard deviation of the groups' true rates ({rate}), with what noise adds to the observed ones taken off; "
            "it does not grow with the number of groups",
            rate=HEADS[rate],
        ),
        zero=message("groups differ no more than chance makes them"),
        one=message("not reached: rates between 0 and 1 spread by about a half at most"),
        source="DerSimonian and Laird 1986; Viechtbauer 2007 (interval)",
        better="lower",
        unit="share",
        smooth=False,
    )


DEFINES: tuple[MeasureDefinition, ...] = (
    MeasureDefinition(name="count", formula=message("rows of the group"), high=None, unit="rows"),
    MeasureDefinition(
        name="selection_rate",
        formula=message("rows given the positive label / rows"),
        unit="share",
        zero=message("nobody is given the positive label"),
        one=message("everybody is given the positive label"),
        source=f"{_FAIRLEARN}.selection_rate",
    ),
    MeasureDefinition(
        name="recall",
        formula=message("TP / (TP + FN): rows with the positive label that are given it"),
        unit="share",
        zero=message("nobody who should be is given the positive label"),
        one=message("everybody who should be is given the positive label"),
        source=f"true positive rate, {_FAIRLEARN}.true_positive_rate",
        better="higher",
    ),
    MeasureDefinition(
        name="false_negative_rate",
        unit="share",
        better="lower",
        source=f"{_FAIRLEARN}.false_negative_rate",
        formula=message("FN / (TP + FN): rows with the positive label that are not given it; 1 less recall"),
        zero=message("everybody who should be is given the positive label"),
        one=message("nobody who should be is given the positive label"),
    ),
    MeasureDefinition(
        name="false_positive_rate",
        unit="share",
        better="lower",
        source=f"{_FAIRLEARN}.false_positive_rate",
        formula=message("FP / (FP + TN): rows without the positive label that are given it"),
        zero=message("nobody is wrongly given the positive label"),
        one=message("everybody who should not be is given the positive label"),
    ),
    MeasureDefinition(
        name="true_negative_rate",
        unit="share",
        better="higher",
        source=f"{_FAIRLEARN}.true_negative_rate",
        formula=message("TN / (FP + TN): rows without the positive label that are not given it"),
        zero=message("everybody who should not be is given the positive label"),
        one=message("nobody is wrongly given the positive label"),
    ),
    MeasureDefinition(
        name="precision",
        unit="share",
        better="higher",
        source="scikit-learn, sklearn.metrics.precision_score",
        formula=message("TP / (TP + FP): rows given the positive label that have it"),
        zero=message("whoever is given the positive label should not be"),
        one=message("whoever is given the positive label should be"),
    ),
    MeasureDefinition(
        name="accuracy",
        formula=message("rows predicted as labelled / labelled rows"),
        unit="share",
        better="higher",
        zero=message("every answer is wrong"),
        one=message("every answer is right"),
        source="scikit-learn, sklearn.metrics.accuracy_score",
    ),
    MeasureDefinition(
        name="impact_ratio",
        unit="ratio",
        better="higher",
        smooth=False,
        formula=message("selection rate of the group / selection rate of the highest group"),
        zero=message("nobody of the group is given the positive label"),
        one=message("no group is given it more often"),
        source="New York City Local Law 144; 29 CFR 1607.4 D (four-fifths rule)",
    ),
    *(d for c in CRITERIA for d in _criterion(c)),
    *(_heterogeneity(rate) for rate in TABLED),
)
BY_NAME = {d.name: d for d in DEFINES}
