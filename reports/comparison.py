"""Two runs side by side, as plain data: what moved, whom it harmed, what came and went, what is demanded now.

``plumbline compare --json`` writes this model, and the page is made of it. It holds no text of any row: rows are named by
their ids. Nothing here computes a difference or renders one.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from probes.evidence import Better, Counts, Interval, Message, Plain, Slice, slice_name
from reports.lock import Sha256
from reports.record import Outcome, Ruling, canonical_json

if TYPE_CHECKING:
    import pandas as pd

Movement = Literal["worse", "better", "unclear", "same", "neutral"]
Way = Literal["paired", "unpaired", "exact"]
Kind = Literal[
    "subject", "data", "class", "feature", "group", "instance", "options", "status", "measure", "slice", "rule",
    "software", "setting",
]  # fmt: skip


class RunFacts(Plain):
    """What tells one run from another. ``bundle`` is the sha256 of its ``MANIFEST.json``, ``folder`` the last part of its path."""

    folder: str
    bundle: Sha256
    record_sha256: Sha256
    name: str
    plumbline: str
    level: float
    subject: str
    subject_digest: Sha256
    data: str
    data_digest: Sha256
    rows: int
    policy: str | None
    policy_version: str | None
    decided_on: date
    outcome: Outcome
    enforced: bool
    checks: dict[Outcome, int]


class Difference(Plain):
    """One measure on one slice in both runs, in the measure's own units; ``difference`` is after minus before.

    Attributes:
        before, after: on the rows in question, which are the common ones where ``way`` is ``paired``.
        interval: of the difference; None for an exact one.
        way: paired on the same rows; unpaired, each run on its own rows; exact, a quantity without sampling error.
        enough: the figure rests on at least the policy's ``min_n`` rows in both runs; else nothing is claimed from it.
        p_value, p_holm: that nothing changed, and the same corrected for all group figures that were compared; None
            where there is no interval, or for ``p_holm`` where the figure is not of a group.
    """

    instance: str
    measure: str
    slice: Slice = ()
    better: Better
    unit: str = ""
    before: float
    after: float
    difference: float
    interval: Interval | None
    counts: Counts
    way: Way
    enough: bool = True
    p_value: float | None = None
    p_holm: float | None = None

    @property
    def movement(self) -> Movement:
        """Whether the whole interval lies on one side of 0, and on which; ``neutral`` where neither side is better."""
        if self.better == "neither":
            return "same" if self.difference == 0 and self.interval is None else "neutral"
        sign = -1.0 if self.better == "higher" else 1.0
        if self.interval is None:
            drop = sign * self.difference
            return "same" if drop == 0 else "worse" if drop > 0 else "better"
        if not self.enough or self.interval.degenerate:
            return "unclear"
        low, high = self.interval.low, self.interval.high
        above, below = low is not None and low > 0, high is not None and high < 0
        if not above and not below:
            return "unclear"
        return "worse" if above == (sign > 0) else "better"

    @property
    def of_group(self) -> bool:
        """Its slice names a group of people, alone or with other axes."""
        return any(a.kind == "group" for a in self.slice)


class NotCompared(Plain):
    """A measure that both runs have, or an instance, and why there is no difference. ``measure`` is empty for the whole instance."""

    instance: str
    measure: str = ""
    slice: Slice = ()
    reason: Message


class GroupRows(Plain):
    """One group's common rows: how many were right before and are wrong now, and the other way round."""

    feature: str
    value: str
    rows: int
    harmed: int
    mended: int


class HarmedRows(Plain):
    """What became of each common row with a label.

    Attributes:
        rows_before, rows_after: rows of predictions in either run; ``common`` are in both, ``labelled`` of them have a label.
        harmed: names of the rows that were right before and are wrong now: their ids, with the unit's number where a row
            has several. Never their text.
    """

    rows_before: int
    rows_after: int
    common: int
    labelled: int
    paired_by: Literal["id", "content"]
    right_twice: int
    wrong_twice: int
    mended: int
    harmed: tuple[str, ...]
    groups: tuple[GroupRows, ...] = ()


class CheckChange(Plain):
    """One check of either policy, as each run's verdict has it; None where it was not made."""

    rule: str
    slice: Slice = ()
    before: Ruling | None
    after: Ruling | None

    @property
    def name(self) -> str:
        """``rule`` or ``rule [slice]``."""
        return f"{self.rule} [{slice_name(self.slice)}]" if self.slice else self.rule

    @property
    def moved(self) -> bool:
        """The outcome is another one, or the check is in one verdict alone."""
        return (self.before and self.before.outcome) != (self.after and self.after.outcome)


class Change(Plain):
    """Something that appeared (``before`` is None), disappeared (``after`` is None), or is something else now.

    ``what`` says the same as ``name`` in words that can be translated, where the name is not one from the data or the plan.
    """

    kind: Kind
    name: str
    what: Message | None = None
    before: str | None
    after: str | None


class RunComparison(Plain):
    """Two runs: ``plumbline compare --json``.

    Attributes:
        level: of the intervals of differences.
        min_n: rows below which nothing is claimed of a figure.
        differences: every measure that both runs have and that could be compared, in the later run's order.
        groups_compared: group figures with a better and a worse side and an interval, over which ``p_holm`` corrects.
        harmed_rows: None where rows cannot be told right from wrong; then ``no_harmed_rows`` says why.
        policy: what changed in what is demanded.
    """

    schema_: Literal["plumbline.comparison/v1"] = Field(default="plumbline.comparison/v1", alias="schema")
    before: RunFacts
    after: RunFacts
    level: float
    min_n: int
    differences: tuple[Difference, ...]
    not_compared: tuple[NotCompared, ...] = ()
    groups_compared: int = 0
    harmed_rows: HarmedRows | None = None
    no_harmed_rows: Message | None = None
    checks: tuple[CheckChange, ...] = ()
    changes: tuple[Change, ...] = ()
    policy: tuple[Message, ...] = ()
    remarks: tuple[Message, ...] = ()

    def to_json(self) -> str:
        """The comparison as text, written as records are."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    def to_frame(self) -> pd.DataFrame:
        """Every difference, one a row: instance, measure, slice, before, after, difference, low, high, movement, way, p_holm, rows."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "instance": d.instance,
                    "measure": d.measure,
                    "slice": slice_name(d.slice),
                    "before": d.before,
                    "after": d.after,
                    "difference": d.difference,
                    "low": d.interval.low if d.interval else None,
                    "high": d.interval.high if d.interval else None,
                    "movement": d.movement,
                    "way": d.way,
                    "p_holm": d.p_holm,
                    "rows": d.counts.denominator,
                }
                for d in self.differences
            ]
        )
