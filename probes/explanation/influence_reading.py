"""What `explanation.influence` says of its rows: two means, and the training rows by example. It asks no model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.bounded_means import bounded_mean
from probes.errors import ProbeError
from probes.evidence import (
    AnyMeasurement,
    Cell,
    Counts,
    Evidence,
    MeasureDefinition,
    Measurement,
    Message,
    Reading,
    Table,
    Undefined,
    message,
)

if TYPE_CHECKING:
    import pyarrow as pa

KEY = b"plumbline.influence"
KINDS = ("for", "against", "nearest")
SHOWN = 8

_SAID = {
    "for": message("speaks for it"),
    "against": message("speaks against it"),
    "nearest": message("nearest"),
}


def read(rows: pa.Table, defines: Sequence[MeasureDefinition], level: float) -> Reading:
    """The reading."""
    raw = (rows.schema.metadata or {}).get(KEY)
    if raw is None:
        raise ProbeError("the rows carry no description", expected=f"schema metadata {KEY.decode()!r}")
    facts = json.loads(raw)
    found = sorted(rows.to_pylist(), key=lambda r: (r["row_id"], KINDS.index(r["kind"]), r["rank"]))
    examples: dict[str, list[dict[str, Any]]] = {}
    for r in found:
        examples.setdefault(r["row_id"], []).append(r)
    if not examples:
        nothing = Counts(n=0, denominator=0, smallest=0)
        reason = message("There is no example.")
        return Reading(measurements=tuple(Undefined(name=d.name, counts=nothing, reason=reason) for d in defines))
    top, near = [], []
    for mine in examples.values():
        positive = mine[0]["positive"]
        if positive > 0:
            carried = sum(r["value"] for r in mine if r["kind"] == "for" and r["value"] > 0)
            top.append((mine[0], min(carried / positive, 1.0)))
        agree = [r["training_label"] == r["prediction"] for r in mine if r["kind"] == "nearest"]
        near.append((mine[0], float(np.mean(agree))))
    measurements = (
        _mean(defines[0], top, len(examples), level),
        _mean(defines[1], near, len(examples), level),
        Measurement(
            name=defines[2].name, value=facts["training_rows"], interval=None, unit=defines[2].unit,
            counts=Counts(n=facts["training_rows"], denominator=facts["training_rows"], smallest=facts["training_rows"]),
        ),
    )  # fmt: skip
    return Reading(measurements=measurements, evidence=_evidence(examples), remarks=(Message(**facts["rule"]),))


def _mean(d: MeasureDefinition, values: Sequence[tuple[dict[str, Any], float]], n: int, level: float) -> AnyMeasurement:
    names = [f"c{r['cluster']}" if r["cluster"] is not None else f"r{r['row_id']}" for r, _ in values]
    clustered = any(r["cluster"] is not None for r, _ in values)
    units = len(set(names)) if clustered else None
    counts = Counts(n=n, denominator=len(values), smallest=len(values), clusters=units)
    codes = np.unique(names, return_inverse=True)[1].astype(np.int64) if names else np.zeros(0, dtype=np.int64)
    found = bounded_mean(np.array([v for _, v in values]), level, codes, (0.0, 1.0)) if len(values) > 1 else None
    if found is None:
        return Undefined(
            name=d.name, counts=counts, reason=message("Fewer than two independent examples have a value.")
        )
    return Measurement(
        name=d.name, value=found.value, interval=found.interval(level), counts=counts, unit=d.unit, better=d.better
    )


def _evidence(examples: dict[str, list[dict[str, Any]]]) -> tuple[Evidence, ...]:
    shown = list(examples.items())[:SHOWN]
    cells: list[tuple[Cell, ...]] = []
    for row, mine in shown:
        for r in mine:
            cells.append(
                (
                    row, r["label"], r["prediction"], _SAID[r["kind"]], r["training_id"], r["training_label"], r["value"],
                    r["text"] if r is mine[0] else None, r["training_text"],
                )
            )  # fmt: skip
    traced = Table(
        title=message(
            "Training rows behind predictions: the first {shown} of {there} drawn examples, in the order of their ids",
            shown=len(shown), there=len(examples),
        ),
        columns=(
            message("row"), message("label"), message("prediction"), message("how"), message("training row"),
            message("its label"), message("influence, or cosine where nearest"), message("input"),
            message("training input"),
        ),
        rows=tuple(cells),
        raw=(7, 8),
    )  # fmt: skip
    return (traced, *_often(examples))


def _often(examples: dict[str, list[dict[str, Any]]]) -> tuple[Table, ...]:
    """Training rows that speak most for several predictions."""
    rows = {r["training_id"]: r for mine in examples.values() for r in mine if r["kind"] == "for"}
    times = Counter(r["training_id"] for mine in examples.values() for r in mine if r["kind"] == "for")
    repeated = sorted(((n, i) for i, n in times.items() if n > 1), key=lambda pair: (-pair[0], pair[1]))[:SHOWN]
    if not repeated:
        return ()
    return (
        Table(
            title=message("Training rows that speak most for several of the {there} predictions", there=len(examples)),
            columns=(message("training row"), message("its label"), message("predictions"), message("training input")),
            rows=tuple((i, rows[i]["training_label"], n, rows[i]["training_text"]) for n, i in repeated),
            raw=(3,),
        ),
    )
