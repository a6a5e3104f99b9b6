"""A whole run: same bytes again, what breaks is said, what was measured is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pyarrow as pa
import pytest

import audit
from audit.errors import GateError, PlanError, PolicyError, UnknownMeasure
from audit.verify import verify
from fine_tune.errors import DataError
from probes import registry
from probes.errors import Unavailable
from probes.evidence import Counts, MeasureDefinition, Measurement, Need, Reading, message
from probes.registry import probe
from reports.bundle import Bundle


@dataclass(frozen=True, kw_only=True)
class Moody:
    """Does it run today?"""

    mood: str = "fine"

    def collect(self, subject, ctx):
        if self.mood == "broken":
            raise RuntimeError("the engine said <no>")
        if self.mood == "unavailable":
            raise Unavailable("there is no lexicon here")
        if self.mood == "undisciplined":
            return pa.table({"x": [0]})
        for i in ctx.progress(range(10), 10, "moody"):
            if ctx.journal.lookup(f"moody{i}") is None:
                if self.mood == "killed" and i == 5:
                    raise KeyboardInterrupt
                ctx.journal.append([(f"moody{i}", i)])
                CALLS.append(i)
        return pa.table({"x": [ctx.journal.lookup(f"moody{i}") for i in range(10)]})

    def summarise(self, rows, ctx):
        name = "surprise" if self.mood == "undisciplined" else "total"
        counts = Counts(n=rows.num_rows, denominator=rows.num_rows, smallest=rows.num_rows)
        return Reading(
            measurements=(
                Measurement(name=name, value=float(sum(rows["x"].to_pylist())), interval=None, counts=counts),
            )
        )


CALLS: list[int] = []
ID = "performance.moody_for_tests"


@pytest.fixture(autouse=True, scope="module")
def _registered():
    definition = MeasureDefinition(name="total", formula=message("sum"))
    probe(ID, needs={Need.PREDICTIONS}, defines=(definition,))(Moody)
    yield
    registry._PROBES.pop(ID)


def plan_with(material, extra):
    return material.PLAN.replace("policy: policy.yaml", "").rstrip() + f"\n{extra}\n"


def bytes_of(run):
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}


def test_two_runs_give_the_same_bytes_but_for_timings(tmp_path, material):
    plan = material.write(tmp_path)
    one = audit.run_plan(plan, tmp_path / "a", cache=tmp_path / "cache1", progress=False)
    audit.run_plan(plan, tmp_path / "b", cache=tmp_path / "cache2", progress=False)
    audit.run_plan(plan, tmp_path / "c", cache=tmp_path / "cache1", progress=False)
    timed = {"provenance/timings.json", "MANIFEST.json", "SHA256SUMS"}
    a, b, c = ({k: v for k, v in bytes_of(tmp_path / n).items() if k not in timed} for n in "abc")
    assert a == b == c
    assert one.verdict.exit_code == 10
    assert {"results.json", "verdict.json", "report.html", "summary.md", "junit.xml"} <= a.keys()


def test_the_seed_of_an_instance_does_not_depend_on_the_others(tmp_path, material):
    plan = material.write(tmp_path)
    whole = audit.run_plan(plan, tmp_path / "a", cache=tmp_path / "c1", progress=False)
    alone = audit.run_plan(plan, tmp_path / "b", cache=tmp_path / "c2", only=["groups"], progress=False)
    assert whole.record.finding("groups") == alone.record.finding("groups")


def test_only_leaves_the_others_as_errors_never_as_passes(tmp_path, material):
    plan = material.write(tmp_path)
    result = audit.run_plan(plan, tmp_path / "a", only=["groups"], cache=tmp_path / "c", progress=False)
    outcomes = {r.check.rule.id: r.outcome for r in result.verdict.rulings}
    assert outcomes["accurate"] == "error"
    assert verify(tmp_path / "a").problems == []
    with pytest.raises(PlanError, match="nonsense"):
        audit.run_plan(plan, tmp_path / "b", only=["nonsense"], cache=tmp_path / "c", progress=False)


@pytest.mark.parametrize(
    ("mood", "status", "words"),
    [
        ("broken", "errored", "RuntimeError: the engine said <no>"),
        ("unavailable", "not_applicable", "no lexicon"),
        ("undisciplined", "errored", "does not define"),
    ],
)
def test_a_probe_that_breaks_is_a_finding_and_the_rest_runs(tmp_path, material, mood, status, words):
    policy = material.POLICY + "  - {id: moody, measure: 'moody:total', max: 100}\n"
    text = material.PLAN.replace("policy: p", f"  moody: {{probe: {ID}, mood: {mood}}}\npolicy: p")
    plan = material.write(tmp_path, plan=text, policy=policy)
    result = audit.run_plan(plan, tmp_path / "run", cache=tmp_path / "c", progress=False)
    finding = result.record.finding("moody")
    assert finding.status == status
    assert words in str(finding.reason)
    assert result.record.finding("performance").status == "measured"
    assert next(r for r in result.verdict.rulings if r.check.rule.id == "moody").outcome == "error"
    if status == "errored":
        assert "Traceback" in (result.path / finding.traceback).read_text()
        assert finding.traceback in {f.path for f in Bundle.open(result.path).manifest().files}
    assert "the engine said <no>" not in result.report.read_text()


def test_a_killed_run_resumes_without_measuring_twice(tmp_path, material):
    killed = plan_with(material, f"  moody: {{probe: {ID}, mood: killed}}")
    plan = material.write(tmp_path, plan=killed)
    CALLS.clear()
    with pytest.raises(KeyboardInterrupt):
        audit.run_plan(plan, tmp_path / "run", cache=tmp_path / "c", progress=False)
    assert CALLS == [0, 1, 2, 3, 4]
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob(".run*"))
    plan.write_text(killed.replace("killed", "fine"))
    audit.run_plan(plan, tmp_path / "run", cache=tmp_path / "c", progress=False)
    assert list(range(10)) == CALLS
    audit.run_plan(plan, tmp_path / "other", cache=tmp_path / "c2", progress=False)
    assert (tmp_path / "run/results.json").read_bytes() == (tmp_path / "other/results.json").read_bytes()


def test_a_dry_run_measures_nothing_and_knows_the_cache(tmp_path, material):
    plan = material.write(tmp_path)
    steps = audit.describe_plan(plan, cache=tmp_path / "c")
    assert {s.status for s in steps} == {"to do"}
    audit.run_plan(plan, tmp_path / "run", cache=tmp_path / "c", only=["groups"], progress=False)
    steps = {
        s.instance: s.status for s in audit.describe_plan(plan, only=["groups", "performance"], cache=tmp_path / "c")
    }
    assert steps == {"groups": "cached", "performance": "to do", "calibration": "left out"}


def test_an_unmet_need_is_not_applicable_with_its_reason(tmp_path, material):
    text = material.PLAN.replace(", groups: [gender, origin]", "")
    result = audit.run_plan(material.write(tmp_path, plan=text), tmp_path / "run", cache=tmp_path / "c", progress=False)
    finding = result.record.finding("groups")
    assert finding.status == "not_applicable"
    assert "groups" in str(finding.reason)
    assert result.verdict.exit_code == 12


def test_a_bad_policy_is_refused_before_anything_is_measured(tmp_path, material):
    plan = material.write(tmp_path, policy=material.POLICY.replace("performance:accuracy", "performance:acuracy"))
    with pytest.raises(UnknownMeasure, match="accuracy"):
        audit.run_plan(plan, tmp_path / "run", cache=tmp_path / "c", progress=False)
    assert not list((tmp_path / "c").rglob("*.parquet"))


def test_an_ambiguous_rule_keeps_what_was_measured(tmp_path, material):
    plan = material.write(tmp_path, policy=material.POLICY.replace("where: {feature: gender}, ", ""))
    with pytest.raises(PolicyError, match="feature:gender; feature:origin"):
        audit.run_plan(plan, tmp_path / "run", cache=tmp_path / "c", progress=False)
    assert {s.status for s in audit.describe_plan(plan, cache=tmp_path / "c")} == {"cached"}


def test_a_folder_with_something_else_is_never_overwritten(tmp_path, material):
    plan = material.write(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(GateError, match="holds no bundle"):
        audit.run_plan(plan, tmp_path / "mine", cache=tmp_path / "c", progress=False)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_missing_groups_are_counted_either_way(tmp_path, material):
    excluded = audit.run_plan(material.write(tmp_path), tmp_path / "a", cache=tmp_path / "c", progress=False)
    text = material.PLAN.replace("cluster: template", "cluster: template, missing_group: own")
    own = audit.run_plan(material.write(tmp_path, plan=text), tmp_path / "b", cache=tmp_path / "c", progress=False)
    first, second = (next(f for f in r.record.data.features if f.name == "origin") for r in (excluded, own))
    assert first.missing == second.missing > 0
    assert set(second.values) - set(first.values) == {"(missing)"}


def test_python_api_on_a_frame_and_its_frames(tmp_path, material):
    frame = material.predictions()
    result = audit.run(frame, label="label", groups=["gender"], id="row_id", positive="yes", progress=False)
    table = result.to_frame()
    accuracy = table[(table.measure == "accuracy") & (table.instance == "performance")].iloc[0]
    assert accuracy.value == pytest.approx((frame.label == frame.prediction).mean())
    assert result.verdict.exit_code == 12
    gated = audit.gate(result, policy=material.write(tmp_path).parent / "policy.yaml")
    assert gated.verdict.outcome == "fail"
    assert set(gated.checks().outcome) <= {"pass", "fail", "inconclusive"}
    saved = result.save(tmp_path / "out")
    assert audit.load(saved.path).verdict == result.verdict
    shown = result._repr_html_()
    assert shown.startswith('<div class="plumbline-cell"')
    assert "No policy was given" in shown
    assert repr(result).startswith("<audit ")
    with pytest.raises(GateError, match="not empty"):
        result.save(tmp_path / "out")


def test_two_classes_need_to_know_the_positive_one(material):
    with pytest.raises(PlanError, match="positive"):
        audit.run(material.predictions(), label="label", groups=["gender"], id="row_id", progress=False)


def test_a_broken_score_is_refused_with_one_message(tmp_path, material):
    frame = material.predictions()
    frame.loc[5, "score_yes"] = float("nan")
    with pytest.raises(DataError, match="score"):
        audit.run_plan(material.write(tmp_path, frame), tmp_path / "run", cache=tmp_path / "c", progress=False)


def test_gate_at_another_level_needs_no_model_and_gives_wider_intervals(finished, tmp_path, material):
    strict = tmp_path / "strict.yaml"
    strict.write_text(material.POLICY.replace("rules:", "defaults: {level: 0.99}\nrules:"))
    usual, wider = audit.load(finished).verdict, audit.gate(finished, policy=strict).verdict
    for a, b in zip(usual.rulings, wider.rulings, strict=True):
        assert b.interval.level == 0.99
        assert b.interval.low <= a.interval.low
        assert b.interval.high >= a.interval.high
    direct = audit.run_plan(
        material.write(tmp_path / "m", plan=material.PLAN.replace("seed: 3", "seed: 3\nlevel: 0.99")),
        tmp_path / "direct", policy=strict, cache=tmp_path / "c", progress=False,
    )  # fmt: skip
    assert [r.interval for r in direct.verdict.rulings] == [r.interval for r in wider.rulings]


def test_gate_writes_a_new_bundle_and_leaves_the_old_alone(finished, tmp_path, material):
    before = bytes_of(finished)
    lax = tmp_path / "lax.yaml"
    lax.write_text(material.POLICY.replace("max: 0.10", "max: 0.9").replace("min: 0.6", "min: 0.1"))
    result = audit.gate(finished, policy=lax, out=tmp_path / "new")
    assert result.verdict.exit_code == 0
    assert bytes_of(finished) == before
    assert json.loads((tmp_path / "new/verdict.json").read_text())["outcome"] == "pass"
    with pytest.raises(GateError, match="itself"):
        audit.gate(finished, policy=lax, out=finished)


def test_a_baseline_travels_with_the_bundle(finished, tmp_path, material):
    rule = '  - {id: no-regression, measure: "performance:accuracy", baseline: main, max_drop: 0.02}\n'
    better = material.predictions(gap=0.0)
    plan = material.write(tmp_path, better, policy=material.POLICY + rule)
    result = audit.run_plan(plan, tmp_path / "run", baselines={"main": finished}, cache=tmp_path / "c", progress=False)
    ruling = next(r for r in result.verdict.rulings if r.check.rule.id == "no-regression")
    assert ruling.outcome == "pass"
    assert ruling.comparison.paired
    assert (tmp_path / "run/evidence/baseline/main/results.json").is_file()
    again = audit.gate(tmp_path / "run")
    assert [r.outcome for r in again.verdict.rulings] == [r.outcome for r in result.verdict.rulings]
    alone = audit.run_plan(plan, tmp_path / "first", cache=tmp_path / "c", progress=False)
    assert alone.verdict.exit_code in {10, 12}
    assert next(r for r in alone.verdict.rulings if r.check.rule.id == "no-regression").outcome == "error"
