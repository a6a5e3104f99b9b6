"""What each measure of the page means: one entry a definition, also where several probes share it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from probes.evidence import MeasureDefinition
from reports.checks import CheckView, unique
from reports.instances import ProbeView
from reports.wording import slug


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One definition. ``keys`` are the probe ids and measure names that it explains: same name, same formula.
    ``asked`` says that a check refers to it.
    """

    anchor: str
    definition: MeasureDefinition
    keys: tuple[tuple[str, str], ...]
    asked: bool

    @property
    def probes(self) -> str:
        return ", ".join(probe for probe, _ in self.keys)


def glossary(probes: Iterable[ProbeView], checks: Iterable[CheckView]) -> tuple[Entry, ...]:
    """Every measure that the page shows a figure of, that a check asks for, or that a probe without a result would have given."""
    asked = {(c.info.id, c.ruling.check.rule.measure_name) for c in checks if c.info is not None}
    found: dict[tuple[str, str], tuple[MeasureDefinition, list[tuple[str, str]]]] = {}
    for probe in probes:
        shown = {m.name for m in probe.measurements}
        for definition in probe.info.defines:
            key = (probe.info.id, definition.name)
            if probe.status == "measured" and definition.name not in shown and key not in asked:
                continue
            keys = found.setdefault((definition.name, str(definition.formula)), (definition, []))[1]
            if key not in keys:
                keys.append(key)
    taken: set[str] = set()
    return tuple(
        Entry(
            anchor=unique(f"g-{slug(definition.name)}", taken),
            definition=definition,
            keys=tuple(keys),
            asked=any(key in asked for key in keys),
        )
        for definition, keys in sorted(found.values(), key=lambda e: (e[0].name, e[1][0]))
    )
