"""A table of predictions as arrays: the form in which classification probes count it.

It reads the columns that `fine_tune.predictions` describes, checks what it relies on, and computes no
measure. It needs no torch, and never loops over rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fine_tune.errors import DataError
from fine_tune.predictions import GROUP, SCORE, PredictionsMeta, feature_names
from probes.evidence import Message, message
from probes.intervals import Bool, Float, Int

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What was true and what was said, one entry a row (N rows, K classes).

    Attributes:
        classes: names, in the order of codes and score columns.
        positive: the class that the subject's threshold applies to, or None.
        labels: class codes, shape (N,); -1 where unknown.
        predictions: class codes, shape (N,).
        scores: shape (N, K), or None where the table has none.
        clusters: codes in [0, C), shape (N,), or None where every row stands alone. Without a cluster column,
            rows that share a ``row_id`` (several units of one input) are a cluster.
        weighted: the table carries row weights, which rates here do not use.
    """

    classes: tuple[str, ...]
    positive: str | None
    labels: Int
    predictions: Int
    scores: Float | None
    clusters: Int | None
    weighted: bool

    def __len__(self) -> int:
        return len(self.predictions)

    @property
    def labelled(self) -> Bool:
        return self.labels >= 0

    def where(self, kept: Bool) -> Answers:
        """The rows where ``kept``."""
        return Answers(
            classes=self.classes,
            positive=self.positive,
            labels=self.labels[kept],
            predictions=self.predictions[kept],
            scores=None if self.scores is None else self.scores[kept],
            clusters=None if self.clusters is None else self.clusters[kept],
            weighted=self.weighted,
        )

    def distinct_clusters(self, kept: Bool) -> int | None:
        """How many clusters the rows where ``kept`` come from, or None where rows stand alone."""
        if self.clusters is None:
            return None
        return int(np.count_nonzero(np.bincount(self.clusters[kept]))) if kept.any() else 0

    def remarks(self) -> tuple[Message, ...]:
        """What every reader of a rate should know: unlabelled rows, clusters, unused weights."""
        out = []
        unknown = int(np.count_nonzero(~self.labelled))
        if unknown:
            out.append(
                message(
                    "{rows} rows have no label; they are left out wherever the true label matters.",
                    rows=unknown,
                )
            )
        if self.clusters is not None:
            out.append(
                message(
                    "Rows come in {clusters} clusters; intervals allow for rows of one cluster being alike.",
                    clusters=self.distinct_clusters(np.ones(len(self), dtype=bool)) or 0,
                )
            )
        if self.weighted:
            out.append(message("The data has row weights; these figures do not use them."))
        return tuple(out)


def answers(table: pa.Table) -> Answers:
    """Read a table of predictions.

    Raises:
        DataError: a column is missing, or holds a class that the table's description does not name.
    """
    meta = PredictionsMeta.of(table)
    for name in ("label", "prediction"):
        if name not in table.column_names:
            raise DataError(f"the table of predictions has no column {name!r}", expected="label and prediction")
    predictions = _codes(table, "prediction", meta.classes)
    if (predictions < 0).any():
        raise DataError(f"{int((predictions < 0).sum())} rows have no prediction", expected="one class a row")
    return Answers(
        classes=meta.classes,
        positive=meta.positive,
        labels=_codes(table, "label", meta.classes),
        predictions=predictions,
        scores=_scores(table, meta.classes),
        clusters=_clusters(table),
        weighted="weight" in table.column_names,
    )


def group_codes(table: pa.Table, feature: str) -> tuple[Int, tuple[str, ...]]:
    """The group of each row in a sensitive feature, as codes into sorted names; -1 where it is missing.

    Raises:
        DataError: the table has no such feature.
    """
    if GROUP + feature not in table.column_names:
        known = ", ".join(feature_names(table)) or "none at all"
        raise DataError(f"there is no sensitive feature {feature!r}", expected=f"one of: {known}")
    return _encode(table.column(GROUP + feature))


def _encode(column: Any) -> tuple[Int, tuple[str, ...]]:
    import pyarrow as pa

    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    names = encoded.dictionary.to_pylist()
    raw = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names) + 1, dtype=np.int64)
    rank[order] = np.arange(len(names))
    rank[-1] = -1
    return rank[raw], tuple(names[i] for i in order)


def _codes(table: pa.Table, name: str, classes: tuple[str, ...]) -> Int:
    codes, names = _encode(table.column(name))
    unknown = [n for n in names if n not in classes]
    if unknown:
        raise DataError(
            f"the column {name!r} holds {unknown[0]!r}, which is no class of the subject",
            expected=f"one of: {', '.join(classes)}",
            fix="map the data's labels to the subject's class names",
        )
    to_class = np.array([classes.index(n) for n in names] + [-1], dtype=np.int64)
    return to_class[codes]


def _scores(table: pa.Table, classes: tuple[str, ...]) -> Float | None:
    names = [SCORE + c for c in classes]
    if any(n not in table.column_names for n in names):
        return None
    columns = [table.column(n) for n in names]
    if len(table) and all(c.null_count == len(table) for c in columns):
        return None
    return np.column_stack([c.to_numpy().astype(np.float64) for c in columns])


def _clusters(table: pa.Table) -> Int | None:
    """Cluster codes; a row without one stands alone."""
    name = "cluster" if "cluster" in table.column_names else "row_id"
    if name not in table.column_names:
        return None
    if _all_differ(table.column(name)):
        return None
    codes, names = _encode(table.column(name))
    alone = codes < 0
    codes[alone] = len(names) + np.arange(int(alone.sum()))
    return codes


def _all_differ(column: Any) -> bool:
    """Whether no value occurs twice; asked of arrow, as names are not needed where every row stands alone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    present = len(column) - column.null_count
    return bool(pc.count_distinct(column.cast(pa.string()), mode="only_valid").as_py() == present)
