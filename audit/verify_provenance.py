"""Does a bundle's provenance agree with its record and with itself, and are the documents made of it the ones that lie there?

What can be counted or hashed again is; what can't, because neither model nor machine is here, is listed as checked by hash alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.machine import normalised
from audit.splits import audited, trained
from fine_tune.errors import PlumblineError
from probes.answering import subject_digest
from reports.bundle import RESULTS, Bundle
from reports.documents import documents
from reports.manifests import DATA_MANIFEST, ENVIRONMENT, LOCK, MODEL_MANIFEST, Provenance, tree_digest
from reports.record import AuditRecord, Verdict
from reports.statement import DATA, SUBJECT

if TYPE_CHECKING:
    from audit.verify import VerificationReport


def verify_provenance(bundle: Bundle, record: AuditRecord, verdict: Verdict, report: VerificationReport) -> None:
    """Add every finding to the report, a sentence each that names its file first."""
    try:
        provenance = Provenance.of(bundle)
    except PlumblineError as error:
        report.problems.append(str(error))
        return
    checks: dict[str, Iterator[str]] = {
        MODEL_MANIFEST: _model(provenance, record),
        DATA_MANIFEST: _data(provenance, record, bundle),
        ENVIRONMENT: _environment(provenance, record),
    }
    for path, body in (
        (MODEL_MANIFEST, provenance.model),
        (DATA_MANIFEST, provenance.data),
        (ENVIRONMENT, provenance.environment),
    ):
        found = list(checks[path])
        if bundle.read_bytes(path) != body.to_json().encode():
            found.append("is not written the way Plumbline writes it")
        for said in found:
            report.problems.append(f"{path}: {said}")
        if not found:
            report.recomputed.append(f"{path}: agrees with {RESULTS}")
    if provenance.lock is not None and bundle.read_bytes(LOCK) != provenance.lock.to_json().encode():
        report.problems.append(f"{LOCK}: is not written the way Plumbline writes it")
    _documents(bundle, record, verdict, provenance, report)


def _model(provenance: Provenance, record: AuditRecord) -> Iterator[str]:
    manifest, subject = provenance.model, record.subject
    if manifest.name != subject.name:
        yield f"the {SUBJECT} is called {manifest.name!r}, {RESULTS} says {subject.name!r}"
    if manifest.digest != subject.digest:
        yield f"the {SUBJECT}'s digest is {manifest.digest}, {RESULTS} says {subject.digest}"
    tree = tree_digest(manifest.files) if manifest.files else None
    if manifest.tree != tree:
        yield f"its files give the tree digest {tree}, it says {manifest.tree}"
    unknown = sorted(set(manifest.deciding) - manifest.files.keys())
    if unknown:
        yield f"it lists no hash of {', '.join(unknown[:5])}"
    elif subject.kind == "checkpoint":
        deciding = tree_digest({path: manifest.files[path] for path in manifest.deciding})
        made = subject_digest(deciding, subject.task, subject.classes, subject.threshold, subject.positive)
        if made != subject.digest:
            yield f"its deciding files give the {SUBJECT} {made}, {RESULTS} says {subject.digest}"


def _data(provenance: Provenance, record: AuditRecord, bundle: Bundle) -> Iterator[str]:
    manifest = provenance.data
    if manifest.card != record.data:
        body, told = manifest.card.model_dump(), record.data.model_dump()
        names = ", ".join(name for name in told if body[name] != told[name])
        yield f"the {DATA} disagrees with {RESULTS} on {names}"
    rows = None
    if record.predictions is not None:
        try:
            rows = bundle.rows(record.predictions)
        except PlumblineError as error:
            yield str(error)
            return
    expected = {s.split: s for s in (audited(record.data, rows), *trained(record.training, None))}
    if [s.split for s in manifest.splits] != list(expected):
        yield f"its parts are {[s.split for s in manifest.splits]}, {RESULTS} has {list(expected)}"
        return
    for split in manifest.splits:
        again = expected[split.split]
        # What nothing here can count again is compared only where there is something to compare it with.
        countable = [n for n in ("labels", "groups", "labels_in_groups") if getattr(again, n) is not None]
        differing = [n for n in ("digest", "rows", *countable) if getattr(split, n) != getattr(again, n)]
        if differing:
            yield f"the part {split.split} disagrees with {RESULTS} and its rows on {', '.join(differing)}"


def _environment(provenance: Provenance, record: AuditRecord) -> Iterator[str]:
    lock = provenance.environment
    if lock.versions != dict(record.environment):
        names = sorted(
            n for n in lock.versions.keys() | record.environment if lock.versions.get(n) != record.environment.get(n)
        )
        yield f"disagrees with {RESULTS} on {', '.join(names[:5])}"
    for name, version in lock.versions.items():
        listed = lock.packages.get(normalised(name))
        if listed is not None and listed != version:
            yield f"it lists {name} {listed} among the packages and {version} among the versions"


def _documents(
    bundle: Bundle, record: AuditRecord, verdict: Verdict, provenance: Provenance, report: VerificationReport
) -> None:
    try:
        made = documents(record, verdict, provenance)
    except PlumblineError as error:
        report.problems.append(f"{RESULTS}: its documents cannot be made again: {error}")
        return
    for path, text in made.items():
        try:
            same = bundle.read_bytes(path) == text.encode()
        except PlumblineError as error:
            report.problems.append(str(error))
            continue
        if same:
            report.recomputed.append(f"{path}: made again, same bytes")
        else:
            report.problems.append(f"{path}: is not what this record, verdict and provenance make")
