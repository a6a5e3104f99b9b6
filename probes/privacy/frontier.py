"""What privacy costs, and whom: the same training at several epsilons, asked on the same rows. It compares twins; it recommends no
epsilon, and adds up nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from probes.errors import ProbeError
from probes.evidence import Need, Reading, message
from probes.privacy.frontier_definitions import DEFINES
from probes.privacy.frontier_reading import Asked, read
from probes.privacy.frontier_rows import gather
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject
    from probes.twins_subject import TwinsSubject


@probe(
    "privacy.frontier",
    needs={Need.TWINS, Need.PREDICTIONS, Need.LABELS},
    defines=DEFINES,
    limits=(
        message(
            "One training at each epsilon: another seed would move every figure, and the differences between twins hold that chance "
            "too. Their intervals are about further rows, not about further trainings."
        ),
        message(
            "All twins were trained on the same rows. Whoever publishes several of them, or chooses one by these figures, spends more "
            "than the epsilon of the one that is kept."
        ),
        message(
            "The twin without a guarantee has no epsilon. Figures that were measured on it, and on the rows, are in this report without "
            "noise."
        ),
        message("Learning rate and length are the same for all twins; a private training may do better with others."),
    ),
    method=message(
        "Accuracy and recall have Wilson intervals, the calibration error is debiased, membership has the loss attack's AUC with DeLong's "
        "interval. A cost is the mean over rows of whether the loosest twin was right less whether this one was, paired, with a t "
        "interval over rows or clusters, never narrower than no discordant pair would leave. Clusters enter all of them."
    ),
)
@dataclass(frozen=True, kw_only=True)
class Frontier:
    """What does each epsilon cost in accuracy, calibration and every group's recall, and what does it save?

    Twins are trained with the same recipe, seed and rows; only the noise differs.
    """

    positive: str | None = field(
        default=None, metadata={"help": "Class whose recall by group is shown; every class if empty."}
    )
    min_group: int = field(
        default=20, metadata={"help": "Groups with fewer rows of the class are listed, and not measured."}
    )
    bins: int = field(default=15, metadata={"help": "How many bins of equal size the calibration error uses."})
    members: int = field(default=2000, metadata={"help": "Training rows to ask about at most, drawn at random."})
    nonmember_rows: int = field(default=2000, metadata={"help": "Rows kept out of training to ask about at most."})

    def __post_init__(self) -> None:
        for name in ("min_group", "bins", "members", "nonmember_rows"):
            if getattr(self, name) < 1:
                raise ProbeError(f"{name} is {getattr(self, name)}", expected="at least 1")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """Every twin's predictions, and its confidence in members and non-members; see `probes.privacy.frontier_rows`."""
        if self.positive is not None and self.positive not in subject.classes:
            raise ProbeError(f"positive is {self.positive!r}", expected=f"one of {', '.join(subject.classes)}")
        return gather(cast("TwinsSubject", subject).twins, (self.members, self.nonmember_rows), ctx)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Every figure of every twin, costs against the loosest, and curves over epsilon."""
        return read(rows, Asked(level=ctx.level, positive=self.positive, min_group=self.min_group, bins=self.bins))
