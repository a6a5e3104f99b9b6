"""What is said of each method's maps on destroyed models: rank correlations stage by stage, and in words whether the maps depend
on the model. Pure: rows in, a reading out.
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
    Curve,
    CurvePoint,
    Evidence,
    IntervalPlot,
    IntervalPoint,
    MeasureDefinition,
    Measurement,
    Message,
    Reading,
    Series,
    Slice,
    Table,
    Undefined,
    message,
)
from probes.explanation.erasure_figures import cluster_codes
from probes.explanation.material import Facts
from probes.intervals import Estimate, Float, Int

if TYPE_CHECKING:
    import pyarrow as pa

FEWEST_UNITS = 3
SIGNED = "_signed"
HIGHEST = "randomised_correlation"
BELIEVED = message("yes: they change with the model")
NOT_BELIEVED = message("no: they are not to be believed")
UNDECIDED = message("not decided with so few inputs")


def rank_correlation(one: Float, other: Float) -> float:
    """Spearman's correlation of two weightings of the same units, in [-1, 1].

    A weighting without any order (all equal) has none: it counts as 1 against another such, which is the same map, and as 0
    against one with an order.
    """
    from scipy.stats import rankdata

    first, second = (rankdata(values) - (len(values) + 1) / 2 for values in (one, other))
    scale = float(np.sqrt((first @ first) * (second @ second)))
    if scale > 0:
        return float(np.clip((first @ second) / scale, -1.0, 1.0))
    return 1.0 if not first.any() and not second.any() else 0.0


def read(rows: pa.Table, defines: Sequence[MeasureDefinition], level: float, limit: float) -> Reading:
    """The reading of `explanation.sanity`.

    Args:
        rows: as its `collect` made them.
        defines: its measures.
        level: of intervals, two-sided.
        limit: correlation of absolute weights above which maps are said not to be believed.
    """
    facts, more = Facts.of(rows)
    rows = rows.sort_by([(name, "ascending") for name in ("row_id", "unit_id", "method", "depth")])
    kept = [row for row in rows.to_pylist() if len(row["trained"]) >= FEWEST_UNITS]
    known = {name: _Maps.of([row for row in kept if row["method"] == name]) for name in facts.methods}
    sheet = _Sheet(
        facts=facts, maps=known, stages=tuple(more["stages"]), small=more["small"],
        defines={d.name: d for d in defines}, level=level, limit=limit,
    )  # fmt: skip
    return Reading(measurements=sheet.measured(), evidence=sheet.evidence(), remarks=sheet.remarks())


@dataclass(frozen=True, kw_only=True)
class _Maps:
    """One method's correlations; one entry a row (input and stage)."""

    depths: Int
    clusters: Int
    plain: Float
    signed: Float

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]]) -> _Maps:
        pairs = [(np.array(row["trained"]), np.array(row["destroyed"])) for row in rows]
        return cls(
            depths=np.array([row["depth"] for row in rows], dtype=np.int64),
            clusters=cluster_codes([(row["cluster"], (row["row_id"], row["unit_id"])) for row in rows]),
            plain=np.array([rank_correlation(np.abs(a), np.abs(b)) for a, b in pairs], dtype=np.float64),
            signed=np.array([rank_correlation(a, b) for a, b in pairs], dtype=np.float64),
        )

    def at(self, depth: int, *, signed: bool, level: float) -> Estimate | None:
        """The mean over inputs where weights are drawn anew through ``depth`` stages."""
        there = self.depths == depth
        values = (self.signed if signed else self.plain)[there]
        return bounded_mean(values, level, self.clusters[there], (-1.0, 1.0)) if len(values) else None

    def counts(self, depth: int | None, drawn: int) -> Counts:
        """Inputs and clusters at one stop; at the first if None, as all stops have the same."""
        stop = int(self.depths.min()) if depth is None and len(self.depths) else depth
        there = self.depths == stop
        inputs = int(there.sum())
        return Counts(
            n=drawn, denominator=inputs, smallest=inputs, clusters=len(np.unique(self.clusters[there])) if inputs else 0
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Sheet:
    facts: Facts
    maps: dict[str, _Maps]
    stages: tuple[str, ...]
    small: int
    defines: dict[str, MeasureDefinition]
    level: float
    limit: float

    @property
    def depths(self) -> list[int]:
        return sorted({int(depth) for maps in self.maps.values() for depth in maps.depths})

    def measured(self) -> tuple[AnyMeasurement, ...]:
        out: list[AnyMeasurement] = []
        for method, why in self.facts.refused.items():
            nothing = Counts(n=self.facts.drawn, denominator=0, smallest=0)
            out.append(Undefined(name=HIGHEST, slice=_of(method), counts=nothing, reason=why))
        for method, maps in self.maps.items():
            out.append(self._said(HIGHEST, self.highest(method), _of(method), maps.counts(None, self.facts.drawn)))
            for depth in self.depths:
                at = (*_of(method), Axis(kind="setting", name="stage", value=self.stages[depth - 1]))
                for end in ("", SIGNED):
                    found = maps.at(depth, signed=end == SIGNED, level=self.level)
                    out.append(self._said(f"stage_correlation{end}", found, at, maps.counts(depth, self.facts.drawn)))
        return tuple(out)

    def _said(self, name: str, found: Estimate | None, at: Slice, counts: Counts) -> AnyMeasurement:
        if found is None:
            reason = message(
                "{inputs} inputs with at least {fewest} units, in {clusters} clusters, are too few for an interval.",
                inputs=counts.denominator, fewest=FEWEST_UNITS, clusters=counts.clusters or 0,
            )  # fmt: skip
            return Undefined(name=name, slice=at, counts=counts, reason=reason)
        definition = self.defines[name]
        return Measurement(
            name=name, value=found.value, interval=found.interval(self.level), counts=counts, unit=definition.unit,
            slice=at, better=definition.better,
        )  # fmt: skip

    def highest(self, method: str) -> Estimate | None:
        """The highest correlation of absolute weights among the stops; None where a stop has none."""
        maps = self.maps[method]
        shared = 1 - (1 - self.level) / max(1, len(self.depths))
        plain = [maps.at(depth, signed=False, level=self.level) for depth in self.depths]
        wide = [maps.at(depth, signed=False, level=shared) for depth in self.depths]
        if not plain or None in plain:
            return None
        return Estimate(
            value=max(e.value for e in plain if e),
            low=max(e.low for e in wide if e),
            high=max(e.high for e in plain if e),
            method="highest of several: simultaneous low (Bonferroni), intersection-union high",
            params={"stops": len(plain)},
        )

    def passed(self, method: str) -> Message:
        """Whether a method's maps change enough when the model has lost its task, in words."""
        found = self.highest(method)
        if found is None:
            return UNDECIDED
        if found.low > self.limit:
            return NOT_BELIEVED
        return BELIEVED if found.high <= self.limit else UNDECIDED

    def evidence(self) -> tuple[Evidence, ...]:
        if not self.depths:
            return ()
        return (self._table(), self._plot(), self._curve(), self._stages())

    def _table(self) -> Table:
        columns = (message("Method"), message("Do its maps depend on the model?"), message("Highest rank correlation"))
        rows: list[tuple[Cell, ...]] = [
            (title, self.passed(method), _cell(self.highest(method))) for method, title in self.facts.methods.items()
        ]
        title = message("Which methods' maps change when what the model has learned is destroyed")
        return Table(title=title, columns=columns, rows=tuple(rows))

    def _stages(self) -> Table:
        columns = (
            message("Method"),
            message("Drawn anew from the head through"),
            message("Rank correlation of absolute weights"),
            message("of signed weights"),
        )
        rows: list[tuple[Cell, ...]] = [
            (title, self.stages[depth - 1], *(_cell(self.maps[method].at(depth, signed=s, level=self.level)) for s in (False, True)))
            for method, title in self.facts.methods.items()
            for depth in self.depths
        ]  # fmt: skip
        return Table(title=message("The cascade stop by stop"), columns=columns, rows=tuple(rows))

    def _plot(self) -> IntervalPlot:
        points = []
        for method in self.facts.methods:
            found, inputs = self.highest(method), self.maps[method].counts(None, self.facts.drawn).denominator
            ends = {} if found is None else {"low": found.low, "high": found.high}
            note = UNDECIDED if found is None else None
            value = None if found is None else found.value
            points.append(IntervalPoint(label=method, value=value, n=inputs, note=note, **ends))
        return IntervalPlot(
            title=message("Highest rank correlation of maps with those of models that have lost their task; lower is better"),
            unit="correlation", points=tuple(points), reference=self.limit,
            reference_label=message("above this, maps are not to be believed"),
        )  # fmt: skip

    def _curve(self) -> Curve:
        lines = []
        for method, maps in self.maps.items():
            points = []
            for depth in self.depths:
                found = maps.at(depth, signed=False, level=self.level)
                if found is not None:
                    n = maps.counts(depth, self.facts.drawn).denominator
                    points.append(CurvePoint(x=depth, y=found.value, low=found.low, high=found.high, n=n))
            lines.append(Series(label=method, points=tuple(points)))
        return Curve(
            title=message("Rank correlation of maps as weights are drawn anew from the head down; lower is better"),
            x_label=message("stages drawn anew, of {stages}", stages=len(self.stages)),
            y_label=message("correlation of absolute weights"),
            series=tuple(lines),
        )

    def remarks(self) -> tuple[Message, ...]:
        said = [*self.facts.remarks()]
        if self.small:
            said.append(
                message(
                    "{rows} drawn inputs have fewer than {fewest} units; no order can be compared there, and they are left out.",
                    rows=self.small,
                    fewest=FEWEST_UNITS,
                )
            )
        for method, title in self.facts.methods.items():
            found = self.highest(method)
            if found is not None and self.passed(method) == NOT_BELIEVED:
                said.append(
                    message(
                        "The maps of {method} stay much the same when what the model has learned is destroyed (rank "
                        "correlation up to {value}, at least {low}): they are not to be believed.",
                        method=title,
                        value=found.value,
                        low=found.low,
                    )
                )
        return tuple(said)


def _cell(found: Estimate | None) -> Cell:
    if found is None:
        return None
    return message("{value} ({low} to {high})", value=found.value, low=found.low, high=found.high)


def _of(method: str) -> Slice:
    return (Axis(kind="setting", name="method", value=method),)
