"""What the measures of `fairness.counterfactual` and `fairness.identity_swaps` are called and what they mean. Definitions only."""

from __future__ import annotations

from probes.evidence import MeasureDefinition, message

_GARG = "Garg et al. 2019, counterfactual fairness in text classification"

DEFINES: tuple[MeasureDefinition, ...] = (
    MeasureDefinition(
        name="templates_compared",
        formula=message("templates with texts for two identities or more, whose labels do not differ"),
        high=None,
        unit="templates",
    ),
    MeasureDefinition(
        name="templates_left_out",
        formula=message(
            "templates with texts for two identities or more that have different labels, so that different answers may be right"
        ),
        high=None,
        unit="templates",
    ),
    MeasureDefinition(
        name="coverage",
        formula=message("inputs that have a twin here, or could be given one / inputs"),
        zero=message("no input says who is meant in a way that can be swapped"),
        one=message("every input has a twin"),
        unit="share",
        smooth=False,
    ),
    MeasureDefinition(
        name="flip_rate",
        formula=message("templates whose answer is not the same for all of their identities / templates compared"),
        zero=message("no answer depends on who is meant"),
        one=message("every answer depends on who is meant"),
        source=_GARG,
        better="lower",
        unit="share",
        smooth=False,
    ),
    MeasureDefinition(
        name="pair_flip_rate",
        formula=message("pairs of identities in one template that get different answers / all such pairs"),
        zero=message("no answer depends on who is meant"),
        one=message("any two identities get different answers"),
        source=_GARG,
        better="lower",
        unit="share",
        smooth=False,
    ),
    MeasureDefinition(
        name="score_shift",
        formula=message(
            "mean over templates of the score of the positive class where this identity is meant, less the template's mean over "
            "its identities"
        ),
        low=-1.0,
        zero=message("the score is that of the other identities"),
        source="Prabhakaran, Hutchinson and Mitchell 2019, perturbation sensitivity",
        unit="score",
        smooth=False,
    ),
    MeasureDefinition(
        name="score_shift_p_value",
        formula=message(
            "share of random exchanges of the identities within each template that shift this identity's score at least as far, "
            "either way, adjusted for the number of identities"
        ),
        zero=message("chance never shifts it so far"),
        one=message("chance always shifts it so far"),
        source="Phipson and Smyth 2010; Holm 1979",
        unit="probability",
        smooth=False,
    ),
    MeasureDefinition(
        name="largest_shift_gap",
        formula=message(
            "largest mean difference between the scores of two identities, over the templates that have both"
        ),
        zero=message("all identities have the same mean score"),
        one=message("one identity always scores 1 where another scores 0"),
        source="Berger 1982 for the upper limit",
        better="lower",
        unit="score",
        smooth=False,
    ),
    MeasureDefinition(
        name="largest_shift_gap_p_value",
        formula=message(
            "share of random exchanges of the identities within each template whose score shifts lie at least as far apart"
        ),
        zero=message("chance never parts them so far"),
        one=message("chance always parts them so far"),
        source="Phipson and Smyth 2010",
        unit="probability",
        smooth=False,
    ),
)
BY_NAME = {d.name: d for d in DEFINES}
METHOD = message(
    "The template is the unit, or the templates that share a cluster. Rows of one template and identity are one answer: their mean "
    "score, and the class that all of them are given, else the class of that mean. flip_rate has a Wilson interval; "
    "pair_flip_rate too, with a design effect for pairs of one template. Score shifts have t intervals over templates, robust to "
    "clusters, and p-values of exchanges within templates (rows of a cluster alike), Holm over identities. Of the largest gap, the "
    "low end holds for all pairs of identities at once (Bonferroni over paired t limits), and the high end is intersection-union "
    "over plain ones. Where all differences agree, limits rest on Clopper-Pearson instead."
)
LIMITS = (
    message("That scores do not shift on average does not show that no single answer depends on who is meant."),
    message(
        "The p-value of one identity is against a model for which nobody's identity matters: where others shift scores far, a small "
        "shift does not stand out by it, though its interval may show it."
    ),
    message(
        "Where scores lie near 0 or 1 and few templates move at all, the interval of a shift is too narrow unless there are about "
        "a hundred templates."
    ),
)
