"""Options of a recipe do what they say: weights, smoothing, accumulation, dropout, schedules, precision, trackers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fine_tune.arguments import Extent, Place, trainer_arguments
from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.errors import DataError, RecipeError
from fine_tune.recipe import Recipe, TrainingRecord
from fine_tune.splits import row_weights, split_rows
from fine_tune.train import fine_tune


def train(base: Path, data: AuditData, out: Path, **options: Any) -> Checkpoint:
    asked = Recipe.of({"base": str(base), "steps": 4, "batch_size": 8, **options})
    return fine_tune(asked, data, out, progress=False)


def record_of(made: Checkpoint) -> TrainingRecord:
    assert made.training_record is not None
    return made.training_record


def weighted(frame: pd.DataFrame, weights: list[float]) -> AuditData:
    return AuditData.from_frame(
        frame.assign(weight=weights), input="text", label="label", id="row", weight="weight", name="reviews"
    )


def place(**changes: Any) -> Place:
    given: dict[str, Any] = {
        "device": "cpu", "processes": 1, "scratch": Path("s"), "logs": Path("out-logs"), "validates": False,
        "by_length": True,
    }  # fmt: skip
    return Place(**{**given, **changes})


def test_a_loss_by_hand() -> None:
    """Two rows, logits (0, ln 3) and (0, 0): losses are -ln 1/4 and -ln 1/2; weights 3/2 and 1/2."""
    import torch

    from fine_tune.trainer import OwnLoss

    class Outputs:
        logits = torch.tensor([[0.0, float(np.log(3))], [0.0, 0.0]])
        loss = torch.tensor(0.0)

    labels, weights = torch.tensor([0, 1]), torch.tensor([1.5, 0.5])
    plain = OwnLoss(smoothing=0.0, keeps_penalty=False)
    assert plain(Outputs, labels, weights).item() == pytest.approx((1.5 * np.log(4) + 0.5 * np.log(2)) / 2)
    # Smoothing by 0.2 puts 0.9 on the label and 0.1 on the other class.
    smooth = 0.9 * np.log(4) + 0.1 * np.log(4 / 3), np.log(2)
    assert OwnLoss(smoothing=0.2, keeps_penalty=False)(Outputs, labels, None).item() == pytest.approx(np.mean(smooth))
    # Several units a row: each counts as its row does, and the ones that are masked not at all.
    Outputs.logits = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[0.0, float(np.log(3))], [9.0, 9.0]]])
    seen = plain(Outputs, torch.tensor([[0, 1], [0, -100]]), torch.tensor([1.0, 2.0])).item()
    assert seen == pytest.approx((2 * np.log(2) + 2 * np.log(4)) / 3)


def test_weights_are_scaled_to_a_mean_of_one(review_frame: pd.DataFrame, tiny_base: Path) -> None:
    data = weighted(review_frame, [float(i % 4) for i in range(48)])
    rows = list(range(40))
    found = row_weights(data, rows, Recipe(base="x", class_weights={"negative": 3, "positive": 1}))
    assert found is not None
    weights, note = found
    raw = np.array([(i % 4) * (3 if data.labels[i] == "negative" else 1) for i in rows], dtype=float)
    assert np.allclose(weights, raw / raw.mean())
    assert note.effective_rows == pytest.approx(raw.sum() ** 2 / (raw**2).sum())
    assert note.by_row
    assert row_weights(data, rows, Recipe(base="x", sample_weights=False)) is None


def test_balanced_classes_weigh_the_same(review_data: AuditData) -> None:
    rows = [i for i, label in enumerate(review_data.labels) if label == "positive" or i % 5 == 0]
    found = row_weights(review_data, rows, Recipe(base="x", class_weights="balanced"))
    assert found is not None
    sums = {
        name: sum(w for i, w in zip(rows, found[0], strict=True) if review_data.labels[i] == name)
        for name in review_data.task_labels
    }
    assert sums["negative"] == pytest.approx(sums["positive"])


def test_a_weight_of_zero_is_as_if_the_row_were_not_there(
    review_frame: pd.DataFrame, tiny_base: Path, tmp_path: Path
) -> None:
    """One step over all rows at once: the gradient is that of the rows that count."""
    from safetensors.numpy import load_file

    options: dict[str, Any] = {"steps": 1, "batch_size": 48, "dropout": 0, "warmup_ratio": 0, "learning_rate": 0.01}
    # Mostly of one class, so that leaving out the others turns the gradient of the head round.
    counted = [float(label == "positive" or i % 6 == 0) for i, label in enumerate(review_frame.label)]
    all_rows = train(tiny_base, weighted(review_frame, counted), tmp_path / "a", **options)
    half = review_frame[[bool(c) for c in counted]]
    half_rows = train(tiny_base, weighted(half, [1.0] * len(half)), tmp_path / "b", **options)
    unweighted = train(tiny_base, weighted(review_frame, [1.0] * 48), tmp_path / "c", **options)
    first, second, third = (
        load_file(str(c.folder / "model.safetensors"))["classifier.weight"] for c in (all_rows, half_rows, unweighted)
    )
    assert np.abs(first - second).max() < 1e-5 < np.abs(first - third).max()
    assert record_of(all_rows).final_loss == pytest.approx(record_of(half_rows).final_loss, abs=2e-4)
    note = record_of(all_rows).weighting
    assert note is not None
    assert (note.by_row, note.effective_rows) == (True, pytest.approx(len(half)))


def test_bad_weights_are_named(review_frame: pd.DataFrame, review_data: AuditData, tiny_base: Path) -> None:
    with pytest.raises(DataError, match="has the weight 0"):
        row_weights(weighted(review_frame, [0.0] * 48), range(48), Recipe(base="x"))
    with pytest.raises(RecipeError, match="class_weights names positive, rude"):
        row_weights(review_data, range(48), Recipe(base="x", class_weights={"positive": 1, "rude": 2}))
    for bad in (0, -1):
        with pytest.raises(RecipeError, match="class_weights"):
            Recipe.of({"base": "x", "class_weights": {"positive": bad}})


@pytest.mark.parametrize("weights", [None, "balanced"])
def test_accumulation_changes_memory_not_training(
    weights: str | None, tiny_base: Path, review_data: AuditData, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    options: dict[str, Any] = {"dropout": 0, "class_weights": weights, "learning_rate": 1e-3}
    whole = train(tiny_base, review_data, tmp_path / "whole", **options)
    pieces = train(tiny_base, review_data, tmp_path / "pieces", gradient_accumulation=4, **options)
    first, second = (load_file(str(c.folder / "model.safetensors")) for c in (whole, pieces))
    assert max(np.abs(first[n] - second[n]).max() for n in first) < 2e-4
    assert record_of(pieces).steps == 4
    losses = [[point.loss for point in record_of(c).history if point.loss is not None] for c in (whole, pieces)]
    assert losses[0]
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)


def test_checkpointing_changes_memory_not_training(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    plain = train(tiny_base, review_data, tmp_path / "plain")
    lean = train(tiny_base, review_data, tmp_path / "lean", gradient_checkpointing=True)
    assert plain.weights_digest == lean.weights_digest


def test_dropout_is_set_everywhere(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    made = train(tiny_base, review_data, tmp_path / "out", dropout=0.4)
    model = made.load_model()
    import torch

    rates = {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {0.4}
    assert model.config.attention_probs_dropout_prob == 0.4
    usual = train(tiny_base, review_data, tmp_path / "usual")
    assert made.weights_digest != usual.weights_digest


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("schedule", "cosine"),
        ("schedule", "constant"),
        ("weight_decay", 5.0),
        ("warmup_ratio", 0.9),
        ("label_smoothing", 0.3),
        ("class_weights", {"negative": 5, "positive": 1}),
        ("precision", "bf16"),
    ],
)
def test_options_reach_the_training(
    option: str, value: object, tiny_base: Path, review_data: AuditData, tmp_path: Path
) -> None:
    usual = train(tiny_base, review_data, tmp_path / "usual")
    other = train(tiny_base, review_data, tmp_path / "other", **{option: value})
    assert usual.weights_digest != other.weights_digest
    assert usual.config == other.config


def test_options_become_the_trainers_own() -> None:
    asked = Recipe.of(
        {
            "base": "x", "steps": 50, "batch_size": 12, "gradient_accumulation": 3, "schedule": "cosine_with_min_lr",
            "schedule_options": {"min_lr": 1e-6}, "warmup_ratio": 0.2, "weight_decay": 0.3,
        }
    )  # fmt: skip
    made = trainer_arguments(asked, Extent.of(asked, 100), place())
    seen = made.per_device_train_batch_size, made.gradient_accumulation_steps, made.max_steps, made.warmup_steps
    assert seen == (4, 3, 50, 10)
    assert (made.weight_decay, str(made.lr_scheduler_type.value)) == (0.3, "cosine_with_min_lr")
    assert made.report_to in ([], ["none"])
    assert not (made.bf16 or made.fp16 or made.torch_compile or made.gradient_checkpointing)
    shared = trainer_arguments(asked, Extent.of(asked, 100), place(processes=2))
    assert shared.per_device_train_batch_size == 2


@pytest.mark.parametrize(
    ("values", "seen", "where"),
    [
        ({"precision": "fp16"}, "fp16 needs an accelerator", {}),
        ({"schedule": "warmup_stable_decay"}, "schedule warmup_stable_decay cannot be made", {}),
        ({"schedule_options": {"speed": 1}}, "schedule linear cannot be made", {}),
        ({"report_to": ["crystal_ball"]}, "no tracker is called crystal_ball", {}),
        ({"batch_size": 9}, "cannot be shared by 2 processes", {"processes": 2}),
    ],
)
def test_what_does_not_fit_is_said(values: dict[str, Any], seen: str, where: dict[str, Any]) -> None:
    asked = Recipe.of({"base": "x", "steps": 10, **values})
    with pytest.raises(RecipeError, match=seen):
        trainer_arguments(asked, Extent.of(asked, 10), place(**where))


def test_trackers_are_told_and_change_nothing(
    tiny_base: Path, review_data: AuditData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import TrainerCallback
    from transformers.integrations import integration_utils

    heard: list[str] = []

    class Tracker(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            heard.append(args.run_name)

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", Tracker)
    plain = train(tiny_base, review_data, tmp_path / "plain")
    assert heard == []
    tracked = train(tiny_base, review_data, tmp_path / "tracked", report_to=["wandb"])
    assert set(heard) == {"tracked"}
    assert plain.weights_digest == tracked.weights_digest
    assert record_of(plain).recipe.digest == record_of(tracked).recipe.digest
    again = train(tiny_base, review_data, tmp_path / "plain", report_to=["wandb"])
    assert again.digest == plain.digest


def test_holdout_rows_are_never_seen(
    tiny_base: Path, review_frame: pd.DataFrame, review_data: AuditData, tmp_path: Path
) -> None:
    made = train(tiny_base, review_data, tmp_path / "out", holdout=0.5, validation_share=0.2)
    record = record_of(made)
    parts = record.training_ids, record.validation_ids, record.holdout_ids
    assert len(record.holdout_ids) == 24
    assert record.validation_ids
    assert sorted(i for part in parts for i in part) == sorted(review_data.row_ids)
    # The proof: other texts and labels in those rows change nothing.
    spoilt = review_frame.copy()
    away = spoilt.row.isin(record.holdout_ids)
    spoilt.loc[away, "text"] = "awful awful awful"
    spoilt.loc[away, "label"] = "positive"
    data = AuditData.from_frame(spoilt, input="text", label="label", cluster="template", id="row", name="spoilt")
    assert (
        train(tiny_base, data, tmp_path / "b", holdout=0.5, validation_share=0.2).weights_digest == made.weights_digest
    )
    other = split_rows(review_data, Recipe(base="x", holdout=0.5, seed=3)).holdout
    assert other != split_rows(review_data, Recipe(base="x", holdout=0.5)).holdout
    assert not {*record.holdout_ids} & {*record.training_ids}
