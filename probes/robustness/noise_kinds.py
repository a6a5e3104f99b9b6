"""The kinds of everyday noise, all by one mechanism: a kind finds the places of a text that it could change and what may
stand there instead; how many of them are changed, and which, is drawn from the text alone.

It asks no model and counts nothing. Web addresses, e-mail addresses and @names stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probes.evidence import Message, message
from probes.robustness.noise_tables import (
    LOOKALIKES,
    NEGATIONS_LONGER,
    NEGATIONS_SHORTER,
    NEIGHBOURS,
    SPELLINGS,
    VERBS_LONGER,
    VERBS_SHORTER,
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A piece of a text, ``text[start:end]``, and what may stand there instead. Places of a text do not overlap."""

    start: int
    end: int
    options: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of noise: its name in plans, what it does, and the places it finds in a text, from left to right."""

    name: str
    says: Message
    places: Callable[[str], Iterator[Place]]


@dataclass(frozen=True, kw_only=True)
class Noised:
    """A text with noise, the places it had, and how many of them were changed."""

    text: str
    places: int
    changed: int


def add_noise(text: str, kind: Kind, rates: Sequence[float], rng: np.random.Generator) -> list[Noised]:
    """The text with noise at each rate.

    At a rate r, the nearest whole number to r times the places is changed, and at least one where there is a place. One
    order of places and one replacement a place serve every rate, so a higher rate changes what a lower one does, and
    more.

    Args:
        rates: shares of the places, in (0, 1].
        rng: decides order and replacements; derived from the text and the kind by the caller.
    """
    places = list(_outside(kind.places(text), [match.span() for match in _KEPT.finditer(text)]))
    if not places:
        return [Noised(text=text, places=0, changed=0) for _ in rates]
    order = rng.permutation(len(places))
    picks = rng.random(len(places))
    out = []
    for rate in rates:
        count = min(len(places), max(1, int(np.floor(rate * len(places) + 0.5))))
        chosen = np.sort(order[:count]).tolist()
        out.append(Noised(text=_replaced(text, places, chosen, picks.tolist()), places=len(places), changed=count))
    return out


def _outside(places: Iterator[Place], kept: Sequence[tuple[int, int]]) -> Iterator[Place]:
    """The places that touch none of the spans; both go from left to right."""
    k = 0
    for place in places:
        while k < len(kept) and kept[k][1] <= place.start:
            k += 1
        if k == len(kept) or max(place.end, place.start + 1) <= kept[k][0]:
            yield place


def _replaced(text: str, places: Sequence[Place], chosen: Sequence[int], picks: Sequence[float]) -> str:
    parts, at = [], 0
    for i in chosen:
        place = places[i]
        parts += [text[at : place.start], place.options[int(picks[i] * len(place.options))]]
        at = place.end
    return "".join((*parts, text[at:]))


# The bounds keep a hostile text of one endless word from costing more than its length.
_KEPT = re.compile(r"https?://\S+|www\.\S+|[\w.+-]{1,64}@[\w-]{1,255}\.[\w.-]{1,255}|(?<!\w)@\w+")
_WORD = re.compile(r"[^\W\d_]+")
_SPOKEN = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_GAP = re.compile(r"(?<=\S)[^\S\n]+(?=\S)")
_MARK = re.compile(r"(?<!\d)[.,!?;:'\"\u2018\u2019\u201c\u201d\u3002\uff0c\uff01\uff1f\uff1b\uff1a\u3001\u2026-]")
_LONGEST = 30
_TYPED: Mapping[str, tuple[str, ...]] = {
    "'": ("\u2019",), "\u2019": ("'",), "\u2018": ("'",), '"': ("\u201d",), "\u201c": ('"',), "\u201d": ('"',),
    "-": ("\u2013", " "), "!": ("!!", "!!!"), "?": ("??", "?!"), ".": ("..", "..."), ",": (" ,",), "\u2026": ("...",),
    "\uff01": ("\uff01\uff01",), "\uff1f": ("\uff1f\uff1f",), "\u3002": ("\u3002\u3002",),
}  # fmt: skip


def _typos(text: str) -> Iterator[Place]:
    for word in _WORD.finditer(text):
        if len(word.group()) < 3:
            continue
        for at in range(word.start(), word.end()):
            letter = text[at]
            beside = NEIGHBOURS.get(letter.lower(), "")
            struck = tuple(key.upper() for key in beside) if letter.isupper() else tuple(beside)
            if struck:
                yield Place(start=at, end=at + 1, options=(*struck, "", letter * 2))


def _casing(text: str) -> Iterator[Place]:
    for word in _SPOKEN.finditer(text):
        found = word.group()
        others = dict.fromkeys((found.lower(), found.upper(), found[:1].upper() + found[1:].lower()))
        options = tuple(other for other in others if other != found)
        if options:
            yield Place(start=word.start(), end=word.end(), options=options)


def _punctuation(text: str) -> Iterator[Place]:
    end = len(text.rstrip())
    for match in re.finditer(rf"(?P<mark>{_MARK.pattern})|(?P<gap>(?<=\w)(?= \w))", text):
        if match.group("mark") is None:
            yield Place(start=match.start(), end=match.start(), options=(",", ".", " -"))
        else:
            yield Place(start=match.start(), end=match.end(), options=("", *_TYPED.get(match.group(), ())))
    if end and text[end - 1].isalnum():
        yield Place(start=end, end=end, options=(".", "!", "..."))


def _whitespace(text: str) -> Iterator[Place]:
    gaps = [Place(start=m.start(), end=m.end(), options=("", "  ", "\u00a0", "\n")) for m in _GAP.finditer(text)]
    splits = [
        Place(start=m.start(), end=m.end(), options=tuple(f"{w[:i]} {w[i:]}" for i in range(1, len(w))))
        for m in _WORD.finditer(text)
        if 4 <= len(w := m.group()) <= _LONGEST
    ]
    for place in sorted((*gaps, *splits), key=lambda p: p.start):
        options = tuple(o for o in place.options if o != text[place.start : place.end])
        yield Place(start=place.start, end=place.end, options=options)


def _lookalikes(text: str) -> Iterator[Place]:
    for at, letter in enumerate(text):
        if letter in LOOKALIKES:
            yield Place(start=at, end=at + 1, options=tuple(LOOKALIKES[letter]))


def _spelling(text: str) -> Iterator[Place]:
    for word in _WORD.finditer(text):
        found = word.group()
        others = SPELLINGS.get(found.lower())
        if others:
            yield Place(start=word.start(), end=word.end(), options=tuple(_cased(o, found) for o in others))


def _any(forms: Mapping[str, str]) -> str:
    """A pattern of all forms, the longest first; any apostrophe, and any gap of one or more blanks."""
    longest = sorted(forms, key=lambda form: (-len(form), form))
    return "|".join(re.escape(f).replace(r"\ ", "[ \u00a0]+").replace("'", "['\u2019]") for f in longest)


_PRONOUN = r"[ \u00a0]+(?:i|you|he|she|it|we|they)\b"
_CONTRACTION = re.compile(
    rf"(?<![\w'\u2019])(?:(?P<verb>{_any(VERBS_SHORTER)})(?=[ \u00a0]+\w)|(?P<not>{_any(NEGATIONS_SHORTER)})\b"
    rf"|(?:{_any(VERBS_LONGER)})(?!\w)|(?:{_any(NEGATIONS_LONGER)})(?!\w|{_PRONOUN}))",
    re.IGNORECASE,
)
_OTHER_FORM = {**VERBS_SHORTER, **NEGATIONS_SHORTER, **VERBS_LONGER, **NEGATIONS_LONGER}


def _contractions(text: str) -> Iterator[Place]:
    for match in _CONTRACTION.finditer(text):
        found = match.group()
        plain = " ".join(found.lower().replace("\u2019", "'").split())
        other = _cased(_OTHER_FORM[plain], found)
        if other.startswith("i'") or other.startswith("i "):
            other = f"I{other[1:]}"
        yield Place(start=match.start(), end=match.end(), options=(other,))


def _cased(word: str, like: str) -> str:
    """``word`` in the case of ``like``: capitals, a first capital, or as it is."""
    letters = [c for c in like if c.isalpha()]
    if len(letters) > 1 and all(c.isupper() for c in letters) and not like.startswith(("I'", "I\u2019")):
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word


_ALL = (
    Kind(
        name="typos",
        says=message("letters of words of three or more: a neighbouring key, a missed key or a doubled one"),
        places=_typos,
    ),
    Kind(name="casing", says=message("words in capitals, in small letters, or with a first capital"), places=_casing),
    Kind(
        name="punctuation",
        says=message("marks dropped, repeated or typed otherwise, and marks added between words and at the end"),
        places=_punctuation,
    ),
    Kind(
        name="whitespace",
        says=message("gaps lost, doubled, unbreakable or a new line, and words split in two"),
        places=_whitespace,
    ),
    Kind(
        name="lookalikes",
        says=message("Latin letters replaced by letters of other scripts that look the same"),
        places=_lookalikes,
    ),
    Kind(name="spelling", says=message("British spellings for American ones, and the reverse"), places=_spelling),
    Kind(name="contractions", says=message("contractions written out, and the reverse"), places=_contractions),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}
