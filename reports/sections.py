"""The report as plain data, in its order: what each section says, before any page, language or markup.

Pure: a record and a verdict in, dataclasses of messages and figures out. It measures nothing, decides nothing and drops
nothing: what did not run, was not applicable or broke has its place like everything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from probes.evidence import (
    AnyMeasurement,
    Evidence,
    Interval,
    MeasureDefinition,
    Message,
    ProbeInfo,
    message,
)
from reports.checks import CheckView, check_views, library, probe_anchor
from reports.record import (
    AuditRecord,
    FeatureCard,
    Finding,
    Json,
    NoComparison,
    Outcome,
    RowsRef,
    Verdict,
    Waiver,
)
from reports.wording import FAMILY_WORDS, STATUS_WORDS, family_words, level_words

Fact = tuple[Message, Message | str | int | float]
Named = tuple[str, str | int | float]

_OUTCOMES: tuple[Outcome, ...] = ("fail", "error", "inconclusive", "waived", "pass")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The first screen."""

    outcome: Outcome
    enforced: bool
    headline: Message
    remarks: tuple[Message, ...]
    action: tuple[CheckView, ...]
    tally: tuple[tuple[Outcome, int], ...]
    facts: tuple[Fact, ...]
    uncovered: tuple[Message, ...]
    warnings: tuple[Message, ...]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What was examined, and on what."""

    subject: tuple[Fact, ...]
    details: tuple[Named, ...]
    training: tuple[Named, ...]
    data: tuple[Fact, ...]
    roles: tuple[Named, ...]
    labels: tuple[Named, ...]
    features: tuple[FeatureCard, ...]
    min_n: int | None
    attested: tuple[Named, ...]
    remarks: tuple[Message, ...]


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
    library: str


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family's probes."""

    anchor: str
    title: Message
    probes: tuple[ProbeView, ...]


@dataclass(frozen=True, kw_only=True)
class WaiverView:
    """One waiver, and what became of it. ``used`` are the checks that it excused."""

    waiver: Waiver
    state: Message
    used: tuple[CheckView, ...]


