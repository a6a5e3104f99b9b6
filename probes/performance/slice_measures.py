"""What the measures of the search for badly served slices are called and what they mean. Definitions only."""

from __future__ import annotations

from probes.evidence import MeasureDefinition, Message, message

_RIGHT, _WRONG = message("every answer in the slice is right"), message("every answer in the slice is wrong")
_NO_WORSE = message("the slice is served as well as the rest")
_WORST = message("every answer in the slice is wrong, and every other one right")


def _share(name: str, formula: Message, zero: Message, one: Message, *, low: float = 0.0) -> MeasureDefinition:
    return MeasureDefinition(
        name=name, formula=formula, low=low, zero=zero, one=one, unit="share", better="lower", smooth=False
    )


SLICES = (
    MeasureDefinition(
        name="slices_tried",
        formula=message("slices and pairs of slices that were compared with the rest in the search half"),
        high=None,
        unit="slices",
        smooth=False,
    ),
    MeasureDefinition(
        name="slices_confirmed",
        formula=message("proposed slices with more errors than the rest in the held-out half, after Holm's correction"),
        high=None,
        unit="slices",
        better="lower",
        source="Holm 1979",
        smooth=False,
    ),
    _share(
        "worst_slice_error",
        message("wrong answers / labelled rows in the held-out half, in the slice that the search half ranks worst"),
        _RIGHT,
        _WRONG,
    ),
    _share(
        "worst_slice_gap",
        message(
            "error rate of the slice that the search half ranks worst, less that of the rest, in the held-out half"
        ),
        _NO_WORSE,
        _WORST,
        low=-1.0,
    ),
    _share(
        "slice_error",
        message("wrong answers / labelled rows of a confirmed slice, in the held-out half"),
        _RIGHT,
        _WRONG,
    ),
    _share(
        "slice_gap",
        message("error rate of a confirmed slice less that of the rest, in the held-out half"),
        _NO_WORSE,
        _WORST,
        low=-1.0,
    ),
)
BY_NAME = {d.name: d for d in SLICES}
