"""Are the files of a model at hand those that were audited? Hashes them, names those that differ, and opens none."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from fine_tune.errors import CheckpointError, PlumblineError
from reports.bundle import Bundle
from reports.manifests import MODEL_MANIFEST, Provenance
from reports.record import AuditRecord

if TYPE_CHECKING:
    from audit.verify import VerificationReport


def verify_model(bundle: Bundle, record: AuditRecord, folder: Path, report: VerificationReport) -> None:
    """Add what was found to the report.

    A file that decides nothing (a readme) may differ, and is told; so may one that the model would not read.

    Raises:
        CheckpointError: there is no such folder, or it holds links that lead out of it.
    """
    try:
        manifest = Provenance.of(bundle).model
    except PlumblineError:
        return  # told already, where the lists themselves are checked
    if record.subject.kind != "checkpoint":
        report.problems.append(
            f"{MODEL_MANIFEST}: {folder} cannot be compared with a subject of kind {record.subject.kind}, only with a checkpoint"
        )
        return
    here = _hashes(folder)
    wanted = manifest.files
    wrong = 0
    for path in sorted(p for p in wanted.keys() | here if wanted.get(p) != here.get(p)):
        place = folder / path
        if path in manifest.deciding or (path not in wanted and _would_be_read(path)):
            wrong += 1
            now = f"has sha256 {here[path]}" if path in here else "is missing"
            report.problems.append(f"{place}: {now}; {MODEL_MANIFEST} says {wanted.get(path, 'that it was not there')}")
        else:
            report.not_recomputed.append(f"{place}: differs from what was audited, and decides nothing")
    if not wrong:
        report.recomputed.append(f"{MODEL_MANIFEST}: {folder} holds the {len(manifest.deciding)} files that decide")


def _hashes(folder: Path) -> dict[str, str]:
    from fine_tune.checkpoint_files import list_files, refuse_links, sha256_of

    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder", expected="the folder of the model that was audited")
    refuse_links(folder)
    return {path: sha256_of(folder / path) for path in list_files(folder) if (folder / path).is_file()}


def _would_be_read(path: str) -> bool:
    from fine_tune.checkpoint_files import MATTERS

    return "/" not in path and any(fnmatch(path, pattern) for pattern in (*MATTERS, "*.py"))
