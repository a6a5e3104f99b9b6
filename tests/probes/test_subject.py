"""Subjects: a checkpoint that resumes to the same bytes, and the fake that tests stand on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.errors import CheckpointError, DataError
from fine_tune.predictions import PredictionsMeta
from probes.evidence import Need
from probes.probe import Context, MemoryJournal
from probes.subject import CheckpointSubject, FakeSubject, Subject


def fresh_context() -> Context:
    return Context(instance="test")


class Killed(Exception):
    pass


class DyingJournal(MemoryJournal):
    """Dies before its n-th append; what it kept before stays."""

    def __init__(self, appends: int) -> None:
        super().__init__()
        self.left = appends

    def append(self, items: Iterable[tuple[str, Any]]) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1
        super().append(items)


@pytest.fixture
def subject(tiny_checkpoint: Path, review_data: AuditData) -> CheckpointSubject:
    return CheckpointSubject(Checkpoint.open(tiny_checkpoint), review_data, batch_tokens=64)


def count_forwards(subject: CheckpointSubject) -> list[int]:
    model = subject.reader("cpu").model
    seen: list[int] = []
    model.register_forward_pre_hook(lambda m, args, named: seen.append(len(named["input_ids"])), with_kwargs=True)
    return seen


def test_importing_subjects_loads_no_torch() -> None:
    code = "import sys, probes.subject; print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_predictions_are_those_of_the_model(subject: CheckpointSubject, review_data: AuditData) -> None:
    table = subject.predictions(fresh_context())
    assert table["row_id"].to_pylist() == review_data.row_ids
    assert table["label"].to_pylist() == review_data.labels
    assert table["content"].to_pylist() == review_data.content_digests
    for row, text in zip(table.to_pylist(), review_data.inputs, strict=True):
        alone = np.array(subject.reader("cpu").answer([text])[0].scores[0])
        assert abs(alone - [row["score_negative"], row["score_positive"]]).max() < 1e-6
        assert row["prediction"] == subject.classes[alone.argmax()]
    meta = PredictionsMeta.of(table)
    assert (meta.classes, meta.threshold, meta.truncated) == (subject.classes, None, 0)


def test_each_input_is_read_once(tiny_checkpoint: Path) -> None:
    data = AuditData.from_frame(pd.DataFrame({"text": ["good", "bad film", "good", "good"]}), input="text")
    subject = CheckpointSubject(Checkpoint.open(tiny_checkpoint), data)
    seen = count_forwards(subject)
    table = subject.predictions(fresh_context())
    assert sum(seen) == 2
    assert len(set(table["score_positive"].to_pylist())) == 2
    assert subject.predictions(fresh_context()) is table
    assert sum(seen) == 2


def test_a_killed_run_resumes_to_the_same_bytes(tiny_checkpoint: Path, review_data: AuditData) -> None:
    def fresh() -> CheckpointSubject:
        return CheckpointSubject(Checkpoint.open(tiny_checkpoint), review_data, batch_tokens=64)

    whole, journal = fresh(), MemoryJournal()
    expected = whole.predictions(Context(instance="test", journal=journal))
    dying = DyingJournal(3)
    with pytest.raises(Killed):
        fresh().predictions(Context(instance="test", journal=dying))
    dying.left = 10**6
    resumed = fresh()
    seen = count_forwards(resumed)
    assert resumed.predictions(Context(instance="test", journal=dying)).equals(expected)
    batches = len(resumed.reader("cpu").plan(sorted(set(review_data.inputs)), 64))
    assert len(seen) == batches - 3
    again = fresh()
    seen = count_forwards(again)
    assert again.predictions(Context(instance="test", journal=journal)).equals(expected)
    assert seen == []


def test_one_journal_serves_two_models(tiny_checkpoint: Path, review_data: AuditData, tmp_path: Path) -> None:
    import json

    other = Path(shutil.copytree(tiny_checkpoint, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    config["layer_norm_eps"] = 0.5
    (other / "config.json").write_text(json.dumps(config))
    ctx = Context(instance="test", journal=MemoryJournal())
    first = CheckpointSubject(Checkpoint.open(tiny_checkpoint), review_data).predictions(ctx)
    second = CheckpointSubject(Checkpoint.open(other), review_data).predictions(ctx)
    assert first["score_positive"] != second["score_positive"]


def test_queries_depend_on_nothing_before_them(subject: CheckpointSubject, tiny_checkpoint: Path) -> None:
    asked = ["the movie was good", "awful", "the movie was good", "not a very fine plot at all " * 3]
    journal = MemoryJournal()
    ctx = Context(instance="test", journal=journal)
    before = subject.predict(asked, ctx)
    subject.predictions(ctx)
    subject.predict(["awful", "great"], ctx)
    other = CheckpointSubject(Checkpoint.open(tiny_checkpoint), subject.data, batch_tokens=64)
    assert before.shape == (4, 2)
    assert (before[0] == before[2]).all()
    assert (subject.predict(asked, ctx) == before).all()
    assert (other.predict(asked, fresh_context()) == before).all()
    assert subject.predict([], ctx).shape == (0, 2)


def test_progress_is_shown(subject: CheckpointSubject) -> None:
    seen: list[tuple[int, str]] = []

    def progress(items: Iterable[Any], total: int, label: str) -> Iterable[Any]:
        seen.append((total, label))
        yield from items

    subject.predictions(Context(instance="test", progress=progress))
    assert len(seen) == 1
    assert seen[0][0] > 1
    assert "reviews" in seen[0][1]


def test_offers_follow_the_data(tiny_checkpoint: Path, review_frame: pd.DataFrame, review_data: AuditData) -> None:
    model = Checkpoint.open(tiny_checkpoint)
    whole = CheckpointSubject(model, review_data).offers
    assert {Need.PREDICTIONS, Need.QUERIES, Need.WEIGHTS, Need.GRADIENTS, Need.LABELS, Need.GROUPS} == whole
    bare = CheckpointSubject(model, AuditData.from_frame(review_frame, input="text")).offers
    assert {Need.PREDICTIONS, Need.QUERIES, Need.WEIGHTS, Need.GRADIENTS} == bare
    twins = AuditData.from_frame(review_frame, input="text", counterpart="template", rationale="text")
    assert {Need.COUNTERPARTS, Need.RATIONALES} <= CheckpointSubject(model, twins).offers


def test_the_threshold_is_part_of_the_subject(tiny_checkpoint: Path, review_data: AuditData) -> None:
    model = Checkpoint.open(tiny_checkpoint)
    plain = CheckpointSubject(model, review_data)
    never = CheckpointSubject(model, review_data, threshold=1.0, positive="positive")
    always = CheckpointSubject(model, review_data, threshold=0.0, positive="positive")
    assert len({plain.digest, never.digest, always.digest}) == 3
    assert set(never.predictions(fresh_context())["prediction"].to_pylist()) == {"negative"}
    assert set(always.predictions(fresh_context())["prediction"].to_pylist()) == {"positive"}
    for options, seen in (
        ({"threshold": 0.5}, "without a class"),
        ({"threshold": 0.5, "positive": "good"}, "'good'"),
        ({"threshold": 1.5, "positive": "positive"}, "1.5"),
    ):
        with pytest.raises(DataError, match=seen):
            CheckpointSubject(model, review_data, **options)


def test_labels_that_are_no_classes_list_both_sides(tiny_checkpoint: Path, review_frame: pd.DataFrame) -> None:
    data = AuditData.from_frame(
        review_frame, input="text", label="label", labels={"negative": "bad", "positive": "good"}
    )
    with pytest.raises(DataError, match=r"'bad', 'good'\n  expected: one of 'negative', 'positive'"):
        CheckpointSubject(Checkpoint.open(tiny_checkpoint), data)


def test_a_base_model_and_data_without_inputs_are_refused(
    tiny_base: Path, tiny_checkpoint: Path, review_frame: pd.DataFrame, review_data: AuditData
) -> None:
    with pytest.raises(CheckpointError, match="recipe"):
        CheckpointSubject(Checkpoint.open(tiny_base), review_data)
    with pytest.raises(DataError, match="no inputs"):
        CheckpointSubject(Checkpoint.open(tiny_checkpoint), AuditData.from_frame(review_frame, label="label"))


def test_what_was_trained_here_says_so(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    from fine_tune.recipe import Recipe
    from fine_tune.train import fine_tune

    for method in ("full", "lora"):
        made = fine_tune(
            Recipe(base=str(tiny_base), steps=2, method=method), review_data, tmp_path / method, progress=False
        )
        subject = CheckpointSubject(made, review_data)
        assert Need.TRAINING_RECORD in subject.offers
        assert subject.details["method"] == method
        assert subject.details["parameters"] == made.parameters
        assert subject.predictions(fresh_context()).num_rows == len(review_data)


def test_the_fake_keeps_the_contract() -> None:
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    fake = FakeSubject(
        scores,
        ("no", "yes"),
        labels=["no", "yes", None],
        groups={"sex": ["f", "m", None]},
        roles={"cluster": ["a", "a", "b"], "weight": [1, 2, 3]},
    )
    checked: Subject = fake
    table = checked.predictions(fresh_context())
    assert table["prediction"].to_pylist() == ["no", "yes", "yes"]
    assert table["group_sex"].to_pylist() == ["f", "m", None]
    assert table["weight"].to_pylist() == [1.0, 2.0, 3.0]
    assert fake.offers == {Need.PREDICTIONS, Need.QUERIES, Need.LABELS, Need.GROUPS}
    assert (fake.predict(["text 1"], fresh_context()) == [[0.4, 0.6]]).all()
    new = fake.predict(["other", "other", "third"], fresh_context())
    assert (new[0] == new[1]).all()
    assert (new[0] != new[2]).any()
    assert np.allclose(new.sum(axis=1), 1)
    assert fake.asked == 4
