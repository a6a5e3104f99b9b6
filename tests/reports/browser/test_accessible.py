"""WCAG 2.2 AA by axe, and what axe cannot see: the keyboard's way, narrow screens, and that nothing is asked of the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reports.language import languages
from reports.page import render
from reports.record import AuditRecord, Verdict
from reports.showing import Showing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

OPEN_ALL = "document.querySelectorAll('details').forEach(d => { d.open = true })"
RULES = {
    "resultTypes": ["violations"],
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
}


def opened(browser: Browser, site: Path, text: str, **context: Any) -> Page:
    path = site / "page.html"
    path.write_text(text, encoding="utf-8")
    page = browser.new_context(**context).new_page()
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", languages())
def test_axe_finds_nothing(
    browser: Browser, site: Path, open_record: AuditRecord, verdict: Verdict, language: str, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the dev extra's axe").Axe()
    page = opened(browser, site, render(open_record, verdict, Showing(language=language)), color_scheme=scheme)
    for state in ("as it opens", "with every fold open"):
        found = axe.run(page, options=RULES).response["violations"]
        told = [(v["id"], v["help"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found]
        assert told == [], state
        page.evaluate(OPEN_ALL)


def test_axe_would_find_what_is_wrong(browser: Browser, site: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(
        browser, site, "<html><body><img src='data:,'><p style='color:#ddd;background:#fff'>faint</p></body></html>"
    )
    found = {v["id"] for v in axe.run(page, options=RULES).response["violations"]}
    assert {"image-alt", "color-contrast", "html-has-lang"} <= found


def test_the_keyboard_reaches_every_fold_and_opens_it(browser: Browser, site: Path, page: str) -> None:
    shown = opened(browser, site, page)
    folds = shown.locator("summary").count()
    assert folds > 10
    shown.evaluate("document.querySelectorAll('summary').forEach((s, i) => { s.dataset.fold = i })")
    seen: set[str] = set()
    for _ in range(2000):
        shown.keyboard.press("Tab")
        fold = shown.evaluate("document.activeElement?.dataset?.fold ?? null")
        if shown.evaluate("document.activeElement === document.body"):
            break
        if fold is not None and fold not in seen:
            seen.add(fold)
            shown.keyboard.press("Enter")
            assert shown.evaluate("document.activeElement.parentElement.open") is True
    # Folds within folds come up once the outer one is open, which Enter has just done.
    assert len(seen) == folds


def test_the_first_stop_skips_to_the_decision(browser: Browser, site: Path, page: str) -> None:
    shown = opened(browser, site, page)
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.getAttribute('href')") == "#main"
    assert shown.evaluate("document.activeElement.getBoundingClientRect().left") >= 0


@pytest.mark.parametrize("width", [320, 375, 768])
def test_nothing_scrolls_sideways_on_a_narrow_screen_except_tables_and_pictures(
    browser: Browser, site: Path, open_record: AuditRecord, verdict: Verdict, width: int
) -> None:
    shown = opened(browser, site, render(open_record, verdict), viewport={"width": width, "height": 640})
    shown.evaluate(OPEN_ALL)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    wide = shown.evaluate(
        """[...document.querySelectorAll('main *')].filter(e => {
             if (e.closest('.wide, .chart, nav, svg, .quiet')) return false;
             const r = e.getBoundingClientRect();
             return r.width > 0 && r.right > innerWidth + 1;
           }).map(e => e.outerHTML.slice(0, 120))"""
    )
    assert wide == []


def test_landmarks_language_and_tables_are_named(browser: Browser, site: Path, page: str) -> None:
    shown = opened(browser, site, page)
    assert shown.evaluate("document.documentElement.lang") == "en"
    assert [shown.locator(t).count() for t in ("main", "h1", "header")] == [1, 1, 1]
    unnamed = shown.evaluate(
        "[...document.querySelectorAll('table')].filter(t => !t.caption?.textContent.trim()).length"
    )
    headless = shown.evaluate("[...document.querySelectorAll('th')].filter(t => !t.hasAttribute('scope')).length")
    pictures = shown.evaluate(
        "[...document.querySelectorAll('svg[role=img]')].filter(s => !s.querySelector('title') || !s.querySelector('desc')).length"
    )
    assert (unnamed, headless, pictures) == (0, 0, 0)


def test_nothing_moves(browser: Browser, site: Path, page: str) -> None:
    shown = opened(browser, site, page, reduced_motion="reduce")
    shown.evaluate(OPEN_ALL)
    assert shown.evaluate("document.getAnimations().length") == 0


def test_the_page_asks_nothing_of_the_network_and_breaks_no_rule_of_its_own(
    browser: Browser, site: Path, open_record: AuditRecord, verdict: Verdict
) -> None:
    path = site / "alone.html"
    path.write_text(render(open_record, verdict), encoding="utf-8")
    shown = browser.new_context(offline=True).new_page()
    asked: list[str] = []
    said: list[str] = []
    shown.on("request", lambda r: asked.append(r.url))
    shown.on("console", lambda m: said.append(m.text))
    shown.goto(path.as_uri())
    shown.evaluate(OPEN_ALL)
    assert [a for a in asked if not a.startswith("data:")] == [path.as_uri()]
    assert said == []


def test_it_reads_without_scripts(browser: Browser, site: Path, page: str) -> None:
    shown = opened(browser, site, page, java_script_enabled=False)
    shown.locator("summary").first.click()
    assert shown.locator("details[open]").count() >= 1
