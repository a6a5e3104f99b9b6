"""Data with roles: which column is the input, the label, a sensitive feature, a cluster. `AuditData` holds
the rows and a digest of their content; it never drops a row and never guesses a role.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from json.encoder import encode_basestring
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fine_tune.errors import DataError
from fine_tune.media import read_files
from fine_tune.predictions import MISSING
from fine_tune.roles import (
    DataSpec,
    MissingGroup,
    Roles,
    by_role,
    canonical,
    check_labels,
    class_names,
    content_digest,
)
from fine_tune.sources import HUB, Columns, dataset_columns, read_hub, read_lines, read_path, take
from fine_tune.untrusted import place

if TYPE_CHECKING:
    import datasets
    import pandas as pd

__all__ = ["AuditData", "DataSpec", "MissingGroup", "Roles", "check_labels", "content_digest"]

DATA_VARIABLE = "PLUMBLINE_DATA"


@dataclass(frozen=True, kw_only=True, eq=False)
class AuditData:
    """Rows with roles. Build one with `load`, `from_frame` or `from_dataset`.

    Attributes:
        name: what the report calls it.
        roles: role to column name, for those that are filled; ``groups`` names several.
        task_labels: class names, in the order of `Roles.labels` if that is given, else sorted.
        missing_group: `Roles.missing_group`.
        provenance: where the rows came from: source, rows available, sample and its seed.
        columns: the rows by role: ``input``, ``label``, ``group_<name>``, ``cluster``, ... all of one length.
    """

    name: str
    roles: dict[str, Any]
    task_labels: tuple[str, ...]
    missing_group: MissingGroup
    provenance: dict[str, str | int] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(repr=False)

    @classmethod
    def load(cls, spec: DataSpec, *, base_dir: Path = Path(), seed: int = 0) -> AuditData:
        """Read what a plan names.

        Args:
            spec: source and roles.
            base_dir: the folder that relative paths start from.
            seed: draws the sample, if one is asked for.

        Raises:
            DataError: the source cannot be read, a column is missing, or a value cannot be used.
        """
        columns, where = _read(spec, base_dir)
        data = _build(columns, spec, name=spec.name or spec.source, where=where)
        total = len(data)
        provenance: dict[str, str | int] = {"source": spec.source, "read": where, "rows_available": total}
        if spec.split:
            provenance["split"] = spec.split
        if spec.sample is not None and spec.sample < total:
            chosen = np.sort(np.random.default_rng(seed).choice(total, size=spec.sample, replace=False))
            data = data.select(chosen.tolist())
            provenance |= {"sample": spec.sample, "sample_seed": seed}
        return data._with(provenance=provenance)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        input: str | None = None,
        label: str | None = None,
        groups: Sequence[str] = (),
        cluster: str | None = None,
        counterpart: str | None = None,
        rationale: str | None = None,
        weight: str | None = None,
        id: str | None = None,
        labels: Mapping[Any, str] | None = None,
        missing_group: MissingGroup = "exclude",
        name: str = "data frame",
    ) -> AuditData:
        """Rows of a pandas frame; the arguments are the fields of `Roles`.

        Raises:
            DataError: as `load`.
        """
        if len(frame) == 0:
            raise DataError("the frame holds no rows", expected="at least one row of data", where=name)
        roles = Roles(
            input=input, label=label, groups=tuple(groups), cluster=cluster, counterpart=counterpart,
            rationale=rationale, weight=weight, id=id, labels=dict(labels or {}), missing_group=missing_group,
        )  # fmt: skip
        return _build({str(c): frame[c].tolist() for c in frame.columns}, roles, name=name, where=name)

    @classmethod
    def from_dataset(cls, dataset: datasets.Dataset, roles: Roles, *, name: str = "dataset") -> AuditData:
        """Rows of a `datasets.Dataset`; ClassLabel codes become names.

        Raises:
            DataError: as `load`.
        """
        return _build(dataset_columns(dataset, where=name, keep_codes=_codes(roles)), roles, name=name, where=name)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Sequence[Any]], roles: Roles, *, name: str = "data") -> AuditData:
        """Rows given as lists or arrays of one length.

        Raises:
            DataError: as `load`.
        """
        return _build(dict(columns), roles, name=name, where=name)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @cached_property
    def digest(self) -> str:
        """sha256 over rows, their order and their roles; the same whatever file format they came from."""
        parts = {name: values for name, values in self.columns.items() if name != "input"}
        if self.content_digests is not None:
            parts["content"] = self.content_digests
        names = sorted(parts)
        head = {"columns": names, "missing_group": self.missing_group, "rows": len(self)}
        hashed = hashlib.sha256(canonical(head).encode())
        for cells in zip(*(map(_cell, parts[name]) for name in names), strict=True):
            hashed.update(f"\n[{','.join(cells)}]".encode())
        return hashed.hexdigest()

    @property
    def inputs(self) -> list[Any]:
        """What the model reads, one a row.

        Raises:
            DataError: no column has that role.
        """
        if "input" not in self.columns:
            raise DataError(f"{self.name} has no inputs", expected="data whose `input` names a column")
        return list(self.columns["input"])

    @property
    def has_inputs(self) -> bool:
        """Whether `inputs` can be read."""
        return "input" in self.columns

    @property
    def labels(self) -> list[str | None]:
        """Class names; None where a row has none or no column has that role."""
        return list(self.columns.get("label") or [None] * len(self))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the sensitive features."""
        return tuple(self.roles.get("groups", ()))

    def group(self, name: str) -> list[str | None]:
        """The groups of one sensitive feature; a missing value is None, or `MISSING` if that is a group."""
        own = MISSING if self.missing_group == "own" else None
        return [own if value is None else value for value in self._group(name)]

    def missing(self, name: str) -> int:
        """How many rows have no value in a sensitive feature."""
        return sum(value is None for value in self._group(name))

    @property
    def row_ids(self) -> list[str]:
        """The ids; the row numbers from 0 where no column has that role."""
        return list(self.columns["id"])

    @property
    def clusters(self) -> list[str] | None:
        """Cluster names, or None where no column has that role."""
        return self.columns.get("cluster")

    @property
    def counterparts(self) -> list[str | None] | None:
        """The value that twins share, None for rows without twins; None as a whole where nobody has twins."""
        return self.columns.get("counterpart")

    @property
    def weights(self) -> list[float] | None:
        """Row weights, finite and not negative, or None."""
        return self.columns.get("weight")

    @property
    def rationales(self) -> list[str | None] | None:
        """What people marked, as text or JSON, or None."""
        return self.columns.get("rationale")

    @cached_property
    def content_digests(self) -> list[str] | None:
        """sha256 of each input, or None where the inputs are unknown."""
        if "input" in self.columns:
            return [content_digest(value) for value in self.columns["input"]]
        return self.columns.get("content")

    @property
    def dataset(self) -> datasets.Dataset:
        """The rows as a `datasets.Dataset`, its columns named by role."""
        import datasets

        return datasets.Dataset.from_dict(self.columns)

    def select(self, indices: Iterable[int]) -> AuditData:
        """Some rows, in the order given; ids stay."""
        chosen = list(indices)
        return self._with(columns={name: [values[i] for i in chosen] for name, values in self.columns.items()})

    def require_labels(self, classes: Sequence[str] | None = None, labels: Sequence[str | None] | None = None) -> None:
        """Check that labels can be compared with.

        Args:
            classes: what they may be; anything if None.
            labels: of every unit, where a task reads several off a row; one a row if None.

        Raises:
            DataError: no labels, one class only, or labels outside ``classes``; both sides are listed.
        """
        given = self.labels if labels is None else labels
        found = Counter(label for label in given if label is not None)
        if not found:
            raise DataError(f"{self.name} has no labels", expected="data whose `label` names a column with values")
        if classes is not None:
            check_labels(found, classes, self.name)
        if len(found) == 1:
            raise DataError(
                f"every label of {self.name} is {next(iter(found))!r}",
                expected="rows of at least two classes",
                fix="check the label column, the split and `labels`",
            )

    def _group(self, name: str) -> list[str | None]:
        if name not in self.features:
            raise DataError(
                f"{self.name} has no sensitive feature {name!r}",
                expected=f"one of {', '.join(self.features) or 'none'}",
            )
        values: list[str | None] = self.columns[f"group_{name}"]
        return values

    def _with(self, **changes: Any) -> AuditData:
        kept = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return AuditData(**(kept | changes))


