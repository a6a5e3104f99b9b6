"""Where two texts differ, word by word and letter by letter, so that a reader sees what was changed and what only looks the
same. Pure text in, pure text out: it knows no markup, and escaping is the page's business.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

LONGEST = 400
_LETTERS = 500
_PIECES = re.compile(r"\s+|\S+")
_ALIKE = 0.5
_SPACES = {" ": "␣", "\n": "⏎", "\t": "⇥"}
_UNSEEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"}


@dataclass(frozen=True)
class Run:
    """Letters next to each other that were touched alike.

    Attributes:
        text: as it stands in the text.
        touched: these letters, of a word that stayed otherwise, are the change.
        named: a name for a character that eyes miss, to be shown with it or, if it is ``unseen``, in its place.
    """

    text: str
    touched: bool = False
    named: str = ""
    unseen: bool = False


@dataclass(frozen=True)
class Piece:
    """A stretch of both texts, or of one.

    Attributes:
        kind: ``same`` in both, ``gone`` from the first, ``new`` in the second, ``cut`` where texts are too long to show.
        runs: its text; several where only some letters of a word changed.
        left_out: words that are not shown, of a ``cut``.
    """

    kind: Literal["same", "gone", "new", "cut"]
    runs: tuple[Run, ...] = ()
    left_out: int = 0

    @property
    def text(self) -> str:
        """As it stands in the text."""
        return "".join(run.text for run in self.runs)


def differences(before: str, after: str) -> tuple[Piece, ...]:
    """Both texts in one reading: what stayed, what went, what came, in order.

    Texts are compared by words and the spaces between them. Where a word was changed in place, the letters that differ are
    marked in both versions. Spaces that were changed, characters that cannot be seen, and letters from another script than
    their word had, are given a visible name.
    """
    a, b = _PIECES.findall(before), _PIECES.findall(after)
    a_shown, b_shown = a[: 2 * LONGEST], b[: 2 * LONGEST]
    out: list[Piece] = []
    # Spaces never hold two texts together by themselves: only the words beside them do.
    for _, a0, a1, b0, b1 in difflib.SequenceMatcher(str.isspace, a_shown, b_shown, autojunk=False).get_opcodes():
        one, two = a_shown[a0:a1], b_shown[b0:b1]
        head = _shared(one, two)
        tail = _shared(one[head:][::-1], two[head:][::-1])
        _same(out, one[:head])
        out += _changed("".join(one[head : len(one) - tail]), "".join(two[head : len(two) - tail]))
        _same(out, one[len(one) - tail :])
    left = max(len(a), len(b)) - 2 * LONGEST
    return (*out, Piece("cut", left_out=(left + 1) // 2)) if left > 0 else tuple(out)


def _shared(one: list[str], two: list[str]) -> int:
    """How many words both begin with."""
    differing = (k for k, (x, y) in enumerate(zip(one, two, strict=False)) if x != y)
    return next(differing, min(len(one), len(two)))


def _same(out: list[Piece], words: list[str]) -> None:
    """Add what is in both texts, to the last piece if that is so too."""
    if words:
        before = out.pop().text if out and out[-1].kind == "same" else ""
        out.append(Piece("same", (Run(before + "".join(words)),)))


def _changed(old: str, new: str) -> list[Piece]:
    kept_old, kept_new = _kept_letters(old, new)
    scripts = {_script(c) for c in old} - {""}
    gone = [Piece("gone", _runs(old, kept_old, set()))] if old else []
    return [*gone, Piece("new", _runs(new, kept_new, scripts))] if new else gone


def _kept_letters(old: str, new: str) -> tuple[list[bool], list[bool]]:
    """Which letters both versions share; none where they are too unlike to be one word with changes."""
    none = [False] * len(old), [False] * len(new)
    if not old or not new or max(len(old), len(new)) > _LETTERS:
        return none
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return none
    for block in matcher.get_matching_blocks():
        for k in range(block.size):
            none[0][block.a + k] = none[1][block.b + k] = True
    return none


def _runs(text: str, kept: list[bool], scripts: set[str]) -> tuple[Run, ...]:
    """The text in stretches; letters are marked only where some of the text was kept."""
    partly = any(kept) and not all(kept)
    out: list[Run] = []
    for letter, was_kept in zip(text, kept, strict=True):
        touched = partly and not was_kept
        run = Run(letter, touched)
        if not was_kept and letter in _SPACES:
            # The space between two words that were both replaced is no news.
            run = Run(letter, touched, _SPACES[letter], unseen=True) if partly or text.isspace() else run
        elif not was_kept and (unicodedata.category(letter) in _UNSEEN or unicodedata.combining(letter)):
            run = Run(letter, touched, f"[U+{ord(letter):04X}]", unseen=True)
        elif not was_kept and _looks_alike(letter, scripts):
            run = Run(letter, touched, f"[U+{ord(letter):04X}]")
        if out and not run.named and not out[-1].named and out[-1].touched == touched:
            out[-1] = Run(out[-1].text + letter, touched)
        else:
            out.append(run)
    return tuple(out)


def _looks_alike(letter: str, scripts: set[str]) -> bool:
    """Whether a letter may pass for another: of a script that its word did not have, or a variant form of a plain letter."""
    script = _script(letter)
    return unicodedata.normalize("NFKC", letter) != letter or bool(scripts and script and script not in scripts)


def _script(letter: str) -> str:
    """The script of a letter, by the first word of its Unicode name; empty for what is no letter."""
    return unicodedata.name(letter, "").partition(" ")[0] if letter.isalpha() else ""
