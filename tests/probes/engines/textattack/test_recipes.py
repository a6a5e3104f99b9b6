"""The recipes: what is offered and why not, each one identical to TextAttack's own parts, and what goes wrong politely."""

from __future__ import annotations

import inspect
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.engines.textattack import bad_characters, catalogue, gradient_swap, loading, masked_lm, recipes, wordnet
from probes.errors import ProbeError, Unavailable

TEXTS = (
    "the seventh elephant never remembered where the beer was kept",
    "Here are three extremely eerie people who see everything, even sleepless bees!",
    "a plain bit of padding without much of that",
    "eerie bees never sleep",
)
OFFLINE = ("deepwordbug", "pruthi", "inputreduction", "badcharacters", "textbugger-characters", "gradient-words")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise ConnectionError("the tests are offline")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def wrapper() -> Any:
    """A model that finds a text the more hateful the more e's it has."""
    from textattack.models.wrappers import ModelWrapper

    class Counting(ModelWrapper):  # type: ignore[misc]
        model = None

        def __call__(self, texts: list[str]) -> Any:
            high = np.array([1 / (1 + 2.0 ** (4 - t.count("e") / 2)) for t in texts])
            return np.stack([1 - high, high], axis=1)

    loading.load()
    return Counting()


def outcome(attack: Any, text: str, seed: int) -> tuple[str, str, int, float]:
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    attack.clear_cache()
    label = int(attack.goal_function.model([text])[0].argmax())
    result = attack.attack(text, label)
    return type(result).__name__, result.perturbed_text(), result.num_queries, float(result.perturbed_result.score)


def same(ours: Any, plain: Any) -> list[str]:
    """The outcomes of both on all texts, after checking that they are the same; their result classes."""
    assert ours.search_method.__class__.__name__ == plain.search_method.__class__.__name__
    assert repr(ours.transformation) == repr(plain.transformation)
    assert [repr(c) for c in ours.pre_transformation_constraints] == [
        repr(c) for c in plain.pre_transformation_constraints
    ]
    assert [repr(c) for c in ours.constraints] == [repr(c) for c in plain.constraints]
    kinds = []
    for seed, text in enumerate(TEXTS):
        mine = outcome(ours, text, seed)
        assert mine == outcome(plain, text, seed)
        kinds.append(mine[0])
    return kinds


def build(name: str, wrapper: Any, budget: int | None = None, network: bool = False, **arguments: Any) -> Any:
    return recipes.build(name, wrapper, arguments=arguments, network=network, query_budget=budget)


# What is offered


