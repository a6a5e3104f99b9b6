"""Opens what a caller hands to `audit.run`: a checkpoint by name, or predictions as a frame or file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import PlanError
from audit.subjects import refuse_one_class
from fine_tune.data import AuditData
from fine_tune.roles import DataSpec, Roles
from probes.subject import Subject

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_INPUT = "text"
TABLES = {".csv", ".tsv", ".json", ".jsonl", ".parquet"}


def open_given(subject: str | Path | pd.DataFrame, data: str | Path | pd.DataFrame | None, roles: Roles) -> Subject:
    """The subject and its data.

    Raises:
        PlanError: a checkpoint was given without data.
        InputError: data or subject cannot be used.
    """
    from probes.subject import CheckpointSubject, PredictionsSpec, PredictionsSubject

    if _is_table(subject):
        rows = None if data is None else open_rows(data, roles)
        return _checked(PredictionsSubject.open(PredictionsSpec(source=str(subject)), rows))
    if not isinstance(subject, str | Path):
        return _checked(PredictionsSubject.from_frame(subject, open_rows(subject if data is None else data, roles)))
    if data is None:
        raise PlanError("a checkpoint was given without data", expected="data=: a data frame or a file with rows")
    from fine_tune.checkpoint import Checkpoint

    read = roles if roles.input else roles.model_copy(update={"input": DEFAULT_INPUT})
    return _checked(CheckpointSubject(Checkpoint.open(str(subject)), open_rows(data, read)))


def _checked(subject: Subject) -> Subject:
    refuse_one_class(subject.data, subject.classes)
    return subject


def open_rows(data: str | Path | pd.DataFrame, roles: Roles) -> AuditData:
    """Rows with roles from a frame or a file."""
    if isinstance(data, str | Path):
        return AuditData.load(DataSpec(source=str(data), **roles.model_dump()), base_dir=Path())
    return AuditData.from_frame(data, **roles.model_dump())


def _is_table(subject: object) -> bool:
    return isinstance(subject, str | Path) and Path(subject).suffix in TABLES
