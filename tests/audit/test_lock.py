"""A lock made before a run: what it fixes, what a verdict says of it, and that it can't be slipped in afterwards."""

from __future__ import annotations

import json
import shutil
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import audit
from audit import cli
from audit.errors import PlanError
from audit.lock import check_lock, make_lock, policy_digest
from audit.verify import verify
from reports.bundle import Bundle
from reports.errors import RecordError
from reports.lock import Lock, LockedProbe
from reports.page import render


@pytest.fixture
def plan(tmp_path, material):
    return material.write(tmp_path / "plan")


def locked(plan, tmp_path, name="a.lock.json"):
    path = tmp_path / name
    path.write_text(make_lock(plan, on=date(2026, 1, 2)).to_json())
    return path


def ran(plan, tmp_path, lock):
    return audit.run_plan(plan, tmp_path / "run", lock=lock, cache=tmp_path / "cache", progress=False)


def test_a_run_that_keeps_to_its_lock_says_so(plan, tmp_path):
    result = ran(plan, tmp_path, locked(plan, tmp_path))
    assert result.verdict.lock.matched
    assert result.verdict.lock.locked_on == date(2026, 1, 2)
    assert "the run kept to the lock of 2026-01-02" in render(result.record, result.verdict)
    assert verify(tmp_path / "run").problems == []


def test_without_a_lock_the_first_screen_says_that_there_was_none(finished):
    bundle = Bundle.open(finished)
    assert bundle.verdict().lock is None
    assert "no lock was given" in render(bundle.record(), bundle.verdict())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max: 0.10", "max: 0.90", "The policy is not the one that was locked."),
        ("seed: 3", "seed: 4", "The seed is 4; 3 was locked."),
        ("permutations: 200", "permutations: 100", "groups has other options than were locked."),
        ("  calibration: {probe: performance.calibration}\n", "", "calibration was locked and is not in the plan."),
        ("policy: policy.yaml", "level: 0.9\npolicy: policy.yaml", "The level is 0.900; 0.950 was locked."),
        ("  calibration:", "  more: {probe: performance.calibration}\n  calibration:", "more is in the plan and was not locked."),
    ],
)  # fmt: skip
def test_whatever_is_changed_afterwards_is_named(plan, tmp_path, old, new, said):
    lock = locked(plan, tmp_path)
    for file in (plan, plan.parent / "policy.yaml"):
        file.write_text(file.read_text().replace(old, new))
    result = ran(plan, tmp_path, lock)
    assert said in [str(d) for d in result.verdict.lock.differences]
    page = render(result.record, result.verdict)
    assert "the run differs from the lock" in page
    assert said.split(";")[0] in page
    assert verify(tmp_path / "run").ok


def test_other_rows_are_named_and_a_comment_in_the_policy_is_not(plan, tmp_path, material):
    lock = locked(plan, tmp_path)
    policy = plan.parent / "policy.yaml"
    policy.write_text("# read by a person\n" + policy.read_text())
    material.predictions(seed=2).to_csv(plan.parent / "scores.csv", index=False)
    assert [str(d) for d in ran(plan, tmp_path, lock).verdict.lock.differences] == [
        "The audited rows are not those that were locked."
    ]


def test_a_probe_that_was_left_out_is_named(plan, tmp_path):
    lock = locked(plan, tmp_path)
    result = audit.run_plan(plan, tmp_path / "run", lock=lock, only=["groups"], cache=tmp_path / "c", progress=False)
    said = [str(d) for d in result.verdict.lock.differences]
    assert said == ["performance was locked and did not run.", "calibration was locked and did not run."]


def test_deciding_again_holds_the_run_against_its_own_lock(plan, tmp_path):
    ran(plan, tmp_path, locked(plan, tmp_path))
    other = tmp_path / "other.yaml"
    other.write_text((plan.parent / "policy.yaml").read_text().replace("max: 0.10", "max: 0.99"))
    again = audit.gate(tmp_path / "run", policy=other, out=tmp_path / "again")
    assert [str(d) for d in again.verdict.lock.differences] == ["The policy is not the one that was locked."]
    assert verify(tmp_path / "again").ok


