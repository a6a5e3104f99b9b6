"""The editions of one record: what each shows, as a record and a verdict that every renderer can work on as on the whole.

Pure. An edition only leaves out; the digests that it carries are those of the whole record, so that all editions of a run name
the same one.
"""

from __future__ import annotations

from probes.evidence import Evidence, ImageGrid, Message, Table, TextPairs, TokenWeights, message
from reports.public import public
from reports.record import AuditRecord, Finding, Verdict
from reports.showing import Showing

# One transparent pixel: where a picture stood whose content this edition does not carry.
_BLANK = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


def edition_of(record: AuditRecord, verdict: Verdict, showing: Showing) -> tuple[AuditRecord, Verdict]:
    """Record and verdict as the edition shows them; the whole for the internal one."""
    if showing.edition == "public":
        return public(record, verdict, showing.least)
    if showing.edition == "regulator":
        return redacted(record), verdict
    return record, verdict


def edition_words(record: AuditRecord, showing: Showing) -> tuple[Message, ...]:
    """Which edition a page is, and what that leaves out."""
    if showing.edition == "public":
        return (
            message("Public edition."),
            message(
                "Figures on fewer than {n} rows are suppressed, and further ones from which these could be computed; a rate near 0"
                " or 1 on more rows is not. Examples, row ids, error messages and names of persons are left out. The digests are"
                " those of the whole record.",
                n=showing.least,
            ),
        )
    if showing.edition == "regulator":
        return (
            message("Regulator's edition."),
            message("All numbers; raw texts and images are redacted. The digests are those of the whole record."),
        )
    shown = (
        message("Raw texts and images are shown, because the plan allows it.")
        if record.data.include_text
        else message("Raw texts and images are redacted, because the plan does not allow them.")
    )
    return (message("Internal edition."), shown)


def redaction_words(showing: Showing) -> Message:
    """Why a page shows no raw inputs, where it shows none."""
    if showing.edition == "internal":
        return message("Raw inputs are redacted, because the plan does not set include_text.")
    return message("Raw inputs are redacted in this edition.")


def redacted(record: AuditRecord) -> AuditRecord:
    """The record with every number and without a raw input or a traceback, whatever the plan allows."""
    return record.model_copy(
        update={
            "data": record.data.model_copy(update={"include_text": False}),
            "findings": tuple(_redacted(f) for f in record.findings),
        }
    )


def _redacted(finding: Finding) -> Finding:
    reading = finding.reading
    if reading is not None:
        reading = reading.model_copy(update={"evidence": tuple(_without_inputs(e) for e in reading.evidence)})
    return finding.model_copy(update={"reading": reading, "traceback": None})


def _without_inputs(evidence: Evidence) -> Evidence:
    """The same piece with its numbers, and with placeholders where inputs stood."""
    if isinstance(evidence, Table) and evidence.raw:
        rows = tuple(tuple(None if i in evidence.raw else c for i, c in enumerate(row)) for row in evidence.rows)
        return evidence.model_copy(update={"rows": rows})
    if isinstance(evidence, TokenWeights):
        texts = tuple(t.model_copy(update={"tokens": ("–",) * len(t.tokens)}) for t in evidence.texts)
        return evidence.model_copy(update={"texts": texts})
    if isinstance(evidence, TextPairs):
        pairs = tuple(
            p.model_copy(update={"before": _hollow(p.before), "after": _hollow(p.after)}) for p in evidence.pairs
        )
        return evidence.model_copy(update={"pairs": pairs})
    if isinstance(evidence, ImageGrid):
        tiles = tuple(t.model_copy(update={"png_base64": _BLANK}) for t in evidence.tiles)
        return evidence.model_copy(update={"tiles": tiles})
    return evidence


def _hollow(text: str) -> str:
    """As many words, none of them said."""
    return " ".join("–" for _ in text.split())
