"""The report as plain data, in its order: what each section says, before any page, language or markup.

Pure: a record and a verdict in, dataclasses of messages and figures out. It measures nothing, decides nothing and drops
nothing: what did not run, was not applicable or broke has its place like everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from probes.evidence import Interval, Message, message
from reports.changes import Changes, changes
from reports.checks import CheckView, check_views
from reports.decision import Decision, decision
from reports.demanded import PolicyView, policy_view
from reports.editions import edition_words
from reports.glossary import Entry, glossary
from reports.instances import Family, Named, ProbeView, families, flat, probe_views
from reports.record import AuditRecord, FeatureCard, Verdict, Waiver
from reports.regulatory_index import RegulatoryIndex, regulatory_index
from reports.showing import PLAIN, Fact, Showing
from reports.trust import Trust, trust_in_methods
from reports.wording import level_words


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


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Who made it, with what, and how to check it."""

    facts: tuple[Fact, ...]
    environment: tuple[Named, ...]
    commands: tuple[tuple[str, Message], ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """All sections, in the order in which they are read. ``digests`` are those of subject, data and record."""

    name: str
    plumbline: str
    decided_on: date
    digests: tuple[str, str, str]
    include_text: bool
    edition: tuple[Message, ...]
    decision: Decision
    policy: PolicyView | None
    checks: tuple[CheckView, ...]
    scope: Scope
    families: tuple[Family, ...]
    trust: Mapping[str, Trust]
    changes: Changes
    waivers: tuple[WaiverView, ...]
    methods: Methods
    provenance: Provenance
    regulation: RegulatoryIndex
    glossary: tuple[Entry, ...]
    defined: Mapping[tuple[str, str], str]


def report(record: AuditRecord, verdict: Verdict, showing: Showing = PLAIN) -> Report:
    """The sections of a report on what an edition shows of a record."""
    checks = check_views(record, verdict)
    probes = probe_views(record)
    entries = glossary(probes, checks)
    return Report(
        name=record.name,
        plumbline=record.plumbline,
        decided_on=verdict.decided_on,
        digests=(record.subject.digest, record.data.digest, verdict.record_sha256),
        include_text=record.data.include_text,
        edition=edition_words(record, showing),
        decision=decision(record, verdict, checks),
        policy=policy_view(verdict, checks),
        checks=checks,
        scope=_scope(record, verdict),
        families=families(probes),
        trust=trust_in_methods(record),
        changes=changes(verdict),
        waivers=tuple(_waiver(w, verdict, checks) for w in verdict.waivers),
        methods=_methods(record, verdict, probes),
        provenance=_provenance(record, verdict),
        regulation=regulatory_index(record, verdict),
        glossary=entries,
        defined={key: e.anchor for e in entries for key in e.keys},
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
    intervals = [m.interval for p in probes for m in p.measurements if m.kind == "measurement"]
    intervals += [r.interval for r in verdict.rulings]
    return Methods(rules=tuple(rules), intervals=_method_names(intervals))


def _method_names(intervals: Iterable[Interval | None]) -> tuple[str, ...]:
    """Each method once; with its parameters where these do not change from figure to figure."""
    found: dict[str, set[str]] = {}
    for interval in intervals:
        if interval is not None:
            found.setdefault(interval.method.name, set()).add(str(interval.method))
    return tuple(next(iter(full)) if len(full) == 1 else name for name, full in sorted(found.items()))


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
            (
                "plumbline verify RUN",
                message("Checks hashes, recomputes every figure from its rows, decides and renders again."),
            ),
            ("sha256sum -c SHA256SUMS", message("Checks the hashes alone, inside the bundle, without Plumbline.")),
            ("plumbline gate RUN --policy POLICY", message("Decides again, without the model.")),
            (f"plumbline run PLAN --out RUN  # seed {record.seed}", message("Measures again.")),
        ),
    )
