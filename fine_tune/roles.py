"""Which column plays which part, and what its values must be. The models are part of a plan; the functions turn
raw columns into columns by role, and refuse, with row numbers, every value that would make a figure wrong.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from fine_tune.errors import DataError
from fine_tune.sources import Columns, take

MAX_GROUPS = 1000

_WHOLE_FLOAT = re.compile(r"-?\d+\.0")

MissingGroup = Literal["exclude", "own"]


class Roles(BaseModel):
    """Which column plays which part; None where no column does.

    Attributes:
        input: what the model reads.
        label: the true class.
        groups: sensitive features, any number.
        cluster: rows that belong together, such as one template or one user. A row without a value is its own
            cluster.
        counterpart: a value that twins share which differ only in who is meant.
        rationale: what people marked as the reason.
        weight: how much a row counts, finite and not negative.
        id: names a row; unique.
        labels: the class name for each value in the label column, compared as text; every value is listed.
        missing_group: a row without a value in a sensitive feature is left out of that feature, or is a group
            of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    input: str | None = None
    label: str | None = None
    groups: tuple[str, ...] = ()
    cluster: str | None = None
    counterpart: str | None = None
    rationale: str | None = None
    weight: str | None = None
    id: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    missing_group: MissingGroup = "exclude"

    @field_validator("labels", mode="before")
    @classmethod
    def _keys_as_text(cls, value: Any) -> Any:
        return {as_text(k): as_text(v) for k, v in value.items()} if isinstance(value, Mapping) else value

    @field_validator("groups")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a sensitive feature is named twice")
        return value


class DataSpec(Roles):
    """A data source of a plan.

    Attributes:
        source: a csv, tsv, json, jsonl or parquet file, a folder written by `datasets.save_to_disk`, or
            ``hub:org/name[/config]``. Paths are relative to the plan.
        local: read this below ``$PLUMBLINE_DATA`` instead, where that is set: a path, or a text file for each
            column, one value a line.
        split: a split of the source; in a file, a value of its column ``split``.
        config: configuration of a hub dataset, if ``source`` does not name it.
        name: what the report calls the data; the source otherwise.
        sample: keep this many rows, drawn without replacement; all of them if there are fewer.
        files: the input column holds names of files, below the folder of the source; what they hold is the input.
    """

    source: str
    local: str | dict[str, str] | None = None
    split: str | None = None
    config: str | None = None
    name: str | None = None
    sample: int | None = Field(default=None, ge=1)
    files: bool = False


def by_role(columns: Columns, roles: Roles, where: str) -> dict[str, list[Any]]:
    """Columns named by role, with values of one type each.

    Returns:
        ``id`` always (the row number where no column has that role); ``input``, ``label``, ``group_<name>``,
        ``cluster``, ``counterpart``, ``rationale`` and ``weight`` where given.

    Raises:
        DataError: a column is missing, or holds a value that cannot be used.
    """

    def raw(role: str, name: str) -> list[Any]:
        return list(take(columns, name, role, where))

    out: dict[str, list[Any]] = {}
    if roles.input is not None:
        out["input"] = _inputs(raw("input", roles.input), where)
    count = len(next(iter(columns.values())))
    out["id"] = [str(i) for i in range(count)] if roles.id is None else _ids(raw("id", roles.id), where)
    if roles.label is not None:
        out["label"] = _labels(as_texts(raw("label", roles.label)), roles.labels, where)
    for feature in roles.groups:
        out[f"group_{feature}"] = _groups(raw("groups", feature), feature, where)
    if roles.cluster is not None:
        clusters = zip(as_texts(raw("cluster", roles.cluster)), out["id"], strict=True)
        out["cluster"] = [v or f"row {i}" for v, i in clusters]
    for role, name in (("counterpart", roles.counterpart), ("rationale", roles.rationale)):
        if name is not None:
            out[role] = as_texts(raw(role, name))
    if roles.weight is not None:
        out["weight"] = _weights(raw("weight", roles.weight), where)
    return out


def class_names(roles: Roles, labels: Iterable[str | None]) -> tuple[str, ...]:
    """Class names in the order of `Roles.labels` if it is given, else sorted, numbers by size."""
    if roles.labels:
        return tuple(dict.fromkeys(roles.labels.values()))
    return tuple(sorted({v for v in labels if v is not None}, key=_numbers_first))


def content_digest(value: Any) -> str:
    """sha256 of an input: of its UTF-8 text, its bytes, or its canonical JSON."""
    if isinstance(value, str):
        return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def check_labels(found: Iterable[str], classes: Sequence[str], name: str) -> None:
    """Check that every label is one of the classes.

    Raises:
        DataError: listing both sides.
    """
    foreign = sorted(set(found) - set(classes))
    if foreign:
        raise DataError(
            f"{name} has labels that are no classes: {', '.join(map(repr, foreign[:10]))}",
            expected=f"one of {', '.join(map(repr, classes))}",
            fix="name the class for each value under `labels`, such as labels: {0: hateful, 1: other}",
        )


