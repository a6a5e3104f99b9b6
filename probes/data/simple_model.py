"""What a simple model can read off texts: out-of-fold scores for a label or a group, from words and pairs of words. It is no subject
and no rival of one: it is weak on purpose, so that what it finds is plainly there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.evidence import Message, message
from probes.intervals import Float, Int

if TYPE_CHECKING:
    from probes.probe import Progress

FOLDS = 5
FEATURES = 200_000
LEAST = 10
MOST = 8
# Han characters are words of their own; pairs of them stand for longer ones. Digits are no words.
_TOKEN = r"[㐀-鿿豈-﫿]|(?:(?![㐀-鿿豈-﫿])[^\W\d_])+"  # noqa: S105


@dataclass(frozen=True, kw_only=True)
class WordMatrix:
    """Texts as TF-IDF weights of their words and pairs of words.

    Attributes:
        weights: sparse, shape (N, F).
        words: F names.
    """

    weights: Any
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Telling:
    """A word that speaks for a class: its mean weight over the folds' models, and the texts that hold it, of that class and in all."""

    word: str
    weight: float
    inside: int
    texts: int


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What the folds' models say.

    Attributes:
        scores: probabilities, each row by a model that saw no row of its unit; shape (N, K).
        telling: for each class, the words that speak most for it.
    """

    scores: Float
    telling: tuple[tuple[Telling, ...], ...]


def word_matrix(texts: Sequence[str]) -> WordMatrix | None:
    """The texts' words; None where no word stands in two of them."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        token_pattern=_TOKEN, ngram_range=(1, 2), min_df=2, max_features=FEATURES, sublinear_tf=True
    )
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError:  # What it raises where nothing is left.
        return None
    return WordMatrix(weights=weights, words=tuple(vectorizer.get_feature_names_out().tolist()))


def why_not(codes: Int, units: Int, size: int) -> Message | None:
    """Why no model can be fitted and checked on other rows: fewer than two classes, or a class in too few units."""
    present = np.array([len(np.unique(units[codes == k])) for k in range(size)])
    if size < 2:
        return message("Fewer than two of them have enough rows.")
    if present.min() < FOLDS:
        return message(
            "One of them stands in {units} independent texts; {folds} are needed.",
            units=int(present.min()),
            folds=FOLDS,
        )
    return None


def out_of_fold(matrix: WordMatrix, codes: Int, units: Int, seed: int, progress: Progress) -> Scored:
    """Score every row by a logistic regression on the other folds; rows of a unit are in one fold.

    Args:
        matrix: N rows.
        codes: class of each row, from 0 to K - 1, each of them in `FOLDS` units at least (see `why_not`).
        units: rows with one code are copies, near copies or of one cluster.
        seed: deals units to folds.
        progress: wraps the loop over folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    size = int(codes.max()) + 1
    scores, push = np.zeros((len(codes), size)), np.zeros((size, len(matrix.words)))
    dealt = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=seed)
    folds = list(dealt.split(codes[:, None], codes, units))
    for inside, outside in progress(folds, len(folds), "simple models"):
        model = LogisticRegression(C=10.0, max_iter=200, tol=1e-3)
        seen = np.unique(codes[inside])
        if len(seen) < 2:
            scores[np.ix_(outside, seen)] = 1.0
            continue
        model.fit(matrix.weights[inside], codes[inside])
        scores[np.ix_(outside, model.classes_)] = model.predict_proba(matrix.weights[outside])
        # With two classes there is one row of weights, for the second.
        weights = np.vstack([-model.coef_, model.coef_]) if len(seen) == 2 else model.coef_
        push[model.classes_] += weights / len(folds)
    return Scored(scores=scores, telling=_telling(matrix, codes, units, push))


def _telling(matrix: WordMatrix, codes: Int, units: Int, push: Float) -> tuple[tuple[Telling, ...], ...]:
    """For each class the `MOST` words with the largest weights among those that `LEAST` of its units hold: copies of one text, or
    texts of one user, show none of its words.
    """
    held = matrix.weights > 0
    texts = np.asarray(held.sum(axis=0)).ravel()
    out = []
    for k, weights in enumerate(push):
        own = held[codes == k]
        inside = np.asarray(own.sum(axis=0)).ravel()
        able = np.flatnonzero((_units_with(own, units[codes == k]) >= LEAST) & (weights > 0))
        best = able[np.argsort(-np.round(weights[able], 9), kind="stable")[:MOST]]
        out.append(
            tuple(
                Telling(word=matrix.words[w], weight=float(weights[w]), inside=int(inside[w]), texts=int(texts[w]))
                for w in best.tolist()
            )
        )
    return tuple(out)


def _units_with(held: Any, units: Int) -> Int:
    """How many units hold each word; ``held`` is sparse, one row a text."""
    from scipy import sparse

    number = np.unique(units, return_inverse=True)[1]
    ones = np.ones(len(units), dtype=np.int64)
    by_unit = sparse.csr_array((ones, (number, np.arange(len(units))))) @ sparse.csr_array(held, dtype=np.int64)
    return np.bincount(by_unit.indices, minlength=held.shape[1]).astype(np.int64)


def confident(scores: Float, labels: Int) -> Int:
    """The class that each row belongs to with confidence, shape (N,); -1 where it belongs to none.

    Confident learning (Northcutt, Jiang and Chuang 2021): class j's threshold is the mean score of j among rows labelled j. A row
    belongs with confidence to the class of the largest score among those that reach their thresholds. Labels against these classes are
    the confident joint.

    Args:
        scores: out-of-fold probabilities, shape (N, K).
        labels: codes from 0 to K - 1, shape (N,); a class without rows is never named.
    """
    size = scores.shape[1]
    totals = np.bincount(labels, weights=scores[np.arange(len(labels)), labels], minlength=size)
    rows = np.bincount(labels, minlength=size)
    thresholds = np.divide(totals, rows, out=np.full(size, np.inf), where=rows > 0)
    # Scores that only rounding keeps below their mean reach it.
    reached = np.where(scores >= thresholds - 1e-12, scores, -1.0)
    return np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), -1).astype(np.int64)
