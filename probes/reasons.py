"""Sentences that name a few of many: which groups or classes are the reason that a figure has no value.

It composes Messages only; the templates stay with the probes that say them.
"""

from __future__ import annotations

from collections.abc import Sequence

from probes.evidence import Message

MOST = 4


def naming(few: Message, many: Message, names: Sequence[str]) -> Message:
    """``few`` with its ``{names}``, or, beyond four names, ``many`` with ``{names}`` and ``{more}``."""
    shown = ", ".join(names[:MOST])
    if len(names) <= MOST:
        return few.model_copy(update={"params": {**few.params, "names": shown}})
    return many.model_copy(update={"params": {**many.params, "names": shown, "more": len(names) - MOST}})
