"""One record in every language: complete catalogues, the same numbers, and no sentence of ours that a catalogue cannot reach.

The last is shown by a language that nobody speaks: every sentence that the catalogues know is set in brackets. What stands
outside of them on the page must come from the data.
"""

from __future__ import annotations

import gettext
import re
from collections.abc import Iterator
from datetime import date
from html.parser import HTMLParser
from typing import Any

import pytest

import reports.language
import reports.markup
import reports.page
from audit.catalogues import numbers, read
from probes.evidence import IntervalPlot, IntervalPoint, Need, message
from reports.language import in_language, languages, say, unit_said
from reports.page import render
from reports.record import AuditRecord, Verdict
from reports.regulations import regulations
from reports.showing import Showing

NAME = "qps"
_WORD = re.compile(r"[^\W\d_]{2,}")
_KEPT = re.compile(r"(\{[a-z0-9_]+%?\}|%\([a-z]+\)[sd])")
_ACCENTS = str.maketrans("aeiounyc", "áéíóúñýç")
_VOID = {"meta", "br", "img", "link", "path", "circle", "rect", "use"}


def _sentences() -> set[str]:
    ids = [entry.id for entry in read("zh_CN") if entry.id]
    return {one for key in ids for one in ([key] if isinstance(key, str) else key)}


class Pseudo(gettext.NullTranslations):
    """Sets what the catalogues know in brackets, and leaves the rest as it is."""

    def __init__(self) -> None:
        super().__init__()
        self._known = _sentences()

    def gettext(self, message: str) -> str:
        if message not in self._known:
            return message
        parts = _KEPT.split(message)
        return "⟦" + "".join(p if i % 2 else p.translate(_ACCENTS) for i, p in enumerate(parts)) + "⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)


class _Texts(HTMLParser):
    def __init__(self, silent: set[str]) -> None:
        super().__init__()
        self._silent = silent
        self.found: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self._inside.append(tag)
        for name, value in attrs:
            if name in ("alt", "aria-label", "title", "placeholder") and value:
                self.found.append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            while self._inside.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if data.strip() and not self._silent & set(self._inside):
            self.found.append(" ".join(data.split()))


def texts(page: str, silent: frozenset[str] = frozenset()) -> list[str]:
    """What a reader of the page sees or is read out, but for style and for elements that are to be left out."""
    parser = _Texts({"style", "script", *silent})
    parser.feed(page)
    return parser.found


def data_of(value: Any, sentences: set[str]) -> Iterator[str]:
    """Every text in a dump that no catalogue can know: names, classes, parameters, sentences of somebody else's probes."""
    if isinstance(value, str):
        if value not in sentences:
            yield value
    elif isinstance(value, dict):
        yield from (str(name) for name in value)
        for inner in value.values():
            yield from data_of(inner, sentences)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from data_of(inner, sentences)


def days(verdict: Verdict) -> list[date]:
    """Days that the page writes in words."""
    return [verdict.decided_on, *(day for w in verdict.waivers for day in (w.approved_on, w.expires))]


def outside(text: str) -> str:
    """What stands in no bracket."""
    depth, kept = 0, []
    for letter in text:
        if letter == "⟦":
            depth += 1
        elif letter == "⟧":
            depth -= 1
        elif not depth:
            kept.append(letter)
    return "".join(kept)


@pytest.fixture
def pseudo_page(monkeypatch: pytest.MonkeyPatch, record: AuditRecord, verdict: Verdict) -> str:
    spoken = Pseudo()
    monkeypatch.setattr(reports.language, "catalogue", lambda _: spoken)
    monkeypatch.setattr(reports.markup, "catalogue", lambda _: spoken)
    monkeypatch.setitem(reports.language._DAYS, NAME, "en_GB")
    return render(record, verdict, Showing(language=NAME))


def test_every_sentence_of_ours_is_said_in_the_language(
    pseudo_page: str, record: AuditRecord, verdict: Verdict
) -> None:
    sentences, words = _sentences(), set[str]()
    for whole in (record, verdict):
        for one in data_of(whole.model_dump(mode="json"), sentences):
            words |= set(_WORD.findall(one))
    for framework in regulations():
        words |= set(_WORD.findall(framework.citation))
        for requirement in framework.requirements:
            words |= set(_WORD.findall(requirement.source))
    words |= {*_WORD.findall(" ".join(say(day, "en") for day in days(verdict))), *Need}
    words |= {w[:12] for w in words if len(w) == 64}
    found = texts(pseudo_page, frozenset({"code", "pre", "del", "ins", "mark"}))
    assert sum(text.startswith("⟦") for text in found) > 300
    left = {text: [w for w in _WORD.findall(outside(text)) if w not in words] for text in found}
    assert {text: rest for text, rest in left.items() if rest} == {}


def test_a_sentence_past_the_catalogues_would_be_seen() -> None:
    assert outside("⟦Vérdíct⟧: Pass, ⟦ón ⟦thé⟧ rówś⟧ kept") == ": Pass,  kept"
    assert texts('<p title="told">a <b>b</b><code>c</code></p><style>x</style>', frozenset({"code"})) == [
        "told",
        "a",
        "b",
    ]


@pytest.mark.parametrize("language", [one for one in languages() if one != "en"])
def test_numbers_are_the_same_in_every_language(record: AuditRecord, verdict: Verdict, language: str) -> None:
    english, other = (render(record, verdict, Showing(language=one)) for one in ("en", language))
    assert english != other
    assert numbers(" | ".join(texts(english))) == numbers(" | ".join(texts(other)))
    assert len(numbers(" | ".join(texts(english)))) > 500


def test_codes_ids_and_commands_stay_as_they_are(record: AuditRecord, verdict: Verdict) -> None:
    english, chinese = (render(record, verdict, Showing(language=one)) for one in ("en", "zh_CN"))
    assert '<html lang="zh-CN">' in chinese
    assert re.findall(r"<code>(.*?)</code>", english) == re.findall(r"<code>(.*?)</code>", chinese)
    assert re.findall(r' id="([^"]*)"', english) == re.findall(r' id="([^"]*)"', chinese)
    for outcome in ("pass", "fail", "inconclusive", "waived", "error"):
        assert f"（{outcome}）" in say(reports.page.wording.OUTCOME_WORDS[outcome], "zh_CN")
    assert "2026年3月14日" in chinese
    assert "14 March 2026" in english


def test_a_label_of_ours_is_said_and_a_name_from_the_data_is_not() -> None:
    ours = message("{group}, epsilon {name}", group="Fail", name="8")
    plot = IntervalPlot(
        title=message("Accuracy"), unit="rows",
        points=(IntervalPoint(label=ours, value=1.0), IntervalPoint(label="Fail", value=0.0)),
    )  # fmt: skip
    said = in_language(plot, "zh_CN")
    assert isinstance(said, IntervalPlot)
    assert [p.label for p in said.points] == ["Fail，epsilon 8", "Fail"]
    assert (said.unit, unit_said("furlongs", "zh_CN"), unit_said("", "zh_CN")) == ("行数", "furlongs", "")
    again = IntervalPlot.model_validate_json(plot.model_dump_json())
    assert again == plot
    assert IntervalPlot.model_validate({**plot.model_dump(), "points": [{"label": "as before", "value": 1.0}]})
