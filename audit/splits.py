"""The parts of the data with their counts: the audited rows, and what the model's training record says of its own parts.

The audited part follows from the rows of predictions where there are any, so that verification counts it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fine_tune.predictions import GROUP, feature_names
from reports.manifests import SplitCounts
from reports.record import DataCard

if TYPE_CHECKING:
    import pyarrow as pa

    from fine_tune.data import AuditData

AUDIT = "audit"
TRAINING_PARTS = ("training", "validation", "holdout")

Pair = tuple[str | None, str | None]


def audited(card: DataCard, predictions: pa.Table | None, data: AuditData | None = None) -> SplitCounts:
    """The audited rows: label and group counts are the card's; labels within groups come of the rows.

    Args:
        card: the data as the record shows it.
        predictions: the rows of predictions; None where the run kept none.
        data: the rows themselves, used where there are no predictions.
    """
    inside: dict[str, dict[str, dict[str, int]]] | None = None
    if predictions is not None and "label" in predictions.column_names:
        inside = {name: _crossed(_pairs(predictions, name)) for name in feature_names(predictions)}
    elif predictions is None and data is not None:
        inside = _labels_in_groups(data)
    return SplitCounts(
        split=AUDIT,
        digest=card.digest,
        rows=card.rows,
        labels=card.labels,
        groups={f.name: f.values for f in card.features},
        labels_in_groups=inside,
    )


def trained(training: Mapping[str, Any] | None, data: AuditData | None) -> tuple[SplitCounts, ...]:
    """The parts that the training record names; ``data``, the rows that moved the weights, adds counts where it is at hand."""
    named = (training or {}).get("data")
    digest = named.get("digest") if isinstance(named, Mapping) else None
    parts = []
    for part in TRAINING_PARTS:
        rows = (training or {}).get(f"{part}_rows")
        if not isinstance(rows, int):
            continue
        split = SplitCounts(split=part, digest=digest, rows=rows)
        if part == "training" and data is not None and len(data) == rows:
            split = split.model_copy(
                update={
                    "labels": _counted(data.labels),
                    "groups": {name: _counted(data.group(name)) for name in data.features},
                    "labels_in_groups": _labels_in_groups(data),
                }
            )
        parts.append(split)
    return tuple(parts)


def _labels_in_groups(data: AuditData) -> dict[str, dict[str, dict[str, int]]]:
    return {name: _crossed(Counter(zip(data.group(name), data.labels, strict=True))) for name in data.features}


def _pairs(predictions: pa.Table, feature: str) -> dict[Pair, int]:
    """How often each value of a feature meets each label; counted in arrow, as there may be millions of rows."""
    column = f"{GROUP}{feature}"
    found = predictions.select([column, "label"]).group_by([column, "label"]).aggregate([([], "count_all")])
    columns = (found[name].to_pylist() for name in (column, "label", "count_all"))
    return {(value, label): n for value, label, n in zip(*columns, strict=True)}


def _crossed(pairs: Mapping[Pair, int]) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    known = [(value, label, n) for (value, label), n in pairs.items() if value is not None and label is not None]
    for value, label, n in sorted(known):
        out.setdefault(value, {})[label] = n
    return out


def _counted(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(v for v in values if v is not None).items()))
