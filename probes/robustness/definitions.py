"""What the measures of `robustness.attack` are called and what they mean; the names that policies use.

Definitions only: it counts nothing.
"""

from __future__ import annotations

from probes.evidence import MeasureDefinition, Message, message

_TEXTATTACK = "Morris et al. 2020 (TextAttack)"

ATTACK: tuple[MeasureDefinition, ...] = (
    MeasureDefinition(
        name="clean_accuracy",
        formula=message("drawn examples that are answered as labelled before any change / drawn examples"),
        unit="share",
        better="higher",
        zero=message("every answer is wrong already"),
        one=message("every answer is right before the attack"),
        source=_TEXTATTACK,
    ),
    MeasureDefinition(
        name="accuracy_under_attack",
        formula=message("drawn examples that are answered rightly, and still so after the attack / drawn examples"),
        unit="share",
        better="higher",
        zero=message("no right answer survives"),
        one=message("every answer is right, and the attack changes none"),
        source=_TEXTATTACK,
    ),
    MeasureDefinition(
        name="attack_success_rate",
        formula=message(
            "examples on which the attack reaches its goal / examples that were answered rightly, and so attacked; the "
            "goal is another answer, or, for input reduction, the same answer to a single word"
        ),
        unit="share",
        better="lower",
        zero=message("the attack never succeeds"),
        one=message("the attack always succeeds"),
        source=_TEXTATTACK,
    ),
    MeasureDefinition(
        name="median_queries",
        formula=message("median number of texts that an attack asks the subject about, whether it succeeds or not"),
        high=None,
        unit="queries",
        better="higher",
        source=_TEXTATTACK,
        smooth=False,
    ),
    MeasureDefinition(
        name="words_changed_share",
        formula=message(
            "mean, over successful attacks, of words that differ (edit distance in words, at most all) / words of the text"
        ),
        unit="share",
        zero=message("no word has to be changed"),
        one=message("every word is changed"),
        source=_TEXTATTACK,
    ),
    MeasureDefinition(
        name="semantic_similarity",
        formula=message(
            "mean, over successful attacks, of the cosine between the text's embedding and that of the changed text"
        ),
        low=-1.0,
        unit="cosine",
        zero=message("the embeddings have nothing in common"),
        one=message("the encoder takes both texts for the same"),
        source="Reimers and Gurevych 2019 (mean-pooled sentence embeddings)",
    ),
    MeasureDefinition(
        name="attack_success_rate_difference",
        formula=message("highest less lowest attack success rate over groups"),
        unit="share",
        better="lower",
        zero=message("all groups' texts are equally easy to flip"),
        one=message("one group's texts always flip and another's never do"),
        source="largest gap over groups, as in demographic parity (Agarwal et al. 2018)",
        smooth=False,
    ),
    MeasureDefinition(
        name="attack_success_rate_difference_p_value",
        formula=message(
            "share of random regroupings of the same examples, groups keeping their sizes, whose largest gap is at "
            "least the observed one"
        ),
        unit="probability",
        zero=message("chance never makes so large a gap"),
        one=message("chance always makes so large a gap"),
        source="Phipson and Smyth 2010",
        smooth=False,
    ),
)
ATTACK_BY_NAME = {d.name: d for d in ATTACK}

LIMITS: tuple[Message, ...] = (
    message(
        "Success is a lower bound: it tells what this recipe finds with this budget. Another attack may find more, and "
        "an attack that fails is no proof that there is nothing to find."
    ),
    message(
        "Whether a changed text still means the same is left to the recipe's constraints; nobody has read them all. "
        "Similarity is a model's opinion, and is a poor judge of spelling."
    ),
    message(
        "Labels are taken as true. Examples that are answered wrongly before any change are not attacked; they count "
        "against accuracy, not for success."
    ),
    message(
        "The curve counts the queries that a success took. Under a budget an attack asks part of its last batch, and "
        "may succeed with fewer."
    ),
    message(
        "Groups differ in more than who is meant, such as in the length of their texts or in which class of them is answered "
        "rightly: a gap shows that an attacker finds one group's texts easier to flip, and not why."
    ),
    message("Each group's rate rests on the examples that were drawn and rightly answered, which may be few."),
)
METHOD = message(
    "TextAttack's own recipe, search, constraints and count of queries; only the model is called differently, many "
    "attacks at a time. Shares have Wilson intervals, the median of queries lies between order statistics, means have "
    "Student's t intervals. The low end of a largest gap holds simultaneously over all pairs of groups that "
    "can still be the largest, the high end is calibrated intersection-union over Newcombe limits; its p-value permutes group membership. "
    "Clusters enter by the design effect. Limits of the curve hold point by point."
)
