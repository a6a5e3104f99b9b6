"""The lists of words that say who is meant: read from the files in `probes/fairness/lexicon`, checked, and extended by a plan. It
finds nothing in texts; `probes.fairness.rewriting` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from probes.errors import ProbeError

LANGUAGES = ("en", "zh")
KINDS = (
    "phrase", "noun", "adjective", "of_person", "subject", "reflexive", "object", "possessive", "absolute", "name",
)  # fmt: skip
Terms = Mapping[str, Mapping[str, Sequence[str | None]]]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One meaning in one grammatical form: a word an identity, in the attribute's order; None where an identity has none."""

    kind: str
    words: tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """What people differ in, such as religion: its identities, and lines of words."""

    name: str
    identities: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class WordList:
    """One language's words.

    Attributes:
        attributes: in the file's order.
        persons, closers, determiners, not_terms, an_before, a_before: as the comments in ``en.yaml`` say.
    """

    language: str
    attributes: tuple[Attribute, ...]
    persons: frozenset[str] = frozenset()
    closers: frozenset[str] = frozenset()
    determiners: frozenset[str] = frozenset()
    not_terms: tuple[str, ...] = ()
    an_before: frozenset[str] = frozenset()
    a_before: frozenset[str] = frozenset()


@lru_cache(maxsize=len(LANGUAGES))
def word_list(language: str) -> WordList:
    """The list of one of `LANGUAGES`.

    Raises:
        ProbeError: the file breaks its own rules; the message says where.
    """
    from ruamel.yaml import YAML

    return read(YAML(typ="safe", pure=True).load(_text(language)))


def read(raw: Mapping[str, Any]) -> WordList:
    """A word list from what its file holds.

    Raises:
        ProbeError: an unknown key or form, a line with too many or too few words, or with no two to swap.
    """
    where = f"the word list {raw.get('language')!r}"
    parts = ("persons", "closers", "determiners", "an_before", "a_before")
    unknown = set(raw) - {"language", "attributes", "not_terms", *parts}
    if unknown:
        raise ProbeError(f"{where} has the key {min(unknown)!r}", expected=f"not_terms, {', '.join(parts)}")
    attributes = tuple(_attribute(name, body, where) for name, body in raw["attributes"].items())
    sets = {part: frozenset(word.casefold() for word in raw.get(part, ())) for part in parts}
    return WordList(language=raw["language"], attributes=attributes, not_terms=tuple(raw.get("not_terms", ())), **sets)


def extend(words: WordList, terms: Terms, only: Sequence[str] | None) -> WordList:
    """The list with a plan's terms before its own, and with the attributes ``only`` if that is not None.

    Args:
        words: a language's list.
        terms: words by attribute and identity. The words of an attribute's identities stand for one another by position, so
            each identity has as many; None where it has no such word.
        only: attributes to keep, of the list's and the plan's.

    Raises:
        ProbeError: positions do not match, or ``only`` names an attribute that nothing lists.
    """
    known = {a.name: a for a in words.attributes}
    for name, by_identity in terms.items():
        added = check_terms(name, by_identity)
        old = known.get(name) or Attribute(name=name, identities=(), lines=())
        identities = tuple(dict.fromkeys((*old.identities, *by_identity)))
        at = {identity: i for i, identity in enumerate(by_identity)}
        mine = [Line(kind="phrase", words=tuple(row[at[i]] if i in at else None for i in identities)) for row in added]
        gap = (None,) * (len(identities) - len(old.identities))
        theirs = [Line(kind=line.kind, words=(*line.words, *gap)) for line in old.lines]
        known[name] = Attribute(name=name, identities=identities, lines=(*mine, *theirs))
    if only is not None:
        known = {name: known[name] for name in known if name in only}
    return WordList(
        **{**{f: getattr(words, f) for f in words.__dataclass_fields__}, "attributes": tuple(known.values())}
    )


def check_terms(attribute: str, by_identity: Mapping[str, Sequence[str | None]]) -> list[tuple[str | None, ...]]:
    """A plan's words of one attribute, by position.

    Raises:
        ProbeError: fewer than two identities, unequal numbers of words, an empty word, or a position with fewer than two.
    """
    lengths = {identity: len(words) for identity, words in by_identity.items()}
    if len(lengths) < 2 or len(set(lengths.values())) != 1:
        said = ", ".join(f"{identity}: {length}" for identity, length in lengths.items()) or "none"
        raise ProbeError(
            f"the terms of {attribute!r} have these numbers of words: {said}",
            expected="two or more identities with as many words each, as words at the same position stand for one another",
            fix="write null where an identity has no such word",
        )
    rows = list(zip(*by_identity.values(), strict=True))
    for position, row in enumerate(rows, start=1):
        given = [word for word in row if word is not None]
        if any(not word.strip() for word in given) or len(given) < 2:
            raise ProbeError(
                f"position {position} of the terms of {attribute!r} is {list(row)}",
                expected="words for two identities at least, and no empty one",
            )
    return rows


def attribute_names(languages: Sequence[str]) -> list[str]:
    """Every attribute that the lists of some languages have."""
    return list(dict.fromkeys(a.name for language in languages for a in word_list(language).attributes))


def digest() -> str:
    """sha256 over every list: answers to rewritten texts are kept for the lists that rewrote them."""
    return hashlib.sha256("\0".join(_text(language) for language in LANGUAGES).encode()).hexdigest()


def _text(language: str) -> str:
    return (resources.files("probes.fairness.lexicon") / f"{language}.yaml").read_text(encoding="utf-8")


def _attribute(name: str, body: Mapping[str, Any], where: str) -> Attribute:
    identities = tuple(body["identities"])
    lines = []
    for kind, rows in body["forms"].items():
        if kind not in KINDS:
            raise ProbeError(f"{where} has the form {kind!r} under {name}", expected=f"one of {', '.join(KINDS)}")
        for row in rows:
            if len(row) != len(identities) or sum(word is not None for word in row) < 2:
                raise ProbeError(
                    f"{where} has {row} under {name}, {kind}",
                    expected=f"a word for each of {', '.join(identities)}, ~ where there is none, and two at least",
                )
            lines.append(Line(kind=kind, words=tuple(row)))
    return Attribute(name=name, identities=identities, lines=tuple(lines))
