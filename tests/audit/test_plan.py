from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from audit.errors import PlanError
from audit.plan import load_fine_tune, load_plan
from audit.schema_files import FOLDER, MODELS, schema_text, write_schemas
from audit.yaml_files import read_source

ROOT = Path(__file__).parents[2]

PLAN = """\
schema: plumbline.plan/v1
name: hate-speech
seed: 7
subject:
  checkpoint: out/hate
data:
  train: {source: "hub:cardiffnlp/tweet_eval/hate", input: text, label: label, labels: {0: no, 1: hateful}}
  audit: {source: "hub:Paul/hatecheck", input: test_case, label: label_gold, groups: [target_ident], cluster: templ_id,
          missing_group: exclude}
probes:
  performance: {probe: performance.classification}
  groups: {probe: fairness.groups, positive: hateful}
policy: policy.yaml
baselines: {main: ../old/run}
attestations: {intended_purpose: "to sort", owner: "a team"}
"""


def load(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return load_plan(path)


def refused(tmp_path: Path, old: str, new: str) -> PlanError:
    assert old in PLAN
    with pytest.raises(PlanError) as caught:
        load(tmp_path, PLAN.replace(old, new, 1))
    assert caught.value.exit_code == 2
    return caught.value


def test_the_plan_of_the_design_reads(tmp_path: Path) -> None:
    loaded = load(tmp_path, PLAN)
    plan = loaded.plan
    assert loaded.base_dir == tmp_path
    assert plan.subject.checkpoint == "out/hate"
    assert (plan.seed, plan.level, plan.include_text) == (7, 0.95, False)
    assert plan.data.train.labels == {"0": "no", "1": "hateful"}
    assert plan.data.audit.groups == ("target_ident",)
    assert list(plan.probes) == ["performance", "groups"]
    assert plan.probes["groups"].options == {"positive": "hateful"}
    assert plan.baselines == {"main": "../old/run"}
    assert loaded.document.line(("probes", "groups")) == 12


def test_a_recipe_and_a_table_are_subjects_too(tmp_path: Path) -> None:
    recipe = "  recipe: {base: some/model, task: text-classification, method: lora, epochs: 1}\n  save_to: out/x"
    plan = load(tmp_path, PLAN.replace("  checkpoint: out/hate", recipe)).plan
    assert plan.subject.recipe.method == "lora"
    assert plan.subject.recipe.epochs == 1
    short = load(tmp_path, PLAN.replace("  checkpoint: out/hate", "  predictions: scores.parquet")).plan
    long = load(tmp_path, PLAN.replace("  checkpoint: out/hate", "  predictions: {source: scores.parquet}")).plan
    assert short.subject.predictions == long.subject.predictions
    assert short.subject.predictions.source == "scores.parquet"


def test_only_predictions_may_come_without_data(tmp_path: Path) -> None:
    start, end = PLAN.index("data:"), PLAN.index("probes:")
    bare = PLAN[:start] + PLAN[end:]
    assert load(tmp_path, bare.replace("checkpoint: out/hate", "predictions: s.parquet")).plan.data.audit is None
    with pytest.raises(PlanError, match=r"data\.audit"):
        load(tmp_path, bare)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("  checkpoint: out/hate", "  task: text-classification", 4, "the subject is not given"),
        ("  checkpoint: out/hate", "  checkpoint: a\n  predictions: b", 4, "given 2 ways (checkpoint, predictions)"),
        ("  checkpoint: out/hate", "  checkpoint: ''", 5, "not empty"),
        ("  checkpoint: out/hate", "  checkpont: a", 5, "did you mean 'checkpoint'?"),
        ("  checkpoint: out/hate", "  checkpoint: a\n  threshold: 0.5", 6, "threshold without positive"),
        ("  checkpoint: out/hate", "  checkpoint: a\n  positive: b", 6, "positive without threshold"),
        ("  checkpoint: out/hate", "  checkpoint: a\n  threshold: 2\n  positive: b", 6, "less than or equal to 1"),
        ("  checkpoint: out/hate", "  checkpoint: a\n  threshold: .nan\n  positive: b", 6, "a finite number"),
        ("  checkpoint: out/hate", "  checkpoint: a\n  save_to: b", 6, "save_to without a recipe"),
        ("  checkpoint: out/hate", "  recipe: {base: a, metod: full}", 5, "did you mean 'method'?"),
        ("  checkpoint: out/hate", "  recipe: {base: a, method: ful}", 5, "did you mean 'full'?"),
        ("  checkpoint: out/hate", "  recipe: {base: a, epochs: 1, steps: 1}", 5, "epochs or steps, not both"),
        ("seed: 7", "seed: seven", 3, "a whole number"),
        ("seed: 7", "seed: 7.5", 3, "a whole number"),
        ("seed: 7", "level: 95", 3, "less than 1"),
        ("seed: 7", "polcy: x", 3, "did you mean 'policy'?"),
        ("plan/v1", "plan/v2", 1, "plumbline.plan/v1"),
        ("name: hate-speech", "name: ' '", 2, "text that matches"),
        ("groups: [target_ident]", "groups: target_ident", 8, "a list"),
        ("input: test_case", "inputs: test_case", 8, "did you mean 'input'?"),
        ("missing_group: exclude", "missing_group: excluded", 9, "did you mean 'exclude'?"),
        ("{probe: performance.classification}", "{prob: performance.classification}", 11, "has no 'probe'"),
        ("performance.classification", "performance.clasification", 11, "did you mean 'performance.classification'?"),
        ("positive: hateful", "positve: hateful", 12, "no option 'positve'"),
        ("positive: hateful", "positive: [1]", 12, "option positive is [1]"),
        ("  performance:", "  Performance:", 11, "unusable key 'Performance'"),
        ("  performance:", "  groups:", 12, "first in line 11"),
        ("policy: policy.yaml", "policy: 3", 13, "put it in quotes"),
        ("{main: ../old/run}", "{../main: ../old/run}", 14, "text that matches"),
    ],
)
def test_what_is_wrong_has_its_line(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    error = refused(tmp_path, old, new)
    assert said in str(error)
    places = {part.partition(":")[0] for part in str(error).split("plan.yaml:")[1:]}
    assert str(line) in places, str(error)


def test_a_recipe_needs_rows_to_train_on(tmp_path: Path) -> None:
    train = PLAN.index("  train:")
    text = PLAN[:train] + PLAN[PLAN.index("  audit:") :]
    with pytest.raises(PlanError, match="nothing to train on") as caught:
        load(tmp_path, text.replace("checkpoint: out/hate", "recipe: {base: a}"))
    assert caught.value.where.endswith(":6")
    assert caught.value.expected == "data.train"


def test_no_probes_is_no_plan(tmp_path: Path) -> None:
    start, end = PLAN.index("probes:"), PLAN.index("policy:")
    for probes in ("", "probes: {}\n"):
        with pytest.raises(PlanError, match="probes"):
            load(tmp_path, PLAN[:start] + probes + PLAN[end:])


def test_every_wrong_option_of_every_probe_is_listed(tmp_path: Path) -> None:
    text = PLAN.replace("positive: hateful", "positive: hateful,\n    min_grup: 1").replace(
        "{probe: performance.classification}", "{probe: performance.none}"
    )
    with pytest.raises(PlanError) as caught:
        load(tmp_path, text)
    places = [part.partition(":")[0] for part in str(caught.value).split("plan.yaml:")[2:]]
    assert places == ["11", "13"]


def test_a_fine_tuning_file(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("recipe: {base: some/model}\ndata:\n  train: {source: a.csv, input: t, label: l}\n")
    assert load_fine_tune(path).value.recipe.base == "some/model"
    path.write_text("recipe: {base: some/model}\ndata:\n  audit: {source: a.csv}\n")
    with pytest.raises(PlanError, match="2 problems"):
        load_fine_tune(path)


@pytest.mark.parametrize("name", list(MODELS))
def test_schemas_are_current(name: str) -> None:
    stored = (FOLDER / name).read_text(encoding="utf-8")
    assert stored == schema_text(MODELS[name]), "run python -m audit.schema_files"
    Draft202012Validator.check_schema(json.loads(stored))


def test_schemas_are_written_whole(tmp_path: Path) -> None:
    assert {p.name for p in write_schemas(tmp_path)} == set(MODELS) == {p.name for p in FOLDER.glob("*.json")}


def schema(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / name).read_text(encoding="utf-8")))


def test_the_schema_agrees_with_the_model_on_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN, encoding="utf-8")
    value = read_source(path, error=PlanError).value
    schema("plan.json").validate(value)
    schema("plan.json").validate(value | {"subject": {"predictions": "scores.parquet"}})
    assert list(schema("plan.json").iter_errors(value | {"nmae": "x"}))


EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml")) if (ROOT / "examples").is_dir() else []


@pytest.mark.skipif(not EXAMPLES, reason="no examples here")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_examples_validate(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = read_source(path, error=PlanError).value
    kind = value["schema"].removeprefix("plumbline.").partition("/")[0]
    schema(f"{kind}.json").validate(value)
    if kind == "plan":
        load_plan(path)
