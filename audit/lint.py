"""Checks policies and waivers as files: can they be used, and do they still excuse anything? Opens no model and no data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from audit.errors import PolicyError
from audit.faults import show
from audit.policy import check_measures, read_policy
from audit.waivers import load_waivers
from audit.yaml_files import read_source
from probes.evidence import Message, message
from reports.record import PlannedProbe, Policy, Waivers

POLICY = str(Policy.model_fields["schema_"].default)
WAIVERS = str(Waivers.model_fields["schema_"].default)


@dataclass(frozen=True)
class Linted:
    """A file that can be used: what it holds, and what its owner may want to know."""

    path: Path
    holds: Message
    notes: tuple[Message, ...] = ()


def lint(path: Path, planned: Sequence[PlannedProbe] | None = None, *, on: date) -> Linted:
    """Check a policy or a waiver file; its ``schema`` says which it is.

    Args:
        path: the file.
        planned: the probes of a plan, to check a policy's measures against; None checks the file alone.
        on: the day as of which waivers are called expired.

    Raises:
        InputError: the file cannot be used, or is neither; every problem is named with its line.
    """
    source = read_source(path, error=PolicyError)
    kind = source.value.get("schema") if isinstance(source.value, dict) else None
    if kind == WAIVERS:
        waivers = load_waivers(path)
        over = [w for w in waivers if w.expires < on]
        said = [message("Waiver {waiver} expired on {day}.", waiver=w.id, day=w.expires.isoformat()) for w in over]
        return Linted(path, message("{count} waivers", count=len(waivers)), tuple(said))
    if kind != POLICY:
        where = source.where(("schema",) if isinstance(source.value, dict) and "schema" in source.value else ())
        seen = "the file has no schema" if kind is None else f"schema is {show(kind)}"
        raise PolicyError(seen, expected=f"{POLICY} or {WAIVERS}", where=where)
    document = read_policy(path)
    policy = document.value
    if planned is not None:
        check_measures(policy, planned, document)
    holds = message(
        "policy {name}, version {version}, {count} rules", name=policy.name, version=policy.version, count=len(policy.rules)
    )  # fmt: skip
    if not policy.rules:
        return Linted(path, holds, (message("It has no rule, so nothing can pass."),))
    blocks = any(r.severity == "blocking" for r in policy.rules)
    return Linted(path, holds, () if blocks else (message("No rule of it blocks."),))
