"""The subject that is a table of predictions: what some model said, without the model. It checks the table, ties it to
the data row by row, and answers no new questions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from fine_tune.data import AuditData, Roles, check_labels
from fine_tune.errors import DataError
from fine_tune.predictions import GROUP, METADATA_KEY, MISSING, SCORE, PredictionsMeta
from fine_tune.roles import as_texts, canonical
from fine_tune.rows import decide, single_unit_rows
from fine_tune.sources import Columns, read_path, take
from fine_tune.untrusted import place
from probes.checkpoint_subject import data_needs, subject_digest
from probes.errors import Unavailable
from probes.evidence import Need
from probes.probe import Context

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Scores = npt.NDArray[np.float64]

SUM_TOLERANCE = 1e-3
_PIECE = 1 << 16
TASK = "text-classification"


class PredictionsSpec(BaseModel):
    """A table of predictions, as a plan names it.

    Attributes:
        source: a csv, tsv, json, jsonl or parquet file, relative to the plan.
        prediction: the column of predicted class names; ``prediction`` if there is one, else the class of the largest
            score.
        scores: the column of each class's score; ``score_<class>`` if None.
        id: the column that ties rows to the data; the data's own id column, or ``row_id``, if None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str = Field(min_length=1)
    prediction: str | None = None
    scores: dict[str, str] | None = None
    id: str | None = None


class PredictionsSubject:
    """What a model said about some data; see `probes.subject.Subject`. Build one with `open` or `from_frame`.

    Args:
        columns: the table's columns.
        data: the rows that the predictions are about; None where the table has the columns that
            `fine_tune.predictions` describes, and so carries labels, groups and clusters itself.
        spec: which column is which.
        meta: what the table says of itself, if Plumbline wrote it.

    Raises:
        DataError: a column is missing, ids do not match, a score is no probability, or a prediction is no class.
    """

    kind = "predictions"

    def __init__(
        self,
        columns: Mapping[str, Sequence[Any]],
        data: AuditData | None,
        *,
        spec: PredictionsSpec,
        meta: PredictionsMeta | None = None,
    ) -> None:
        where = spec.source
        self.name = where
        if data is None:
            data = carried_data(columns, where)
            units, columns = _units(columns), dict(columns)
        else:
            columns = _in_order(columns, _join(columns, data, spec))
            units = None
        scores, classes = _scores(columns, spec, meta, where)
        said = _said(columns, spec, where)
        if classes is None:
            known = {*data.task_labels} or {*(said or ())}
            classes = meta.classes if meta is not None else tuple(data.task_labels) or tuple(sorted(known))
        check_labels((v for v in data.labels if v is not None), classes, data.name)
        threshold, positive = (None, None) if meta is None else (meta.threshold, meta.positive)
        self._meta = PredictionsMeta(
            task=TASK if meta is None else meta.task,
            classes=classes,
            threshold=threshold,
            positive=positive,
            truncated=None if meta is None else meta.truncated,
        )
        if said is None:
            if scores is None:
                raise DataError(
                    "the table holds neither predictions nor scores",
                    expected="a column `prediction`, or columns `score_<class>`, or both",
                    fix="name them under `prediction` and `scores`",
                    where=where,
                )
            said = decide(scores, self._meta)
        foreign = sorted(set(said) - set(classes))
        if foreign:
            raise DataError(
                f"predictions that are no classes: {', '.join(map(repr, foreign[:10]))}",
                expected=f"one of {', '.join(map(repr, classes))}",
                fix="write the class names that the labels use",
                where=where,
            )
        self.data, self.classes, self.task = data, classes, self._meta.task
        self.threshold, self.positive = threshold, positive
        self.offers = frozenset({Need.PREDICTIONS} | data_needs(data))
        self.training: dict[str, Any] | None = None
        self.training_named: AuditData | None = None
        self.files: dict[str, str] = {}
        self.details: dict[str, str | int | float] = {"scores": "none" if scores is None else "one a class"}
        table = single_unit_rows(data, said, scores, self._meta)
        self._table = table if units is None else _with_units(table, units)
        self.digest = subject_digest(_digest(data.row_ids, said, scores), self.task, classes, threshold, positive)

    @classmethod
    def open(
        cls, spec: PredictionsSpec, data: AuditData | None = None, *, base_dir: Path = Path()
    ) -> PredictionsSubject:
        """Read a table from a file; the arguments are those of the class.

        Raises:
            DataError: the file cannot be read, or as the class.
        """
        path = place(base_dir, spec.source, error=DataError)
        return cls(read_path(path), data, spec=spec, meta=_own_meta(path))

    @classmethod
    def from_frame(
        cls, frame: pd.DataFrame, data: AuditData | None = None, *, spec: PredictionsSpec | None = None
    ) -> PredictionsSubject:
        """Take a table from a pandas frame."""
        columns = {str(name): frame[name].tolist() for name in frame.columns}
        return cls(columns, data, spec=spec or PredictionsSpec(source="data frame"))

    @classmethod
    def from_table(cls, table: pa.Table, data: AuditData | None = None, *, name: str = "table") -> PredictionsSubject:
        """Take an arrow table, such as one that another subject returned."""
        meta = PredictionsMeta.of(table) if METADATA_KEY in (table.schema.metadata or {}) else None
        return cls(table.to_pydict(), data, spec=PredictionsSpec(source=name), meta=meta)

    def predictions(self, ctx: Context) -> pa.Table:  # noqa: ARG002
        """The table of predictions, in the order of `data`."""
        return self._table

    def predict(self, inputs: Sequence[Any], ctx: Context) -> Scores:  # noqa: ARG002
        """There is no model to ask.

        Raises:
            Unavailable: always.
        """
        raise Unavailable("a table of predictions cannot be asked about new inputs", fix="give the checkpoint instead")


