"""Everything that a bundle holds outside its folders: the record, the verdict, and every rendering of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from probes.evidence import Evidence, ImageGrid, Table, TextPairs, TokenWeights
from reports.files import JSON, RESULTS, VERDICT
from reports.record import AuditRecord, Verdict

if TYPE_CHECKING:
    from reports.bundle import BundleWriter


def write_outputs(
    writer: BundleWriter, record: AuditRecord, verdict: Verdict, languages: Sequence[str] | None = None
) -> None:
    """Write the record, the verdict and every rendering of them: all that a bundle holds outside its folders.

    ``languages`` are those of the pages; None is every language that there is a catalogue for.
    """
    # Late, because the command line loads this module before it knows that it will render.
    from reports.junit import junit
    from reports.language import languages as every
    from reports.page import render
    from reports.showing import Showing
    from reports.summary import summary

    raw = _holds_raw_inputs(record)
    shown = raw and record.data.include_text
    writer.write_text(RESULTS, record.to_json(), JSON, personal=raw)
    writer.write_text(VERDICT, verdict.to_json(), JSON)
    for language in every() if languages is None else languages:
        writer.write_text(
            page_name(language), render(record, verdict, Showing(language=language)), "text/html", personal=shown
        )
    writer.write_text("summary.md", summary(record, verdict), "text/markdown")
    writer.write_text("junit.xml", junit(record, verdict), "application/xml")


def page_name(language: str) -> str:
    """``report.html`` for English, ``report.zh_CN.html`` and so on for others."""
    return "report.html" if language == "en" else f"report.{language}.html"


def _holds_raw_inputs(record: AuditRecord) -> bool:
    readings = [f.reading for f in record.findings if f.reading is not None]
    return any(_shows_inputs(e) for r in readings for e in r.evidence)


def _shows_inputs(evidence: Evidence) -> bool:
    if isinstance(evidence, Table):
        return bool(evidence.raw)
    return isinstance(evidence, TextPairs | TokenWeights | ImageGrid)
