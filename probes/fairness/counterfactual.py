"""Twins in the data: texts, images or rows that differ only in who is meant, tied by the role `counterpart`, and whether the answer
differs too. It rewrites nothing; `fairness.identity_swaps` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fine_tune.predictions import PredictionsMeta, feature_names
from probes.answers import answers, group_codes
from probes.errors import ProbeError, Unavailable
from probes.evidence import AnyMeasurement, Evidence, Message, Need, Reading, message
from probes.fairness.asked import positives
from probes.fairness.counterfactual_definitions import DEFINES, LIMITS, METHOD
from probes.fairness.counterfactual_pairs import TEXT
from probes.fairness.counterfactual_reading import Sheet, undefined
from probes.fairness.templates import Rows, arrange
from probes.reasons import naming
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.intervals import Int
    from probes.probe import Context
    from probes.subject import Subject

ID = "fairness.counterfactual"


@probe(
    ID,
    needs={Need.PREDICTIONS, Need.GROUPS, Need.COUNTERPARTS},
    tasks=("text-classification", "image-classification", "audio-classification", "tabular-classification"),
    defines=DEFINES,
    limits=(
        message("It shows that who is meant changes answers on these templates, and nothing of inputs unlike them."),
        message("Twins are taken to differ in nothing but who is meant; what else differs is put down to that too."),
        message("Identities that no template names are not looked at."),
        *LIMITS,
    ),
    method=METHOD,
)
@dataclass(frozen=True, kw_only=True)
class Counterfactual:
    """Does the answer change when somebody else is meant?

    Rows that share a `counterpart` are one template; rows of a template with different values of a sensitive feature are twins.
    """

    positive: str | None = field(
        default=None, metadata={"help": "The class whose scores are looked at; needed where there are two classes."}
    )
    features: tuple[str, ...] | None = field(
        default=None,
        metadata={"help": "Sensitive features that twins differ in; all that differ within some template by default."},
    )
    min_templates: int = field(
        default=10, metadata={"help": "Identities in fewer templates are listed, and not compared; at least 2."}
    )
    permutations: int = field(default=2000, metadata={"help": "Random exchanges behind each p-value."})

    def __post_init__(self) -> None:
        for name, least in (("min_templates", 2), ("permutations", 1)):
            if getattr(self, name) < least:
                raise ProbeError(f"{name} is {getattr(self, name)}", expected=f"at least {least}")
        if self.features is not None and (not self.features or len(set(self.features)) != len(self.features)):
            raise ProbeError(f"features is {list(self.features)}", expected="one name or more, each once")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """The subject's predictions, with the column ``text`` for rows that have twins where inputs are texts.

        Raises:
            Unavailable: an input has several answers.
            ProbeError: an option does not fit the subject.
        """
        import pyarrow as pa

        positives(self.positive, subject.classes, subject.positive, ID)
        table = subject.predictions(ctx)
        if any(table["unit_id"].to_pylist()):
            raise Unavailable("an input has several answers here", fix="twins need one label an input")
        data = subject.data
        if not data.has_inputs or not all(isinstance(value, str) for value in data.inputs):
            return table
        known = {
            i: x for i, x, c in zip(data.row_ids, data.inputs, data.counterparts or (), strict=True) if c is not None
        }
        texts = [known.get(row) for row in table["row_id"].to_pylist()]
        return table.append_column(TEXT, pa.array(texts, type=pa.string()))

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Flips and shifts of every feature in which twins differ; plots, tables and pairs of texts as evidence."""
        every = answers(rows)
        threshold = PredictionsMeta.of(rows).threshold
        chosen = positives(self.positive, every.classes, every.positive, ID)
        if "counterpart" not in rows.column_names:
            raise ProbeError("the rows name no counterparts", expected="data whose `counterpart` names a column")
        template = _codes(rows, "counterpart")
        measurements: list[AnyMeasurement] = []
        evidence: list[Evidence] = []
        remarks: list[Message] = []
        same = []
        for feature in self.features if self.features is not None else feature_names(rows):
            identity, names = group_codes(rows, feature)
            where = Rows(feature=feature, template=template, identity=identity, names=names)
            if not _differ(where):
                same.append(feature)
                if self.features is not None or not len(rows):
                    reason = message("No two rows of one template differ in {feature}.", feature=feature)
                    measurements += undefined(feature, reason, len(rows))
                continue
            grid = arrange(where, every, threshold, self.min_templates)
            sheet = Sheet(
                grid=grid,
                answers=every,
                table=rows,
                positive=chosen,
                covered=grid.rows,
                inputs=len(rows),
                draws=self.permutations,
            )
            found, shown, said = sheet.read(ctx)
            measurements, evidence = [*measurements, *found], [*evidence, *shown]
            remarks += [*_left(where), *said]
        if same:
            few = message("Twins do not differ in {names}.")
            remarks.append(naming(few, message("Twins do not differ in {names} and {more} more."), same))
        if not measurements:
            reason = message("No two rows of one template differ in a sensitive feature.")
            measurements += undefined(None, reason, len(rows))
        if every.weighted:
            remarks.append(message("The data has row weights; these figures do not use them."))
        return Reading(measurements=tuple(measurements), evidence=tuple(evidence), remarks=tuple(remarks))


def _codes(rows: pa.Table, column: str) -> Int:
    """Codes of a column of names; -1 where there is none."""
    import pyarrow as pa

    encoded = rows.column(column).cast(pa.string()).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _differ(rows: Rows) -> bool:
    """Whether some template has two identities."""
    inside = (rows.template >= 0) & (rows.identity >= 0)
    pairs = np.unique(np.stack([rows.template[inside], rows.identity[inside]]), axis=1)
    return bool(len(np.unique(pairs[0])) < pairs.shape[1])


def _left(rows: Rows) -> list[Message]:
    """Rows that belong to no template, and rows of templates without an identity."""
    out = []
    alone = int(np.count_nonzero(rows.template < 0))
    if alone:
        out.append(message("{rows} rows have no counterpart; they are not looked at.", rows=alone))
    nobody = int(np.count_nonzero((rows.template >= 0) & (rows.identity < 0)))
    if nobody:
        out.append(
            message("{rows} rows have no {feature}; they are left out of it.", rows=nobody, feature=rows.feature)
        )
    return out
