"""The measures of `explanation.attribution`: what each one is, and what its 0 and 1 mean. It computes nothing."""

from __future__ import annotations

from probes.evidence import MeasureDefinition, message

DEFINES = (
    MeasureDefinition(
        name="inputs_explained",
        formula=message("inputs with at least one unit that were explained"),
        high=None,
        unit="inputs",
    ),
    MeasureDefinition(
        name="converged_share",
        formula=message("inputs whose weights came within the tolerance of adding up, over inputs explained"),
        zero=message("no input converged"),
        one=message("every input converged"),
        better="higher",
        unit="share",
    ),
    MeasureDefinition(
        name="completeness_error",
        formula=message(
            "median over inputs of |sum of weights - (f(x) - f(baseline))| / max(|f(x) - f(baseline)|, 0.1 * sum of |weights|), "
            "f the log-odds of the predicted class"
        ),
        high=None,
        zero=message("the weights of half of the inputs, and more, add up exactly"),
        one=message("the weights are off by as much as they explain"),
        source="Sundararajan et al. 2017 (completeness)",
        better="lower",
    ),
    MeasureDefinition(
        name="gradients_spent",
        formula=message("mean number of passes through the model, with or without gradient, that an input took"),
        high=None,
        better="lower",
        unit="passes",
    ),
    MeasureDefinition(
        name="method_agreement",
        formula=message("mean over inputs of Spearman's rank correlation between the weights of two methods"),
        low=-1.0,
        zero=message("the two methods rank units as if independently"),
        one=message("the two methods rank units alike"),
        source="Krishna et al. 2022",
        better="higher",
    ),
    MeasureDefinition(
        name="units_compared",
        formula=message("words (regions of images), by class, that occur in enough independent inputs to be compared"),
        high=None,
        unit="units",
    ),
    MeasureDefinition(
        name="units_pushing",
        formula=message(
            "of those, the ones whose mean weight differs from 0 after Holm's correction for all that were compared"
        ),
        high=None,
        source="Holm 1979",
        unit="units",
    ),
)
