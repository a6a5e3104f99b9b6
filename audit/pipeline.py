"""From a subject to a bundle: measure, decide, write. And from a bundle to another verdict on it.

A bundle is put together beside its place and moved there whole, so that a kill leaves the old one or the new one.
"""

from __future__ import annotations

import glob
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from audit.decide import not_enforced
from audit.demands import Demands, decide_run, embed_baselines, embedded_baselines, embedded_lock, open_run
from audit.errors import GateError
from audit.provenance import write_provenance
from audit.result import Result
from audit.runner import Announce, Desk, Job, run
from audit.store import Store
from probes.probe import Progress
from reports.bundle import MANIFEST, Bundle, BundleWriter, write_outputs
from reports.documents import write_documents
from reports.record import Verdict

if TYPE_CHECKING:
    from audit.compare import Run
    from probes.subject import Subject
    from reports.record import AuditRecord, Policy, Waiver


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where a run remembers and how it shows itself."""

    store: Store
    progress: Progress
    announce: Announce


@contextmanager
def staged(out: Path) -> Iterator[BundleWriter]:
    """A writer for a bundle that takes its place at ``out`` only when everything went well.

    Raises:
        GateError: ``out`` holds something that is no bundle.
    """
    check_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    sweep(out)
    staging = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.partial"
    staging.mkdir()
    try:
        with claimed(staging):
            writer = BundleWriter(staging)
            yield writer
            writer.close()
            if out.exists():
                shutil.rmtree(out)
            staging.replace(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def sweep(out: Path) -> None:
    """Remove what killed runs left beside ``out``: parts of bundles, with rows of data, that no process works on any more."""
    for left in out.parent.glob(f".{glob.escape(out.name)}.????????.partial"):
        if left.is_dir() and not left.is_symlink():
            with claimed(left) as ours:
                if ours:
                    shutil.rmtree(left, ignore_errors=True)


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Whether the folder is this process's to work on, which a kill gives back; False where the system knows no such locks."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = True
    except OSError:
        ours = False
    try:
        yield ours
    finally:
        os.close(handle)


def check_free(out: Path) -> None:
    """Refuse to write over anything but an earlier bundle.

    Raises:
        GateError: ``out`` is a file, or a folder that holds something else.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise GateError(f"{out} is no folder", expected="a new folder for the bundle", fix="choose another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise GateError(
            f"{out} is not empty and holds no bundle",
            expected="a new folder, an empty one, or an earlier bundle to replace",
            fix="choose another --out",
        )


def audit_subject(
    job: Job, subject: Subject, demands: Demands, surroundings: Surroundings, out: Path, *, report_only: bool = False
) -> Result:
    """Measure a subject, decide, and write the bundle to ``out``."""
    with staged(out) as writer:
        desk = Desk(
            store=surroundings.store,
            writer=writer,
            progress=surroundings.progress,
            announce=surroundings.announce,
        )
        record = run(job, subject, desk)
        written = Bundle(writer.folder)
        verdict = _verdict(record, written, demands, report_only=report_only)
        embed_baselines(writer, demands.policy, demands.baselines)
        write_provenance(writer, record, subject, demands.lock)
        write_outputs(writer, record, verdict)
        write_documents(writer, record, verdict)
    return Result(record=record, verdict=verdict, path=out)


def _verdict(record: AuditRecord, bundle: Bundle, demands: Demands, *, report_only: bool) -> Verdict:
    from audit.compare import Run

    verdict = decide_run(Run(record=record, rows_of=bundle.rows), demands)
    return not_enforced(verdict) if report_only else verdict


def regate(
    bundle: Bundle,
    *,
    policy: Policy | None,
    waivers: tuple[Waiver, ...],
    baselines: Mapping[str, Run],
    on: date,
    report_only: bool = False,
) -> Verdict:
    """Decide on a finished run again; nothing is written."""
    given = {**embedded_baselines(bundle, policy), **baselines}
    demands = Demands(policy=policy, waivers=waivers, baselines=given, on=on, lock=embedded_lock(bundle))
    verdict = decide_run(open_run(bundle), demands)
    return not_enforced(verdict) if report_only else verdict


def rebundle(bundle: Bundle, verdict: Verdict, baselines: Mapping[str, Run], out: Path) -> Result:
    """A new bundle at ``out`` with the same evidence and another verdict."""
    if out.resolve() == bundle.folder.resolve():
        raise GateError(f"{out} is the bundle itself", expected="another folder: a bundle is never written into")
    record = bundle.record()
    with staged(out) as writer:
        writer.copy_evidence(bundle)
        embed_baselines(writer, verdict.policy, baselines)
        write_outputs(writer, record, verdict)
        write_documents(writer, record, verdict)
    return Result(record=record, verdict=verdict, path=out)
