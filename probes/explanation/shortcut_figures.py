"""From rows of texts without one of their words to figures a word or term: how often answers flip, whether labels side with the
flips, and what survives Holm's correction. It reads rows as `probes.explanation.shortcut_rows` collects them, and words no report.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fine_tune.predictions import PredictionsMeta
from fine_tune.rows import decide
from probes.bounded_means import bounded_mean
from probes.explanation.flip_tests import Labelled, Push, excess_push, sign_flip_p
from probes.explanation.shortcut_rows import CONTROL, OTHER, SWAP, TERM, TEXT, WORD
from probes.intervals import Bool, Estimate, Float, Int
from probes.multiplicity import holm
from probes.rates import count

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """The rows as arrays: N texts, and questions about them.

    Attributes:
        classes: names, in the order of scores.
        labels: class codes, shape (N,); -1 where unknown.
        said: predicted class codes, shape (N,).
        scores: shape (N, K).
        clusters: codes, shape (N,); every text its own where the data names none.
        clustered: the data names clusters.
        words: positions of the texts that hold each compared word.
        inputs: the texts that were asked about; None for others.
        others: for texts asked about, what the scores are without another word of it, by that word.
        by_kind: questions by kind, then by term: positions of texts, and the rows themselves.
    """

    classes: tuple[str, ...]
    labels: Int
    said: Int
    scores: Float
    clusters: Int
    clustered: bool
    words: dict[str, Int]
    inputs: tuple[str | None, ...]
    by_kind: dict[str, dict[str, tuple[Int, list[dict[str, Any]]]]]
    meta: PredictionsMeta
    others: dict[int, list[tuple[str, list[float]]]] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: pa.Table) -> Asked:
        """Read the rows of the probe, in any order."""
        meta = PredictionsMeta.of(rows)
        every = rows.to_pylist()
        texts = sorted((r for r in every if r["kind"] == TEXT), key=lambda r: r["text"])
        code = {name: k for k, name in enumerate(meta.classes)}
        place = {r["text"]: i for i, r in enumerate(texts)}
        names = [f"c{r['cluster']}" if r["cluster"] is not None else f"r{r['row_id']}" for r in texts]
        clusters = np.unique(names, return_inverse=True)[1].astype(np.int64) if names else np.zeros(0, dtype=np.int64)
        words: dict[str, list[int]] = {}
        for i, r in enumerate(texts):
            for word in r["words"] or ():
                words.setdefault(word, []).append(i)
        kinds: dict[str, dict[str, list[dict[str, Any]]]] = {k: {} for k in (WORD, TERM, CONTROL, SWAP)}
        for r in every:
            if r["kind"] in kinds:
                kinds[r["kind"]].setdefault(r["term"], []).append(r)
        for by_term in kinds.values():
            for asked in by_term.values():
                asked.sort(key=lambda r: (r["text"], r["other"] or ""))
        others: dict[int, list[tuple[str, list[float]]]] = {}
        for r in sorted((r for r in every if r["kind"] == OTHER), key=lambda r: (r["text"], r["term"])):
            others.setdefault(place[r["text"]], []).append((r["term"], r["after"]))
        return cls(
            others=others,
            classes=meta.classes,
            labels=np.array([code.get(r["label"], -1) for r in texts], dtype=np.int64),
            said=np.array([code[r["prediction"]] for r in texts], dtype=np.int64),
            scores=np.array([r["after"] for r in texts], dtype=np.float64).reshape(-1, len(meta.classes)),
            clusters=clusters,
            clustered=any(r["cluster"] is not None for r in texts),
            words={w: np.array(at, dtype=np.int64) for w, at in words.items()},
            inputs=tuple(r["input"] for r in texts),
            by_kind={
                kind: {
                    t: (np.array([place[r["text"]] for r in asked], dtype=np.int64), asked)
                    for t, asked in found.items()
                }
                for kind, found in kinds.items()
            },
            meta=meta,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def after(self, kind: str, term: str) -> tuple[Int, Float, Int]:
        """Texts asked about, their scores afterwards, shape (m, K), and the predicted codes."""
        at, asked = self.by_kind[kind][term]
        scores = np.array([r["after"] for r in asked], dtype=np.float64).reshape(-1, len(self.classes))
        return at, scores, self.decided(scores)

    def without_another(self, at: Int, word: str) -> tuple[Float, Int]:
        """Scores of texts without another of their words, shape (m, K), and the predicted codes; as they stand if there is none."""
        scores = self.scores[at].copy()
        for line, i in enumerate(at.tolist()):
            found = [after for term, after in self.others.get(i, ()) if term != word]
            if found:
                scores[line] = found[0]
        return scores, self.decided(scores)

    def decided(self, scores: Float) -> Int:
        """The class codes that scores of shape (m, K) name."""
        return np.array([self.classes.index(name) for name in decide(scores, self.meta)], dtype=np.int64)

    def flips(self, kind: str, term: str) -> tuple[Int, Bool]:
        """Texts asked about, and whether the answer changed."""
        at, _, said = self.after(kind, term)
        return at, said != self.said[at]


@dataclass(frozen=True, kw_only=True)
class WordFigures:
    """What taking one word away does.

    Attributes:
        holding: texts with the word; ``asked`` of them were asked about without it, ``labelled`` of those have a label.
        units: clusters among the labelled ones asked.
        flips: share of answers that change.
        misled: share of labelled texts whose answer is right only without the word, less those right only with it.
        push: towards the class ``towards``; None, as `misled`, where too few clusters have labels.
        p: Holm-adjusted.
    """

    word: str
    holding: int
    asked: int
    labelled: int
    units: int
    flips: Estimate
    misled: Estimate | None
    push: Push | None
    towards: str
    p: float


@dataclass(frozen=True, kw_only=True)
class Judging:
    """How words are judged: ``compared`` in all, at ``level``, ``least`` is too little to speak of."""

    compared: int
    level: float
    least: float

    @property
    def joint(self) -> float:
        """The level of one interval such that all words' hold at `level`."""
        return 1 - (1 - self.level) / max(self.compared, 1)


