"""The verdict as one screen of Markdown, for a CI job's summary or a pull request. Text from data is never markup here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from probes.evidence import format_number
from reports.checks import CheckView, check_views
from reports.decision import headline, uncovered
from reports.record import AuditRecord, Verdict
from reports.wording import OUTCOME_WORDS, ends, shortened, visible

MOST_ROWS = 200
_LONGEST = 400
_MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "❔", "waived": "🛡️", "error": "⚠️"}
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}


def summary(record: AuditRecord, verdict: Verdict) -> str:
    """What needs action first, then every check, then what was not covered; at most ``MOST_ROWS`` rows a list."""
    checks = check_views(record, verdict)
    action = [c for c in checks if c.needs_action]
    parts = [
        f"# {_MARKS[verdict.outcome]} {OUTCOME_WORDS[verdict.outcome]}: {escaped(record.name)}",
        "" if verdict.enforced else "**NOT ENFORCED.** This run was asked to report only. The verdict stopped nothing.",
        escaped(str(headline(record, verdict))),
        "" if verdict.rulings else _list([str(r) for r in verdict.reasons]),
    ]
    if action:
        parts += ["## Needs action", _list([f"{_word(c)}: {c.ruling.reason}" for c in action])]
    warnings = [str(w) for w in (*verdict.warnings, *(verdict.lock.differences if verdict.lock else ()))]
    if warnings:
        parts += ["## Warnings", _list(warnings)]
    if checks:
        parts += ["## Checks", _table(checks)]
    parts += ["## Not covered", _list([str(u) for u in uncovered(record)]), _foot(record, verdict)]
    return "\n\n".join(p for p in parts if p) + "\n"


def escaped(text: str) -> str:
    """``text`` as one line that Markdown shows literally: no HTML, no links, no mentions, no table cells of its own."""
    line = shortened(" ".join(visible(text).split()), _LONGEST)
    line = re.sub(r"([\\`*_\[\]{}|#~!$])", r"\\\1", line)
    line = re.sub(r"[&<>@]", lambda m: _ENTITIES[m.group()], line)
    return line.replace("://", ":&#47;&#47;").replace("www.", "www&#46;")


def _word(check: CheckView) -> str:
    advisory = " (advisory)" if check.advisory else ""
    return f"{OUTCOME_WORDS[check.outcome]}{advisory}, {check.ruling.check.name}"


def _list(lines: Sequence[str]) -> str:
    shown = [f"- {escaped(line)}" for line in lines[:MOST_ROWS]]
    return "\n".join(shown + _rest(len(lines)))


def _table(checks: Sequence[CheckView]) -> str:
    head = ["| ruling | check | value | interval | threshold | denominator |", "|---|---|---:|---:|---:|---:|"]
    rows = []
    for c in checks[:MOST_ROWS]:
        r = c.ruling
        value = "–" if r.value is None else format_number(r.value)
        denominator = str(r.counts.denominator) if r.counts else "–"
        name = r.check.name + (" (advisory)" if c.advisory else "")
        cells = [
            f"{_MARKS[c.outcome]} {OUTCOME_WORDS[c.outcome]}",
            name,
            value,
            "exact" if r.interval is None and r.value is not None else str(ends(r.interval)),
            str(c.demand),
            denominator,
        ]
        rows.append("| " + " | ".join(escaped(cell) for cell in cells) + " |")
    rest = _rest(len(checks))
    return "\n".join(head + rows) + ("\n\n" + rest[0] if rest else "")


def _rest(count: int) -> list[str]:
    return [f"- and {count - MOST_ROWS} more; see verdict.json"] if count > MOST_ROWS else []


def _foot(record: AuditRecord, verdict: Verdict) -> str:
    policy = f"policy {verdict.policy.name} version {verdict.policy.version}" if verdict.policy else "no policy"
    subject = f"subject {record.subject.name} ({record.subject.digest[:12]})"
    data = f"data {record.data.name} ({record.data.rows} rows, {record.data.digest[:12]})"
    return escaped(f"{subject}; {data}; {policy}; decided on {verdict.decided_on.isoformat()}.")
