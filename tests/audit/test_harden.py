"""Hardening: what is trained on is never judged on, the comparison is paired, and runs that cannot be hardened say why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import audit
from audit import cli
from audit.harden import harden
from audit.harden_origin import training_of
from audit.harden_rows import (
    HardenError,
    Variant,
    _attacked,
    augmented,
    rows_to_add,
    split_halves,
    units_of,
    variants_of,
)
from audit.verify import verify
from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData, content_digest
from fine_tune.errors import RecipeError
from fine_tune.recipe import Recipe
from reports.bundle import Bundle
from reports.record import Comparison

PLAN = """
schema: plumbline.plan/v1
name: reviews
seed: 5
subject:
  recipe: {base: base, steps: 40, batch_size: 16, learning_rate: 0.01}
  save_to: model
data:
  train: {source: train.csv, input: text, label: label, id: row, cluster: template}
  audit: {source: audit.csv, input: text, label: label, id: row, cluster: template}
probes:
  noise: {probe: robustness.noise, kinds: [typos, lookalikes], rates: [0.3], examples: 60}
"""
POLICY = """
schema: plumbline.policy/v1
name: release
version: 2
owner: risk@example.org
defaults: {min_n: 5}
rules:
  - {id: steady, measure: "noise:flip_rate", where: {setting: [kind=all, rate=all]}, max: 0.99}
  - {id: no-worse, measure: "noise:flip_rate", where: {setting: [kind=all, rate=all]}, baseline: main, max_drop: 0.5}
"""


def reviews(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(rows):
        good = bool(rng.random() < 0.5)
        what = rng.choice(["movie", "film", "plot", "actor"])
        said = rng.choice(["good", "great", "fine"] if good else ["bad", "awful", "poor"])
        who = rng.choice(["she", "he", "they"])
        lines.append({
            "text": f"{who} was very {said} the {what} was {said} {seed} {i}", "label": "positive" if good else "negative",
            "row": f"r{i:03d}", "template": f"t{i // 2}", "person": who,
        })  # fmt: skip
    return pd.DataFrame(lines)


@pytest.fixture(scope="session")
def attacked(tmp_path_factory, tiny_base) -> Path:
    """A folder with a plan, its data and its finished run; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("attacked")
    shutil.copytree(tiny_base, folder / "base")
    reviews(160, 1).to_csv(folder / "train.csv", index=False)
    reviews(80, 2).to_csv(folder / "audit.csv", index=False)
    (folder / "plan.yaml").write_text(PLAN)
    audit.run_plan(folder / "plan.yaml", folder / "run", cache=folder / "cache", device="cpu", progress=False)
    return folder


@pytest.fixture(scope="session")
def done(attacked):
    return harden(
        attacked / "run",
        attacked / "plan.yaml",
        attacked / "out",
        cache=attacked / "cache",
        device="cpu",
        progress=False,
    )


