"""What a run rested on is written into its bundle here: the model's files, the data's parts, the machine and the lock.

Nothing of it goes into the record, so that a resumed run on another machine has the same ``results.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audit.machine import environment_lock
from audit.splits import audited, trained
from fine_tune.checkpoint_files import list_files, sha256_of
from reports.bundle import Bundle, BundleWriter
from reports.files import JSON
from reports.manifests import DATA_MANIFEST, ENVIRONMENT, LOCK, MODEL_MANIFEST, DataManifest, ModelManifest, tree_digest

if TYPE_CHECKING:
    from probes.subject import Subject
    from reports.lock import Lock
    from reports.record import AuditRecord


def write_provenance(writer: BundleWriter, record: AuditRecord, subject: Subject, lock: Lock | None) -> None:
    """Write the three lists, and the lock if there is one, below ``provenance/``."""
    rows = Bundle(writer.folder).rows(record.predictions) if record.predictions is not None else None
    training_data = getattr(subject, "training_data", None)
    data = DataManifest(
        card=record.data,
        source=dict(subject.data.provenance),
        splits=(audited(record.data, rows, subject.data), *trained(record.training, training_data)),
    )
    lists = {
        MODEL_MANIFEST: model_manifest(subject),
        DATA_MANIFEST: data,
        ENVIRONMENT: environment_lock(dict(record.environment)),
    }
    for path, body in lists.items():
        writer.write_text(path, body.to_json(), JSON)
    if lock is not None:
        writer.write_text(LOCK, lock.to_json(), JSON)


def model_manifest(subject: Subject) -> ModelManifest:
    """Every file of a subject that lies in a folder, those that decide nothing too; other subjects have none."""
    files = {**_beside(subject), **subject.files}
    return ModelManifest(
        name=subject.name,
        digest=subject.digest,
        files=dict(sorted(files.items())),
        deciding=tuple(sorted(subject.files)),
        tree=tree_digest(files) if files else None,
    )


def _beside(subject: Subject) -> dict[str, str]:
    """sha256 of the files that lie beside those that decide. Pickles are read as bytes alone."""
    found = {}
    for prefix, folder in _folders(subject).items():
        for path in list_files(folder):
            if f"{prefix}{path}" not in subject.files and (folder / path).is_file():
                found[f"{prefix}{path}"] = sha256_of(folder / path)
    return found


def _folders(subject: Subject) -> dict[str, Path]:
    """The folders that a subject's files lie in, by how the names of its files begin."""
    from probes.checkpoint_subject import CheckpointSubject
    from probes.ensemble_subject import EnsembleSubject
    from probes.twins_subject import TwinsSubject

    if isinstance(subject, CheckpointSubject):
        return {"": subject.checkpoint.folder}
    if isinstance(subject, EnsembleSubject):
        return {f"{name}/": member.checkpoint.folder for name, member in subject.members.items()}
    if isinstance(subject, TwinsSubject):
        inside = {f"epsilon {twin.name}/": _folders(twin.subject) for twin in subject.twins}
        return {f"{outer}{inner}": folder for outer, all_ in inside.items() for inner, folder in all_.items()}
    return {}
