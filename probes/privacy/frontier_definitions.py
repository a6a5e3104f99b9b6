"""What the measures of the frontier are called and what they mean; the names that policies use. It counts nothing."""

from __future__ import annotations

from probes.evidence import Better, MeasureDefinition, Message, message


def _define(
    name: str, formula: Message, source: str, *, better: Better, unit: str = "share", low: float | None = 0.0,
    high: float | None = 1.0, zero: Message | None = None, one: Message | None = None,
) -> MeasureDefinition:  # fmt: skip
    return MeasureDefinition(
        name=name,
        formula=formula,
        low=low,
        high=high,
        zero=zero,
        one=one,
        source=source,
        better=better,
        unit=unit,
        smooth=False,
    )


DEFINES = (
    _define(
        "accuracy", message("rows predicted as labelled / labelled rows"), "scikit-learn, sklearn.metrics", better="higher",
        zero=message("every answer is wrong"), one=message("every answer is right"),
    ),
    _define(
        "recall", message("rows of the class in the group predicted as it / rows of the class in the group"),
        "scikit-learn, sklearn.metrics", better="higher",
        zero=message("no row of the class is found"), one=message("every row of the class is found"),
    ),
    _define(
        "calibration_error", message("expected calibration error over bins of equal size, debiased"),
        "Naeini et al. (2015)", better="lower",
        zero=message("confidence is as high as accuracy in every bin"), one=message("full confidence in answers that are all wrong"),
    ),
    _define(
        "membership_auc",
        message("probability that a training row has a higher confidence in its label than a row that was kept out; 0.5 is chance"),
        "Yeom et al. (2018)", better="lower",
        zero=message("every training row has a lower confidence than every row kept out"),
        one=message("every training row has a higher confidence than every row kept out"),
    ),
    _define(
        "accuracy_cost", message("accuracy of the loosest twin - accuracy of this one, on the same rows"),
        "Bagdasaryan et al. (2019), Differential privacy has disparate impact on model accuracy", better="lower", low=-1.0,
        zero=message("privacy costs no accuracy"),
    ),
    _define(
        "recall_cost", message("recall of the loosest twin - recall of this one, on the same rows of the class and group"),
        "Bagdasaryan et al. (2019), Differential privacy has disparate impact on model accuracy", better="lower", low=-1.0,
        zero=message("privacy costs this class and group no recall"),
    ),
    _define(
        "epsilon", message("what the twin's ledger states that its training spent"), "Dwork et al. (2006)", better="lower",
        unit="epsilon", high=None,
    ),
    _define(
        "noise_multiplier", message("standard deviation of the noise of a step / norm that a row's gradient is clipped to"),
        "Abadi et al. (2016)", better="neither", unit="", high=None,
    ),
)  # fmt: skip


def definition(name: str) -> MeasureDefinition:
    """One of them."""
    return next(d for d in DEFINES if d.name == name)
