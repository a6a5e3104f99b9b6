"""The first screen as plain data: the verdict, why, on what, and what it does not cover. Pure; it softens nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from probes.evidence import Message, message
from reports.answers import Answer, answers
from reports.checks import CheckView
from reports.instances import probe_views
from reports.record import AuditRecord, Outcome, Verdict
from reports.showing import Fact
from reports.wording import FAMILY_WORDS

_OUTCOMES: tuple[Outcome, ...] = ("fail", "error", "inconclusive", "waived", "pass")
_HEADLINES: dict[Outcome, Message] = {
    "fail": message("Breach detected in {count} of {checks} checks."),
    "error": message("Evidence is missing for {count} of {checks} checks."),
    "inconclusive": message("The evidence does not decide {count} of {checks} checks."),
    "waived": message("No breach detected in {checks} checks, except {count} waived."),
    "pass": message("No breach detected in {checks} checks."),
}


@dataclass(frozen=True, kw_only=True)
class Ground:
    """One rule that was not met: its worst check, and how many more of its checks came out the same."""

    check: CheckView
    more: int


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The first screen.

    ``tally`` has every outcome, also those that no check has: a count of 0 is an answer. ``unmeasured`` are the probes without
    a result, of ``probes``.
    """

    outcome: Outcome
    enforced: bool
    headline: Message
    remarks: tuple[Message, ...]
    action: tuple[CheckView, ...]
    grounds: tuple[Ground, ...]
    tally: tuple[tuple[Outcome, int], ...]
    unmeasured: int
    probes: int
    answers: tuple[Answer, ...]
    facts: tuple[Fact, ...]
    uncovered: tuple[Message, ...]
    warnings: tuple[Message, ...]


def headline(record: AuditRecord, verdict: Verdict) -> Message:
    """The decision in one sentence; it never says that nothing is wrong, only that nothing was detected."""
    views = probe_views(record)
    without = message(
        "Not run or without a result: {missing} of {probes} probes.",
        missing=sum(v.status != "measured" for v in views),
        probes=len(views),
    )
    return message("{decided} {without}", decided=_decided(verdict), without=without)


def _decided(verdict: Verdict) -> Message:
    if not verdict.rulings:
        if verdict.policy:
            return message("No check ran, so nothing was decided.")
        return message("No policy was given, so nothing was decided.")
    checks, outcome = len(verdict.rulings), verdict.outcome
    failed = [r for r in verdict.rulings if r.outcome == "fail"]
    advisory = sum(r.check.rule.severity == "advisory" for r in failed)
    if failed and outcome in ("fail", "pass", "waived"):
        if advisory:
            return message(
                "Breach detected in {count} of {checks} checks, {advisory} of them advisory.",
                count=len(failed), checks=checks, advisory=advisory,
            )  # fmt: skip
        return _HEADLINES["fail"].put(count=len(failed), checks=checks)
    return _HEADLINES[outcome].put(count=verdict.count(outcome), checks=checks)


def uncovered(record: AuditRecord) -> tuple[Message, ...]:
    """What the report does not cover: probes without a reading, and families of which nothing was measured."""
    out = []
    for view in probe_views(record):
        name = {"instance": view.instance, "probe": view.info.id}
        if view.status == "not_run":
            out.append(message("{instance} ({probe}) was planned and did not run.", **name))
        elif view.status != "measured":
            said = message("{instance} ({probe}) stopped with an error: {why}")
            if view.status == "not_applicable":
                said = message("{instance} ({probe}) was not applicable: {why}")
            out.append(said.put(**name, why=view.reason or message("no reason is recorded")))
    seen = {f.info.family for f in record.findings if f.status == "measured"}
    out += [message("{family}: nothing was measured.", family=w) for f, w in FAMILY_WORDS.items() if f not in seen]
    return tuple(out)


def lock_words(verdict: Verdict) -> Message:
    """Whether what was demanded was fixed before the figures were there, as far as a lock can show it."""
    check = verdict.lock
    if check is None:
        return message("no lock was given before the run")
    facts: dict[str, str | int | float] = {"day": check.locked_on.isoformat(), "digest": check.lock_sha256[:12]}
    if check.matched:
        return message("yes: the run kept to the lock of {day} (digest {digest})", **facts)
    facts["count"] = len(check.differences)
    return message("no: the run differs from the lock of {day} (digest {digest}) in {count} points", **facts)


def decision(record: AuditRecord, verdict: Verdict, checks: tuple[CheckView, ...]) -> Decision:
    subject, data, policy = record.subject, record.data, verdict.policy
    told = {str(r.reason) for r in verdict.rulings}
    line = message("{name}, version {version}, owned by {owner}", name=policy.name, version=policy.version,
                   owner=policy.owner) if policy else message("none")  # fmt: skip
    subject_line = message("{name} ({kind}, {task}, digest {digest})", name=subject.name, kind=subject.kind,
                           task=subject.task, digest=subject.digest[:12])  # fmt: skip
    data_line = message(
        "{name} ({rows} rows, digest {digest})", name=data.name, rows=data.rows, digest=data.digest[:12]
    )
    views = probe_views(record)
    return Decision(
        outcome=verdict.outcome,
        enforced=verdict.enforced,
        headline=headline(record, verdict),
        remarks=tuple(r for r in verdict.reasons if str(r) not in told and verdict.rulings),
        action=tuple(c for c in checks if c.needs_action),
        grounds=_grounds(checks),
        tally=tuple((o, verdict.count(o)) for o in _OUTCOMES) if verdict.rulings else (),
        unmeasured=sum(v.status != "measured" for v in views),
        probes=len(views),
        answers=answers(record, verdict, checks),
        facts=(
            (message("Model"), subject_line),
            (message("Data"), data_line),
            (message("Policy"), line),
            (message("Decided on"), verdict.decided_on),
            (message("Lock"), lock_words(verdict)),
        ),
        uncovered=uncovered(record),
        warnings=(*verdict.warnings, *(verdict.lock.differences if verdict.lock else ())),
    )


def _grounds(checks: tuple[CheckView, ...]) -> tuple[Ground, ...]:
    """Why, a rule at a time, so that a rule with many groups does not hide the others."""
    found: dict[tuple[str, Outcome], list[CheckView]] = {}
    for check in checks:
        if check.needs_action:
            found.setdefault((check.ruling.check.rule.id, check.outcome), []).append(check)
    return tuple(Ground(check=max(same, key=_beyond), more=len(same) - 1) for same in found.values())


def _beyond(check: CheckView) -> float:
    """How far the figure lies on the wrong side of its limit; what has no figure comes last."""
    value, limit = check.ruling.value, check.ruling.limit
    if value is None:
        return -math.inf
    return value - limit if check.upper else limit - value
