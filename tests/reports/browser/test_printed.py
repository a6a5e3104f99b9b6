"""The page on paper: the browser's own print to PDF, read back as text."""

from __future__ import annotations

import io
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes.evidence import format_number
from reports.page import render
from reports.record import AuditRecord, Verdict

if TYPE_CHECKING:
    from playwright.sync_api import Browser

OPENED = """(() => { document.querySelectorAll('details').forEach(d => { d.open = true });
  return [...document.querySelectorAll('main td, main th, main p, main li, main dd')]
    .filter(e => !e.closest('svg, .quiet, nav') && e.checkVisibility())
    .map(e => e.innerText) })()"""


def squeezed(text: str) -> str:
    """Without white space and without the marks that a PDF sets or leaves out at line ends, ligatures taken apart."""
    return re.sub(r"[\s\u00ad\u200b-]+", "", unicodedata.normalize("NFKC", text))


@pytest.fixture(scope="module")
def printed(browser: Browser, site: Path, record: AuditRecord, verdict: Verdict) -> tuple[list[str], list[str]]:
    """The text of every printed page, folds closed when it was printed; and every text that the page holds."""
    pypdf = pytest.importorskip("pypdf", reason="needs the dev extra's pypdf")
    path = site / "printed.html"
    path.write_text(render(record, verdict), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    pdf = page.pdf(format="A4", print_background=True)
    held = page.evaluate(OPENED)
    return [p.extract_text() for p in pypdf.PdfReader(io.BytesIO(pdf)).pages], held


def test_every_rule_and_its_value_are_on_paper(printed: tuple[list[str], list[str]], verdict: Verdict) -> None:
    whole = squeezed(" ".join(printed[0]))
    for ruling in verdict.rulings:
        assert squeezed(ruling.check.rule.id) in whole
        if ruling.value is not None:
            assert squeezed(format_number(ruling.value)) in whole


def test_every_fold_is_open_and_nothing_is_cut(printed: tuple[list[str], list[str]]) -> None:
    whole = squeezed(" ".join(printed[0]))
    # A cell that breaks across pages reads in another order, so its words are looked for one by one.
    lost = {w for text in printed[1] for w in text.split() if len(w) < 40 and squeezed(w) not in whole}
    assert lost == set()


def test_every_sheet_says_verdict_and_digest(printed: tuple[list[str], list[str]], record: AuditRecord) -> None:
    assert 3 < len(printed[0]) < 60
    for number, text in enumerate(printed[0], 1):
        assert squeezed(record.subject.digest[:12]) in squeezed(text), number
        assert "fail" in text.lower(), number
