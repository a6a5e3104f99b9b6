"""Builds tables of predictions for tasks with one unit a row; the shape is that of `fine_tune.predictions`. It decides
nothing but which class a threshold or the largest score names.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    import pyarrow as pa

    count = len(data)
    text = pa.string()
    fields: list[tuple[str, pa.DataType, object]] = [
        ("row_id", text, data.row_ids),
        ("unit_id", pa.int32(), [0] * count),
        ("label", text, data.labels),
        ("prediction", text, list(predictions)),
    ]
    if scores is not None:
        fields += [(SCORE + name, pa.float64(), scores[:, i]) for i, name in enumerate(meta.classes)]
    fields += [(GROUP + name, text, data.group(name)) for name in data.features]
    for role, kind, values in (
        ("cluster", text, data.clusters),
        ("counterpart", text, data.counterparts),
        ("weight", pa.float64(), data.weights),
    ):
        if values is not None:
            fields.append((role, kind, values))
    fields.append(("content", text, data.content_digests or [None] * count))
    schema = pa.schema([(name, kind) for name, kind, _ in fields], metadata=meta.encode())
    return pa.table([pa.array(values, type=kind) for _, kind, values in fields], schema=schema)
