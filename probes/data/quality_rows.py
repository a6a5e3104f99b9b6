"""Collects what `data.quality` sums up: one row an audited row, with marks and scores in place of its input, which is never kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fine_tune.predictions import GROUP
from probes.data import personal
from probes.data.likeness import PERMUTATIONS, Likeness, banding, missed, normal
from probes.data.quality_figures import KEY, NO_INPUTS
from probes.data.simple_model import Scored, out_of_fold, why_not, word_matrix
from probes.errors import TooAlike
from probes.evidence import Message, message
from probes.intervals import Int
from probes.training_data import training_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from fine_tune.data import AuditData
    from probes.probe import Context
    from probes.subject import Subject

LABELS = ""
NO_TEXT = message("The inputs are no texts.")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The probe's options that decide its rows; see `probes.data.quality.Quality`."""

    threshold: float
    shingle: int
    min_group: int
    model_rows: int
    phone_regions: tuple[str, ...]


def text_of(value: Any) -> str | None:
    """An input as one text, lists and mappings of texts joined; None where it is, or holds, something else."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        parts = [text_of(part) for part in value]
        return None if not parts or None in parts else "\n".join(map(str, parts))
    return None


def texts_of(data: AuditData) -> list[str] | Message:
    """Every input as a text, or why they are none."""
    if not data.has_inputs:
        return NO_INPUTS
    texts = [text_of(value) for value in data.inputs]
    return NO_TEXT if None in texts else [str(text) for text in texts]


class Collecting:
    """The rows in the making, in an order that their content decides."""

    def __init__(self, subject: Subject, asked: Asked, ctx: Context) -> None:
        self._subject, self._asked, self._ctx = subject, asked, ctx
        data = subject.data
        nothing: list[str | None] = [None] * len(data)
        digests = [*(data.content_digests or nothing)]
        groups = [data.group(name) for name in data.features]
        keys = zip(
            digests, data.labels, *groups, data.clusters or nothing, data.row_ids, strict=True
        )  # fmt: skip
        self._order = [i for i, _ in sorted(enumerate(keys), key=lambda item: [v or "" for v in item[1]])]
        self._data = data.select(self._order)
        self._contents = [digests[i] for i in self._order]
        self._bands = banding(asked.threshold)
        self._facts: dict[str, Any] = {
            "task": subject.task, "threshold": asked.threshold, "shingle": asked.shingle,
            "missed": missed(asked.threshold, *self._bands), "permutations": PERMUTATIONS,
            "models": {}, "regions": list(asked.phone_regions),
        }  # fmt: skip
        self._columns: dict[str, tuple[list[Any], str]] = {}

    def table(self) -> pa.Table:
        """One row an audited row, in the order of the data."""
        texts = texts_of(self._data)
        self._roles(texts)
        self._copies()
        if isinstance(texts, Message):
            self._facts["no_text"] = texts.model_dump(mode="json")
            near = self._codes([c or f"row {i}" for i, c in enumerate(self._contents)])
        else:
            likeness = Likeness(
                threshold=self._asked.threshold, size=self._asked.shingle, progress=self._ctx.progress,
                seed=int(self._ctx.rng("permutations").integers(2**31)),
            )  # fmt: skip
            plain = [normal(text) for text in texts]
            near = self._near(plain, likeness)
            self._trained_near(plain, likeness)
            self._personal(texts)
        self._trained()
        units = _tie([near, self._codes(self._data.clusters)] if self._data.clusters is not None else [near])
        self._column("unit", self._named(units), "text")
        if not isinstance(texts, Message):
            self._models(texts, units)
        return self._finished()

    def _column(self, name: str, values: Sequence[Any], kind: str) -> None:
        self._columns[name] = (list(values), kind)

    def _roles(self, texts: list[str] | Message) -> None:
        data = self._data
        self._column("row_id", data.row_ids, "text")
        self._column("label", data.labels, "text")
        for name in data.features:
            self._column(GROUP + name, data.group(name), "text")
        self._facts["roles"] = [role for role in ("label", "rationale") if role in data.columns]
        if data.rationales is not None:
            self._column("no_rationale", [value is None for value in data.rationales], "flag")
        if not isinstance(texts, Message):
            self._column("blank", [not text.strip() for text in texts], "flag")

    def _copies(self) -> None:
        self._column("content", self._contents, "text")
        times, labels = Counter(self._contents), dict[str | None, set[str]]()
        for content, label in zip(self._contents, self._data.labels, strict=True):
            if label is not None:
                labels.setdefault(content, set()).add(label)
        known = [content is not None for content in self._contents]
        self._column("copies", [times[c] if k else None for c, k in zip(self._contents, known, strict=True)], "count")
        conflicts = [
            len(labels[c]) > 1 if k and label is not None else None
            for c, k, label in zip(self._contents, known, self._data.labels, strict=True)
        ]
        self._column("conflict", conflicts, "flag")

    def _near(self, plain: list[str], likeness: Likeness) -> Int:
        distinct = sorted(set(plain))
        place = {text: k for k, text in enumerate(distinct)}
        at = [place[text] for text in plain]
        try:
            near = likeness.components(distinct)[at]
        except TooAlike as error:
            self._facts["near_reason"] = _too_alike(error)
            return np.array(at, dtype=np.int64)
        self._column("near_copies", np.bincount(near)[near].tolist(), "count")
        self._column("near", self._named(near), "text")
        return near

    def _trained(self) -> None:
        found = training_rows(self._subject)
        if isinstance(found, Message):
            self._facts["training"] = {"reason": found.model_dump(mode="json")}
            return
        self._facts["training"] = {"name": found.data.name, "rows": len(found.data), "proven": found.proven}
        trained = set(found.data.content_digests or ())
        if not trained or None in self._contents:
            self._facts["training"]["reason"] = NO_INPUTS.model_dump(mode="json")
            return
        self._column("trained", [content in trained for content in self._contents], "flag")

    def _trained_near(self, plain: list[str], likeness: Likeness) -> None:
        found = training_rows(self._subject)
        if isinstance(found, Message):
            return
        others = texts_of(found.data)
        if isinstance(others, Message):
            return
        first: dict[str, str] = {}
        for text, row in sorted(zip(map(normal, others), found.data.row_ids, strict=True)):
            first.setdefault(text, row)
        distinct, asked = list(first), sorted(set(plain))
        try:
            similarity, position = likeness.nearest(asked, distinct)
        except TooAlike as error:
            self._facts["near_leak_reason"] = _too_alike(error)
            return
        place = {text: k for k, text in enumerate(asked)}
        at = [place[text] for text in plain]
        self._column(
            "training_likeness", [None if np.isnan(similarity[k]) else float(similarity[k]) for k in at], "number"
        )
        self._column("training_id", [None if position[k] < 0 else first[distinct[position[k]]] for k in at], "text")

    def _personal(self, texts: list[str]) -> None:
        looked = self._ctx.progress(texts, len(texts), "personal data")
        self._found = [personal.find(text, self._asked.phone_regions) for text in looked]
        self._column("personal", [sorted({kind for kind, _, _ in spans}) for spans in self._found], "texts")

    def _models(self, texts: list[str], units: Int) -> None:
        rows = np.arange(len(texts))
        if len(rows) > self._asked.model_rows:
            rows = np.sort(self._ctx.rng("model rows").choice(len(rows), size=self._asked.model_rows, replace=False))
        self._facts["model_rows"] = len(rows)
        matrix = word_matrix([normal(personal.without(texts[i], self._found[i])) for i in rows])
        targets = {LABELS: self._data.labels} | {name: self._data.group(name) for name in self._data.features}
        for name, values in targets.items():
            told = Counter(values[i] for i in rows if values[i] is not None)
            classes = sorted(str(v) for v, n in told.items() if n >= self._asked.min_group)
            facts: dict[str, Any] = {"classes": classes, "small": sorted(str(v) for v in told if v not in classes)}
            self._facts["models"][name] = facts
            code = {c: k for k, c in enumerate(classes)}
            codes = np.array([code.get(str(values[i]), -1) if values[i] is not None else -1 for i in rows])
            inside = codes >= 0
            why = why_not(codes[inside], units[rows][inside], len(classes))
            if matrix is None:
                why = message("No word stands in two texts.")
            if why is not None or matrix is None:
                facts["reason"] = (why or NO_TEXT).model_dump(mode="json")
                continue
            seed = int(self._ctx.rng(f"folds/{name}").integers(2**31))
            part = type(matrix)(weights=matrix.weights[inside], words=matrix.words)
            scored = out_of_fold(part, codes[inside], units[rows][inside], seed, self._ctx.progress)
            self._scores(name, rows[inside], scored)

    def _scores(self, name: str, rows: Int, scored: Scored) -> None:
        values: list[Any] = [None] * len(self._data)
        for i, line in zip(rows.tolist(), scored.scores.tolist(), strict=True):
            values[i] = line
        self._column(f"scores_{name}" if name else "label_scores", values, "numbers")
        if name:
            self._facts["models"][name]["telling"] = [
                [[t.word, t.weight, t.inside, t.texts] for t in one] for one in scored.telling
            ]

    def _codes(self, values: Sequence[str] | None) -> Int:
        return np.unique(np.array(values, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)

    def _named(self, codes: Int) -> list[str]:
        """Each code as the smallest id of its rows, which no order of rows changes."""
        names: dict[int, str] = {}
        for row, code in zip(self._data.row_ids, codes.tolist(), strict=True):
            names[code] = min(names.get(code, row), row)
        return [names[code] for code in codes.tolist()]

    def _finished(self) -> pa.Table:
        import pyarrow as pa

        kinds = {
            "text": pa.string(), "flag": pa.bool_(), "count": pa.int64(), "number": pa.float64(),
            "texts": pa.list_(pa.string()), "numbers": pa.list_(pa.float64()),
        }  # fmt: skip
        metadata = {KEY: json.dumps(self._facts, ensure_ascii=False, sort_keys=True).encode()}
        schema = pa.schema([(n, kinds[kind]) for n, (_, kind) in self._columns.items()], metadata=metadata)
        table = pa.table([pa.array(v, type=kinds[kind]) for v, kind in self._columns.values()], schema=schema)
        return table.take(np.argsort(np.array(self._order), kind="stable"))


def _too_alike(error: TooAlike) -> dict[str, Any]:
    return message(
        "Near copies were not counted: {seen}; {fix}.", seen=error.seen, fix=error.fix
    ).model_dump(mode="json")  # fmt: skip


def _tie(parts: Sequence[Int]) -> Int:
    """Rows that share a code in any of the parts, directly or by a chain, have one code."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    n, edges, at = len(parts[0]), [], len(parts[0])
    for codes in parts:
        edges.append((np.arange(n), at + codes))
        at += int(codes.max(initial=-1)) + 1
    rows, nodes = (np.concatenate([e[k] for e in edges]) for k in (0, 1))
    graph = sparse.coo_array((np.ones(len(rows), dtype=np.int8), (rows, nodes)), shape=(at, at))
    return connected_components(graph, directed=False)[1][:n].astype(np.int64)
