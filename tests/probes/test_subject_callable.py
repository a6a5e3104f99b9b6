"""Callables: every usual shape of an answer gives the same table, and what is no probability is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune.data import AuditData
from probes.errors import SubjectError
from probes.evidence import Need
from probes.probe import Context, MemoryJournal
from probes.score_shapes import ScoreShape, classes_in, read_scores
from probes.subject import CallableSpec, CallableSubject

SHAPE = ScoreShape(where="f")
CLASSES = ("b", "a")


def rows_of(count: int) -> AuditData:
    return AuditData.from_frame(pd.DataFrame({"text": [f"t{i}" for i in range(count)]}), input="text")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_every_shape_says_the_same(shares: list[float]) -> None:
    import torch

    rows = [[p, 1 - p] for p in shares]
    expected = [tuple(row) for row in rows]
    named = [dict(zip(CLASSES, row, strict=True)) for row in rows]
    listed = [[{"label": c, "score": row[c]} for c in sorted(row)] for row in named]
    exact = (rows, np.array(rows), torch.tensor(rows, dtype=torch.float64, requires_grad=True), named, listed,
             tuple(rows), pd.DataFrame(named), [np.array(row) for row in rows])  # fmt: skip
    for said in exact:
        assert [a.scores[0] for a in read_scores(said, len(rows), CLASSES, SHAPE)] == expected
    rounded = read_scores(np.array(rows, dtype=np.float32), len(rows), CLASSES, SHAPE)
    assert np.abs(np.array([a.scores[0] for a in rounded]) - rows).max() < 1e-6
    assert classes_in(named, SHAPE) == classes_in(listed, SHAPE) == ("a", "b")
    assert classes_in(rows, SHAPE) is None


@pytest.mark.parametrize("said", [None, "scores", 0.5, {"a": [1.0]}, iter([[0.5, 0.5]])])
def test_what_is_no_list_of_answers_is_refused(said: Any) -> None:
    with pytest.raises(SubjectError, match="the answer is"):
        read_scores(said, 1, CLASSES, SHAPE)


def test_classes_come_from_answers_in_the_order_of_the_labels() -> None:
    frame = pd.DataFrame({"text": ["x", "y"], "label": [0, 1]})
    data = AuditData.from_frame(frame, input="text", label="label", labels={1: "yes", 0: "no"})
    subject = CallableSubject(lambda inputs: [{"no": 0.3, "yes": 0.7}] * len(inputs), data)
    assert subject.classes == ("yes", "no")
    table = subject.predictions(Context(instance="test"))
    assert table["score_yes"].to_pylist() == [0.7, 0.7]
    assert {Need.PREDICTIONS, Need.QUERIES, Need.LABELS} == subject.offers
    with pytest.raises(SubjectError, match="name no classes"):
        CallableSubject(lambda inputs: [[0.3, 0.7]] * len(inputs), data)
    with pytest.raises(SubjectError, match="'token-classification'"):
        CallableSubject(len, data, CallableSpec(classes=("no", "yes"), task="token-classification"))
    with pytest.raises(SubjectError, match="two or more"):
        CallableSubject(lambda inputs: [[1.0]] * len(inputs), rows_of(2), CallableSpec(classes=("a",)))


def test_batches_are_bounded_and_a_break_loses_one_alone() -> None:
    asked: list[int] = []

    def function(inputs: list[str]) -> list[list[float]]:
        asked.append(len(inputs))
        if len(asked) == 3:
            raise MemoryError("no room")
        return [[0.25, 0.75]] * len(inputs)

    spec = CallableSpec(classes=CLASSES, digest="1", batch_size=4)
    journal = MemoryJournal()
    with pytest.raises(SubjectError, match=r"MemoryError: no room") as caught:
        CallableSubject(function, rows_of(18), spec).predictions(Context(instance="test", journal=journal))
    assert isinstance(caught.value.__cause__, MemoryError)
    CallableSubject(function, rows_of(18), spec).predictions(Context(instance="test", journal=journal))
    assert asked == [4, 4, 4, 4, 4, 2]
    fresh = spec.model_copy(update={"digest": None})
    first, second = (CallableSubject(function, rows_of(18), fresh) for _ in range(2))
    assert first.digest != second.digest


def test_half_a_batch_and_logits_are_named() -> None:
    for function, seen in (
        (lambda inputs: [[0.5, 0.5]] * (len(inputs) - 1), "3 inputs were asked about, and 2 answers"),
        (lambda inputs: np.full((len(inputs), 2), np.nan), "not finite"),
        (lambda inputs: np.full((len(inputs), 2), 2.0), "sum to 4"),
        (lambda inputs: np.full(len(inputs), 0.5), "regression"),
    ):
        subject = CallableSubject(function, rows_of(3), CallableSpec(classes=CLASSES))
        with pytest.raises(SubjectError, match=seen):
            subject.predictions(Context(instance="test"))
