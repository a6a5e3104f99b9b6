"""Batches, journal, order, units: what the engine promises of every method; and that it leaves the subject's model alone."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from fine_tune.errors import DataError
from probes.engines.captum.explainer import open_explainer
from probes.engines.captum.forward import plan
from probes.engines.captum.methods import methods
from probes.errors import Unavailable
from probes.fake_subject import FakeSubject
from probes.probe import Context, MemoryJournal

from .conftest import TEXTS

TEXT_METHODS = sorted(set(methods()) - {"guided_grad_cam"})


def test_units_are_words_and_spans_point_at_them(explainer):
    text = "The film, zebra!"
    (one,) = explainer.encode([text])
    assert one.units == ("The", "film", ",", "zebra", "!")
    assert [text[a:b] for a, b in one.spans] == list(one.units)
    assert one.body.owner[0] == one.body.owner[-1] == -1
    assert one.body.owner.count(3) == 5, "zebra is five pieces"
    assert not one.truncated


def test_a_text_that_is_cut_says_so(explainer):
    (one,) = explainer.encode(["good " * 60])
    assert one.truncated
    assert len(one.units) == 30


def test_scripts_without_spaces_are_not_one_word():
    from probes.engines.captum.text import _units

    text = "很好 ab"
    owner, spans = _units(text, [None, 0, 0, 1, 1, None], [(0, 0), (0, 1), (1, 2), (2, 4), (4, 5), (0, 0)])
    assert owner == (-1, 0, 1, 2, 2, -1)
    assert [text[a:b] for a, b in spans] == ["很", "好", "ab"]


def test_tokenizers_without_offsets_are_searched():
    from probes.engines.captum.text import _found

    class Slow:
        def convert_ids_to_tokens(self, i):
            return {1: "good", 2: "##ly", 3: "[UNK]"}[i]

        def convert_tokens_to_string(self, tokens):
            return " ".join(tokens)

    assert _found(Slow(), [0, 1, 2, 3], [1, 0, 0, 0], "so Goodly x") == [(0, 0), (3, 7), (7, 9), (9, 9)]


def test_what_is_no_text_is_said(explainer):
    with pytest.raises(DataError, match="expected: text"):
        explainer.encode([3])


def test_plain_scores_are_the_subjects_own(explainer, tiny_subject, here):
    encoded = explainer.encode(list(TEXTS))
    found = explainer.scores(encoded, [np.ones((1, len(one.units)), dtype=bool) for one in encoded])
    assert np.concatenate(found) == pytest.approx(tiny_subject.predict(list(TEXTS), here), abs=1e-5)


def test_taking_words_away_is_asking_with_the_mask_token(explainer, tiny_subject, here):
    (one,) = explainer.encode(["the movie was good"])
    keep = np.array([[True, False, True, True], [False] * 4])
    (found,) = explainer.scores([one], [keep])
    asked = ["the [MASK] was good", "[MASK] [MASK] [MASK] [MASK]"]
    assert found == pytest.approx(tiny_subject.predict(asked, here), abs=1e-5)


def test_pooled_scores_are_those_of_one_by_one(explainer):
    rng = np.random.default_rng(0)
    encoded = explainer.encode(list(TEXTS))
    keeps = [rng.random((m, len(one.units))) < 0.5 for m, one in zip((3, 0, 5, 1, 2), encoded, strict=True)]
    pooled = explainer.scores(encoded, keeps)
    for one, keep, found in zip(encoded, keeps, pooled, strict=True):
        assert found.shape == (len(keep), 2)
        for row, scores in zip(keep, found, strict=True):
            assert scores == pytest.approx(explainer.scores([one], [row[None]])[0][0], abs=1e-5)


@pytest.mark.parametrize("name", TEXT_METHODS)
def test_order_of_inputs_does_not_matter(explainer, name):
    encoded = explainer.encode([*TEXTS, TEXTS[0]])
    targets = [0, 1, 0, 1, 1, 0]
    turned = [4, 0, 5, 3, 1, 2]
    forwards = explainer.attribute(encoded, targets, name, Context(instance="a", seed=7))
    backwards = explainer.attribute(
        [encoded[i] for i in turned], [targets[i] for i in turned], name, Context(instance="b", seed=7)
    )
    for place, i in enumerate(turned):
        assert backwards[place].weights.tolist() == forwards[i].weights.tolist()
        assert backwards[place].evaluations == forwards[i].evaluations
    assert forwards[0].weights.tolist() == forwards[5].weights.tolist()


class Dying(MemoryJournal):
    """Keeps a number of entries as text, and then is killed."""

    def __init__(self, room):
        super().__init__()
        self.room = room

    def append(self, items):
        if self.room == 0:
            raise KeyboardInterrupt
        self.room -= 1
        super().append([(key, json.loads(json.dumps(value))) for key, value in items])


@pytest.mark.parametrize("name", TEXT_METHODS)
def test_a_resumed_run_gives_the_same_bytes(explainer, name, monkeypatch):
    from probes.engines.captum import engine

    monkeypatch.setattr(engine, "GROUP_SIZE", 16)
    encoded = explainer.encode(list(TEXTS))
    targets = [0, 1, 0, 1, 1]
    whole = explainer.attribute(encoded, targets, name, Context(instance="a", seed=7))
    journal = Dying(room=2)
    with pytest.raises(KeyboardInterrupt):
        explainer.attribute(encoded, targets, name, Context(instance="a", seed=7, journal=journal))
    journal.room = 100
    resumed = explainer.attribute(encoded, targets, name, Context(instance="a", seed=7, journal=journal))
    assert journal.room < 100, "something was left to do"
    for a, b in zip(whole, resumed, strict=True):
        assert (a.weights.tobytes(), a.error, a.evaluations, a.converged) == (
            b.weights.tobytes(), b.error, b.evaluations, b.converged
        )  # fmt: skip


def test_what_was_explained_is_not_explained_again(explainer, here, monkeypatch):
    encoded = explainer.encode(list(TEXTS))
    first = explainer.attribute(encoded, [0] * 5, "integrated_gradients", here)
    keeps = [np.zeros((1, len(one.units)), dtype=bool) for one in encoded]
    asked = explainer.scores(encoded, keeps, here)
    monkeypatch.setattr(type(explainer.adapter), "logits", lambda *a: pytest.fail("asked again"))
    again = explainer.attribute(encoded, [0] * 5, "integrated_gradients", here)
    assert [a.weights.tolist() for a in again] == [a.weights.tolist() for a in first]
    assert [a.tolist() for a in explainer.scores(encoded, keeps, here)] == [a.tolist() for a in asked]


def test_the_seed_moves_what_is_drawn_and_nothing_else(explainer):
    encoded = explainer.encode(list(TEXTS[:2]))

    def weights(name, seed):
        return explainer.attribute(encoded, [0, 0], name, Context(instance="a", seed=seed))[0].weights.tolist()

    for name in ("gradient_shap", "shapley_sampling", "random"):
        assert weights(name, 1) == weights(name, 1) != weights(name, 2)
    assert weights("relevance", 1) == weights("relevance", 2)


def test_global_generators_are_left_as_they_were(explainer, here):
    import torch

    np.random.seed(5)
    torch.manual_seed(5)
    expected = np.random.random(), float(torch.rand(1))
    np.random.seed(5)
    torch.manual_seed(5)
    explainer.attribute(explainer.encode(list(TEXTS)), [0] * 5, "gradient_shap", here)
    assert (np.random.random(), float(torch.rand(1))) == expected


def test_the_subjects_model_is_left_as_it_was(tiny_subject, here):
    model = tiny_subject.reader("cpu").model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    own = open_explainer(tiny_subject, here)
    encoded = own.encode(list(TEXTS[:2]))
    for name in TEXT_METHODS:
        own.attribute(encoded, [0, 1], name, here)
    own.randomised("embeddings", 1)
    assert all((before[name] == value).all() for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    assert not model.training
    copy = own.adapter.model
    assert copy is not model
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in copy.modules())


def test_stages_cascade_from_the_head_down(explainer, here):
    assert explainer.stages == ("head", "layer 1", "layer 0", "embeddings")
    plain = dict(explainer.adapter.model.named_parameters())
    moved = []
    for stage in explainer.stages:
        model = explainer.randomised(stage, 3).adapter.model
        moved.append({name for name, p in model.named_parameters() if not (p == plain[name]).all()})
    assert all(a < b for a, b in pairwise(moved))
    assert all("layer" not in name and "embeddings" not in name for name in moved[0])
    assert any("classifier" in name for name in moved[0])
    assert any("word_embeddings" in name for name in moved[-1])
    matrices = {name for name, p in plain.items() if p.dim() > 1}
    assert matrices <= moved[-1]
    shallow, deep = (explainer.randomised(s, 3).adapter.model.state_dict() for s in ("head", "embeddings"))
    assert all((shallow[name] == deep[name]).all() for name in moved[0])
    again = explainer.randomised("embeddings", 3).adapter.model.state_dict()
    assert all((again[name] == value).all() for name, value in deep.items())
    with pytest.raises(ValueError, match="layer 9"):
        explainer.randomised("layer 9", 0)


def test_a_randomised_copy_has_a_journal_of_its_own(explainer, here):
    encoded = explainer.encode(list(TEXTS[:1]))
    plain = explainer.attribute(encoded, [0], "relevance", here)
    drawn = explainer.randomised("head", 1).attribute(encoded, [0], "relevance", here)
    assert plain[0].weights.tolist() != drawn[0].weights.tolist()


def test_an_input_without_words_has_no_weights(explainer, here):
    encoded = explainer.encode(["", "good"])
    assert encoded[0].units == ()
    for name in TEXT_METHODS:
        empty, full = explainer.attribute(encoded, [0, 0], name, here)
        assert empty.weights.shape == (0,)
        assert full.weights.shape == (1,)
    (scores, _) = explainer.scores(encoded, [np.ones((1, 0), dtype=bool), np.ones((1, 1), dtype=bool)])
    assert scores.shape == (1, 2)


def test_batches_hold_rows_of_similar_size():
    sizes = [30, 5, 31, 6, 29, 5, 100]
    batches = plan(sizes, [str(i) for i in range(7)], room=95, width=64)
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    for batch in batches:
        longest = max(sizes[i] for i in batch)
        assert longest <= 1.15 * min(sizes[i] for i in batch) + 1
        assert len(batch) == 1 or longest * len(batch) <= 95
    assert [6] in batches
    assert plan([], [], room=10, width=4) == []


def test_without_a_model_there_is_a_reason(here):
    with pytest.raises(Unavailable, match="no model at hand"):
        open_explainer(FakeSubject([[0.5, 0.5]], ("no", "yes")), here)


def test_a_task_without_an_adapter_is_named(tiny_subject, here):
    import copy

    other = copy.copy(tiny_subject)
    other.task = "text-generation"
    with pytest.raises(Unavailable, match="text-generation"):
        open_explainer(other, here)


def test_a_model_that_hides_its_embeddings_is_refused(tiny_subject):
    import torch

    from probes.engines.captum.text import TextAdapter

    from .conftest import bag_reader

    reader = bag_reader(tiny_subject.reader("cpu").processor)
    reader.model.get_input_embeddings = lambda: torch.nn.Embedding(len(reader.processor), 8)
    with pytest.raises(Unavailable, match="get_input_embeddings"):
        TextAdapter.of(reader, ("a", "b", "c"))
