"""The engine against TextAttack alone: the same outcome for every example, whatever goes on around it."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune.checkpoint import Checkpoint
from fine_tune.checkpoint_files import BUNDLED_MODULE
from fine_tune.data import AuditData, Roles
from fine_tune.errors import DataError
from probes.engines.textattack import lanes
from probes.engines.textattack.attacks import Campaign, Example, Outcome, Tally, attack_examples, seed_of
from probes.engines.textattack.generators import Generators
from probes.engines.textattack.loading import installed, load
from probes.engines.textattack.recipes import build
from probes.errors import EndpointError
from probes.probe import Context, MemoryJournal
from probes.subject import CallableSpec, CallableSubject, CheckpointSubject

pytestmark = pytest.mark.skipif(not installed(), reason="textattack is not installed")

TEXTS = (
    "the movie was really great",
    "she is a very poor actor",
    "a fine old film, not bad",
    "they really liked the awful plot of that film and he did not",
    "good",
    "young people like films",
    "he was not very good, was he?",
)


class Dying(MemoryJournal):
    """Dies before its n-th append."""

    def __init__(self, appends: int) -> None:
        super().__init__()
        self.left = appends

    def append(self, items: Iterable[tuple[str, Any]]) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        super().append(items)


def context(**more: Any) -> Context:
    return Context(instance="attack", **more)


def campaign(recipe: str = "deepwordbug", budget: int | None = None, **arguments: Any) -> Campaign:
    return Campaign(recipe=recipe, arguments=arguments, query_budget=budget, network=False, pool=3)


@pytest.fixture(scope="module")
def subject(tiny_checkpoint: Path) -> CheckpointSubject:
    data = AuditData.from_columns({"text": list(TEXTS)}, Roles(input="text"))
    return CheckpointSubject(Checkpoint.open(tiny_checkpoint), data)


def examples(subject: Any, texts: Sequence[str] = TEXTS, wrong: Sequence[int] = ()) -> list[Example]:
    """Labelled as the subject predicts them, but for those whose positions are given."""
    said = subject.predict(list(texts), context()).argmax(axis=1)
    codes = [1 - code if i in wrong else code for i, code in enumerate(said.tolist())]
    return [
        Example(row_id=f"r{i}", text=t, label=subject.classes[c])
        for i, (t, c) in enumerate(zip(texts, codes, strict=True))
    ]


NAMES = {"successful": "succeeded", "failed": "failed"}


def alone(subject: CheckpointSubject, attacked: Sequence[Example], how: Campaign) -> list[tuple[Any, ...]]:
    """Plain TextAttack: its own wrapper, one attack after the other."""
    load()
    from textattack.models.wrappers import HuggingFaceModelWrapper

    reader = subject.reader("cpu")
    wrapper = HuggingFaceModelWrapper(reader.model, reader.processor)
    attack = build(how.recipe, wrapper, arguments=how.arguments, network=False, query_budget=how.query_budget)
    found = []
    for example in attacked:
        Generators().seed(seed_of(example, context()))
        result = attack.attack(example.text, subject.classes.index(example.label))
        kind = type(result).__name__.removesuffix("AttackResult").lower()
        after = result.perturbed_result
        text = after.attacked_text.text
        found.append((NAMES.get(kind, "failed"), text, result.num_queries, subject.classes[after.output]))
        if kind == "skipped":
            found[-1] = ("skipped", None, result.num_queries, None)
        if kind == "maximized" and text != example.text:
            found[-1] = ("succeeded", *found[-1][1:])
    return found


def read_by(subject: CheckpointSubject, found: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The same with texts as the model reads them.

    A tokenizer that knows no case reads "actor" and "acTor" alike. Their scores are then equal but for the last bit, which depends on the
    machine and on where in a batch a text stands, and so does which of the two a search calls the better one.
    """
    processor = subject.reader("cpu").processor
    return [(o[0], None if o[1] is None else tuple(processor(o[1])["input_ids"]), *o[2:]) for o in found]


