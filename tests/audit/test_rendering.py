from __future__ import annotations

from pathlib import Path

import pytest

import audit
from reports.errors import RecordError


def test_a_page_with_assets_beside_it_holds_nothing_inline(finished: Path, tmp_path: Path) -> None:
    page = audit.render_to(finished, tmp_path / "deep" / "release 1.html", sibling=True)
    text = page.read_text(encoding="utf-8")
    assert "<style" not in text
    assert "data:" not in text
    assert 'href="release%201.assets/plumbline.css"' in text
    assert (page.parent / "release 1.assets" / "plumbline.css").read_text(encoding="utf-8").startswith(":root{")


def test_inline_is_what_the_run_holds(finished: Path, tmp_path: Path) -> None:
    page = audit.render_to(finished, tmp_path / "copy.html")
    assert page.read_bytes() == (finished / "report.html").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.html"]


def test_a_run_is_never_written_into(finished: Path) -> None:
    before = sorted(finished.rglob("*"))
    for out in (finished / "again.html", finished / "evidence" / "x" / ".." / "again.html"):
        with pytest.raises(RecordError, match="never written into"):
            audit.render_to(finished, out, sibling=True)
    assert sorted(finished.rglob("*")) == before
