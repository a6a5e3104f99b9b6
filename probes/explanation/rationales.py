"""Reads what people marked as the reason for a label, in the forms in which data sets give it, and carries it over to an
explainer's units. It refuses what it can't read, with the row, and never takes an unreadable mark for an empty one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np

from fine_tune.errors import DataError
from probes.intervals import Bool

Form = Literal["offsets", "spans", "mask"]
FORMS: tuple[Form, ...] = ("offsets", "spans", "mask")
HALF = 0.5

_TOKEN = re.compile(r"\S+")
_EXPECTED = (
    "JSON: a list of character offsets, of [start, end] pairs, of {start, end} objects, or one 0 or 1 for each word between "
    "spaces"
)


def parse(value: str, row: str) -> list[Any]:
    """A rationale as a list.

    Raises:
        DataError: it is none.
    """
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise DataError(f"the rationale of row {row} is {value!r:.80}", expected=_EXPECTED)
    return found


def form_of(found: Sequence[Sequence[Any]], texts: Sequence[str]) -> Form:
    """Which of the forms all rationales of a data set have; empty ones fit every form.

    A list of 0 and 1 could be offsets too; it is taken as a mask only where every row has as many as its text has words.

    Raises:
        DataError: they have different forms, or none of these.
    """
    kinds = {_kind(item) for marks in found for item in marks}
    if kinds <= {"pair"}:
        return "spans"
    if kinds != {"number"}:
        raise DataError("the rationales mix numbers, pairs and other values", expected=_EXPECTED)
    words = all(len(marks) == len(_TOKEN.findall(text)) for marks, text in zip(found, texts, strict=True) if len(marks))
    binary = all(item in (0, 1) for marks in found for item in marks)
    return "mask" if binary and words else "offsets"


def marked_characters(marks: Sequence[Any], text: str, form: Form, row: str) -> Bool:
    """Which characters of a text people marked, shape (len(text),).

    Raises:
        DataError: marks outside the text, or of another form.
    """
    out = np.zeros(len(text), dtype=np.bool_)
    if form == "mask":
        tokens = [m.span() for m in _TOKEN.finditer(text)]
        if len(marks) not in (0, len(tokens)):
            raise DataError(
                f"the rationale of row {row} has {len(marks)} marks for {len(tokens)} words", expected="one a word"
            )
        places = [span for mark, span in zip(marks, tokens, strict=False) if mark]
    elif form == "spans":
        places = [_pair(item) for item in marks]
    else:
        places = [(item, item + 1) if isinstance(item, int) else (-1, -1) for item in marks]
    for start, stop in places:
        if not 0 <= start < stop <= len(text):
            raise DataError(
                f"the rationale of row {row} marks characters {start} to {stop} of a text with {len(text)}",
                expected="places inside the text",
                fix="name the form of the rationales under `form`, or repair the row",
            )
        out[start:stop] = True
    return out


def marked_units(characters: Bool, spans: Sequence[tuple[int, int]]) -> Bool:
    """Units of which at least half the characters are marked, shape (U,)."""
    return np.array([stop > start and characters[start:stop].mean() >= HALF for start, stop in spans], dtype=np.bool_)


def runs(marked: Bool) -> list[tuple[int, int]]:
    """Unbroken stretches of marked units: first and last-plus-one position."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False])).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _kind(item: Any) -> str:
    if isinstance(item, int) and not isinstance(item, bool):
        return "number"
    if isinstance(item, list) and len(item) == 2 and all(isinstance(end, int) for end in item):
        return "pair"
    if isinstance(item, dict) and isinstance(item.get("start"), int) and isinstance(item.get("end"), int):
        return "pair"
    return "other"


def _pair(item: Any) -> tuple[int, int]:
    if _kind(item) != "pair":
        return (-1, -1)
    if isinstance(item, dict):
        return (item["start"], item["end"])
    return cast("tuple[int, int]", tuple(item))
