"""Opens whatever a caller hands to `audit.run`: a checkpoint by name, a model or pipeline in memory, a callable, an estimator,
an endpoint, or predictions as a frame or file. It tells them apart by what they are and what they can do, and loads no
library that the caller has not loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import PlanError
from audit.subjects import refuse_one_class
from fine_tune.data import AuditData
from fine_tune.roles import DataSpec, Roles
from fine_tune.sources import read_path
from fine_tune.tasks import find_task
from probes.subject import (
    CallableSpec,
    CallableSubject,
    CheckpointSubject,
    EndpointSpec,
    EndpointSubject,
    EnsembleSubject,
    EstimatorSubject,
    LoadedModel,
    ModelSubject,
    PipelineSubject,
    PredictionsSpec,
    PredictionsSubject,
    Subject,
    subject_of,
)

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_INPUT = "text"
TABLES = {".csv", ".tsv", ".json", ".jsonl", ".parquet"}
KINDS = (
    "a checkpoint's folder or hub id, a table of predictions, a PreTrainedModel, a transformers.pipeline, a callable, an"
    " estimator with predict_proba, or an EndpointSpec"
)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a caller says beside a subject that cannot say it itself.

    Attributes:
        processor: tokenizer or image processor of a model in memory.
        classes: names in the order of a callable's scores.
        digest: under which answers of a callable or an estimator are reused.
    """

    processor: Any = None
    classes: tuple[str, ...] | None = None
    digest: str | None = None

    def only(self, kind: str, *allowed: str) -> None:
        """Check that nothing was said that this kind of subject does not take.

        Raises:
            PlanError: something was.
        """
        for field in fields(self):
            if getattr(self, field.name) is not None and field.name not in allowed:
                raise PlanError(
                    f"{field.name}= was given beside {kind}",
                    expected=f"at most {', '.join(f'{a}=' for a in allowed)}" if allowed else f"{kind} alone",
                )


def open_given(
    subject: Any, data: str | Path | pd.DataFrame | None, roles: Roles, *, inputs: Sequence[str] = (), told: Told
) -> Subject:
    """The subject and its data.

    Args:
        subject: what is examined.
        data: the rows to examine it on; None where predictions carry their own, or the subject has its data.
        roles: columns by role.
        inputs: several columns that make up one input, for estimators and callables that read features.
        told: what the subject cannot say of itself.

    Raises:
        PlanError: nothing that can be examined, no data, or something that this kind of subject does not take.
        InputError: data or subject cannot be used.
    """
    if _is_subject(subject):
        told.only("a subject that is complete")
        if data is not None:
            raise PlanError("data was given beside a subject that holds its own", expected="data=None")
        opened: Subject = subject
    elif _is_table(subject):
        told.only("a table of predictions")
        rows = None if data is None else open_rows(data, roles)
        opened = PredictionsSubject.open(PredictionsSpec(source=str(subject)), rows)
    elif _is_frame(subject):
        told.only("a table of predictions")
        opened = PredictionsSubject.from_frame(subject, open_rows(subject if data is None else data, roles))
    elif data is None:
        raise PlanError(f"{_named(subject)} was given without data", expected="data=: a data frame or a file with rows")
    else:
        opened = _open_with_rows(subject, data, _Reading(roles, tuple(inputs)), told)
    units = (
        find_task(opened.task).labels(opened.data) if isinstance(opened, CheckpointSubject | EnsembleSubject) else None
    )
    refuse_one_class(opened.data, opened.classes, units)
    return opened


@dataclass(frozen=True)
class _Reading:
    """Which columns are read, and as what."""

    roles: Roles
    inputs: tuple[str, ...]

    def rows(self, data: str | Path | pd.DataFrame, wanted: Sequence[str] | None = None) -> AuditData:
        """The rows; inputs are several columns, the one that was named, ``wanted`` if all are there, or ``text``."""
        inputs = self.inputs
        if not inputs and not self.roles.input and wanted and not isinstance(data, str | Path):
            inputs = tuple(wanted) if set(wanted) <= set(map(str, data.columns)) else ()
        if inputs:
            return open_features(data, self.roles, inputs)
        read = self.roles if self.roles.input else self.roles.model_copy(update={"input": DEFAULT_INPUT})
        return open_rows(data, read)


