"""Many runs in a row, as plain data: an index of releases, and how each measure went from one to the next.

``plumbline history --json`` writes this model, and the page is made of it. A run that cannot be read, or that does not agree
with its own hashes, has its line like any other; only its figures are not drawn. It computes nothing.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from probes.evidence import Better, Message, Plain, Slice, slice_name
from reports.lock import Sha256
from reports.record import Outcome, canonical_json
from reports.reviews import ReviewDecision

if TYPE_CHECKING:
    import pandas as pd

Signed = Literal["unsigned", "signature beside, not checked"]


class ReviewLine(Plain):
    """The review that counts for a run."""

    decision: ReviewDecision
    by: str
    on: date
    of: int = Field(ge=1)


class RunLine(Plain):
    """One run of the index.

    Attributes:
        folder: below the folder that was searched, with forward slashes; ``.`` is that folder itself.
        problem: why its figures are not shown: its hashes do not check. None for a sound bundle.
        signed: whether a signature lies beside it; whose it is, ``plumbline verify`` says.
        reviews: how many lie beside it, those of other bundles and broken ones included; ``review`` is the one that counts.
    """

    folder: str
    problem: Message | None = None
    bundle: Sha256
    name: str
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
    signed: Signed
    reviews: int
    review: ReviewLine | None


class Broken(Plain):
    """A folder that holds something of a run and cannot be read as one, or that was not looked into."""

    folder: str
    reason: Message


class Point(Plain):
    """A measure in one run. ``run`` is its position among ``History.runs``; ``value`` None is undefined or absent, and ``note`` says which.

    ``outcomes`` are those of the checks on this very figure; ``limits`` their thresholds.
    """

    run: int
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    note: Message | None = None
    outcomes: tuple[Outcome, ...] = ()
    limits: tuple[float, ...] = ()


class Trend(Plain):
    """One measure on one slice over all sound runs, in the order of the runs."""

    instance: str
    measure: str
    slice: Slice = ()
    unit: str = ""
    better: Better = "neither"
    points: tuple[Point, ...]

    @property
    def name(self) -> str:
        """``instance:measure [slice]``."""
        return f"{self.instance}:{self.measure}" + (f" [{slice_name(self.slice)}]" if self.slice else "")


class History(Plain):
    """Runs below a folder: ``plumbline history --json``.

    Attributes:
        depth: folders below the one searched were looked into down to this depth.
        runs: by day of decision, then by folder.
        asked: measures that were asked for; empty where those under a rule are shown.
    """

    schema_: Literal["plumbline.history/v1"] = Field(default="plumbline.history/v1", alias="schema")
    folder: str
    depth: int
    runs: tuple[RunLine, ...]
    broken: tuple[Broken, ...] = ()
    asked: tuple[str, ...] = ()
    trends: tuple[Trend, ...] = ()
    remarks: tuple[Message, ...] = ()

    def to_json(self) -> str:
        """The history as text, written as records are."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    def to_frame(self) -> pd.DataFrame:
        """Every point, one a row: folder, decided_on, instance, measure, slice, value, low, high, n, outcomes."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "folder": self.runs[p.run].folder,
                    "decided_on": self.runs[p.run].decided_on,
                    "instance": t.instance,
                    "measure": t.measure,
                    "slice": slice_name(t.slice),
                    "value": p.value,
                    "low": p.low,
                    "high": p.high,
                    "n": p.n,
                    "outcomes": ", ".join(p.outcomes),
                }
                for t in self.trends
                for p in t.points
            ]
        )
