"""Confident learning by hand, folds that keep units together, and planted noise."""

from __future__ import annotations

import numpy as np
import pytest

from probes.data.simple_model import FOLDS, confident, out_of_fold, why_not, word_matrix
from probes.probe import silent


def test_confident_learning_by_hand():
    """Class 0: scores of 0 are .9, .7, .2, mean .6. Class 1: scores of 1 are .8, .4, mean .6.

    Row 2 (label 0) reaches .6 for class 1 with .8 and is suspect; so is row 4 (label 1), which reaches .6 for class 0 with .6.
    """
    scores = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.2, 0.8], [0.6, 0.4]])
    assert confident(scores, np.array([0, 0, 0, 1, 1])).tolist() == [0, 0, 1, 1, 0]


def test_a_row_that_reaches_no_threshold_belongs_to_no_class():
    scores = np.array([[0.9, 0.1], [0.55, 0.45], [0.1, 0.9], [0.5, 0.5]])
    assert confident(scores, np.array([0, 0, 1, 1])).tolist() == [0, -1, 1, -1]


def test_a_class_without_rows_is_never_named():
    assert confident(np.array([[0.2, 0.1, 0.7], [0.1, 0.2, 0.7]]), np.array([0, 1])).tolist() == [0, 1]


def sentences(rng: np.random.Generator, rows: int) -> tuple[list[str], np.ndarray]:
    codes = rng.integers(0, 2, rows)
    own = (("good", "fine", "great"), ("bad", "poor", "awful"))
    filler = [a + b for a in "bcdfg" for b in ("ata", "oro", "ini", "ulu")]
    texts = [" ".join([rng.choice(own[c]), *rng.choice(filler, 6), rng.choice(own[c])]) for c in codes]
    return texts, codes


def test_planted_noise_is_found_and_little_else():
    rng = np.random.default_rng(0)
    texts, codes = sentences(rng, 600)
    flipped = rng.random(600) < 0.05
    labels = np.where(flipped, 1 - codes, codes)
    matrix = word_matrix(texts)
    found = confident(out_of_fold(matrix, labels, np.arange(600), 1, silent).scores, labels)
    suspect = (found >= 0) & (found != labels)
    assert suspect[flipped].mean() > 0.3
    assert suspect[~flipped].mean() < 0.01


def test_no_row_is_scored_by_a_model_that_saw_its_unit():
    """Labels are random, and only a copy says which: with copies in one unit nothing is to be learnt."""
    rng = np.random.default_rng(1)
    half = [" ".join(f"w{chr(97 + k % 26)}{chr(97 + k // 26)}" for k in rng.integers(0, 676, 8)) for _ in range(200)]
    labels = np.tile(rng.integers(0, 2, 200), 2)
    matrix = word_matrix(half * 2)
    together = out_of_fold(matrix, labels, np.tile(np.arange(200), 2), 1, silent).scores
    apart = out_of_fold(matrix, labels, np.arange(400), 1, silent).scores
    assert ((apart[:, 1] > 0.5) == labels).mean() > 0.75
    assert ((together[:, 1] > 0.5) == labels).mean() < 0.6


def test_telling_words_are_those_that_were_planted():
    texts, codes = sentences(np.random.default_rng(2), 300)
    told = out_of_fold(word_matrix(texts), codes, np.arange(300), 1, silent).telling
    assert {t.word for t in told[0][:3]} == {"good", "fine", "great"}
    assert {t.word for t in told[1][:3]} == {"bad", "poor", "awful"}
    assert all(10 <= t.inside <= t.texts and t.weight > 0 for one in told for t in one)


def test_words_of_copies_are_not_shown():
    """Twenty copies of one text hold a rare word of their own; in one unit they show none of it, apart they do."""
    texts, codes = sentences(np.random.default_rng(2), 300)
    texts, codes = texts + ["rareword and nothing else"] * 20, np.append(codes, np.ones(20, dtype=int))
    together = np.append(np.arange(300), np.full(20, 300))
    for units, shown in ((together, False), (np.arange(320), True)):
        told = out_of_fold(word_matrix(texts), codes, units, 1, silent).telling
        assert any(t.word in "rareword and nothing else" for t in told[1]) is shown


def test_digits_are_no_words_and_han_characters_are():
    words = word_matrix(["我爱你 2024 a1b", "我爱你 2024 a1b"]).words
    assert {"我", "爱", "我 爱", "a", "b"} <= set(words)
    assert not any(c.isdigit() for w in words for c in w)


def test_nothing_to_read():
    assert word_matrix(["one", "two"]) is None
    assert word_matrix(["", " "]) is None


@pytest.mark.parametrize(
    ("codes", "units", "size", "able"),
    [
        ([0] * 5 + [1] * 5, range(10), 2, True),
        ([0] * 5 + [1] * 4, range(9), 2, False),
        ([0] * 9, range(9), 1, False),
        ([0] * 9 + [1] * 9, [0] * 9 + list(range(1, 10)), 2, False),
    ],
)
def test_what_is_too_little(codes, units, size, able):
    reason = why_not(np.array(codes), np.array(list(units)), size)
    assert (reason is None) == able
    assert FOLDS == 5
