"""The notebook's cell in a browser, among rules of style such as notebooks have: it keeps to itself, in every theme."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reports.cell import render_cell
from reports.record import AuditRecord, Verdict

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# What notebooks do to tables and text in outputs, before and after which the cell's own rules may stand.
NOTEBOOK = """
.out{color:var(--ink)} .out table{table-layout:fixed;margin-left:auto;margin-right:auto;font-size:12px;border:none}
.out td,.out th{text-align:right;padding:.5em;white-space:nowrap} .out tbody tr:nth-child(odd){background:#f5f5f5}
.out p{margin:0 0 1em} .out ul{margin:2em}
"""
FRAME = """<!DOCTYPE html><html lang="en"><head><title>notebook</title><style>
:root{{--ink:{ink}}} body{{margin:0;background:{paper};color:{ink};font:14px sans-serif}} .cell{{width:{width}px;overflow:visible}}
{before}</style></head><body>
<h1>Notebook</h1><p id="prose">Prose with a <a href="#x">link</a>.</p>
<table id="theirs"><caption>theirs</caption><tr><th>a</th><td>1</td></tr></table>
<div class="cell"><div class="out" id="one">{cell}</div></div><p id="after">after</p>
<div class="cell"><div class="out" id="two">{cell}</div></div>
<style>{late}</style></body></html>"""
STYLES = """Object.fromEntries(['html', 'body', 'h1', '#prose', '#prose a', '#theirs', '#theirs td', '#theirs th', '#after'].map(s => {
  const c = getComputedStyle(document.querySelector(s));
  return [s, [...c].filter(k => !/size|width|height|origin|inset|^(top|bottom|left|right)$/.test(k)).map(k => k + ':' + c[k]).join(';')];
}))"""


def shown(browser: Browser, site: Path, cell: str, *, dark: bool = False, width: int = 800, late: bool = False) -> Page:
    ink, paper = ("#e6e6e6", "#111111") if dark else ("#111111", "#ffffff")
    text = FRAME.format(
        cell=cell, ink=ink, paper=paper, width=width, before="" if late else NOTEBOOK, late=NOTEBOOK if late else ""
    )
    path = site / "cell.html"
    path.write_text(text, encoding="utf-8")
    page = browser.new_page(viewport={"width": 1000, "height": 700}, color_scheme="dark" if dark else "light")
    page.goto(path.as_uri())
    return page


@pytest.fixture(scope="module")
def cell(record: AuditRecord, verdict: Verdict) -> str:
    return render_cell(record, verdict)


def test_nothing_outside_the_cell_changes(browser: Browser, site: Path, cell: str) -> None:
    without = shown(browser, site, "").evaluate(STYLES)
    assert shown(browser, site, cell).evaluate(STYLES) == without


def test_a_rule_that_reached_outside_would_be_seen(browser: Browser, site: Path, cell: str) -> None:
    without = shown(browser, site, "").evaluate(STYLES)
    assert shown(browser, site, cell + "<style>td{color:red}</style>").evaluate(STYLES) != without


@pytest.mark.parametrize("width", [280, 800])
@pytest.mark.parametrize("name", ["plain", "w" * 5000])
def test_nothing_overflows_the_cell(
    browser: Browser, site: Path, record: AuditRecord, verdict: Verdict, width: int, name: str
) -> None:
    subject = record.subject.model_copy(update={"name": name})
    page = shown(
        browser, site, render_cell(record.model_copy(update={"name": name, "subject": subject}), verdict), width=width
    )
    out = page.evaluate(
        """[...document.querySelectorAll('#one *')].filter(e => {
             if (e.closest('.wide') && !e.matches('.wide')) return false;
             const r = e.getBoundingClientRect(), c = document.querySelector('#one').getBoundingClientRect();
             return r.width > 0 && (r.right > c.right + 1 || r.left < c.left - 1 || r.bottom > c.bottom + 1);
           }).map(e => e.outerHTML.slice(0, 100))"""
    )
    assert out == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000
    assert page.evaluate("document.querySelector('#one').scrollWidth") <= width


@pytest.mark.parametrize("late", [False, True])
def test_the_notebooks_own_rules_for_tables_do_not_reach_in(
    browser: Browser, site: Path, cell: str, late: bool
) -> None:
    page = shown(browser, site, cell, late=late)
    found = page.evaluate(
        """[...document.querySelectorAll('#one td, #one th, #one tr')].map(e => {
             const c = getComputedStyle(e); return [c.textAlign, c.backgroundColor] })"""
    )
    assert {tuple(f) for f in found} <= {("left", "rgba(0, 0, 0, 0)"), ("start", "rgba(0, 0, 0, 0)")}


@pytest.mark.parametrize("dark", [False, True])
def test_it_takes_the_notebooks_colours(browser: Browser, site: Path, cell: str, dark: bool) -> None:
    """Two cells on one page, in a light and in a dark theme; axe measures the contrast of every word."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the dev extra's axe").Axe()
    page = shown(browser, site, cell, dark=dark)
    ink = "rgb(230, 230, 230)" if dark else "rgb(17, 17, 17)"
    assert page.evaluate("getComputedStyle(document.querySelector('#one td')).color") == ink
    assert page.evaluate("getComputedStyle(document.querySelector('#one p')).color") == ink
    rules = {
        "resultTypes": ["violations"],
        "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]},
    }
    found = axe.run(page, context="#one", options=rules).response["violations"]
    assert [(v["id"], [n["html"][:120] for n in v["nodes"][:3]]) for v in found] == []


def test_it_is_read_where_a_viewer_strips_style_and_pictures(browser: Browser, site: Path, cell: str) -> None:
    bare = re.sub(r"<style>.*?</style>|<svg.*?</svg>|class=\"[^\"]*\"", "", cell, flags=re.DOTALL)
    words = shown(browser, site, bare).locator("#one").inner_text()
    assert "Fail" in words
    assert "equal-opportunity" in words
