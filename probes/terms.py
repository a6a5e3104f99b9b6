"""Terms as they stand in texts: whole words, and the capitals that a word takes from the one whose place it takes. It knows no list
of terms and no language beyond which scripts leave no spaces between words.
"""

from __future__ import annotations

import re
import unicodedata


def bounded(term: str) -> str:
    """A pattern for the term as a whole word; scripts that write no spaces have no such bounds."""
    before = "" if unicodedata.category(term[:1] or " ") == "Lo" else r"(?<!\w)"
    after = "" if unicodedata.category(term[-1:] or " ") == "Lo" else r"(?!\w)"
    return f"{before}{re.escape(term)}{after}"


def in_capitals(text: str, like: str) -> str:
    """``text`` in capitals if ``like`` is (more than one letter), with a capital if it begins with one, and as it is otherwise."""
    if like.isupper() and len(like) > 1:
        return text.upper()
    return text[:1].upper() + text[1:] if like[:1].isupper() else text
