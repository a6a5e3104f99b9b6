"""Which of a measure's slices a rule speaks of. Pure, and strict: what a rule leaves open must not be ambiguous."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations

from audit.errors import PolicyError
from probes.evidence import Axis, Slice, slice_name
from reports.record import Rule, Selector

ANY = "*"


def matching_slices(rule: Rule, slices: Sequence[Slice]) -> tuple[Slice, ...]:
    """The slices that ``rule`` rules on, in the order given.

    A kind named in ``where`` or ``each`` must match all axes of that kind (``{feature: gender}`` does not match the
    intersection of gender and age). A selector is ``name``, ``name=value`` or ``*``. A rule that names neither speaks of
    the whole, where the measure has a figure for the whole. Otherwise, without ``each``, or for one value of ``each``,
    exactly one slice may remain.

    Raises:
        PolicyError: several slices remain; the message lists them.
    """
    wanted = [*rule.where.items(), *rule.each.items()]
    if not wanted and () in slices:
        return ((),)
    found = tuple(s for s in slices if all(_fits([a for a in s if a.kind == kind], sel) for kind, sel in wanted))
    clusters: dict[Slice, list[Slice]] = {}
    for s in found:
        clusters.setdefault(tuple(a for a in s if a.kind in rule.each), []).append(s)
    for same in clusters.values():
        if len(same) > 1:
            names = "; ".join(slice_name(s) for s in same[:10]) + (
                f"; and {len(same) - 10} more" if len(same) > 10 else ""
            )
            raise PolicyError(
                f"rule {rule.id} matches {len(same)} slices of {rule.measure}: {names}",
                expected="one slice, or `each:` to check every one",
                fix="add where: or each:",
            )
    return found


def wanted_name(rule: Rule) -> str:
    """What a rule asks for, in the words of its ``where`` and ``each``."""
    parts = [f"{kind}:{s}" for kind, sel in [*rule.where.items(), *rule.each.items()] for s in _selectors(sel)]
    return ", ".join(parts) or "all"


def _selectors(selector: Selector) -> tuple[str, ...]:
    return (selector,) if isinstance(selector, str) else selector


def _fits(axes: Sequence[Axis], selector: Selector) -> bool:
    selectors = _selectors(selector)
    return len(axes) == len(selectors) and any(_all_match(axes, order) for order in permutations(selectors))


def _all_match(axes: Iterable[Axis], selectors: Iterable[str]) -> bool:
    return all(s in (ANY, a.name, a.selector) for a, s in zip(axes, selectors, strict=True))
