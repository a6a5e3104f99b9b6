"""Protected terms in texts: where they stand, which of the data's group values are such terms, and a text with one swapped for
another. It decides nothing about a model, and it knows no grammar: a swapped text may read badly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from probes.terms import bounded, in_capitals

OWN_SHARE = 0.05
OWN_RATIO = 2.0


@dataclass(frozen=True, kw_only=True)
class Term:
    """A word, or several, that names something protected; ``concept`` is what its swaps share."""

    concept: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """A term in a text: first and last-plus-one character of every place where it stands."""

    term: Term
    spans: tuple[tuple[int, int], ...]


class Lexicon:
    """Terms, ready to be found; the longest wins where several begin at one place. Upper and lower case are the same.

    Args:
        concepts: terms by concept. A term that several concepts list belongs to the first.
    """

    def __init__(self, concepts: Mapping[str, Sequence[str]]) -> None:
        self._terms: dict[str, Term] = {}
        for concept, texts in concepts.items():
            for text in texts:
                self._terms.setdefault(text.casefold(), Term(concept=concept, text=text))
        longest = sorted((t.text for t in self._terms.values()), key=lambda t: (-len(t), t))
        self._pattern = re.compile("|".join(map(bounded, longest)) or r"(?!)", re.IGNORECASE)

    @property
    def terms(self) -> tuple[Term, ...]:
        """Every term, in the order given."""
        return tuple(self._terms.values())

    def others(self, term: Term) -> tuple[Term, ...]:
        """What a term can be swapped for."""
        return tuple(t for t in self._terms.values() if t.concept == term.concept and t != term)

    def find(self, text: str) -> tuple[Found, ...]:
        """The terms in a text, by their first place."""
        places: dict[Term, list[tuple[int, int]]] = {}
        for match in self._pattern.finditer(text):
            term = self._terms.get(match.group().casefold())
            if term is not None:
                places.setdefault(term, []).append(match.span())
        return tuple(Found(term=term, spans=tuple(spans)) for term, spans in places.items())


def swap(text: str, found: Found, other: Term) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The text with every place of a term taken by another, in the capitals of the first, and the new places."""
    out, spans, end, length = [], [], 0, 0
    for start, stop in found.spans:
        kept, put = text[end:start], in_capitals(other.text, text[start:stop])
        out += [kept, put]
        length += len(kept)
        spans.append((length, length + len(put)))
        length += len(put)
        end = stop
    out.append(text[end:])
    return "".join(out), tuple(spans)


def group_terms(texts: Sequence[str], groups: Mapping[str, Sequence[str | None]]) -> dict[str, tuple[str, ...]]:
    """The values of sensitive features that name their group in the texts, by feature.

    A value counts if it stands in at least 5 % of its own group's texts and twice as often there as in the others, so that
    ``no`` of a yes-or-no column is none.
    """
    out: dict[str, tuple[str, ...]] = {}
    for feature, values in groups.items():
        kept = []
        for value in sorted({v for v in values if v}):
            pattern = re.compile(bounded(value), re.IGNORECASE)
            held = [pattern.search(t) is not None for t in texts]
            own = [h for h, v in zip(held, values, strict=True) if v == value]
            rest = [h for h, v in zip(held, values, strict=True) if v is not None and v != value]
            here = sum(own) / len(own)
            there = sum(rest) / len(rest) if rest else 0.0
            if here >= OWN_SHARE and here >= OWN_RATIO * there:
                kept.append(value)
        if kept:
            out[feature] = tuple(kept)
    return out


def units_in(spans: Sequence[tuple[int, int]], places: Sequence[tuple[int, int]]) -> list[int]:
    """Positions of the units whose characters overlap one of ``places``."""
    return [i for i, (a, b) in enumerate(spans) if any(a < stop and start < b for start, stop in places)]
