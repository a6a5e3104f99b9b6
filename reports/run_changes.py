"""What came, went and changed between two runs, from their records and verdicts alone: no rows, no figures computed.

Pure. What stands for more is told once: the measures of a probe instance that disappeared are not listed one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from probes.evidence import Message, Slice, message, slice_name
from reports.comparison import Change, CheckChange, Kind
from reports.record import AuditRecord, Finding, Ruling, SubjectCard, Verdict


def changes(before: AuditRecord, after: AuditRecord) -> tuple[Change, ...]:
    """Everything but figures and rulings that is not the same in both records."""
    return (*_examined(before, after), *_groups(before, after), *_probes(before, after), *_settings(before, after))


def check_changes(before: Verdict, after: Verdict) -> tuple[CheckChange, ...]:
    """Every check of either verdict, those whose outcome moved first, then in the later policy's order."""
    old, new = _rulings(before), _rulings(after)
    keys = [*new, *(k for k in old if k not in new)]
    every = [CheckChange(rule=k[0], slice=k[1], before=old.get(k), after=new.get(k)) for k in keys]
    return tuple(sorted(every, key=lambda c: not c.moved))


def rule_changes(before: Verdict, after: Verdict) -> tuple[Change, ...]:
    """Rules that came or went; what changed within a rule is `reports.policy_changes`'s to say."""
    old, new = ({r.id: r.measure for r in v.policy.rules} if v.policy else {} for v in (before, after))
    return tuple(_came_and_went("rule", old, new))


def _rulings(verdict: Verdict) -> dict[tuple[str, Slice], Ruling]:
    return {(r.check.rule.id, r.check.slice): r for r in verdict.rulings}


def _examined(before: AuditRecord, after: AuditRecord) -> Iterator[Change]:
    a, b = before.subject, after.subject
    yield from _altered("subject", message("name"), a.name, b.name)
    yield from _altered("subject", message("digest"), a.digest, b.digest)
    yield from _altered("subject", message("kind"), a.kind, b.kind)
    yield from _altered("subject", message("task"), a.task, b.task)
    yield from _altered("subject", message("decision"), _threshold(a), _threshold(b))
    yield from _came_and_went("class", _names(a.classes), _names(b.classes))
    old, new = before.data, after.data
    yield from _altered("data", message("name"), old.name, new.name)
    yield from _altered("data", message("digest"), old.digest, new.digest)
    yield from _altered("data", message("rows"), str(old.rows), str(new.rows))
    cut = message("rows cut at the model's maximum length")
    yield from _altered("data", cut, str(old.truncated), str(new.truncated))


def _groups(before: AuditRecord, after: AuditRecord) -> Iterator[Change]:
    old, new = ({f.name: f for f in r.data.features} for r in (before, after))
    yield from _came_and_went("feature", _names(old), _names(new))
    for name in (n for n in new if n in old):
        here, there = old[name], new[name]
        values = ({f"{name}={v}": str(n) for v, n in f.values.items()} for f in (here, there))
        yield from _came_and_went("group", *values)
        without = message("{feature}: rows without a value", feature=name)
        yield from _altered("feature", without, str(here.missing), str(there.missing))
        treated = message("{feature}: what becomes of rows without a value", feature=name)
        yield from _altered("feature", treated, here.missing_is, there.missing_is)


def _probes(before: AuditRecord, after: AuditRecord) -> Iterator[Change]:
    old, new = ({p.instance: p for p in r.planned} for r in (before, after))
    yield from _came_and_went("instance", *({n: p.info.id for n, p in side.items()} for side in (old, new)))
    for name in (n for n in new if n in old):
        here, there = old[name], new[name]
        yield from _changed("instance", name, here.info.id, there.info.id)
        for option in sorted({*here.params, *there.params}):
            yield from _changed(
                "options", f"{name}: {option}", _option(here.params, option), _option(there.params, option)
            )
        a, b = before.finding(name), after.finding(name)
        yield from _changed("status", name, _status(a), _status(b))
        yield from _changed("software", f"{name}: {there.info.distribution}", here.info.version, there.info.version)
        if a is not None and b is not None and a.reading and b.reading:
            yield from _measures(name, a, b)


def _measures(name: str, before: Finding, after: Finding) -> Iterator[Change]:
    old, new = ({(m.name, m.slice) for m in f.reading.measurements} if f.reading else set() for f in (before, after))
    names = ({f"{name}:{measure}" for measure, _ in side} for side in (old, new))
    gone_or_new = list(_came_and_went("measure", *(_names(sorted(n)) for n in names)))
    yield from gone_or_new
    told = {c.name for c in gone_or_new}
    slices = (
        _names(sorted(f"{name}:{measure} [{slice_name(s)}]" for measure, s in side if f"{name}:{measure}" not in told))
        for side in (old, new)
    )
    yield from _came_and_went("slice", *slices)


def _settings(before: AuditRecord, after: AuditRecord) -> Iterator[Change]:
    yield from _altered("setting", message("name"), before.name, after.name)
    yield from _altered("setting", message("seed"), str(before.seed), str(after.seed))
    yield from _altered("setting", message("confidence level"), str(before.level), str(after.level))
    yield from _changed("software", "plumbline", before.plumbline, after.plumbline)
    for name in sorted({*before.environment, *after.environment}):
        yield from _changed("software", name, before.environment.get(name), after.environment.get(name))


def _came_and_went(kind: Kind, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    yield from (Change(kind=kind, name=n, before=None, after=new[n]) for n in new if n not in old)
    yield from (Change(kind=kind, name=n, before=old[n], after=None) for n in old if n not in new)


def _changed(kind: Kind, name: str, old: str | None, new: str | None) -> Iterator[Change]:
    if old != new:
        yield Change(kind=kind, name=name, before=old, after=new)


def _altered(kind: Kind, what: Message, old: str, new: str) -> Iterator[Change]:
    if old != new:
        yield Change(kind=kind, name=str(what), what=what, before=old, after=new)


def _names(names: Iterable[str]) -> dict[str, str]:
    return dict.fromkeys(names, "")


def _option(params: Mapping[str, object], name: str) -> str | None:
    return str(params[name]) if name in params else None


def _status(finding: Finding | None) -> str | None:
    return finding.status if finding is not None else None


def _threshold(subject: SubjectCard) -> str:
    return "argmax" if subject.threshold is None else f"{subject.positive or ''} >= {subject.threshold:.15g}"
