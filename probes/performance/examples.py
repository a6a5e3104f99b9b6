"""Shows some of the rows that the model answers rightly and wrongly, drawn by a rule that is stated beside them.

A look at the material behind the figures. It estimates nothing: from the examples that are shown no rate can be read.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fine_tune.errors import DataError
from fine_tune.predictions import SCORE, PredictionsMeta
from probes.errors import ProbeError, Unavailable
from probes.evidence import (
    AnyMeasurement,
    Axis,
    Cell,
    Counts,
    Evidence,
    ImageGrid,
    MeasureDefinition,
    Measurement,
    Message,
    Need,
    Reading,
    Table,
    Tile,
    Undefined,
    message,
)
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject

KEY = b"plumbline.examples"
OUTCOMES = ("wrong", "right")
MOST = 200

SHOWN = MeasureDefinition(
    name="examples_shown",
    formula=message("rows that are shown, of those answered wrongly or rightly"),
    high=None,
    zero=message("no row is shown"),
    unit="rows",
)
THERE = MeasureDefinition(
    name="rows_to_choose_from",
    formula=message("rows with a label that are answered wrongly or rightly"),
    high=None,
    zero=message("no row is answered so"),
    unit="rows",
)

_TITLES = {
    "wrong": message("Rows that are answered wrongly"),
    "right": message("Rows that are answered rightly"),
}
_RULE = message(
    "{shown} of {there} rows, drawn at random with seed {seed}: the labels take turns, so that rare ones are seen too."
)


@probe(
    "performance.examples",
    needs={Need.PREDICTIONS, Need.LABELS},
    defines=(SHOWN, THERE),
    limits=(
        message("Examples illustrate; they prove nothing, and no rate can be read off them."),
        message("Labels take turns, so rare labels are shown more often than they occur."),
        message("Labels are taken as true; what is shown as wrong may be labelled wrongly."),
    ),
    method=message(
        "Rows with a label are split into wrong and right; in each part the labels take turns, and within a label "
        "the order is random. Counts are exact. Inputs appear in the report only where the plan sets include_text."
    ),
)
@dataclass(frozen=True, kw_only=True)
class Examples:
    """What do rows look like that the model answers wrongly, and rightly?"""

    wrong: int = field(default=12, metadata={"help": "Rows to show that are answered wrongly, 0 to 200."})
    right: int = field(default=12, metadata={"help": "Rows to show that are answered rightly, 0 to 200."})

    def __post_init__(self) -> None:
        for name in OUTCOMES:
            if not 0 <= getattr(self, name) <= MOST:
                raise ProbeError(f"{name} is {getattr(self, name)}", expected=f"a number of rows from 0 to {MOST}")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row an example: row_id, unit_id, outcome, label, prediction, score, and the input as text or as PNG.

        Raises:
            Unavailable: the inputs are not there, or are nothing that the subject's task can show.
        """
        import pyarrow as pa

        from fine_tune.tasks import find_task

        if not subject.data.has_inputs:
            raise Unavailable("the data has no inputs to show", fix="name the column under `input`")
        table = subject.predictions(ctx).sort_by([("row_id", "ascending"), ("unit_id", "ascending")])
        labels, said = table["label"].to_pylist(), table["prediction"].to_pylist()
        parts: dict[str, list[int]] = {outcome: [] for outcome in OUTCOMES}
        for i, (label, answer) in enumerate(zip(labels, said, strict=True)):
            if label is not None:
                parts["right" if label == answer else "wrong"].append(i)
        chosen = [
            (outcome, i)
            for outcome in OUTCOMES
            for i in _by_turns(parts[outcome], labels, getattr(self, outcome), ctx.rng(outcome))
        ]
        places = {row: i for i, row in enumerate(subject.data.row_ids)}
        inputs, task = subject.data.inputs, find_task(subject.task)
        row_ids, units = table["row_id"].to_pylist(), table["unit_id"].to_pylist()
        try:
            shown = [task.show(inputs[places[row_ids[i]]]) for _, i in chosen]
        except DataError as error:
            raise Unavailable(f"the inputs cannot be shown as {subject.task}: {error.seen}") from error
        columns: list[tuple[str, pa.DataType, list[Any]]] = [
            ("row_id", pa.string(), [row_ids[i] for _, i in chosen]),
            ("unit_id", pa.int32(), [units[i] for _, i in chosen]),
            ("outcome", pa.string(), [outcome for outcome, _ in chosen]),
            ("label", pa.string(), [labels[i] for _, i in chosen]),
            ("prediction", pa.string(), [said[i] for _, i in chosen]),
            ("score", pa.float64(), _scores_of(table, chosen, said)),
            ("text", pa.string(), [None if one.png is not None else one.text for one in shown]),
            ("png", pa.binary(), [one.png for one in shown]),
        ]
        facts = {"there": {name: len(rows) for name, rows in parts.items()}, "several_units": any(units)}
        schema = pa.schema([(name, kind) for name, kind, _ in columns], metadata={KEY: json.dumps(facts).encode()})
        return pa.table([pa.array(values, type=kind) for _, kind, values in columns], schema=schema)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Counts by outcome, and the examples as pictures or as a table of texts."""
        facts = json.loads((rows.schema.metadata or {}).get(KEY, b"{}"))
        there: dict[str, int] = facts.get("there", {})
        total = sum(there.values())
        measurements: list[AnyMeasurement] = []
        evidence: list[Evidence] = []
        found = rows.to_pylist()
        for outcome in OUTCOMES:
            part = [row for row in found if row["outcome"] == outcome]
            counts = Counts(n=total, denominator=there.get(outcome, 0), smallest=there.get(outcome, 0))
            measurements += _counted(outcome, len(part), counts, empty=not found)
            if part:
                rule = _RULE.model_copy(
                    update={"params": {"shown": len(part), "there": there.get(outcome, 0), "seed": ctx.seed}}
                )
                evidence.append(_picture(outcome, part, rule, units=bool(facts.get("several_units"))))
        return Reading(measurements=tuple(measurements), evidence=tuple(evidence))


def _by_turns(rows: Sequence[int], labels: Sequence[Any], wanted: int, rng: np.random.Generator) -> list[int]:
    """Up to ``wanted`` of ``rows``: a random order in each label, and the labels in turn."""
    waiting: dict[str, list[int]] = {}
    for i in rng.permutation(np.asarray(rows, dtype=np.int64)).tolist():
        waiting.setdefault(labels[i], []).append(i)
    turns = [waiting[name] for name in sorted(waiting)]
    longest = max((len(turn) for turn in turns), default=0)
    in_turn = [turn[k] for k in range(longest) for turn in turns if k < len(turn)]
    return in_turn[:wanted]


def _scores_of(table: pa.Table, chosen: Sequence[tuple[str, int]], said: Sequence[str]) -> list[float | None]:
    columns = {c: table[SCORE + c] for c in PredictionsMeta.of(table).classes if SCORE + c in table.column_names}
    return [columns[said[i]][i].as_py() if said[i] in columns else None for _, i in chosen]


def _counted(outcome: str, shown: int, counts: Counts, *, empty: bool) -> list[AnyMeasurement]:
    at = (Axis(kind="output", name=outcome),)
    if empty:
        reason = message("No row is shown.")
        return [Undefined(name=d.name, slice=at, counts=counts, reason=reason) for d in (SHOWN, THERE)]
    return [
        Measurement(name=d.name, value=value, interval=None, counts=counts, unit=d.unit, slice=at)
        for d, value in ((SHOWN, shown), (THERE, counts.denominator))
    ]


def _picture(outcome: str, part: Sequence[dict[str, Any]], rule: Message, *, units: bool) -> Evidence:
    if all(row["png"] is not None for row in part):
        tiles = tuple(
            Tile(
                png_base64=base64.b64encode(row["png"]).decode(),
                label=_name(row, units=units),
                note=_said(row),
            )
            for row in part
        )
        return ImageGrid(title=_TITLES[outcome], chosen_by=rule, tiles=tiles)
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (_name(row, units=units), row["label"], row["prediction"], row["score"], row["text"]) for row in part
    )
    return Table(
        title=message("{what}: {rule}", what=_TITLES[outcome], rule=rule),
        columns=(message("row"), message("label"), message("prediction"), message("score"), message("input")),
        rows=cells,
        raw=(4,),
    )


def _name(row: dict[str, Any], *, units: bool) -> str:
    return f"{row['row_id']}/{row['unit_id']}" if units else str(row["row_id"])


def _said(row: dict[str, Any]) -> Message:
    if row["score"] is None:
        return message("label {label}, predicted {prediction}", label=row["label"], prediction=row["prediction"])
    return message(
        "label {label}, predicted {prediction} with a score of {score}",
        label=row["label"], prediction=row["prediction"], score=row["score"],
    )  # fmt: skip