def carried_data(columns: Mapping[str, Sequence[Any]], where: str) -> AuditData:
    """The data that a table of predictions carries in the columns of `fine_tune.predictions`; inputs are unknown.

    Where an input row has several units, each is a row here, called ``<row_id>/<unit_id>``.

    Raises:
        DataError: a value cannot be used.
    """
    features = {name.removeprefix(GROUP): values for name, values in columns.items() if name.startswith(GROUP)}
    own = any(MISSING in values for values in features.values())
    # A feature may be called label or cluster; the mark keeps it apart from the role.
    renamed: dict[str, Sequence[Any]] = {f"role {name}": values for name, values in columns.items()}
    renamed |= {name: [None if v == MISSING else v for v in values] for name, values in features.items()}

    units = _units(columns)
    if units is not None:
        renamed["role row_id and unit_id"] = [f"{row}/{unit}" for row, unit in zip(*units, strict=True)]

    def role(name: str) -> str | None:
        return f"role {name}" if any(v is not None for v in columns.get(name, ())) else None

    roles = Roles(
        label=role("label"),
        groups=tuple(features),
        cluster=role("cluster"),
        counterpart=role("counterpart"),
        weight=role("weight"),
        id="role row_id and unit_id" if units is not None else role("row_id"),
        missing_group="own" if own else "exclude",
    )
    data = AuditData.from_columns(renamed, roles, name=where)
    if role("content"):
        data.columns["content"] = list(columns["content"])
    return data


def _units(columns: Mapping[str, Sequence[Any]]) -> tuple[list[str | None], list[str | None]] | None:
    """Row and unit ids as text, where some row has several units; else None."""
    if "row_id" not in columns or "unit_id" not in columns:
        return None
    rows, units = as_texts(columns["row_id"]), as_texts(columns["unit_id"])
    whole = all(row is not None and (unit or "").isdecimal() for row, unit in zip(rows, units, strict=True))
    return (rows, units) if whole and len(set(rows)) < len(rows) else None


def _with_units(table: pa.Table, units: tuple[list[str | None], list[str | None]]) -> pa.Table:
    """The table with the ids of rows and units in place of the ids that stood for both."""
    import pyarrow as pa

    for i, (name, values) in enumerate((("row_id", units[0]), ("unit_id", [int(u or 0) for u in units[1]]))):
        field = table.schema.field(name)
        table = table.set_column(i, field, pa.array(values, type=field.type))
    return table


def _own_meta(path: Path) -> PredictionsMeta | None:
    if path.suffix.lower() != ".parquet":
        return None
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    if METADATA_KEY not in (schema.metadata or {}):
        return None
    return PredictionsMeta.of(schema.empty_table())


def _in_order(columns: Mapping[str, Sequence[Any]], order: list[int]) -> Columns:
    """The rows at ``order``; columns that are in order already are not copied."""
    if order == list(range(len(next(iter(columns.values()))))):
        return dict(columns)
    return {name: [values[i] for i in order] for name, values in columns.items()}


