"""What a reader sees of noise: curves against the rate, a table of kinds, and some texts that changed an answer.

It shows figures that were computed elsewhere, and computes none but counts of places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.evidence import (
    AnyMeasurement,
    Cell,
    Curve,
    CurvePoint,
    Evidence,
    Measurement,
    Message,
    Series,
    Slice,
    Table,
    TextPair,
    TextPairs,
    message,
)
from probes.robustness.noise_kinds import KINDS

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context

SHOWN = 2


def evidence(
    table: pa.Table, measured: Sequence[AnyMeasurement], kinds: Sequence[str], rates: Sequence[float], ctx: Context
) -> tuple[Evidence, ...]:
    """Curves by kind and by group, the table of kinds, and pairs of texts; ``table`` in the order of its ids."""
    found = {(m.name, m.slice): m for m in measured if isinstance(m, Measurement)}
    out: list[Evidence] = []
    flips, drops = message("share of answers that change"), message("accuracy lost")
    for name, said, title in (
        ("flip_rate", flips, message("Answers that change with noise, by kind")),
        ("accuracy_drop", drops, message("Accuracy lost to noise, by kind")),
    ):
        lines = [(kind, [m for m in found.values() if m.name == name and _value(m.slice, "kind") == kind])
                 for kind in kinds]  # fmt: skip
        out += _curve(title, said, lines)
    for feature in dict.fromkeys(a.name for _, at in found for a in at if a.kind == "group"):
        of_group: dict[str, list[Measurement]] = {}
        for m in found.values():
            group = next((a.value for a in m.slice if a.kind == "group" and a.name == feature), None)
            if group is not None and m.name == "group_flip_rate" and _value(m.slice, "kind") == "all":
                of_group.setdefault(group, []).append(m)
        title = message("Answers that change with noise, by {feature}; all kinds together", feature=feature)
        out += _curve(title, flips, list(of_group.items()))
    out.append(_kinds(table, found, kinds, rates))
    pairs = _pairs(table, kinds, ctx)
    if pairs:
        rule = message(
            "for each kind, up to {shown} texts whose answer changed, those with the fewest changed places first, ties drawn"
            " with seed {seed}",
            shown=SHOWN, seed=ctx.seed,
        )  # fmt: skip
        out.append(TextPairs(title=message("Noise that changed the answer"), chosen_by=rule, pairs=tuple(pairs)))
    return tuple(out)


def _value(at: Slice, name: str) -> str:
    return next((a.value for a in at if a.kind == "setting" and a.name == name), "")


def _curve(title: Message, said: Message, lines: Sequence[tuple[str, Sequence[Measurement]]]) -> list[Evidence]:
    series = []
    for label, measured in lines:
        points = []
        for m in measured:
            rate = _value(m.slice, "rate")
            if rate != "all" and m.interval is not None:
                low, high = m.interval.low, m.interval.high
                points.append(CurvePoint(x=float(rate), y=m.value, low=low, high=high, n=m.counts.denominator))
        if points:
            series.append(Series(label=label, points=tuple(points)))
    if not series:
        return []
    x = message("share of a text's places that are changed")
    return [Curve(title=title, x_label=x, y_label=said, series=tuple(series))]


def _kinds(
    table: pa.Table, found: dict[tuple[str, Slice], Measurement], kinds: Sequence[str], rates: Sequence[float]
) -> Table:
    values = {
        (m.name, _value(at, "kind"), _value(at, "rate")): m.value
        for (_, at), m in found.items()
        if m.name in ("flip_rate", "accuracy_drop")
    }
    of = {name: np.array(table[name].to_pylist()) for name in ("kind", "rate", "changed", "places", "places_changed")}
    lines: list[tuple[Cell, ...]] = []
    for kind in kinds:
        for rate in rates:
            mine = (of["kind"] == kind) & (of["rate"] == rate)
            changed = mine & of["changed"]
            texts, places = int(np.count_nonzero(changed)), int(of["places"][changed].sum())
            share = int(of["places_changed"][changed].sum()) / places if places else None
            name = f"{rate:g}"
            lines.append(
                (kind, KINDS[kind].says, rate, texts, int(np.count_nonzero(mine)) - texts, share,
                 values.get(("flip_rate", kind, name)), values.get(("accuracy_drop", kind, name)))
            )  # fmt: skip
    heads = (
        message("kind"), message("what is changed"), message("rate"), message("texts changed"), message("texts unchanged"),
        message("share of places changed"), message("flip rate"), message("accuracy drop"),
    )  # fmt: skip
    return Table(title=message("Kinds of noise"), columns=heads, rows=tuple(lines))


def _pairs(table: pa.Table, kinds: Sequence[str], ctx: Context) -> list[TextPair]:
    import pyarrow.compute as pc

    ties = ctx.rng("pairs").random(len(table)).tolist()
    flipped = pc.and_(table["changed"], pc.not_equal(table["prediction"], table["prediction_after"]))
    at = np.flatnonzero(np.array(flipped.to_pylist(), dtype=bool)).tolist()
    if not at:
        return []
    # The texts are by far the largest part of the rows, and only those that are shown are needed.
    order = table.select(["row_id", "kind", "places_changed"]).take(at).to_pylist()
    ranked = sorted(range(len(at)), key=lambda k: (order[k]["places_changed"], ties[at[k]]))
    chosen = []
    for kind in kinds:
        shown: set[str] = set()
        for k in ranked:
            if order[k]["kind"] == kind and order[k]["row_id"] not in shown and len(shown) < SHOWN:
                shown.add(order[k]["row_id"])
                chosen.append(at[k])
    names = ["row_id", "kind", "rate", "text", "noised", "label", "prediction", "prediction_after"]
    return [_pair(row) for row in table.select(names).take(chosen).to_pylist()]


def _pair(row: dict[str, Any]) -> TextPair:
    if row["label"] is None:
        note = message("{kind} at {rate}, row {row}", kind=row["kind"], rate=row["rate"], row=row["row_id"])
    else:
        note = message(
            "{kind} at {rate}, row {row}, label {label}",
            kind=row["kind"], rate=row["rate"], row=row["row_id"], label=row["label"],
        )  # fmt: skip
    return TextPair(
        before=row["text"], after=row["noised"], before_label=row["prediction"], after_label=row["prediction_after"],
        note=note,
    )  # fmt: skip
