"""Each ruling as a reviewer reads it: the claim, the figure, the threshold, why, how it was measured and what limits it.

Pure: a record and a verdict in, plain data out. It repeats rulings and never makes or softens one.
"""

from __future__ import annotations

from dataclasses import dataclass

from probes.evidence import (
    MeasureDefinition,
    Measurement,
    Message,
    ProbeInfo,
    Slice,
    message,
)
from reports.record import AuditRecord, Comparison, Finding, Outcome, Rule, Ruling, Verdict, Waiver
from reports.wording import (
    check_slug,
    claim,
    demand,
    interval_words,
    level_words,
    measure_said,
    sentence,
    slice_said,
    slug,
)

_URGENCY: dict[Outcome, int] = {"fail": 0, "error": 1, "inconclusive": 2, "waived": 3, "pass": 4}


@dataclass(frozen=True, kw_only=True)
class CheckView:
    """One check, ready to be shown.

    ``upper`` says on which side of ``ruling.limit`` the figure should lie: True is at or below it.
    """

    anchor: str
    ruling: Ruling
    claim: Message
    sentence: Message
    measure: Message
    where: Message | None
    demand: Message
    interval: Message | None
    unit: str
    upper: bool
    decided: Message | None
    needed: Message | None
    waiver: Waiver | None
    definition: MeasureDefinition | None
    info: ProbeInfo | None
    probe_anchor: str | None
    command: str

    @property
    def outcome(self) -> Outcome:
        return self.ruling.outcome

    @property
    def named(self) -> Message:
        """The measure and what it is of."""
        if self.where is None:
            return self.measure
        return message("{measure}, {where}", measure=self.measure, where=self.where)

    @property
    def advisory(self) -> bool:
        return self.ruling.check.rule.severity == "advisory"

    @property
    def needs_action(self) -> bool:
        """Neither passed nor waived."""
        return self.outcome in ("fail", "error", "inconclusive")

    @property
    def comparison(self) -> Comparison | None:
        return self.ruling.comparison

    @property
    def library(self) -> Message | None:
        """The distribution that measured it, with its version and what it requires."""
        return library(self.info) if self.info else None


def library(info: ProbeInfo) -> Message:
    """``plumbline-audit 0.1.0 (with captum)``."""
    name = f"{info.distribution} {info.version}".strip()
    if info.requires:
        return message("{name} (with {others})", name=name, others=", ".join(info.requires))
    return message("{name}", name=name)


def probe_anchor(instance: str) -> str:
    """The anchor of a probe instance's part of the page."""
    return f"p-{slug(instance)}"


def check_views(record: AuditRecord, verdict: Verdict) -> tuple[CheckView, ...]:
    """Every check: those that need action first, blocking before advisory, else in the policy's order."""
    taken: set[str] = set()
    units = _units(record)
    views = []
    for ruling in verdict.rulings:
        key = (ruling.check.rule.instance, ruling.check.rule.measure_name, ruling.check.slice)
        views.append(_view(record, verdict, ruling, units.get(key, ""), taken))
    return tuple(sorted(views, key=lambda v: (not v.needs_action, v.advisory, _URGENCY[v.outcome])))


def _view(record: AuditRecord, verdict: Verdict, ruling: Ruling, unit: str, taken: set[str]) -> CheckView:
    rule = ruling.check.rule
    planned, finding = record.plan(rule.instance), record.finding(rule.instance)
    info = finding.info if finding else planned.info if planned else None
    definition = info.definition(rule.measure_name) if info else None
    return CheckView(
        anchor=unique(check_slug(rule.id, ruling.check.slice), taken),
        ruling=ruling,
        claim=claim(ruling),
        sentence=sentence(ruling),
        measure=_measure(ruling),
        where=slice_said(ruling.check.slice),
        demand=demand(ruling),
        interval=interval_words(ruling.interval) if ruling.interval else None,
        unit=unit or (definition.unit if definition else ""),
        upper=rule.min is None,
        decided=_decided(ruling, verdict),
        needed=_needed(ruling),
        waiver=next((w for w in verdict.waivers if w.id == ruling.waiver), None),
        definition=definition,
        info=info,
        probe_anchor=probe_anchor(rule.instance) if info else None,
        command=_command(rule, finding),
    )


def _command(rule: Rule, finding: Finding | None) -> str:
    """Asks the probe again: for the same figures where there are some, else for figures at all."""
    if finding is not None and finding.status == "measured":
        return f"plumbline reproduce RUN --plan PLAN --check {rule.id}"
    return f"plumbline run PLAN --only {rule.instance}"


def unique(anchor: str, taken: set[str]) -> str:
    """``anchor``, or with a number where it is taken; takes it."""
    name, number = anchor, 1
    while name in taken:
        number += 1
        name = f"{anchor}-{number}"
    taken.add(name)
    return name


def _units(record: AuditRecord) -> dict[tuple[str, str, Slice], str]:
    return {
        (f.instance, m.name, m.slice): m.unit
        for f in record.findings
        for m in (f.reading.measurements if f.reading else ())
        if isinstance(m, Measurement) and m.unit
    }


def _measure(ruling: Ruling) -> Message:
    rule = ruling.check.rule
    if rule.max_drop is not None:
        return message("Drop in {measure}", measure=measure_said(rule.measure_name, first="keep"))
    return measure_said(rule.measure_name)


def _decided(ruling: Ruling, verdict: Verdict) -> Message | None:
    """How it was decided, where that is not on the whole interval by the policy's own defaults."""
    level = level_words(ruling.level)
    if ruling.decision == "exact" or (ruling.value is not None and ruling.interval is None):
        return message("On the exact figure.")
    if ruling.decision == "point":
        return message(
            "On the point value, as the policy asks; its uncertainty was not used. No figure on fewer than {n} rows.",
            n=ruling.min_n,
        )
    usual = verdict.policy.defaults if verdict.policy else None
    if usual is not None and (ruling.level, ruling.min_n) == (usual.level, usual.min_n):
        return None
    return message("On the whole {level} interval. No figure on fewer than {n} rows.", level=level, n=ruling.min_n)


def _needed(ruling: Ruling) -> Message | None:
    if "inconclusive" not in (ruling.outcome, ruling.original):
        return None
    if ruling.needed_n is None:
        return message("No practical number of rows.") if ruling.value is not None else None
    return message("About {n} rows at the same shares.", n=ruling.needed_n)
