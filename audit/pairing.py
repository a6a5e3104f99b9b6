"""Two runs on the same rows: which rows those are. It computes no figure.

Rows are paired by id (with equal content) or by content.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from probes.evidence import Message, message
from reports.record import AuditRecord, Finding, Policy, RowsRef

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_KEYS = ("row_id", "unit_id")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A record with its rows at hand, and the policy that it was decided by, where that is known."""

    record: AuditRecord
    rows_of: Callable[[RowsRef], pa.Table]
    policy: Policy | None = None

    def rows(self, finding: Finding) -> pa.Table | None:
        return self.rows_of(finding.rows) if finding.rows else None


class Incomparable(Exception):
    """Two runs cannot be compared; carries the sentence that says why."""

    def __init__(self, reason: Message) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The rows that two tables have in common.

    Attributes:
        first, second: positions in either table; where each key names one row, aligned.
        units, older_units: for each of these rows, the number of its key; equal numbers are the same row of the data.
        by: what tied them together.
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    units: npt.NDArray[np.int64]
    older_units: npt.NDArray[np.int64]
    by: Literal["id", "content"]

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True, kw_only=True)
class Both:
    """One probe instance in both runs: what was found, and the rows in question.

    ``pairs`` is None where the rows are not the same ones; then each run keeps its own.
    """

    finding: Finding
    older: Finding
    rows: pa.Table
    older_rows: pa.Table
    pairs: Pairs | None

    @classmethod
    def of(cls, finding: Finding, older: Finding, rows: pa.Table, older_rows: pa.Table) -> Both:
        """Cut down to the common rows, where there are any.

        Raises:
            Incomparable: common rows carry different labels.
        """
        pairs = pair(rows, older_rows)
        if not len(pairs):
            return cls(finding=finding, older=older, rows=rows, older_rows=older_rows, pairs=None)
        return cls(
            finding=finding,
            older=older,
            rows=rows.take(pairs.first),
            older_rows=older_rows.take(pairs.second),
            pairs=pairs,
        )


def pair(rows: pa.Table, older: pa.Table) -> Pairs:
    """The rows that both tables hold, in the first table's order.

    Rows are common where their ids and contents agree; without common ids, where their contents do, each used once. A
    probe may keep several rows of one input: then all of them belong to its key.

    Raises:
        Incomparable: common rows carry different labels.
    """
    import numpy as np

    by: Literal["id", "content"] = "id"
    mine, theirs = _keyed(rows, by_id=True), _keyed(older, by_id=True)
    common = [k for k in mine if k in theirs]
    if not common:
        by = "content"
        mine, theirs = _keyed(rows, by_id=False), _keyed(older, by_id=False)
        common = [k for k in mine if k in theirs]
    first = np.asarray([i for k in common for i in mine[k]], dtype=np.int64)
    second = np.asarray([i for k in common for i in theirs[k]], dtype=np.int64)
    numbers = np.arange(len(common), dtype=np.int64)
    units = np.repeat(numbers, [len(mine[k]) for k in common]) if common else numbers
    older_units = np.repeat(numbers, [len(theirs[k]) for k in common]) if common else numbers
    if common and "label" in rows.column_names and "label" in older.column_names:
        here, there = rows["label"].to_pylist(), older["label"].to_pylist()
        differ = sum({here[i] for i in mine[k]} != {there[i] for i in theirs[k]} for k in common)
        if differ:
            raise Incomparable(message("{count} of the common rows carry other labels in the baseline", count=differ))
    return Pairs(first=first, second=second, units=units, older_units=older_units, by=by)


def _keyed(rows: pa.Table, *, by_id: bool) -> dict[tuple[object, ...], list[int]]:
    names = set(rows.column_names)
    out: dict[tuple[object, ...], list[int]] = {}
    if by_id:
        if "row_id" not in names:
            return out
        columns = [c for c in (*_KEYS, "content") if c in names]
        for i, key in enumerate(zip(*(rows[c].to_pylist() for c in columns), strict=True)):
            out.setdefault(key, []).append(i)
        return out
    if "content" not in names:
        return out
    seen: dict[tuple[str, object], int] = {}
    units = rows["unit_id"].to_pylist() if "unit_id" in names else [0] * rows.num_rows
    for i, (content, unit) in enumerate(zip(rows["content"].to_pylist(), units, strict=True)):
        if content is None:
            continue
        count = seen[content, unit] = seen.get((content, unit), -1) + 1
        out[(content, unit, count)] = [i]
    return out
