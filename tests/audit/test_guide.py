"""The guide "write your own probe" does what it says: its code is taken from the page and run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "write-your-own-probe.md"


def blocks(language: str) -> list[str]:
    """The page's code in one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def package(tmp_path) -> Path:
    """The guide's probe, installed as a package of its own would be."""
    probe, tests = blocks("python")[:2]
    info = tmp_path / "site" / "capitals_probe-0.1.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "capitals.py").write_text(probe)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: capitals-probe\nVersion: 0.1\n")
    (info / "RECORD").write_text("capitals.py,,\n")
    (info / "entry_points.txt").write_text("[plumbline.probes]\ncapitals = capitals\n")
    (tmp_path / "test_capitals.py").write_text(tests)
    return tmp_path


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    places = os.pathsep.join([str(folder / "site"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": places, "PLUMBLINE_CACHE": str(folder / "cache"), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_entry_point_is_the_one_that_is_looked_for():
    from probes.registry import ENTRY_POINTS

    assert f'[project.entry-points."{ENTRY_POINTS}"]' in blocks("toml")[0]


def test_its_own_tests_pass(package):
    done = python(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_capitals.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_it_is_listed_and_run_on_a_checkpoint(package, review_frame, tiny_checkpoint):
    listed = python(package, "-m", "audit.cli", "probes", "robustness.capitals")
    assert listed.returncode == 0, listed.stderr
    assert "written in capitals?" in listed.stdout
    review_frame.to_csv(package / "reviews.csv", index=False)
    (package / "plan.yaml").write_text(
        "schema: plumbline.plan/v1\nname: guide\n"
        f"subject: {{checkpoint: {str(tiny_checkpoint)!r}}}\n"
        "data: {audit: {source: reviews.csv, input: text, label: label, cluster: template}}\n" + blocks("yaml")[0]
    )
    ran = python(package, "-m", "audit.cli", "run", "plan.yaml", "--out", "run", "--device", "cpu", "--report-only")
    assert ran.returncode == 0, ran.stderr
    assert "changed_share" in (package / "run" / "results.json").read_text()
    verified = python(package, "-m", "audit.cli", "verify", "run")
    assert "recomputed: capitals: 1 figures" in verified.stdout


def test_the_functions_give_figures_with_intervals(tmp_path):
    last = "print([(m.name, m.interval.method.name) for f in result.record.findings for m in f.reading.measurements])"
    (tmp_path / "functions.py").write_text("\n".join([*blocks("python")[2:], "assert len(figures) == 2", last]))
    done = python(tmp_path, "functions.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[('cost_of_errors', 't'), ('agreement', 'expanded percentile bootstrap')]"