def compared(outcomes: Sequence[Outcome]) -> list[tuple[Any, ...]]:
    return [(o.status, o.perturbed, o.queries, o.prediction_after) for o in outcomes]


@pytest.mark.parametrize(
    ("recipe", "budget", "arguments"),
    [
        ("deepwordbug", None, {}),
        ("deepwordbug", 9, {}),
        ("pruthi", None, {}),
        ("textbugger-characters", None, {}),
        ("badcharacters", None, {"popsize": 2, "maxiter": 2}),
        ("badcharacters", None, {"popsize": 2, "maxiter": 2, "perturbation_type": "reorderings"}),
        ("inputreduction", None, {}),
        ("gradient-words", None, {"beam_width": 3}),
    ],
)
def test_as_textattack_alone(
    subject: CheckpointSubject, recipe: str, budget: int | None, arguments: dict[str, Any]
) -> None:
    how = campaign(recipe, budget, **arguments)
    attacked = examples(subject, wrong=(2,))
    plain = alone(subject, attacked, how)
    ours = compared(attack_examples(subject, attacked, how, context()))
    assert read_by(subject, ours) == read_by(subject, plain)
    assert ours[2][0] == "skipped"
    assert {"succeeded", "failed"} & {status for status, *_ in ours}


@pytest.fixture(scope="module")
def outcomes(subject: CheckpointSubject) -> dict[str, Outcome]:
    attacked = examples(subject)
    found = attack_examples(subject, attacked, replace(campaign(), pool=1), context())
    return {example.text: outcome for example, outcome in zip(attacked, found, strict=True)}


@settings(max_examples=6)
@given(st.permutations(TEXTS), st.integers(1, 7), st.integers(1, 9))
def test_neither_order_nor_company_nor_pool_matters(
    subject: CheckpointSubject, outcomes: dict[str, Outcome], order: list[str], some: int, pool: int
) -> None:
    attacked = examples(subject, order[:some])
    found = attack_examples(subject, attacked, replace(campaign(), pool=pool), context())
    for example, outcome in zip(attacked, found, strict=True):
        one = outcomes[example.text]
        assert replace(outcome, score_before=None, score_after=None) == replace(
            one, score_before=None, score_after=None
        )
        assert outcome.score_before == pytest.approx(one.score_before, abs=1e-6)


@pytest.mark.parametrize("appends", [0, 1, 4, 7])
def test_resumed_as_if_never_killed(subject: CheckpointSubject, appends: int) -> None:
    attacked = examples(subject)
    whole = MemoryJournal()
    expected = attack_examples(subject, attacked, campaign(), context(journal=whole))
    journal = Dying(appends)
    with pytest.raises(KeyboardInterrupt):
        attack_examples(subject, attacked, campaign(), context(journal=journal))
    assert len(journal._kept) == appends
    journal.left = 1000
    resumed = attack_examples(subject, attacked, campaign(), context(journal=journal))
    assert json.dumps([asdict(o) for o in resumed]) == json.dumps([asdict(o) for o in expected]), "to the last bit"
    assert journal._kept.keys() == whole._kept.keys()


def test_what_is_in_the_journal_is_not_attacked_again(subject: CheckpointSubject) -> None:
    attacked = examples(subject)
    ctx = context(journal=MemoryJournal())
    first = attack_examples(subject, attacked, campaign(), ctx)
    seen: list[int] = []
    hook = subject.reader("cpu").model.register_forward_pre_hook(lambda *_: seen.append(1))
    assert attack_examples(subject, attacked, campaign(), ctx) == first
    assert not seen
    for how, where in (
        (campaign(budget=5), ctx),
        (campaign(use_all_transformations=0), ctx),
        (campaign(), replace(ctx, seed=1)),
    ):
        assert len(attack_examples(subject, attacked, how, where)) == len(first)
        assert seen
        seen.clear()
    hook.remove()


