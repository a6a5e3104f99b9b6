"""The questions that a reviewer asks first, each answered in a sentence or two with the place that says more.

Pure: it repeats what verdict and record say and judges nothing. `QUESTIONS` fixes the questions, so that none can silently
go unanswered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Literal

from probes.evidence import Message, message
from reports.changes import change_words, policy_change_words
from reports.checks import CheckView
from reports.instances import probe_views
from reports.record import AuditRecord, Verdict
from reports.wording import FAMILY_WORDS, level_words, listed

Question = Literal["harmed", "sure", "unchecked", "changed", "waived", "data", "reproduce", "personal"]
QUESTIONS: dict[Question, Message] = {
    "harmed": message("Who is harmed?"),
    "sure": message("How sure is this?"),
    "unchecked": message("What was not checked?"),
    "changed": message("What changed?"),
    "waived": message("Who waived what, until when?"),
    "data": message("On which data?"),
    "reproduce": message("Can I reproduce it?"),
    "personal": message("Does it leak personal data?"),
}
_NAMED = 8
_PRIVACY = "privacy"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question, its answer, and the anchor of the part of the page that says more."""

    key: Question
    question: Message
    said: tuple[Message, ...]
    anchor: str


def answers(record: AuditRecord, verdict: Verdict, checks: tuple[CheckView, ...]) -> tuple[Answer, ...]:
    """Every question of `QUESTIONS`, in its order. Whether it may ship, and why not, the verdict above them says."""
    found: dict[Question, tuple[tuple[Message, ...], str]] = {
        "harmed": _harmed(checks),
        "sure": _sure(record, verdict, checks),
        "unchecked": _unchecked(record),
        "changed": ((*change_words(verdict), *_some(policy_change_words(verdict))), "baseline"),
        "waived": (_waived(verdict), "waivers"),
        "data": (_data(record), "scope"),
        "reproduce": (_reproduce(record), "provenance"),
        "personal": _personal(record, checks),
    }
    return tuple(Answer(key=k, question=q, said=found[k][0], anchor=found[k][1]) for k, q in QUESTIONS.items())


def _harmed(checks: tuple[CheckView, ...]) -> tuple[tuple[Message, ...], str]:
    """The groups of failed checks, also of waived ones; and the features with a failed comparison of groups."""
    about = [c for c in checks if any(a.kind in ("group", "feature") for a in c.ruling.check.slice)]
    if not about:
        return (message("Not known: no check of the policy looks at a group of people."),), "checks"
    failed = [c for c in about if c.outcome == "fail" or c.ruling.original == "fail"]
    if not failed:
        text = message("No breach detected in {n} checks on groups.", n=len(about))
        return (text,), about[0].anchor
    groups = _axes(failed, "group")
    features = _axes(failed, "feature")
    out = []
    if groups:
        out.append(
            message(
                "Beyond the policy's limits for {groups}.",
                groups=reduce(lambda one, more: message("{one}; {more}", one=one, more=more), groups),
            )
        )
    if features:
        out.append(
            message(
                "Differences beyond the limits between the groups of: {features}.", features=listed(features, _NAMED)
            )
        )
    return tuple(out), failed[0].anchor


def _axes(checks: list[CheckView], kind: str) -> list[Message]:
    """The axes of one kind, feature by feature: ``gender: female, male``."""
    found: dict[str, list[str]] = {}
    for check in checks:
        axes = [a for a in check.ruling.check.slice if a.kind == kind]
        if axes:
            values = found.setdefault(" × ".join(a.name for a in axes), [])
            value = " × ".join(a.value for a in axes if a.value)
            if value and value not in values:
                values.append(value)
    return [
        message("{name}: {values}", name=name, values=listed(values, _NAMED)) if values else listed([name])
        for name, values in found.items()
    ]


