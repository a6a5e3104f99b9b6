"""What was fixed before a run was made, as plain data: the lock, and whether a run kept to it.

A lock shows that a policy was not chosen after its figures were seen only where its file, or its hash, was given to somebody
else before. Nothing here reads a clock or compares anything.
"""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field

from probes.evidence import Message, Plain

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class LockedProbe(Plain):
    """One probe instance: what it asks with which options, and which distribution it comes from."""

    probe: str
    params: dict[str, Any] = Field(default_factory=dict)
    distribution: str
    version: str


class Lock(Plain):
    """A plan as it stood on a day: ``plumbline lock PLAN``.

    Attributes:
        name, seed, level: the plan's.
        policy: sha256 of the policy's canonical JSON; None where the plan names none.
        data: digest of the audit rows, and of the training rows where the plan trains, by role.
        probes: every instance.
        locked_on: the day, by the clock of whoever made it.
    """

    schema_: Literal["plumbline.lock/v1"] = Field(default="plumbline.lock/v1", alias="schema")
    name: str
    seed: int
    level: float = Field(gt=0, lt=1)
    policy: Sha256 | None
    data: dict[Literal["audit", "train"], Sha256]
    probes: dict[str, LockedProbe]
    locked_on: date

    def to_json(self) -> str:
        """The bytes of a lock file, as text."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), ensure_ascii=False, indent=2) + "\n"


class LockCheck(Plain):
    """A run held against a lock.

    Attributes:
        lock_sha256: of the lock file's bytes, to compare with the hash that was handed over.
        locked_on: as the lock says.
        differences: what differs, a sentence each; empty where the run kept to the lock.
    """

    lock_sha256: Sha256
    locked_on: date
    differences: tuple[Message, ...] = ()

    @property
    def matched(self) -> bool:
        return not self.differences
