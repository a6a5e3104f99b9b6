"""The first screen in a notebook's cell: short, still, and nothing that leaves the cell."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from reports.cell import MOST_BYTES, line, render_cell
from reports.record import AuditRecord, Verdict

VOID = {"br", "path", "circle"}
ALLOWED = {
    "div", "style", "p", "ul", "li", "strong", "span", "svg", "path", "circle", "table", "caption", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
ATTRIBUTES = {"class", "role", "aria-label", "aria-hidden", "viewbox", "width", "height", "d", "cx", "cy", "r", "scope"}


class Reader(HTMLParser):
    """Gathers tags, attributes, text and style, and checks that tags close in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self.style = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {k for k, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {k for k, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    assert reader.open == []
    return reader


def test_it_says_verdict_reasons_facts_and_every_check(record: AuditRecord, verdict: Verdict) -> None:
    words = read(render_cell(record, verdict)).words
    assert "Fail Hiring screen, spring release" in words
    assert "Equal opportunity difference" in words
    assert "0.143" in words
    assert record.subject.digest[:12] in words
    assert "does not cover" in words
    for ruling in verdict.rulings:
        assert ruling.check.rule.id in words


def test_nothing_in_it_can_run_load_link_or_name_a_place(record: AuditRecord, verdict: Verdict) -> None:
    """No id either: a page may hold many cells. No heading: a notebook's outline would list it."""
    reader = read(render_cell(record, verdict))
    assert reader.tags <= ALLOWED
    assert reader.attributes <= ATTRIBUTES
    assert "url(" not in reader.style
    assert "@" not in reader.style


def test_every_rule_of_style_is_about_the_cell_alone(record: AuditRecord, verdict: Verdict) -> None:
    style = read(render_cell(record, verdict)).style
    selectors = [s.strip() for part in re.findall(r"([^{}]+)\{", style) for s in part.split(",")]
    assert len(selectors) > 10
    assert [s for s in selectors if not s.startswith(".plumbline-cell.plumbline-cell.plumbline-cell")] == []
    assert "fixed" not in style and "absolute" not in style and "z-index" not in style


def test_hostile_text_stays_text(record: AuditRecord, verdict: Verdict, hostile: str) -> None:
    poisoned = record.model_copy(update={"name": f"{hostile}</style></div></td>\u202e"})
    markup = render_cell(poisoned, verdict)
    reader = read(markup)
    assert reader.tags <= ALLOWED
    assert hostile in reader.words
    assert "\u202e" not in markup


def test_it_stays_small_however_many_checks_there_are(record: AuditRecord, verdict: Verdict) -> None:
    many = verdict.model_copy(update={"rulings": verdict.rulings * 300, "warnings": verdict.warnings * 300})
    markup = render_cell(record, many)
    assert len(markup.encode()) <= MOST_BYTES
    assert f"{300 * len(verdict.rulings) - 50} more checks are in result.checks()" in read(markup).words
    long = "x" * 10_000
    rule = verdict.rulings[0].check.rule.model_copy(update={"id": "a" * 120})
    check = verdict.rulings[0].check.model_copy(update={"rule": rule})
    wordy = many.model_copy(
        update={
            "rulings": tuple(r.model_copy(update={"check": check}) for r in many.rulings),
            "warnings": tuple(w.model_copy(update={"text": long}) for w in many.warnings),
        }
    )
    assert len(render_cell(record.model_copy(update={"name": long}), wordy).encode()) <= MOST_BYTES


def test_no_checks_is_no_pass(record: AuditRecord, verdict: Verdict) -> None:
    none = verdict.model_copy(update={"rulings": (), "outcome": "error"})
    assert "No check was made. This is not a pass." in read(render_cell(record, none)).words


def test_a_verdict_that_stopped_nothing_says_so(record: AuditRecord, make_verdict: Callable[..., Verdict]) -> None:
    assert "NOT ENFORCED" in read(render_cell(record, make_verdict(record, enforced=False))).words


@pytest.mark.parametrize("name", ["plain", "x" * 10_000, "two\nlines\x1b[31m"])
def test_a_terminal_gets_one_short_line(record: AuditRecord, verdict: Verdict, name: str) -> None:
    said = line(record.model_copy(update={"name": name}), verdict.model_copy(update={"reasons": verdict.reasons * 5}))
    assert len(said) < 400
    assert said.isprintable()
    assert ": fail. " in said
    assert said.endswith("(+4 more)>")