def _sure(record: AuditRecord, verdict: Verdict, checks: tuple[CheckView, ...]) -> tuple[tuple[Message, ...], str]:
    if not checks:
        return (message("Nothing was decided."),), "methods"
    open_ = [c for c in checks if c.outcome == "inconclusive"]
    points = sum(c.ruling.decision == "point" for c in checks)
    least = verdict.policy.defaults.min_n if verdict.policy else 0
    out = [
        message("Intervals at {level}; a check passes or fails only with its whole interval, on {n} rows or more.",
                level=level_words(record.level), n=least)
    ]  # fmt: skip
    if points:
        out.append(message("Checks decided on point values, without their uncertainty: {n}.", n=points))
    if open_:
        out.append(message("The evidence does not decide {n} of {all} checks.",
                           n=len(open_), all=len(checks)))  # fmt: skip
    return tuple(out), open_[0].anchor if open_ else "methods"


def _unchecked(record: AuditRecord) -> tuple[tuple[Message, ...], str]:
    views = probe_views(record)
    missing = [v for v in views if v.status != "measured"]
    seen = {v.info.family for v in views if v.status == "measured"}
    blank = [words for family, words in FAMILY_WORDS.items() if family not in seen]
    out = []
    if missing:
        out.append(message("{n} of {all} probes gave no result: {names}.", n=len(missing), all=len(views),
                           names=listed([v.instance for v in missing], _NAMED)))  # fmt: skip
    if blank:
        out.append(message("Nothing was measured on: {families}.", families=listed(blank)))
    out.append(message("Nor were other data, other uses or later versions of the model."))
    return tuple(out), "uncovered"


def _waived(verdict: Verdict) -> tuple[Message, ...]:
    if not verdict.waivers:
        return (message("Nothing: no waiver was handed in."),)
    used = {r.waiver for r in verdict.rulings}
    live = [w for w in verdict.waivers if w.id in used]
    out = [
        message("{rule} on {slice}, approved by {who}, until {day}.",
                rule=w.rule, slice=w.slice, who=w.approved_by, day=w.expires.isoformat())
        for w in live[:3]
    ]  # fmt: skip
    if len(live) > len(out):
        out.append(message("Further waivers that apply: {n}.", n=len(live) - len(out)))
    if len(verdict.waivers) > len(live):
        out.append(message("Waivers handed in that do not apply: {n}.", n=len(verdict.waivers) - len(live)))
    return tuple(out)


def _data(record: AuditRecord) -> tuple[Message, ...]:
    data = record.data
    return (message("{name}: {rows} rows, digest {digest}.", name=data.name, rows=data.rows, digest=data.digest[:12]),)


def _reproduce(record: AuditRecord) -> tuple[Message, ...]:
    kept = [f for f in record.findings if f.rows is not None]
    measured = [f for f in record.findings if f.reading is not None]
    if record.predictions is None and not kept:
        return (message("Only by running the plan again (seed {seed}): no rows were kept.", seed=str(record.seed)),)
    return (
        message("Figures of {kept} of {all} measured probes can be computed again from kept rows, and the verdict from them.",
                kept=len(kept), all=len(measured)),
        message("Measuring again takes the plan and seed {seed}.", seed=str(record.seed)),
    )  # fmt: skip


def _personal(record: AuditRecord, checks: tuple[CheckView, ...]) -> tuple[tuple[Message, ...], str]:
    """What was found of the model, then what this page itself shows."""
    measured = [f for f in record.findings if f.info.family == _PRIVACY and f.reading is not None]
    about = [c for c in checks if c.info is not None and c.info.family == _PRIVACY]
    failed = sum(c.outcome == "fail" or c.ruling.original == "fail" for c in about)
    shown = (
        message("This page shows raw inputs, because the plan allows it.")
        if record.data.include_text
        else message("This page shows no raw inputs.")
    )
    if not measured:
        return (message("Not known of the model: no privacy probe gave a result."), shown), "uncovered"
    if not about:
        said = message("Privacy probes with a result: {n}; no check of the policy judges them.", n=len(measured))
        return (said, shown), f"f-{_PRIVACY}"
    if failed:
        said = message("Breach detected in {n} of {all} privacy checks.", n=failed, all=len(about))
    else:
        said = message("No breach detected in {all} privacy checks.", all=len(about))
    return (said, shown), about[0].anchor


def _some(value: Message | None) -> tuple[Message, ...]:
    return () if value is None else (value,)
