"""`plumbline init`: what it guesses, what it leaves to people, and that what it writes runs."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import audit
from audit.cli import app
from audit.column_roles import describe, guess_roles
from audit.first_plan import write_first_plan
from audit.plan import load_plan
from audit.policy import load_policy
from audit.quoting import quote


@pytest.fixture
def rows(review_frame) -> pd.DataFrame:
    """192 rows with labels as numbers, and columns whose part is uncertain."""
    many = pd.concat([review_frame.assign(row=review_frame["row"] + f"_{k}") for k in range(4)], ignore_index=True)
    return many.assign(
        label=(many["label"] == "positive").astype(int), shade=["a", "b"] * 96, height=np.arange(192) / 7
    )


def guessed(frame: pd.DataFrame, classes=("negative", "positive")):
    found = guess_roles([describe(n, frame[n].tolist()) for n in frame.columns], classes)
    return {(g.role, g.column): g.sure for g in found.guesses}, found.labels


def test_guesses_by_hand(rows):
    found, labels = guessed(rows)
    assert found == {
        ("label", "label"): True,
        ("input", "text"): True,
        ("id", "row"): False,
        ("cluster", "template"): True,
        ("groups", "gender"): True,
        ("groups", "shade"): False,
    }
    assert labels == {"0": "negative", "1": "positive"}


def test_labels_that_cannot_be_told_are_only_suggested():
    frame = pd.DataFrame({"text": [f"a short text {i}" for i in range(8)], "label": ["good", "bad"] * 4})
    assert guessed(frame)[0][("label", "label")] is False
    same = pd.DataFrame({"first": ["negative", "positive"] * 4, "second": ["positive", "negative"] * 4})
    found, labels = guessed(same)
    assert {k: v for k, v in found.items() if k[0] == "label"} == {
        ("label", "first"): False,
        ("label", "second"): False,
    }
    assert labels == {}
    plain = pd.DataFrame({"gold": ["NEGATIVE", "Positive"] * 4})
    assert guessed(plain) == ({("label", "gold"): True}, {"NEGATIVE": "negative", "Positive": "positive"})
    numbers = pd.DataFrame({"smoker": [0, 1] * 4})
    assert guessed(numbers)[0][("label", "smoker")] is False
    one = pd.DataFrame({"label": ["positive"] * 4})
    assert guessed(one)[0] == {("label", "label"): False}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_what_is_written_runs(tmp_path, rows, tiny_checkpoint, suffix, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save = {
        "csv": lambda: rows.to_csv("reviews.csv", index=False),
        "jsonl": lambda: rows.to_json("reviews.jsonl", orient="records", lines=True),
        "parquet": lambda: rows.to_parquet("reviews.parquet"),
    }
    save[suffix]()
    done = CliRunner().invoke(app, ["init", str(tiny_checkpoint), f"reviews.{suffix}", "--out", "first"])
    assert done.exit_code == 0, done.output
    for said in ('used: "text" as input', 'not used: "shade" as groups', '"positive" is the positive class'):
        assert said in done.output
    plan = load_plan("first/plan.yaml").plan
    assert plan.data.audit.label == "label"
    assert plan.data.audit.groups == ("gender",)
    assert plan.data.audit.id is None
    assert plan.probes["groups"].options == {"positive": "positive"}
    if suffix == "csv":
        result = audit.run_plan("first/plan.yaml", "run", cache="cache", progress=False)
        assert {f.status for f in result.record.findings} == {"measured"}
        assert {r.outcome for r in result.verdict.rulings}.isdisjoint({"error"})
        rules = load_policy("first/policy.yaml").rules
        assert all("example" in r.source for r in rules)


def test_a_table_of_predictions_instead_of_a_checkpoint(tmp_path, material):
    material.predictions().rename(columns={"prediction": "pred"}).to_csv(tmp_path / "scores.csv", index=False)
    scores = str(tmp_path / "scores.csv")
    first = write_first_plan(scores, scores, tmp_path)
    plan = load_plan(first.plan).plan
    assert plan.subject.predictions.source == "scores.csv"
    assert plan.subject.predictions.prediction == "pred"
    assert plan.data.audit.id == "row_id"
    assert plan.data.audit.cluster == "template"
    assert plan.data.audit.groups == ("gender", "origin")
    result = audit.run_plan(first.plan, tmp_path / "run", cache=tmp_path / "c", progress=False)
    assert {f.status for f in result.record.findings} == {"measured"}
    assert not any(r.outcome == "error" for r in result.verdict.rulings)


def test_only_what_can_run_is_planned(tmp_path, rows, tiny_checkpoint):
    rows[["text"]].assign(label="positive").to_csv(tmp_path / "bare.csv", index=False)
    other = rows[["text", "gender"]]
    other.to_csv(tmp_path / "unlabelled.csv", index=False)
    first = write_first_plan(str(tiny_checkpoint), str(tmp_path / "unlabelled.csv"), tmp_path / "a")
    plan = load_plan(first.plan).plan
    assert "groups" in plan.probes
    assert "performance" not in plan.probes
    assert "performance.classification: It needs labels" in first.plan.read_text()
    assert [r.measure for r in load_policy(first.policy).rules] == ["groups:demographic_parity_difference"]
    done = CliRunner().invoke(
        app, ["init", str(tiny_checkpoint), str(tmp_path / "bare.csv"), "--out", str(tmp_path / "b")]
    )
    assert done.exit_code == 2
    assert "no probe can run" in done.output
    assert not (tmp_path / "b").exists()


def test_nothing_is_overwritten(tmp_path, rows, tiny_checkpoint):
    rows.to_csv(tmp_path / "reviews.csv", index=False)
    (tmp_path / "policy.yaml").write_text("mine")
    given = ["init", str(tiny_checkpoint), str(tmp_path / "reviews.csv"), "--out", str(tmp_path)]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 2
    assert "policy.yaml exists already" in done.output
    assert (tmp_path / "policy.yaml").read_text() == "mine"
    assert not (tmp_path / "plan.yaml").exists()


def test_an_unclear_input_is_asked_for(tmp_path, tiny_checkpoint):
    frame = pd.DataFrame({n: [f"{n} is a sentence {i}" for i in range(8)] for n in ("left", "right")})
    frame.assign(label=["negative", "positive"] * 4).to_csv(tmp_path / "two.csv", index=False)
    given = ["init", str(tiny_checkpoint), str(tmp_path / "two.csv"), "--out", str(tmp_path / "first")]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 2
    assert "--input left" in done.output
    assert CliRunner().invoke(app, [*given, "--input", "right"]).exit_code == 0
    assert load_plan(tmp_path / "first/plan.yaml").plan.data.audit.input == "right"
    assert CliRunner().invoke(app, [*given[:-1], str(tmp_path / "x"), "--input", "wrong"]).exit_code == 2


def test_the_schemas_beside_the_files_are_those_of_the_package(tmp_path, rows, tiny_checkpoint):
    from jsonschema import Draft202012Validator
    from ruamel.yaml import YAML

    rows.to_csv(tmp_path / "reviews.csv", index=False)
    first = write_first_plan(str(tiny_checkpoint), str(tmp_path / "reviews.csv"), tmp_path / "new" / "first")
    for path in (first.plan, first.policy):
        line = path.read_text().splitlines()[0]
        assert line.startswith("# yaml-language-server: $schema=")
        schema = json.loads((path.parent / line.partition("=")[2]).read_text())
        Draft202012Validator(schema).validate(YAML(typ="safe").load(path))
    source = load_plan(first.plan).plan.data.audit.source
    assert (first.plan.parent / source).samefile(tmp_path / "reviews.csv")


@pytest.mark.parametrize(
    "name",
    ['a "b"', "line\nbreak: x", "tab\there", "$HOME", "${HOME}", "nel\x85x", "# no", "\u2028", "back\\slash", "是"],
)
def test_hostile_names_stay_what_they_are(tmp_path, rows, tiny_checkpoint, name):
    from audit.documents import read_document
    from audit.errors import PlanError
    from audit.plan import Plan

    text = f"schema: plumbline.plan/v1\nname: {quote('x' + name)}\nsubject: {{predictions: s.csv}}\nprobes: {{p: {{probe: performance.classification}}}}\n"
    (tmp_path / "plan.yaml").write_text(text, encoding="utf-8")
    assert read_document(tmp_path / "plan.yaml", Plan, error=PlanError).value.name == "x" + name
    rows.rename(columns={"shade": name}).to_json(tmp_path / "reviews.jsonl", orient="records", lines=True)
    first = write_first_plan(str(tiny_checkpoint), str(tmp_path / "reviews.jsonl"), tmp_path / "first")
    assert load_plan(first.plan).plan.data.audit.groups == ("gender",)
