"""What each rule of a policy would need before anything is measured: rows, a probe, and what that probe asks of a model.

The rows are worked out from the interval that the gate will use, for a figure that lies a stated margin inside its limit.
That can be said beforehand for shares and for the gap between two groups; for other figures it is not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from audit.weighing import Terms
from probes.evidence import MeasureDefinition, Message, Need, message
from probes.intervals import critical, difference_high, tail_of, wilson
from reports.record import PlannedProbe, Policy, Rule

MOST_ROWS = 10_000_000

_COSTS: tuple[tuple[frozenset[Need], Message], ...] = (
    (frozenset({Need.MEMBERS, Need.TWINS}), message("predictions of several models")),
    (frozenset({Need.GRADIENTS}), message("gradients, many passes a row")),
    (frozenset({Need.GENERATE}), message("generated answers")),
    (frozenset({Need.QUERIES}), message("predictions on new inputs, often many a row")),
    (frozenset({Need.TRAINING_RECORD}), message("reads the training record")),
    (frozenset({Need.PREDICTIONS}), message("one prediction a row, shared with other probes")),
)


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """What one rule asks for.

    Attributes:
        rows: the smallest number of rows on which a figure ``margin`` inside the limit passes; for a gap, in each of two
            groups. At least ``min_n``. None where it cannot be said before measuring, or no practical number would do.
        basis: how ``rows`` was worked out, or why it could not be.
        probe: the probe's id; None without a plan.
    """

    rule: Rule
    terms: Terms
    rows: int | None
    basis: Message
    probe: str | None = None
    needs: tuple[Need, ...] = ()
    cost: Message | None = None


def requirements(policy: Policy, planned: Sequence[PlannedProbe], margin: float) -> tuple[Requirement, ...]:
    """One requirement a rule, in the policy's order.

    Args:
        planned: the plan's probes; empty where only the policy is known, and then no figure's kind is known either.
        margin: how far inside its limit the figure would lie, in its own units; above 0.
    """
    by_name = {p.instance: p for p in planned}
    out = []
    for rule in policy.rules:
        probe = by_name.get(rule.instance)
        terms = Terms.of(policy, rule)
        definition = probe.info.definition(rule.measure_name) if probe else None
        rows, basis = _rows(terms, definition, margin)
        out.append(
            Requirement(
                rule=rule,
                terms=terms,
                rows=rows,
                basis=basis,
                probe=probe.info.id if probe else None,
                needs=probe.info.needs if probe else (),
                cost=_cost(probe.info.needs) if probe else None,
            )
        )
    return tuple(out)


def _cost(needs: Sequence[Need]) -> Message:
    found = (said for asked, said in _COSTS if asked & set(needs))
    return next(found, message("reads the data"))


def _rows(terms: Terms, definition: MeasureDefinition | None, margin: float) -> tuple[int | None, Message]:
    if terms.decision == "exact":
        return None, message("decided on the exact figure: no sample")
    if terms.decision == "point":
        return terms.min_n, message("decided on the point value: min_n alone")
    if definition is None:
        return None, message("depends on the probe: give the plan")
    if terms.rule.max_drop is not None:
        return None, message("depends on how often both models agree")
    value = terms.limit - terms.sign * margin
    if definition.unit != "share" or (definition.low, definition.high) != (0.0, 1.0):
        return None, message("not known before measuring")
    if not 0 <= value <= 1:
        return None, message("{value} is no share: choose a smaller --margin", value=value)
    crit = float(critical(tail_of(terms.level)))
    if definition.smooth:
        bound, said = _share_bound(terms, value, crit), message("of the figure's own denominator (Wilson)")
    elif terms.sign > 0 and definition.name.endswith("_difference"):
        bound = _gap_bound(value, crit)
        said = message("in each of two groups whose shares lie around one half (Newcombe)")
    else:
        return None, message("not known before measuring")
    rows = _smallest(lambda n: terms.sign * bound(n) <= terms.sign * terms.limit, terms.min_n)
    return rows, said if rows is not None else message("no practical number of rows")


def _share_bound(terms: Terms, share: float, crit: float) -> Callable[[int], float]:
    """The end of Wilson's interval that has to stay within the limit."""
    end = 1 if terms.sign > 0 else 0
    return lambda n: float(wilson(share, n, crit)[end])


def _gap_bound(gap: float, crit: float) -> Callable[[int], float]:
    """The upper limit of the difference of two shares in ``n`` rows each, where it is widest."""
    p1, p2 = np.array((1 + gap) / 2), np.array((1 - gap) / 2)

    def high(n: int) -> float:
        return float(difference_high(p1, wilson(p1, n, crit)[1], p2, wilson(p2, n, crit)[0]))

    return high


def _smallest(passes: Callable[[int], bool], least: int) -> int | None:
    """The smallest number from ``least`` on that passes; None where even `MOST_ROWS` does not. ``passes`` is monotone."""
    if passes(least):
        return least
    low, high = least, MOST_ROWS
    if not passes(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high