def word_figures(asked: Asked, judging: Judging) -> list[WordFigures]:
    """Figures of every word asked about, the least likely by chance first; intervals hold jointly over all compared."""
    found = [_word(asked, word, judging) for word in asked.by_kind[WORD]]
    adjusted = holm([f.p for f in found], judging.compared)
    out = [replace(f, p=float(p)) for f, p in zip(found, adjusted, strict=True)]
    return sorted(out, key=lambda f: (f.p, -(f.push.excess.value if f.push else -2.0), f.word))


def _word(asked: Asked, word: str, judging: Judging) -> WordFigures:
    at, scores, said = asked.after(WORD, word)
    known = asked.labels[at] >= 0
    texts, clusters = at[known], asked.clusters[at[known]]
    figures = WordFigures(
        word=word, holding=len(asked.words.get(word, at)), asked=len(at), labelled=len(texts),
        units=len(np.unique(clusters)), flips=flip_rate(asked, at, said != asked.said[at], judging.joint),
        misled=None, push=None, towards="", p=1.0,
    )  # fmt: skip
    if figures.units < 2:
        return figures
    other, other_said = asked.without_another(texts, word)
    pushes = other - scores[known]
    k = int(pushes.mean(axis=0).argmax())
    push = _push(asked, texts, pushes[:, k], _labelled(asked, word, texts, k), judging)
    if push is None:
        return figures
    before, after = asked.said[texts], said[known]
    left = (other_said == k).astype(np.int64) - (after == k)
    right = (after == asked.labels[texts]).astype(np.int64) - (before == asked.labels[texts])
    # The class was chosen among several by the same texts, which is paid for by their number.
    p = len(asked.classes) * max(sign_flip_p(left, clusters), push.p)
    misled = bounded_mean(right.astype(float), judging.joint, clusters, (-1.0, 1.0))
    return replace(figures, misled=misled, push=push, towards=asked.classes[k], p=min(p, 1.0))


def _labelled(asked: Asked, word: str, texts: Int, k: int) -> Labelled:
    known = np.flatnonzero(asked.labels >= 0)
    holds = np.zeros(len(asked), dtype=np.bool_)
    holds[asked.words.get(word, texts)] = True
    return Labelled(positive=asked.labels[known] == k, holds=holds[known], clusters=asked.clusters[known])