def _join(columns: Mapping[str, Sequence[Any]], data: AuditData, spec: PredictionsSpec) -> list[int]:
    """For each row of the data, the row of the table."""
    where, count = spec.source, len(next(iter(columns.values())))
    column = spec.id or data.roles.get("id")
    if spec.id is None and "id" in data.roles and column not in columns:
        column = "row_id" if "row_id" in columns else column
    if column is None:
        if count != len(data):
            raise DataError(
                f"the table has {count:,} rows and {data.name} has {len(data):,}, and no ids tie them",
                expected="ids in both, or the same rows in the same order",
                fix="name the id columns: `id` of the data and `id` of the predictions",
                where=where,
            )
        _same_contents(columns, data, where)
        return list(range(count))
    if "id" not in data.roles:
        raise DataError(
            f"the predictions have ids ({column}), and {data.name} has none",
            expected="ids in both, or in neither",
            fix="name the data's id column under `id`",
            where=where,
        )
    ids = as_texts(take(columns, column, "id", where))
    if ids == data.row_ids:
        return list(range(count))
    places: dict[str | None, int] = {}
    for i, name in enumerate(ids):
        if name in places:
            raise DataError(
                f"the id {name!r} occurs in rows {places[name]} and {i}, counted from 0",
                expected="one prediction for each id", fix="remove the copies", where=where,
            )  # fmt: skip
        places[name] = i
    absent = [name for name in data.row_ids if name not in places]
    if absent:
        raise DataError(
            f"{len(absent):,} rows of {data.name} have no prediction, such as id {absent[0]!r}",
            expected="a prediction for every row",
            fix="predict on all rows, or audit on those that were predicted",
            where=where,
        )
    return [places[name] for name in data.row_ids]


def _same_contents(columns: Mapping[str, Sequence[Any]], data: AuditData, where: str) -> None:
    contents = data.content_digests
    if contents is None or "content" not in columns:
        return
    for i, (mine, theirs) in enumerate(zip(contents, columns["content"], strict=True)):
        if theirs is not None and mine != theirs:
            raise DataError(
                f"row {i} of the table was predicted on another input than row {i} of {data.name}",
                expected="the same rows in the same order, or ids", where=where,
            )  # fmt: skip


def _scores(
    columns: Columns, spec: PredictionsSpec, meta: PredictionsMeta | None, where: str
) -> tuple[Scores | None, tuple[str, ...] | None]:
    if spec.scores is not None:
        named = dict(spec.scores)
    else:
        found = [name for name in columns if name.startswith(SCORE)]
        classes = meta.classes if meta is not None and found else [name.removeprefix(SCORE) for name in found]
        named = {name: SCORE + name for name in classes}
    if not named:
        return None, None
    if len(named) < 2:
        raise DataError(
            f"there are scores of {next(iter(named))!r} alone",
            expected="a column of scores for each class",
            where=where,
        )
    raw = [
        _numbers(take(columns, column, f"the score of {name}", where), column, where) for name, column in named.items()
    ]
    scores = np.column_stack(raw)
    for bad, seen in (
        (~np.isfinite(scores).all(axis=1), "a score that is missing or not finite"),
        (((scores < 0) | (scores > 1)).any(axis=1), "a score outside 0 to 1"),
        (np.abs(scores.sum(axis=1) - 1) > SUM_TOLERANCE, "scores that do not sum to 1"),
    ):
        if bad.any():
            rows = np.flatnonzero(bad)
            raise DataError(
                f"{len(rows):,} rows have {seen}, such as row {rows[0]}, counted from 0: {scores[rows[0]].tolist()}",
                expected="probabilities that sum to 1 in every row",
                fix="apply softmax to logits; fill or remove rows without scores",
                where=where,
            )
    return scores, tuple(named)


def _numbers(values: Sequence[Any], column: str, where: str) -> Scores:
    if isinstance(values, np.ndarray) and values.dtype == np.float64:
        return values
    out = np.empty(len(values))
    for i, value in enumerate(values):
        try:
            out[i] = np.nan if value is None else float(value)
        except (TypeError, ValueError):
            raise DataError(
                f"row {i} of column {column!r} is {value!r}", expected="a number in every row", where=where
            ) from None
    return out


def _said(columns: Columns, spec: PredictionsSpec, where: str) -> list[str] | None:
    column = spec.prediction or ("prediction" if "prediction" in columns else None)
    if column is None:
        return None
    said = as_texts(take(columns, column, "prediction", where))
    absent = [i for i, v in enumerate(said) if v is None]
    if absent:
        raise DataError(
            f"{len(absent):,} rows have no prediction, such as row {absent[0]}, counted from 0",
            expected="a class name in every row", where=where,
        )  # fmt: skip
    return [str(v) for v in said]


def _digest(ids: Sequence[str], said: Sequence[str], scores: Scores | None) -> str:
    hashed = hashlib.sha256()
    # The JSON of [ids, said], piece by piece: whole, it would be the largest object of an audit of a million rows.
    for opening, texts in (("[[", ids), ("],[", said)):
        hashed.update(opening.encode())
        for start in range(0, len(texts), _PIECE):
            piece = canonical(list(texts[start : start + _PIECE]))[1:-1]
            hashed.update(f"{',' if start else ''}{piece}".encode())
    hashed.update(b"]]")
    if scores is not None:
        hashed.update(np.ascontiguousarray(scores, dtype="<f8").tobytes())
    return hashed.hexdigest()
