"""A baseline may be a run, or a folder of runs, whose last passing one is taken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import audit
from audit.demands import find_baseline
from audit.errors import GateError
from audit.verify import verify
from reports.errors import RecordError


def put(folder: Path, source: Path, name: str, **verdict: object) -> Path:
    """A copy of a bundle with parts of its verdict replaced."""
    shutil.copytree(source, folder / name)
    path = folder / name / "verdict.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | verdict))
    return folder / name


@pytest.fixture
def history(tmp_path, finished) -> Path:
    folder = tmp_path / "runs"
    passed = {"outcome": "pass", "exit_code": 0}
    put(folder, finished, "b-older", decided_on="2026-01-01", **passed)
    put(folder, finished, "a-latest-pass", decided_on="2026-03-01", **passed)
    put(folder, finished, "c-failed-since", decided_on="2026-04-01", outcome="fail")
    put(folder, finished, "d-not-enforced", decided_on="2026-05-01", enforced=False, **passed)
    (folder / "e-notes").mkdir()
    (folder / "README").write_text("no run")
    return folder


def test_the_last_passing_run_is_taken(history):
    assert find_baseline(history).folder.name == "a-latest-pass"


def test_a_waived_run_counts_as_passed_and_names_decide_within_a_day(history, finished):
    put(history, finished, "z-same-day", decided_on="2026-03-01", outcome="waived", exit_code=0)
    assert find_baseline(history).folder.name == "z-same-day"


def test_numbers_in_names_are_numbers(history, finished):
    for name in ("run-9", "run-10"):
        put(history, finished, name, decided_on="2026-03-01", outcome="pass", exit_code=0)
    assert find_baseline(history).folder.name == "run-10"


def test_a_broken_run_is_passed_over(history, finished):
    broken = put(history, finished, "y-broken", decided_on="2026-06-01", outcome="pass", exit_code=0)
    (broken / "verdict.json").write_text("{")
    assert find_baseline(history).folder.name == "a-latest-pass"


def test_a_run_is_itself_whatever_it_decided(history):
    assert find_baseline(history / "c-failed-since").folder.name == "c-failed-since"


def test_where_nothing_passed_yet_the_baseline_is_missing(history, tmp_path):
    for name in ("a-latest-pass", "b-older"):
        shutil.rmtree(history / name)
    assert find_baseline(history) is None
    (tmp_path / "first").mkdir()
    assert find_baseline(tmp_path / "first") is None


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"")
    for wrong in (tmp_path / "photos", tmp_path / "absent"):
        with pytest.raises(RecordError):
            find_baseline(wrong)


def test_a_rule_on_a_history_without_a_pass_follows_the_policy(material, history, tmp_path):
    for name in ("a-latest-pass", "b-older"):
        shutil.rmtree(history / name)
    rule = '  - {{id: drop, measure: "performance:accuracy", baseline: main, max_drop: 0.01, baseline_missing: {}}}\n'
    for word, code in (("skip", 10), ("error", 10)):
        plan = material.write(tmp_path / word, policy=material.POLICY + rule.format(word))
        result = audit.run_plan(
            plan, tmp_path / f"{word}-run", baselines={"main": history}, cache=tmp_path / "c", progress=False
        )
        assert result.verdict.exit_code == code
        ruled = [r.outcome for r in result.verdict.rulings if r.check.rule.id == "drop"]
        assert ruled == ([] if word == "skip" else ["error"])


def test_what_changed_in_the_policy_since_the_baseline_is_told_and_can_be_decided_again(material, finished, tmp_path):
    rule = '  - {id: drop, measure: "performance:accuracy", baseline: main, max_drop: 0.01}\n'
    plan = material.write(tmp_path / "now", policy=material.POLICY + rule)
    run = tmp_path / "run"
    result = audit.run_plan(plan, run, baselines={"main": finished}, cache=tmp_path / "c", progress=False)
    told = [str(m) for m in result.verdict.policy_changes]
    assert any(t.startswith("Rule drop was added: performance:accuracy") for t in told)
    assert "Rule drop was added" in (run / "report.html").read_text()
    assert (run / "evidence/baseline/main/policy.json").is_file()
    assert verify(run).ok
    again = audit.gate(run, out=tmp_path / "again")
    assert [str(m) for m in again.verdict.policy_changes] == told
    (run / "evidence/baseline/main/policy.json").write_text("{")
    assert not verify(run).ok


def test_without_a_baseline_nothing_is_said_of_the_policy(finished):
    assert audit.load(finished).verdict.policy_changes is None


def test_a_baseline_that_no_rule_asks_for_is_refused(material, finished, tmp_path):
    """With ``baseline_missing: skip`` a misspelled name would skip the rule, and nobody would know."""
    rule = '{id: same, measure: "performance:accuracy", baseline: main, max_drop: 0.1, baseline_missing: skip}'
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"schema: plumbline.policy/v1\nname: p\nversion: 1\nowner: o\nrules:\n  - {rule}\n")
    with pytest.raises(GateError, match="'mian' was given"):
        audit.gate(finished, policy=policy, baselines={"mian": finished})
    plan = material.write(tmp_path / "plan")
    with pytest.raises(GateError, match="'mian' was given"):
        audit.run_plan(plan, tmp_path / "run", policy=policy, baselines={"mian": finished}, progress=False)
    assert not (tmp_path / "run").exists()
    assert audit.gate(finished, policy=policy, baselines={"main": finished}).verdict.outcome == "pass"