def test_cards_are_read_without_loading_anything() -> None:
    code = (
        "import sys; from probes.engines.textattack import recipes\n"
        "for name in recipes.cards():\n"
        "    recipes.standing(name, arguments={'model': '/nowhere'} if name == 'masked-lm' else {}, network=False)\n"
        "print([m for m in ('torch', 'transformers', 'textattack', 'nltk', 'flair') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_recipe_of_textattack_is_listed() -> None:
    loading.load()
    from textattack.attack_recipes import AttackRecipe

    theirs = {kind.__name__ for kind in AttackRecipe.__subclasses__()}
    text = inspect.getsource(catalogue) + inspect.getsource(bad_characters)
    assert {name for name in theirs if name not in text} == set()


def test_a_card_says_what_is_needed() -> None:
    cards = recipes.cards()
    assert list(cards)[: len(OFFLINE)] == list(OFFLINE)
    assert all(not cards[name].needs and not cards[name].network for name in OFFLINE)
    assert cards["textfooler"].network and any("pickles" in need for need in cards["textfooler"].needs)
    assert cards["masked-lm"].arguments == ("model", "method", "max_candidates", "encoder", "min_similarity")
    assert all(card.title and card.source and str(card.works_on) for card in cards.values())


@pytest.mark.parametrize("name", OFFLINE)
def test_what_needs_nothing_can_run(name: str) -> None:
    assert recipes.standing(name, arguments={}, network=False) is None


@pytest.mark.parametrize("name", sorted(set(recipes.cards()) - set(OFFLINE) - {"masked-lm"}))
def test_what_is_missing_is_said_and_nothing_is_fetched(
    name: str, wrapper: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare(monkeypatch, tmp_path)
    reason = recipes.standing(name, arguments={}, network=False)
    assert reason is not None
    with pytest.raises(Unavailable) as raised:
        build(name, wrapper)
    assert raised.value.seen == str(reason)


def bare(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A machine without any of the data, and TextAttack's cache in ``home``."""
    import nltk

    installer = sys.modules["textattack.shared.utils.install"]
    monkeypatch.setattr(installer, "TEXTATTACK_CACHE_DIR", str(home))
    monkeypatch.setattr(nltk.data, "path", [str(home), str(loading.ASSETS)])
    for name in ("TA_CACHE_DIR", "FLAIR_CACHE_ROOT", "WNSEARCHDIR"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.delenv("TFHUB_CACHE_DIR", raising=False)


def test_names_are_forgiving_and_wrong_ones_are_named(wrapper: Any) -> None:
    assert recipes.standing("Deep-Word_Bug", arguments={}, network=False) is None
    with pytest.raises(ProbeError, match="deepwordbug, pruthi"):
        recipes.standing("deepwordbag", arguments={}, network=False)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("pruthi", {"max_num_word_swaps": 0}, "at least 1"),
        ("pruthi", {"swaps": 2}, "max_num_word_swaps"),
        ("pruthi", {"max_num_word_swaps": 1.5}, "int"),
        ("badcharacters", {"perturbation_type": "tags"}, "homoglyphs, invisible"),
        ("inputreduction", {"depth": 1}, "no arguments"),
        ("masked-lm", {}, "needs the argument 'model'"),
    ],
)
def test_wrong_arguments_are_refused(name: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ProbeError, match=words):
        recipes.standing(name, arguments=arguments, network=False)


def test_a_budget_below_one_is_refused_and_any_other_reaches_the_goal(wrapper: Any) -> None:
    with pytest.raises(ProbeError, match="at least 1"):
        build("pruthi", wrapper, budget=0)
    attack = build("pruthi", wrapper, budget=7)
    assert outcome(attack, TEXTS[0], 0)[2] <= 7
    assert attack.goal_function.query_budget == 7


def test_without_textattack_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "installed", lambda: False)
    assert str(recipes.standing("pruthi", arguments={}, network=False)) == "textattack is not installed"
    with pytest.raises(Unavailable) as raised:
        build("pruthi", None)
    assert raised.value.fix == loading.INSTALL_LINE


# Identical to TextAttack's own


@pytest.mark.parametrize(
    ("name", "class_name", "arguments"),
    [
        ("deepwordbug", "DeepWordBugGao2018", {}),
        ("deepwordbug", "DeepWordBugGao2018", {"use_all_transformations": 0}),
        ("pruthi", "Pruthi2019", {"max_num_word_swaps": 3}),
        ("inputreduction", "InputReductionFeng2018", {}),
    ],
)
def test_a_recipe_is_textattacks_own(wrapper: Any, name: str, class_name: str, arguments: dict[str, int]) -> None:
    plain = getattr(loading.load().attack_recipes, class_name).build(wrapper, **arguments)
    same(build(name, wrapper, **arguments), plain)


@pytest.mark.parametrize("kind", bad_characters.KINDS)
def test_bad_characters_are_textattacks_own(wrapper: Any, kind: str) -> None:
    ta = loading.load()
    transformation = {
        "homoglyphs": ta.transformations.WordSwapHomoglyphSwap,
        "invisible": ta.transformations.WordSwapInvisibleCharacters,
        "deletions": ta.transformations.WordSwapDeletions,
        "reorderings": ta.transformations.WordSwapReorderings,
    }[kind]
    plain = ta.Attack(
        ta.goal_functions.UntargetedClassification(wrapper),
        [],
        transformation(),
        ta.search_methods.DifferentialEvolution(popsize=4, maxiter=2, max_perturbs=3),
    )
    ours = build("badcharacters", wrapper, perturbation_type=kind, popsize=4, maxiter=2, perturbs=3)
    assert len(same(ours, plain)) == len(TEXTS)


def test_bad_characters_aim_at_a_class_where_one_is_named(wrapper: Any) -> None:
    ta = loading.load()
    arguments = {"perturbation_type": "homoglyphs", "popsize": 4, "maxiter": 2, "perturbs": 4, "target_class": 1}
    plain = ta.attack_recipes.BadCharacters2021.build(wrapper, "targeted_classification", **arguments)
    ours = build("badcharacters", wrapper, **arguments)
    assert type(ours.goal_function) is type(plain.goal_function) and ours.goal_function.target_class == 1
    same(ours, plain)


def test_textbugger_without_downloads_has_its_character_edits(wrapper: Any) -> None:
    """The four edits, constraints and search of TextBugger's source, without the word vectors and the encoder."""
    ta = loading.load()
    t, p = ta.transformations, ta.constraints.pre_transformation
    plain = ta.Attack(
        ta.goal_functions.UntargetedClassification(wrapper),
        [p.RepeatModification(), p.StopwordModification()],
        t.CompositeTransformation(
            [
                t.WordSwapRandomCharacterInsertion(
                    random_one=True, letters_to_insert=" ", skip_first_char=True, skip_last_char=True
                ),
                t.WordSwapRandomCharacterDeletion(random_one=True, skip_first_char=True, skip_last_char=True),
                t.WordSwapNeighboringCharacterSwap(random_one=True, skip_first_char=True, skip_last_char=True),
                t.WordSwapHomoglyphSwap(),
            ]
        ),
        ta.search_methods.GreedyWordSwapWIR(wir_method="delete"),
    )
    assert "SuccessfulAttackResult" in same(build("textbugger-characters", wrapper), plain)


# WordNet

SYNSETS = {
    "noun": [("beer", "ale", "lager"), ("elephant", "tusker"), ("bee", "drone")],
    "verb": [("see", "notice"), ("keep", "hold", "store")],
    "adj": [("eerie", "weird", "odd")],
    "adv": [("never", "ne'er"), ("extremely", "highly")],
}


@pytest.fixture
def small_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """WordNet's own files (wndb(5WN)) with a handful of synsets, where WNSEARCHDIR points."""
    import nltk

    folder = tmp_path / "wordnet"
    folder.mkdir()
    mark = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
    number = {"noun": 3, "verb": 29, "adj": 0, "adv": 2}
    for pos, synsets in SYNSETS.items():
        head = "  1 WordNet 3.0 Copyright\n"
        lines, index = head, head
        found: list[str] = []
        for words in synsets:
            offset = len(lines)
            members = " ".join(f"{word} 0" for word in words)
            lines += f"{offset:08d} {number[pos]:02d} {mark[pos]} {len(words):02x} {members} 000 | a gloss  \n"
            found += [f"{word} {mark[pos]} 1 0 1 0 {offset:08d}  \n" for word in words]
        (folder / f"data.{pos}").write_text(lines)
        (folder / f"index.{pos}").write_text(index + "".join(sorted(found)))
        (folder / f"{pos}.exc").write_text("bees bee\n" if pos == "noun" else "")
    monkeypatch.setenv("WNSEARCHDIR", str(folder))
    loading.load()
    monkeypatch.setattr(nltk.data, "path", [p for p in nltk.data.path if not wordnet.nltk_has("corpora/wordnet")])
    yield folder


def test_wordnets_own_files_are_read(small_wordnet: Path, wrapper: Any) -> None:
    assert wordnet.find() == str(small_wordnet)
    swap = build("pwws", wrapper).transformation
    assert swap._get_replacement_words("beer") == ["ale", "lager"]  # sorted, not in a set's order
    assert swap._get_replacement_words("bees") == ["bee", "drone"]
    assert swap._get_replacement_words("padding") == []


@pytest.mark.parametrize(("name", "class_name"), [("pwws", "PWWSRen2019"), ("leap", "LEAP2023")])
def test_synonym_recipes_are_textattacks_own(small_wordnet: Path, wrapper: Any, name: str, class_name: str) -> None:
    ours = build(name, wrapper, budget=60)
    plain = getattr(loading.load().attack_recipes, class_name).build(wrapper)
    plain.goal_function.query_budget = 60
    same(ours, plain)


def test_an_incomplete_wordnet_is_none(small_wordnet: Path) -> None:
    (small_wordnet / "index.verb").unlink()
    assert wordnet.find() is None
    reason = recipes.standing("pwws", arguments={}, network=False)
    assert reason is not None and "wordnet-base" in str(reason)


def test_lexicographer_files_are_numbered_as_documented() -> None:
    """lexnames(5WN): 45 files; 3 is noun.Tops, 29 verb.body, 44 adj.ppl."""
    files = wordnet.LEXICOGRAPHER_FILES
    assert len(files) == 45
    assert (files[3], files[29], files[44]) == (("noun.Tops", 1), ("verb.body", 2), ("adj.ppl", 3))


# Masked language models

WORDS = [
    "the",
    "seventh",
    "elephant",
    "never",
    "remembered",
    "where",
    "beer",
    "was",
    "kept",
    "here",
    "are",
    "three",
    "people",
    "who",
    "see",
    "bees",
    "even",
    "plain",
]


def save_bert(folder: Path, head: str, **changes: Any) -> Path:
    import torch
    import transformers

    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "##ed", "a", "b", "##b", "##a", "!"]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocab))
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64)
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=len(vocab), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, **changes,
    )  # fmt: skip
    getattr(transformers, head)(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("mlm") / "bert", "BertForMaskedLM")


