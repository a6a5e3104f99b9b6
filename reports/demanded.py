"""The whole policy as a reader checks it: every rule with its limit, weight and source, and what came of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from probes.evidence import Message, message
from reports.checks import CheckView
from reports.record import Outcome, Policy, Rule, Verdict
from reports.wording import level_words

_WORST_FIRST: tuple[Outcome, ...] = ("fail", "error", "inconclusive", "waived", "pass")


@dataclass(frozen=True, kw_only=True)
class RuleView:
    """One rule: what it demands and of what, and its checks by outcome, the worst first, each with the anchor of one.

    ``special`` says where the rule departs from the policy's defaults.
    """

    rule: Rule
    demand: Message
    where: str
    special: tuple[Message, ...]
    outcomes: tuple[tuple[Outcome, int, str], ...]


@dataclass(frozen=True, kw_only=True)
class PolicyView:
    """The policy as it was evaluated, and how it differs from the one that the baseline was decided by.

    ``changes`` is None where no baseline came with a policy to compare with.
    """

    policy: Policy
    defaults: Message
    rules: tuple[RuleView, ...]
    changes: tuple[Message, ...] | None


def policy_view(verdict: Verdict, checks: tuple[CheckView, ...]) -> PolicyView | None:
    """The policy, or None where none was given."""
    policy = verdict.policy
    if policy is None:
        return None
    by_rule: dict[str, list[CheckView]] = {}
    for check in checks:
        by_rule.setdefault(check.ruling.check.rule.id, []).append(check)
    d = policy.defaults
    blocks = message("blocks") if d.on_inconclusive == "block" else message("warns")
    defaults = message(
        "Unless a rule says otherwise: level {level}, decision on {decision}, at least {n} rows; inconclusive {blocks}.",
        level=level_words(d.level), decision=d.decision, n=d.min_n, blocks=blocks,
    )  # fmt: skip
    return PolicyView(
        policy=policy,
        defaults=defaults,
        rules=tuple(_rule(rule, by_rule.get(rule.id, [])) for rule in policy.rules),
        changes=verdict.policy_changes,
    )


def _rule(rule: Rule, checks: list[CheckView]) -> RuleView:
    found = {o: [c for c in checks if c.outcome == o] for o in _WORST_FIRST}
    return RuleView(
        rule=rule,
        demand=_demand(rule),
        where=_where(rule),
        special=_special(rule),
        outcomes=tuple((o, len(c), c[0].anchor) for o, c in found.items() if c),
    )


def _demand(rule: Rule) -> Message:
    if rule.max_drop is not None:
        return message("a drop of at most {limit} from {baseline}", limit=rule.max_drop, baseline=rule.baseline or "")
    if rule.min is not None:
        return message("at least {limit}", limit=rule.min)
    return message("at most {limit}", limit=rule.max or 0)


def _where(rule: Rule) -> str:
    """The slices as the policy names them: ``each group:gender``."""
    named = [("", rule.where), ("each ", rule.each)]
    return ", ".join(
        f"{word}{kind}:{one}"
        for word, selectors in named
        for kind, chosen in selectors.items()
        for one in ((chosen,) if isinstance(chosen, str) else chosen)
    )


def _special(rule: Rule) -> tuple[Message, ...]:
    out = []
    if rule.decision is not None:
        out.append(message("decided on {decision}", decision=rule.decision))
    if rule.level is not None:
        out.append(message("at level {level}", level=level_words(rule.level)))
    if rule.min_n is not None:
        out.append(message("at least {n} rows", n=rule.min_n))
    if not rule.waivable:
        out.append(message("may not be waived"))
    if rule.baseline_missing == "skip":
        out.append(message("skipped without a baseline"))
    if rule.unpaired == "allow":
        out.append(message("unpaired comparison allowed"))
    return tuple(out)
