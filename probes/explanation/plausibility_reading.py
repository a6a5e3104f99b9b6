"""From weights and people's marks to what `explanation.plausibility` says: means, paired differences to random weights, a table,
a plot and some texts. It asks no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.bounded_means import bounded_mean
from probes.evidence import (
    AnyMeasurement,
    Axis,
    Cell,
    Counts,
    IntervalPlot,
    IntervalPoint,
    MeasureDefinition,
    Measurement,
    Message,
    Reading,
    Table,
    TokenWeights,
    Undefined,
    WeightedText,
    message,
)
from probes.explanation.agreement import average_precision, by_chance, iou_f1, token_f1, top
from probes.intervals import Estimate, Float, Int

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context

MEASURES = ("token_f1", "auprc", "iou_f1")
_MEASURES_SAID = {"token_f1": message("token F1"), "auprc": message("AUPRC"), "iou_f1": message("IoU F1")}
SHOWN = 6
_TOO_FEW = message("Fewer than two independent texts have marks.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Agreement:
    """Scores of T texts: by method shape (T, 3) in the order of `MEASURES`, and what random weights get, shape (T, 3)."""

    by_method: dict[str, Float]
    random: Float
    clusters: Int
    clustered: bool
    share: float

    def figure(self, method: str, m: int, level: float, *, over_random: bool) -> Estimate | None:
        """One measure's mean, or its paired difference to random weights."""
        values = self.by_method[method][:, m]
        if not over_random:
            return bounded_mean(values, level, self.clusters, (0.0, 1.0))
        found = bounded_mean(values - self.random[:, m], level, self.clusters, (-1.0, 1.0))
        if found is None:
            return None
        return Estimate(
            value=found.value, low=found.low, high=found.high, method=f"{found.method}, paired", params=found.params
        )


def score(found: Sequence[dict[str, Any]], rule: str, orders: int, ctx: Context) -> Agreement:
    """Scores of all texts. ``rule`` is `Plausibility.top`; ``found`` are the rows, sorted by row and method."""
    texts = list({r["row_id"]: r for r in found}.values())
    marks = {r["row_id"]: np.array(r["marked"], dtype=np.bool_) for r in texts}
    share = float(np.mean([flags.mean() for flags in marks.values()]))
    counts = {
        row: int(flags.sum()) if rule == "rationale" else max(round(share * len(flags)), 1)
        for row, flags in marks.items()
    }
    by_method: dict[str, list[tuple[float, float, float]]] = {}
    for r in found:
        flags, weights = marks[r["row_id"]], np.array(r["weights"], dtype=np.float64)
        chosen = top(weights, counts[r["row_id"]])
        scores = token_f1(chosen, flags), average_precision(weights, flags), iou_f1(chosen, flags)
        by_method.setdefault(r["method"], []).append(scores)
    random = [by_chance(marks[row], counts[row], orders, ctx.rng(f"random/{row}")) for row in marks]
    names = [f"c{r['cluster']}" if r["cluster"] is not None else f"r{r['row_id']}" for r in texts]
    return Agreement(
        by_method={name: np.array(scores) for name, scores in by_method.items()},
        random=np.array(random),
        clusters=np.unique(names, return_inverse=True)[1].astype(np.int64),
        clustered=any(r["cluster"] is not None for r in texts),
        share=share,
    )


def read(
    rows: pa.Table, facts: dict[str, Any], defines: Sequence[MeasureDefinition], options: tuple[str, int], ctx: Context
) -> Reading:
    """The reading; ``facts`` travel with the rows, ``options`` are the rule of the top units and the random orders."""
    names = list(facts["titles"])
    found = sorted(rows.to_pylist(), key=lambda r: (r["row_id"], names.index(r["method"])))
    if not found:
        return Reading(measurements=tuple(_undefined(names, defines)), remarks=_remarks(facts, None, options[0]))
    agreement = score(found, *options, ctx)
    texts = len(agreement.random)
    units = len(np.unique(agreement.clusters)) if agreement.clustered else None
    counts = Counts(n=facts["marked"], denominator=texts, smallest=texts, clusters=units)
    measurements: list[AnyMeasurement] = []
    for name in names:
        for d in defines:
            over = d.name.endswith("_over_random")
            m = MEASURES.index(d.name.removesuffix("_over_random"))
            measurements.append(
                _measured(d, agreement.figure(name, m, ctx.level, over_random=over), (name, counts), ctx)
            )
    evidence = (
        _plot(agreement, facts, ctx),
        _table(agreement, facts),
        _texts([r for r in found if r["method"] == _closest(agreement)], texts),
    )
    return Reading(
        measurements=tuple(measurements), evidence=evidence, remarks=_remarks(facts, agreement.share, options[0])
    )


