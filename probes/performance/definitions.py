"""What the measures of this family are called and what they mean; the names that policies use.

Definitions only: it counts nothing.
"""

from __future__ import annotations

from probes.evidence import Better, MeasureDefinition, Message, message

_SKLEARN = "scikit-learn, sklearn.metrics"


def _define(
    name: str,
    formula: Message,
    zero: Message,
    one: Message,
    *,
    source: str = _SKLEARN,
    unit: str = "share",
    better: Better = "higher",
) -> MeasureDefinition:
    return MeasureDefinition(name=name, formula=formula, zero=zero, one=one, source=source, unit=unit, better=better)


CLASSIFICATION = (
    _define(
        "accuracy",
        message("rows predicted as labelled / labelled rows"),
        message("every answer is wrong"),
        message("every answer is right"),
    ),
    _define(
        "balanced_accuracy",
        message("mean over classes of recall"),
        message("every answer is wrong"),
        message("every answer is right"),
        source=_SKLEARN + "; Brodersen et al. 2010",
    ),
    _define(
        "precision_macro",
        message("mean over classes of precision"),
        message("every answer is wrong"),
        message("every answer is right"),
    ),
    _define(
        "recall_macro",
        message("mean over classes of recall; the same figure as balanced accuracy"),
        message("every answer is wrong"),
        message("every answer is right"),
    ),
    _define(
        "f1_macro",
        message("mean over classes of F1"),
        message("every answer is wrong"),
        message("every answer is right"),
    ),
    _define(
        "precision",
        message("rows of the class predicted as it / rows predicted as the class"),
        message("whatever is given this class is something else"),
        message("whatever is given this class is it"),
    ),
    _define(
        "recall",
        message("rows of the class predicted as it / rows of the class"),
        message("the class is never found"),
        message("the class is always found"),
    ),
    _define(
        "f1",
        message("harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN)"),
        message("the class is never found"),
        message("the class is always found and never mistaken"),
    ),
    _define(
        "roc_auc",
        message("probability that a row of the class scores higher for it than another row, ties half"),
        message("every row of the class scores below every other"),
        message("every row of the class scores above every other; 0.5 is chance"),
        source="DeLong et al. 1988; " + _SKLEARN,
        unit="",
    ),
)

CALIBRATION = (
    MeasureDefinition(
        name="expected_calibration_error",
        formula=message(
            "mean over bins of equal size of |mean confidence - accuracy|, weighted by rows, less the part "
            "that sampling alone would give; confidence is the score of the predicted class"
        ),
        zero=message("in every bin the scores are right as often as they say"),
        one=message("certain and always wrong, or never certain and always right"),
        source="Naeini et al. 2015; Kumar, Liang and Ma 2019 (debiased, equal mass)",
        better="lower",
        unit="share",
    ),
    MeasureDefinition(
        name="brier_score_loss",
        formula=message(
            "two classes: mean of (score of the positive class - 1 where it is the label, else 0) squared; "
            "more classes: mean of the sum of those squares over classes"
        ),
        high=2.0,
        zero=message("certain and always right"),
        one=message("two classes: certain and always wrong"),
        source="Brier 1950; scikit-learn, sklearn.metrics.brier_score_loss",
        better="lower",
    ),
    MeasureDefinition(
        name="log_loss",
        formula=message("mean of -ln(score of the true class), scores cut at 2.2e-16 from below"),
        high=None,
        zero=message("certain and always right"),
        source="scikit-learn, sklearn.metrics.log_loss",
        better="lower",
        unit="nats",
    ),
    MeasureDefinition(
        name="overconfidence",
        formula=message("mean confidence - accuracy; confidence is the score of the predicted class"),
        low=-1.0,
        zero=message("right as often as it says, on the whole; above 0 it claims too much, below 0 too little"),
        one=message("certain and always wrong"),
        source="Guo et al. 2017",
        unit="share",
    ),
)

_NEVER, _ALWAYS = message("every answer is wrong"), message("every answer is right")

SEEDS = (
    _define(
        "mean_accuracy",
        message("mean over members of accuracy on these rows"),
        _NEVER,
        _ALWAYS,
    ),
    _define("lowest_accuracy", message("the lowest of the members' accuracies"), _NEVER, _ALWAYS),
    _define("highest_accuracy", message("the highest of the members' accuracies"), _NEVER, _ALWAYS),
    _define("member_accuracy", message("accuracy of one member"), _NEVER, _ALWAYS),
    _define("ensemble_accuracy", message("accuracy of the mean of the members' probabilities"), _NEVER, _ALWAYS),
)
