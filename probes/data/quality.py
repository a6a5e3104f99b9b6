"""What is wrong with the data that a model is audited on, before anybody asks what is wrong with the model. It asks no model, changes no
row, and neither keeps nor shows an input.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from probes.data.quality_definitions import DEFINES, LIMITS, METHOD
from probes.data.quality_evidence import evidence, remarks
from probes.data.quality_figures import Sheet
from probes.errors import ProbeError
from probes.evidence import Need, Reading
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject


@probe(
    "data.quality",
    uses={Need.TRAINING_DATA},
    defines=DEFINES,
    limits=LIMITS,
    method=METHOD,
    requires=("datasketch", "phonenumbers"),
)
@dataclass(frozen=True, kw_only=True)
class Quality:
    """Are the audited rows complete, different from one another and from the training rows, labelled alike across groups, and free of
    personal data?

    Figures that need texts, labels, groups or training rows are Undefined, each with its reason, where there are none.
    """

    threshold: float = field(
        default=0.8, metadata={"help": "Jaccard similarity from which two texts are near copies, from 0.5 to 1."}
    )
    shingle: int = field(
        default=5,
        metadata={"help": "Characters a shingle; 2 or 3 suits languages written without spaces, such as Chinese."},
    )
    min_group: int = field(default=20, metadata={"help": "Rows that a group or class needs for a figure of its own."})
    model_rows: int = field(
        default=20_000, metadata={"help": "Rows that the simple models look at, at most; drawn with the plan's seed."}
    )
    phone_regions: tuple[str, ...] = field(
        default=("CN", "GB", "US"),
        metadata={"help": "Countries whose telephone numbers are found without a country code, as two letters."},
    )

    def __post_init__(self) -> None:
        if not 0.5 <= self.threshold <= 1:
            raise ProbeError(f"threshold is {self.threshold}", expected="a similarity from 0.5 to 1")
        for name, least in (("shingle", 1), ("min_group", 2), ("model_rows", 50)):
            if getattr(self, name) < least:
                raise ProbeError(f"{name} is {getattr(self, name)}", expected=f"at least {least}")
        for region in self.phone_regions:
            if not (len(region) == 2 and region.isalpha() and region.isupper()):
                raise ProbeError(f"phone_regions lists {region!r}", expected="two capital letters, such as CN")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row an audited row: what is missing, its copies and clusters, training rows like it, kinds of personal data, scores of
        simple models.
        """
        from probes.data.quality_rows import Asked, Collecting

        asked = Asked(
            threshold=self.threshold, shingle=self.shingle, min_group=self.min_group, model_rows=self.model_rows,
            phone_regions=tuple(self.phone_regions),
        )  # fmt: skip
        return Collecting(subject, asked, ctx).table()

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Shares, gaps and proxies as figures; the rows to look at as evidence, by their ids."""
        sheet = Sheet(rows, self.min_group, ctx.level)
        return Reading(measurements=sheet.measurements, evidence=evidence(sheet), remarks=remarks(sheet))
