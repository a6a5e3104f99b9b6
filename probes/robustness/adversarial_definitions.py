"""What the measures of `robustness.adversarial` are called and what they mean; the names that policies use.

Definitions only: it counts nothing.
"""

from __future__ import annotations

from probes.evidence import MeasureDefinition, Message, message

_MADRY = "Madry et al. 2018"
_GAP = "largest gap over groups, as in demographic parity (Agarwal et al. 2018)"
_CHANCE = message(
    "share of random regroupings of the same rows, groups keeping their sizes, whose largest gap is at least the "
    "observed one"
)
_NEVER = message("chance never makes so large a gap")
_ALWAYS = message("chance always makes so large a gap")

ADVERSARIAL: tuple[MeasureDefinition, ...] = (
    MeasureDefinition(
        name="clean_accuracy",
        formula=message("drawn rows that are answered as labelled before any change / drawn rows"),
        unit="share",
        better="higher",
        zero=message("every answer is wrong already"),
        one=message("every answer is right before the attack"),
        source=_MADRY,
    ),
    MeasureDefinition(
        name="robust_accuracy",
        formula=message(
            "drawn rows that are answered as labelled, and that no change found at this epsilon or a smaller one makes "
            "answered otherwise / drawn rows; by one attack where the slice names it, else by any of them"
        ),
        unit="share",
        better="higher",
        zero=message("no right answer survives"),
        one=message("every answer is right, and no attack changes one"),
        source=_MADRY,
    ),
    MeasureDefinition(
        name="accuracy_drop",
        formula=message("clean accuracy less robust accuracy: rows whose right answer is changed / drawn rows"),
        unit="share",
        better="lower",
        zero=message("no right answer is changed"),
        one=message("every answer was right, and each is changed"),
        source=_MADRY,
    ),
    MeasureDefinition(
        name="attack_success_rate",
        formula=message("rows whose right answer is changed / rows that are answered rightly, and so attacked"),
        unit="share",
        better="lower",
        zero=message("the attack never succeeds"),
        one=message("the attack always succeeds"),
        source=_MADRY,
    ),
    MeasureDefinition(
        name="group_clean_accuracy",
        formula=message("clean accuracy among the drawn rows of one group"),
        unit="share",
        better="higher",
        zero=message("every answer is wrong already"),
        one=message("every answer is right before the attack"),
        source=_MADRY,
    ),
    MeasureDefinition(
        name="group_robust_accuracy",
        formula=message("robust accuracy among the drawn rows of one group, by any attack"),
        unit="share",
        better="higher",
        zero=message("no right answer survives"),
        one=message("every answer is right, and no attack changes one"),
        source=_MADRY,
    ),
    MeasureDefinition(
        name="group_attack_success_rate",
        formula=message("attack success rate among the attacked rows of one group, by any attack"),
        unit="share",
        better="lower",
        zero=message("the attack never succeeds"),
        one=message("the attack always succeeds"),
        source=_MADRY,
    ),
    MeasureDefinition(
        name="robust_accuracy_difference",
        formula=message("highest less lowest robust accuracy over groups"),
        unit="share",
        better="lower",
        zero=message("all groups keep equally many right answers"),
        one=message("one group keeps all right answers and another none"),
        source=_GAP,
        smooth=False,
    ),
    MeasureDefinition(
        name="robust_accuracy_difference_p_value",
        formula=_CHANCE,
        unit="probability",
        zero=_NEVER,
        one=_ALWAYS,
        source="Phipson and Smyth 2010",
        smooth=False,
    ),
    MeasureDefinition(
        name="attack_success_rate_difference",
        formula=message("highest less lowest attack success rate over groups"),
        unit="share",
        better="lower",
        zero=message("all groups' right answers are equally easy to change"),
        one=message("one group's right answers are always changed and another's never"),
        source=_GAP,
        smooth=False,
    ),
    MeasureDefinition(
        name="attack_success_rate_difference_p_value",
        formula=_CHANCE,
        unit="probability",
        zero=_NEVER,
        one=_ALWAYS,
        source="Phipson and Smyth 2010",
        smooth=False,
    ),
)

LIMITS: tuple[Message, ...] = (
    message(
        "Robust accuracy is an upper bound: it tells what these attacks find with these steps. A stronger attack may find "
        "more, and an attack that fails is no proof that there is nothing to find."
    ),
    message(
        "Changes are made to what the model reads after resizing and cropping, and are not rounded to the levels in which "
        "an input is stored; someone who can change only the stored input may find fewer."
    ),
    message(
        "Every number of an input may move by epsilon (L-infinity). Changes that are large in few places, or that move, "
        "turn or cover things, are not tried."
    ),
    message("The attacker is taken to know the model and the true label."),
    message("Labels are taken as true. Rows that are answered wrongly before any change are not attacked."),
    message(
        "Groups differ in more than who is meant: a gap shows that one group's inputs are easier to change, and not why."
    ),
)
METHOD = message(
    "FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018) as in captum.robust, ascending the log-odds of being wrong, "
    "whose gradient has the sign of that of cross-entropy and does not vanish where the model is sure; beside them noise, "
    "a random sign at every place, as a control. A row counts as changed from the smallest epsilon on at which a change "
    "was found. Shares have Wilson intervals; the low end of a largest gap holds simultaneously over all pairs of groups "
    "that can still be the largest, the high end is calibrated intersection-union over Newcombe limits; its p-value permutes group "
    "membership. Clusters enter by the design effect. Limits of curves hold point by point."
)
