"""Limits of time: what is cut off is an error with its reason, never a pass, and what was journalled is used again."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import pytest

import audit
from audit.budget import Budget, Clock, TimeIsUp, within
from audit.errors import PlanError
from audit.plan import load_plan
from audit.verify import verify
from probes import registry
from probes.evidence import Counts, MeasureDefinition, Measurement, Need, Reading, message
from probes.registry import probe

ID = "performance.slow_for_tests"
SLOW = MeasureDefinition(name="steps", formula=message("steps taken"))


@dataclass(frozen=True, kw_only=True)
class Slow:
    """How long is a piece of string?"""

    seconds: float = 30.0

    def collect(self, subject, ctx):
        end = time.monotonic() + self.seconds
        steps = 0
        while time.monotonic() < end:
            done = ctx.journal.lookup(f"slow {steps}")
            if done is None:
                try:
                    time.sleep(0.02)
                except Exception:  # a probe that survives whatever one example does to it
                    continue
                ctx.journal.append([(f"slow {steps}", 1)])
            steps += 1
            if steps >= 40:
                break
        return subject.predictions(ctx)

    def summarise(self, rows, ctx):
        counts = Counts(n=len(rows), denominator=len(rows), smallest=len(rows))
        return Reading(measurements=(Measurement(name="steps", value=len(rows), interval=None, counts=counts),))


@pytest.fixture(autouse=True, scope="module")
def _registered():
    probe(ID, needs={Need.PREDICTIONS}, defines=(SLOW,))(Slow)
    yield
    registry._PROBES.pop(ID)


def plan_with(material, folder, extra):
    text = material.PLAN.replace("policy: policy.yaml", f"  slow: {{probe: {ID}}}\npolicy: policy.yaml\n{extra}")
    return material.write(folder, plan=text)


def ran(plan, tmp_path, **more):
    return audit.run_plan(plan, tmp_path / "run", cache=tmp_path / "cache", progress=False, **more)


def test_a_probe_that_takes_too_long_is_an_error_with_the_reason(material, tmp_path):
    result = ran(plan_with(material, tmp_path / "p", "budget: {probes: {slow: 0.2}}"), tmp_path)
    finding = result.record.finding("slow")
    assert finding.status == "errored"
    assert str(finding.reason) == "It was stopped after the 0.200 s that the plan allows it."
    assert result.record.finding("groups").status == "measured"
    assert verify(tmp_path / "run").ok


def test_a_rule_on_it_never_passes(material, tmp_path):
    policy = material.POLICY + '  - {id: slow, measure: "slow:steps", min: 0, decision: exact}\n'
    plan = plan_with(material, tmp_path / "p", "budget: {probe: 0.2}")
    (tmp_path / "p" / "policy.yaml").write_text(policy)
    result = ran(plan, tmp_path)
    ruling = next(r for r in result.verdict.rulings if r.check.rule.id == "slow")
    assert ruling.outcome == "error"
    assert "0.200 s" in str(ruling.reason)


def test_the_next_run_goes_on_from_the_journal(material, tmp_path):
    plan = plan_with(material, tmp_path / "p", "budget: {probes: {slow: 0.45}}")
    for _ in range(6):
        if ran(plan, tmp_path).record.finding("slow").status == "measured":
            break
    else:
        raise AssertionError("what was journalled was not used")


def test_a_run_that_takes_too_long_stops_every_probe_that_is_left(material, tmp_path):
    result = ran(plan_with(material, tmp_path / "p", "budget: {run: 0.000001}"), tmp_path)
    assert {f.status for f in result.record.findings} == {"errored"}
    assert result.record.predictions is None
    assert result.verdict.exit_code == 12
    assert "the plan allows the whole run" in str(result.record.findings[0].reason)
    assert verify(tmp_path / "run").problems == []


def test_the_tighter_limit_counts():
    clock = Clock(budget=Budget(run=100, probe=5, probes={"slow": 1}), started=time.monotonic() - 98)
    assert clock.allowance("slow").seconds == 1
    other = clock.allowance("other")
    assert 1 < other.seconds <= 2
    assert "whole run" in str(other.reason)
    assert Clock().allowance("any").seconds is None


def test_an_interruption_that_is_swallowed_comes_again():
    with pytest.raises(TimeIsUp), within(0.05):
        try:
            time.sleep(5)
        except BaseException:
            time.sleep(5)


def test_beside_the_main_thread_the_time_is_checked_at_the_end():
    seen = []

    def work():
        try:
            with within(0.01):
                time.sleep(0.05)
        except TimeIsUp:
            seen.append("up")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == ["up"]


def test_an_interruption_that_a_library_turns_into_its_own_error_is_still_one():
    with pytest.raises(TimeIsUp), within(0.05):
        try:
            time.sleep(5)
        except TimeIsUp:
            raise SystemError("interrupted half way") from None


def test_within_its_time_nothing_happens_and_errors_are_their_own():
    with within(5):
        pass
    with pytest.raises(ValueError, match="own"), within(5):
        raise ValueError("own")


PROFILES = """profiles:
  pr: {only: [groups], options: {groups: {permutations: 7}}, sample: 300, budget: {probe: 60}, policy: pr.yaml}
"""


def test_a_profile_changes_what_it_names_and_the_record_says_so(material, tmp_path):
    plan = material.write(tmp_path / "p", plan=material.PLAN + PROFILES)
    (tmp_path / "p" / "pr.yaml").write_text(
        "schema: plumbline.policy/v1\nname: pr\nversion: 1\nowner: o\nrules:\n"
        '  - {id: parity, measure: "groups:demographic_parity_difference", where: {feature: gender}, max: 1.0}\n'
    )
    result = ran(plan, tmp_path, profile="pr")
    assert result.verdict.policy.name == "pr"
    assert [f.instance for f in result.record.findings] == ["groups"]
    assert result.record.finding("groups").params["permutations"] == 7
    assert [str(r) for r in result.record.remarks] == ["It was run under the plan's profile pr."]
    assert load_plan(plan, "pr").plan.data.audit.sample == 300
    assert load_plan(plan).plan.probes["groups"].options["permutations"] == 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("profiles: {pr: {only: [grups]}}", "'grups', which is no probe instance"),
        ("profiles: {pr: {options: {groups: {permutatoins: 7}}}}", "permutatoins"),
        ("budget: {probes: {grups: 3}}", "'grups', which is no probe instance"),
        ("budget: {run: 0}", "greater than 0"),
    ],
)
def test_what_does_not_exist_is_refused(material, tmp_path, text, said):
    plan = material.write(tmp_path / "p", plan=material.PLAN + text + "\n")
    with pytest.raises(PlanError) as caught:
        load_plan(plan)
    assert said in str(caught.value)


def test_an_unknown_profile_lists_those_that_there_are(material, tmp_path):
    plan = material.write(tmp_path / "p", plan=material.PLAN + PROFILES)
    with pytest.raises(PlanError, match="one of pr"):
        load_plan(plan, "nightly")


def test_a_dry_run_says_what_each_step_took_before(material, tmp_path):
    plan = plan_with(material, tmp_path / "p", "")
    ran(plan, tmp_path)
    text = plan.read_text().replace("seed: 3", "seed: 4")
    plan.write_text(text)
    steps = {s.instance: s for s in audit.describe_plan(plan, cache=tmp_path / "cache")}
    assert steps["slow"].status == "to do"
    assert 0.5 < steps["slow"].seconds < 30
