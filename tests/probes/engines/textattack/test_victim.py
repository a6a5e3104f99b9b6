"""The victim says what the subject says, only faster, and decides as the subject decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.errors import CheckpointError, DataError
from fine_tune.predictions import PredictionsMeta
from fine_tune.rows import decide
from probes.engines.textattack import victim as victims
from probes.engines.textattack.loading import installed
from probes.engines.textattack.victim import Asked, Encoded, Read, Victim, at_even_odds
from probes.engines.textattack.wrapper import close_calls, wrapper_of
from probes.probe import Context, MemoryJournal
from probes.subject import CallableSpec, CallableSubject, CheckpointSubject

needs_textattack = pytest.mark.skipif(not installed(), reason="textattack is not installed")

TEXTS = ("good", "", "the actor was not very good", "zzz 👍 q", "a bad film " * 20, "good", "she is really great")


def context(**more: Any) -> Context:
    return Context(instance="test", **more)


@pytest.fixture
def subject(tiny_checkpoint: Path, review_data: AuditData) -> CheckpointSubject:
    return CheckpointSubject(Checkpoint.open(tiny_checkpoint), review_data)


def test_the_fast_way_is_the_subjects_own(subject: CheckpointSubject) -> None:
    victim = Victim.of(subject, context())
    assert isinstance(victim, Read)
    seen = victim.probabilities(TEXTS)
    assert seen.dtype == np.float32
    assert np.abs(seen - subject.predict(TEXTS, context())).max() < 1e-6
    assert victim.probabilities([]).shape == (0, 2)


def test_the_fast_way_asks_for_each_text_once_with_little_padding(subject: CheckpointSubject) -> None:
    victim = Victim.of(subject, context())
    shapes: list[tuple[int, int]] = []
    subject.reader("cpu").model.register_forward_pre_hook(
        lambda m, args, named: shapes.append((len(named["input_ids"]), int(named["attention_mask"].sum()))),
        with_kwargs=True,
    )
    victim.probabilities(TEXTS)
    assert sum(rows for rows, _ in shapes) == len(TEXTS)
    assert len(shapes) < len(TEXTS)


@given(
    st.lists(st.integers(1, 80), max_size=40),
    st.integers(0, 12),
    st.integers(1, 300),
    st.randoms(use_true_random=False),
)
def test_batches(lengths: list[int], slack: int, tokens: int, dice: Any) -> None:
    inputs = [Encoded(key=b"%02d" % i, value={"input_ids": [0] * n}) for i, n in enumerate(lengths)]
    batches = victims._like_lengths(inputs, slack, tokens)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        inside = [lengths[i] for i in batch]
        assert max(inside) - min(inside) <= slack
        assert len(batch) == 1 or max(inside) * len(batch) <= tokens
    order = list(range(len(lengths)))
    dice.shuffle(order)
    again = victims._like_lengths([inputs[i] for i in order], slack, tokens)
    assert [[order[i] for i in batch] for batch in again] == batches


@given(
    st.integers(2, 5).flatmap(
        lambda k: st.lists(st.lists(st.integers(0, 6), min_size=k, max_size=k).filter(any), min_size=1, max_size=8)
    ),
    st.sampled_from((0.0, 1e-12, 0.1, 1 / 3, 0.5, 0.7, 0.999999, 1.0)),
    st.integers(0, 4),
)
def test_even_odds_decide_as_the_threshold(counts: list[list[int]], threshold: float, positive: int) -> None:
    scores = np.array(counts, dtype=np.float64)
    scores /= scores.sum(axis=1, keepdims=True)
    classes = tuple("abcde"[: scores.shape[1]])
    positive %= len(classes)
    seen = at_even_odds(scores, threshold, positive)
    meta = PredictionsMeta(task="text-classification", classes=classes, threshold=threshold, positive=classes[positive])
    assert [classes[i] for i in seen.argmax(axis=1)] == decide(scores, meta)
    assert np.abs(seen.sum(axis=1, dtype=np.float64) - 1).max() < 1e-6
    assert (seen >= 0).all()


def test_even_odds_by_hand() -> None:
    """At a threshold of 0.2 the odds of the positive class count four times; a text at the threshold is at even odds."""
    seen = at_even_odds(np.array([[0.8, 0.2], [0.9, 0.1], [0.5, 0.5]]), 0.2, 1)
    np.testing.assert_allclose(seen[:, 1], [0.5, 0.4 / 1.3, 0.8], atol=1e-6)
    assert seen[0].argmax() == 1, "from the threshold on"


@given(st.floats(0.001, 0.998), st.floats(0.02, 0.98))
def test_even_odds_rise_with_the_score(score: float, threshold: float) -> None:
    higher = min(score + 0.001, 0.999)
    seen = at_even_odds(np.array([[score, 1 - score], [higher, 1 - higher]]), threshold, 0)
    assert seen[1, 0] >= seen[0, 0]


@pytest.mark.parametrize("fast", [True, False])
def test_a_threshold_is_the_subjects(subject: CheckpointSubject, review_data: AuditData, fast: bool) -> None:
    texts = sorted(set(review_data.inputs))
    raw = subject.predict(texts, context())
    threshold = float(np.median(raw[:, 0]))
    moved: Any = (
        CheckpointSubject(subject.checkpoint, review_data, threshold=threshold, positive="negative")
        if fast
        else CallableSubject(
            lambda inputs: subject.predict(inputs, context()), review_data,
            CallableSpec(classes=subject.classes, digest="1"), threshold=threshold, positive="negative",
        )
    )  # fmt: skip
    victim = Victim.of(moved, context())
    assert isinstance(victim, Read if fast else Asked)
    meta = PredictionsMeta(task="t", classes=subject.classes, threshold=threshold, positive="negative")
    clear = np.abs(raw[:, 0] - threshold) > 1e-6
    decided = np.array(decide(raw, meta))
    seen = np.array(subject.classes)[victim.probabilities(texts).argmax(axis=1)]
    assert (decided == seen)[clear].all()
    assert len(set(seen)) == 2


def test_a_subject_that_is_asked_keeps_nothing_in_the_journal(review_data: AuditData) -> None:
    asked: list[list[str]] = []

    def function(inputs: list[str]) -> npt.NDArray[np.float64]:
        asked.append(inputs)
        share = np.array([len(t) / 1000 for t in inputs])
        return np.stack([share, 1 - share], axis=1)

    class Watched(MemoryJournal):
        def append(self, items: Any) -> None:
            raise AssertionError

    subject = CallableSubject(function, review_data, CallableSpec(classes=("negative", "positive"), digest="1"))
    victim = Victim.of(subject, context(journal=Watched()))
    seen = victim.probabilities(["abc", "a", "abc"])
    np.testing.assert_allclose(seen[:, 0], [0.003, 0.001, 0.003], rtol=1e-6)
    victim.probabilities(["abc"])
    assert sum(map(len, asked)) == 3, "each text once a question, and again in the next"


def test_a_model_that_breaks_down_is_said_to(subject: CheckpointSubject) -> None:
    import torch

    with torch.no_grad():
        subject.reader("cpu").model.classifier.bias.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="not finite"):
        Victim.of(subject, context()).probabilities(["good"])


def test_other_tasks_are_refused(subject: CheckpointSubject) -> None:
    subject.task = "token-classification"
    with pytest.raises(DataError, match="token-classification"):
        Victim.of(subject, context())


def test_a_tokenizer_without_padding_gets_one_text_at_a_time(subject: CheckpointSubject) -> None:
    expected = Victim.of(subject, context()).probabilities(TEXTS)
    reader = subject.reader("cpu")
    rows: list[int] = []
    reader.model.register_forward_pre_hook(
        lambda m, args, named: rows.append(len(named["input_ids"])), with_kwargs=True
    )
    reader.processor.pad_token = None
    assert np.abs(Victim.of(subject, context()).probabilities(TEXTS) - expected).max() < 1e-6
    assert set(rows) == {1}


def test_close_calls() -> None:
    seen = np.array([[0.5, 0.5], [0.500004, 0.499996], [0.51, 0.49], [0.2, 0.8]], dtype=np.float32)
    assert close_calls(seen) == 2
    assert close_calls(seen[:0]) == 0


@needs_textattack
def test_the_wrapper_gives_probabilities_even_where_logits_sum_to_one(subject: CheckpointSubject) -> None:
    """TextAttack takes logits such as (2, -1) for probabilities, because they sum to 1."""
    import torch

    with torch.no_grad():
        subject.reader("cpu").model.classifier.weight.zero_()
        subject.reader("cpu").model.classifier.bias.copy_(torch.tensor([2.0, -1.0]))
    victim = Victim.of(subject, context())
    asked: list[int] = []

    def ask(inputs: list[Encoded]) -> Any:
        asked.append(len(inputs))
        return victim.answer(inputs)

    wrapper = wrapper_of(victim, ask)
    said = wrapper(["good", "bad"])
    torch.testing.assert_close(said, torch.softmax(torch.tensor([[2.0, -1.0]] * 2), dim=1))
    assert asked == [2]
    assert wrapper.close_calls == 0
    assert wrapper.model is subject.reader("cpu").model


@needs_textattack
def test_what_is_the_same_to_the_model_has_the_same_answer_to_the_last_bit(subject: CheckpointSubject) -> None:
    victim = Victim.of(subject, context())
    asked: list[int] = []

    def ask(inputs: list[Encoded]) -> Any:
        asked.append(len(inputs))
        return victim.answer(inputs) + np.float32(1e-7 * len(asked))

    wrapper = wrapper_of(victim, ask)
    first = wrapper(["GOOD film", "good film", "good  film", "bad"])
    assert asked == [2]
    assert (first[0] == first[1]).all()
    assert (first[0] == first[2]).all()
    assert (wrapper(["good FILM"])[0] == first[0]).all()
    assert asked == [2], "nor in another question of the same attack"
    wrapper.begin()
    assert (wrapper(["good FILM"])[0] != first[0]).any()


@needs_textattack
def test_the_wrappers_gradient_leaves_the_model_as_it_was(subject: CheckpointSubject) -> None:
    victim = Victim.of(subject, context())
    before = victim.probabilities(TEXTS)
    wrapper = wrapper_of(victim, victim.answer)
    found = wrapper.get_grad("the actor was good")
    assert found["gradient"].shape[1] == 16
    model = subject.reader("cpu").model
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    assert (victim.probabilities(TEXTS) == before).all()
