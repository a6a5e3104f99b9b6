"""Evidence as the public may read it: pictures and tables without small counts, and none that shows inputs or row ids. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from probes.evidence import Bars, Cell, Curve, CurvePoint, Evidence, IntervalPlot, Message, Note, Series, Table, message
from reports.suppression import Hidden

T = TypeVar("T")
Told = Callable[[Message], Message]

_ROW_IDS = frozenset({"row", "row id", "row ids", "training row", "id"})
_EXAMPLES = message("Examples, and tables that name rows, are left out of this edition.")
_FEWER = message("Entries suppressed in this edition: {n}.")


def told_evidence(
    evidence: Sequence[Evidence], hidden: Hidden, instance: str, told: Told, suppressed: Message
) -> tuple[Evidence, ...]:
    """The pieces in their order; a sentence where pieces with examples or row ids are left out.

    Args:
        told: a sentence without what may not be told.
        suppressed: what stands in place of a figure.
    """
    screen = _Screen(hidden, instance, told, suppressed)
    out: list[Evidence] = []
    examples = False
    for piece in evidence:
        if isinstance(piece, Note):
            if not screen.names(str(piece.text)):
                out.append(Note(text=told(piece.text)))
        elif isinstance(piece, Table) and not _names_rows(piece):
            out.append(screen.table(piece))
        elif isinstance(piece, Bars):
            out += screen.bars(piece)
        elif isinstance(piece, IntervalPlot):
            out.append(screen.intervals(piece))
        elif isinstance(piece, Curve):
            out += screen.curve(piece)
        else:
            examples = True
    return (*out, Note(text=_EXAMPLES)) if examples else tuple(out)


def _names_rows(table: Table) -> bool:
    return bool(table.raw) or any(str(c).lower() in _ROW_IDS for c in table.columns)


class _Screen:
    """What is hidden in one finding, applied to its evidence."""

    def __init__(self, hidden: Hidden, instance: str, told: Told, suppressed: Message) -> None:
        self.hidden = hidden
        self.instance = instance
        self.told = told
        self.suppressed = suppressed

    def names(self, text: str) -> bool:
        """The text speaks of a hidden slice."""
        return self.hidden.names(self.instance, text)

    def untold(self, count: float | None) -> bool:
        """The number is a count that may not be told."""
        whole = count is not None and float(count).is_integer()
        return whole and self.hidden.untold(self.instance, int(count or 0))

    def table(self, table: Table) -> Table:
        """Rows that hold such a count, or speak of a hidden slice, keep only their first cell; never one row alone."""
        bad = {i for i, row in enumerate(table.rows) if self._bad(row)}
        bad = self._never_alone(bad, [_least(row) for row in table.rows])
        rows = tuple(
            (row[0], *(message("suppressed") for _ in row[1:])) if i in bad else tuple(self._cell(c) for c in row)
            for i, row in enumerate(table.rows)
        )
        return table.model_copy(update={"title": self.told(table.title), "rows": rows})

    def bars(self, chart: Bars) -> list[Evidence]:
        """Bars without those of hidden slices and small counts, and how many they were."""
        bad = {
            i
            for i, b in enumerate(chart.bars)
            if self.names(str(b.label)) or self.untold(b.n) or (b.n is None and self.untold(b.value))
        }
        bad = self._never_alone(bad, [float(b.value if b.n is None else b.n) for b in chart.bars])
        kept = tuple(b for i, b in enumerate(chart.bars) if i not in bad)
        out: list[Evidence] = [chart.model_copy(update={"bars": kept})] if kept else []
        return [*out, *self._fewer(len(bad))]

    def intervals(self, plot: IntervalPlot) -> IntervalPlot:
        """Points of hidden slices and small counts keep only their names."""
        bad = {i for i, p in enumerate(plot.points) if self.names(str(p.label)) or self.untold(p.n)}
        bad = self._never_alone(bad, [None if p.n is None else float(p.n) for p in plot.points])
        none = {"value": None, "low": None, "high": None, "n": None, "note": self.suppressed}
        points = tuple(
            p.model_copy(update=none)
            if i in bad
            else p.model_copy(update={"note": self.told(p.note) if p.note else None})
            for i, p in enumerate(plot.points)
        )
        return plot.model_copy(update={"title": self.told(plot.title), "points": points})

    def curve(self, chart: Curve) -> list[Evidence]:
        """Lines without those of hidden slices, and without points on few rows; their numbers of rows are not told."""
        series, gone = [], 0
        for line in chart.series:
            if self.names(str(line.label)):
                gone += len(line.points)
                continue
            kept = tuple(p for p in line.points if not self.untold(p.n))
            if len(kept) == len(line.points):
                series.append(line)
                continue
            gone += len(line.points) - len(kept)
            bare = tuple(CurvePoint(x=p.x, y=p.y, low=p.low, high=p.high) for p in kept)
            series.append(Series(label=line.label, points=bare))
        out: list[Evidence] = [chart.model_copy(update={"series": tuple(series)})] if series else []
        return [*out, *self._fewer(gone)]

    def _bad(self, row: Sequence[Cell]) -> bool:
        if any(self.names(str(c)) for c in row if isinstance(c, str | Message)):
            return True
        return any(self._untold_cell(c) for c in row[1:])

    def _untold_cell(self, cell: Cell) -> bool:
        if isinstance(cell, int):
            return self.untold(cell)
        if isinstance(cell, str):
            return any(self.untold(int(n)) for n in re.findall(r"(?<![\w.])\d{1,9}(?![\w.])", cell))
        return False

    def _cell(self, cell: Cell) -> Cell:
        return self.told(cell) if isinstance(cell, Message) else cell

    def _never_alone(self, bad: set[int], sizes: Sequence[float | None]) -> set[int]:
        """One suppressed entry among told ones is the total less the others; so there are two, or none, or all."""
        if len(bad) != 1:
            return bad
        others = sorted((s if s is not None else float("inf"), i) for i, s in enumerate(sizes) if i not in bad)
        return bad | {i for _, i in others[:1]}

    def _fewer(self, count: int) -> list[Evidence]:
        return [Note(text=_FEWER.put(n=count))] if count else []


def _least(row: Sequence[Cell]) -> float | None:
    """The smallest count of a row, by which rows are chosen to go with a suppressed one."""
    counts = [c for c in row[1:] if isinstance(c, int)]
    return float(min(counts)) if counts else None
