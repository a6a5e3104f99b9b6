"""The card beside the weights: true to the record, a valid model card, and no part of the digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tune.card import model_card
from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.recipe import Recipe, TrainingRecord
from fine_tune.train import fine_tune


@pytest.fixture
def made(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> Checkpoint:
    recipe = Recipe(base=str(tiny_base), steps=4, batch_size=8, validation_share=0.2, holdout=0.25, max_length=5)
    return fine_tune(recipe, review_data, tmp_path / "out", progress=False)


def record_of(checkpoint: Checkpoint) -> TrainingRecord:
    assert checkpoint.training_record is not None
    return checkpoint.training_record


def test_it_says_what_the_record_says(made: Checkpoint, tiny_base: Path) -> None:
    text, record = (made.folder / "README.md").read_text(), record_of(made)
    assert record.validation_loss is not None
    for said in (
        record.base_digest, record.data.digest, record.ids_digest, record.recipe.digest, "reviews", "Rows | 48 ",
        f"{record.validation_loss:.4f}", "`negative`, `positive`", f"{record.truncated} inputs were cut",
        "Rows kept away from both | 12 ",
    ):  # fmt: skip
        assert said in text, said
    assert str(tiny_base.parent) not in text
    assert text == model_card(record)


def test_it_is_a_model_card(made: Checkpoint) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(made.folder / "README.md")
    data = card.data.to_dict()
    assert data["pipeline_tag"] == "text-classification"
    assert data["library_name"] == "transformers"
    assert "base_model" not in data
    (result,) = card.data.eval_results
    assert result.metric_value == record_of(made).validation_loss


def test_a_base_on_the_hub_is_named(made: Checkpoint) -> None:
    from huggingface_hub import ModelCard

    record = record_of(made)
    on_hub = record.model_copy(update={"recipe": record.recipe.model_copy(update={"base": "org/some-model"})})
    assert ModelCard(model_card(on_hub)).data.to_dict()["base_model"] == "org/some-model"


def test_names_from_data_stay_text(made: Checkpoint) -> None:
    record = record_of(made)
    hostile = record.data.model_copy(update={"name": "a | b\n---\n<script>x</script>"})
    text = model_card(record.model_copy(update={"data": hostile, "classes": ("<b>", "ok")}))
    assert "<script" not in text
    assert "<b>" not in text
    assert "a \\| b --- &lt;script>" in text


def test_the_folder_loads_and_the_card_does_not_count(made: Checkpoint) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    AutoModelForSequenceClassification.from_pretrained(made.folder)
    AutoTokenizer.from_pretrained(made.folder)
    (answer,) = pipeline("text-classification", model=str(made.folder))("a good film")
    assert answer["label"] in made.classes
    before = made.digest
    (made.folder / "README.md").write_text("other")
    assert Checkpoint.open(made.folder).digest == before
    (made.folder / "README.md").unlink()
    assert Checkpoint.open(made.folder).digest == before
