"""The notebook in ``examples/`` runs from top to bottom, offline, and finds what is planted in it."""

from __future__ import annotations

import os
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


def test_a_result_shows_its_report(executed):
    notebook, _ = executed
    shown = next(c for c in notebook.cells if c.cell_type == "code" and c.source.startswith("result "))
    assert "text/html" in shown.outputs[0]["data"]


def test_it_is_quick(executed):
    """Under a minute on a machine that is free; three are allowed on a busy one."""
    assert executed[1] < 180
