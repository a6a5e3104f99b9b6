"""The verdict as a GitLab code quality report, which a merge request shows beside the policy's lines.

A JSON list with an entry for every check that did not pass. Fingerprints name checks, not figures, so that GitLab can
tell a new finding from an old one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from reports.checks import check_views
from reports.origin import Origin
from reports.record import AuditRecord, Verdict, canonical_json
from reports.standing import Standing, fingerprint, one_line, standing, told_as, unexplained

Severity = Literal["info", "minor", "major", "critical", "blocker"]
SEVERITIES: dict[Standing, Severity] = {
    "failed": "blocker",
    "errored": "critical",
    "inconclusive": "major",
    "told": "minor",
    "excused": "info",
}


def code_quality(record: AuditRecord, verdict: Verdict, origin: Origin, root: Path) -> str:
    """The report's text; ``[]`` where every check passed. Paths start from ``root``, the checkout."""
    path = origin.shown(root)
    entries = []
    whole = unexplained(record, verdict)
    if whole is not None:
        mark = fingerprint(record, verdict, None)
        entries.append(entry(whole, name="verdict", mark=mark, severity="critical", at=(path, 1)))
    for ruling in (view.ruling for view in check_views(record, verdict)):
        severity = SEVERITIES.get(standing(ruling, verdict))
        if severity is not None:
            text = f"{ruling.check.name}: {told_as(ruling, verdict)}: {ruling.reason}"
            rule, mark = ruling.check.rule.id, fingerprint(record, verdict, ruling)
            entries.append(entry(text, name=rule, mark=mark, severity=severity, at=(path, origin.line(rule))))
    return canonical_json(entries)


def entry(text: str, *, name: str, mark: str, severity: Severity, at: tuple[str, int]) -> dict[str, Any]:
    """One finding at a file and line."""
    return {
        "description": one_line(text),
        "check_name": name,
        "fingerprint": mark,
        "severity": severity,
        "location": {"path": at[0], "lines": {"begin": at[1]}},
    }


def failure(text: str, *, mark: str, at: tuple[str, int]) -> str:
    """The report of a run that reached no verdict: one critical entry."""
    return canonical_json([entry(text, name="verdict", mark=mark, severity="critical", at=at)])
