"""What a run rested on, as plain data: the model's files, the data's parts with their counts, and the machine with its packages.

These are the three lists below ``provenance/`` of a bundle. Nothing is measured or decided here, no file is looked for, and no
clock is read: the lists are made when a run ends, and read back from its bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeVar

import rfc8785
from pydantic import Field

from probes.evidence import Plain, Scalar
from reports.errors import RecordError
from reports.lock import Lock, Sha256
from reports.reading import parse
from reports.record import DataCard, Json, Policy, canonical_json

if TYPE_CHECKING:
    from reports.bundle import Bundle

MODEL_MANIFEST = "provenance/model.manifest.json"
DATA_MANIFEST = "provenance/data.manifest.json"
ENVIRONMENT = "provenance/environment.json"
LOCK = "provenance/lock.json"

Count = Annotated[int, Field(ge=0)]
L = TypeVar("L", bound=Plain)


class Listed(Plain):
    """Base of the three lists, which are written alike."""

    def to_json(self) -> str:
        """The bytes of the file, as text."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


class ModelManifest(Listed):
    """Every file of a model.

    Attributes:
        name, digest: the subject's.
        files: sha256 by path inside the model's folder, of every file there; empty for a subject that is no folder.
        deciding: those of them that decide its answers, and that its digest is made of.
        tree: `tree_digest` of ``files``; None where there are none.
    """

    schema_: Literal["plumbline.model/v1"] = Field(default="plumbline.model/v1", alias="schema")
    name: str
    digest: Sha256
    files: dict[str, Sha256]
    deciding: tuple[str, ...]
    tree: Sha256 | None


class SplitCounts(Plain):
    """One part of the data.

    Attributes:
        split: audit; training, validation and holdout are what the model's training record calls its parts.
        digest: of the rows that the part was drawn from.
        rows: how many.
        labels: rows by true label; None where this run did not see the labels of the part.
        groups: rows by sensitive feature and value; None likewise. Rows without a value are not counted.
        labels_in_groups: rows by feature, value and true label; None likewise.
    """

    split: str
    digest: Sha256 | None
    rows: Count
    labels: dict[str, Count] | None = None
    groups: dict[str, dict[str, Count]] | None = None
    labels_in_groups: dict[str, dict[str, dict[str, Count]]] | None = None


class DataManifest(Listed):
    """The audited rows as the record shows them, where they came from, and every part that is known of."""

    schema_: Literal["plumbline.data/v1"] = Field(default="plumbline.data/v1", alias="schema")
    card: DataCard
    source: dict[str, str | int]
    splits: tuple[SplitCounts, ...]


class EnvironmentLock(Listed):
    """Where a run was made.

    Attributes:
        versions: what the record says figures may depend on.
        packages: every installed distribution with its version, by normalised name.
        hardware: processor, cores, memory, accelerators.
        determinism: switches and variables that decide whether the same computation gives the same bits.
    """

    schema_: Literal["plumbline.environment/v1"] = Field(default="plumbline.environment/v1", alias="schema")
    versions: dict[str, str]
    packages: dict[str, str]
    hardware: dict[str, Scalar]
    determinism: dict[str, Scalar]


class Provenance(Plain):
    """All that a bundle says of what its run rested on."""

    model: ModelManifest
    data: DataManifest
    environment: EnvironmentLock
    lock: Lock | None = None

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Read it from a bundle.

        Raises:
            RecordError: a list is missing or is not what Plumbline writes.
        """
        return cls(
            model=_read(bundle, MODEL_MANIFEST, ModelManifest),
            data=_read(bundle, DATA_MANIFEST, DataManifest),
            environment=_read(bundle, ENVIRONMENT, EnvironmentLock),
            lock=_read(bundle, LOCK, Lock) if (bundle.folder / LOCK).is_file() else None,
        )


def _read(bundle: Bundle, path: str, model: type[L]) -> L:
    try:
        return parse(bundle.read_bytes(path), model, where=path)
    except RecordError as error:
        if error.where == path:
            raise
        raise RecordError(error.seen, expected=error.expected, where=path, fix=error.fix) from None


def tree_digest(files: Mapping[str, str]) -> str:
    """sha256 over one ``path NUL sha256 LF`` a file, by path: the same files give the same digest wherever they lie."""
    return sha256("".join(f"{path}\0{sha}\n" for path, sha in sorted(files.items())).encode()).hexdigest()


def policy_digest(policy: Policy) -> str:
    """sha256 of a policy's canonical JSON: layout and comments of its file do not count."""
    return sha256(canonical_json(policy.model_dump(mode="json", by_alias=True)).encode()).hexdigest()


def jcs(value: Json) -> str:
    """JSON as RFC 8785 canonicalises it, which other tools can repeat: for documents that are compared or signed elsewhere.

    Raises:
        RecordError: it holds a number beyond what every reader of JSON can tell apart.
    """
    try:
        return rfc8785.dumps(value).decode()
    except rfc8785.CanonicalizationError as error:
        raise RecordError(
            f"this cannot be written as canonical JSON: {error}", expected="finite numbers within 2^53"
        ) from None
