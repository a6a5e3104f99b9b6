"""What the measures of the canary probe are called and what they mean; the names that policies use. It counts nothing."""

from __future__ import annotations

from probes.evidence import MeasureDefinition, message

_SOURCE = "Steinke, Nasr and Jagielski (2023), Privacy auditing with one (1) training run, theorem 5.2"

DEFINES = (
    MeasureDefinition(
        name="bound",
        formula=message(
            "Largest epsilon whose guarantee the guesses reject: with it, so many right guesses would have probability of at "
            "most 1 - confidence."
        ),
        high=None,
        zero=message("Nothing is rejected, not even perfect privacy."),
        one=message("No guarantee with an epsilon below 1 holds, at that confidence."),
        source=_SOURCE,
        better="lower",
        unit="epsilon",
        smooth=False,
    ),
    MeasureDefinition(
        name="ceiling",
        formula=message("The bound if every guess were right: so many canaries can show no more."),
        high=None,
        source=_SOURCE,
        unit="epsilon",
        smooth=False,
    ),
    MeasureDefinition(
        name="claim",
        formula=message("The epsilon of the training's ledger."),
        high=None,
        source="Dwork et al. (2006)",
        better="lower",
        unit="epsilon",
        smooth=False,
    ),
    MeasureDefinition(
        name="bound_minus_claim",
        formula=message(
            "bound - claim. Chance is allowed for in the bound, so the difference is compared with a limit as it stands."
        ),
        low=None,
        high=None,
        zero=message("The attack found exactly what the ledger allows."),
        one=message("The attack found an epsilon that is 1 above the claim: the ledger is wrong."),
        source=_SOURCE,
        better="lower",
        unit="epsilon",
        smooth=False,
    ),
    MeasureDefinition(
        name="right_guesses",
        formula=message(
            "Right guesses / guesses, on the share of the canaries that gives the bound. One half is what coins give."
        ),
        zero=message("every guess is wrong"),
        one=message("every guess is right: the canaries' membership shows"),
        source=_SOURCE,
        better="lower",
        unit="share",
        smooth=False,
    ),
)


def definition(name: str) -> MeasureDefinition:
    """One of them."""
    return next(d for d in DEFINES if d.name == name)
