"""What the measures of `explanation.shortcuts` mean; nothing here computes them."""

from __future__ import annotations

from probes.evidence import MeasureDefinition, message

DEFINES = (
    MeasureDefinition(
        name="words_compared",
        formula=message("words that enough texts hold and enough do not"),
        high=None,
        unit="words",
    ),
    MeasureDefinition(
        name="words_named",
        formula=message("words that survive Holm's correction over all words compared"),
        high=None,
        zero=message("no word is named; this does not show that there is none"),
        unit="words",
        better="lower",
        source="Holm 1979",
        smooth=False,
    ),
    MeasureDefinition(
        name="worst_excess_push",
        formula=message("the largest of excess_push over the words that were taken out"),
        low=-2.0,
        zero=message("labels explain what every word does"),
        better="lower",
        smooth=False,
    ),
    MeasureDefinition(
        name="flip_rate",
        formula=message("share of the texts with the word whose predicted class changes when the word is taken away"),
        zero=message("no answer rests on the word alone"),
        one=message("every answer does"),
    ),
    MeasureDefinition(
        name="excess_push",
        formula=message(
            "mean score of the class that the word pushes towards, without another word of the same text, drawn at random, less "
            "that without the word (the push), less the lift where that is above 0: the class's share among labelled texts with the word less its share among those without"
        ),
        low=-2.0,
        zero=message("labels explain the push"),
        one=message("the word alone decides, and labels explain nothing of it"),
        better="lower",
    ),
    MeasureDefinition(
        name="misled",
        formula=message(
            "among texts with the word, the share of answers that are right only without it less the share that are right only "
            "with it"
        ),
        low=-1.0,
        zero=message("labels side with as many flips as against"),
        one=message("every answer is wrong because of the word"),
        source="McNemar 1947, paired by text",
        better="lower",
    ),
    MeasureDefinition(
        name="terms_compared",
        formula=message("protected terms that stand in the texts"),
        high=None,
        unit="terms",
    ),
    MeasureDefinition(
        name="terms_named",
        formula=message("protected terms that survive Holm's correction over all terms compared"),
        high=None,
        zero=message("no term is named; this does not show that there is none"),
        unit="terms",
        better="lower",
        source="Holm 1979",
        smooth=False,
    ),
    MeasureDefinition(
        name="term_flip_rate",
        formula=message("share of the texts with the term whose predicted class changes when the term is taken away"),
        zero=message("no answer rests on the term alone"),
        one=message("every answer does"),
        better="lower",
    ),
    MeasureDefinition(
        name="term_flips_over_random",
        formula=message("term_flip_rate less the share of the same texts that flip without as many other words"),
        low=-1.0,
        zero=message("the term matters as much as other words"),
        better="lower",
    ),
    MeasureDefinition(
        name="swap_flip_rate",
        formula=message(
            "share of texts whose predicted class changes when a term is swapped for another of its concept"
        ),
        zero=message("who is meant changes no answer"),
        one=message("who is meant changes every answer"),
        source="Garg et al. 2019, counterfactual token fairness",
        better="lower",
    ),
    MeasureDefinition(
        name="swap_weight_shift",
        formula=message(
            "mean, over swapped texts, of the absolute change in the signed share of all attributed weight that the term has"
        ),
        high=2.0,
        zero=message("the weight on the term does not depend on who is meant"),
        better="lower",
    ),
)
