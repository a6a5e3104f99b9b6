"""Reads a policy, and checks before anything is measured that every rule names a measure that exists.

It decides nothing: that is the gate's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from audit.documents import Document, read_document
from audit.errors import PolicyError, UnknownMeasure
from audit.faults import Problem, closest
from audit.yaml_files import MOST_TOLD, refuse
from reports.origin import Origin
from reports.record import PlannedProbe, Policy, Rule


def load_policy(path: Path | str) -> Policy:
    """The policy in a YAML file.

    Raises:
        PolicyError: an unknown key, an unreadable or non-finite threshold, two rules with one id, and so on;
            every problem is listed with its line.
    """
    return read_policy(path).value


def read_policy(path: Path | str) -> Document[Policy]:
    """As `load_policy`, together with the way back to the file's lines."""
    return read_document(Path(path), Policy, error=PolicyError, unique={"rules": "id"})


def origin(document: Document[Policy]) -> Origin:
    """The policy's file, and the line of each of its rules."""
    rules = enumerate(document.value.rules)
    return Origin(document.path, {rule.id: document.line(("rules", i)) for i, rule in rules})


def check_measures(policy: Policy, planned: Sequence[PlannedProbe], document: Document[Policy] | None = None) -> None:
    """Refuse a policy with a rule on something that is not measured.

    Args:
        policy: what is demanded.
        planned: every probe instance of the plan.
        document: where the policy was read from, so that the message can name the line.

    Raises:
        UnknownMeasure: an instance is not planned, or its probe defines no such measure; all are listed.
    """
    problems = []
    for i, rule in enumerate(policy.rules):
        line = document.line(("rules", i, "measure")) if document else None
        problem = _unknown(rule, planned, line)
        if problem:
            problems.append(problem)
        if len(problems) > MOST_TOLD:
            break
    refuse(document.path if document else Path(f"policy {policy.name}"), problems, UnknownMeasure)


def _unknown(rule: Rule, planned: Sequence[PlannedProbe], line: int | None) -> Problem | None:
    probe = next((p for p in planned if p.instance == rule.instance), None)
    if probe is None:
        instances = [p.instance for p in planned]
        return Problem(
            line,
            f"rule {rule.id} asks for {rule.measure}, and the plan has no instance {rule.instance!r}",
            f"one of {', '.join(instances) or 'none: the plan has no probes'}",
            _near(rule, planned) or closest(rule.instance, instances),
        )
    if probe.info.definition(rule.measure_name) is None:
        names = [d.name for d in probe.info.defines]
        return Problem(
            line,
            f"rule {rule.id} asks for {rule.measure}, which {probe.info.id} does not measure",
            f"one of {', '.join(names) or 'none at all'}",
            closest(rule.measure_name, names) or _near(rule, planned),
        )
    return None


def _near(rule: Rule, planned: Sequence[PlannedProbe]) -> str:
    """Another instance that does have the measure."""
    having = [p.instance for p in planned if p.info.definition(rule.measure_name)]
    return f"did you mean {f'{having[0]}:{rule.measure_name}'!r}?" if having else ""
