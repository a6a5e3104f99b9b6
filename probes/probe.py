"""The two steps of a probe, and the little that it is given to work with.

A probe *collects* rows, which may touch the model, and *summarises* them, which may not. Nothing here decides anything,
reads a file or knows where results are kept: the runner injects that through `Context`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from probes.evidence import Need, ProbeInfo, Reading

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.subject import Subject

__all__ = ["Context", "Journal", "MemoryJournal", "Need", "Probe", "Progress"]


class Journal(Protocol):
    """A keyed, append-only memory that survives a kill: what was measured once is not measured twice.

    Keys are hex digests that name everything the value depends on. Values are JSON values.
    """

    def lookup(self, key: str) -> Any | None:
        """The value appended under ``key``, or None."""
        ...

    def append(self, items: Iterable[tuple[str, Any]]) -> None:
        """Keep the pairs; either all of them survive a kill, or the last ones are measured again."""
        ...


class MemoryJournal:
    """A journal that forgets when the process ends; the default outside a run, and the tests' double."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}

    def lookup(self, key: str) -> Any | None:
        return self._kept.get(key)

    def append(self, items: Iterable[tuple[str, Any]]) -> None:
        self._kept.update(items)


class Progress(Protocol):
    """Wraps an iterable of known length so that a person sees how far it is.

    ``label`` is shown as ``str(label)`` whenever the bar moves, so that an object may say how it goes.
    """

    def __call__(self, items: Iterable[Any], total: int, label: object) -> Iterator[Any]: ...


def silent(items: Iterable[Any], total: int, label: object) -> Iterator[Any]:  # noqa: ARG001
    """No progress at all."""
    yield from items


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the runner lends to a probe.

    Attributes:
        instance: the probe instance's name in the plan.
        seed: the plan's seed; use `rng`, which derives from it and the instance's name.
        level: confidence level of intervals, two-sided.
        journal: keyed memory for slow steps of `collect`.
        progress: wraps long loops.
        device: torch's name of the device, for `collect` only.
    """

    instance: str
    seed: int = 0
    level: float = 0.95
    journal: Journal = field(default_factory=MemoryJournal, compare=False)
    progress: Progress = field(default=silent, compare=False)
    device: str = "cpu"

    def rng(self, purpose: str = "") -> np.random.Generator:
        """A generator that depends on seed, instance and purpose alone; ask again for the same stream."""
        name = f"{self.seed}\0{self.instance}\0{purpose}".encode()
        return np.random.default_rng(int.from_bytes(hashlib.sha256(name).digest()[:16], "big"))

    def at(self, level: float) -> Context:
        """The same context at another confidence level."""
        return replace(self, level=level)


class Probe(Protocol):
    """Asks one question of a subject. Implementations are frozen dataclasses whose fields are the plan's options.

    `collect` may query the subject; its rows are kept in the bundle. `summarise` is pure: the same rows and context give
    the same reading, without torch and without the subject.
    """

    info: ClassVar[ProbeInfo]

    def collect(self, subject: Subject, ctx: Context) -> pa.Table: ...

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading: ...


ProbeFactory = Callable[..., Probe]
