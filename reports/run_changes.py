"""What came, went and changed between two runs, from their records and verdicts alone: no rows, no figures computed.

Pure. What stands for more is told once: the measures of a probe instance that disappeared are not listed one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from probes.evidence import Slice, slice_name
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
    yield from _changed("subject", "name", before.subject.name, after.subject.name)
    yield from _changed("subject", "digest", before.subject.digest, after.subject.digest)
    yield from _changed("subject", "kind", before.subject.kind, after.subject.kind)
    yield from _changed("subject", "task", before.subject.task, after.subject.task)
    yield from _changed("subject", "decision", _threshold(before.subject), _threshold(after.subject))
    yield from _came_and_went("class", _names(before.subject.classes), _names(after.subject.classes))
    yield from _changed("data", "name", before.data.name, after.data.name)
    yield from _changed("data", "digest", before.data.digest, after.data.digest)
    yield from _changed("data", "rows", str(before.data.rows), str(after.data.rows))
    yield from _changed(
        "data", "cut at the model's maximum length", str(before.data.truncated), str(after.data.truncated)
    )


def _groups(before: AuditRecord, after: AuditRecord) -> Iterator[Change]:
    old, new = ({f.name: f for f in r.data.features} for r in (before, after))
    yield from _came_and_went("feature", _names(old), _names(new))
    for name in (n for n in new if n in old):
        here, there = old[name], new[name]
        values = ({f"{name}={v}": str(n) for v, n in f.values.items()} for f in (here, there))
        yield from _came_and_went("group", *values)
        yield from _changed("feature", f"{name}: rows without a value", str(here.missing), str(there.missing))
        yield from _changed("feature", f"{name}: rows without a value are", here.missing_is, there.missing_is)


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
    yield from _changed("setting", "audit", before.name, after.name)
    yield from _changed("setting", "seed", str(before.seed), str(after.seed))
    yield from _changed("setting", "level", str(before.level), str(after.level))
    yield from _changed("software", "plumbline", before.plumbline, after.plumbline)
    for name in sorted({*before.environment, *after.environment}):
        yield from _changed("software", name, before.environment.get(name), after.environment.get(name))


def _came_and_went(kind: Kind, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    yield from (Change(kind=kind, name=n, before=None, after=new[n]) for n in new if n not in old)
    yield from (Change(kind=kind, name=n, before=old[n], after=None) for n in old if n not in new)


def _changed(kind: Kind, name: str, old: str | None, new: str | None) -> Iterator[Change]:
    if old != new:
        yield Change(kind=kind, name=name, before=old, after=new)


def _names(names: Iterable[str]) -> dict[str, str]:
    return dict.fromkeys(names, "")


def _option(params: Mapping[str, object], name: str) -> str | None:
    return str(params[name]) if name in params else None


def _status(finding: Finding | None) -> str | None:
    return finding.status if finding is not None else None


def _threshold(subject: SubjectCard) -> str:
    return "argmax" if subject.threshold is None else f"{subject.positive or ''} from {subject.threshold:.15g}"
