"""What each edition of a report shows of one record."""

from __future__ import annotations

from probes.evidence import Message, message
from reports.record import AuditRecord, Verdict
from reports.showing import Edition


def edition_of(record: AuditRecord, verdict: Verdict, edition: Edition) -> tuple[AuditRecord, Verdict]:
    return record, verdict


def edition_words(edition: Edition) -> tuple[Message, ...]:
    return (message("Internal edition."),)
