"""How much of a record one page holds, and who gets the room when not everything fits.

A page aims at a size that an e-mail carries. Checks that need action are always shown in full; evidence and tables of
measurements share what is left, and what does not fit is said where it is missing. Knows no file and no markup.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Below 300 KB, with air for the sentences that say what is left out.
AIM = 284_000
MOST_BYTES = 2_000_000
SHARES = (1.0, 0.4, 0.1, 0.02)


@dataclass(frozen=True, kw_only=True)
class Room:
    """How much of each kind is shown before the page refers to the bundle.

    Attributes:
        action_bytes: for checks that need action, in full. Far above the aim: the aim yields to them.
        other_bytes: for the other checks in full; all of them have their line in the table anyway.
        lines: rows of the table of all checks and of the policy.
        evidence_bytes: what evidence gets even where checks alone fill the page.
        rows: of one table of evidence.
        listed: entries of any other list.
        examples: texts, pairs or images of one piece of evidence.
    """

    action_bytes: int = 1_100_000
    other_bytes: int = 36_000
    lines: int = 3000
    evidence_bytes: int = 75_000
    rows: int = 60
    listed: int = 200
    examples: int = 12

    def scaled(self, share: float) -> Room:
        """The same, smaller."""
        return Room(
            action_bytes=int(self.action_bytes * share),
            other_bytes=int(self.other_bytes * share),
            lines=max(int(self.lines * share), 20),
            evidence_bytes=int(self.evidence_bytes * share),
            rows=max(int(self.rows * share), 5),
            listed=max(int(self.listed * share), 5),
            examples=max(int(self.examples * share), 2),
        )

    def shorter(self) -> tuple[Room, Room]:
        """For further tries at a piece of evidence that is too long: its beginning, and a glimpse of it."""
        return self._begins(10, 2), self._begins(5, 1)

    def _begins(self, rows: int, examples: int) -> Room:
        return Room(rows=min(self.rows, rows), listed=min(self.listed, rows), examples=min(self.examples, examples))


ALL_NUMBERS = Room(other_bytes=600_000, evidence_bytes=400_000, rows=5000, listed=1000)


def shared_out(needs: Mapping[str, int], weights: Mapping[str, float], total: int) -> dict[str, int]:
    """``total`` among those who need some: nobody more than needed, and what one leaves goes to the others by weight.

    The weighted max-min fair share: small needs are met in full, and only the large ones are cut.
    """
    out = dict.fromkeys(needs, 0)
    open_, left = dict(needs), float(total)
    while open_ and left > 0:
        unit = left / sum(weights[name] for name in open_)
        met = [name for name, need in open_.items() if need <= unit * weights[name]]
        if not met:
            return out | {name: int(unit * weights[name]) for name in open_}
        for name in met:
            out[name] = open_.pop(name)
            left -= out[name]
    return out
