"""Influence against gradients taken the long way, and only where the training rows are proven to be those."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.recipe import Recipe
from fine_tune.train import fine_tune
from probes.checkpoint_subject import CheckpointSubject
from probes.engines.captum.influence import LastLayer, influence, last_layer, similarity
from probes.errors import ProbeError, Unavailable
from probes.evidence import Measurement, Need, Reading, Undefined
from probes.explanation.influence import Influence
from probes.probe import Context


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, AuditData]:
    rows = {
        "text": [
            f"{'she' if i % 3 else 'he'} was {'good' if i % 2 else 'awful'} {'really ' * (i % 4)}" for i in range(24)
        ],
        "label": [("negative", "positive")[i % 2] for i in range(24)],
    }
    import pandas as pd

    data = AuditData.from_frame(pd.DataFrame(rows), input="text", label="label", name="training")
    recipe = Recipe(
        base=str(tiny_base), task="text-classification", epochs=2, batch_size=8, seed=1, validation_share=0.25
    )
    folder = tmp_path_factory.mktemp("influence") / "model"
    return fine_tune(recipe, data, folder, progress=False), data


@pytest.fixture
def subject(trained: tuple[Checkpoint, AuditData], review_data: AuditData) -> CheckpointSubject:
    checkpoint, data = trained
    return CheckpointSubject(checkpoint, review_data, training_data=data)


def test_training_data_is_offered_only_where_the_record_proves_it(
    trained: tuple[Checkpoint, AuditData], review_data: AuditData, tiny_checkpoint: Path
) -> None:
    checkpoint, data = trained
    whole = CheckpointSubject(checkpoint, review_data, training_data=data)
    assert Need.TRAINING_DATA in whole.offers
    assert whole.training_data is not None
    record = checkpoint.training_record
    assert record is not None
    assert tuple(whole.training_data.row_ids) == record.training_ids
    assert len(whole.training_data) < len(data), "held-out rows moved no weight"
    other = CheckpointSubject(checkpoint, review_data, training_data=data.select(range(23)))
    assert Need.TRAINING_DATA not in other.offers
    assert "not what the training record names" in str(other.details["training_data"])
    without = CheckpointSubject(Checkpoint.open(str(tiny_checkpoint)), review_data, training_data=data)
    assert Need.TRAINING_DATA not in without.offers
    assert Need.TRAINING_DATA not in CheckpointSubject(checkpoint, review_data).offers


def test_influence_is_the_dot_product_of_gradients(subject: CheckpointSubject) -> None:
    """The slow obvious way: backward through the whole model, example by example."""
    import torch

    reader = subject.reader("cpu")
    training = subject.training_data
    assert training is not None
    asked = subject.data.inputs[:3]
    targets = np.array([0, 1, 1])
    labels = np.array([subject.classes.index(str(name)) for name in training.labels])
    layer = last_layer(reader, training.inputs, asked, "x", Context(instance="t"))
    found = influence(layer, labels, targets)

    def gradient(text: str, target: int) -> np.ndarray:
        model = reader.model
        model.zero_grad()
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        batch = reader.processor(text, return_tensors="pt")
        torch.nn.functional.cross_entropy(model(**batch).logits, torch.tensor([target])).backward()
        return model.classifier.weight.grad.flatten().double().numpy().copy()

    theirs = [gradient(t, int(y)) for t, y in zip(training.inputs, labels, strict=True)]
    mine = [gradient(t, int(y)) for t, y in zip(asked, targets, strict=True)]
    assert found == pytest.approx(np.array(mine) @ np.array(theirs).T, rel=1e-3, abs=1e-6)


def test_similarity_is_a_cosine() -> None:
    layer = LastLayer(
        weight=np.eye(2, dtype=np.float32), bias=np.zeros(2, dtype=np.float32),
        training=np.array([[1, 0], [0, 2], [-3, 0]], dtype=np.float32), asked=np.array([[2, 0]], dtype=np.float32),
    )  # fmt: skip
    assert similarity(layer).tolist() == [[1.0, 0.0, -1.0]]


def test_a_head_that_is_no_single_layer_is_declined(subject: CheckpointSubject) -> None:
    import torch

    reader = subject.reader("cpu")
    head = reader.model.classifier
    reader.model.classifier = torch.nn.Sequential(head, torch.nn.Hardtanh(-1e-3, 1e-3))
    try:
        with pytest.raises(Unavailable, match="one linear layer"):
            last_layer(reader, ["she was good"], ["he was awful"], "x", Context(instance="t"))
    finally:
        reader.model.classifier = head


def test_rows_survive_a_kill_and_give_the_same_reading(subject: CheckpointSubject) -> None:
    ctx = Context(instance="influence", seed=3)
    probe = Influence(examples=6, nearest=2)
    rows = probe.collect(subject, ctx)
    assert probe.collect(subject, ctx).equals(rows), "a second time, from the journal"
    assert len(rows) == 6 * 3 * 2
    reading = probe.summarise(rows, ctx)
    assert Reading.model_validate_json(reading.model_dump_json()) == reading
    shuffled = rows.take(np.random.default_rng(0).permutation(len(rows)))
    assert probe.summarise(shuffled, ctx) == reading
    by_name = {m.name: m for m in reading.measurements}
    assert by_name["training_rows"].value == len(subject.training_data or ())  # type: ignore[union-attr]
    top = by_name["top_influence_share"]
    assert isinstance(top, Measurement)
    assert 0 < top.value <= 1
    values = {(r["row_id"], r["rank"]): r["value"] for r in rows.to_pylist() if r["kind"] == "for"}
    assert all(values[row, 0] >= values[row, 1] for row, _ in values)


def test_figures_by_hand(subject: CheckpointSubject) -> None:
    """Two examples: 3 of 4 and 1 of 2 of the influence; 1 of 2 and 2 of 2 neighbours of the predicted class."""
    import pyarrow as pa

    probe = Influence(examples=2, nearest=2)
    pattern = probe.collect(subject, Context(instance="influence"))
    base = {"label": "positive", "prediction": "positive", "cluster": None, "text": "t", "training_text": "u"}
    given = [
        ("a", "for", 0, "positive", 2.0, 4.0), ("a", "for", 1, "positive", 1.0, 4.0),
        ("a", "nearest", 0, "positive", 0.9, 4.0), ("a", "nearest", 1, "negative", 0.8, 4.0),
        ("b", "for", 0, "positive", 1.0, 2.0), ("b", "for", 1, "negative", -1.0, 2.0),
        ("b", "nearest", 0, "positive", 0.9, 2.0), ("b", "nearest", 1, "positive", 0.8, 2.0),
    ]  # fmt: skip
    rows = [
        base
        | {
            "row_id": i,
            "kind": k,
            "rank": r,
            "training_id": f"{i}{r}",
            "training_label": name,
            "value": v,
            "positive": p,
        }
        for i, k, r, name, v, p in given
    ]
    table = pa.Table.from_pylist(rows, schema=pattern.schema)
    by_name = {m.name: m for m in probe.summarise(table, Context(instance="influence")).measurements}
    assert by_name["top_influence_share"].value == pytest.approx((3 / 4 + 1 / 2) / 2)  # type: ignore[union-attr]
    assert by_name["nearest_same_class"].value == pytest.approx(0.75)  # type: ignore[union-attr]
    empty = probe.summarise(table.slice(0, 0), Context(instance="influence"))
    assert all(isinstance(m, Undefined) for m in empty.measurements)


def test_options_are_checked() -> None:
    with pytest.raises(ProbeError, match="examples is 1"):
        Influence(examples=1)
    with pytest.raises(ProbeError, match="nearest is 0"):
        Influence(nearest=0)
