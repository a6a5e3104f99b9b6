"""Builds tables of predictions, for tasks with one unit a row and with several; the shape is that of
`fine_tune.predictions`. It decides nothing but which class a threshold or the largest score names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fine_tune.data import AuditData
from fine_tune.errors import DataError
from fine_tune.predictions import GROUP, SCORE, PredictionsMeta

if TYPE_CHECKING:
    import pyarrow as pa

Scores = npt.NDArray[np.float64]


def decide(scores: Scores, meta: PredictionsMeta) -> list[str]:
    """The class that each row of ``scores`` (N, K) names.

    The largest score wins, the first of equals. With a threshold, the positive class is named from that score on, and
    below it the largest of the others.

    Raises:
        DataError: the threshold has no positive class among the classes.
    """
    best = scores.argmax(axis=1)
    if meta.threshold is not None:
        if meta.positive not in meta.classes:
            raise DataError(
                f"a threshold is set, and the positive class is {meta.positive!r}",
                expected=f"positive: one of {', '.join(meta.classes)}",
            )
        chosen = meta.classes.index(meta.positive)
        others = scores.copy()
        others[:, chosen] = -np.inf
        best = np.where(scores[:, chosen] >= meta.threshold, chosen, others.argmax(axis=1))
    return [meta.classes[i] for i in best]


@dataclass(frozen=True, kw_only=True)
class Units:
    """What was true and what was said, one entry a unit, row after row.

    Attributes:
        counts: units of each input row; their sum is N.
        labels: N class names, None where unknown.
        predictions: N class names.
        scores: shape (N, K), or None where only the predictions are known.
    """

    counts: Sequence[int]
    labels: Sequence[str | None]
    predictions: Sequence[str]
    scores: Scores | None


def single_unit_rows(
    data: AuditData, predictions: Sequence[str], scores: Scores | None, meta: PredictionsMeta
) -> pa.Table:
    """The table of predictions where every input row is one unit.

    Args:
        data: N rows.
        predictions: N class names.
        scores: shape (N, K), or None where only the predictions are known: then there are no score columns.
        meta: classes in the order of the scores.
    """
    units = Units(counts=[1] * len(data), labels=data.labels, predictions=predictions, scores=scores)
    return unit_rows(data, units, meta)


def unit_rows(data: AuditData, units: Units, meta: PredictionsMeta) -> pa.Table:
    """The table of predictions where an input row is any number of units; groups and clusters are the row's.

    Raises:
        DataError: units and rows do not add up.
    """
    import pyarrow as pa

    counts = np.asarray(units.counts, dtype=np.int64)
    total = int(counts.sum())
    if len(counts) != len(data) or len(units.labels) != total or len(units.predictions) != total:
        raise DataError(
            f"{len(counts)} rows with {total} units, {len(units.labels)} labels and {len(units.predictions)} predictions",
            expected=f"units of {len(data)} rows, with a label and a prediction each",
        )
    owner = np.repeat(np.arange(len(data)), counts)
    first = np.cumsum(counts) - counts
    text = pa.string()

    def of_row(values: Sequence[object], kind: pa.DataType) -> pa.Array:
        return pa.array(values, type=kind).take(pa.array(owner))

    columns: list[tuple[str, pa.Array]] = [
        ("row_id", of_row(data.row_ids, text)),
        ("unit_id", pa.array(np.arange(total) - first[owner], type=pa.int32())),
        ("label", pa.array(units.labels, type=text)),
        ("prediction", pa.array(units.predictions, type=text)),
    ]
    if units.scores is not None:
        columns += [(SCORE + c, pa.array(units.scores[:, i], type=pa.float64())) for i, c in enumerate(meta.classes)]
    columns += [(GROUP + name, of_row(data.group(name), text)) for name in data.features]
    for role, kind, values in (
        ("cluster", text, data.clusters),
        ("counterpart", text, data.counterparts),
        ("weight", pa.float64(), data.weights),
    ):
        if values is not None:
            columns.append((role, of_row(values, kind)))
    columns.append(("content", of_row(data.content_digests or [None] * len(data), text)))
    schema = pa.schema([(name, values.type) for name, values in columns], metadata=meta.encode())
    return pa.table([values for _, values in columns], schema=schema)
