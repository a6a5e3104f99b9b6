"""The shape of a table of predictions, shared by tasks, subjects and probes.

One row is one unit (a text, a token, an answer). Columns, in order:

    row_id        string   the input row; unique for tasks with one unit a row
    unit_id       int32    position of the unit in its row, 0 where there is one
    label         string   true class name, null where unknown
    prediction    string   class name after the decision threshold
    score_<class> float64  one a class, in the order of the classes
    group_<name>  string   one a sensitive feature, null where missing and excluded
    cluster       string   only where the data has that role; so too counterpart (string) and weight (float64)
    content       string   sha256 of the input, for pairing runs without ids

Schema metadata (all JSON under the key ``plumbline``): task, classes, threshold, positive.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fine_tune.errors import DataError
from fine_tune.untrusted import parse_json

if TYPE_CHECKING:
    import pyarrow as pa

SCORE = "score_"
GROUP = "group_"
METADATA_KEY = b"plumbline"
MISSING = "(missing)"


@dataclass(frozen=True, kw_only=True)
class PredictionsMeta:
    """What the columns cannot say by themselves.

    ``classes`` are ordered like the score columns. ``threshold`` applies to the score of ``positive``; None is argmax.
    ``truncated`` counts the rows whose input was cut at the model's maximum length; None where that is unknown.
    """

    task: str
    classes: tuple[str, ...]
    threshold: float | None = None
    positive: str | None = None
    truncated: int | None = None

    def encode(self) -> dict[bytes, bytes]:
        """As schema metadata."""
        body = {
            "task": self.task,
            "classes": self.classes,
            "threshold": self.threshold,
            "positive": self.positive,
            "truncated": self.truncated,
        }
        return {METADATA_KEY: json.dumps(body, ensure_ascii=False).encode()}

    @classmethod
    def of(cls, table: pa.Table) -> PredictionsMeta:
        """Read back from a table's schema.

        Raises:
            DataError: the table is no table of predictions.
        """
        raw = (table.schema.metadata or {}).get(METADATA_KEY)
        if raw is None:
            raise DataError(
                "the table carries no description of its predictions", expected="schema metadata 'plumbline'"
            )
        body = parse_json(raw, "schema metadata 'plumbline'", error=DataError)
        try:
            found = cls(
                task=body["task"],
                classes=tuple(body["classes"]),
                threshold=body["threshold"],
                positive=body["positive"],
                truncated=body.get("truncated"),
            )
        except (KeyError, TypeError, AttributeError):
            found = None
        if found is None or not all(isinstance(name, str) for name in (found.task, *found.classes)):
            raise DataError(
                "the description of the predictions is not what Plumbline writes",
                expected="task, classes, threshold, positive and truncated",
                fix="take the table from its source again",
                where="schema metadata 'plumbline'",
            )
        return found


def feature_names(table: pa.Table) -> tuple[str, ...]:
    """The sensitive features of a table of predictions, in order."""
    return tuple(n[len(GROUP) :] for n in table.column_names if n.startswith(GROUP))