def test_a_text_that_stands_twice_is_attacked_once(subject: CheckpointSubject) -> None:
    attacked = examples(subject, [TEXTS[0], TEXTS[1], TEXTS[0]])
    journal = MemoryJournal()
    found = attack_examples(subject, attacked, campaign(), context(journal=journal))
    assert found[0] == found[2] != found[1]
    assert sum("status" in value for value in journal._kept.values()) == 2
    other = attack_examples(subject, examples(subject, [TEXTS[0]] * 2, wrong=(1,)), campaign(), context())
    assert [o.status == "skipped" for o in other] == [False, True], (
        "the same text with another label is another example"
    )


def test_the_callers_generators_are_left_alone(subject: CheckpointSubject) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.random(), np.random.rand(), float(torch.rand(()))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    attack_examples(subject, examples(subject), campaign(), context())
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == before


def test_no_examples(subject: CheckpointSubject) -> None:
    assert attack_examples(subject, [], campaign(), context()) == []


def test_a_label_that_is_no_class(subject: CheckpointSubject) -> None:
    with pytest.raises(DataError, match="rude"):
        attack_examples(subject, [Example(row_id="a", text="good", label="rude")], campaign(), context())


def test_words_and_scores(subject: CheckpointSubject) -> None:
    attacked = examples(subject, wrong=(4,))
    for example, outcome in zip(attacked, attack_examples(subject, attacked, campaign(), context()), strict=True):
        code = subject.classes.index(example.label)
        assert outcome.words == len(example.text.replace(",", "").split())
        assert outcome.score_before == pytest.approx(subject.predict([example.text], context())[0, code], abs=1e-6)
        if outcome.status == "skipped":
            assert (outcome.perturbed, outcome.prediction_after, outcome.score_after) == (None, None, None)
            assert (outcome.words_changed, outcome.queries) == (0, 1)
            assert outcome.prediction != example.label
            continue
        assert outcome.prediction == example.label
        assert (outcome.prediction_after == example.label) is (outcome.status == "failed")
        assert outcome.perturbed is not None
        after = subject.predict([outcome.perturbed], context())[0, code]
        assert outcome.score_after == pytest.approx(after, abs=1e-6)
        swapped = zip(example.text.split(), outcome.perturbed.split(), strict=True)
        assert outcome.words_changed == sum(a != b for a, b in swapped)


TROUBLE = (
    "",
    " ",
    "👍 🎉",
    "the <SPLIT> movie was <SPLIT> really great",
    "?!",
    "\ud83d",
    "é" * 300,
    "<img src=x onerror=alert(1)>",
)


@pytest.mark.parametrize(
    "recipe", ["deepwordbug", "inputreduction", "pruthi", "textbugger-characters", "badcharacters"]
)
@pytest.mark.parametrize("budget", [None, 1, 2])
def test_trouble_is_survived(subject: CheckpointSubject, recipe: str, budget: int | None) -> None:
    arguments = {"popsize": 1, "maxiter": 1} if recipe == "badcharacters" else {}
    texts = [text for text in TROUBLE if text != "\ud83d"]
    attacked = examples(subject, [*texts, TEXTS[0]])
    found = attack_examples(subject, attacked, campaign(recipe, budget, **arguments), context(journal=MemoryJournal()))
    for example, outcome in zip(attacked, found, strict=True):
        if outcome.status == "error":
            assert outcome.error
            assert not any(letter.isascii() and letter.isalpha() for letter in example.text), outcome
        else:
            assert outcome.error is None
            assert outcome.queries <= (budget or outcome.queries)
    assert found[-1].status in ("succeeded", "failed")
    split = found[texts.index("the <SPLIT> movie was <SPLIT> really great")]
    assert split.status != "error"
    if split.perturbed is not None and recipe != "inputreduction":
        assert "really" in split.perturbed or split.perturbed.endswith(split.perturbed.split(">")[-1])
        assert len(split.perturbed) > 30, "the text is not cut at the marker"


def test_the_marker_is_text_and_comes_back(subject: CheckpointSubject) -> None:
    kind = load().shared.AttackedText
    with lanes.split_marker_apart():
        changed = kind("one <SPLIT> two").replace_word_at_index(0, "eno")
        assert changed.text == "eno <SPLIT> two"
    assert kind.SPLIT_TOKEN == "<SPLIT>"


