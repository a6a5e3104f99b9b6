"""A real browser for the pages: Debian's Chromium, driven by Playwright. Without one these tests skip and say so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def chromium() -> str | None:
    """The browser's path: ``PLUMBLINE_CHROMIUM``, or what lies on the path."""
    return os.environ.get("PLUMBLINE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
    path = chromium()
    if path is None:
        pytest.skip("needs Chromium: install Debian's package chromium, or name one in PLUMBLINE_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the pages that the browser opens."""
    return tmp_path_factory.mktemp("site")
