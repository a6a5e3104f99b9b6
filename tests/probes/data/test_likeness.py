"""Near copies: against all pairs compared, and against what banding promises."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.data.likeness import MISSED, PERMUTATIONS, Likeness, _Budget, banding, jaccard, missed, normal, shingles
from probes.errors import TooAlike
from probes.probe import silent


def likeness(threshold: float = 0.8, size: int = 3, seed: int = 1) -> Likeness:
    return Likeness(threshold=threshold, size=size, seed=seed, progress=silent)


def runs(text: str, size: int) -> set[str]:
    padded = text + "\0" * (size - len(text))
    return {padded[i : i + size] for i in range(len(padded) - size + 1)}


def test_two_texts_by_hand():
    """abcde has abc bcd cde, abcdx has abc bcd cdx: 2 of 4."""
    assert jaccard(shingles("abcde", 3), shingles("abcdx", 3)) == 0.5
    assert len(shingles("ab", 3)) == 1
    assert normal("  Ａ\tCat \n sat ") == "a cat sat"


@given(st.text(max_size=30), st.text(max_size=30), st.integers(1, 6))
def test_hashed_shingles_are_as_alike_as_the_strings(a, b, size):
    x, y = runs(a, size), runs(b, size)
    # A text that holds the filler itself is another text there.
    if "\0" in a + b:
        return
    assert jaccard(shingles(a, size), shingles(b, size)) == pytest.approx(len(x & y) / len(x | y))


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_banding_keeps_its_promise(threshold):
    bands, rows = banding(threshold)
    assert bands * rows <= PERMUTATIONS
    assert missed(threshold, bands, rows) <= MISSED
    assert missed(min(threshold + 0.05, 1), bands, rows) <= missed(threshold, bands, rows)


def test_pairs_are_missed_as_rarely_as_banding_says():
    """Pairs at .6 under bands made for .8: the share found is what the formula says, over 1,500 seeds and pairs."""
    bands, rows = banding(0.8)
    rng = np.random.default_rng(0)
    letters = [chr(0x4E00 + k) for k in range(4000)]
    found = 0
    for seed in range(1500):
        own = rng.permutation(letters[:-40])[:60].tolist()
        # 60 shared of 60 + 2 * 20 different ones: .6; shingles of one character.
        a, b = "".join(own + letters[-40:-20]), "".join(own + letters[-20:])
        signatures = likeness(0.8, 1, seed)._signatures([shingles(a, 1), shingles(b, 1)], "")
        found += any(one == two for one, two in likeness(0.8, 1)._bands(signatures))
    expected = 1 - missed(0.6, bands, rows)
    assert found / 1500 == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 1500) + 0.01)


def families(rng: np.random.Generator, number: int) -> list[str]:
    """Texts in families: one, and up to three with a letter changed here and there."""
    out = []
    for _ in range(number):
        one = list(rng.choice(list("abcdefgh "), 40))
        out.append("".join(one))
        for _ in range(rng.integers(0, 4)):
            other = list(one)
            for k in rng.integers(0, 40, rng.integers(1, 5)):
                other[k] = "z"
            out.append("".join(other))
    return sorted(set(out))


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_components_are_those_of_all_pairs(threshold):
    texts = families(np.random.default_rng(3), 60)
    codes = likeness(threshold).components(texts)
    sets = [runs(t, 3) for t in texts]
    slow = list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold:
                slow = [slow[i] if c == slow[j] else c for c in slow]
    same = codes[:, None] == codes[None, :]
    assert np.array_equal(same, np.array(slow)[:, None] == np.array(slow)[None, :])
    assert 0 < (same.sum(axis=1) > 1).mean() < 1


def test_nearest_is_the_nearest_of_all():
    texts = families(np.random.default_rng(4), 40)
    asked, others = texts[::2], texts[1::2]
    similarity, position = likeness(0.6).nearest(asked, others)
    for i, text in enumerate(asked):
        every = [len(runs(text, 3) & runs(o, 3)) / len(runs(text, 3) | runs(o, 3)) for o in others]
        if max(every) < 0.6:
            assert np.isnan(similarity[i])
            assert position[i] == -1
        else:
            assert similarity[i] == pytest.approx(max(every))
            assert position[i] == int(np.argmax(every))
    assert (position >= 0).any()


def test_an_equal_text_is_found_without_a_search():
    similarity, position = likeness().nearest(["same", "other thing"], ["same", "same"])
    assert similarity[0] == 1
    assert position.tolist() == [0, -1]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text("ab ", min_size=1, max_size=12), min_size=1, max_size=12, unique=True), st.randoms())
def test_order_does_not_matter(texts, random):
    shuffled = list(texts)
    random.shuffle(shuffled)
    one, two = likeness(0.5).components(texts), likeness(0.5).components(shuffled)
    place = [shuffled.index(t) for t in texts]
    assert np.array_equal(one[:, None] == one[None, :], two[place][:, None] == two[place][None, :])


def test_texts_that_are_all_alike_are_few_comparisons(monkeypatch):
    """2,000 near copies are 2 million pairs; tying them takes one comparison each."""
    monkeypatch.setattr("probes.data.likeness._Budget", partial(_Budget, left=4000))
    texts = sorted(f"{'the same long instruction for every item ' * 4}{k:04d}" for k in range(2000))
    assert len(np.unique(likeness(0.8, 5).components(texts))) == 1
    assert not np.isnan(likeness(0.8, 5).nearest(texts[:20], texts[20:])[0]).any()


def test_texts_that_are_nearly_alike_are_given_up(monkeypatch):
    """At .7 and a threshold of .8 nearly every pair is a candidate and none is tied: the budget ends that, and says so."""
    monkeypatch.setattr("probes.data.likeness._Budget", partial(_Budget, left=3000))
    rng = np.random.default_rng(0)
    shared = "".join(rng.choice(list("abcdefghijklmnopqrst"), 120))
    texts = sorted({shared + "".join(rng.choice(list("uvwxyz"), 24)) for _ in range(200)})
    with pytest.raises(TooAlike, match="raise the threshold"):
        likeness(0.8, 3).components(texts)
    with pytest.raises(TooAlike):
        likeness(0.8, 3).nearest(texts[:100], texts[100:])
