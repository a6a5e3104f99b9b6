"""A search trains every combination, records each, and keeps the lowest validation loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tune.data import AuditData
from fine_tune.errors import DivergenceError
from fine_tune.recipe import Recipe
from fine_tune.train import fine_tune


def asked(base: Path, **changes: object) -> Recipe:
    grid = {"learning_rate": [1e-6, 3e-2], "label_smoothing": [0, 0.2]}
    return Recipe.of({"base": str(base), "steps": 6, "batch_size": 8, "search": grid, **changes})


def test_the_best_is_kept_and_all_are_recorded(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    recipe = asked(tiny_base, validation_share=0.3)
    made = fine_tune(recipe, review_data, tmp_path / "out", progress=False)
    record = made.training_record
    assert record is not None
    assert record.recipe == recipe
    assert [tuple(t.values.values()) for t in record.trials] == [(1e-6, 0), (1e-6, 0.2), (3e-2, 0), (3e-2, 0.2)]
    losses = [t.validation_loss for t in record.trials]
    assert None not in losses
    assert record.kept_trial == losses.index(min(losses))  # type: ignore[type-var]
    assert record.validation_loss == losses[record.kept_trial]
    assert made.weights_digest == record.trials[record.kept_trial].weights
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert fine_tune(recipe, review_data, tmp_path / "out", progress=False).digest == made.digest
    # The slow way: each trial on its own.
    for (_, one), trial in zip(recipe.trials(), record.trials, strict=True):
        alone = fine_tune(one, review_data, tmp_path / one.digest[:8], progress=False)
        assert alone.weights_digest == trial.weights
    card = (made.folder / "README.md").read_text()
    assert card.count("| kept |") == 1
    assert "0.0300" not in card
    assert "learning_rate 0.03" in card


def test_a_diverged_trial_is_recorded(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    wild = {"learning_rate": [1e30, 1e-3]}
    made = fine_tune(
        asked(tiny_base, search=wild, warmup_ratio=0, steps=20), review_data, tmp_path / "out", progress=False
    )
    record = made.training_record
    assert record is not None
    assert [t.validation_loss is None for t in record.trials] == [True, False]
    assert record.kept_trial == 1
    assert record.validation_ids
    with pytest.raises(DivergenceError, match="all 1 trials"):
        recipe = asked(tiny_base, search={"learning_rate": [1e30]}, warmup_ratio=0, steps=20)
        fine_tune(recipe, review_data, tmp_path / "none", progress=False)
    assert not (tmp_path / "none").exists()


def test_a_stopped_search_goes_on(
    tiny_base: Path, review_data: AuditData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    straight = fine_tune(asked(tiny_base), review_data, tmp_path / "straight", progress=False)
    whole, begun = Trainer.train, []

    def train(self: Trainer, *given: object, **named: object) -> object:
        begun.append(self.args.learning_rate)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return whole(self, *given, **named)

    monkeypatch.setattr(Trainer, "train", train)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(asked(tiny_base), review_data, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    made = fine_tune(asked(tiny_base), review_data, tmp_path / "out", progress=False)
    assert len(begun) == 5, "two trials were done, the third was begun twice"
    assert made.training_record == straight.training_record
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "straight"]
