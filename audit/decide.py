"""The gate: record and policy in, verdict out.

`decide` is pure: the same record, policy, waivers, comparisons and day give the same verdict. It reads no file, asks no
clock and no model, and never rounds in anybody's favour: what is missing, broken or too thin does not pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256

from audit.matching import matching_slices, wanted_name
from audit.waivers import unfit
from audit.weighing import Figure, Terms, figure_name, weigh
from probes.evidence import Message, Slice, Undefined, message, slice_name
from reports.record import (
    AuditRecord,
    Comparison,
    NoComparison,
    Outcome,
    Policy,
    Rule,
    Ruling,
    Verdict,
    Waiver,
)

PASS, FAIL, INCONCLUSIVE, BROKEN = 0, 10, 11, 12

_BROKE = message("{instance} stopped with an error, so {measure} is unknown: {why}")
_NOT_HERE = message("{instance} could not run here, so {measure} is unknown: {why}")

Comparisons = Sequence[Comparison | NoComparison]


def decide(
    record: AuditRecord,
    policy: Policy | None,
    waivers: Sequence[Waiver] = (),
    comparisons: Comparisons = (),
    *,
    on: date,
    restated: Mapping[float, AuditRecord] | None = None,
) -> Verdict:
    """Rule on every check of the policy and sum up.

    Args:
        record: what was measured.
        policy: what is demanded; None decides nothing, which is an error and never a pass.
        waivers: what is excused.
        comparisons: differences from baselines, for rules with ``max_drop``.
        on: the day as of which waivers count.
        restated: the record re-summarised at other confidence levels, by level.

    Raises:
        PolicyError: a rule matches several slices without ``each``, or asks for an exact decision on a sampled figure.
    """
    levels = {record.level: record, **(restated or {})}
    rulings: list[Ruling] = []
    warnings: list[Message] = []
    for terms in [Terms.of(policy, rule) for rule in policy.rules] if policy else []:
        hearing = _Hearing(terms=terms, record=record, levels=levels, comparisons=comparisons)
        ruled, said = hearing.rulings()
        rulings += ruled
        warnings += said
    rulings, said = _excuse(rulings, waivers, subject=record.subject.digest, on=on)
    outcome, code, reasons = _sum_up(rulings, policy)
    return Verdict(
        outcome=outcome,
        exit_code=code,
        decided_on=on,
        record_sha256=sha256(record.to_json().encode()).hexdigest(),
        reasons=reasons,
        rulings=tuple(rulings),
        policy=policy,
        waivers=tuple(waivers),
        comparisons=tuple(comparisons),
        warnings=(*warnings, *said),
    )


def not_enforced(verdict: Verdict) -> Verdict:
    """The same verdict for ``--report-only``: exit code 0, and marked as not enforced."""
    return verdict.model_copy(update={"enforced": False, "exit_code": PASS})


@dataclass(frozen=True, kw_only=True)
class _Hearing:
    """One rule and all that bears on it."""

    terms: Terms
    record: AuditRecord
    levels: Mapping[float, AuditRecord]
    comparisons: Comparisons

    @property
    def rule(self) -> Rule:
        return self.terms.rule

    def rulings(self) -> tuple[list[Ruling], list[Message]]:
        trouble = self._trouble()
        if trouble is not None:
            return [self.terms.ruling((), "error", trouble)], []
        finding = self.levels[self.terms.level].finding(self.rule.instance)
        measured = {m.slice: m for m in (finding.measurements(self.rule.measure_name) if finding else ())}
        slices = matching_slices(self.rule, tuple(measured))
        if not slices:
            return [self.terms.ruling((), "error", self._no_such_slice(tuple(measured)))], []
        if self.rule.max_drop is not None:
            return self._against_baseline(slices)
        out = []
        for s in slices:
            m = measured[s]
            if isinstance(m, Undefined):
                said = message("{figure} has no value: {why}", figure=self._name(s), why=m.reason)
                out.append(self.terms.ruling(s, "inconclusive", said).model_copy(update={"counts": m.counts}))
            else:
                out.append(weigh(self.terms, Figure(value=m.value, interval=m.interval, counts=m.counts, slice=s)))
        return out, []

    def _trouble(self) -> Message | None:
        """Why there is nothing to rule on, or None."""
        rule, level = self.rule, self.terms.level
        finding = self.record.finding(rule.instance)
        if finding is None:
            return message(
                "{instance} did not run, so {measure} is unknown.", instance=rule.instance, measure=rule.measure
            )
        if finding.status != "measured":
            said = _BROKE if finding.status == "errored" else _NOT_HERE
            why = finding.reason or message("no reason is recorded")
            return said.put(instance=rule.instance, measure=rule.measure, why=why)
        restated = self.levels.get(level)
        again = restated.finding(rule.instance) if restated else None
        if again is None or again.status != "measured":
            return message(
                "{measure} was measured at level {have} and the policy decides at {level}; without kept rows it cannot be"
                " restated.",
                measure=rule.measure,
                have=self.record.level,
                level=level,
            )
        return None

    def _no_such_slice(self, have: tuple[Slice, ...]) -> Message:
        names = "; ".join(slice_name(s) for s in have[:8]) + (f"; and {len(have) - 8} more" if len(have) > 8 else "")
        return message(
            "{measure} was not measured on {wanted}. It was measured on: {have}.",
            measure=self.rule.measure,
            wanted=wanted_name(self.rule),
            have=names or "nothing",
        )

    def _name(self, slice_: Slice) -> Message:
        return figure_name(self.rule, slice_)

    def _against_baseline(self, slices: Sequence[Slice]) -> tuple[list[Ruling], list[Message]]:
        rule = self.rule
        failures = [c for c in self.comparisons if isinstance(c, NoComparison) and c.rule == rule.id]
        if any(c.missing for c in failures) and rule.baseline_missing == "skip":
            said = message(
                "{rule} was skipped: there is no baseline {baseline}, and the policy allows that.",
                rule=rule.id,
                baseline=rule.baseline or "",
            )
            return [], [said]
        out = []
        for s in slices:
            found = self._comparison(s)
            if found is not None:
                figure = Figure(
                    value=found.drop, interval=found.drop_interval, counts=found.counts, slice=s, comparison=found
                )
                out.append(weigh(self.terms, figure))
                continue
            why = failures[0].reason if failures else message("no comparison was made")
            said = message("{figure} cannot be compared with {baseline}: {why}",
                           figure=self._name(s), baseline=rule.baseline or "", why=why)  # fmt: skip
            out.append(self.terms.ruling(s, "error", said))
        return out, []

    def _comparison(self, slice_: Slice) -> Comparison | None:
        rule = self.rule
        for c in self.comparisons:
            if isinstance(c, Comparison) and (c.baseline, c.instance, c.measure, c.slice, c.level) == (
                rule.baseline,
                rule.instance,
                rule.measure_name,
                slice_,
                self.terms.level,
            ):
                return c
        return None


def _excuse(
    rulings: Sequence[Ruling], waivers: Sequence[Waiver], *, subject: str, on: date
) -> tuple[list[Ruling], list[Message]]:
    """Apply the waivers that are live and fit; say why the others do not count."""
    out = list(rulings)
    warnings: list[Message] = []
    for waiver in waivers:
        hits = [
            i
            for i, r in enumerate(out)
            if r.check.rule.id == waiver.rule and slice_name(r.check.slice) == waiver.slice and r.waiver is None
        ]
        said = _why_not(waiver, [out[i] for i in hits], subject=subject, on=on)
        if said is not None:
            warnings.append(said)
            continue
        for i in hits:
            r = out[i]
            reason = message(
                "{reason} Waived as {waiver} until {expires}: requested by {by}, approved by {approver}, ticket {ticket}.",
                reason=r.reason,
                waiver=waiver.id,
                expires=waiver.expires.isoformat(),
                by=waiver.requested_by,
                approver=waiver.approved_by,
                ticket=waiver.ticket,
            )
            out[i] = r.model_copy(
                update={"outcome": "waived", "original": r.outcome, "waiver": waiver.id, "reason": reason}
            )
    return out, warnings


def _why_not(waiver: Waiver, rulings: Sequence[Ruling], *, subject: str, on: date) -> Message | None:
    """Why a waiver excuses nothing, or None where it counts."""
    name = {"waiver": waiver.id, "rule": waiver.rule, "slice": waiver.slice}
    problem = unfit(waiver)
    if problem is not None:
        return message("Waiver {waiver} does not count: {why}", waiver=waiver.id, why=problem)
    if on > waiver.expires:
        return message("Waiver {waiver} expired on {day}; {rule} is ruled on as if it were not there.",
                       waiver=waiver.id, rule=waiver.rule, day=waiver.expires.isoformat())  # fmt: skip
    if on < waiver.approved_on:
        return message(
            "Waiver {waiver} is approved only from {day}.", waiver=waiver.id, day=waiver.approved_on.isoformat()
        )
    if waiver.subject != subject:
        return message("Waiver {waiver} is for another subject, {other}.", waiver=waiver.id, other=waiver.subject[:12])
    if not rulings:
        return message("Waiver {waiver} matches no check: the policy has no {rule} on {slice}.", **name)
    ruling = rulings[0]
    if ruling.outcome == "pass":
        return message("Waiver {waiver} is not needed: {rule} on {slice} passes.", **name)
    if ruling.outcome == "error":
        return message("Waiver {waiver} does not count: an error cannot be waived ({rule} on {slice}).", **name)
    if not ruling.check.rule.waivable:
        return message("Waiver {waiver} does not count: {rule} may not be waived.", waiver=waiver.id, rule=waiver.rule)
    if ruling.value is not None:
        sign = Terms(rule=ruling.check.rule, level=ruling.level, decision=ruling.decision, min_n=ruling.min_n).sign
        if sign * ruling.value > sign * waiver.allow_up_to:
            return message(
                "Waiver {waiver} allows {rule} on {slice} up to {allowed}; it is {value}.",
                **name,
                allowed=waiver.allow_up_to,
                value=ruling.value,
            )
    return None


def _sum_up(rulings: Sequence[Ruling], policy: Policy | None) -> tuple[Outcome, int, tuple[Message, ...]]:
    if policy is None:
        return "error", BROKEN, (message("No policy was given, so nothing was decided."),)
    if not rulings:
        return "error", BROKEN, (message("No check ran, so nothing was decided."),)
    if all(r.outcome == "error" for r in rulings):
        return "error", BROKEN, tuple(r.reason for r in rulings)
    blocking = [r for r in rulings if r.check.rule.severity == "blocking"]
    if not blocking:
        short = sum(r.outcome != "pass" for r in rulings)
        said = message("No rule of the policy blocks; {count} advisory checks ran.", count=len(rulings))
        if short:
            said = message(
                "No rule of the policy blocks; {count} advisory checks ran, {short} of them without a pass.",
                count=len(rulings),
                short=short,
            )
        return "pass", PASS, (said,)
    blocks = policy.defaults.on_inconclusive == "block"
    codes: tuple[tuple[Outcome, int], ...] = (
        ("fail", FAIL),
        ("error", BROKEN),
        ("inconclusive", INCONCLUSIVE if blocks else PASS),
    )
    for outcome, code in codes:
        if any(r.outcome == outcome for r in blocking):
            return outcome, code, tuple(r.reason for o, _ in codes for r in blocking if r.outcome == o)
    waived = [r for r in blocking if r.outcome == "waived"]
    passed = message(
        "{count} of {total} blocking checks passed.", count=len(blocking) - len(waived), total=len(blocking)
    )
    if waived:
        return "waived", PASS, (passed, *(r.reason for r in waived))
    return "pass", PASS, (passed,)
