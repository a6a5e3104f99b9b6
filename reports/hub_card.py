"""The evaluation section of a Hugging Face model card, with the ``model-index`` that the hub reads results from.

A pure function of record and verdict. The head is JSON, which is YAML too and which every version of every library writes and reads
alike, so that verification can compare bytes. Text from data is never markup here.
"""

from __future__ import annotations

import json
import re
from typing import Any

from probes.evidence import Measurement, format_number, slice_name
from reports.checks import check_views
from reports.decision import headline
from reports.record import AuditRecord, Finding, Verdict
from reports.summary import escaped
from reports.wording import OUTCOME_WORDS, ends, visible

_UNPRINTED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")


def hub_card(record: AuditRecord, verdict: Verdict) -> str:
    """Front matter and section, to be put into the README.md of a model's repository."""
    index = [{"name": visible(record.subject.name), "results": [_result(record, verdict)]}]
    head = json.dumps(index, ensure_ascii=False, indent=2, allow_nan=False).replace("\n", "\n  ")
    head = _UNPRINTED.sub(lambda m: f"\\u{ord(m.group()):04x}", head)
    return f"---\nmodel-index:\n  {head}\n---\n\n{_section(record, verdict)}\n"


def _result(record: AuditRecord, verdict: Verdict) -> dict[str, Any]:
    return {
        "task": {"type": record.subject.task},
        "dataset": {
            "type": "audit-rows",
            "name": visible(record.data.name),
            "revision": record.data.digest,
        },
        "metrics": [_metric(f, m) for f, m in _figures(record, verdict)],
    }


def _metric(finding: Finding, m: Measurement) -> dict[str, Any]:
    args: dict[str, Any] = {
        "probe": finding.info.id,
        "slice": visible(slice_name(m.slice)),
        "rows": m.counts.denominator,
    }
    if m.interval is not None:
        args |= {"level": m.interval.level, "low": m.interval.low, "high": m.interval.high}
    return {"type": m.name, "value": m.value, "name": _name(finding, m), "args": args}


def _name(finding: Finding, m: Measurement) -> str:
    where = f" [{slice_name(m.slice)}]" if m.slice else ""
    return visible(f"{finding.instance}:{m.name}{where}")


def _figures(record: AuditRecord, verdict: Verdict) -> list[tuple[Finding, Measurement]]:
    """What a card has room for: figures of all rows, and those that a rule judged."""
    judged = {(r.check.rule.measure, r.check.slice) for r in verdict.rulings}
    return [(f, m) for f, m in _all_figures(record) if not m.slice or (f"{f.instance}:{m.name}", m.slice) in judged]


def _all_figures(record: AuditRecord) -> list[tuple[Finding, Measurement]]:
    readings = [(f, f.reading) for f in record.findings if f.reading is not None]
    return [(f, m) for f, reading in readings for m in reading.measurements if isinstance(m, Measurement)]


def _section(record: AuditRecord, verdict: Verdict) -> str:
    checks = check_views(record, verdict)
    policy = f"{verdict.policy.name} version {verdict.policy.version}" if verdict.policy else "none"
    facts = [
        f"- Verdict: **{OUTCOME_WORDS[verdict.outcome]}**{'' if verdict.enforced else ' (not enforced)'}."
        f" {escaped(str(headline(record, verdict)))}",
        f"- Policy: {escaped(policy)}",
        f"- Data: {escaped(record.data.name)}, {record.data.rows} rows, sha256 `{record.data.digest}`",
        f"- Model: sha256 `{record.subject.digest}`",
        f"- Record: sha256 `{verdict.record_sha256}`",
    ]
    head = "| figure | slice | value | interval | rows |\n|---|---|---:|---:|---:|"
    figures = _figures(record, verdict)
    rows = ["| " + " | ".join(escaped(cell) for cell in _cells(f, m)) + " |" for f, m in figures]
    beyond = len(_all_figures(record)) - len(figures)
    parts = [
        "## Evaluation",
        "Measured with Plumbline. Each interval is of the level that stands in the head of this card.",
        "\n".join(facts),
        "\n".join([head, *rows]),
    ]
    if beyond:
        parts.append(
            f"Further figures, by group, class and setting: {beyond}. No rule judged them; results.json of the bundle holds them."
        )
    if checks:
        said = [
            f"- {OUTCOME_WORDS[c.outcome]}, {escaped(c.ruling.check.name)}: {escaped(str(c.ruling.reason))}"
            for c in checks
        ]
        parts += ["### Checks", "\n".join(said)]
    limits = dict.fromkeys(str(limit) for f in record.findings if f.reading for limit in f.info.limits)
    if limits:
        parts += ["### Limits", "\n".join(f"- {escaped(limit)}" for limit in limits)]
    return "\n\n".join(parts)


def _cells(finding: Finding, m: Measurement) -> tuple[str, str, str, str, str]:
    where = slice_name(m.slice)
    interval = "exact" if m.interval is None else str(ends(m.interval))
    return f"{finding.instance}:{m.name}", where, format_number(m.value), interval, str(m.counts.denominator)
