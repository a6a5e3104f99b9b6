"""Pre-registration: fixes policy, data, probes, options and seed before a run, and says afterwards what differs.

Comparing is pure and needs no model. A lock binds no weights: the model may be trained after the lock is made, and its digest is in the
record anyway.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from audit.errors import PlanError
from fine_tune.untrusted import MOST_RECORD, read_file
from probes.evidence import Message, message
from reports.lock import Lock, LockCheck, LockedProbe
from reports.manifests import policy_digest
from reports.reading import parse
from reports.record import AuditRecord, PlannedProbe, Policy

__all__ = ["check_lock", "make_lock", "policy_digest", "read_lock"]


def make_lock(
    plan: Path, policy: Path | None = None, *, profile: str | None = None, on: datetime.date | None = None
) -> Lock:
    """The lock of a plan as it stands; its data is read, its model is not.

    Args:
        plan: the plan's file.
        policy: used instead of the one that the plan names.
        profile: one of the plan's profiles.
        on: the day that the lock says; today by default.

    Raises:
        InputError: plan, policy or data cannot be used.
    """
    from audit.plan import load_plan
    from audit.policy import check_measures, read_policy
    from audit.runner import planned_probes
    from audit.subjects import open_audit_data
    from fine_tune.data import AuditData

    loaded = load_plan(plan, profile)
    planned = planned_probes({name: (spec.probe, spec.options) for name, spec in loaded.plan.probes.items()})
    file = policy or (loaded.base_dir / loaded.plan.policy if loaded.plan.policy else None)
    document = read_policy(file) if file else None
    if document is not None:
        check_measures(document.value, planned, document)
    data: dict[Literal["audit", "train"], str] = {}
    audit_rows = open_audit_data(loaded)
    if audit_rows is None:
        raise PlanError(
            f"{plan} names no audit data, so there are no rows to lock",
            expected="data.audit",
            fix="name the rows that the predictions are about",
        )
    data["audit"] = audit_rows.digest
    train = loaded.plan.data.train
    if train is not None:
        data["train"] = AuditData.load(train, base_dir=loaded.base_dir, seed=loaded.plan.seed).digest
    return Lock(
        name=loaded.plan.name,
        seed=loaded.plan.seed,
        level=loaded.plan.level,
        policy=policy_digest(document.value) if document else None,
        data=data,
        probes={p.instance: _locked(p) for p in planned},
        locked_on=on or datetime.date.today(),
    )


def read_lock(path: Path, *, today: datetime.date) -> Lock:
    """A lock file, for a run that is about to be made.

    Raises:
        PlanError: there is none at ``path``, or it is of a day to come.
        RecordError: it is no lock.
    """
    if not path.is_file():
        raise PlanError(f"there is no file {path}", expected="a lock that `plumbline lock PLAN --out FILE` wrote")
    lock = parse(read_file(path, MOST_RECORD, error=PlanError), Lock, where=str(path))
    # Around the world two days are today.
    if lock.locked_on > today + datetime.timedelta(days=1):
        raise PlanError(
            f"{path} says that it was made on {lock.locked_on}, which is still to come",
            expected="a lock that was made before the run",
            fix="set the clock right, and lock again",
        )
    return lock


def check_lock(lock: Lock, record: AuditRecord, policy: Policy | None) -> LockCheck:
    """What a finished run and its policy have otherwise than the lock; pure."""
    return LockCheck(
        lock_sha256=sha256(lock.to_json().encode()).hexdigest(),
        locked_on=lock.locked_on,
        differences=tuple(_differences(lock, record, policy)),
    )


def _differences(lock: Lock, record: AuditRecord, policy: Policy | None) -> Iterator[Message]:
    if lock.policy != (policy_digest(policy) if policy else None):
        yield message("The policy is not the one that was locked.")
    for name, locked, found in (("seed", lock.seed, record.seed), ("level", lock.level, record.level)):
        if locked != found:
            yield message("The {setting} is {found}; {locked} was locked.", setting=name, found=found, locked=locked)
    if lock.data.get("audit") != record.data.digest:
        yield message("The audited rows are not those that were locked.")
    trained_on = _training_digest(record.training)
    if "train" in lock.data and trained_on is not None and lock.data["train"] != trained_on:
        yield message("The training rows are not those that were locked.")
    planned = {p.instance: _locked(p) for p in record.planned}
    for instance in sorted(lock.probes.keys() | planned.keys()):
        yield from _probe_differences(instance, lock.probes.get(instance), planned.get(instance))
    for instance in planned:
        if instance in lock.probes and record.finding(instance) is None:
            yield message("{instance} was locked and did not run.", instance=instance)


def _probe_differences(instance: str, locked: LockedProbe | None, found: LockedProbe | None) -> Iterator[Message]:
    if found is None:
        yield message("{instance} was locked and is not in the plan.", instance=instance)
    elif locked is None:
        yield message("{instance} is in the plan and was not locked.", instance=instance)
    elif locked.probe != found.probe or locked.params != found.params:
        yield message("{instance} has other options than were locked.", instance=instance)
    elif (locked.distribution, locked.version) != (found.distribution, found.version):
        yield message(
            "{instance} was measured by {found}; {locked} was locked.",
            instance=instance,
            found=f"{found.distribution} {found.version}",
            locked=f"{locked.distribution} {locked.version}",
        )


def _locked(planned: PlannedProbe) -> LockedProbe:
    info = planned.info
    # Through JSON, because a record's options have been there: a tuple comes back as a list.
    params = PlannedProbe.model_validate_json(planned.model_dump_json()).params
    return LockedProbe(probe=info.id, params=params, distribution=info.distribution, version=info.version)


def _training_digest(training: Mapping[str, Any] | None) -> str | None:
    data = (training or {}).get("data")
    found = data.get("digest") if isinstance(data, Mapping) else None
    return found if isinstance(found, str) else None
