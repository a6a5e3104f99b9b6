"""What attributions say once they are rows: errors reached, how far methods agree, which words or regions push which class, and
some inputs to look at. Pure statistics and wording: no torch, no subject, and no judgement on the model.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from probes.bounded_means import bounded_mean
from probes.evidence import (
    AnyMeasurement,
    Axis,
    Cell,
    Counts,
    Evidence,
    ImageGrid,
    Measurement,
    Message,
    Reading,
    Slice,
    Table,
    Tile,
    TokenWeights,
    Undefined,
    WeightedText,
    message,
)
from probes.explanation.attribution_definitions import DEFINES
from probes.explanation.material import Facts
from probes.explanation.unit_means import REGIONS, Pushing, median_estimate, pushes
from probes.intervals import Estimate, Int
from probes.rates import count

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context

ALPHA = 0.05
LISTED = 15
FEWEST_UNITS = 3
PER_METHOD = (
    "inputs_explained",
    "converged_share",
    "completeness_error",
    "gradients_spent",
    "units_compared",
    "units_pushing",
)


def read(rows: pa.Table, least: int, ctx: Context) -> Reading:
    """The reading of `explanation.attribution`.

    Args:
        rows: as its `collect` gives them.
        least: independent inputs that a word must occur in to be compared.
        ctx: level and seed.

    Raises:
        ProbeError: the rows carry no description.
    """
    facts, more = Facts.of(rows)
    sheets = [_Sheet.of(rows, name, (facts, more), least, ctx) for name in facts.methods]
    measurements = [m for sheet in sheets for m in sheet.measurements()]
    evidence: list[Evidence] = [_overview(sheets)] if len(rows) else []
    for a, b in combinations(sheets, 2):
        measurements.append(_agreement(a, b))
    evidence += [e for sheet in sheets for e in sheet.evidence()]
    said = message("A unit that is taken away is replaced by {absent}; this is the baseline too.", absent=facts.absent)
    remarks = (*facts.remarks(), said, *(m for sheet in sheets for m in sheet.remarks()))
    return Reading(measurements=tuple(measurements), evidence=tuple(evidence), remarks=remarks)


@dataclass(frozen=True, kw_only=True)
class _Sheet:
    """One method's rows, with weights that are finite."""

    name: str
    title: Message
    rows: list[dict[str, Any]]
    broken: int
    clusters: Int
    clustered: bool
    compared: list[Pushing] | None
    more: dict[str, Any]
    drawn: int
    least: int
    ctx: Context

    @classmethod
    def of(cls, rows: pa.Table, name: str, facts: tuple[Facts, dict[str, Any]], least: int, ctx: Context) -> _Sheet:
        known, more = facts
        every = [row for row in rows.to_pylist() if row["method"] == name]
        kept = sorted((row for row in every if _finite(row)), key=lambda row: (row["row_id"], row["unit_id"]))
        # A row without a cluster stands alone; units of one input belong together.
        names = [f"c{r['cluster']}" if r["cluster"] is not None else f"r{r['row_id']}" for r in kept]
        clusters = np.unique(names, return_inverse=True)[1].astype(np.int64) if kept else np.zeros(0, dtype=np.int64)
        signed = name in more.get("signed", ())
        found = pushes(kept, more.get("classes", ()), clusters, least, ctx.level) if signed else None
        return cls(
            name=name, title=known.methods[name], rows=kept, broken=len(every) - len(kept), clusters=clusters,
            clustered=bool(more.get("clustered")), compared=found, more=more, drawn=known.drawn, least=least, ctx=ctx,
        )  # fmt: skip

    @property
    def at(self) -> Slice:
        return (Axis(kind="setting", name="method", value=self.name),)

    def counts(self, kept: np.ndarray[Any, np.dtype[np.bool_]] | None = None) -> Counts:
        codes = self.clusters if kept is None else self.clusters[kept]
        units = len(np.unique(codes)) if self.clustered else None
        return Counts(n=self.drawn, denominator=len(codes), smallest=len(codes), clusters=units)

    def measurements(self) -> list[AnyMeasurement]:
        if not self.rows:
            reason = message("No input was explained.")
            return [Undefined(name=n, slice=self.at, counts=self.counts(), reason=reason) for n in PER_METHOD]
        out: list[AnyMeasurement] = [_measured("inputs_explained", len(self.rows), None, self.counts(), self)]
        converged = self._known("converged")
        if converged.any():
            hits = np.array([row["converged"] for row in self.rows if row["converged"] is not None], dtype=np.bool_)
            rate = count(
                np.zeros(len(hits), dtype=np.int64), 1, hits, self.clusters[converged] if self.clustered else None
            )
            estimate = rate.estimate(0, self.ctx.level)
            out.append(_measured("converged_share", estimate.value, estimate, self.counts(converged), self))
        error = self._known("error")
        if error.any():
            values = np.array([row["error"] for row in self.rows if row["error"] is not None])
            estimate = median_estimate(values, self.clusters[error], self.ctx.level)
            out.append(_measured("completeness_error", estimate.value, estimate, self.counts(error), self))
        spent = float(np.mean([row["evaluations"] for row in self.rows]))
        out.append(_measured("gradients_spent", spent, None, self.counts(), self))
        if self.compared is not None:
            claimed = sum(one.p <= ALPHA for one in self.compared)
            out.append(_measured("units_compared", len(self.compared), None, self.counts(), self))
            out.append(_measured("units_pushing", claimed, None, self.counts(), self))
        return out

    def evidence(self) -> list[Evidence]:
        out: list[Evidence] = []
        if self.compared:
            out.append(self._table())
        shown = [row for row in self.rows if row["shown"]]
        rule = message(
            "{shown} of the {explained} inputs explained, drawn at random with seed {seed}; right and wrong answers and the "
            "predicted classes take turns.",
            shown=len(shown), explained=len(self.rows), seed=self.ctx.seed,
        )  # fmt: skip
        title = message("What spoke for the answer, by {method}", method=self.title)
        if shown and shown[0]["overlay"] is not None:
            tiles = tuple(
                Tile(
                    png_base64=base64.b64encode(row["overlay"]).decode(), label=f"{row['row_id']}: {row['prediction']}",
                    note=_note(row), method=self.name,
                )
                for row in shown
            )  # fmt: skip
            out.append(ImageGrid(title=title, chosen_by=rule, tiles=tiles))
        elif shown:
            texts = tuple(
                WeightedText(
                    tokens=tuple(row["units"]), weights=_relative(row["weights"]), label=row["prediction"],
                    method=self.name, note=_note(row),
                )
                for row in shown
            )  # fmt: skip
            out.append(TokenWeights(title=title, chosen_by=rule, texts=texts))
        return out

    def remarks(self) -> list[Message]:
        out = []
        if self.broken:
            out.append(
                message("{method}: {rows} inputs got weights that are not finite; they are left out.",
                        method=self.name, rows=self.broken)
            )  # fmt: skip
        failed = [row for row in self.rows if row["converged"] is False]
        if failed:
            out.append(
                message(
                    "{method}: {rows} of {explained} inputs did not converge; the largest error is {worst}.",
                    method=self.name, rows=len(failed), explained=len(self.rows),
                    worst=float(max(row["error"] for row in failed)),
                )
            )  # fmt: skip
        if self.compared is None and self.rows:
            out.append(message("{method}: its weights have no sign, so they push no class.", method=self.name))
        return out

    def _known(self, name: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.array([row[name] is not None for row in self.rows], dtype=np.bool_)

    def _table(self) -> Table:
        listed = (self.compared or [])[:LISTED]
        classes = self.more.get("classes", ())
        cells = tuple(_cells(one, classes) for one in listed)
        image = self.more.get("kind") == "image"
        return Table(
            title=message(
                "What pushes which class, by {method}: {listed} of {compared} compared, the least likely by chance first; p by Holm "
                "for all of them",
                method=self.title,
                listed=len(listed),
                compared=len(self.compared or []),
            ),
            columns=(
                message("region") if image else message("word"),
                message("pushes"),
                message("mean weight"),
                message("low"),
                message("high"),
                message("inputs"),
                message("independent inputs"),
                message("p"),
            ),
            rows=cells,
            raw=() if image else (0,),
        )


def _overview(sheets: list[_Sheet]) -> Table:
    """Errors and cost by method."""
    rows: list[tuple[Cell, ...]] = []
    for sheet in sheets:
        errors = [row["error"] for row in sheet.rows if row["error"] is not None]
        known = [row["converged"] for row in sheet.rows if row["converged"] is not None]
        rows.append(
            (
                sheet.title,
                len(sheet.rows),
                float(np.median(errors)) if errors else None,
                float(max(errors)) if errors else None,
                sum(known) if known else None,
                float(np.mean([row["evaluations"] for row in sheet.rows])) if sheet.rows else None,
            )
        )
    return Table(
        title=message("Methods, the completeness error they reached and what they cost"),
        columns=(
            message("method"),
            message("inputs"),
            message("median error"),
            message("largest error"),
            message("converged"),
            message("passes an input"),
        ),
        rows=tuple(rows),
    )


def _agreement(a: _Sheet, b: _Sheet) -> AnyMeasurement:
    """Mean rank correlation of two methods over the inputs that both weighed."""
    at = (Axis(kind="setting", name="methods", value=f"{a.name}, {b.name}"),)
    others = {(row["row_id"], row["unit_id"]): row["weights"] for row in b.rows}
    values, codes = [], []
    for row, cluster in zip(a.rows, a.clusters.tolist(), strict=True):
        pair = row["weights"], others.get((row["row_id"], row["unit_id"]))
        if pair[1] is None or len(pair[0]) < FEWEST_UNITS or min(np.ptp(pair[0]), np.ptp(pair[1])) == 0:
            continue
        values.append(float(stats.spearmanr(*pair).statistic))
        codes.append(cluster)
    clusters = np.array(codes, dtype=np.int64)
    units = len(np.unique(clusters)) if a.clustered else None
    counts = Counts(n=a.drawn, denominator=len(values), smallest=len(values), clusters=units)
    estimate = bounded_mean(np.array(values), a.ctx.level, clusters, (-1.0, 1.0)) if values else None
    if estimate is None:
        reason = message(
            "Fewer than two independent inputs have {fewest} units or more and weights that differ.",
            fewest=FEWEST_UNITS,
        )
        return Undefined(name="method_agreement", slice=at, counts=counts, reason=reason)
    return _measured("method_agreement", estimate.value, estimate, counts, a, at=at)


def _measured(
    name: str, value: float, estimate: Estimate | None, counts: Counts, sheet: _Sheet, *, at: Slice | None = None
) -> Measurement:
    definition = next(d for d in DEFINES if d.name == name)
    return Measurement(
        name=name, value=value, interval=None if estimate is None else estimate.interval(sheet.ctx.level), counts=counts,
        unit=definition.unit, slice=sheet.at if at is None else at, better=definition.better,
    )  # fmt: skip


def _finite(row: dict[str, Any]) -> bool:
    return bool(np.isfinite([*row["weights"], row["error"] or 0.0]).all())


def _relative(weights: list[float]) -> tuple[float, ...]:
    """Weights over the largest of them, in [-1, 1]."""
    largest = max((abs(w) for w in weights), default=0.0)
    return tuple(w / largest if largest > 0 else 0.0 for w in weights)


def _note(row: dict[str, Any]) -> Message:
    label = row["label"]
    truth = message("no label") if label is None else message("label {label}", label=label)
    if row["error"] is None:
        return message("{truth}; the method promises no sum, so it has no completeness error", truth=truth)
    if row["converged"] is False:
        return message("{truth}; did not converge: completeness error {error%}", truth=truth, error=row["error"])
    return message("{truth}; completeness error {error%}", truth=truth, error=row["error"])


def _cells(one: Pushing, classes: list[str]) -> tuple[Cell, ...]:
    """A line of the table; of two classes the one that the unit pushes is named, so the weight is positive there."""
    name: Cell = one.name if isinstance(one.name, str) else REGIONS[one.name]
    value, low, high, towards = one.estimate.value, one.estimate.low, one.estimate.high, one.towards
    if value < 0 and len(classes) == 2:
        value, low, high, towards = -value, -high, -low, classes[0]
    said = message("towards {label}", label=towards) if value >= 0 else message("away from {label}", label=towards)
    return (name, said, value, low, high, one.inputs, one.units, one.p)