def test_a_budget_of_one_ends_a_search_and_is_no_error(subject: CheckpointSubject) -> None:
    """Plain TextAttack fails on the largest of no scores."""
    attacked = examples(subject, [TEXTS[0]])
    with pytest.raises(ValueError, match="argmax"):
        alone(subject, attacked, campaign("pruthi", 1))
    (outcome,) = attack_examples(subject, attacked, campaign("pruthi", 1), context())
    assert (outcome.status, outcome.queries, outcome.perturbed) == ("failed", 1, TEXTS[0])


def asked(subject: CheckpointSubject, refuse: Exception | None = None) -> CallableSubject:
    """The same model as a callable, which may refuse texts with a certain word."""

    def function(texts: list[str]) -> Any:
        if refuse is not None and any("awful" in text for text in texts):
            raise refuse
        return subject.predict(texts, context())

    spec = CallableSpec(classes=subject.classes, digest="1", batch_size=1000)
    return CallableSubject(function, subject.data, spec)


def test_a_callable_is_attacked_alike(subject: CheckpointSubject) -> None:
    attacked = examples(subject)
    own = attack_examples(subject, attacked, campaign(), context())
    assert compared(attack_examples(asked(subject), attacked, campaign(), context())) == compared(own)


def test_a_text_that_the_subject_cannot_answer_harms_no_other(subject: CheckpointSubject) -> None:
    attacked = examples(subject)
    own = compared(attack_examples(subject, attacked, campaign(), context()))
    found = attack_examples(asked(subject, ValueError("not that word at 0x7f00aa")), attacked, campaign(), context())
    for example, outcome, one in zip(attacked, found, own, strict=True):
        if "awful" in example.text:
            assert (outcome.status, outcome.queries) == ("error", 0)
            assert "not that word at 0x…" in str(outcome.error)
            assert outcome.words == 13
        else:
            assert compared([outcome]) == [one]


def test_an_endpoint_that_is_gone_ends_the_run_and_keeps_what_is_known(subject: CheckpointSubject) -> None:
    attacked = examples(subject)
    journal = MemoryJournal()
    gone = replace(campaign(), pool=1)
    with pytest.raises(EndpointError, match="gone"):
        attack_examples(asked(subject, EndpointError("gone")), attacked, gone, context(journal=journal))
    position = next(i for i, e in enumerate(attacked) if "awful" in e.text)
    assert len(journal._kept) == position


def test_a_threshold_is_what_is_attacked(subject: CheckpointSubject) -> None:
    """With a threshold just above a text's score, a small change is enough; argmax would have resisted."""
    attacked = examples(subject)
    scores = subject.predict([e.text for e in attacked], context())
    resisting = max(range(len(attacked)), key=lambda i: scores[i].max())
    positive = int(scores[resisting].argmax())
    threshold = float(scores[resisting].max()) - 1e-4
    moved = CheckpointSubject(subject.checkpoint, subject.data, threshold=threshold, positive=subject.classes[positive])
    (outcome,) = attack_examples(moved, [attacked[resisting]], campaign(), context())
    assert outcome.status == "succeeded"
    assert outcome.score_before == pytest.approx(threshold + 1e-4, abs=1e-6), "the subject's own, not the moved one"
    assert outcome.score_after is not None
    assert outcome.score_after < threshold


def test_close_calls_are_counted(subject: CheckpointSubject) -> None:
    def function(texts: list[str]) -> Any:
        return [[0.5, 0.5]] * len(texts)

    even = CallableSubject(function, subject.data, CallableSpec(classes=subject.classes, digest="1"))
    (outcome,) = attack_examples(even, examples(even, ["a good film"]), campaign(), context())
    assert outcome.status == "failed"
    assert 0 < outcome.close_calls <= outcome.queries