def _push(asked: Asked, texts: Int, pushes: Float, known: Labelled, judging: Judging) -> Push | None:
    if known.holds.all() or not known.holds.any():
        return None
    place = np.cumsum(asked.labels >= 0) - 1
    return excess_push(pushes, place[texts], known, judging.joint, judging.least)


@dataclass(frozen=True, kw_only=True)
class TermFigures:
    """What taking one protected term away does, beside taking away as many other words of the same texts.

    Attributes:
        asked, units: texts, and clusters among them.
        flips: share of answers that change.
        over_random: that share less the one for other words, paired; None where fewer than two clusters were asked.
        weight: the mean signed share of all weight on the term; None where it was not swapped.
        p: Holm-adjusted over all terms.
    """

    term: str
    concept: str
    asked: int
    units: int
    flips: Estimate
    over_random: Estimate | None
    weight: float | None
    p: float


def term_figures(asked: Asked, level: float) -> list[TermFigures]:
    """Figures of every protected term, the least likely by chance first."""
    raw, found = [], []
    for term, (_, rows) in asked.by_kind[TERM].items():
        at, changed = asked.flips(TERM, term)
        _, other = asked.flips(CONTROL, term)
        differences, clusters = changed.astype(np.int64) - other, asked.clusters[at]
        units = len(np.unique(clusters))
        weights = [r["weight"] for r in asked.by_kind[SWAP].get(term, (None, []))[1]]
        raw.append(sign_flip_p(differences, clusters))
        found.append(
            {
                "term": term, "concept": rows[0]["concept"], "asked": len(at), "units": units,
                "flips": flip_rate(asked, at, changed, level),
                "over_random": bounded_mean(differences.astype(float), level, clusters, (-1.0, 1.0)),
                "weight": float(np.mean(weights)) if weights else None,
            }
        )  # fmt: skip
    out = [TermFigures(**f, p=float(p)) for f, p in zip(found, holm(raw, len(raw)), strict=True)]
    return sorted(out, key=lambda f: (f.p, -f.flips.value, f.term))


@dataclass(frozen=True, kw_only=True)
class SwapFigures:
    """What swapping the terms of one concept does.

    Attributes:
        swapped, units: texts, and clusters among them.
        flips: share of answers that change.
        shift: mean change of the share of weight on the term, without its sign, in [0, 2]; None with fewer than two clusters.
    """

    concept: str
    swapped: int
    units: int
    flips: Estimate
    shift: Estimate | None


def swap_figures(asked: Asked, level: float) -> list[SwapFigures]:
    """Figures of every concept of which a term was swapped, by name."""
    at: dict[str, list[Int]] = {}
    changed: dict[str, list[Bool]] = {}
    moved: dict[str, list[float]] = {}
    for term, (_, rows) in asked.by_kind[SWAP].items():
        concept = rows[0]["concept"]
        texts, flips = asked.flips(SWAP, term)
        at.setdefault(concept, []).append(texts)
        changed.setdefault(concept, []).append(flips)
        moved.setdefault(concept, []).extend(abs(r["weight_after"] - r["weight"]) for r in rows)
    out = []
    for concept in sorted(at):
        texts = np.concatenate(at[concept])
        clusters = asked.clusters[texts]
        out.append(
            SwapFigures(
                concept=concept, swapped=len(texts), units=len(np.unique(clusters)),
                flips=flip_rate(asked, texts, np.concatenate(changed[concept]), level),
                shift=bounded_mean(np.array(moved[concept]), level, clusters, (0.0, 2.0)),
            )
        )  # fmt: skip
    return out


def flip_rate(asked: Asked, at: Int, changed: Bool, level: float) -> Estimate:
    """The share of answers that change, with its Wilson interval; clusters enter by the design effect."""
    alone = len(np.unique(asked.clusters[at])) == len(at)
    clusters = None if alone else asked.clusters[at]
    return count(np.zeros(len(at), dtype=np.int64), 1, changed, clusters).estimate(0, level)
