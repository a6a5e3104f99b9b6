"""`robustness.attack` in a whole run: what a report shows of hostile texts, what happens without TextAttack, and a kill."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

import audit
from reports.page import render

ROOT = Path(__file__).parents[2]
HOSTILE = "<img src=x onerror=alert(1)>"
POLICY = """
schema: plumbline.policy/v1
name: release
version: 1
owner: risk@example.org
rules:
  - {id: withstands, measure: "attack:accuracy_under_attack", min: 0.5}
  - {id: right, measure: "performance:accuracy", min: 0.5}
"""


def answer(texts):
    """Likes whatever has the word good in it."""
    return [[0.1, 0.9] if "good" in str(text).split() else [0.9, 0.1] for text in texts]


def frame() -> pd.DataFrame:
    texts = [
        f"{HOSTILE} good film",
        "<script>alert(2)</script> a good plot",
        "it is bad",
        *["so good"] * 9,
        *["dull"] * 8,
    ]
    return pd.DataFrame(
        {"text": texts, "label": ["like" if "good" in t else "no" for t in texts], "gender": ["f", "m"] * 10}
    )


def run(tmp_path: Path, **more):
    (tmp_path / "policy.yaml").write_text(POLICY)
    probes = {
        "performance": {"probe": "performance.classification"},
        "attack": {"probe": "robustness.attack", "min_group": 3, **more},
    }
    return audit.run(
        answer, data=frame(), groups=["gender"], classes=["no", "like"], digest="good", probes=probes,
        policy=tmp_path / "policy.yaml", out=tmp_path / "run", progress=False,
    )  # fmt: skip


class Tags(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data):
        self.text += data


def test_hostile_texts_appear_as_texts_and_only_where_the_plan_shows_texts(tmp_path):
    result = run(tmp_path)
    finding = result.record.finding("attack")
    assert finding.status == "measured", finding.reason
    shown = result.record.model_copy(update={"data": result.record.data.model_copy(update={"include_text": True})})
    page, redacted = (render(record, result.verdict) for record in (shown, result.record))
    read = Tags()
    read.feed(page)
    assert not [t for t in read.tags if t[0] in ("img", "script")]
    assert not [t for t in read.tags if "onerror" in t[1]]
    assert HOSTILE in read.text
    assert "<script>alert(2)</script>" in read.text
    assert "<ins>" in page
    assert "onerror" not in redacted
    assert "redacted" in redacted
    rows = pd.read_parquet(result.path / finding.rows.path)
    assert (rows[rows.label == "like"].status == "succeeded").all(), "one letter is enough to hide the word"


def test_without_textattack_the_rest_of_the_audit_runs(tmp_path, monkeypatch):
    version = importlib.metadata.version

    def absent(name: str) -> str:
        if name == "textattack":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    result = run(tmp_path)
    finding = result.record.finding("attack")
    assert finding.status == "not_applicable"
    assert 'textattack is not installed. To install it: pip install "plumbline-audit[robustness]"' in str(
        finding.reason
    )
    assert result.record.finding("performance").status == "measured"
    outcomes = {r.check.rule.id: r.outcome for r in result.verdict.rulings}
    assert outcomes == {"withstands": "error", "right": "inconclusive"}, "twenty rows are below min_n"
    assert result.verdict.exit_code == 12
    assert 'pip install "plumbline-audit[robustness]"' in result.report.read_text().replace("&#34;", '"')


def test_a_recipe_that_cannot_run_here_is_not_applicable_with_its_reason(tmp_path):
    result = run(tmp_path, recipe="textfooler")
    finding = result.record.finding("attack")
    assert finding.status == "not_applicable"
    assert str(finding.reason).strip()
    assert result.record.finding("performance").status == "measured"


PLAN = """
schema: plumbline.plan/v1
name: reviews
seed: 3
subject: {{checkpoint: {checkpoint}, task: text-classification}}
data:
  audit: {{source: reviews.csv, input: text, label: label, id: row, groups: [gender], cluster: template}}
probes:
  attack: {{probe: robustness.attack, recipe: deepwordbug, examples: null, min_group: 3, pool: 4}}
"""


@pytest.mark.slow
def test_a_run_killed_half_way_and_resumed_leaves_the_same_rows(tmp_path, tiny_checkpoint, review_frame):
    """Three processes, as nothing less than a kill of the real thing shows it."""
    many = pd.concat([review_frame.assign(text=review_frame.text + f" {'really ' * k}", row=review_frame.row + f"-{k}")
                      for k in range(8)])  # fmt: skip
    many.to_csv(tmp_path / "reviews.csv", index=False)
    (tmp_path / "plan.yaml").write_text(PLAN.format(checkpoint=tiny_checkpoint))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def child(out: str, cache: str) -> subprocess.Popen[bytes]:
        words = ["run", "plan.yaml", "--out", out, "--cache", cache, "--device", "cpu"]
        code = "import sys; from audit.cli import main; sys.argv[0] = 'plumbline'; main()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *words], cwd=tmp_path, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def attacked(cache: str) -> int:
        journals = list((tmp_path / cache).glob("journals/*.jsonl"))
        return sum(path.read_text(errors="replace").count('"queries"') for path in journals)

    killed = child("killed", "one")
    deadline = time.monotonic() + 600
    while attacked("one") < 60 and time.monotonic() < deadline:
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    done = attacked("one")
    assert 60 <= done < len(many)
    assert not (tmp_path / "killed").exists()
    # Without a policy nothing is decided: 12.
    assert child("killed", "one").wait(timeout=600) == 12
    assert child("straight", "two").wait(timeout=600) == 12
    one, two = (tmp_path / name for name in ("killed", "straight"))
    for file in ("evidence/attack/rows.parquet", "results.json"):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    rows = pd.read_parquet(one / "evidence/attack/rows.parquet")
    assert len(rows) == len(many)
    assert set(rows.status) == {"succeeded", "failed", "skipped"}
