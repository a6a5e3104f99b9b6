"""Training a tiny model: the same twice, each method moves what it says, nothing foreign is overwritten."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from safetensors.numpy import load_file

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.errors import CheckpointError, DataError, RecipeError
from fine_tune.recipe import LEARNING_RATES, Recipe, TrainingRecord
from fine_tune.splits import split_rows
from fine_tune.train import fine_tune


def recipe(base: Path, **changes: object) -> Recipe:
    return Recipe.of({"base": str(base), "steps": 4, "batch_size": 8, **changes})


def weights(checkpoint: Checkpoint) -> dict[str, object]:
    return dict(load_file(str(checkpoint.folder / "model.safetensors")))


def test_the_same_request_gives_the_same_checkpoint(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    asked = recipe(tiny_base)
    first = fine_tune(asked, review_data, tmp_path / "a", progress=False)
    second = fine_tune(asked, review_data, tmp_path / "b", progress=False)
    assert first.digest == second.digest
    assert first.training_record == second.training_record
    other = fine_tune(recipe(tiny_base, seed=1), review_data, tmp_path / "c", progress=False)
    assert other.weights_digest != first.weights_digest


def test_what_lies_in_the_folder(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    made = fine_tune(recipe(tiny_base), review_data, tmp_path / "out", progress=False)
    names = {p.name for p in made.folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "training_record.json"} <= names
    assert made.ignored_files == ()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert made.classes == ("negative", "positive")
    record = made.training_record
    assert record is not None
    assert record.data.digest == review_data.digest
    assert record.training_ids == tuple(review_data.row_ids)
    assert record.steps == 4
    assert record.final_loss is not None
    for name in ("config.json", "tokenizer_config.json"):
        assert str(tiny_base) not in (made.folder / name).read_text()


@pytest.mark.parametrize("method", ["full", "head", "lora"])
def test_each_method_moves_what_it_says(method: str, tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    asked = recipe(tiny_base, method=method, learning_rate=0.01)
    made = fine_tune(asked, review_data, tmp_path / "out", progress=False)
    start = {f"bert.{k}": v for k, v in load_file(str(tiny_base / "model.safetensors")).items()}
    end = weights(made)
    moved = {name for name, value in start.items() if (end[name] != value).any()}
    query = "bert.encoder.layer.0.attention.self.query.weight"
    table = "bert.embeddings.word_embeddings.weight"
    assert set(end) == {*start, "classifier.weight", "classifier.bias"}
    assert (query in moved, table in moved) == {"full": (True, True), "head": (False, False), "lora": (True, False)}[
        method
    ]
    assert (not moved) == (method == "head")
    made.load_model()
    record = made.training_record
    assert record is not None
    assert record.parameters == made.parameters
    assert (record.trained_parameters == record.parameters) == (method == "full")


def test_a_finished_checkpoint_is_returned(
    tiny_base: Path, review_data: AuditData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    made = fine_tune(recipe(tiny_base), review_data, tmp_path / "out", progress=False)

    def never(*args: object, **settings: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(transformers.Trainer, "train", never)
    assert fine_tune(recipe(tiny_base), review_data, tmp_path / "out", progress=False).digest == made.digest
    for changed, rows in ((recipe(tiny_base, seed=5), review_data), (recipe(tiny_base), review_data.select(range(40)))):
        with pytest.raises(RecipeError, match="another recipe, base model or data"):
            fine_tune(changed, rows, tmp_path / "out", progress=False)
    assert Checkpoint.open(tmp_path / "out").digest == made.digest


def test_other_content_is_left_alone(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RecipeError, match="other content"):
        fine_tune(recipe(tiny_base), review_data, tmp_path, progress=False)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_killed_training_leaves_no_checkpoint(
    tiny_base: Path, review_data: AuditData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    def kill(*args: object, **settings: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transformers.Trainer, "train", kill)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(recipe(tiny_base), review_data, tmp_path / "out", progress=False)
    assert list(tmp_path.iterdir()) == []
    assert fine_tune(recipe(tiny_base), review_data, tmp_path / "out", progress=False).digest


def test_early_stopping_keeps_the_best(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    from fine_tune.callbacks import BestWeights

    asked = recipe(tiny_base, steps=200, learning_rate=0.05, early_stopping=1, validation_share=0.25)
    record = fine_tune(asked, review_data, tmp_path / "out", progress=False).training_record
    assert record is not None
    validated = {p.step: p.validation_loss for p in record.history if p.validation_loss is not None}
    assert record.best_step is not None
    assert record.validation_loss == min(validated.values()) == validated[record.best_step]
    assert record.steps < 200

    import torch

    layer = torch.nn.Linear(1, 1)
    best = BestWeights(layer, patience=1)
    state, control = type("State", (), {"global_step": 1})(), type("Control", (), {"should_training_stop": False})()
    for value, loss in ((1.0, 0.5), (2.0, 0.1), (3.0, 0.4)):
        torch.nn.init.constant_(layer.weight, value)
        best.on_evaluate(None, state, control, metrics={"eval_loss": loss})
    assert control.should_training_stop
    best.restore()
    assert layer.weight.item() == 2.0


def test_validation_never_shares_a_cluster(review_data: AuditData, tiny_base: Path) -> None:
    split = split_rows(review_data, recipe(tiny_base, validation_share=0.3))
    training, validation = split.training, split.validation
    clusters = review_data.clusters
    assert clusters is not None
    assert sorted(training + validation) == list(range(len(review_data)))
    assert not {clusters[i] for i in training} & {clusters[i] for i in validation}
    assert abs(len(validation) / len(review_data) - 0.3) < 0.1


def test_max_length_stays_with_the_checkpoint(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    made = fine_tune(recipe(tiny_base, max_length=5), review_data, tmp_path / "out", progress=False)
    assert made.load_tokenizer().model_max_length == 5
    record = made.training_record
    assert record is not None
    assert record.truncated == sum(len(text.split()) > 3 for text in review_data.inputs) > 0
    with pytest.raises(RecipeError, match="at most 32"):
        fine_tune(recipe(tiny_base, max_length=64), review_data, tmp_path / "more", progress=False)


def test_bad_data_is_refused(tiny_base: Path, review_frame: pd.DataFrame, tmp_path: Path) -> None:
    def train(frame: pd.DataFrame, **roles: str) -> None:
        data = AuditData.from_frame(frame, **{"input": "text", "label": "label", **roles})
        fine_tune(recipe(tiny_base), data, tmp_path / "out", progress=False)

    with pytest.raises(DataError, match="every label of data frame is 'positive'"):
        train(review_frame[review_frame.label == "positive"])
    gaps = review_frame.copy()
    gaps.loc[3, "label"] = None
    with pytest.raises(DataError, match="1 rows of data frame have no label"):
        train(gaps)
    with pytest.raises(DataError, match="no inputs"):
        fine_tune(recipe(tiny_base), AuditData.from_frame(review_frame, label="label"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_divergence_is_said(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    asked = recipe(tiny_base, learning_rate=1e30, warmup_ratio=0, steps=20)
    with pytest.raises(RecipeError, match="diverged"):
        fine_tune(asked, review_data, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_an_unknown_base(review_data: AuditData, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no folder"):
        fine_tune(recipe(tmp_path / "nowhere"), review_data, tmp_path / "out", progress=False)


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ({"base": "x", "methd": "full"}, "methd"),
        ({"method": "full"}, "base"),
        ({"base": "x", "method": "adapter"}, "method"),
        ({"base": "x", "epochs": 1, "steps": 2}, "epochs or steps"),
        ({"base": "x", "early_stopping": 2, "validation_share": 0}, "validation_share"),
        ({"base": "x", "learning_rate": float("nan")}, "learning_rate"),
        ({"base": "x", "learning_rate": -1}, "learning_rate"),
    ],
)
def test_bad_recipes_are_named(values: dict[str, object], seen: str) -> None:
    with pytest.raises(RecipeError, match=seen):
        Recipe.of(values)


def test_recipes_have_usual_values() -> None:
    assert Recipe(base="x").rate == LEARNING_RATES["full"]
    assert Recipe(base="x", method="lora", learning_rate=0.5).rate == 0.5
    assert Recipe(base="x").held_out == 0
    assert Recipe(base="x", early_stopping=1).held_out == 0.1
    assert Recipe(base="x").digest != Recipe(base="x", seed=1).digest


def test_a_record_survives_a_round_trip(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    record = fine_tune(recipe(tiny_base), review_data, tmp_path / "out", progress=False).training_record
    assert record is not None
    assert TrainingRecord.model_validate_json(record.model_dump_json(by_alias=True)) == record
