"""What is read off the twins' answers: every figure by epsilon, costs against the loosest twin, and pictures of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probes.evidence import (
    AnyMeasurement,
    Axis,
    Counts,
    Curve,
    CurvePoint,
    Evidence,
    IntervalPlot,
    IntervalPoint,
    Label,
    Measurement,
    Message,
    Reading,
    Series,
    Slice,
    Table,
    Undefined,
    group_axes,
    message,
)
from probes.intervals import Bool, Estimate
from probes.privacy.frontier_definitions import definition
from probes.privacy.frontier_figures import Cell, Sheet, cost, sheets
from probes.privacy.frontier_rows import KEY

if TYPE_CHECKING:
    import pyarrow as pa

EPSILON = message("epsilon (smaller protects more)")
_BARE = message("No row has a label.")
_NO_SCORES = message("The model gives no scores.")
_NOBODY = message("No rows were trained on and kept out at random.")
_ONE_UNIT = message("Fewer than two independent rows.")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The probe's options."""

    level: float
    positive: str | None
    min_group: int
    bins: int


def read(rows: pa.Table, asked: Asked) -> Reading:
    """The reading of a table of `probes.privacy.frontier_rows`."""
    facts = json.loads(rows.schema.metadata[KEY])
    return _Reader(sheets=sheets(rows, facts, asked.positive), asked=asked).reading()


