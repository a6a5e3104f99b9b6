"""Tasks: found by name; text classification plans batches well and answers the same in any company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.errors import CheckpointError, DataError, RecipeError
from fine_tune.predictions import PredictionsMeta
from fine_tune.rows import decide, single_unit_rows
from fine_tune.tasks import Answer, all_tasks, find_task
from fine_tune.tasks.text_classification import MAX_ROWS, TextReader


@pytest.fixture(scope="module")
def reader(tiny_checkpoint: Path) -> TextReader:
    made = find_task("text-classification").reader(Checkpoint.open(tiny_checkpoint), "cpu")
    assert isinstance(made, TextReader)
    return made


def texts(count: int, seed: int = 0) -> list[str]:
    words = ["good", "bad", "fine", "awful", "great", "movie", "plot", "the", "was", "not"]
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words, rng.integers(1, 28))) + f" {'x' * (i % 3)}" for i in range(count)]


def test_tasks_are_found_by_name() -> None:
    assert find_task("text_classification") is find_task("text-classification")
    assert "text-classification" in [t.name for t in all_tasks()]
    with pytest.raises(RecipeError, match=r"text-clasification.*\n.*one of .*text-classification.*\n.*did you mean"):
        find_task("text-clasification")


def test_a_batch_answers_like_one_by_one(reader: TextReader) -> None:
    inputs = texts(60)
    together: dict[int, tuple[float, ...]] = {}
    for batch in reader.plan(inputs, 256):
        answers = reader.answer([inputs[i] for i in batch])
        together |= {i: a.scores[0] for i, a in zip(batch, answers, strict=True)}
    alone = np.array([reader.answer([text])[0].scores[0] for text in inputs])
    assert np.abs(np.array([together[i] for i in range(60)]) - alone).max() < 1e-6
    assert np.ptp(alone[:, 0]) > 0.05
    assert np.abs(alone.sum(axis=1) - 1).max() < 1e-12


def test_scores_equal_plain_transformers(reader: TextReader) -> None:
    import torch

    encoded = reader.processor(["the movie was good"], return_tensors="pt")
    with torch.no_grad():
        logits = reader.model(**encoded).logits.double()
    assert reader.answer(["the movie was good"])[0].scores[0] == tuple(torch.softmax(logits, -1)[0].tolist())


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 90), tokens=st.integers(1, 600), seed=st.integers(0, 5))
def test_plans_cover_every_input_once_within_bounds(reader: TextReader, count: int, tokens: int, seed: int) -> None:
    inputs = texts(count, seed)
    plan = reader.plan(inputs, tokens)
    assert sorted(i for batch in plan for i in batch) == list(range(count))
    lengths = [min(len(t.split()) + 2, reader.max_length) for t in inputs]
    for batch in plan:
        assert len(batch) <= MAX_ROWS
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= tokens
    shuffled = np.random.default_rng(seed).permutation(count)
    again = reader.plan([inputs[i] for i in shuffled], tokens)
    assert [sorted(inputs[shuffled[i]] for i in b) for b in again] == [sorted(inputs[i] for i in b) for b in plan]


def test_cut_inputs_are_counted(reader: TextReader) -> None:
    exact, longer = "good " * 30, "good " * 31
    assert [a.truncated for a in reader.answer([exact, longer])] == [False, True]


def test_only_text_is_read(reader: TextReader) -> None:
    with pytest.raises(DataError, match="input 1 is dict"):
        reader.answer(["good", {"text": "bad"}])
    assert reader.plan([], 100) == []


def test_scores_that_are_not_finite_are_refused(tiny_checkpoint: Path) -> None:
    import torch

    broken = find_task("text-classification").reader(Checkpoint.open(tiny_checkpoint), "cpu")
    with torch.no_grad():
        broken.model.classifier.bias[0] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        broken.answer(["good"])


def test_answers_keep_every_bit() -> None:
    import json

    answer = Answer(scores=((0.1 + 0.2, 1 / 3),), truncated=True, texts=("x",))
    assert Answer.from_json(json.loads(json.dumps(answer.to_json()))) == answer


def test_the_decision_follows_the_threshold() -> None:
    scores = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.45, 0.3, 0.25]])
    meta = PredictionsMeta(task="t", classes=("a", "b", "c"))
    assert decide(scores, meta) == ["a", "c", "a"]
    strict = PredictionsMeta(task="t", classes=("a", "b", "c"), threshold=0.5, positive="a")
    assert decide(scores, strict) == ["a", "c", "b"]
    everything = PredictionsMeta(task="t", classes=("a", "b", "c"), threshold=0.0, positive="b")
    assert decide(scores, everything) == ["b", "b", "b"]
    with pytest.raises(DataError, match="positive: one of a, b, c"):
        decide(scores, PredictionsMeta(task="t", classes=("a", "b", "c"), threshold=0.5))


def test_rows_have_the_agreed_shape(review_data: AuditData) -> None:
    meta = PredictionsMeta(task="text-classification", classes=("negative", "positive"), truncated=2)
    scores = np.tile([0.25, 0.75], (len(review_data), 1))
    table = single_unit_rows(review_data, decide(scores, meta), scores, meta)
    assert table.column_names == [
        "row_id", "unit_id", "label", "prediction", "score_negative", "score_positive", "group_gender", "cluster",
        "content",
    ]  # fmt: skip
    assert PredictionsMeta.of(table) == meta
    assert table["group_gender"].null_count == review_data.missing("gender") == 16
    bare = single_unit_rows(review_data, ["positive"] * len(review_data), None, meta)
    assert not [n for n in bare.column_names if n.startswith("score_")]
