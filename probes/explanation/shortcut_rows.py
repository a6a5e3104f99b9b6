"""Asks the model what `explanation.shortcuts` needs to know: texts without one of their words, without a protected term, without
as many other words, and with one term swapped for another. It counts nothing and claims nothing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fine_tune.predictions import SCORE, PredictionsMeta
from probes.errors import Unavailable
from probes.explanation.terms import Found, Lexicon, swap, units_in
from probes.intervals import Bool, Float, Int

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.engines.captum.explainer import Encoded, Explainer
    from probes.probe import Context
    from probes.subject import Subject

KEY = b"plumbline.shortcuts"
TEXT, WORD, OTHER, TERM, CONTROL, SWAP = "text", "word", "other", "term", "control", "swap"
_WORD = re.compile(r"[^\W_]")


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts:
    """The texts that are looked at, N of them, in order.

    Attributes:
        table: their rows of the predictions.
        inputs: the texts.
        encoded: in units.
        words: the different words of each, in lower case.
        scores: shape (N, K).
    """

    table: pa.Table
    inputs: tuple[str, ...]
    encoded: tuple[Encoded, ...]
    words: tuple[frozenset[str], ...]
    scores: Float
    meta: PredictionsMeta

    def __len__(self) -> int:
        return len(self.inputs)

    def holding(self, word: str) -> Int:
        """Positions of the texts with a word."""
        return np.array([i for i, held in enumerate(self.words) if word in held], dtype=np.int64)


@dataclass(kw_only=True)
class Questions:
    """Masks to ask about, gathered text by text so that all go through the model together."""

    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    masks: list[Bool] = field(default_factory=list)

    def add(self, text: int, keep: Bool, **columns: Any) -> None:
        """One question; ``columns`` say what it was asked for."""
        self.rows.append((text, columns))
        self.masks.append(keep)

    def answers(self, explainer: Explainer, encoded: Sequence[Encoded], ctx: Context) -> list[Float]:
        """Scores, one array (K,) a question, in order."""
        texts = sorted({text for text, _ in self.rows})
        asked: dict[int, list[int]] = {text: [] for text in texts}
        for q, (text, _) in enumerate(self.rows):
            asked[text].append(q)
        keeps = [np.array([self.masks[q] for q in asked[text]], dtype=np.bool_) for text in texts]
        found = explainer.scores([encoded[text] for text in texts], keeps, ctx)
        out: list[Float] = [np.empty(0)] * len(self.rows)
        for text, scores in zip(texts, found, strict=True):
            for q, row in zip(asked[text], scores, strict=True):
                out[q] = row
        return out


def open_texts(subject: Subject, explainer: Explainer, rows: int, ctx: Context) -> Texts:
    """Up to ``rows`` of the subject's texts, drawn at random.

    Raises:
        Unavailable: the inputs are no texts, or a text has several answers.
    """
    if explainer.kind != "text" or not subject.data.has_inputs:
        raise Unavailable(
            "shortcuts are looked for among words, and these inputs are no texts",
            fix="leave explanation.shortcuts out of this plan",
        )
    table = subject.predictions(ctx)
    if any(table["unit_id"].to_pylist()):
        raise Unavailable("a text has several answers here", fix="shortcuts need one label a text")
    if len(table) > rows:
        chosen = np.sort(ctx.rng("texts").choice(len(table), size=rows, replace=False))
        table = table.take(chosen.tolist())
    places = {row: i for i, row in enumerate(subject.data.row_ids)}
    every = subject.data.inputs
    inputs = tuple(every[places[row]] for row in table["row_id"].to_pylist())
    encoded = tuple(explainer.encode(inputs))
    words = tuple(frozenset(u for u in map(str.casefold, one.units) if _WORD.search(u)) for one in encoded)
    meta = PredictionsMeta.of(table)
    scores = np.column_stack([table[SCORE + c].to_numpy().astype(np.float64) for c in meta.classes])
    return Texts(table=table, inputs=inputs, encoded=encoded, words=words, scores=scores, meta=meta)


def candidates(texts: Texts, least: int) -> dict[str, Int]:
    """Words that at least ``least`` texts hold and ``least`` do not, with those that do; the most frequent first."""
    times: Counter[str] = Counter()
    for words in texts.words:
        times.update(words)
    usual = [(w, n) for w, n in times.items() if least <= n <= len(texts) - least]
    return {w: texts.holding(w) for w, _ in sorted(usual, key=lambda item: (-item[1], item[0]))}


def screen(texts: Texts, words: dict[str, Int], most: int) -> list[str]:
    """The ``most`` words in whose texts a class is predicted too often, measured in standard errors.

    A word that misleads leaves such a trace. Screening asks the model nothing; whatever it leaves out still counts among the
    words compared. Without labels the most frequent words are taken.
    """
    labels = texts.table["label"].to_pylist()
    known = np.array([label is not None for label in labels])
    if not known.any():
        return list(words)[:most]
    true = np.array([[label == c for c in texts.meta.classes] for label in labels], dtype=np.float64)
    over = np.where(known[:, None], texts.scores - true, 0.0)
    ranked = []
    for word, held in words.items():
        inside = np.zeros(len(texts), dtype=np.bool_)
        inside[held] = True
        here, there = over[inside & known], over[~inside & known]
        if len(here) < 2 or len(there) < 2:
            continue
        error = np.sqrt(here.var(axis=0, ddof=1) / len(here) + there.var(axis=0, ddof=1) / len(there))
        gap = here.mean(axis=0) - there.mean(axis=0)
        ranked.append((-float(np.max(gap / np.maximum(error, 1e-9))), word))
    return [word for _, word in sorted(ranked)[:most]]


def ask_words(questions: Questions, texts: Texts, words: Sequence[str], each: int, ctx: Context) -> None:
    """Take each word out of up to ``each`` texts that hold it, wherever it stands; and out of each of these texts another word or
    two, drawn at random, because a text without any of its words is strange to a model."""
    shown: set[int] = set()
    for word in words:
        for i in _some(texts.holding(word), each, ctx.rng(f"word/{word}")):
            questions.add(i, _all_but(texts.encoded[i], word), kind=WORD, term=word)
            shown.add(i)
    for i in sorted(shown):
        own = sorted(texts.words[i])
        # The second serves the word that the first one is.
        for k in ctx.rng(f"other/{texts.encoded[i].key}").permutation(len(own))[:2]:
            questions.add(i, _all_but(texts.encoded[i], own[k]), kind=OTHER, term=own[k])


def ask_terms(
    questions: Questions, texts: Texts, lexicon: Lexicon, each: int, ctx: Context
) -> dict[str, list[tuple[int, Found]]]:
    """Take each protected term out of up to ``each`` texts, and as many other words, drawn at random, out of the same.

    Returns:
        the texts asked about and where the term stands in them, by term.
    """
    places: dict[str, list[tuple[int, Found]]] = {}
    for i, text in enumerate(texts.inputs):
        for found in lexicon.find(text):
            places.setdefault(found.term.text, []).append((i, found))
    asked: dict[str, list[tuple[int, Found]]] = {}
    for term, where in sorted(places.items()):
        rng = ctx.rng(f"term/{term}")
        asked[term] = []
        for k in _some(np.arange(len(where)), each, rng):
            i, found = where[k]
            units = units_in(texts.encoded[i].spans, found.spans)
            others = [u for u, name in enumerate(texts.encoded[i].units) if u not in units and _WORD.search(name)]
            if not units or not others:
                continue
            columns = {"term": found.term.text, "concept": found.term.concept}
            questions.add(i, _without(texts.encoded[i], units), kind=TERM, **columns)
            drawn = rng.choice(others, size=min(len(units), len(others)), replace=False).tolist()
            questions.add(i, _without(texts.encoded[i], drawn), kind=CONTROL, **columns)
            asked[term].append((i, found))
    return {term: found for term, found in asked.items() if found}


@dataclass(frozen=True, kw_only=True, eq=False)
class Swapped:
    """A text with a term swapped: which, for what, and where the new one stands."""

    text: int
    found: Found
    other: str
    after: str
    spans: tuple[tuple[int, int], ...]


def swaps(
    texts: Texts, lexicon: Lexicon, asked: dict[str, list[tuple[int, Found]]], each: int, ctx: Context
) -> list[Swapped]:
    """Up to ``each`` swapped texts a term, each for another term of its concept drawn at random."""
    out = []
    for term, where in asked.items():
        rng = ctx.rng(f"swap/{term}")
        for k in _some(np.arange(len(where)), each, rng):
            i, found = where[k]
            others = lexicon.others(found.term)
            if not others:
                break
            other = others[int(rng.integers(len(others)))]
            after, spans = swap(texts.inputs[i], found, other)
            out.append(Swapped(text=i, found=found, other=other.text, after=after, spans=spans))
    return out


def ask_swaps(
    explainer: Explainer, texts: Texts, wanted: Sequence[Swapped], method: str, ctx: Context
) -> list[dict[str, Any]]:
    """Scores of swapped texts, and the share of all weight that the term has before and after, for the class predicted before."""
    if not wanted:
        return []
    after = explainer.encode([s.after for s in wanted])
    before = [texts.encoded[s.text] for s in wanted]
    said = texts.table["prediction"].to_pylist()
    targets = [texts.meta.classes.index(said[s.text]) for s in wanted]
    maps = [explainer.attribute(side, targets, method, ctx) for side in (before, after)]
    scores = explainer.scores(after, [np.ones((1, len(e.units)), dtype=np.bool_) for e in after], ctx)
    rows = []
    for k, s in enumerate(wanted):
        own = _share(maps[0][k].weights, units_in(before[k].spans, s.found.spans))
        new = _share(maps[1][k].weights, units_in(after[k].spans, s.spans))
        columns = {"kind": SWAP, "term": s.found.term.text, "concept": s.found.term.concept, "other": s.other}
        rows.append({"text": s.text, "after": scores[k][0], "weight": own, "weight_after": new, **columns})
    return rows


def table_of(texts: Texts, rows: Sequence[dict[str, Any]], words: dict[str, Int], facts: dict[str, Any]) -> pa.Table:
    """One row a text, with its words among ``words``, then one row a question with its scores."""
    import pyarrow as pa

    shown = {row["text"] for row in rows}
    plain = texts.table.select(["row_id", "label", "prediction"]).to_pydict()
    clusters = texts.table["cluster"].to_pylist() if "cluster" in texts.table.column_names else [None] * len(texts)
    first = [
        {
            "kind": TEXT, "text": i, "row_id": plain["row_id"][i], "label": plain["label"][i],
            "prediction": plain["prediction"][i], "cluster": clusters[i], "after": texts.scores[i],
            "words": sorted(texts.words[i] & words.keys()), "input": texts.inputs[i] if i in shown else None,
        }
        for i in range(len(texts))
    ]  # fmt: skip
    schema = pa.schema(
        [
            ("kind", pa.string()), ("text", pa.int64()), ("row_id", pa.string()), ("label", pa.string()),
            ("prediction", pa.string()), ("cluster", pa.string()), ("words", pa.list_(pa.string())),
            ("input", pa.string()), ("concept", pa.string()), ("term", pa.string()), ("other", pa.string()),
            ("after", pa.list_(pa.float64())), ("weight", pa.float64()), ("weight_after", pa.float64()),
        ],
        metadata={**texts.meta.encode(), KEY: json.dumps(facts, ensure_ascii=False, sort_keys=True).encode()},
    )  # fmt: skip
    every = [*first, *rows]
    return pa.table([pa.array([r.get(f.name) for r in every], type=f.type) for f in schema], schema=schema)


def _some(positions: Int, most: int, rng: np.random.Generator) -> list[int]:
    if len(positions) <= most:
        return [int(i) for i in positions]
    return sorted(int(i) for i in rng.choice(positions, size=most, replace=False))


def _all_but(encoded: Encoded, word: str) -> Bool:
    return np.array([unit.casefold() != word for unit in encoded.units], dtype=np.bool_)


def _without(encoded: Encoded, units: Sequence[int]) -> Bool:
    keep = np.ones(len(encoded.units), dtype=np.bool_)
    keep[list(units)] = False
    return keep


def _share(weights: Float, units: Sequence[int]) -> float:
    """The signed share of all weight that some units have, in [-1, 1]; 0 where nothing weighs."""
    total = float(np.abs(weights).sum())
    return float(weights[list(units)].sum()) / total if total > 0 else 0.0
