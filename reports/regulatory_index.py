"""Which finding gives evidence for which requirement: a record and a verdict held against the known frameworks.

Pure. It says what there is to see, never whether that is enough: it supports an assessment and certifies nothing. A probe that
errored, was not applicable or did not run gives no evidence, and nothing is filled in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from pydantic import Field

from probes.evidence import Measurement, Message, Plain, ProbeInfo, message
from reports.attestations import says_something
from reports.checks import probe_anchor
from reports.record import AuditRecord, Comparison, Finding, Outcome, Verdict
from reports.regulations import Framework, Needed, Recorded, Requirement, regulation, regulation_ids

Standing = Literal["measured", "attested", "missing"]
Counts = dict[Standing, int]

NO_CERTIFICATE = message(
    "This index supports an assessment by people; it does not certify compliance. Measured means that a figure or a record is"
    " there, not that it is good enough. Whether a framework applies to this system is not decided here."
)


class Link(Plain):
    """A place on the report's page."""

    label: str | Message
    anchor: str


class FieldView(Plain):
    """One thing that a requirement asks to see.

    Attributes:
        links: where the page shows it; empty where it is missing.
        outcomes: how the checks on these figures came out; empty where no rule demands anything of them.
        text: what the plan states, for an attested field.
        gaps: what gave no evidence, and why.
    """

    title: Message
    standing: Standing
    links: tuple[Link, ...] = ()
    outcomes: dict[Outcome, int] = Field(default_factory=dict)
    text: str | None = None
    gaps: tuple[Message, ...] = ()


class RequirementView(Plain):
    """One requirement and what there is for it."""

    id: str
    title: Message
    asks: Message
    source: str
    counts: Counts
    fields: tuple[FieldView, ...]

    def having(self, standing: Standing) -> tuple[FieldView, ...]:
        """The fields that stand so."""
        return tuple(f for f in self.fields if f.standing == standing)


class FrameworkView(Plain):
    """One framework and what there is for it. ``named`` says whether the plan names it."""

    id: str
    version: int
    as_of: date
    name: Message
    citation: str
    scope: Message
    status: Message
    checked_against: tuple[Message, ...]
    named: bool
    counts: Counts
    requirements: tuple[RequirementView, ...]


class RegulatoryIndex(Plain):
    """Every framework, those first that the plan names. ``unknown`` are names that this version has no file for."""

    schema_: Literal["plumbline.regulatory-index/v1"] = Field(default="plumbline.regulatory-index/v1", alias="schema")
    says: Message = NO_CERTIFICATE
    frameworks: tuple[FrameworkView, ...]
    unknown: tuple[str, ...] = ()

    @property
    def named(self) -> tuple[FrameworkView, ...]:
        """Those that the plan names."""
        return tuple(f for f in self.frameworks if f.named)

    @property
    def others(self) -> tuple[FrameworkView, ...]:
        """Those that it does not."""
        return tuple(f for f in self.frameworks if not f.named)


@dataclass(frozen=True, kw_only=True)
class _Instance:
    """What one probe instance came to: which measures have a value, which were asked for in vain, and how checks came out.

    ``gap`` says why there is no reading, where there is none.
    """

    info: ProbeInfo
    gap: Message | None
    valued: frozenset[str]
    empty: frozenset[str]
    outcomes: Mapping[str, Counter[Outcome]]


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """Record and verdict, looked through once: there are some hundred fields, and may be thousands of checks."""

    instances: Mapping[str, _Instance]
    parts: Mapping[Recorded, Link | Message]
    attested: Mapping[str, str]


def regulatory_index(record: AuditRecord, verdict: Verdict) -> RegulatoryIndex:
    """What the record and the verdict have to show for each requirement of each framework.

    Raises:
        RecordError: a data file is damaged.
    """
    ids, shown = regulation_ids(), _looked_through(record, verdict)
    wanted = tuple(dict.fromkeys(record.regulations))
    first = [i for i in wanted if i in ids]
    return RegulatoryIndex(
        frameworks=tuple(
            _framework(regulation(i), shown, named=i in wanted) for i in (*first, *(i for i in ids if i not in wanted))
        ),
        unknown=tuple(i for i in wanted if i not in ids),
    )


def _framework(framework: Framework, shown: _Shown, *, named: bool) -> FrameworkView:
    requirements = tuple(_requirement(r, shown) for r in framework.requirements)
    return FrameworkView(
        id=framework.id,
        version=framework.version,
        as_of=framework.as_of,
        name=Message(text=framework.name),
        citation=framework.citation,
        scope=Message(text=framework.scope),
        status=Message(text=framework.status),
        checked_against=tuple(Message(text=t) for t in framework.checked_against),
        named=named,
        counts=_counted(f for r in requirements for f in r.fields),
        requirements=requirements,
    )


def _requirement(requirement: Requirement, shown: _Shown) -> RequirementView:
    fields = tuple(_field(f, shown) for f in requirement.fields)
    return RequirementView(
        id=requirement.id,
        title=Message(text=requirement.title),
        asks=Message(text=requirement.asks),
        source=requirement.source,
        counts=_counted(fields),
        fields=fields,
    )


def _counted(fields: Iterable[FieldView]) -> Counts:
    found = Counter(f.standing for f in fields)
    return {"measured": found["measured"], "attested": found["attested"], "missing": found["missing"]}


