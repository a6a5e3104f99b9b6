"""What is said of each method: its figures, how they compare with random rankings, and in words whether its maps follow the
model. Pure: rows in, a reading out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probes.bounded_means import bounded_mean
from probes.evidence import (
    AnyMeasurement,
    Axis,
    Cell,
    Counts,
    Curve,
    Evidence,
    IntervalPlot,
    IntervalPoint,
    MeasureDefinition,
    Measurement,
    Message,
    Reading,
    Slice,
    Table,
    Undefined,
    message,
)
from probes.explanation.erasure import ONLY, WITHOUT
from probes.explanation.erasure_figures import BASELINE, ERASED, Figures, figures
from probes.explanation.material import Facts
from probes.intervals import Estimate

if TYPE_CHECKING:
    import pyarrow as pa

BY_CLASS = ("comprehensiveness", "sufficiency")
FURTHER = {"infidelity": "infidelity", "sensitivity": "sensitivity_max"}
RANDOM = message("random rankings")
_FEW = message("{inputs} inputs in {clusters} clusters are too few for an interval; two clusters are the least.")
_NOTHING = message("No input was examined.")

BETTER = message("yes: better than random")
WORSE = message("no: worse than random")
NOT_SHOWN = message("not shown: random rankings may do as well")
FEW = message("not shown: too few inputs")


def read(rows: pa.Table, defines: Sequence[MeasureDefinition], level: float) -> Reading:
    """The reading of `explanation.faithfulness`.

    Args:
        rows: as its `collect` made them.
        defines: its measures.
        level: of intervals, two-sided.
    """
    facts, _ = Facts.of(rows)
    kinds = rows["kind"].to_numpy(zero_copy_only=False)
    erased = rows.filter(np.isin(kinds, [WITHOUT, ONLY]))
    known = figures(erased, tuple(facts.methods)) if len(erased) else None
    sheet = _Sheet(facts=facts, figures=known, defines={d.name: d for d in defines}, level=level)
    measurements = [*sheet.refused(), *sheet.measured(), *sheet.by_class(), *sheet.further(rows, kinds)]
    return Reading(measurements=tuple(measurements), evidence=sheet.evidence(), remarks=sheet.remarks())


@dataclass(frozen=True, kw_only=True)
class _Sheet:
    facts: Facts
    figures: Figures | None
    defines: dict[str, MeasureDefinition]
    level: float

    @property
    def counts(self) -> Counts:
        if self.figures is None:
            return Counts(n=self.facts.drawn, denominator=0, smallest=0)
        return self._counts(self.figures)

    def _counts(self, part: Figures) -> Counts:
        return Counts(n=self.facts.drawn, denominator=len(part), smallest=len(part), clusters=part.units)

    def refused(self) -> list[AnyMeasurement]:
        return [
            Undefined(
                name=name, slice=_of(method), counts=Counts(n=self.facts.drawn, denominator=0, smallest=0), reason=why
            )
            for method, why in self.facts.refused.items()
            for measure in ERASED
            for name in (measure, f"{measure}_over_random")
        ]

    def measured(self) -> list[AnyMeasurement]:
        out: list[AnyMeasurement] = []
        for measure in ERASED:
            for name, methods in (
                (measure, (*self.facts.methods, BASELINE)),
                (f"{measure}_over_random", self.facts.methods),
            ):
                out += [self._said(name, _of(m), self._estimate(name, m), self.counts) for m in methods]
        return out

    @property
    def classes(self) -> tuple[str, ...]:
        return () if self.figures is None else tuple(sorted(set(self.figures.targets)))

    def by_class(self) -> list[AnyMeasurement]:
        """Differences to random among the inputs of each predicted class."""
        out: list[AnyMeasurement] = []
        for target in self.classes:
            part = self._part(target)
            for measure in BY_CLASS:
                for method in self.facts.methods:
                    at = (*_of(method), Axis(kind="class", name=target))
                    found = part.over_random(measure, method, self.level)
                    out.append(self._said(f"class_{measure}_over_random", at, found, self._counts(part)))
        return out

    def _part(self, target: str) -> Figures:
        assert self.figures is not None
        return self.figures.where(target)

    def _estimate(self, name: str, method: str) -> Estimate | None:
        if self.figures is None:
            return None
        measure = name.removesuffix("_over_random")
        ask = self.figures.alone if measure == name else self.figures.over_random
        return ask(measure, method, self.level)

    def _said(self, name: str, at: Slice, estimate: Estimate | None, counts: Counts) -> AnyMeasurement:
        if estimate is None:
            few = _FEW.put(inputs=counts.denominator, clusters=counts.clusters or 0)
            return Undefined(name=name, slice=at, counts=counts, reason=few if counts.denominator else _NOTHING)
        definition = self.defines[name]
        return Measurement(
            name=name, value=estimate.value, interval=estimate.interval(self.level), counts=counts, unit=definition.unit,
            slice=at, better=definition.better,
        )  # fmt: skip

    def further(self, rows: pa.Table, kinds: np.ndarray[tuple[int, ...], np.dtype[np.object_]]) -> list[AnyMeasurement]:
        """Captum's metrics, where they were asked for."""
        out: list[AnyMeasurement] = []
        if self.figures is None:
            return out
        for kind, name in FURTHER.items():
            part = rows.filter(kinds == kind).sort_by([("row_id", "ascending"), ("unit_id", "ascending")])
            for method in self.facts.methods:
                values = part.filter(np.array(part["method"].to_pylist(), dtype=object) == method)[
                    "probability"
                ].to_numpy()
                if len(values):
                    found = bounded_mean(values, self.level, self.figures.clusters, (0.0, np.inf))
                    out.append(self._said(name, _of(method), found, self.counts))
        return out

    def passed(self, method: str) -> Message:
        """Whether a method's rankings beat random ones by both measures of DeYoung et al., in words."""
        gained = self._estimate("comprehensiveness_over_random", method)
        lost = self._estimate("sufficiency_over_random", method)
        if gained is None or lost is None:
            return FEW
        if gained.low > 0 and lost.high < 0:
            return BETTER
        return WORSE if gained.high < 0 or lost.low > 0 else NOT_SHOWN

    def evidence(self) -> tuple[Evidence, ...]:
        if self.figures is None:
            return ()
        return (
            self._table(),
            *([self._class_table()] if len(self.classes) > 1 else []),
            self._plot("comprehensiveness_over_random", message("Comprehensiveness above random rankings; higher is better")),
            self._plot("sufficiency_over_random", message("Sufficiency above random rankings; lower is better")),
            self._curve(
                WITHOUT, message("Probability of the predicted class as the units ranked first are taken away; lower is better"),
                message("share of units taken away"),
            ),
            self._curve(
                ONLY, message("Probability of the predicted class with the units ranked first alone; higher is better"),
                message("share of units kept"),
            ),
        )  # fmt: skip

    def _table(self) -> Table:
        rows: list[tuple[Cell, ...]] = []
        for method, title in self.facts.methods.items():
            cells = [self._cell(f"{m}{end}", method) for m in ERASED for end in ("", "_over_random")]
            rows.append((title, self.passed(method), *cells))
        rows.append((RANDOM, None, *[c for m in ERASED for c in (self._cell(m, BASELINE), None)]))
        columns = (
            message("Method"),
            message("Faithful to this model?"),
            message("Comprehensiveness"),
            message("above random"),
            message("Sufficiency"),
            message("above random"),
            message("AOPC"),
            message("above random"),
        )
        return Table(title=message("Which methods rank units better than chance"), columns=columns, rows=tuple(rows))

    def _class_table(self) -> Table:
        rows: list[tuple[Cell, ...]] = []
        for target in self.classes:
            part = self._part(target)
            for method, title in self.facts.methods.items():
                cells = [_written(part.over_random(measure, method, self.level)) for measure in BY_CLASS]
                rows.append((target, title, len(part), *cells))
        columns = (
            message("Predicted class"),
            message("Method"),
            message("Inputs"),
            message("Comprehensiveness above random"),
            message("Sufficiency above random"),
        )
        return Table(title=message("The same by predicted class"), columns=columns, rows=tuple(rows))

    def _cell(self, name: str, method: str) -> Cell:
        return _written(self._estimate(name, method))

    def _plot(self, name: str, title: Message) -> IntervalPlot:
        points = []
        for method in self.facts.methods:
            found = self._estimate(name, method)
            if found is None:
                points.append(IntervalPoint(label=method, value=None, note=FEW))
            else:
                points.append(
                    IntervalPoint(
                        label=method, value=found.value, low=found.low, high=found.high, n=self.counts.denominator
                    )
                )
        return IntervalPlot(
            title=title, unit="probability", points=tuple(points), reference=0.0, reference_label=RANDOM
        )  # fmt: skip

    def _curve(self, kind: str, title: Message, axis: Message) -> Curve:
        assert self.figures is not None
        return Curve(
            title=title,
            x_label=axis,
            y_label=message("mean probability of the predicted class"),
            series=self.figures.series(kind, lambda name: message("random") if name == BASELINE else name, self.level),
        )

    def remarks(self) -> tuple[Message, ...]:
        said = [*self.facts.remarks(), message("A unit that is taken away is replaced: {by}.", by=self.facts.absent)]
        if self.figures is None:
            return tuple(said)
        for method, title in self.facts.methods.items():
            verdict = self.passed(method)
            if verdict == WORSE:
                said.append(
                    message(
                        "On this model {method} ranks units worse than chance: its maps are not to be believed.",
                        method=title,
                    )
                )
            elif verdict in (NOT_SHOWN, FEW):
                said.append(
                    message(
                        "On this model {method} is not shown to rank units better than chance: its maps are no reason.",
                        method=title,
                    )
                )
        return tuple(said)


def _written(found: Estimate | None) -> Cell:
    if found is None:
        return None
    return message("{value} ({low} to {high})", value=found.value, low=found.low, high=found.high)


def _of(method: str) -> Slice:
    if method == BASELINE:
        return (Axis(kind="setting", name="baseline", value="random"),)
    return (Axis(kind="setting", name="method", value=method),)