def _open_with_rows(subject: Any, data: str | Path | pd.DataFrame, reading: _Reading, told: Told) -> Subject:
    if isinstance(subject, EndpointSpec):
        told.only("an endpoint")
        return EndpointSubject(subject, reading.rows(data))
    if isinstance(subject, str | Path):
        told.only("a checkpoint")
        from fine_tune.checkpoint import Checkpoint

        return subject_of(Checkpoint.open(str(subject)), reading.rows(data))
    if _is_of(subject, "transformers", "Pipeline"):
        told.only("a pipeline")
        return PipelineSubject(LoadedModel.of_pipeline(subject), reading.rows(data))
    if _is_of(subject, "transformers", "PreTrainedModel") or _is_of(subject, "peft", "PeftModel"):
        told.only("a model in memory", "processor")
        return ModelSubject(LoadedModel.of(subject, told.processor), reading.rows(data))
    if _is_of(subject, "torch", "Module"):
        raise PlanError(
            f"{_named(subject)} is a torch module without a tokenizer or processor of its own",
            expected=KINDS,
            fix="give a function from a list of inputs to probabilities that asks it",
        )
    if callable(subject) and not hasattr(subject, "predict_proba"):
        told.only("a callable", "classes", "digest")
        return CallableSubject(subject, reading.rows(data), CallableSpec(classes=told.classes, digest=told.digest))
    if hasattr(subject, "predict_proba") or hasattr(subject, "predict"):
        told.only("an estimator", "digest")
        from probes.callable_subject import feature_names

        rows = reading.rows(data, feature_names(subject))
        return EstimatorSubject(subject, rows, CallableSpec(digest=told.digest), labels=reading.roles.labels)
    raise PlanError(f"{_named(subject)} is nothing that can be examined", expected=KINDS)


def open_rows(data: str | Path | pd.DataFrame, roles: Roles) -> AuditData:
    """Rows with roles from a frame or a file."""
    if isinstance(data, str | Path):
        return AuditData.load(DataSpec(source=str(data), **roles.model_dump()), base_dir=Path())
    return AuditData.from_frame(data, **roles.model_dump())


def open_features(data: str | Path | pd.DataFrame, roles: Roles, inputs: Sequence[str]) -> AuditData:
    """Rows whose input is a mapping of several columns, from a frame or a file.

    Raises:
        PlanError: one of the columns is not there.
    """
    if isinstance(data, str | Path):
        name, columns = str(data), {k: list(v) for k, v in read_path(Path(data)).items()}
    else:
        name, columns = "data frame", {str(c): data[c].tolist() for c in data.columns}
    absent = [c for c in inputs if c not in columns]
    if absent:
        raise PlanError(f"no column is called {absent[0]!r}", expected=f"one of {', '.join(columns)}", where=name)
    joined = ", ".join(inputs) + (" " if ", ".join(inputs) in columns else "")
    values = [dict(zip(inputs, row, strict=True)) for row in zip(*(columns[c] for c in inputs), strict=True)]
    return AuditData.from_columns({**columns, joined: values}, roles.model_copy(update={"input": joined}), name=name)


def keeps_answers(subject: Subject) -> bool:
    """Whether answers of this subject may be found again in a later run; if not, keeping them only takes room."""
    return bool(getattr(subject, "reusable", True))


def _is_of(subject: object, library: str, name: str) -> bool:
    """Whether it is an instance of a library's class, told by name so that nothing is loaded to find out."""
    return any(k.__name__ == name and k.__module__.partition(".")[0] == library for k in type(subject).__mro__)


def _is_subject(subject: object) -> bool:
    return all(hasattr(subject, name) for name in ("predictions", "predict", "offers", "digest", "data", "classes"))


def _is_table(subject: object) -> bool:
    return isinstance(subject, str | Path) and Path(subject).suffix in TABLES


def _is_frame(subject: object) -> bool:
    return _is_of(subject, "pandas", "DataFrame")


def _named(subject: object) -> str:
    return "a checkpoint" if isinstance(subject, str | Path) else f"an object of type {type(subject).__name__}"
