"""Reads the rows of `robustness.corruptions`: accuracy by kind and severity of damage, and by group. Pure statistics on a table;
it damages nothing.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probes.answers import answers
from probes.errors import ProbeError
from probes.evidence import (
    AnyMeasurement,
    Axis,
    Cell,
    Curve,
    CurvePoint,
    Evidence,
    ImageGrid,
    IntervalPlot,
    IntervalPoint,
    Measurement,
    Message,
    Reading,
    Series,
    Slice,
    Table,
    Tile,
    group_axes,
    message,
)
from probes.intervals import Bool
from probes.robustness.corrupting import KINDS, SEVERITIES
from probes.robustness.corruption_definitions import CORRUPTIONS
from probes.robustness.shares import Shares, shares_of

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context

KEY = b"plumbline.corruptions"
ORIGINAL, SHOWN = "png_original", "png_damaged"
SHOWN_AT = 3
MOST_LINES = 4
ALL = "all"


def read(rows: pa.Table, ctx: Context, *, min_group: int, permutations: int) -> Reading:
    """What the rows say.

    Raises:
        ProbeError: the rows are not those of this probe.
    """
    sheet = _Sheet.of(rows, ctx, min_group, permutations)
    measured = sheet.measurements()
    evidence = [*sheet.curve(measured), *sheet.groups(measured), *sheet.amounts(), *sheet.pictures()]
    return Reading(measurements=tuple(measured), evidence=tuple(evidence), remarks=tuple(sheet.remarks()))


@dataclass(frozen=True, kw_only=True)
class _Sheet:
    """N drawn rows, each damaged in K kinds at S severities.

    Attributes:
        right: answered rightly undamaged, shape (N,).
        after: answered rightly when damaged, shape (N, K, S).
        same: answered as when undamaged, shape (N, K, S).
        changed: the damage changed at least one value, shape (N, K, S).
    """

    rows: pa.Table
    kinds: tuple[str, ...]
    labelled: int
    right: Bool
    after: Bool
    same: Bool
    changed: Bool
    shares: Shares
    said: tuple[Message, ...]
    seed: int

    @classmethod
    def of(cls, rows: pa.Table, ctx: Context, min_group: int, permutations: int) -> _Sheet:
        raw = (rows.schema.metadata or {}).get(KEY)
        if raw is None:
            raise ProbeError("the rows carry no description of their kinds", expected="rows of robustness.corruptions")
        facts = json.loads(raw)
        kinds = tuple(facts["kinds"])
        per_row = len(kinds) * len(SEVERITIES)
        ordered = rows.sort_by([(name, "ascending") for name in ("row_id", "unit_id")])
        number, left = divmod(len(ordered), per_row)
        lines = list(zip(ordered["corruption"].to_pylist(), ordered["severity"].to_pylist(), strict=True))
        if left or lines != [(kind, severity) for kind in kinds for severity in SEVERITIES] * number:
            raise ProbeError(f"{len(rows)} rows", expected=f"{per_row} for each drawn row")
        first = ordered.take(np.arange(number) * per_row)
        known = answers(first.select([c for c in first.column_names if c not in {ORIGINAL, SHOWN}]))
        shape = (number, len(kinds), len(SEVERITIES))
        after = np.array(ordered["prediction_after"].to_pylist(), dtype=object)
        label, before = (np.array(ordered[c].to_pylist(), dtype=object) for c in ("label", "prediction"))
        return cls(
            rows=ordered,
            kinds=kinds,
            labelled=facts["labelled"],
            right=known.labels == known.predictions,
            after=np.asarray(after == label, dtype=np.bool_).reshape(shape),
            same=np.asarray(after == before, dtype=np.bool_).reshape(shape),
            changed=np.array(ordered["changed"].to_pylist(), dtype=np.bool_).reshape(shape),
            shares=shares_of(first, known, CORRUPTIONS, ctx, min_group=min_group, permutations=permutations),
            said=known.remarks(),
            seed=ctx.seed,
        )

    def measurements(self) -> list[AnyMeasurement]:
        every = np.ones(len(self.right), dtype=bool)
        out = [self.shares.overall("clean_accuracy", self.right, every)]
        out += self._together(self.after, self.same, _at(ALL))
        for k, kind in enumerate(self.kinds):
            out += self._together(self.after[:, [k]], self.same[:, [k]], _at(kind))
            for s, severity in enumerate(SEVERITIES):
                at, now = _at(kind, severity), self.after[:, k, s]
                out += [
                    self.shares.overall("corrupted_accuracy", now, every, at),
                    self.shares.less("accuracy_drop", self.right & ~now, now & ~self.right, at),
                ]
        return out

    def _together(self, after: Bool, same: Bool, at: Slice) -> list[AnyMeasurement]:
        """Several damaged forms of each row at once; they are one cluster."""
        times = after.shape[1] * after.shape[2]
        many, flat = self.shares.spread(times), after.reshape(-1)
        every, before = np.ones(len(flat), dtype=bool), np.repeat(self.right, times)
        return [
            many.overall("corrupted_accuracy", flat, every, at),
            many.less("accuracy_drop", before & ~flat, flat & ~before, at),
            many.overall("flip_rate", ~same.reshape(-1), every, at),
            *many.by_group("corrupted_accuracy", flat, every, at),
        ]

    def curve(self, measured: list[AnyMeasurement]) -> list[Evidence]:
        """Accuracy against severity, one line a kind; severity 0 is no damage."""
        found = {(m.name, m.slice): m for m in measured if isinstance(m, Measurement)}
        clean = found.get(("clean_accuracy", ()))
        if clean is None:
            return []
        size = math.ceil(len(self.kinds) / math.ceil(len(self.kinds) / MOST_LINES))
        out: list[Evidence] = []
        for part in (self.kinds[i : i + size] for i in range(0, len(self.kinds), size)):
            lines = {k: [(0, clean), *((s, found["corrupted_accuracy", _at(k, s)]) for s in SEVERITIES)] for k in part}
            out.append(
                Curve(
                    title=message("Accuracy on damaged images: {kinds}", kinds=", ".join(part)),
                    x_label=message("severity, 0 is undamaged"),
                    y_label=message("accuracy"),
                    series=tuple(
                        Series(label=kind, points=tuple(_point(x, m) for x, m in line)) for kind, line in lines.items()
                    ),
                )
            )
        return out

    def groups(self, measured: list[AnyMeasurement]) -> list[Evidence]:
        """Each group's accuracy over all damage, and the largest gap by kind."""
        if not len(self.right):
            return []
        found = {(m.name, m.slice): m for m in measured}
        out: list[Evidence] = []
        for feature, (_, names) in self.shares.groups.items():
            points = []
            for name in names:
                m = found["group_corrupted_accuracy", (*group_axes({feature: name}), *_at(ALL))]
                n = m.counts.denominator
                if isinstance(m, Measurement) and m.interval is not None:
                    ends = (m.interval.low, m.interval.high)
                    points.append(IntervalPoint(label=name, value=m.value, low=ends[0], high=ends[1], n=n))
                else:
                    points.append(IntervalPoint(label=name, value=None, n=n, note=getattr(m, "reason", None)))
            whole = found["corrupted_accuracy", _at(ALL)]
            out.append(
                IntervalPlot(
                    title=message("Accuracy over all damage, by group of {feature}", feature=feature),
                    unit="share",
                    points=tuple(points),
                    reference=getattr(whole, "value", None),
                    reference_label=message("all groups together"),
                )
            )
            out.append(self._gaps(feature, found))
        return out

    def _gaps(self, feature: str, found: dict[tuple[str, Slice], AnyMeasurement]) -> Table:
        lines: list[tuple[Cell, ...]] = []
        for kind in (ALL, *self.kinds):
            at = (Axis(kind="feature", name=feature), *_at(kind))
            gap = found["corrupted_accuracy_difference", at]
            chance = found["corrupted_accuracy_difference_p_value", at]
            if isinstance(gap, Measurement) and gap.interval is not None and isinstance(chance, Measurement):
                figures: tuple[Cell, ...] = (gap.value, gap.interval.low, gap.interval.high, chance.value)
            else:
                figures = (None,) * 4
            lines.append((message("all kinds") if kind == ALL else kind, *figures))
        return Table(
            title=message("Largest gap in accuracy on damaged images between groups of {feature}", feature=feature),
            columns=(message("kind"), message("gap"), message("low"), message("high"), message("p-value")),
            rows=tuple(lines),
        )

    def amounts(self) -> list[Evidence]:
        """What the severities are."""
        columns = (
            message("kind"),
            message("amount"),
            *(message("severity {severity}", severity=s) for s in SEVERITIES),
        )
        rows = tuple((kind, KINDS[kind].meaning, *KINDS[kind].amounts) for kind in self.kinds)
        return [Table(title=message("What was done"), columns=columns, rows=rows)] if len(self.right) else []

    def pictures(self) -> list[Evidence]:
        import pyarrow.compute as pc

        first = self.rows.filter(pc.is_valid(self.rows[ORIGINAL])).to_pylist()
        damaged = self.rows.filter(pc.is_valid(self.rows[SHOWN])).to_pylist()
        if not first or not damaged:
            return []
        tiles = [_tile(first[0][ORIGINAL], message("undamaged"), first[0], first[0]["prediction"])]
        for row in damaged:
            tiles.append(_tile(row[SHOWN], message("{kind}", kind=row["corruption"]), row, row["prediction_after"]))
        rule = message(
            "one of the drawn rows, at random with seed {seed}, and what severity {severity} makes of it.",
            seed=self.seed, severity=SHOWN_AT,
        )  # fmt: skip
        return [ImageGrid(title=message("What the damage looks like"), chosen_by=rule, tiles=tuple(tiles))]

    def remarks(self) -> list[Message]:
        drawn = message(
            "{drawn} of {labelled} rows with a label were drawn with seed {seed}, in proportion to the labels, and each "
            "damaged in {kinds} ways at {severities} severities. Random damage depends on the input and the seed alone.",
            drawn=len(self.right), labelled=self.labelled, seed=self.seed, kinds=len(self.kinds),
            severities=len(SEVERITIES),
        )  # fmt: skip
        return [drawn, *self.said, *self._without_effect()]

    def _without_effect(self) -> list[Message]:
        out = []
        for k, kind in enumerate(self.kinds):
            same = (~self.changed[:, k]).sum(axis=0)
            if same.any():
                out.append(
                    message(
                        "{kind} leaves images exactly as they were, up to {rows} of {drawn} at one severity; figures for it "
                        "say little there.",
                        kind=kind, rows=int(same.max()), drawn=len(self.right),
                    )
                )  # fmt: skip
        return out


def _at(kind: str, severity: int | None = None) -> Slice:
    damage = Axis(kind="setting", name="corruption", value=kind)
    return (damage,) if severity is None else (damage, Axis(kind="setting", name="severity", value=str(severity)))


def _point(x: float, m: Measurement) -> CurvePoint:
    low, high = (None, None) if m.interval is None else (m.interval.low, m.interval.high)
    return CurvePoint(x=x, y=m.value, low=low, high=high, n=m.counts.denominator)


def _tile(png: bytes, what: Message, row: dict[str, str], said: str) -> Tile:
    note = message("{what}: label {label}, predicted {said}", what=what, label=row["label"], said=said)
    return Tile(png_base64=base64.b64encode(png).decode(), label=row["row_id"], note=note)
