"""Languages of the report: where catalogues lie and how a `Message` is said in one of them. Translates no data.

Numbers are written alike in every language, so that two pages of one record can be held side by side. Days are written in
words by Babel's tables.
"""

from __future__ import annotations

import gettext
import re
from datetime import date
from functools import lru_cache
from pathlib import Path

from probes.evidence import Bars, Curve, Evidence, ImageGrid, IntervalPlot, Message, format_number
from reports.errors import RecordError

LOCALE = Path(__file__).parent / "locale"
DOMAIN = "plumbline"
ENGLISH = "en"
_DAYS = {ENGLISH: "en_GB"}


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


def say(value: Message | str | int | float | date | None, language: str = ENGLISH) -> str:
    """A sentence in the language, a number as people read it, a day in words, text as it is; None is a dash."""
    if isinstance(value, Message):
        return value.fill(catalogue(language).gettext)
    if isinstance(value, date):
        return _day(value, language)
    if value is None:
        return "–"
    return value if isinstance(value, str) else format_number(value)


def _day(day: date, language: str) -> str:
    # Late: Babel's tables are only needed where a page is written.
    from babel.dates import format_date

    return str(format_date(day, "long", locale=_DAYS.get(language, language)))


def unit_said(unit: str, language: str = ENGLISH) -> str:
    """A unit in the language; one that no catalogue knows stays as it is."""
    return catalogue(language).gettext(unit) if unit else ""


def in_language(evidence: Evidence, language: str) -> Evidence:
    """The same evidence with its labels and its unit as text in the language, for pictures, which know no language."""
    if isinstance(evidence, Curve):
        series = tuple(s.model_copy(update={"label": say(s.label, language)}) for s in evidence.series)
        return evidence.model_copy(update={"series": series})
    if isinstance(evidence, ImageGrid):
        tiles = tuple(t.model_copy(update={"label": say(t.label, language)}) for t in evidence.tiles)
        return evidence.model_copy(update={"tiles": tiles})
    if isinstance(evidence, IntervalPlot):
        points = tuple(p.model_copy(update={"label": say(p.label, language)}) for p in evidence.points)
        return evidence.model_copy(update={"points": points, "unit": unit_said(evidence.unit, language)})
    if isinstance(evidence, Bars):
        bars = tuple(b.model_copy(update={"label": say(b.label, language)}) for b in evidence.bars)
        return evidence.model_copy(update={"bars": bars, "unit": unit_said(evidence.unit, language)})
    return evidence
