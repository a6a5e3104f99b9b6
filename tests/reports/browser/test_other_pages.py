"""The comparison's and the history's pages in a real browser: axe, narrow screens, and no word to the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reports.comparing import comparison_page
from reports.comparison import RunComparison
from reports.history import History
from reports.trending import history_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

OPEN_ALL = "document.querySelectorAll('details').forEach(d => { d.open = true })"
RULES = {
    "resultTypes": ["violations"],
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
}


@pytest.fixture(params=["comparison", "history"])
def text(request: pytest.FixtureRequest, comparison: Callable[..., RunComparison], a_history: History) -> str:
    return (
        comparison_page(comparison())
        if request.param == "comparison"
        else history_page(a_history, {"spring": "a/b.html"})
    )


def opened(browser: Browser, site: Path, text: str, **context: Any) -> Page:
    path = site / "other.html"
    path.write_text(text, encoding="utf-8")
    page = browser.new_context(**context).new_page()
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, site: Path, text: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the dev extra's axe").Axe()
    page = opened(browser, site, text, color_scheme=scheme)
    for state in ("as it opens", "with every fold open"):
        found = axe.run(page, options=RULES).response["violations"]
        told = [(v["id"], v["help"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found]
        assert told == [], state
        page.evaluate(OPEN_ALL)


def test_nothing_scrolls_sideways_on_a_narrow_screen_except_tables_and_pictures(
    browser: Browser, site: Path, text: str
) -> None:
    shown = opened(browser, site, text, viewport={"width": 320, "height": 640})
    shown.evaluate(OPEN_ALL)
    assert shown.evaluate("document.documentElement.scrollWidth") <= 320


def test_it_asks_nothing_of_the_network_and_breaks_no_rule_of_its_own(browser: Browser, site: Path, text: str) -> None:
    path = site / "alone.html"
    path.write_text(text, encoding="utf-8")
    shown = browser.new_context(offline=True).new_page()
    asked: list[str] = []
    said: list[str] = []
    shown.on("request", lambda r: asked.append(r.url))
    shown.on("console", lambda m: said.append(m.text))
    shown.goto(path.as_uri())
    shown.evaluate(OPEN_ALL)
    assert asked == [path.as_uri()]
    assert said == []
