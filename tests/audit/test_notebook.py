"""The notebook in ``examples/`` runs from top to bottom, offline, and finds what is planted in it."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install 'plumbline-audit[dev]'")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install 'plumbline-audit[dev]'")
pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install 'plumbline-audit[dev]'")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "audit_a_checkpoint.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook after all its cells ran in a kernel of their own, and the seconds that took."""
    folder = tmp_path_factory.mktemp("notebook")
    before = dict(os.environ)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ.update(
        PYTHONPATH=path, PLUMBLINE_CACHE=str(folder / "cache"), HF_HUB_OFFLINE="1", IPYTHONDIR=str(folder / "ipython"),
        JUPYTER_DATA_DIR=str(folder / "jupyter"), TMPDIR=str(folder), OMP_NUM_THREADS="1",
    )  # fmt: skip
    start = time.monotonic()
    try:
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(folder))
    finally:
        os.environ.clear()
        os.environ.update(before)
    return notebook, time.monotonic() - start


def said(notebook, start: str) -> str:
    """The text that the cell which holds ``start`` ends in."""
    cell = next(c for c in notebook.cells if c.cell_type == "code" and start in c.source)
    return "".join(o["data"].get("text/plain", "") for o in cell.outputs if "data" in o)


def test_it_is_stored_without_outputs():
    stored = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(stored)
    assert all(not c.outputs and c.execution_count is None for c in stored.cells if c.cell_type == "code")


def test_it_finds_what_is_planted(executed):
    notebook, _ = executed
    outcome = said(notebook, "result.verdict.outcome")
    assert "'fail'" in outcome
    assert "('equal-opportunity', 'fail')" in outcome
    assert "('accurate', 'fail')" not in outcome
    assert "gender=woman" in said(notebook, "slices = result")
    assert said(notebook, "checked = verify").startswith("(True")


def test_a_result_shows_its_first_screen(executed):
    """Markup without scripts, frames, links and ids, and one line for viewers that show text alone."""
    notebook, _ = executed
    shown = next(c for c in notebook.cells if c.cell_type == "code" and c.source.startswith("result "))
    data = shown.outputs[0]["data"]
    markup = data["text/html"]
    assert len(markup.encode()) < 100_000
    assert "Fail" in markup
    assert "equal-opportunity" in markup
    assert not re.search(r"<(script|iframe|link|object|embed|img|a|h[1-6])\b|\sid=|\shref=|\sstyle=|url\(", markup)
    assert data["text/plain"].startswith("<audit ")
    assert len(data["text/plain"]) < 400


def test_the_cell_keeps_to_itself_in_a_browser(executed, tmp_path, browser):
    notebook, _ = executed
    shown = next(c for c in notebook.cells if c.cell_type == "code" and c.source.startswith("result "))
    markup = shown.outputs[0]["data"]["text/html"]
    page_file = tmp_path / "cell.html"
    body = "<style>body{{margin:0}}</style><table id=theirs><tr><td>1</td></tr></table><div id=cell>{}</div>"
    seen = []
    page = browser.new_page(viewport={"width": 600, "height": 800})
    page.on("request", lambda r: seen.append(r.url))
    for inside in ("", markup):
        page_file.write_text(body.format(inside), encoding="utf-8")
        page.goto(page_file.as_uri())
        seen.append(page.evaluate("JSON.stringify([...getComputedStyle(document.querySelector('#theirs td'))].map(k => "
                                  "getComputedStyle(document.querySelector('#theirs td'))[k]))"))  # fmt: skip
    assert page.evaluate("document.documentElement.scrollWidth") <= 600
    assert page.locator("#cell tbody tr").count() > 3
    assert seen[0] == seen[2] == page_file.as_uri()
    assert seen[1] == seen[3]


def test_it_is_quick(executed):
    """Under a minute on a machine that is free; three are allowed on a busy one."""
    assert executed[1] < 180
