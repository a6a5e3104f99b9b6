"""Counts what noise did: how often answers changed and how much accuracy was lost, over all examples and group by group.

Pure statistics over the rows of `probes.robustness.noise`. Variants that did not change the text are counted and enter no
rate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fine_tune.predictions import feature_names
from probes.errors import ProbeError
from probes.evidence import AnyMeasurement, Message, Reading, Slice, Undefined, message
from probes.intervals import Bool
from probes.rates import Proportions, count
from probes.robustness.noise_evidence import evidence
from probes.robustness.noise_groups import Groups
from probes.robustness.noise_sheet import UNLABELLED, Sheet, drop, exact, measured, setting, sheet_of

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context

FACTS = b"plumbline.noise"
_NOTHING = message("No text was changed.")


def read(rows: pa.Table, features: Sequence[str] | None, min_group: int, ctx: Context) -> Reading:
    """All figures of the rows.

    Raises:
        ProbeError: the rows are not those of `robustness.noise`.
    """
    raw = (rows.schema.metadata or {}).get(FACTS)
    if raw is None:
        raise ProbeError("the rows do not say which noise was added", expected="rows collected by robustness.noise")
    facts = json.loads(raw)
    sheet = sheet_of(rows, facts)
    measurements: list[AnyMeasurement] = []
    for kind, rate, inside in sheet.cells(crossed=True):
        measurements += _cell(sheet, setting(kind, rate), inside, ctx.level)
    remarks = _remarks(sheet, facts, ctx.seed)
    for feature in feature_names(rows) if features is None else features:
        groups = Groups.of(sheet, feature, min_group)
        for kind, rate, inside in sheet.cells(crossed=False):
            measurements += groups.cell(sheet, setting(kind, rate), inside, ctx)
        remarks += groups.remarks(sheet)
    return Reading(
        measurements=tuple(measurements),
        evidence=evidence(sheet.table, measurements, sheet.kinds, sheet.rates, ctx) if len(sheet.kind) else (),
        remarks=tuple(remarks),
    )


def _cell(sheet: Sheet, at: Slice, inside: Bool, level: float) -> list[AnyMeasurement]:
    changed = inside & sheet.changed
    labelled = changed & sheet.known
    out: list[AnyMeasurement] = []
    for name, used, hit, reason in (
        ("flip_rate", changed, sheet.flipped, _NOTHING),
        ("accuracy_with_noise", labelled, sheet.after, UNLABELLED),
    ):
        counts = sheet.counts(inside, used)
        if counts.denominator:
            out.append(measured(name, _rate(sheet, used, hit).estimate(0, level), counts, at, level))
        else:
            out.append(Undefined(name=name, slice=at, counts=counts, reason=reason))
    out.append(drop(sheet, "accuracy_drop", at, (inside, labelled), level))
    counts = sheet.counts(inside, inside)
    left = int(np.count_nonzero(inside & ~sheet.changed))
    if counts.n:
        out.append(exact("unchanged", left, counts, at))
    else:
        out.append(Undefined(name="unchanged", slice=at, counts=counts, reason=message("No row was examined.")))
    return out


def _rate(sheet: Sheet, used: Bool, hit: Bool) -> Proportions:
    return count(np.where(used, 0, -1), 1, hit, sheet.units)


def _remarks(sheet: Sheet, facts: dict[str, Any], seed: int) -> list[Message]:
    out = [
        message(
            "{examples} of {rows} rows were examined, drawn at random with seed {seed}.",
            examples=facts["examples"], rows=facts["rows"], seed=seed,
        ) if facts["examples"] < facts["rows"] else message("All {rows} rows were examined.", rows=facts["rows"])
    ]  # fmt: skip
    if "cluster" in sheet.table.column_names:
        out.append(
            message(
                "The examples come in {clusters} clusters; intervals allow for examples of one cluster being alike.",
                clusters=len(np.unique(sheet.units)),
            )
        )
    unlabelled = len(np.unique(sheet.rows[~sheet.known]))
    if unlabelled:
        out.append(message("{rows} examples have no label; they count for flip rates only.", rows=unlabelled))
    for k, kind in enumerate(sheet.kinds):
        untouched = len(np.unique(sheet.rows)) - len(np.unique(sheet.rows[sheet.changed & (sheet.kind == k)]))
        if untouched:
            out.append(
                message("{rows} examples have no place for {kind}; they are in none of its rates.",
                        rows=untouched, kind=kind)
            )  # fmt: skip
    return out
