"""Kinds of noise: what each one may do to a text, how much of it, and that hostile texts cost no more than their length."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.robustness.noise_kinds import KINDS, add_noise
from probes.robustness.noise_tables import LOOKALIKES, NEIGHBOURS, SPELLINGS


def every(text: str, kind: str, seed: int = 0) -> str:
    """The text with every place of a kind changed."""
    return add_noise(text, KINDS[kind], (1.0,), np.random.default_rng(seed))[0].text


def options(text: str, kind: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(text[p.start : p.end], p.options) for p in KINDS[kind].places(text)]


def test_a_key_has_the_keys_around_it_as_neighbours() -> None:
    assert set(NEIGHBOURS["a"]) == set("qwsz")
    assert set(NEIGHBOURS["g"]) == set("tyfhvb")
    assert set(NEIGHBOURS["p"]) == set("ol")
    assert all(key in NEIGHBOURS[other] for key, others in NEIGHBOURS.items() for other in others)


def test_typos_touch_letters_of_longer_words_only() -> None:
    found = options("a CAT, 42", "typos")
    assert [letter for letter, _ in found] == ["C", "A", "T"]
    assert found[1] == ("A", ("Q", "W", "S", "Z", "", "AA"))


def test_casing_keeps_the_letters() -> None:
    assert options("Don't", "casing") == [("Don't", ("don't", "DON'T"))]
    assert every("All THIS is 1 text", "casing").lower() == "all this is 1 text"


def test_punctuation_leaves_words_and_numbers_alone() -> None:
    text = "It costs 3.50 or 1,000, doesn't it"
    for seed in range(20):
        changed = every(text, "punctuation", seed)
        assert "3.50" in changed and "1,000" in changed
        words = "".join(c if c.isalnum() else " " for c in changed.replace("\u2019", "")).split()
        assert words[:2] == ["It", "costs"]


def test_whitespace_keeps_every_other_character() -> None:
    text = "Some words, and more"
    for seed in range(20):
        changed = every(text, "whitespace", seed)
        assert changed != text
        assert "".join(changed.split()) == "".join(text.split())


def test_lookalikes_are_other_letters_of_the_same_length() -> None:
    text = "Where is it?"
    changed = every(text, "lookalikes")
    assert len(changed) == len(text)
    assert all((a == b) == (a not in LOOKALIKES) for a, b in zip(text, changed, strict=True))
    assert all(other not in map(chr, range(128)) for others in LOOKALIKES.values() for other in others)
    assert set(LOOKALIKES) == set(map(chr, [*range(65, 91), *range(97, 123)]))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("The colour is GREY.", "The color is GRAY."),
        ("Organise the Center", "Organize the Centre"),
        ("a cheque for tyres", "a check for tires"),
        ("check the program", "check the program"),
        ("four hours of flour", "four hours of flour"),
    ],
)
def test_spelling(text: str, other: str) -> None:
    assert every(text, "spelling") == other


def test_a_spelling_leads_to_another_and_back() -> None:
    assert len(SPELLINGS) > 1500
    one_way = {w for w, others in SPELLINGS.items() if any(w not in SPELLINGS.get(o, ()) for o in others)}
    assert {"programme", "cheque", "licence"} <= one_way
    assert len(one_way) < 40
    assert all(w.isalpha() and w.islower() and w not in others for w, others in SPELLINGS.items())


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("I do not know", "I don't know"),
        ("I DO NOT know", "I DON'T know"),
        ("it isn\u2019t so", "it is not so"),
        ("They are here and so I am.", "They're here and so I am."),
        ("Don't you see", "Don't you see"),
        ("We won't, we cannot", "We will not, we can't"),
        ("I'm sure. It's been", "I am sure. It's been"),
        ("i'll go", "I will go"),
        ("the island is not", "the island isn't"),
    ],
)
def test_contractions(text: str, other: str) -> None:
    assert every(text, "contractions") == other


@pytest.mark.parametrize("kind", KINDS)
def test_addresses_and_names_stay(kind: str) -> None:
    text = "see https://colour.example/don't-go, www.grey.example me@grey.example or @colour_Grey"
    changed = every(text, kind)
    for kept in ("https://colour.example/don't-go,", "www.grey.example", "me@grey.example", "@colour_Grey"):
        assert kept in changed


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=80) | st.sampled_from(["I do not like grey cats, aren't they GREAT?", "<SPLIT>", "a b"]))
def test_rates_say_how_many_places_change(kind: str, text: str) -> None:
    rates = (0.05, 0.3, 1.0)
    first = add_noise(text, KINDS[kind], rates, np.random.default_rng(5))
    assert first == add_noise(text, KINDS[kind], rates, np.random.default_rng(5))
    places = first[0].places
    found = list(KINDS[kind].places(text))
    assert all(a.end <= b.start for a, b in pairwise(found)), "places do not overlap"
    assert all(text[p.start : p.end] not in p.options and p.options for p in found)
    for rate, one in zip(rates, first, strict=True):
        assert one.places == places
        assert one.changed == (min(places, max(1, int(rate * places + 0.5))) if places else 0)
        assert places or one.text == text
    assert first == [add_noise(text, KINDS[kind], (r,), np.random.default_rng(5))[0] for r in rates]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", ["a" * 100_000, "@" * 100_000, "ab@" * 30_000, "I do not " * 10_000, "a.b-c@d." * 12_000]
)
def test_long_texts_cost_their_length(kind: str, text: str) -> None:
    start = time.process_time()
    add_noise(text, KINDS[kind], (0.1,), np.random.default_rng(0))
    assert time.process_time() - start < 5


def test_real_texts_have_places() -> None:
    root = os.environ.get("PLUMBLINE_DATA")
    path = Path(root or "") / "tweeteval_hate" / "test_text.txt"
    if not root or not path.is_file():
        pytest.skip("PLUMBLINE_DATA does not point to a folder with tweeteval_hate")
    texts = path.read_text(encoding="utf-8").splitlines()[:500]
    share = {
        name: float(np.mean([add_noise(t, kind, (0.1,), np.random.default_rng(0))[0].places > 0 for t in texts]))
        for name, kind in KINDS.items()
    }
    assert all(share[name] > 0.95 for name in ("typos", "casing", "punctuation", "whitespace", "lookalikes")), share
    assert share["contractions"] > 0.15, share
    assert share["spelling"] > 0.01, share
