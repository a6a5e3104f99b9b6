"""Every probe instance of a record, family by family, whether it measured something or not. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from probes.evidence import AnyMeasurement, Evidence, Message, ProbeInfo, message
from reports.checks import library, probe_anchor
from reports.record import AuditRecord, Finding, Json, RowsRef
from reports.wording import FAMILY_WORDS, STATUS_WORDS, family_words

Named = tuple[str, Message | str | int | float]


@dataclass(frozen=True, kw_only=True)
class ProbeView:
    """One planned probe instance: what it found, or why it found nothing. ``status`` is a Finding's, or ``not_run``."""

    anchor: str
    instance: str
    info: ProbeInfo
    status: str
    status_words: Message
    reason: Message | None
    params: tuple[Named, ...]
    seed: int | None
    measurements: tuple[AnyMeasurement, ...]
    evidence: tuple[Evidence, ...]
    remarks: tuple[Message, ...]
    rows: RowsRef | None
    traceback: str | None
    command: str
    library: Message


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family's probes."""

    anchor: str
    title: Message
    probes: tuple[ProbeView, ...]


def probe_views(record: AuditRecord) -> tuple[ProbeView, ...]:
    """Every instance of the plan in its order, then findings that no plan names."""
    names = {p.instance for p in record.planned}
    views = [_planned_view(record, p.instance) for p in record.planned]
    views += [_finding_view(f) for f in record.findings if f.instance not in names]
    return tuple(views)


def _planned_view(record: AuditRecord, instance: str) -> ProbeView:
    finding, planned = record.finding(instance), record.plan(instance)
    if finding is not None:
        return _finding_view(finding)
    if planned is None:
        raise LookupError(instance)
    return ProbeView(
        anchor=probe_anchor(instance),
        instance=instance,
        info=planned.info,
        status="not_run",
        status_words=STATUS_WORDS["not_run"],
        reason=message("It was planned and left out of this run. Nothing is known about what it asks."),
        params=flat(planned.params),
        seed=None,
        measurements=(),
        evidence=(),
        remarks=(),
        rows=None,
        traceback=None,
        command=f"plumbline run PLAN --only {instance}",
        library=library(planned.info),
    )


def _finding_view(finding: Finding) -> ProbeView:
    reading = finding.reading
    return ProbeView(
        anchor=probe_anchor(finding.instance),
        instance=finding.instance,
        info=finding.info,
        status=finding.status,
        status_words=STATUS_WORDS[finding.status],
        reason=finding.reason,
        params=flat(finding.params),
        seed=finding.seed,
        measurements=reading.measurements if reading else (),
        evidence=reading.evidence if reading else (),
        remarks=reading.remarks if reading else (),
        rows=finding.rows,
        traceback=finding.traceback,
        command=_command(finding),
        library=library(finding.info),
    )


def _command(finding: Finding) -> str:
    """Asks it again: for the same figures where there are some, else for a finding at all."""
    if finding.status == "measured":
        return f"plumbline reproduce RUN --plan PLAN --instance {finding.instance}"
    return f"plumbline run PLAN --only {finding.instance}"


def families(probes: tuple[ProbeView, ...]) -> tuple[Family, ...]:
    named = list(FAMILY_WORDS) + sorted({p.info.family for p in probes} - set(FAMILY_WORDS))
    return tuple(
        Family(anchor=f"f-{n}", title=family_words(n), probes=tuple(p for p in probes if p.info.family == n))
        for n in named
        if any(p.info.family == n for p in probes)
    )


def flat(value: Json, prefix: str = "") -> tuple[Named, ...]:
    """Nested JSON as names and values; a long list is told by its length."""
    if isinstance(value, dict):
        return tuple(pair for k, v in value.items() for pair in flat(v, f"{prefix}.{k}" if prefix else str(k)))
    if isinstance(value, list | tuple):
        simple = all(not isinstance(v, dict | list | tuple) for v in value)
        if simple and len(value) <= 12:
            return ((prefix, ", ".join(str(v) for v in value) or "–"),)
        if len(value) <= 12:
            return tuple(pair for i, v in enumerate(value) for pair in flat(v, f"{prefix}.{i}"))
        return ((prefix, message("{n} entries", n=len(value))),)
    if isinstance(value, bool) or value is None:
        return ((prefix, "–" if value is None else str(value).lower()),)
    return ((prefix, value if isinstance(value, str | int | float) else str(value)),)
