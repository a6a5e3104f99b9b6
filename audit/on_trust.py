"""What of a bundle can only be believed, because neither the model nor the machine is at hand: each part named, with the reason.

It checks nothing. A signature does not make these parts true either: it says on whose word they rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.bundle import RESULTS, Bundle
from reports.manifests import DATA_MANIFEST, ENVIRONMENT, MODEL_MANIFEST
from reports.record import AuditRecord

TIMINGS = "provenance/timings.json"


def on_trust(bundle: Bundle, record: AuditRecord, signers: Sequence[str]) -> Iterator[str]:
    """A sentence a part.

    Args:
        bundle: the bundle.
        record: its record.
        signers: the keys and identities whose signatures were checked and hold.
    """
    word = f"on the word of {', '.join(signers)}" if signers else "on trust, no signature was checked"
    for what, why in _parts(bundle, record):
        yield f"{what}: {word}: {why}"


def _parts(bundle: Bundle, record: AuditRecord) -> Iterator[tuple[str, str]]:
    if record.predictions is not None or any(f.rows is not None for f in record.findings):
        yield "evidence", "that the model gave these rows; measuring again needs the model"
    if record.subject.kind == "checkpoint":
        yield MODEL_MANIFEST, "that these files were audited; --model DIR compares them with files at hand"
    else:
        yield MODEL_MANIFEST, f"the digest of a subject of kind {record.subject.kind} is as the run gave it"
    yield DATA_MANIFEST, "where the rows came from, and the counts of parts whose rows are not in the bundle"
    yield ENVIRONMENT, "packages, hardware and switches are as the run's machine gave them; nothing here can look at it"
    if (bundle.folder / TIMINGS).is_file():
        yield TIMINGS, "how long each step took is as the run's clock gave it"
    yield (
        f"{RESULTS}: the run",
        "its name and version, what it says of its subject, and its remarks are as the run gave them",
    )
    if record.training is not None:
        yield f"{RESULTS}: training", "the training record, its privacy ledger included, is as the training wrote it"
    for name in record.attestations:
        yield f"{RESULTS}: attestations.{name}", "is what a person attested; no measurement stands behind it"
