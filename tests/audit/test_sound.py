"""A run whose files are not those that it lists is decided on, shown and compared by nobody: exit code 13, and nothing is written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import audit
from audit import cli
from reports.errors import VerificationError


@pytest.fixture
def altered(finished: Path, tmp_path: Path) -> Path:
    """One digit of one figure is another, and no hash was made good."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    path = run / "results.json"
    before = path.read_text()
    after = re.sub(r'("value": 0\.)(\d)', lambda m: m[1] + str((int(m[2]) + 1) % 10), before, count=1)
    assert after != before
    path.write_text(after)
    return run


@pytest.mark.parametrize(
    "words",
    [
        ["gate", "RUN"],
        ["gate", "RUN", "--report-only"],
        ["gate", "RUN", "--power"],
        ["gate", "RUN", "--out", "OUT"],
        ["render", "RUN", "--out", "OUT"],
        ["selftest", "--aa", "RUN", "--repeats", "2"],
        ["regulations", "--run", "RUN"],
        ["compare", "RUN", "RUN"],
    ],
    ids=" ".join,
)
def test_an_altered_run_is_refused_by_name(altered: Path, tmp_path: Path, words: list[str]) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(cli.app, [{"RUN": str(altered), "OUT": str(out)}.get(w, w) for w in words])
    assert done.exit_code == 13, done.output
    assert "does not agree with its own hashes: results.json: altered" in done.output
    assert "plumbline verify" in done.output
    assert not out.exists()


def test_so_it_is_in_python(altered: Path) -> None:
    for asked in (audit.load, audit.gate):
        with pytest.raises(VerificationError, match=r"results\.json"):
            asked(altered)


def test_an_untouched_one_is_not(finished: Path) -> None:
    assert audit.load(finished).verdict == audit.gate(finished, on=audit.load(finished).verdict.decided_on).verdict


def test_each_problem_is_one_line_without_a_stray_character(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "junit.xml").unlink()
    done = CliRunner().invoke(cli.app, ["verify", str(run)])
    assert done.exit_code == 13
    problems = [line for line in done.output.splitlines() if line.startswith("PROBLEM: ")]
    assert any("; to do: " in line for line in problems), "an error of several lines is among them"
    assert "\N{REPLACEMENT CHARACTER}" not in done.output
