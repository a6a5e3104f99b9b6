"""Bad input, through the command line: one clear message, the right exit code, no traceback, nothing measured lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from audit import cli

CHECKPOINT_PLAN = """
schema: plumbline.plan/v1
name: reviews
subject: {checkpoint: model}
data:
  audit: {source: reviews.csv, input: text, label: label, groups: [gender], id: id}
probes:
  performance: {probe: performance.classification}
policy: policy.yaml
"""

CHECKPOINT_POLICY = """
schema: plumbline.policy/v1
name: p
version: 1
owner: o
rules: [{id: accurate, measure: "performance:accuracy", min: 0.0001, min_n: 1}]
"""

WAIVER = """
schema: plumbline.waivers/v1
waivers:
  - id: w1
    rule: parity
    slice: "feature:gender"
    subject: {subject}
    allow_up_to: 0.9
    justification: j
    statement: s
    requested_by: ann
    approved_by: {approver}
    approved_on: {start}
    expires: {end}
    ticket: T-1
"""


def call(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, [str(w) for w in words])
    shown = result.output + result.stderr
    assert "Traceback" not in shown
    assert result.exit_code != 1, shown
    return result.exit_code, " ".join(shown.split())


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PLUMBLINE_CACHE", str(tmp_path / "cache"))


def run(plan: Path) -> tuple[int, str]:
    return call("run", plan, "--out", plan.parent / "run")


# Tables of predictions ---------------------------------------------------------------------------------------------


def set_at(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    frame[column] = frame[column].astype(object)
    frame.loc[3, column] = value
    return frame


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="label"), ["label", "expected"]),
        (lambda f: f.drop(columns="gender"), ["gender", "expected"]),
        (lambda f: set_at(f, "label", "perhaps"), ["perhaps", "expected"]),
        (lambda f: set_at(f, "prediction", "perhaps"), ["perhaps", "expected"]),
        (lambda f: f.assign(label="yes"), ["yes", "two classes"]),
        (lambda f: f.iloc[:0], ["no rows", "expected"]),
        (lambda f: set_at(f, "score_yes", float("nan")), ["score", "row 3"]),
        (lambda f: set_at(f, "score_yes", 1.7), ["1.7", "row 3"]),
        (lambda f: set_at(f, "score_yes", "high"), ["score_yes"]),
        (lambda f: set_at(f, "row_id", "r4"), ["r4"]),
        (lambda f: pd.concat([f] * 17, ignore_index=True).assign(
            row_id=lambda g: [f"r{i}" for i in range(len(g))], gender=lambda g: [f"u{i}" for i in range(len(g))]
        ), ["gender", "different values"]),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used(tmp_path, material, change, words):
    plan = material.write(tmp_path, change(material.predictions()))
    code, shown = run(plan)
    assert code == 2, shown
    assert all(w in shown for w in words), shown
    assert not (tmp_path / "run").exists()


def test_an_empty_file(tmp_path, material):
    plan = material.write(tmp_path)
    (tmp_path / "scores.csv").write_bytes(b"")
    code, shown = run(plan)
    assert code == 2
    assert "scores.csv" in shown


def test_bytes_that_are_no_table(tmp_path, material):
    plan = material.write(tmp_path, plan=material.PLAN.replace("scores.csv", "scores.parquet"))
    (tmp_path / "scores.parquet").write_bytes(b"PAR1 this is no parquet")
    code, shown = run(plan)
    assert code == 2
    assert "scores.parquet" in shown


# Checkpoints -------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint_plan(tmp_path, tiny_checkpoint):
    shutil.copytree(
        tiny_checkpoint if isinstance(tiny_checkpoint, Path) else tiny_checkpoint.folder, tmp_path / "model"
    )
    rows = [
        f"{i},good film {'she' if i % 2 else 'he'} {i},{'positive' if i % 3 else 'negative'},{i % 2}" for i in range(60)
    ]
    (tmp_path / "reviews.csv").write_text("id,text,label,gender\n" + "\n".join(rows) + "\n")
    (tmp_path / "policy.yaml").write_text(CHECKPOINT_POLICY)
    (tmp_path / "plan.yaml").write_text(CHECKPOINT_PLAN)
    return tmp_path / "plan.yaml"


def test_the_unharmed_checkpoint_runs(checkpoint_plan):
    code, shown = run(checkpoint_plan)
    assert code == 0, shown


def truncate_weights(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def only_pickles(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def other_labels(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config |= {"id2label": {"0": "ham", "1": "spam"}, "label2id": {"ham": 0, "spam": 1}}
    (model / "config.json").write_text(json.dumps(config))


def remote_code(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Evil"}}))


def broken_config(model: Path) -> None:
    (model / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (truncate_weights, ["model.safetensors"]),
        (only_pickles, ["pytorch_model.bin", "safetensors"]),
        (other_labels, ["negative", "ham", "spam"]),
        (remote_code, ["auto_map"]),
        (broken_config, ["config.json"]),
        (shutil.rmtree, ["model"]),
    ],
)
def test_a_checkpoint_that_cannot_be_used(checkpoint_plan, harm, words, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    harm(checkpoint_plan.parent / "model")
    code, shown = run(checkpoint_plan)
    assert code == 2, shown
    assert all(w in shown for w in words), shown


# Policies and waivers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("min: 0.6", "minimum: 0.6", ["minimum", "policy.yaml:"]),
        ("min: 0.6", "min: lots", ["lots", "policy.yaml:"]),
        ("min: 0.6", "min: .nan", ["policy.yaml:"]),
        ("min: 0.6", "min: 0.6, max: 0.9", ["exactly one"]),
        ("performance:accuracy", "performance:acuracy", ["acuracy", "accuracy", "policy.yaml:"]),
        ("performance:accuracy", "perf:accuracy", ["perf", "policy.yaml:"]),
        ("id: parity", "id: accurate", ["accurate"]),
        ("owner: risk@example.org", "owner: ${NOBODY_SET_THIS}", ["NOBODY_SET_THIS"]),
        ("rules:", "rules: [", ["policy.yaml:"]),
        ("min: 0.6", "min: 0.6, decision: exact", ["sampled"]),
        ("where: {feature: gender}, ", "", ["matches", "feature:origin"]),
    ],
)
def test_a_policy_that_cannot_be_used(tmp_path, material, old, new, words):
    assert old in material.POLICY
    code, shown = run(material.write(tmp_path, policy=material.POLICY.replace(old, new, 1)))
    assert code == 2, shown
    assert all(w in shown for w in words), shown


def test_a_slice_that_does_not_exist_is_12(tmp_path, material):
    policy = material.POLICY.replace("feature: gender", "feature: shoe_size").replace("min: 0.6", "min: 0.1")
    code, shown = run(material.write(tmp_path, policy=policy))
    assert code == 12
    assert "shoe_size" in shown


def test_a_run_without_any_check_is_12(tmp_path, material):
    empty = material.POLICY.split("rules:")[0] + "rules: []\n"
    assert run(material.write(tmp_path / "a", policy=empty))[0] == 12
    assert run(material.write(tmp_path / "b", plan=material.PLAN.replace("policy: policy.yaml", "")))[0] == 12


@pytest.mark.parametrize(
    ("approver", "start", "end", "code", "words"),
    [
        ("bob", "2026-01-01", "2026-03-01", 0, "WAIVED"),
        ("bob", "2025-01-01", "2025-03-01", 10, "expired on 2025-03-01"),
        ("Ann", "2026-01-01", "2026-03-01", 2, "approves"),
        ("bob", "2026-01-01", "2026-09-01", 2, "90 days"),
        ("bob", "2026-03-01", "2026-01-01", 2, "before"),
    ],
)
def test_waivers(finished, tmp_path, approver, start, end, code, words):
    subject = json.loads((finished / "results.json").read_text())["subject"]["digest"]
    (tmp_path / "w.yaml").write_text(WAIVER.format(subject=subject, approver=approver, start=start, end=end))
    got, shown = call(
        "gate", finished, "--waivers", tmp_path / "w.yaml", "--on", "2026-02-01", "--out", tmp_path / "new"
    )
    assert (got, words in shown) == (code, True), shown
    if code in {0, 10}:
        assert call("verify", tmp_path / "new")[0] == 0


# Bundles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["results.json", "verdict.json", "evidence/predictions.parquet", "MANIFEST.json"])
def test_a_bundle_with_a_missing_file(finished, tmp_path, name):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    code, shown = call("verify", tmp_path / "run")
    assert code == 13
    assert name in shown
    code, shown = call("gate", tmp_path / "run")
    assert code in {0, 2, 10, 11, 12, 13}


@pytest.mark.parametrize("command", ["gate", "verify", "render"])
def test_what_is_no_bundle(tmp_path, command):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "nowhere", tmp_path / "empty"):
        code, shown = call(command, place, *(["--out", tmp_path / "x"] if command == "render" else []))
        assert code == 2
        assert place.name in shown


@pytest.mark.parametrize("name", ["results.json", "verdict.json"])
def test_a_record_cut_off_in_the_middle(finished, tmp_path, name):
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / name
    path.write_text(path.read_text()[:1000])
    code, shown = call("gate", tmp_path / "run")
    assert code == 13, "it is not what its list says, before anybody asks whether it can be read"
    assert name in shown
