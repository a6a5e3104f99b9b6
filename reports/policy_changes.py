"""What changed between two policies, in sentences: rules added, removed and altered, with the old and the new.

Pure: two policies in, messages out. It says whether a limit became stricter or looser, and leaves to people whether that
was right. Limits are printed in full, because two that round alike are not alike.
"""

from __future__ import annotations

from collections.abc import Iterator

from probes.evidence import Message, message
from reports.record import Defaults, Policy, Rule, Where

_SETTINGS = ("severity", "baseline_missing", "unpaired", "waivable", "source", "title")
_INHERITED = ("level", "decision", "min_n")


def policy_changes(before: Policy | None, after: Policy | None) -> tuple[Message, ...]:
    """Every difference in what is demanded, a sentence each; none where both demand the same. The order of rules is no difference."""
    if before is None and after is None:
        return ()
    if before is None or after is None:
        return (_came(after) if after is not None else _went(before),)
    identity, demands = tuple(_identity(before, after)), (*_defaults(before, after), *_rules(before, after))
    if demands and (before.name, before.version) == (after.name, after.version):
        same = message(
            "Both policies are called {name}, version {version}, and they demand different things.",
            name=after.name, version=str(after.version),
        )  # fmt: skip
        return (same, *identity, *demands)
    return (*identity, *demands)


def limit_of(rule: Rule) -> float:
    """The threshold of a rule: ``max``, ``min`` or ``max_drop``."""
    return next(v for v in (rule.max, rule.min, rule.max_drop) if v is not None)


def demand_of(rule: Rule) -> Message:
    """What a rule demands, without its id: ``groups:recall (each group:gender): at least 0.7``."""
    where = [f"{kind}:{_selector(s)}" for kind, s in rule.where.items()]
    where += [f"each {kind}:{_selector(s)}" for kind, s in rule.each.items()]
    measure = f"{rule.measure} ({', '.join(where)})" if where else rule.measure
    limit = _exact(limit_of(rule))
    if rule.max_drop is not None:
        return message("{measure}: a drop of at most {limit} from {baseline}",
                       measure=measure, limit=limit, baseline=rule.baseline or "")  # fmt: skip
    if rule.min is not None:
        return message("{measure}: at least {limit}", measure=measure, limit=limit)
    return message("{measure}: at most {limit}", measure=measure, limit=limit)


def _came(policy: Policy) -> Message:
    return message("There was no policy before; now {name}, version {version}, makes {count} demands.",
                   name=policy.name, version=str(policy.version), count=len(policy.rules))  # fmt: skip


def _went(policy: Policy | None) -> Message:
    return message("There is no policy any more; {name}, version {version}, made {count} demands.",
                   name=policy.name if policy else "", version=str(policy.version) if policy else "",
                   count=len(policy.rules) if policy else 0)  # fmt: skip


def _identity(before: Policy, after: Policy) -> Iterator[Message]:
    for field, old, new in (
        ("name", before.name, after.name),
        ("version", str(before.version), str(after.version)),
        ("owner", before.owner, after.owner),
    ):
        if old != new:
            yield message("The policy's {field} changed from {before} to {after}.", field=field, before=old, after=new)


def _defaults(before: Policy, after: Policy) -> Iterator[Message]:
    for field in Defaults.model_fields:
        old, new = getattr(before.defaults, field), getattr(after.defaults, field)
        if old != new:
            yield message("The default {field} changed from {before} to {after}.",
                          field=field, before=_shown(old), after=_shown(new))  # fmt: skip


def _rules(before: Policy, after: Policy) -> Iterator[Message]:
    old, new = {r.id: r for r in before.rules}, {r.id: r for r in after.rules}
    for id_, rule in new.items():
        if id_ not in old:
            yield message("Rule {rule} was added: {demand}.", rule=id_, demand=demand_of(rule))
    for id_, rule in old.items():
        if id_ not in new:
            yield message("Rule {rule} was removed: {demand}.", rule=id_, demand=demand_of(rule))
    for id_, rule in new.items():
        if id_ in old:
            yield from _rule(before, old[id_], after, rule)


def _rule(policy: Policy, old: Rule, later: Policy, new: Rule) -> Iterator[Message]:
    if _aim(old) != _aim(new):
        yield message("Rule {rule} demands something else: {before}; now {after}.",
                      rule=new.id, before=demand_of(old), after=demand_of(new))  # fmt: skip
    elif limit_of(old) != limit_of(new):
        yield _moved(old, new)
    for field in _SETTINGS:
        yield from _changed(new.id, field, getattr(old, field), getattr(new, field))
    for field in _INHERITED:
        # A change of the default alone is told once, with the defaults.
        if getattr(old, field) != getattr(new, field):
            yield from _changed(new.id, field, _in_force(policy, old, field), _in_force(later, new, field))


def _moved(old: Rule, new: Rule) -> Message:
    was, now = limit_of(old), limit_of(new)
    stricter = now > was if new.min is not None else now < was
    kind = next(k for k in ("max", "min", "max_drop") if getattr(new, k) is not None)
    if stricter:
        return message("Rule {rule} became stricter: {kind} was {before}, now {after}.",
                       rule=new.id, kind=kind, before=_exact(was), after=_exact(now))  # fmt: skip
    return message("Rule {rule} became looser: {kind} was {before}, now {after}.",
                   rule=new.id, kind=kind, before=_exact(was), after=_exact(now))  # fmt: skip


def _changed(rule: str, field: str, old: object, new: object) -> Iterator[Message]:
    if old != new:
        yield message("Rule {rule}: {field} changed from {before} to {after}.",
                      rule=rule, field=field, before=_shown(old), after=_shown(new))  # fmt: skip


def _aim(rule: Rule) -> tuple[object, ...]:
    """Everything of a demand but how far it goes."""
    kind = next(k for k in ("max", "min", "max_drop") if getattr(rule, k) is not None)
    return (rule.measure, _picked(rule.where), _picked(rule.each), kind, rule.baseline)


def _picked(where: Where) -> dict[str, str]:
    return {kind: _selector(s) for kind, s in where.items()}


def _selector(selector: str | tuple[str, ...]) -> str:
    return selector if isinstance(selector, str) else "+".join(selector)


def _in_force(policy: Policy, rule: Rule, field: str) -> object:
    own = getattr(rule, field)
    return getattr(policy.defaults, field) if own is None else own


def _shown(value: object) -> str:
    if isinstance(value, float):
        return _exact(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if value not in ("", None) else "–"


def _exact(value: float) -> str:
    return f"{value:.15g}"
