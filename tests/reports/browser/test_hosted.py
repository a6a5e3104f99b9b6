"""Served under the strictest policy that report hosts use: Jenkins forbids inline styles and data addresses by default."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reports.assets import asset_files
from reports.page import render
from reports.record import AuditRecord, Verdict
from reports.showing import Showing

if TYPE_CHECKING:
    from playwright.sync_api import Browser

JENKINS = "sandbox allow-same-origin; default-src 'none'; img-src 'self'; style-src 'self'"
LOOK = """selector => {
  const s = getComputedStyle(document.querySelector(selector));
  return [s.backgroundColor, s.display, s.fontSize, s.borderLeftWidth, s.color, s.maxWidth];
}"""
LOOKED_AT = (".verdict", ".word", "h1", ".page", "table", "details", "svg.strip")


class Strict(SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", JENKINS)
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Strict, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_with_assets_beside_it_the_page_is_fully_styled(
    browser: Browser, site: Path, served: str, open_record: AuditRecord, verdict: Verdict
) -> None:
    showing = Showing(assets="odd name%.assets")
    folder = site / "odd name%.assets"
    folder.mkdir()
    for name, content in asset_files(open_record, showing).items():
        (folder / name).write_bytes(content)
    (site / "hosted.html").write_text(render(open_record, verdict, showing), encoding="utf-8")
    (site / "inline.html").write_text(render(open_record, verdict), encoding="utf-8")

    hosted = browser.new_page()
    said: list[str] = []
    hosted.on("console", lambda m: said.append(f"{m.text} {m.location}"))
    hosted.goto(f"{served}/hosted.html")
    here = browser.new_page()
    here.goto((site / "inline.html").as_uri())
    assert [hosted.evaluate(LOOK, s) for s in LOOKED_AT] == [here.evaluate(LOOK, s) for s in LOOKED_AT]
    broken = hosted.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
    assert hosted.evaluate("document.images.length") > 0
    assert (
        broken == here.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)") == []
    )
    assert [s for s in said if "favicon" not in s] == []
    from_disk = browser.new_page()
    from_disk.goto((site / "hosted.html").as_uri())
    assert from_disk.evaluate(LOOK, ".verdict") == here.evaluate(LOOK, ".verdict")


def test_without_them_that_server_takes_the_style_away(
    browser: Browser, site: Path, served: str, record: AuditRecord, verdict: Verdict
) -> None:
    """The other way round: the test above would notice a page that is not styled."""
    (site / "bare.html").write_text(render(record, verdict), encoding="utf-8")
    bare = browser.new_page()
    bare.goto(f"{served}/bare.html")
    assert bare.evaluate(LOOK, ".verdict")[1] != "grid"


def test_pictures_lie_beside_the_page_only_where_it_shows_them(record: AuditRecord, open_record: AuditRecord) -> None:
    showing = Showing(assets="a")
    assert list(asset_files(record, showing)) == ["plumbline.css"]
    assert len(asset_files(open_record, showing)) > 1
    assert list(asset_files(open_record, Showing(assets="a", edition="regulator"))) == ["plumbline.css"]
