"""The documents that other tools read of a bundle: bill of materials, statement and model card, made of record, verdict and provenance.

Runs and re-gated runs write them, and verification makes them again: all three ask here, so that they cannot differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.manifests import Provenance
from reports.record import AuditRecord, Verdict

if TYPE_CHECKING:
    from reports.bundle import BundleWriter

BOM = "provenance/bom.cdx.json"
STATEMENT = "provenance/statement.intoto.json"
MODEL_CARD = "model_card.md"

_MEDIA_TYPES = {
    BOM: "application/vnd.cyclonedx+json",
    STATEMENT: "application/vnd.in-toto+json",
    MODEL_CARD: "text/markdown",
}


def documents(record: AuditRecord, verdict: Verdict, provenance: Provenance) -> dict[str, str]:
    """Every such document by its path in the bundle.

    Raises:
        RecordError: a number in them is beyond what canonical JSON can hold.
    """
    # Late, because the command line loads this room before it knows that it will render.
    from reports.bom import bill_of_materials
    from reports.hub_card import hub_card
    from reports.statement import statement

    return {
        BOM: bill_of_materials(record, verdict, provenance),
        STATEMENT: statement(record, verdict, provenance),
        MODEL_CARD: hub_card(record, verdict),
    }


def write_documents(writer: BundleWriter, record: AuditRecord, verdict: Verdict) -> None:
    """Write them beside the provenance that the writer already holds.

    Raises:
        RecordError: a list of the provenance is missing or is not what Plumbline writes.
    """
    from reports.bundle import Bundle

    provenance = Provenance.of(Bundle(writer.folder))
    for path, text in documents(record, verdict, provenance).items():
        writer.write_text(path, text, _MEDIA_TYPES[path])