def at(sheet: Sheet, cell: Cell | None = None) -> Slice:
    """The slice of a twin, or of a group and class of it."""
    own = (Axis(kind="setting", name="epsilon", value=sheet.facts["name"]),)
    if cell is None:
        return own
    return (*own, *group_axes({cell.feature: cell.group}), Axis(kind="class", name=cell.cls))


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """All twins, the loosest last."""

    sheets: list[Sheet]
    asked: Asked

    @property
    def reference(self) -> Sheet:
        return self.sheets[-1]

    def reading(self) -> Reading:
        level, bins = self.asked.level, self.asked.bins
        measurements: list[AnyMeasurement] = []
        for sheet in self.sheets:
            everything = np.ones(len(sheet.said), dtype=np.bool_)
            measurements += [
                self._of("accuracy", sheet, sheet.accuracy(level), among=everything, without=_BARE),
                self._of(
                    "calibration_error", sheet, sheet.calibration(bins, level), among=everything, without=_NO_SCORES
                ),
                self._leak(sheet),
                *self._ledger(sheet),
            ]
            if sheet is not self.reference:
                measurements.append(
                    self._of(
                        "accuracy_cost",
                        sheet,
                        cost(self.reference, sheet, everything, level),
                        among=everything,
                        without=_ONE_UNIT,
                    )
                )
            for cell, among in sheet.cells.items():
                measurements += self._recall(sheet, cell, among)
        return Reading(measurements=tuple(measurements), evidence=self._evidence(), remarks=self._remarks())

    def _of(
        self,
        name: str,
        sheet: Sheet,
        found: Estimate | None,
        *,
        among: Bool,
        without: Message,
        cell: Cell | None = None,
    ) -> AnyMeasurement:
        rows = int(among.sum())
        counts = Counts(n=sheet.rows, denominator=rows, smallest=rows, clusters=sheet.said.distinct_clusters(among))
        return _measured(name, at(sheet, cell), found, counts=counts, without=without, level=self.asked.level)

    def _leak(self, sheet: Sheet) -> AnyMeasurement:
        if sheet.membership is None:
            why = sheet.facts["no_membership"]
            reason = message("{why}", why=why) if why else _NOBODY
            return Undefined(
                name="membership_auc", slice=at(sheet), counts=Counts(n=0, denominator=0, smallest=0), reason=reason
            )
        _, members, clusters = sheet.membership
        inside = int(members.sum())
        counts = Counts(
            n=len(members), denominator=len(members), smallest=min(inside, len(members) - inside),
            clusters=None if clusters is None else len(np.unique(clusters)),
        )  # fmt: skip
        found = sheet.leak(self.asked.level)
        return _measured("membership_auc", at(sheet), found, counts=counts, without=_NOBODY, level=self.asked.level)

    def _ledger(self, sheet: Sheet) -> list[AnyMeasurement]:
        """Exact figures of the record; a twin without a guarantee has none, and says so."""
        counts = Counts(n=sheet.rows, denominator=0, smallest=0)
        out: list[AnyMeasurement] = []
        for name in ("epsilon", "noise_multiplier"):
            value, meant = sheet.facts[name], definition(name)
            if value is not None:
                out.append(
                    Measurement(
                        name=name, slice=at(sheet), value=float(value), interval=None, counts=counts, unit=meant.unit,
                        better=meant.better,
                    )
                )  # fmt: skip
                continue
            why = sheet.facts["why"]
            reason = (
                message("{why}", why=why) if why else message("Trained without a guarantee, which is not a number.")
            )
            out.append(Undefined(name=name, slice=at(sheet), counts=counts, reason=reason))
        return out

    def _recall(self, sheet: Sheet, cell: Cell, among: Bool) -> list[AnyMeasurement]:
        few = int(among.sum()) < self.asked.min_group
        why = (
            message("Fewer than {least} rows of the class in the group.", least=self.asked.min_group)
            if few
            else _ONE_UNIT
        )
        found = None if few else sheet.recall(cell, self.asked.level)
        out = [self._of("recall", sheet, found, among=among, without=why, cell=cell)]
        if sheet is not self.reference:
            lost = None if few else cost(self.reference, sheet, among, self.asked.level)
            out.append(self._of("recall_cost", sheet, lost, among=among, without=why, cell=cell))
        return out

    def _remarks(self) -> tuple[Message, ...]:
        guards = [s for s in self.sheets if s.facts["asked"] is not None]
        out = [
            message(
                "{twins} twins of one recipe; costs are against the one at epsilon {name}.", twins=len(self.sheets),
                name=self.reference.facts["name"],
            ),
            message("The smallest epsilon is the leftmost point of every curve; no guarantee is drawn as a level line.")
            if len(guards) < len(self.sheets)
            else message("Every twin has a guarantee; what none at all would give is not shown."),
            *self.reference.said.remarks(),
        ]  # fmt: skip
        hit = self._hit()
        if hit:
            out.append(
                message(
                    "Recall is lower than at epsilon {name} beyond chance, after Bonferroni over {looked} comparisons: {hit}.",
                    name=self.reference.facts["name"], looked=len(list(self._compared())), hit="; ".join(hit),
                )
            )  # fmt: skip
        return tuple(out)

    def _compared(self) -> list[tuple[Sheet, Cell, Bool]]:
        return [
            (sheet, cell, among)
            for sheet in self.sheets[:-1]
            for cell, among in sheet.cells.items()
            if int(among.sum()) >= self.asked.min_group
        ]

    def _hit(self) -> list[str]:
        """Whom privacy costs recall, where chance does not explain it: Bonferroni over all that is compared."""
        compared = self._compared()
        level = 1 - (1 - self.asked.level) / max(len(compared), 1)
        out = []
        for sheet, cell, among in compared:
            found = cost(self.reference, sheet, among, level)
            if found is not None and found.low > 0:
                out.append(f"{cell.feature}={cell.group}, {cell.cls}, epsilon {sheet.facts['name']}")
        return out

    def _evidence(self) -> tuple[Evidence, ...]:
        level, bins, every = self.asked.level, self.asked.bins, len(self.reference.said)
        asked = 0 if self.reference.membership is None else len(self.reference.membership[0])
        figures: tuple[tuple[Message, Message, int, list[Estimate | None]], ...] = (
            (message("Accuracy over epsilon"), message("accuracy"), every, [s.accuracy(level) for s in self.sheets]),
            (
                message("Calibration error over epsilon"), message("calibration error"), every,
                [s.calibration(bins, level) for s in self.sheets],
            ),
            (
                message("Membership found over epsilon"), message("membership AUC"), asked,
                [s.leak(level) for s in self.sheets],
            ),
        )  # fmt: skip
        out: list[Evidence] = [self._spent(), self._worth()]
        for title, label, rows, found in figures:
            lines = self._lines(message("with a guarantee"), found, rows)
            free = found[-1] if self.reference.facts["asked"] is None else None
            if lines and free is not None:
                ends = sorted({lines[0].points[0].x, lines[0].points[-1].x})
                lines = (
                    *lines,
                    Series(label=message("no guarantee"), points=tuple(_point(x, free, rows) for x in ends)),
                )
            if lines:
                out.append(Curve(title=title, x_label=EPSILON, y_label=label, series=lines))
        for feature, cls in dict.fromkeys((c.feature, c.cls) for c in self.reference.cells):
            out += self._by_group(feature, cls)
        return tuple(out)

    def _by_group(self, feature: str, cls: str) -> list[Evidence]:
        cells = [
            c
            for c, among in self.reference.cells.items()
            if (c.feature, c.cls) == (feature, cls) and int(among.sum()) >= self.asked.min_group
        ]
        if not cells:
            return []
        named = {"feature": feature, "cls": cls}
        lines: list[Series] = []
        for c in cells:
            recalls = [sheet.recall(c, self.asked.level) for sheet in self.sheets]
            lines += self._lines(c.group, recalls, int(self.reference.cells[c].sum()))
        title = message("Recall of {cls} by {feature}, over epsilon", **named)
        out: list[Evidence] = [self._recalls(cells, named)]
        if lines:
            out.append(Curve(title=title, x_label=EPSILON, y_label=message("recall"), series=tuple(lines)))
        points = []
        for sheet in self.sheets[:-1]:
            for c in cells:
                found = cost(self.reference, sheet, sheet.cells[c], self.asked.level)
                if found is not None:
                    points.append(
                        IntervalPoint(
                            label=message("{group}, epsilon {name}", group=c.group, name=sheet.facts["name"]), value=found.value, low=found.low,
                            high=found.high, n=int(sheet.cells[c].sum()),
                        )
                    )  # fmt: skip
        out.append(
            IntervalPlot(
                title=message("What privacy costs, and whom: recall of {cls} lost, by {feature}", **named), unit="share",
                points=tuple(points), reference=0.0, reference_label=message("no cost"),
            )
        )  # fmt: skip
        return out

    def _recalls(self, cells: list[Cell], named: dict[str, str]) -> Table:
        """Every group's recall, a column a twin: the values alone, which is what a reader compares first."""
        rows = []
        for c in cells:
            found = [sheet.recall(c, self.asked.level) for sheet in self.sheets]
            rows.append((c.group, int(self.reference.cells[c].sum()), *(f.value if f else None for f in found)))
        heads = tuple(message("epsilon {name}", name=s.facts["name"]) for s in self.sheets)
        return Table(
            title=message("Recall of {cls} by {feature}", **named), columns=(message("group"), message("rows"), *heads),
            rows=tuple(rows),
        )  # fmt: skip

    def _lines(self, label: Label, found: list[Estimate | None], rows: int) -> tuple[Series, ...]:
        """A line over the twins that have an epsilon; none where no figure has a value."""
        asked = [s.facts["asked"] for s in self.sheets]
        points = [_point(x, f, rows) for x, f in zip(asked, found, strict=True) if x is not None and f is not None]
        return (Series(label=label, points=tuple(points)),) if points else ()

    def _spent(self) -> Table:
        names = ("epsilon", "delta", "noise_multiplier", "batch", "steps")
        return Table(
            title=message("The twins, and what each spent"),
            columns=(
                message("twin"), message("epsilon spent"), message("delta"), message("noise multiplier"),
                message("expected batch"), message("steps"),
            ),
            rows=tuple((s.facts["name"], *(s.facts[n] for n in names)) for s in self.sheets),
        )  # fmt: skip

    def _worth(self) -> Table:
        level = self.asked.level
        rows = []
        for s in self.sheets:
            found = (s.accuracy(level), s.calibration(self.asked.bins, level), s.leak(level))
            rows.append((s.facts["name"], *(f.value if f else None for f in found)))
        return Table(
            title=message("The twins side by side"),
            columns=(message("twin"), message("accuracy"), message("calibration error"), message("membership AUC")),
            rows=tuple(rows),
        )


def _point(x: float, found: Estimate, rows: int) -> CurvePoint:
    return CurvePoint(n=rows, x=x, y=found.value, low=min(found.low, found.value), high=max(found.high, found.value))


def _measured(
    name: str, where: Slice, found: Estimate | None, *, counts: Counts, without: Message, level: float
) -> AnyMeasurement:
    if found is None:
        return Undefined(name=name, slice=where, counts=counts, reason=without)
    meant = definition(name)
    return Measurement(
        name=name, slice=where, value=found.value, interval=found.interval(level), counts=counts, unit=meant.unit,
        better=meant.better,
    )  # fmt: skip
