"""The figures of one twin, and of one twin against another on the same rows. Tables in, estimates out; it words nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fine_tune.errors import DataError
from fine_tune.predictions import feature_names
from probes.answers import Answers, answers, group_codes
from probes.binning import calibration_error, equal_mass
from probes.intervals import Bool, Estimate, Float, Int, critical, mean_interval, tail_of
from probes.privacy.frontier_rows import AUDIT, MEMBER, OTHER
from probes.ranking import roc_auc
from probes.rates import count

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A group of a feature, and the class whose recall is meant."""

    feature: str
    group: str
    cls: str


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What one twin said; only labelled rows.

    Attributes:
        facts: of its record.
        said: labels, predictions, scores, clusters.
        rows: audited rows, those without a label too.
        cells: for each cell, which rows are of its class and group.
        membership: scores and whether the row was trained on, with clusters; None where nobody could be asked.
    """

    facts: dict[str, Any]
    said: Answers
    rows: int
    ids: tuple[tuple[str, int], ...]
    cells: dict[Cell, Bool]
    membership: tuple[Float, Bool, Int | None] | None

    @property
    def right(self) -> Bool:
        return np.asarray(self.said.labels == self.said.predictions)

    def accuracy(self, level: float) -> Estimate | None:
        return _share(self.right, np.ones(len(self.said), dtype=np.bool_), self.said.clusters, level)

    def recall(self, cell: Cell, level: float) -> Estimate | None:
        return _share(self.right, self.cells[cell], self.said.clusters, level)

    def calibration(self, bins: int, level: float) -> Estimate | None:
        """None where there are no rows or no scores."""
        scores = self.said.scores
        if scores is None or not len(self.said):
            return None
        known = ~np.isnan(scores).any(axis=1)
        if not known.any():
            return None
        sure = scores[known, self.said.predictions[known]]
        clusters = None if self.said.clusters is None else self.said.clusters[known]
        return calibration_error(equal_mass(sure, self.right[known], bins, clusters), tail_of(level))

    def leak(self, level: float) -> Estimate | None:
        """The membership AUC; None where there are no rows of one kind."""
        if self.membership is None:
            return None
        scores, members, clusters = self.membership
        return roc_auc(scores, members, level, clusters)


def sheets(table: pa.Table, facts: list[dict[str, Any]], positive: str | None) -> list[Sheet]:
    """One a twin, in order."""
    import pyarrow.compute as pc

    out = []
    for place, one in enumerate(facts):
        mine = table.filter(pc.equal(table.column("twin"), place))
        audit = mine.filter(pc.equal(mine.column("kind"), AUDIT))
        out.append(_sheet(audit, mine, one, positive))
    if any(sheet.ids != out[0].ids for sheet in out):
        raise DataError("the twins were asked about different rows", expected="the same rows in the same order")
    return out


def _sheet(audit: pa.Table, mine: pa.Table, facts: dict[str, Any], positive: str | None) -> Sheet:
    every = answers(audit)
    kept = every.labelled
    said = every.where(kept)
    wanted = [c for c in said.classes if positive is None or c == positive]
    cells: dict[Cell, Bool] = {}
    for feature in feature_names(audit):
        codes, names = group_codes(audit, feature)
        codes = codes[kept]
        for cls in wanted:
            of_class = said.labels == said.classes.index(cls)
            cells |= {
                Cell(feature=feature, group=name, cls=cls): of_class & (codes == k) for k, name in enumerate(names)
            }
    ids = zip(audit.column("row_id").to_pylist(), audit.column("unit_id").to_pylist(), strict=True)
    return Sheet(
        facts=facts, said=said, rows=len(every), ids=tuple(ids), cells=cells, membership=_membership(mine),
    )  # fmt: skip


def _membership(mine: pa.Table) -> tuple[Float, Bool, Int | None] | None:
    kinds = np.array(mine.column("kind").to_pylist(), dtype=object)
    asked = (kinds == MEMBER) | (kinds == OTHER)
    members = (kinds == MEMBER)[asked]
    if "score" not in mine.column_names or not members.any() or members.all():
        return None
    scores = np.asarray(mine.column("score").to_numpy(), dtype=np.float64)[asked]
    kin = np.array(mine.column("kin").to_pylist(), dtype=object)[asked]
    if all(value is None for value in kin):
        return scores, members, None
    names = np.array([f"\0{i}" if value is None else value for i, value in enumerate(kin)], dtype=str)
    return scores, members, np.unique(names, return_inverse=True)[1].astype(np.int64)


def _share(right: Bool, among: Bool, clusters: Int | None, level: float) -> Estimate | None:
    """The share of right answers ``among`` rows; None where there are none."""
    if not among.any():
        return None
    return count(np.where(among, 0, -1), 1, right, clusters).estimate(0, level)


def cost(reference: Sheet, sheet: Sheet, among: Bool, level: float) -> Estimate | None:
    """How much less often a twin is right than the reference, ``among`` the same rows; None for fewer than two units.

    A paired t interval; at least as wide as rows without a single discordant pair would leave, z^2 / (n + z^2).
    """
    differences = reference.right[among].astype(np.float64) - sheet.right[among]
    clusters = None if sheet.said.clusters is None else sheet.said.clusters[among]
    found = mean_interval(differences, level, clusters, bounds=(-1.0, 1.0)) if len(differences) else None
    if found is None:
        return None
    units = len(differences) if clusters is None else len(np.unique(clusters))
    z2 = float(critical(tail_of(level))) ** 2
    half = z2 / (units + z2)
    return Estimate(
        value=found.value, low=max(min(found.low, found.value - half), -1.0),
        high=min(max(found.high, found.value + half), 1.0), method="paired t", params=found.params,
    )  # fmt: skip
