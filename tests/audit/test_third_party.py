"""A probe from another package shows up, runs, gates, renders and verifies without an edit anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = '''
"""Does the model ever dare to say no?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from probes.evidence import Bar, Bars, Counts, Interval, Measurement, MeasureDefinition, Method, Need, Reading, message
from probes.probe import Context
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.subject import Subject


@probe(
    "performance.courage",
    needs={Need.PREDICTIONS},
    defines=(
        MeasureDefinition(
            name="share_of_answer",
            formula=message("rows answered with the class, over all rows"),
            zero=message("never says it"),
            one=message("says nothing else"),
            source="house rule",
            better="higher",
            unit="share",
        ),
    ),
    limits=(message("It does not ask whether the answer is right."),),
)
@dataclass(frozen=True, kw_only=True)
class Courage:
    """Does the model ever dare to give one answer? A measure of nothing but that."""

    answer: str = field(metadata={"help": "the class in question"})

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        return subject.predictions(ctx).select(["row_id", "prediction"])

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        from scipy import stats

        said = sum(p == self.answer for p in rows["prediction"].to_pylist())
        n = rows.num_rows
        ends = stats.binomtest(said, n).proportion_ci(ctx.level, method="wilson")
        share = Measurement(
            name="share_of_answer",
            value=said / n,
            interval=Interval(low=ends.low, high=ends.high, level=ctx.level, method=Method(name="wilson")),
            counts=Counts(n=n, denominator=n, smallest=n),
            better="higher",
            unit="share",
        )
        bars = (Bar(label=self.answer, value=float(said)), Bar(label="other", value=float(n - said)))
        return Reading(measurements=(share,), evidence=(Bars(title=message("Answers"), bars=bars),))
'''

PLAN = """
schema: plumbline.plan/v1
name: scratch
subject: {predictions: {source: scores.csv}}
data: {audit: {source: scores.csv, label: label, id: row_id}}
probes:
  courage: {probe: performance.courage, answer: "no"}
policy: policy.yaml
"""

POLICY = """
schema: plumbline.policy/v1
name: scratch
version: 1
owner: somebody
rules:
  - {id: dares, measure: "courage:share_of_answer", min: 0.2}
"""


@pytest.fixture
def scratch(tmp_path):
    package = tmp_path / "site"
    info = package / "scratch_probe-0.1.dist-info"
    info.mkdir(parents=True)
    (package / "scratch_probe.py").write_text(PROBE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scratch-probe\nVersion: 0.1\n")
    (info / "RECORD").write_text("scratch_probe.py,,\n")
    (info / "entry_points.txt").write_text("[plumbline.probes]\nscratch = scratch_probe\n")
    rows = [f"r{i},{label},{label if i % 5 else 'yes'}" for i, label in enumerate(["yes", "no"] * 100)]
    (tmp_path / "scores.csv").write_text("row_id,label,prediction\n" + "\n".join(rows) + "\n")
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path


def plumbline(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "PLUMBLINE_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "audit.cli", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_new_probe_needs_no_other_change(scratch):
    listed = plumbline(scratch, "probes", "performance.courage")
    assert listed.returncode == 0, listed.stderr
    assert "dare to give one answer" in " ".join(listed.stdout.split())
    ran = plumbline(scratch, "run", "plan.yaml", "--out", "run")
    assert ran.returncode == 0, ran.stderr
    gated = plumbline(scratch, "gate", "run", "--out", "again")
    assert gated.returncode == 0, gated.stderr
    rendered = plumbline(scratch, "render", "run", "--out", "page.html")
    assert rendered.returncode == 0, rendered.stderr
    page = (scratch / "page.html").read_text()
    assert "It does not ask whether the answer is right." in page
    assert "scratch-probe" in page
    verified = plumbline(scratch, "verify", "again")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_without_the_package_verification_fails_rather_than_skips(scratch):
    assert plumbline(scratch, "run", "plan.yaml", "--out", "run").returncode == 0
    (scratch / "site" / "scratch_probe.py").unlink()
    (scratch / "site" / "scratch_probe-0.1.dist-info" / "entry_points.txt").unlink()
    verified = plumbline(scratch, "verify", "run")
    assert verified.returncode == 13
    assert "performance.courage" in verified.stdout + verified.stderr