def test_a_lock_put_into_a_finished_bundle_does_not_verify(plan, tmp_path, finished):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "provenance" / "lock.json").write_text(make_lock(plan).to_json())
    assert any("lock" in p for p in verify(copy).problems)


def test_a_verdict_that_claims_another_lock_does_not_verify(plan, tmp_path):
    ran(plan, tmp_path, locked(plan, tmp_path))
    path = tmp_path / "run" / "verdict.json"
    body = json.loads(path.read_text())
    body["lock"]["locked_on"] = "2020-01-01"
    path.write_text(json.dumps(body, ensure_ascii=False, indent=2) + "\n")
    assert any("verdict" in p for p in verify(tmp_path / "run").problems)


@settings(max_examples=50)
@given(st.integers(min_value=0, max_value=2**62), st.sampled_from(["policy", "data", "level", "probes"]))
def test_every_change_of_a_lock_is_a_difference(finished, seed, what):
    """And a lock that says what the record says has none."""
    bundle = Bundle.open(finished)
    record, policy = bundle.record(), bundle.verdict().policy
    true = Lock(
        name=record.name, seed=record.seed, level=record.level, policy=policy_digest(policy), data={"audit": record.data.digest},
        probes={p.instance: LockedProbe(probe=p.info.id, params=p.params, distribution=p.info.distribution, version=p.info.version)
                for p in record.planned}, locked_on=date(2026, 1, 1),
    )  # fmt: skip
    assert check_lock(true, record, policy).matched
    changed = {"policy": None, "data": {"audit": f"{seed:064x}"}, "level": 0.5 + seed / 2**64, "probes": {}}[what]
    assert not check_lock(true.model_copy(update={what: changed}), record, policy).matched
    if seed != record.seed:
        assert not check_lock(true.model_copy(update={"seed": seed}), record, policy).matched


def test_broken_locks_end_in_a_message(tmp_path, plan):
    with pytest.raises(PlanError, match="there is no file"):
        ran(plan, tmp_path, tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text('{"schema": "plumbline.lock/v1"}')
    with pytest.raises(RecordError):
        ran(plan, tmp_path, tmp_path / "bad.json")


def test_a_lock_of_a_day_to_come_is_refused(plan, tmp_path):
    """It cannot have been made before the run, whatever else it says."""
    path = tmp_path / "later.json"
    tomorrow = date.today() + timedelta(days=1)  # somewhere it is tomorrow already
    path.write_text(make_lock(plan, on=tomorrow).to_json())
    assert ran(plan, tmp_path, path).verdict.lock.matched
    path.write_text(make_lock(plan, on=tomorrow + timedelta(days=1)).to_json())
    with pytest.raises(PlanError, match="still to come"):
        ran(plan, tmp_path, path)


def test_the_command_that_it_names_keeps_to_the_lock(plan, tmp_path):
    plan.write_text(plan.read_text() + "profiles:\n  pr: {sample: 100}\n")
    runner, lock = CliRunner(), tmp_path / "pr.json"
    done = runner.invoke(cli.app, ["lock", str(plan), "--profile", "pr", "--out", str(lock)])
    (line,) = [line for line in done.output.splitlines() if line.startswith("Next: plumbline ")]
    words = line.removeprefix("Next: plumbline ").replace("RUN", str(tmp_path / "run")).split()
    runner.invoke(cli.app, [*words, "--cache", str(tmp_path / "cache")])
    assert audit.load(tmp_path / "run").verdict.lock.matched


def test_on_the_command_line_a_lock_is_never_replaced(plan, tmp_path):
    runner = CliRunner()
    words = ["lock", str(plan), "--out", str(tmp_path / "l.json")]
    done = runner.invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert "sha256: " in done.output
    assert runner.invoke(cli.app, words).exit_code == 2
    words = [
        "run",
        str(plan),
        "--lock",
        str(tmp_path / "l.json"),
        "--out",
        str(tmp_path / "r"),
        "--cache",
        str(tmp_path / "c"),
    ]
    assert runner.invoke(cli.app, words).exit_code == 10
    assert Bundle.open(tmp_path / "r").verdict().lock.matched