@pytest.mark.parametrize(("method", "wir", "candidates"), [("bae", "delete", 50), ("bert-attack", "unk", 8)])
def test_a_masked_model_attacks_as_textattacks_transformation(
    language_model: Path, wrapper: Any, method: str, wir: str, candidates: int
) -> None:
    ta = loading.load()
    p = ta.constraints.pre_transformation
    constraints: list[Any] = [p.RepeatModification(), p.StopwordModification()]
    if method == "bert-attack":
        constraints.append(ta.constraints.overlap.MaxWordsPerturbed(max_percent=0.4))
    plain = ta.Attack(
        ta.goal_functions.UntargetedClassification(wrapper),
        constraints,
        ta.transformations.WordSwapMaskedLM(
            method=method,
            masked_language_model=str(language_model),
            max_length=64,
            max_candidates=candidates,
            min_confidence=0.0 if method == "bae" else 5e-4,
        ),
        ta.search_methods.GreedyWordSwapWIR(wir_method=wir),
    )
    ours = build("masked-lm", wrapper, model=str(language_model), method=method)
    assert "SuccessfulAttackResult" in same(ours, plain)


def test_attacks_share_one_masked_model(language_model: Path, wrapper: Any) -> None:
    one, two = (build("masked-lm", wrapper, model=str(language_model)) for _ in range(2))
    assert one.transformation._language_model is two.transformation._language_model


