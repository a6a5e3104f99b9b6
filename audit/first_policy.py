"""The policy that goes with a first plan: a few rules on what the plan measures, with thresholds that are examples.

No threshold here is a recommendation. Each rule says so in its source, which the report shows, until its owner changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from audit.quoting import quote
from probes.evidence import Need
from reports.record import PlannedProbe

if TYPE_CHECKING:
    from probes.subject import Subject

_SOURCE = "an example written by plumbline init, not a standard"


def policy_text(name: str, planned: Sequence[PlannedProbe], subject: Subject) -> str:
    """The text of ``policy.yaml``; every rule is on a measure of ``planned``."""
    rules = _rules({p.info.id: p for p in planned}, subject)
    lines = [
        "# yaml-language-server: $schema=policy.schema.json",
        "# A first policy, written by `plumbline init`. EVERY THRESHOLD IS AN EXAMPLE: the owner of this policy must set it,",
        "# and say in `source` where it comes from. Until then a verdict means nothing.",
        "schema: plumbline.policy/v1",
        f"name: {quote(name)}",
        "version: 1",
        'owner: "not named yet"  # the person who answers for the thresholds',
        "# A figure is decided on by its interval; fewer than min_n rows decide nothing. on_inconclusive: block or warn",
        "defaults: {level: 0.95, decision: interval, min_n: 50, on_inconclusive: block}",
        "rules:" if rules else "rules: []  # nothing that is measured here has an obvious threshold",
    ]
    for rule in rules:
        lines += rule
    return "\n".join(lines) + "\n"


def _rules(by_id: dict[str, PlannedProbe], subject: Subject) -> list[list[str]]:
    rules = []
    if "performance.classification" in by_id:
        instance = by_id["performance.classification"].instance
        rules.append(_rule("accurate", f"{instance}:accuracy", "min: 0.80", "The share of right answers."))
        rules.append(
            _rule("every-class", f"{instance}:recall", "min: 0.70", "Every class is found.", 'each: {class: "*"}')
        )
    if "performance.slices" in by_id:
        instance = by_id["performance.slices"].instance
        told = "The slice that the search names worst is hardly worse off than the rest. Advisory: it never blocks."
        rules.append(_rule("worst-slice", f"{instance}:worst_slice_gap", "max: 0.20", told, "severity: advisory"))
    if "fairness.groups" in by_id:
        p = by_id["fairness.groups"]
        labelled = Need.LABELS in subject.offers
        measure = "equal_opportunity_difference" if labelled else "demographic_parity_difference"
        told = (
            "Whoever deserves the positive class gets it alike, whatever the group."
            if labelled
            else "Every group is given the positive class alike."
        )
        for i, feature in enumerate(subject.data.features, 1):
            number = f"-{i}" if len(subject.data.features) > 1 else ""
            where = [f"where: {{feature: {quote(feature)}}}"]
            where += [] if p.params.get("positive") else ['each: {class: "*"}']
            rules.append(_rule(f"groups-alike{number}", f"{p.instance}:{measure}", "max: 0.10", told, *where))
    return rules


def _rule(id_: str, measure: str, threshold: str, told: str, *more: str) -> list[str]:
    return [
        f"  # {told}",
        f"  - id: {id_}",
        f"    measure: {quote(measure)}",
        *(f"    {line}" for line in more),
        f"    {threshold}  # EXAMPLE: to be set by the owner",
        f"    source: {quote(_SOURCE)}",
    ]
