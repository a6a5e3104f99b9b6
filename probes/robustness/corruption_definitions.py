"""What the measures of `robustness.corruptions` are called and what they mean; the names that policies use.

Definitions only: it counts nothing.
"""

from __future__ import annotations

from probes.evidence import MeasureDefinition, Message, message

_SOURCE = "Hendrycks and Dietterich 2019 (common corruptions)"

CORRUPTIONS: tuple[MeasureDefinition, ...] = (
    MeasureDefinition(
        name="clean_accuracy",
        formula=message("drawn rows that are answered as labelled before any damage / drawn rows"),
        unit="share",
        better="higher",
        zero=message("every answer is wrong already"),
        one=message("every answer is right before the damage"),
        source=_SOURCE,
    ),
    MeasureDefinition(
        name="corrupted_accuracy",
        formula=message(
            "damaged images that are answered as labelled / damaged images; of one kind where the slice names one, and of one "
            "severity where it names one, else of all severities"
        ),
        unit="share",
        better="higher",
        zero=message("no damaged image is answered rightly"),
        one=message("every damaged image is answered rightly"),
        source=_SOURCE,
    ),
    MeasureDefinition(
        name="accuracy_drop",
        formula=message("clean accuracy less corrupted accuracy, on the same rows; below 0 where damage helps"),
        low=-1.0,
        unit="share",
        better="lower",
        zero=message("as many answers are right as before"),
        one=message("every answer was right, and none is"),
        source=_SOURCE,
    ),
    MeasureDefinition(
        name="flip_rate",
        formula=message("damaged images that are answered otherwise than the undamaged one / damaged images"),
        unit="share",
        better="lower",
        zero=message("no answer changes"),
        one=message("every answer changes"),
        source=_SOURCE,
    ),
    MeasureDefinition(
        name="group_corrupted_accuracy",
        formula=message("corrupted accuracy among the drawn rows of one group, over all severities"),
        unit="share",
        better="higher",
        zero=message("no damaged image is answered rightly"),
        one=message("every damaged image is answered rightly"),
        source=_SOURCE,
    ),
    MeasureDefinition(
        name="corrupted_accuracy_difference",
        formula=message("highest less lowest corrupted accuracy over groups"),
        unit="share",
        better="lower",
        zero=message("all groups' damaged images are answered rightly equally often"),
        one=message("one group's damaged images are always answered rightly and another's never"),
        source="largest gap over groups, as in demographic parity (Agarwal et al. 2018)",
        smooth=False,
    ),
    MeasureDefinition(
        name="corrupted_accuracy_difference_p_value",
        formula=message(
            "share of random regroupings of the same rows, groups keeping their sizes, whose largest gap is at least the "
            "observed one"
        ),
        unit="probability",
        zero=message("chance never makes so large a gap"),
        one=message("chance always makes so large a gap"),
        source="Phipson and Smyth 2010",
        smooth=False,
    ),
)

LIMITS: tuple[Message, ...] = (
    message("Damage is simulated, one kind at a time; real cameras, weather and copies damage in other ways too."),
    message(
        "Severities say how much is changed, and not how often that happens where the model is used; severities of "
        "different kinds are not equally hard."
    ),
    message("Labels are taken as true: whether a person would still see them in a damaged image, nobody has checked."),
    message("The same rows are damaged in every way, so that figures of different kinds are not independent."),
)
METHOD = message(
    "Each image is damaged as it is stored, before the model's own resizing, in the manner of Hendrycks and Dietterich "
    "(2019), with sizes relative to the image; amounts are listed beside the figures. Shares have Wilson intervals; all "
    "damaged forms of an image count as one cluster. Drops are paired on the same rows. The low end of a largest gap "
    "holds simultaneously over all pairs of groups that can still be the largest, the high end is calibrated "
    "intersection-union over Newcombe limits; its p-value permutes group membership. Clusters enter by the design effect."
)