def test_a_classifier_is_no_masked_model(tmp_path: Path, wrapper: Any) -> None:
    folder = save_bert(tmp_path / "bert", "BertForSequenceClassification")
    with pytest.raises(Unavailable, match="no trained masked-language head"):
        build("masked-lm", wrapper, model=str(folder))


def test_a_kind_that_textattack_cannot_read_is_refused(language_model: Path, tmp_path: Path, wrapper: Any) -> None:
    import shutil

    folder = Path(shutil.copytree(language_model, tmp_path / "other"))
    config = (folder / "config.json").read_text().replace('"model_type": "bert"', '"model_type": "mpnet"')
    (folder / "config.json").write_text(config)
    with pytest.raises(Unavailable, match="mpnet model"):
        build("masked-lm", wrapper, model=str(folder))


def test_a_model_that_is_nowhere_is_said(wrapper: Any, tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing")
    assert "no folder with a config.json" in str(
        recipes.standing("masked-lm", arguments={"model": missing}, network=True)
    )
    hub = {"model": "someone/unheard-of"}
    assert "not in the Hugging Face cache" in str(recipes.standing("masked-lm", arguments=hub, network=False))
    assert recipes.standing("masked-lm", arguments=hub, network=True) is None


class Shape:
    """The two facts of a configuration that the longest input depends on, and a tokenizer's one."""

    def __init__(self, kind: str, positions: int | None, longest: int = 10**30) -> None:
        self.model_type, self.max_position_embeddings, self.model_max_length = kind, positions, longest


@pytest.mark.parametrize(
    ("shape", "expected"),
    [(Shape("bert", 512), 512), (Shape("roberta", 514), 512), (Shape("bert", 64), 64), (Shape("bert", 512, 128), 128),
     (Shape("roberta", 130), 128), (Shape("xlnet", None), 512)],
)  # fmt: skip
def test_the_longest_input_is_what_the_model_takes(shape: Shape, expected: int) -> None:
    assert masked_lm.longest_input(shape, shape) == expected


# Gradients


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import transformers

    loading.load()
    from textattack.models.wrappers import HuggingFaceModelWrapper

    folder = save_bert(tmp_path_factory.mktemp("classifier") / "bert", "BertForSequenceClassification")
    model = transformers.BertForSequenceClassification.from_pretrained(folder).eval()
    return HuggingFaceModelWrapper(model, transformers.AutoTokenizer.from_pretrained(folder))


def test_the_swap_is_the_one_that_the_one_hot_gradient_names(classifier: Any) -> None:
    """Equation 10 taken literally: the gradient with respect to one-hot rows, over words that are one token."""
    import torch
    from textattack.shared import AttackedText

    text = "the elephant never remembered bees !"
    attack = build("gradient-words", classifier, top_n=5)
    swap = attack.transformation
    model, tokenizer = classifier.model, classifier.tokenizer
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    one_hot = torch.nn.functional.one_hot(ids, len(tokenizer)).float().requires_grad_(True)
    table = model.get_input_embeddings().weight.detach()
    logits = model(inputs_embeds=one_hot @ table).logits
    torch.nn.functional.cross_entropy(logits, logits.argmax(1)).backward()
    assert one_hot.grad is not None
    rise = one_hot.grad[0] - one_hot.grad[0].gather(1, ids[0][:, None])
    words = text.split()[:-1]  # word n is token n + 1
    options = sorted(
        ((float(rise[n + 1, i]), n, w) for n in range(len(words)) for i, w in swap.vocabulary.items() if w != words[n]),
        reverse=True,
    )
    expected = [" ".join([*words[:n], w, *words[n + 1 :], "!"]) for _rise, n, w in options[:5]]
    current = AttackedText(text)
    given_back = swap(current, pre_transformation_constraints=[])
    assert [t.text for t in given_back] == expected
    assert not model.training and model.get_input_embeddings().weight.grad is None


def test_only_whole_words_are_put_in(classifier: Any) -> None:
    assert set(gradient_swap.whole_words(classifier.tokenizer).values()) == {*WORDS, "a", "b"}


def test_the_gradient_recipe_attacks_within_its_limits(classifier: Any) -> None:
    attack = build("gradient-words", classifier)
    text = "the seventh elephant never remembered where beer was kept"
    first = outcome(attack, text, 0)
    assert first == outcome(attack, text, 0)
    assert sum(a != b for a, b in zip(text.split(), first[1].split(), strict=True)) <= 2


def test_without_gradients_the_recipe_says_so(wrapper: Any) -> None:
    with pytest.raises(Unavailable, match="gradients") as raised:
        build("gradient-words", wrapper)
    assert "transformers" in str(raised.value)


def test_words_are_matched_with_tokens_by_place() -> None:
    text = "a bad, bad-tempered ale"
    #        a      bad     ,       bad     -       temp     ered     ale
    spans = [(0, 0), (0, 1), (2, 5), (5, 6), (7, 10), (10, 11), (11, 15), (15, 19), (20, 23), (0, 0)]
    assert gradient_swap.single_tokens(["a", "bad", "bad-tempered", "ale"], text, spans) == {0: 1, 1: 2, 3: 8}


@given(st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), max_size=8))
def test_words_that_are_tokens_are_all_matched(words: list[str]) -> None:
    text, spans = " ".join(words), []
    start = 0
    for word in words:
        spans.append((start, start + len(word)))
        start += len(word) + 1
    assert gradient_swap.single_tokens(words, text, spans) == {i: i for i in range(len(words))}


