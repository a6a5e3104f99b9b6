"""Texts with another person meant: finds the words of one attribute that say who, and writes the text again for each other identity.

Pronouns and words that are spelled alike in two forms are told apart by the word after them, capitals are kept, and an "a" or
"an" before a swapped word follows it. Nothing else of a text changes. Addresses, @names and #tags are left alone, and a text that
names two identities of one attribute is left out, because nobody could say whom it is about. It parses no sentence.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from probes.fairness.wordlists import Attribute, WordList
from probes.terms import bounded, in_capitals

_PROTECTED = r"https?://[!-~]+|www\.[!-~]+|[\w.+-]+@[\w-]+\.[\w.]+|[@#]\w+"
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_RUN = re.compile(r"\w+")
_ARTICLE = re.compile(r"(?<!\w)(an?)(\s+)$", re.IGNORECASE)
_SENTENCE = re.compile(r"(?:^|[.!?]\s+)[\"'“‘(]*$")
_BEFORE_A_WORD = ("possessive", "adjective")
Span = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A place where a text says who is meant.

    Attributes:
        span: first and last-plus-one character.
        identity: whom the word names, as a position in the attribute's identities.
        line: which line of the attribute it is from.
        ruled: the word is spelled alike in two forms, and the word after it decided.
    """

    span: Span
    identity: int
    line: int
    ruled: bool


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The spots of one attribute in a text.

    Attributes:
        spots: in order.
        identities: positions of the identities that they name, sorted.
    """

    spots: tuple[Spot, ...]

    @property
    def identities(self) -> tuple[int, ...]:
        return tuple(sorted({spot.identity for spot in self.spots}))

    @property
    def ruled(self) -> bool:
        return any(spot.ruled for spot in self.spots)


class Rewriter:
    """Finds and swaps the words of one attribute.

    Args:
        words: the language's rules.
        attribute: one of its attributes.
    """

    def __init__(self, words: WordList, attribute: Attribute) -> None:
        self.attribute = attribute
        self._words = words
        self._entries: dict[str, list[tuple[int, int]]] = {}
        for number, line in enumerate(attribute.lines):
            for identity, word in enumerate(line.words):
                if word is not None:
                    self._entries.setdefault(word.casefold(), []).append((number, identity))
        skipped = {word.casefold() for word in words.not_terms}
        every = sorted((set(self._entries) | skipped) - {""}, key=lambda w: (-len(w), w))
        names = "|".join(f"(?:{bounded(word)})" for word in every)
        self._pattern = re.compile(f"(?P<skip>{_PROTECTED})|{names}" if names else _PROTECTED, re.IGNORECASE)
        self._skipped = skipped
        heads = {match.group() if (match := _RUN.match(key)) else key[:1] for key in self._entries}
        self._heads = frozenset(head for head in heads if not _within_others(head))
        self._characters = frozenset(head[0] for head in heads if _within_others(head))

    def find(self, text: str) -> Finding:
        """Where a text says who is meant; the longest word wins where several begin at one place."""
        if not self._may_hold(text):
            return Finding(spots=())
        spots = []
        for match in self._pattern.finditer(text):
            key = match.group().casefold()
            if match.group("skip") is not None or key in self._skipped:
                continue
            spot = self._spot(text, match.span(), self._entries[key])
            if spot is not None:
                spots.append(spot)
        return Finding(spots=tuple(spots))

    def _may_hold(self, text: str) -> bool:
        """Whether a text has the beginning of some word: most have none, and looking that up is far quicker than the pattern."""
        folded = text.casefold()
        return not self._heads.isdisjoint(_RUN.findall(folded)) or not self._characters.isdisjoint(folded)

    def rewrite(self, text: str, found: Finding, identity: int) -> str | None:
        """The text with every spot of ``found`` naming ``identity``; None where a word has no such form."""
        out, end = [], 0
        for spot in found.spots:
            start, stop = spot.span
            word = self.attribute.lines[spot.line].words[identity]
            if word is None:
                return None
            old = text[start:stop]
            listed = self.attribute.lines[spot.line].words[spot.identity] or ""
            new = _as_written(word, old, listed, opens=_SENTENCE.search(text[:start]) is not None)
            kept = text[end:start]
            article = _ARTICLE.search(text[:start])
            if article is not None and article.start() >= end and self._takes_an(old) != self._takes_an(new):
                kept = text[end : article.start()] + _article(article.group(1), new) + article.group(2)
            out += [kept, new]
            end = stop
        return "".join((*out, text[end:]))

    def _spot(self, text: str, span: Span, entries: list[tuple[int, int]]) -> Spot | None:
        found = text[slice(*span)]
        kinds = {self.attribute.lines[line].kind for line, _ in entries}
        after = self._next_word(text, span[1])
        fitting = [e for e in entries if self._fits(e, found, after, text[: span[0]], kinds)]
        if not fitting:
            return None
        line, identity = fitting[0]
        forms = kinds & {"noun", "adjective", "object", "possessive", "absolute"}
        return Spot(span=span, identity=identity, line=line, ruled=len(forms) > 1)

    def _fits(self, entry: tuple[int, int], found: str, after: str, before: str, kinds: set[str]) -> bool:
        """Whether a word that is listed in several forms stands here in this one."""
        line, identity = entry
        kind = self.attribute.lines[line].kind
        if kind == "name":
            listed = self.attribute.lines[line].words[identity] or ""
            return found in (listed, listed.upper())
        if kind == "of_person":
            return after in self._words.persons
        if not kinds & set(_BEFORE_A_WORD):
            return True
        leads = bool(after) and after not in self._words.closers
        if {"noun", "adjective"} <= kinds and kind in ("noun", "adjective"):
            return (kind == "noun") == (not leads and self._after_article(before))
        if kind == "possessive":
            return leads
        return not leads if kind in ("object", "absolute") else True

    def _after_article(self, before: str) -> bool:
        """Whether a noun could end here: a determiner right before, or "a" or "an" one word further back."""
        last = [word.casefold() for word in _WORD.findall(before)[-2:]]
        return bool(last) and (last[-1] in self._words.determiners or last[0] in ("a", "an"))

    def _next_word(self, text: str, at: int) -> str:
        """The word right after a place, in lower case; empty where something other than one space stands between."""
        gap = re.compile(r"[ \u00a0]+").match(text, at)
        found = _WORD.match(text, gap.end()) if gap else None
        return found.group().casefold() if found else ""

    def _takes_an(self, word: str) -> bool:
        key = word.casefold()
        if key in self._words.an_before:
            return True
        return key[:1] in "aeiou" and key not in self._words.a_before


def _within_others(head: str) -> bool:
    """Whether a beginning may stand right beside other letters: that of a script without spaces, or no letter at all."""
    return not head[:1].isalnum() or any(unicodedata.category(character) == "Lo" for character in head)


def _as_written(word: str, old: str, listed: str, *, opens: bool) -> str:
    """The new word in the capitals of the old one: as listed where the old one is, except at the start of a sentence."""
    if old == listed:
        return word[:1].upper() + word[1:] if opens and old[:1].isupper() else word
    return word.lower() if old.islower() else in_capitals(word, old)


def _article(old: str, new: str) -> str:
    right = "an" if len(old) == 1 else "a"
    if old.isupper():
        return right.upper() if new.isupper() and len(new) > 1 else right[:1].upper() + right[1:]
    return right[:1].upper() + right[1:] if old[:1].isupper() else right
