"""What `explanation.shortcuts` looked at and how that was chosen, in sentences. It counts nothing."""

from __future__ import annotations

from typing import Any

from probes.evidence import Message, message
from probes.reasons import naming


def remarks(facts: dict[str, Any], compared: int) -> list[Message]:
    """What was looked at, and how it was chosen."""
    out = []
    if facts["texts"] < facts["there"]:
        out.append(
            message(
                "{texts} of {there} texts are looked at, drawn at random.", texts=facts["texts"], there=facts["there"]
            )
        )
    out.append(
        message(
            "{compared} words stand in at least {least} texts and are missing from as many. Those {asked} in whose texts a class "
            "is predicted most in excess of the labels were taken out of up to {each} texts each; the correction counts all of "
            "them.",
            compared=compared, least=facts["min_texts"], asked=facts["asked"], each=facts["texts_each"],
        )
    )  # fmt: skip
    listed = [f"{concept}: {', '.join(terms)}" for concept, terms in facts["terms"].items()]
    if listed:
        few = message("Protected terms looked for: {names}.")
        many = message("Protected terms looked for: {names} and {more} more concepts.")
        out.append(naming(few, many, listed))
    if facts["from_groups"]:
        out.append(
            message(
                "Terms of {features} are the values of that column which name their group in the texts; values that do not are "
                "not looked for.",
                features=", ".join(facts["from_groups"]),
            )
        )
    if facts["method"]:
        out.append(message("Weights of swapped terms are those of {method}.", method=facts["method"].replace("_", " ")))
    if facts["truncated"]:
        out.append(
            message(
                "{rows} texts are longer than the model reads; words beyond that are not looked at.",
                rows=facts["truncated"],
            )
        )
    return out