def _undefined(names: Sequence[str], defines: Sequence[MeasureDefinition]) -> list[AnyMeasurement]:
    nothing = Counts(n=0, denominator=0, smallest=0)
    reason = message("There is no text.")
    return [Undefined(name=d.name, slice=_at(n), counts=nothing, reason=reason) for n in names for d in defines]


def _measured(
    d: MeasureDefinition, estimate: Estimate | None, where: tuple[str, Counts], ctx: Context
) -> AnyMeasurement:
    at, counts = _at(where[0]), where[1]
    if estimate is None:
        return Undefined(name=d.name, slice=at, counts=counts, reason=_TOO_FEW)
    return Measurement(
        name=d.name,
        value=estimate.value,
        interval=estimate.interval(ctx.level),
        counts=counts,
        slice=at,
        better=d.better,
    )


def _at(method: str) -> tuple[Axis, ...]:
    return (Axis(kind="setting", name="method", value=method),)


def _plot(agreement: Agreement, facts: dict[str, Any], ctx: Context) -> IntervalPlot:
    points = []
    for name in facts["titles"]:
        for m, measure in enumerate(MEASURES):
            e = agreement.figure(name, m, ctx.level, over_random=True)
            label = message("{method}: {measure}", method=facts["titles"][name], measure=_MEASURES_SAID[measure])
            if e is None:
                points.append(IntervalPoint(label=label, value=None, n=len(agreement.random), note=_TOO_FEW))
            else:
                points.append(
                    IntervalPoint(label=label, value=e.value, low=e.low, high=e.high, n=len(agreement.random))
                )
    return IntervalPlot(
        title=message("Agreement with people's marks beyond that of random weights"),
        unit="difference",
        points=tuple(points),
        reference=0.0,
        reference_label=message("random weights"),
    )


def _table(agreement: Agreement, facts: dict[str, Any]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (facts["titles"][name], *(float(v) for v in scores.mean(axis=0)))
        for name, scores in agreement.by_method.items()
    ]
    rows.append((message("random weights"), *(float(v) for v in agreement.random.mean(axis=0))))
    columns = (message("method"), *_MEASURES_SAID.values())
    return Table(title=message("Mean agreement with people's marks"), columns=columns, rows=tuple(rows))


def _closest(agreement: Agreement) -> str:
    return max(
        agreement.by_method, key=lambda name: float(agreement.by_method[name][:, MEASURES.index("auprc")].mean())
    )


def _texts(found: Sequence[dict[str, Any]], there: int) -> TokenWeights:
    shown = []
    for r in found[:SHOWN]:
        weights = np.array(r["weights"], dtype=np.float64)
        largest = float(np.abs(weights).max(initial=0.0))
        shown.append(
            WeightedText(
                tokens=tuple(r["units"]),
                weights=tuple((weights / largest if largest > 0 else weights).tolist()),
                label=r["explained"],
                method=r["method"],
                note=_note(r),
                marked=tuple(i for i, flag in enumerate(r["marked"]) if flag),
            )
        )
    rule = message(
        "the first {shown} of {there} examined texts, in the order of their ids; weights are those of the method that agrees "
        "most with people",
        shown=len(shown),
        there=there,
    )
    return TokenWeights(title=message("What weighs, and what people marked"), chosen_by=rule, texts=tuple(shown))


def _note(r: dict[str, Any]) -> Message:
    if r["error"] is None:
        return message("predicted: {prediction}", prediction=r["prediction"])
    if r["converged"] is False:
        return message(
            "predicted: {prediction}; completeness error {error%}, beyond the tolerance", prediction=r["prediction"],
            error=r["error"],
        )  # fmt: skip
    return message("predicted: {prediction}; completeness error {error%}", prediction=r["prediction"], error=r["error"])


def _remarks(facts: dict[str, Any], share: float | None, rule: str) -> tuple[Message, ...]:
    out = [facts["rule"]]
    empty = facts["rationales"] - facts["marked"]
    if empty:
        out.append(message("In {rows} texts with a rationale nobody marked anything; they are left out.", rows=empty))
    if facts["unread"]:
        out.append(
            message(
                "In {rows} drawn texts no mark covers a word that the model reads; they are left out.",
                rows=facts["unread"],
            )
        )
    if share is not None and rule == "mean_share":
        out.append(
            message(
                "People marked {share%} of the units of a text in the mean; token F1 and IoU F1 choose that share of each text.",
                share=share,
            )
        )
    elif share is not None:
        out.append(message("Token F1 and IoU F1 choose as many units of a text as people marked in it."))
    out += [
        message("{method} is left out: {reason}", method=name, reason=why) for name, why in facts["refused"].items()
    ]
    return tuple(out)