def _cell(value: Any) -> str:
    """What `canonical` gives, without its price for the two kinds of value that most cells are."""
    if value is None:
        return "null"
    return encode_basestring(value) if isinstance(value, str) else canonical(value)


def _read(spec: DataSpec, base_dir: Path) -> tuple[Columns, str]:
    root = os.environ.get(DATA_VARIABLE, "")
    if root and spec.local is not None:
        if isinstance(spec.local, str):
            path = Path(root) / spec.local
            return _with_files(read_path(path, keep_codes=_codes(spec)), spec, path), spec.local
        return read_lines({c: Path(root) / p for c, p in spec.local.items()}), ", ".join(spec.local.values())
    if spec.source.startswith(HUB):
        columns = read_hub(spec.source, config=spec.config, split=spec.split, keep_codes=_codes(spec))
        return columns, spec.source
    path = place(base_dir, spec.source, error=DataError)
    return _with_files(read_path(path, split=spec.split, keep_codes=_codes(spec)), spec, path), spec.source


def _with_files(columns: Columns, spec: DataSpec, path: Path) -> Columns:
    """The columns, with the content of files in place of their names where the plan says so."""
    if not spec.files or spec.input is None:
        return columns
    names = take(columns, spec.input, "input", str(path))
    folder = path if path.is_dir() else path.parent
    return {**columns, spec.input: read_files(names, folder, str(path))}


def _codes(roles: Roles) -> tuple[str, ...]:
    named_by_code = roles.label is not None and roles.labels and all(k.isdecimal() for k in roles.labels)
    return (str(roles.label),) if named_by_code else ()


def _build(columns: Columns, roles: Roles, *, name: str, where: str) -> AuditData:
    out = by_role(columns, roles, where)
    parts = ("input", "label", "groups", "cluster", "counterpart", "rationale", "weight", "id")
    return AuditData(
        name=name,
        roles={part: getattr(roles, part) for part in parts if getattr(roles, part)},
        task_labels=class_names(roles, out.get("label", [])),
        missing_group=roles.missing_group,
        columns=out,
    )
