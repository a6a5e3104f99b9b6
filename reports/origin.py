"""Where a policy's rules stand: a file and a line each, for outputs that point at them.

Not part of the bundle: the same policy may lie elsewhere tomorrow, and a bundle must give the same bytes again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reports.files import VERDICT


@dataclass(frozen=True)
class Origin:
    """A file that rules were read from.

    Attributes:
        path: the file.
        lines: by rule id, the line that its rule begins in, from 1.
    """

    path: Path
    lines: Mapping[str, int] = field(default_factory=dict)

    def line(self, rule: str | None) -> int:
        """The line of a rule; the first one of the file for what belongs to no rule."""
        return self.lines.get(rule, 1) if rule is not None else 1

    def shown(self, root: Path) -> str:
        """The path as seen from ``root``, with forward slashes; absolute where it lies outside."""
        here, there = root.resolve(), self.path.resolve()
        return (there.relative_to(here) if there.is_relative_to(here) else there).as_posix()


def kept_origin(folder: Path) -> Origin:
    """The policy as a bundle keeps it: ``verdict.json``, and the line of each rule of its policy there.

    For a decision by the bundle's own policy, whose file nobody named. Lines are those of a verdict as Plumbline writes
    it; in any other file no rule is found, and all point at its beginning.
    """
    path = folder / VERDICT
    lines: dict[str, int] = {}
    inside = False
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if text.startswith('  "'):
            inside = text.startswith('  "policy": {')
        elif inside and text.startswith('        "id": "') and text.endswith('",'):
            lines.setdefault(json.loads(text.strip().removeprefix('"id": ').removesuffix(",")), number)
    return Origin(path, lines)