def data(texts: list[str], labels: list[str] | None = None, **roles: list[Any]) -> AuditData:
    columns = {"text": texts, "label": labels or ["yes", "no"] * (len(texts) // 2), **roles}
    frame = pd.DataFrame(columns)
    return AuditData.from_frame(frame, input="text", label="label", **{name: name for name in roles})


def test_nothing_that_is_judged_was_trained_on(attacked, done):
    """The audited rows of both runs, and the rows that the twin was trained on, share no row, text or cluster."""
    source = pd.read_csv(attacked / "audit.csv").set_index("row")
    added = pq.read_table(attacked / "out/added_rows.parquet").to_pylist()
    assert len(added) == done.added > 0
    used = {row["id"].rpartition("/")[2] for row in added}
    for result in (done.original, done.hardened):
        judged = Bundle.open(result.path).rows(result.record.predictions)
        ids = set(judged["row_id"].to_pylist())
        assert not ids & used
        assert not set(source.loc[sorted(ids)].template) & set(source.loc[sorted(used)].template)
        assert not {content_digest(row["input"]) for row in added} & set(judged["content"].to_pylist())
        assert 20 <= len(ids) <= 60
    assert done.original.record.data == done.hardened.record.data
    record = Checkpoint.open(done.model).training_record
    assert record is not None
    assert {row["id"] for row in added} < set(record.training_ids)
    assert len(record.training_ids) == 160 + len(added)


def test_labels_stay_those_of_the_audited_rows(attacked, done):
    source = pd.read_csv(attacked / "audit.csv").set_index("row")
    for row in pq.read_table(attacked / "out/added_rows.parquet").to_pylist():
        name = row["id"].rpartition("/")[2]
        assert row["label"] == source.loc[name].label
        assert row["input"] != source.loc[name].text


def test_the_recipe_names_the_added_rows(attacked, done):
    told = json.loads((attacked / "out/hardening.json").read_text())
    model, twin = (Checkpoint.open(p).training_record for p in (attacked / "model", done.model))
    assert model is not None
    assert twin is not None
    assert model.recipe.augmented_by is None
    assert twin.recipe.augmented_by == told["added"]["digest"]
    assert twin.recipe.model_copy(update={"augmented_by": None, "base": model.recipe.base}) == model.recipe
    assert done.hardened.record.training["recipe"]["augmented_by"] == told["added"]["digest"]
    assert done.hardened.record.subject.details["rows_added"] == done.added
    assert told["original"] == Bundle.open(attacked / "run").record().subject.digest


def test_both_models_stand_side_by_side(done):
    compared = {f"{c.instance}:{c.measure}": c for c in done.comparisons}
    assert set(compared) == {
        "performance:accuracy", "noise:flip_rate", "noise:accuracy_with_noise",
    }  # fmt: skip
    for c in compared.values():
        assert isinstance(c, Comparison)
        assert c.paired
        assert c.drop_interval is not None
        assert c.drop_interval.low <= c.drop <= c.drop_interval.high
    for result in (done.original, done.hardened):
        assert verify(result.path).problems == []
    page = done.hardened.report.read_text(encoding="utf-8")
    assert "neither was trained on a variant" in page
    assert "rows_added" in page or "rows added" in page.lower()
    said = " ".join(str(note) for note in done.notes)
    assert "whatever the attacks found" in said
    assert "share their text or their cluster are on the same side" in said
    assert "may be due to more rows of that kind" in said


@pytest.mark.slow
def test_training_on_noise_makes_answers_steadier(tmp_path, tiny_base):
    """Where noise hides the word that decides, seeing such words in training helps, and the comparison is sure of it."""
    shutil.copytree(tiny_base, tmp_path / "base")
    reviews(160, 1).to_csv(tmp_path / "train.csv", index=False)
    reviews(160, 2).to_csv(tmp_path / "audit.csv", index=False)
    plan = PLAN.replace("steps: 40", "steps: 120").replace("examples: 60", "examples: 160")
    plan = plan.replace("rates: [0.3]", "rates: [0.2, 0.4]")
    (tmp_path / "plan.yaml").write_text(plan)
    at = {"cache": tmp_path / "cache", "device": "cpu", "progress": False}
    audit.run_plan(tmp_path / "plan.yaml", tmp_path / "run", **at)
    made = harden(tmp_path / "run", tmp_path / "plan.yaml", tmp_path / "new", **at)
    flips = next(c for c in made.comparisons if isinstance(c, Comparison) and c.measure == "flip_rate")
    assert flips.drop_interval is not None
    assert flips.drop_interval.high < 0


def test_a_second_call_takes_up_what_is_there(attacked, done, tmp_path):
    shutil.copytree(attacked / "out", tmp_path / "out")
    again = harden(
        attacked / "run",
        attacked / "plan.yaml",
        tmp_path / "out",
        cache=attacked / "cache",
        device="cpu",
        progress=False,
    )
    for name in ("results.json", "evidence/noise/rows.parquet"):
        assert (again.hardened.path / name).read_bytes() == (done.hardened.path / name).read_bytes()
    assert (tmp_path / "out/hardening.json").read_bytes() == (attacked / "out/hardening.json").read_bytes()


def test_the_plans_policy_decides_and_comparisons_advise(attacked, tmp_path):
    (attacked / "policy.yaml").write_text(POLICY)
    (attacked / "with-policy.yaml").write_text(PLAN + "policy: policy.yaml\n")
    made = harden(
        attacked / "run", attacked / "with-policy.yaml", tmp_path / "new", cache=attacked / "cache", device="cpu",
        progress=False,
    )  # fmt: skip
    assert {r.check.rule.id for r in made.original.verdict.rulings} == {"steady"}
    rulings = {r.check.rule.id: r for r in made.hardened.verdict.rulings}
    assert "no-worse" not in rulings, "a rule on another baseline has none here"
    assert len(rulings) == 4
    assert all(r.check.rule.severity == "advisory" for name, r in rulings.items() if name != "steady")
    assert made.hardened.verdict.exit_code == 0


def test_the_command(attacked, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    call = ["harden", str(attacked / "run"), "--plan", str(attacked / "plan.yaml"), "--out", str(tmp_path / "new"),
            "--device", "cpu", "--cache", str(attacked / "cache")]  # fmt: skip
    shown = CliRunner().invoke(cli.app, call)
    assert shown.exit_code == 0, shown.output
    assert "noise:flip_rate" in shown.output
    assert "worse by [interval]" in shown.output
    assert "report.html" in shown.output
    for wrong in (["--share", "1.5"], ["--noise", "some"]):
        assert CliRunner().invoke(cli.app, [*call, *wrong]).exit_code == 2


def fails(attacked: Path, out: Path, words: str, *, run: str = "run", plan: str = PLAN) -> None:
    """Hardening ends with these words and leaves nothing."""
    name = f"plan-{out.parent.name}.yaml"
    (attacked / name).write_text(plan)
    with pytest.raises(HardenError, match=words):
        harden(attacked / run, attacked / name, out, cache=attacked / "cache", device="cpu", progress=False)
    assert not out.exists()


def test_altered_evidence_is_refused(attacked, tmp_path):
    shutil.copytree(attacked / "run", tmp_path / "run")
    rows = tmp_path / "run/evidence/noise/rows.parquet"
    pq.write_table(pq.read_table(rows).slice(0, 10), rows)
    fails(attacked, tmp_path / "new", "own hashes", run=str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("part", "words"), [("audit", "audit data of the plan"), ("train", "training data of the plan")]
)
def test_other_data_than_the_runs_are_refused(attacked, tmp_path, part, words):
    pd.read_csv(attacked / f"{part}.csv").iloc[:-2].to_csv(tmp_path / "other.csv", index=False)
    fails(attacked, tmp_path / "new", words, plan=PLAN.replace(f"source: {part}.csv", f"source: {tmp_path}/other.csv"))


def test_a_plan_without_training_data_is_refused(attacked, tmp_path):
    lines = [line for line in PLAN.splitlines() if not line.strip().startswith(("train:", "recipe:", "save_to:"))]
    plan = "\n".join(lines).replace("subject:", "subject: {checkpoint: model}")
    fails(attacked, tmp_path / "new", "not named in it", plan=plan)


def test_another_base_model_is_refused(attacked, tmp_path):
    from transformers import BertModel

    shutil.copytree(attacked / "base", tmp_path / "base")
    model = BertModel.from_pretrained(tmp_path / "base")
    model.pooler.dense.weight.data += 1
    model.save_pretrained(tmp_path / "base")
    fails(attacked, tmp_path / "new", "base model", plan=PLAN.replace("base: base", f"base: {tmp_path}/base"))


def test_another_subject_is_refused(attacked, tmp_path):
    plan = PLAN.replace("steps: 40", "steps: 2").replace("save_to: model", f"save_to: {tmp_path}/other")
    fails(attacked, tmp_path / "new", "subject of the plan", plan=plan)


def test_a_checkpoint_that_was_trained_here_serves_too(attacked, tmp_path):
    """The plan names the finished model; how it was trained says its record."""
    lines = [line for line in PLAN.splitlines() if not line.strip().startswith(("recipe:", "save_to:"))]
    (attacked / "finished.yaml").write_text("\n".join(lines).replace("subject:", "subject: {checkpoint: model}"))
    audit.run_plan(attacked / "finished.yaml", tmp_path / "run", cache=attacked / "cache", device="cpu", progress=False)
    made = harden(
        tmp_path / "run", attacked / "finished.yaml", tmp_path / "new", cache=attacked / "cache", device="cpu",
        progress=False,
    )  # fmt: skip
    assert made.hardened.record.training["recipe"]["steps"] == 40


def test_a_run_without_a_training_record_is_refused(finished, tmp_path):
    with pytest.raises(HardenError, match="predictions without a training record"):
        harden(finished, finished.parent / "plan.yaml", tmp_path / "new", device="cpu", progress=False)


@pytest.mark.parametrize("option", ["reweigh", "balance"])
def test_a_model_that_goes_by_groups_is_refused(option):
    recorded = SimpleNamespace(name="by groups", training={"recipe": {option: ["gender"]}})
    with pytest.raises(HardenError, match=f"trained with {option}, by groups"):
        training_of(recorded)


def test_a_run_without_attacks_is_refused(attacked, tmp_path):
    plan = PLAN[: PLAN.index("probes:")] + "probes:\n  p: {probe: performance.classification}\n"
    (attacked / "plain.yaml").write_text(plan)
    audit.run_plan(attacked / "plain.yaml", tmp_path / "run", cache=attacked / "cache", device="cpu", progress=False)
    fails(attacked, tmp_path / "new", "neither attacks nor noise", run=str(tmp_path / "run"), plan=plan)


def test_a_run_is_never_written_into(attacked):
    fails(attacked, attacked / "run" / "new", "never written into")


def test_a_hardened_model_is_not_hardened_again(attacked, done, tmp_path):
    with pytest.raises(HardenError, match="hardened already"):
        harden(done.hardened.path, attacked / "plan.yaml", tmp_path / "new", device="cpu", progress=False)


def test_successful_attacks_are_taken_and_nothing_else():
    lines = [
        {"row_id": "0", "label": "yes", "status": "succeeded", "perturbed": "changed", "prediction_after": "no"},
        {"row_id": "1", "label": "yes", "status": "succeeded", "perturbed": "word", "prediction_after": "yes"},
        {"row_id": "2", "label": "yes", "status": "failed", "perturbed": "tried", "prediction_after": "yes"},
        {"row_id": "3", "label": "yes", "status": "skipped", "perturbed": None, "prediction_after": None},
        {"row_id": "4", "label": "yes", "status": "error", "perturbed": None, "prediction_after": None},
    ]
    assert _attacked("a", pa.Table.from_pylist(lines)) == [
        Variant(instance="a", row_id="0", text="changed", label="yes")
    ]


def test_all_noise_is_taken_or_flips_alone(attacked):
    bundle = Bundle.open(attacked / "run")
    record = bundle.record()
    rows = [r for r in bundle.rows(record.findings[0].rows).to_pylist() if r["changed"]]
    flips = [r for r in rows if r["prediction"] != r["prediction_after"]]
    assert 0 < len(flips) < len(rows)
    for noise, wanted in (("all", rows), ("flipped", flips)):
        found = variants_of(bundle, record, noise)
        assert [(v.row_id, v.text, v.label) for v in found] == [(r["row_id"], r["noised"], r["label"]) for r in wanted]


def test_rows_that_belong_together_stay_together():
    rows = data(
        ["a", "b", "c", "d", "a", "e", "f", "g"],
        cluster=["x", "x", "y", "z", "z", "u", "v", "w"],
        counterpart=["1", None, "1", None, None, None, "2", "2"],
    )
    # 0-1 by cluster, 0-2 by counterpart, 0-4 by text, 4-3 by cluster; 6-7 by counterpart.
    assert units_of(rows) == ["0", "0", "0", "0", "0", "5", "6", "6"]


@pytest.mark.parametrize("seed", range(20))
def test_halves_are_whole_units_about_as_large_as_asked(seed):
    units = [f"u{i // 3}" for i in range(300)]
    halves = split_halves(units, 0.4, np.random.default_rng(seed))
    assert sorted((*halves.trained, *halves.judged)) == list(range(300))
    assert not {units[i] for i in halves.trained} & {units[i] for i in halves.judged}
    assert abs(len(halves.trained) - 120) <= 3
    order = np.random.default_rng(1).permutation(300)
    again = split_halves([units[i] for i in order], 0.4, np.random.default_rng(seed))
    assert {units[order[i]] for i in again.trained} == {units[i] for i in halves.trained}


def test_a_single_unit_cannot_be_split():
    with pytest.raises(HardenError, match="too few to split"):
        split_halves(["u"] * 10, 0.5, np.random.default_rng(0))


def variant(row: str, text: str, label: str, instance: str = "noise") -> Variant:
    return Variant(instance=instance, row_id=row, text=text, label=label)


def test_what_is_added_and_what_is_left_out():
    rows = data([f"text {i}" for i in range(8)])
    halves = split_halves(units_of(rows), 0.5, np.random.default_rng(0))
    yes = [str(i) for i in halves.trained if rows.labels[i] == "yes"]
    no = [str(i) for i in halves.trained if rows.labels[i] == "no"]
    judged = halves.judged[0]
    found = [
        variant(yes[0], "tezt", "yes"),
        variant(yes[0], "tezt", "yes", "attack"),
        variant(yes[0], "both", "yes"),
        variant(no[0], "both", "no"),
        variant(no[0], f"text {judged}", "no"),
        variant(str(judged), "of a judged row", rows.labels[judged] or ""),
    ]
    added = rows_to_add(found, rows, halves, ("yes", "no"))
    assert added.data.inputs == ["tezt"]
    assert added.data.labels == ["yes"]
    assert (added.rows, added.data.task_labels) == (1, ("yes", "no"))
    said = " ".join(str(note) for note in added.notes)
    for words in (
        "1 of 6 changed texts are trained on; they come from 1 audited rows.",
        "Their labels: yes 1.",
        "All added rows have the same label: the new model may learn that a changed text means yes.",
        "1 were left out: of rows that are kept for judging.",
        "1 were left out: equal to a text that is kept for judging.",
        "2 were left out: with two different labels.",
        "1 were left out: repeated.",
    ):
        assert words in said
    with pytest.raises(HardenError, match="none is left"):
        rows_to_add(found[2:], rows, halves, ("yes", "no"))
    with pytest.raises(HardenError, match="does not have"):
        rows_to_add([variant("99", "x", "yes")], rows, halves, ("yes", "no"))


def test_added_rows_fit_the_training_data():
    train = data(["p", "q", "r", "s"], cluster=["k", "k", "l", "l"], weight=[1.0, 2.0, 3.0, 2.0])
    rows = data([f"text {i}" for i in range(8)], cluster=["a", "a", "b", "b", "c", "c", "d", "d"])
    halves = split_halves(units_of(rows), 0.5, np.random.default_rng(0))
    found = [variant(str(i), f"new {i}", rows.labels[i] or "") for i in halves.trained]
    added = rows_to_add(found, rows, halves, ("yes", "no"))
    both = augmented(train, added)
    assert both.inputs == [*train.inputs, *(f"new {i}" for i in halves.trained)]
    assert both.task_labels == train.task_labels
    assert both.weights == [1.0, 2.0, 3.0, 2.0, *([2.0] * len(found))]
    assert both.clusters is not None
    assert both.clusters[:4] == train.clusters
    assert len(set(both.clusters[4:])) == 2, "one cluster for each cluster of the audited rows"
    taken = data(["p", "q"], id=[added.data.row_ids[0], "1"])
    with pytest.raises(HardenError, match="already"):
        augmented(taken, added)


def test_a_recipe_takes_a_digest_and_nothing_else():
    assert Recipe.of({"base": "b", "augmented_by": "0" * 64}).digest != Recipe.of({"base": "b"}).digest
    with pytest.raises(RecipeError, match="augmented_by"):
        Recipe.of({"base": "b", "augmented_by": "some rows"})