def _field(needed: Needed, shown: _Shown) -> FieldView:
    if needed.measured_by:
        return _measured(needed, shown)
    if needed.recorded is not None:
        place = shown.parts[needed.recorded]
        if isinstance(place, Message):
            return FieldView(title=needed.title, standing="missing", gaps=(place,))
        return FieldView(title=needed.title, standing="measured", links=(place,))
    key = needed.attested or ""
    text = shown.attested.get(key, "")
    if not says_something(text):
        return FieldView(title=needed.title, standing="missing", gaps=(message("not stated ({key})", key=key),))
    place = Link(label=message("stated in the plan"), anchor="scope")
    return FieldView(title=needed.title, standing="attested", links=(place,), text=text)


def _measured(needed: Needed, shown: _Shown) -> FieldView:
    links, gaps, outcomes = [], [], Counter[Outcome]()
    asked = _asked(needed, shown)
    for name, measures in asked.items():
        instance = shown.instances[name]
        gap = instance.gap or _lack(name, instance, measures)
        if gap is not None:
            gaps.append(gap)
            continue
        links.append(Link(label=name, anchor=probe_anchor(name)))
        for measure, counted in instance.outcomes.items():
            if measures is None or measure in measures:
                outcomes.update(counted)
    if not asked:
        probes = ", ".join(dict.fromkeys(_split(s)[0] for s in needed.measured_by))
        gaps.append(message("No probe of the plan measures it. What would: {probes}.", probes=probes))
    return FieldView(
        title=needed.title,
        standing="measured" if links else "missing",
        links=tuple(links),
        outcomes=dict(sorted(outcomes.items())),
        gaps=tuple(gaps),
    )


def _asked(needed: Needed, shown: _Shown) -> dict[str, frozenset[str] | None]:
    """The instances that could show it, and the measures by which; None is any measure."""
    selectors = [_split(s) for s in needed.measured_by]
    out: dict[str, frozenset[str] | None] = {}
    for name, instance in shown.instances.items():
        named = [measure for probe, measure in selectors if probe in (instance.info.id, instance.info.family)]
        if named:
            out[name] = None if "" in named else frozenset(named)
    return out


def _split(selector: str) -> tuple[str, str]:
    probe, _, measure = selector.partition(":")
    return probe, measure


def _lack(name: str, instance: _Instance, measures: frozenset[str] | None) -> Message | None:
    """Why a finding that was measured shows none of these measures; None where it shows one."""
    if instance.valued if measures is None else instance.valued & measures:
        return None
    if instance.empty if measures is None else instance.empty & measures:
        return message("{instance}: has no value for it here.", instance=name)
    return message("{instance}: did not measure it.", instance=name)


def _looked_through(record: AuditRecord, verdict: Verdict) -> _Shown:
    outcomes: dict[str, dict[str, Counter[Outcome]]] = {}
    for ruling in verdict.rulings:
        rule = ruling.check.rule
        outcomes.setdefault(rule.instance, {}).setdefault(rule.measure_name, Counter())[ruling.outcome] += 1
    findings = {f.instance: f for f in record.findings}
    infos = {f.instance: f.info for f in record.findings} | {p.instance: p.info for p in record.planned}
    return _Shown(
        instances={n: _instance(n, i, findings.get(n), outcomes.get(n, {})) for n, i in infos.items()},
        parts=_parts(record, verdict),
        attested=record.attestations,
    )


def _instance(
    name: str, info: ProbeInfo, finding: Finding | None, outcomes: Mapping[str, Counter[Outcome]]
) -> _Instance:
    gap = None
    if finding is None:
        gap = message("{instance}: planned, did not run.", instance=name)
    elif finding.status == "errored":
        gap = message("{instance}: stopped with an error.", instance=name)
    elif finding.reading is None:
        gap = message("{instance}: was not applicable.", instance=name)
    found = finding.reading.measurements if finding is not None and finding.reading is not None else ()
    valued = frozenset(m.name for m in found if isinstance(m, Measurement))
    return _Instance(
        info=info, gap=gap, valued=valued, empty=frozenset(m.name for m in found) - valued, outcomes=outcomes
    )


def _parts(record: AuditRecord, verdict: Verdict) -> dict[Recorded, Link | Message]:
    """Where the page shows each part of record and verdict, or why there is nothing of it."""
    read = [f.info for f in record.findings if f.reading is not None]
    measured = message("Nothing was measured.")
    locked: Message = message("No lock was handed in.")
    if verdict.lock is not None and not verdict.lock.matched:
        locked = message("The run differs from its lock.")
    places: dict[Recorded, tuple[bool, str, Message, Message]] = {
        "subject": (True, "scope", message("Scope"), measured),
        "training": (bool(record.training), "scope", message("Scope"), message("No training record came with the subject.")),
        "data": (True, "scope", message("Scope"), measured),
        "groups": (bool(record.data.features), "scope", message("Scope"), message("The data name no sensitive feature.")),
        "labels": (bool(record.data.labels), "scope", message("Scope"), message("The rows carry no true classes.")),
        "environment": (bool(record.environment), "provenance", message("Provenance"), message("It was not recorded.")),
        "predictions": (record.predictions is not None, "provenance", message("Provenance"), message("None were kept.")),
        "policy": (verdict.policy is not None, "decision", message("Decision"), message("There was no policy.")),
        "rulings": (bool(verdict.rulings), "checks", message("Every check"), message("There was no check.")),
        "lock": (verdict.lock is not None and verdict.lock.matched, "decision", message("Decision"), locked),
        "baseline": (any(isinstance(c, Comparison) for c in verdict.comparisons), "baseline", message("Baseline"),
                     message("No baseline was compared.")),
        "definitions": (any(i.defines for i in read), "glossary", message("Glossary"), measured),
        "limits": (any(i.limits for i in read), "methods", message("Methods and limits"), measured),
    }  # fmt: skip
    return {
        part: Link(label=label, anchor=anchor) if there else otherwise
        for part, (there, anchor, label, otherwise) in places.items()
    }