@dataclass(frozen=True, kw_only=True)
class Methods:
    """How figures were made and judged, and what that leaves open."""

    rules: tuple[Message, ...]
    intervals: tuple[str, ...]
    limits: tuple[tuple[str, tuple[Message, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Who made it, with what, and how to check it."""

    facts: tuple[Fact, ...]
    environment: tuple[Named, ...]
    commands: tuple[tuple[str, Message], ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """All sections, in the order in which they are read."""

    name: str
    decision: Decision
    checks: tuple[CheckView, ...]
    scope: Scope
    families: tuple[Family, ...]
    compared: tuple[CheckView, ...]
    not_compared: tuple[NoComparison, ...]
    waivers: tuple[WaiverView, ...]
    methods: Methods
    provenance: Provenance
    glossary: tuple[tuple[str, MeasureDefinition], ...]


def report(record: AuditRecord, verdict: Verdict) -> Report:
    """The sections of a report."""
    checks = check_views(record, verdict)
    probes = probe_views(record)
    return Report(
        name=record.name,
        decision=_decision(record, verdict, checks, probes),
        checks=checks,
        scope=_scope(record, verdict),
        families=_families(probes),
        compared=tuple(c for c in checks if c.comparison is not None),
        not_compared=tuple(c for c in verdict.comparisons if isinstance(c, NoComparison)),
        waivers=tuple(_waiver(w, verdict, checks) for w in verdict.waivers),
        methods=_methods(record, verdict, probes),
        provenance=_provenance(record, verdict),
        glossary=_glossary(probes),
    )


def headline(record: AuditRecord, verdict: Verdict) -> Message:
    """The decision in one sentence; it never says that nothing is wrong, only that nothing was detected."""
    planned = len(probe_views(record))
    measured = sum(f.status == "measured" for f in record.findings)
    numbers: dict[str, str | int | float] = {
        "checks": len(verdict.rulings),
        "probes": planned,
        "missing": planned - measured,
    }
    if verdict.policy is None:
        text = "No policy was given, so nothing was decided. Not run: {missing} of {probes} probes."
        return Message(text=text, params={k: numbers[k] for k in ("missing", "probes")})
    if not verdict.rulings:
        text = "No check ran, so nothing was decided. Not run: {missing} of {probes} probes."
        return Message(text=text, params={k: numbers[k] for k in ("missing", "probes")})
    texts: dict[Outcome, str] = {
        "fail": "Breach detected in {count} of {checks} checks. Not run: {missing} of {probes} probes.",
        "error": "Evidence is missing for {count} of {checks} checks. Not run: {missing} of {probes} probes.",
        "inconclusive": "The evidence decides all but {count} of {checks} checks. Not run: {missing} of {probes} probes.",
        "waived": "No breach detected in {checks} checks, except {count} waived. Not run: {missing} of {probes} probes.",
        "pass": "No breach detected in {checks} checks. Not run: {missing} of {probes} probes.",
    }
    if verdict.outcome == "pass":
        advisory = verdict.count("fail")
        if advisory:
            text = "Breach detected in {count} of {checks} checks, all advisory. Not run: {missing} of {probes} probes."
            return Message(text=text, params={"count": advisory, **numbers})
        return Message(text=texts["pass"], params=numbers)
    return Message(text=texts[verdict.outcome], params={"count": verdict.count(verdict.outcome), **numbers})


def uncovered(record: AuditRecord) -> tuple[Message, ...]:
    """What the report does not cover: probes without a reading, and families of which nothing was measured."""
    out = []
    for view in probe_views(record):
        name = {"instance": view.instance, "probe": view.info.id}
        if view.status == "not_run":
            out.append(Message(text="{instance} ({probe}) was planned and did not run.", params={**name}))
        elif view.status != "measured":
            text = "{instance} ({probe}) stopped with an error: {why}"
            if view.status == "not_applicable":
                text = "{instance} ({probe}) was not applicable: {why}"
            out.append(Message(text=text, params={**name, "why": str(view.reason)}))
    seen = {f.info.family for f in record.findings if f.status == "measured"}
    out += [message("{family} was not measured.", family=str(w)) for f, w in FAMILY_WORDS.items() if f not in seen]
    return tuple(out)


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
        command=f"plumbline run PLAN --only {finding.instance}",
        library=library(finding.info),
    )


def _decision(
    record: AuditRecord, verdict: Verdict, checks: tuple[CheckView, ...], probes: tuple[ProbeView, ...]
) -> Decision:
    subject, data, policy = record.subject, record.data, verdict.policy
    told = {str(r.reason) for r in verdict.rulings}
    line = message("{name}, version {version}, owned by {owner}", name=policy.name, version=policy.version,
                   owner=policy.owner) if policy else message("none")  # fmt: skip
    subject_line = message("{name} ({kind}, {task}, digest {digest})", name=subject.name, kind=subject.kind,
                           task=subject.task, digest=subject.digest[:12])  # fmt: skip
    data_line = message("{name} ({rows} rows, digest {digest})", name=data.name, rows=data.rows, digest=data.digest[:12])
    return Decision(
        outcome=verdict.outcome,
        enforced=verdict.enforced,
        headline=headline(record, verdict),
        remarks=tuple(r for r in verdict.reasons if str(r) not in told and verdict.rulings),
        action=tuple(c for c in checks if c.needs_action),
        tally=tuple((o, verdict.count(o)) for o in _OUTCOMES if verdict.count(o)),
        facts=(
            (message("Subject"), subject_line),
            (message("Data"), data_line),
            (message("Policy"), line),
            (message("Decided on"), verdict.decided_on.isoformat()),
            (message("Confidence level"), level_words(record.level)),
        ),
        uncovered=uncovered(record),
        warnings=verdict.warnings,
    )


def _scope(record: AuditRecord, verdict: Verdict) -> Scope:
    subject, data = record.subject, record.data
    threshold = message("largest score")
    if subject.threshold is not None:
        threshold = message("{positive} where its score is at least {threshold}",
                            positive=subject.positive or "", threshold=subject.threshold)  # fmt: skip
    text = message("shown: the plan sets include_text") if data.include_text else message("redacted in this report")
    facts: list[Fact] = [
        (message("Name"), data.name),
        (message("Digest"), data.digest),
        (message("Rows"), data.rows),
        (message("Rows cut at the model's maximum length"), data.truncated),
        (message("Raw inputs"), text),
    ]
    if data.clusters is not None:
        facts.insert(3, (message("Clusters (rows that belong together)"), data.clusters))
    return Scope(
        subject=(
            (message("Name"), subject.name),
            (message("Kind"), subject.kind),
            (message("Task"), subject.task),
            (message("Digest"), subject.digest),
            (message("Classes"), ", ".join(subject.classes)),
            (message("Decision"), threshold),
            (message("Offers to probes"), ", ".join(subject.offers) or "–"),
        ),
        details=tuple(subject.details.items()),
        training=flat(record.training or {}),
        data=tuple(facts),
        roles=tuple((k, v if isinstance(v, str) else ", ".join(v)) for k, v in data.roles.items()),
        labels=tuple(data.labels.items()),
        features=data.features,
        min_n=verdict.policy.defaults.min_n if verdict.policy else None,
        attested=tuple(record.attestations.items()),
        remarks=record.remarks,
    )


def _families(probes: tuple[ProbeView, ...]) -> tuple[Family, ...]:
    named = list(FAMILY_WORDS) + sorted({p.info.family for p in probes} - set(FAMILY_WORDS))
    return tuple(
        Family(anchor=f"f-{n}", title=family_words(n), probes=tuple(p for p in probes if p.info.family == n))
        for n in named
        if any(p.info.family == n for p in probes)
    )


def _waiver(waiver: Waiver, verdict: Verdict, checks: tuple[CheckView, ...]) -> WaiverView:
    used = tuple(c for c in checks if c.ruling.waiver == waiver.id)
    if used:
        state = message("Applied")
    elif waiver.expires < verdict.decided_on:
        state = message("Expired on {day}; not applied", day=waiver.expires.isoformat())
    else:
        state = message("Not applied; see the warnings")
    return WaiverView(waiver=waiver, state=state, used=used)


def _methods(record: AuditRecord, verdict: Verdict, probes: tuple[ProbeView, ...]) -> Methods:
    rules = [
        message("Intervals in this record are two-sided at {level}.", level=level_words(record.level)),
        message(
            "A check on an interval passes when the whole interval lies within its limit, fails when the whole interval"
            " lies beyond it, and is inconclusive otherwise."
        ),
        message(
            "A check whose probe broke, was not applicable or did not run is an error, and an error never passes or is"
            " waived."
        ),
        message("Checks are not adjusted for their number: a pass needs every blocking check to pass."),
        message("There is no overall score: figures of different kinds are not added up."),
    ]
    if verdict.policy:
        d = verdict.policy.defaults
        blocks = message("blocks") if d.on_inconclusive == "block" else message("warns")
        text = "Defaults of the policy: level {level}, decision on {decision}, at least {n} rows; inconclusive {blocks}."
        rules.append(message(text, level=level_words(d.level), decision=d.decision, n=d.min_n, blocks=str(blocks)))
    intervals = [m.interval for p in probes for m in p.measurements if m.kind == "measurement"]
    intervals += [r.interval for r in verdict.rulings]
    return Methods(rules=tuple(rules), intervals=_method_names(intervals), limits=_limits(probes))


def _method_names(intervals: Iterable[Interval | None]) -> tuple[str, ...]:
    """Each method once; with its parameters where these do not change from figure to figure."""
    found: dict[str, set[str]] = {}
    for interval in intervals:
        if interval is not None:
            found.setdefault(interval.method.name, set()).add(str(interval.method))
    return tuple(next(iter(full)) if len(full) == 1 else name for name, full in sorted(found.items()))


def _limits(probes: tuple[ProbeView, ...]) -> tuple[tuple[str, tuple[Message, ...]], ...]:
    return tuple({p.info.id: p.info.limits for p in probes if p.info.limits}.items())


def _provenance(record: AuditRecord, verdict: Verdict) -> Provenance:
    facts: list[Fact] = [
        (message("Plumbline"), record.plumbline),
        (message("Audit"), record.name),
        (message("Seed"), str(record.seed)),
        (message("Subject digest (sha256)"), record.subject.digest),
        (message("Data digest (sha256)"), record.data.digest),
        (message("Record digest (sha256 of results.json)"), verdict.record_sha256),
        (message("Exit code"), str(verdict.exit_code)),
    ]
    if record.predictions:
        where = message("{path}, {rows} rows, sha256 {sha}", path=record.predictions.path,
                        rows=record.predictions.rows, sha=record.predictions.sha256)  # fmt: skip
        facts.append((message("Predictions"), where))
    return Provenance(
        facts=tuple(facts),
        environment=tuple(sorted(record.environment.items())),
        commands=(
            ("plumbline verify RUN", message("Checks hashes, recomputes every figure from its rows, decides and renders again.")),
            ("sha256sum -c SHA256SUMS", message("Checks the hashes alone, inside the bundle, without Plumbline.")),
            ("plumbline gate RUN --policy POLICY", message("Decides again, without the model.")),
            (f"plumbline run PLAN --out RUN  # seed {record.seed}", message("Measures again.")),
        ),
    )


def _glossary(probes: tuple[ProbeView, ...]) -> tuple[tuple[str, MeasureDefinition], ...]:
    found = {(p.info.id, d.name): d for p in probes for d in p.info.defines}
    return tuple((probe, d) for (probe, _), d in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])))


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
        return ((prefix, f"[{len(value)}]"),)
    if isinstance(value, bool) or value is None:
        return ((prefix, "–" if value is None else str(value).lower()),)
    return ((prefix, value if isinstance(value, str | int | float) else str(value)),)
