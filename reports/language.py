"""Languages of the report: where catalogues lie and how a `Message` is said in one of them. Translates no data."""

from __future__ import annotations

import gettext
import re
from functools import lru_cache
from pathlib import Path

from probes.evidence import Message, format_number
from reports.errors import RecordError

LOCALE = Path(__file__).parent / "locale"
DOMAIN = "plumbline"
ENGLISH = "en"


def languages() -> tuple[str, ...]:
    """English, and every language with a compiled catalogue."""
    found = {p.parent.parent.name for p in LOCALE.glob(f"*/LC_MESSAGES/{DOMAIN}.mo")}
    return (ENGLISH, *sorted(found - {ENGLISH}))


@lru_cache(maxsize=8)
def catalogue(language: str) -> gettext.NullTranslations:
    """The catalogue of a language; English needs none, because the messages are their own keys.

    Raises:
        RecordError: there is no catalogue of that name.
    """
    if language == ENGLISH:
        return gettext.NullTranslations()
    if not re.fullmatch(r"[A-Za-z]{2,3}([_-][A-Za-z]{2,8})*", language) or language not in languages():
        raise RecordError(f"the report cannot be written in {language!r}", expected=f"one of {', '.join(languages())}")
    return gettext.translation(DOMAIN, LOCALE, [language])


def say(value: Message | str | int | float | None, language: str = ENGLISH) -> str:
    """A sentence in the language, a number as people read it, text as it is; None is a dash."""
    if isinstance(value, Message):
        return value.fill(catalogue(language).gettext)
    if value is None:
        return "–"
    return value if isinstance(value, str) else format_number(value)
