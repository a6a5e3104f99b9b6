"""An ensemble as one subject: the mean of its members, from a plan, a folder or a recipe, through to a bundle that verifies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import audit
from audit.first_plan import write_first_plan
from audit.verify import verify
from fine_tune.checkpoint import Checkpoint
from fine_tune.ensemble import Ensemble
from fine_tune.errors import CheckpointError
from fine_tune.recipe import Recipe
from fine_tune.tasks import Answer
from fine_tune.train import fine_tune
from probes.ensemble_subject import mean_answer
from probes.errors import SubjectError
from probes.evidence import Need
from probes.probe import Context, MemoryJournal
from probes.subject import CheckpointSubject, EnsembleSubject, subject_of

SEEDS = [1, 2, 3]
PLAN = """
schema: plumbline.plan/v1
name: reviews
subject: {subject}
data:
  train: {{source: rows.csv, input: text, label: label, id: row}}
  audit: {{source: rows.csv, input: text, label: label, id: row, groups: [gender]}}
probes:
  performance: {{probe: performance.classification}}
  seeds: {{probe: performance.seeds}}
policy: policy.yaml
"""
POLICY = """
schema: plumbline.policy/v1
name: release
version: 1
owner: risk@example.org
defaults: {min_n: 10}
rules:
  - {id: every-seed, measure: "seeds:lowest_accuracy", min: 0.01}
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PLUMBLINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tiny_base, review_data, tmp_path) -> Path:
    recipe = Recipe.of({"base": str(tiny_base), "steps": 2, "batch_size": 8, "learning_rate": 0.01, "seeds": SEEDS})
    fine_tune(recipe, review_data, tmp_path / "ensemble", progress=False)
    return tmp_path / "ensemble"


def test_says_the_mean_of_its_members(folder, review_data):
    opened = Checkpoint.open(folder)
    subject = subject_of(opened, review_data)
    assert isinstance(subject, EnsembleSubject)
    ctx = Context(instance="test")
    members = [CheckpointSubject(Checkpoint.open(folder / f"seed-{s}"), review_data) for s in SEEDS]
    alone = np.array([m.predict(review_data.inputs, ctx) for m in members])
    assert np.abs(alone[0] - alone[1]).max() > 1e-4
    mean = (alone[0] + alone[1] + alone[2]) / 3
    assert np.abs(subject.predict(review_data.inputs, Context(instance="test")) - mean).max() <= 1e-12
    table = subject.predictions(Context(instance="test"))
    scores = np.column_stack([table.column(f"score_{c}").to_numpy() for c in subject.classes])
    assert np.abs(scores - mean).max() <= 1e-12
    assert table.column("prediction").to_pylist() == [subject.classes[i] for i in mean.argmax(axis=1)]
    assert {Need.PREDICTIONS, Need.QUERIES, Need.MEMBERS, Need.LABELS, Need.GROUPS} == set(subject.offers)
    assert subject.details["seeds"] == "1, 2, 3"
    assert list(subject.members) == ["seed-1", "seed-2", "seed-3"]
    assert subject.files["seed-2/config.json"]


def test_a_threshold_applies_to_the_mean(folder, review_data):
    subject = subject_of(Checkpoint.open(folder), review_data, threshold=0.0, positive="positive")
    table = subject.predictions(Context(instance="test"))
    assert set(table.column("prediction").to_pylist()) == {"positive"}
    assert subject.digest != subject_of(Checkpoint.open(folder), review_data).digest


def test_a_member_that_was_asked_is_not_asked_again(folder, review_data, monkeypatch):
    ctx = Context(instance="test", journal=MemoryJournal())
    first = subject_of(Checkpoint.open(folder), review_data)
    assert isinstance(first, EnsembleSubject)
    first.predictions(ctx)
    again = subject_of(Checkpoint.open(folder), review_data)
    assert isinstance(again, EnsembleSubject)
    for member in again.members.values():
        monkeypatch.setattr(type(member.reader("cpu")), "answer", lambda *_: pytest.fail("asked again"))
    assert again.predictions(ctx).equals(first.predictions(ctx))


def test_one_checkpoint_subject_refuses_several(folder, review_data):
    with pytest.raises(CheckpointError, match="an ensemble of 3 models"):
        CheckpointSubject(Checkpoint.open(folder), review_data)


def test_members_with_different_units_have_no_mean():
    one, two = Answer(scores=((0.2, 0.8),)), Answer(scores=((0.2, 0.8), (0.5, 0.5)))
    with pytest.raises(SubjectError, match="different units"):
        mean_answer([one, two])
    cut = mean_answer([one, Answer(scores=((0.6, 0.4),), truncated=True)])
    assert cut.truncated
    assert np.allclose(cut.scores, [[0.4, 0.6]], atol=1e-15)


def figures(result):
    (finding,) = [f for f in result.record.findings if f.instance == "seeds"]
    assert finding.status == "measured", finding.reason
    return {(m.name, str(m.slice)): m.value for m in finding.reading.measurements}


def test_a_plan_that_trains_and_one_that_names_the_folder_agree(folder, tiny_base, review_frame, tmp_path):
    review_frame.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "policy.yaml").write_text(POLICY)
    recipe = {"base": str(tiny_base), "steps": 2, "batch_size": 8, "learning_rate": 0.01, "seeds": SEEDS}
    found = {}
    for name, subject in (("trained", {"recipe": recipe}), ("named", {"checkpoint": "ensemble"})):
        plan = tmp_path / f"{name}.yaml"
        plan.write_text(PLAN.format(subject=json.dumps(subject)))
        result = audit.run_plan(plan, out=tmp_path / name, device="cpu", progress=False)
        assert result.verdict.outcome == "pass"
        assert verify(tmp_path / name).ok
        found[name] = figures(result)
        card = result.record.subject
        assert (card.kind, card.details["members"]) == ("ensemble", 3)
        assert result.record.training["members"]["seed-2"]["steps"] == 2
        manifest = json.loads((tmp_path / name / "provenance" / "model.manifest.json").read_text())
        assert "seed-3/model.safetensors" in manifest["files"]
        steps = audit.api.describe_plan(plan, device="cpu")
        assert [s.status for s in steps] == ["cached", "cached"]
    assert found["trained"] == found["named"]
    page = (tmp_path / "trained" / "report.html").read_text()
    assert "seed-2" in page


def test_a_first_plan_for_an_ensemble_runs(folder, review_frame, tmp_path):
    review_frame.to_csv(tmp_path / "rows.csv", index=False)
    write_first_plan(str(folder), str(tmp_path / "rows.csv"), tmp_path / "first")
    plan = tmp_path / "first" / "plan.yaml"
    assert "performance.seeds" in plan.read_text()
    result = audit.run_plan(plan, out=tmp_path / "run", device="cpu", progress=False)
    assert result.record.subject.kind == "ensemble"
    assert figures(result)


def test_a_folder_is_enough_for_a_notebook(folder, review_frame, tmp_path):
    result = audit.run(
        folder, data=review_frame, label="label", groups=["gender"], id="row", positive="positive",
        out=tmp_path / "run", device="cpu", progress=False,
    )  # fmt: skip
    assert figures(result)["ensemble_accuracy", "()"] > 0
    assert isinstance(Checkpoint.open(folder), Ensemble)
    alone = audit.run(
        folder / "seed-1", data=review_frame, label="label", id="row", positive="positive",
        probes={"seeds": {"probe": "performance.seeds"}}, out=tmp_path / "alone", device="cpu", progress=False,
    )  # fmt: skip
    assert [f.status for f in alone.record.findings] == ["not_applicable"]