# Downloads


def test_a_failed_download_leaves_no_lock_and_no_file(
    wrapper: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import filelock
    import requests

    bare(monkeypatch, tmp_path)
    asked: list[str] = []

    def unreachable(url: str, **_options: object) -> None:
        asked.append(url)
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(requests, "get", unreachable)
    errors = []
    for _ in range(2):  # plain TextAttack waits for ever the second time
        with pytest.raises(Unavailable, match="iga could not be built: ConnectionError: no route") as raised:
            build("iga", wrapper, network=True)
        errors.append(raised.value)  # keeps the frames that hold the lock alive
    assert len(asked) == 2 and len(errors) == 2
    assert [p.name for p in tmp_path.rglob("*") if p.suffix == ".zip" or p.name.startswith("tmp")] == []
    lock = filelock.FileLock(tmp_path / "word_embeddings" / "paragramcf.lock")
    with lock.acquire(timeout=1):
        assert lock.is_locked


def test_downloads_are_refused_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from probes.engines.textattack.downloads import released_downloads

    loading.load()
    bare(monkeypatch, tmp_path)
    installer: Any = sys.modules["textattack.shared.utils.install"]
    fetch: Callable[[str], str] = installer.download_from_s3
    with (
        pytest.raises(Unavailable, match="word_embeddings/x, and the network is not allowed"),
        released_downloads(network=False),
    ):
        fetch("word_embeddings/x")
    assert installer.http_get.__module__ == installer.__name__  # put back


def test_the_hub_is_offline_for_as_long_as_a_recipe_is_built() -> None:
    from huggingface_hub import constants

    from probes.engines.textattack.downloads import released_downloads

    loading.load()
    before = constants.HF_HUB_OFFLINE
    with released_downloads(network=False):
        assert constants.HF_HUB_OFFLINE is True
    assert before == constants.HF_HUB_OFFLINE
