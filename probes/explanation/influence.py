"""Which training examples a prediction owes most to, and which are nearest to it. It runs only where the training rows are at hand
and proven to be those that the model was trained on, and it calls no training example wrong.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from probes.errors import ProbeError, Unavailable
from probes.evidence import MeasureDefinition, Need, Reading, message
from probes.explanation.influence_reading import KEY, KINDS, read
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from fine_tune.data import AuditData
    from probes.probe import Context
    from probes.subject import Subject

PRUTHI = "Pruthi et al. 2020 (TracIn)"

DEFINES = (
    MeasureDefinition(
        name="top_influence_share",
        formula=message(
            "mean over examples of the influence of the training rows that speak most for the prediction, as a share of all that "
            "speak for it"
        ),
        zero=message("the prediction rests on no few training rows"),
        one=message("a few training rows carry all of it"),
        source=PRUTHI,
    ),
    MeasureDefinition(
        name="nearest_same_class",
        formula=message(
            "mean over examples of the share of the nearest training rows that are labelled as the example is predicted"
        ),
        zero=message("all that is near was labelled otherwise"),
        one=message("all that is near was labelled so"),
        source="Papernot and McDaniel 2018, one layer",
        better="higher",
    ),
    MeasureDefinition(
        name="training_rows",
        formula=message("training rows that were weighed"),
        high=None,
        unit="rows",
    ),
)


@probe(
    "explanation.influence",
    needs={Need.PREDICTIONS, Need.QUERIES, Need.GRADIENTS, Need.TRAINING_DATA, Need.TRAINING_RECORD},
    defines=DEFINES,
    limits=(
        message(
            "Only the weights that training ended with are at hand; TracIn proper adds up checkpoints along the way."
        ),
        message("Gradients are those of the last layer's weights alone; what training changed below it is not seen."),
        message(
            "Training rows with a large loss, such as wrongly labelled ones, weigh much for many predictions. A row that is shown "
            "is one to look at, not a culprit."
        ),
        message(
            "Influence ranks training rows; it has no unit, and removing a row and training again may do something else."
        ),
        message(
            "The figures are about the drawn examples, in which rare classes and groups are seen more often than they occur."
        ),
    ),
    method=message(
        "TracIn with one checkpoint: the dot product of the last layer's gradients for the training label and for the predicted "
        "class (captum.influence.TracInCPFast, without the bias). Nearest training rows are those with the largest cosine of the "
        "last layer's input. Means have Student's t interval over examples, clusters allowed for; where all agree, Clopper and "
        "Pearson's. Training rows are taken as fixed."
    ),
    requires=("captum",),
)
@dataclass(frozen=True, kw_only=True)
class Influence:
    """Which training rows speak most for the model's predictions, and which are most like the examples?"""

    examples: int = field(default=20, metadata={"help": "Predictions to trace, at least 2."})
    nearest: int = field(default=5, metadata={"help": "Training rows of each kind to keep for a prediction."})

    def __post_init__(self) -> None:
        for name, least in (("examples", 2), ("nearest", 1)):
            if getattr(self, name) < least:
                raise ProbeError(f"{name} is {getattr(self, name)}", expected=f"at least {least}")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row an example, kind and rank: the training row with its label, value and text.

        Raises:
            Unavailable: no training rows at hand, an answer for several units, or a head that is no single linear layer.
        """
        from fine_tune.errors import DataError
        from fine_tune.tasks import find_task
        from probes.engines.captum.influence import influence, last_layer, similarity
        from probes.explanation.sampling import draw

        training = cast("AuditData | None", getattr(subject, "training_data", None))
        opened = getattr(subject, "reader", None)
        if training is None or opened is None or not subject.data.has_inputs:
            raise Unavailable("the training rows are not at hand", fix="name them under data.train of the plan")
        table = subject.predictions(ctx)
        if any(table["unit_id"].to_pylist()):
            raise Unavailable("an input has several answers here", fix="influence needs one label an input")
        drawn = draw(table, self.examples, ctx)
        table = table.take(list(drawn.positions))
        places = {row: i for i, row in enumerate(subject.data.row_ids)}
        every = subject.data.inputs
        asked = [every[places[row]] for row in table["row_id"].to_pylist()]
        layer = last_layer(opened(ctx.device), training.inputs, asked, subject.digest, ctx)
        code = {name: k for k, name in enumerate(subject.classes)}
        labels = np.array([code[str(name)] for name in training.labels], dtype=np.int64)
        targets = np.array([code[name] for name in table["prediction"].to_pylist()], dtype=np.int64)
        driven, near = influence(layer, labels, targets), similarity(layer)
        task = find_task(subject.task)

        def text(value: Any) -> str | None:
            try:
                return task.show(value).text or None
            except DataError:
                return None

        rows: list[dict[str, Any]] = []
        for q, base in enumerate(table.select(["row_id", "label", "prediction"]).to_pylist()):
            base["cluster"] = table["cluster"][q].as_py() if "cluster" in table.column_names else None
            base["text"] = text(asked[q])
            base["positive"] = float(driven[q][driven[q] > 0].sum())
            for kind, values in zip(KINDS, (driven[q], -driven[q], near[q]), strict=True):
                order = np.argsort(-values, kind="stable")[: self.nearest]
                for rank, t in enumerate(order.tolist()):
                    rows.append(
                        base
                        | {
                            "kind": kind, "rank": rank, "training_id": training.row_ids[t],
                            "training_label": training.labels[t], "training_text": text(training.inputs[t]),
                            "value": float(near[q][t] if kind == KINDS[2] else driven[q][t]),
                        }
                    )  # fmt: skip
        return _table(rows, {"training_rows": len(training), "rule": drawn.rule.model_dump(mode="json")})

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """How few training rows carry predictions, what the nearest were labelled, and the rows themselves."""
        return read(rows, DEFINES, ctx.level)


def _table(rows: list[dict[str, Any]], facts: dict[str, Any]) -> pa.Table:
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    kinds = {
        "row_id": text, "label": text, "prediction": text, "cluster": text, "text": text, "positive": number, "kind": text,
        "rank": pa.int64(), "training_id": text, "training_label": text, "training_text": text, "value": number,
    }  # fmt: skip
    schema = pa.schema(
        list(kinds.items()), metadata={KEY: json.dumps(facts, ensure_ascii=False, sort_keys=True).encode()}
    )
    return pa.table([pa.array([r[n] for r in rows], type=k) for n, k in kinds.items()], schema=schema)