def as_text(value: Any) -> str | None:
    """A value as text, the same from every file format; None, NaN and NA are missing.

    See `as_texts` for whole columns.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return repr(value)
    if isinstance(value, bool | int):
        return str(value)
    return canonical(value, spaced=True)


def as_texts(values: Iterable[Any]) -> list[str | None]:
    """A column as text; empty cells are missing.

    If every value ends in ``.0``, none does afterwards: a column of integers with a gap turns to floats in pandas.
    """
    texts = [as_text(value) or None for value in values]
    present = [text for text in texts if text is not None]
    if present and all(_WHOLE_FLOAT.fullmatch(text) for text in present):
        return [None if text is None else text.removesuffix(".0") for text in texts]
    return texts


def canonical(value: Any, *, spaced: bool = False) -> str:
    """A value as JSON, always the same text for the same value."""

    def default(other: Any) -> Any:
        if isinstance(other, np.generic | np.ndarray):
            return other.tolist()
        if isinstance(other, bytes):
            return hashlib.sha256(other).hexdigest()
        return other.isoformat() if hasattr(other, "isoformat") else str(other)

    separators = (", ", ": ") if spaced else (",", ":")
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=separators, default=default)


def _numbers_first(text: str) -> tuple[bool, int, str]:
    whole = text.removeprefix("-").isdecimal()
    return (not whole, int(text) if whole else 0, text)


def _rows(indices: Sequence[int]) -> str:
    shown = ", ".join(str(i) for i in indices[:5])
    more = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
    return f"row{'s' if len(indices) > 1 else ''} {shown}{more}"


def _inputs(values: list[Any], where: str) -> list[Any]:
    kept = [_input(v, i, where) for i, v in enumerate(values)]
    empty = [i for i, v in enumerate(kept) if v is None]
    if empty:
        raise DataError(
            f"no input in {_rows(empty)}, counted from 0", expected="an input in every row",
            fix="remove these rows or fill them", where=where,
        )  # fmt: skip
    return kept


def _input(value: Any, row: int, where: str) -> Any:
    if isinstance(value, dict | list | bytes | np.ndarray):
        return value
    if not type(value).__module__.startswith("PIL."):
        return as_text(value)
    kept = io.BytesIO()
    try:
        value.save(kept, format="PNG")
    except (OSError, ValueError) as error:
        raise DataError(
            f"row {row} is an image of mode {value.mode}, which PNG cannot hold: {error}",
            expected="grey or colour images",
            fix='convert it first: image.convert("RGB")',
            where=where,
        ) from None
    return kept.getvalue()


def _ids(values: list[Any], where: str) -> list[str]:
    ids = as_texts(values)
    absent = [i for i, v in enumerate(ids) if v is None]
    if absent:
        raise DataError(f"no id in {_rows(absent)}, counted from 0", expected="an id in every row", where=where)
    if len(set(ids)) < len(ids):
        doubled = [name for name, times in Counter(ids).items() if times > 1]
        rows = [i for i, v in enumerate(ids) if v == doubled[0]]
        raise DataError(
            f"{len(doubled)} ids occur more than once, such as {doubled[0]!r} in {_rows(rows)}",
            expected="one row for each id",
            fix="remove the copies, or name another column as id",
            where=where,
        )
    return [str(i) for i in ids]


def _labels(values: list[str | None], mapping: Mapping[str, str], where: str) -> list[str | None]:
    if not mapping:
        return values
    foreign = sorted({v for v in values if v is not None and v not in mapping})
    if foreign:
        close = difflib.get_close_matches(foreign[0], list(mapping), n=1)
        raise DataError(
            f"{len(foreign)} label values are not under `labels`: {', '.join(map(repr, foreign[:10]))}",
            expected=f"one of {', '.join(map(repr, mapping))}",
            fix=f"did you mean {close[0]!r}?" if close else "add them under `labels` with their class names",
            where=where,
        )
    return [None if v is None else mapping[v] for v in values]


def _groups(values: list[Any], feature: str, where: str) -> list[str | None]:
    out = as_texts(values)
    distinct = len(set(out) - {None})
    if distinct > MAX_GROUPS:
        raise DataError(
            f"the sensitive feature {feature!r} has {distinct:,} different values",
            expected=f"at most {MAX_GROUPS:,} groups",
            fix="bin the values into named groups, such as age bands, and name that column",
            where=where,
        )
    return out


def _weights(values: list[Any], where: str) -> list[float]:
    try:
        weights = [math.nan if v is None else float(v) for v in values]
    except (TypeError, ValueError) as error:
        raise DataError(f"a weight is no number: {error}", expected="a number in every row", where=where) from None
    bad = [i for i, w in enumerate(weights) if not math.isfinite(w) or w < 0]
    if bad:
        raise DataError(
            f"the weight is {weights[bad[0]]} in {_rows(bad)}, counted from 0",
            expected="finite weights that are not negative", fix="fill or remove these rows", where=where,
        )  # fmt: skip
    return weights