def test_progress_says_how_it_goes(subject: CheckpointSubject) -> None:
    lines: list[str] = []

    def progress(items: Iterable[Any], total: int, label: Any) -> Any:
        for item in items:
            yield item
            lines.append(f"{total} {label}")

    attacked = examples(subject, wrong=(0,))
    found = attack_examples(subject, attacked, campaign(), context(progress=progress))
    assert len(lines) == len(attacked)
    succeeded = sum(o.status == "succeeded" for o in found)
    assert lines[-1].startswith("7 attacking with deepwordbug · ")
    assert lines[-1].endswith(f" queries a second · {succeeded} of 6 succeeded")
    assert str(Tally("x")) == "attacking with x"


def test_caches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MOST_KEPT", 3)
    textattack = load()

    class Embedding(textattack.shared.AbstractWordEmbedding):
        __module__ = "textattack.shared.pretended"

        def __init__(self) -> None:
            self._cos_sim_mat = {1: {2: 0.1, 3: 0.2}, 2: {3: 0.1, 4: 0.4}}
            self._nn_cache = {1: [2]}
            self.kept = {i: i for i in range(10)}

        __getitem__ = get_mse_dist = get_cos_sim = word2index = index2word = nearest_neighbours = lambda *_: None

    class Part:
        __module__ = "textattack.pretended"

        def __init__(self, inner: Any) -> None:
            self.inner = inner

    inner = Embedding()

    class Attack:
        transformation = Part([Part(inner)])
        search_method = Part(None)
        constraints: tuple[Any, ...] = ()
        pre_transformation_constraints: tuple[Any, ...] = ()

    lanes.bound_caches(Attack())
    assert inner._cos_sim_mat == {}
    assert inner._nn_cache == {1: [2]}
    assert len(inner.kept) == 10


def benchmark() -> ModuleType:
    path = Path(__file__).parents[4] / "benchmarks" / "robustness.py"
    spec = importlib.util.spec_from_file_location("robustness_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("recipe", range(4))
def test_four_more_recipes_on_a_real_encoder(tmp_path: Path, recipe: int) -> None:
    if importlib.util.find_spec(BUNDLED_MODULE) is None:
        pytest.skip("the encoder all-MiniLM-L6-v2 is not installed")
    if not os.environ.get("PLUMBLINE_DATA"):
        pytest.skip("PLUMBLINE_DATA is not set")
    bench = benchmark()
    texts = bench.texts_to_attack(10)
    assert texts.source.startswith("TweetEval")
    (tmp_path / "model").mkdir()
    bench.save_model(tmp_path / "model", texts)
    name, settings_, budget = bench.MORE[recipe]
    # The benchmark takes ten texts each and no budget; plain TextAttack pads to 512 tokens, and a test must end.
    shortest = sorted(texts.attacked, key=len)[:4]
    ring = bench.Ring(tmp_path / "model", name, settings_, min(budget or 60, 60))
    found = bench.identity(ring, shortest, tmp_path)
    assert found["identical"] == found["n"] == 4
    assert found["queries"] > 10


def test_without_scores_all_else_is_the_same(subject: CheckpointSubject) -> None:
    attacked = examples(subject)[:3]
    scored = attack_examples(subject, attacked, campaign(), context())
    bare = attack_examples(subject, attacked, campaign(), context(), scored=False)
    assert all(o.score_before is None and o.score_after is None for o in bare)
    assert [replace(o, score_before=None, score_after=None) for o in scored] == bare


def test_words_are_split_as_before() -> None:
    from probes.engines.textattack.lanes import words_split_once
    from probes.engines.textattack.loading import load

    module = load().shared.attacked_text
    before = module.words_from_text
    texts = ["", "it's a well-known 'CCC'", "naïve @you 漢字 good", "  two   spaces ", "it's a well-known 'CCC'"]
    plain = [before(text) for text in texts]
    with words_split_once():
        found = [module.words_from_text(text) for text in texts]
        assert found == plain
        found[1].append("changed by a caller")
        assert module.words_from_text(texts[1]) == plain[1]
        assert module.words_from_text(texts[1], ["a"]) == before(texts[1], ["a"])
    assert module.words_from_text is before
