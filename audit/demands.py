"""From a record with its rows to a verdict: restates levels and makes the comparisons that a policy asks for, then gates.

Runs, re-gating and verification all decide here, so that they cannot differ. Needs no model and no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from audit.baselines import compare_for
from audit.decide import decide
from audit.errors import GateError
from audit.lock import check_lock
from audit.pairing import Run
from audit.policy import check_measures
from audit.restate import restate
from audit.sound import require_sound
from probes.evidence import Message, message
from reports.bundle import MANIFEST, RESULTS, VERDICT, Bundle, BundleWriter
from reports.errors import RecordError
from reports.files import JSON
from reports.lock import Lock
from reports.manifests import LOCK
from reports.policy_changes import policy_changes
from reports.reading import parse
from reports.record import AuditRecord, Policy, RowsRef, Rule, Verdict, Waiver, canonical_json

if TYPE_CHECKING:
    import pyarrow as pa

BASELINES = "evidence/baseline"
POLICY = "policy.json"


@dataclass(frozen=True, kw_only=True)
class Demands:
    """What a verdict is held against: a policy, excuses, baselines by name, the day it is decided on, and a lock if any."""

    policy: Policy | None
    waivers: tuple[Waiver, ...] = ()
    baselines: Mapping[str, Run]
    on: date
    lock: Lock | None = None


def decide_run(run: Run, demands: Demands) -> Verdict:
    """The verdict on a run.

    Raises:
        UnknownMeasure: a rule names an instance or a measure that the plan does not have.
        PolicyError: a rule is ambiguous on this record.
    """
    verdict = _decided(run, demands).model_copy(update={"policy_changes": _policy_changes(demands)})
    if demands.lock is None:
        return verdict
    return verdict.model_copy(update={"lock": check_lock(demands.lock, run.record, demands.policy)})


def _decided(run: Run, demands: Demands) -> Verdict:
    policy = demands.policy
    if policy is None:
        return decide(run.record, None, demands.waivers, on=demands.on)
    check_measures(policy, run.record.planned)
    restated = {
        level: restate(run.record, level, run.rows_of, _instances(policy, level))
        for level in policy.levels()
        if level != run.record.level
    }
    comparisons = compare_for(policy, run, demands.baselines)
    return decide(run.record, policy, demands.waivers, comparisons, on=demands.on, restated=restated)


def _policy_changes(demands: Demands) -> tuple[Message, ...] | None:
    """How the policy differs from those of the baselines that it names; None where none of them came with one."""
    found = {
        name: policy_changes(run.policy, demands.policy)
        for name in _rules_by_baseline(demands.policy)
        if (run := demands.baselines.get(name)) is not None and run.policy is not None
    }
    if not found:
        return None
    if len(found) == 1:
        return next(iter(found.values()))
    return tuple(
        message("Since {baseline}: {change}", baseline=name, change=change)
        for name, changes in found.items()
        for change in changes
    )


def _instances(policy: Policy, level: float) -> set[str]:
    return {r.instance for r in policy.rules if policy.level(r) == level}


def embedded_lock(bundle: Bundle) -> Lock | None:
    """The lock that a bundle carries with it, or None.

    Raises:
        RecordError: it is no lock.
    """
    if not (bundle.folder / LOCK).is_file():
        return None
    return parse(bundle.read_bytes(LOCK), Lock, where=str(bundle.folder / LOCK))


def open_run(bundle: Bundle) -> Run:
    """A bundle's record with its rows."""
    return Run(record=bundle.record(), rows_of=bundle.rows)


def find_baseline(path: Path) -> Bundle | None:
    """A baseline's bundle: ``path`` itself or, where it is a folder of runs, the last of them that passed.

    The last one is that of the latest day of decision, then of the last name, numbers in it taken as numbers; waived runs count as passed, and runs that were
    not enforced or cannot be read do not count. None where no run there passed yet, which is a baseline that is missing.

    Raises:
        RecordError: there is no such folder, or it holds something else than runs.
    """
    own = any((path / file).exists() for file in (RESULTS, MANIFEST))
    if own or not path.is_dir():
        return Bundle.open(path)
    inside = sorted(p for p in path.iterdir() if p.is_dir() and not p.is_symlink())
    runs = [Bundle(p) for p in inside if (p / VERDICT).is_file()]
    if not runs and any(path.iterdir()):
        return Bundle.open(path)
    passed = []
    for bundle in runs:
        try:
            verdict = bundle.verdict()
        except RecordError:
            continue
        if verdict.enforced and verdict.outcome in ("pass", "waived"):
            passed.append((verdict.decided_on, _natural(bundle.folder.name), bundle))
    return max(passed, key=lambda f: f[:2])[2] if passed else None


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """A name's sorting key in which ``run-10`` comes after ``run-9``."""
    return tuple(
        (0, int(p)) if p.isdecimal() and p.isascii() else (1, p) for p in re.split(r"([0-9]{1,18})", name) if p
    )


def open_baseline(name: str, bundle: Bundle) -> Run:
    """A baseline's record with its rows.

    Raises:
        GateError: its files do not agree with its own hashes.
    """
    called = f"the baseline {name} in {bundle.folder}"
    require_sound(bundle, error=GateError, called=called, expected="a bundle that verifies")
    return replace(open_run(bundle), policy=bundle.verdict().policy)


def embed_baselines(writer: BundleWriter, policy: Policy | None, baselines: Mapping[str, Run]) -> None:
    """Copy what comparisons rest on into the new bundle, so that they can be recomputed from it alone."""
    for name, rules in _rules_by_baseline(policy).items():
        run = baselines.get(name)
        if run is None:
            continue
        folder = f"{BASELINES}/{name}"
        writer.write_text(f"{folder}/{RESULTS}", run.record.to_json(), "application/json")
        if run.policy is not None:
            writer.write_text(
                f"{folder}/{POLICY}", canonical_json(run.policy.model_dump(mode="json", by_alias=True)), JSON
            )
        written: set[str] = set()
        for rule in rules:
            finding = run.record.finding(rule.instance)
            if finding is None or finding.rows is None or finding.rows.path in written:
                continue
            written.add(finding.rows.path)
            writer.write_table(f"{folder}/{finding.rows.path}", run.rows_of(finding.rows), personal=True)


def embedded_baselines(bundle: Bundle, policy: Policy | None) -> dict[str, Run]:
    """The baselines that a bundle carries with it."""
    out: dict[str, Run] = {}
    for name in _rules_by_baseline(policy):
        folder = f"{BASELINES}/{name}"
        if not (bundle.folder / folder / RESULTS).is_file():
            continue
        path = f"{folder}/{RESULTS}"
        record = parse(bundle.read_bytes(path), AuditRecord, where=str(bundle.folder / path))

        def rows_of(ref: RowsRef, folder: str = folder) -> pa.Table:
            return bundle.rows(ref.model_copy(update={"path": f"{folder}/{ref.path}"}))

        kept = bundle.folder / folder / POLICY
        policy_then = (
            parse(bundle.read_bytes(f"{folder}/{POLICY}"), Policy, where=str(kept)) if kept.is_file() else None
        )
        out[name] = Run(record=record, rows_of=rows_of, policy=policy_then)
    return out


def _rules_by_baseline(policy: Policy | None) -> dict[str, Sequence[Rule]]:
    out: dict[str, list[Rule]] = {}
    for rule in policy.rules if policy else ():
        if rule.baseline is not None:
            out.setdefault(rule.baseline, []).append(rule)
    return dict(out)
