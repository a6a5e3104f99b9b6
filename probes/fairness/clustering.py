"""What taking rows as independent would hide: both standard errors of each rate and of the largest difference, and why they differ.

It is evidence beside the intervals, which never go below what independent rows would give. It measures nothing that a policy
could rule on.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from probes.evidence import Cell, Evidence, Message, Note, Table, message
from probes.fairness.definitions import HEADS, PLOTTED
from probes.fairness.grouping import Grouping
from probes.rates import Rate
from probes.standard_errors import StandardErrors, standard_errors

_NEAR = 0.05
_MORE = message(
    "The standard error of the {rate} of all groups together is {rows} with rows taken as independent and {clusters} by "
    "clusters: rows of one cluster are alike, so that they say less than as many independent rows."
)
_LESS = message(
    "The standard error of the {rate} of all groups together is {rows} with rows taken as independent and {clusters} by "
    "clusters: rows of one cluster are less alike than rows of different ones, so that they say more."
)
_ALIKE = message(
    "The standard error of the {rate} of all groups together is {rows} with rows taken as independent and {clusters} by "
    "clusters, nearly the same: rows of one cluster are hardly more alike than others."
)
_GAP_LESS = message(
    "For the largest difference in {rate}, {high} less {low}, it is {rows} and {clusters}: {shared} clusters hold rows of both "
    "groups, and what they have in common cancels in the difference. The intervals do not count on that."
)
_GAP_MORE = message(
    "For the largest difference in {rate}, {high} less {low}, it is {rows} and {clusters}: {shared} clusters hold rows of both "
    "groups, and what clusters have in common does not cancel."
)
_GAP_ALIKE = message(
    "For the largest difference in {rate}, {high} less {low}, it is {rows} and {clusters}, nearly the same; {shared} clusters "
    "hold rows of both groups."
)


def standard_error_evidence(grouping: Grouping, rates: Mapping[str, Rate], name: str | None) -> list[Evidence]:
    """A table of both standard errors and the sentences that explain it; nothing where rows have no clusters.

    Args:
        grouping: its small groups are left out.
        rates: of all its groups.
        name: the class taken as positive, where there are several.
    """
    kept = np.flatnonzero(grouping.enough)
    lines: list[tuple[Cell, ...]] = []
    said: list[Evidence] = []
    for rate in PLOTTED:
        cells = rates[rate].cells
        if cells is None:
            return []
        some = cells.select(kept)
        if not len(some.rows):
            continue
        whole, groups = standard_errors(some.merged()), standard_errors(some)
        head = HEADS[rate]
        lines.append(_line(head, message("all groups together"), whole, 0))
        for i, g in enumerate(kept.tolist()):
            if not np.isnan(groups.values[i]):
                lines.append(_line(head, grouping.label(g), groups, i))
        explained = _explained(head, whole)
        if explained is not None:
            said.append(Note(text=explained))
        far = groups.farthest()
        if far is None:
            continue
        high, low = (grouping.label(int(kept[i])) for i in far)
        by_rows, by_clusters = groups.difference(*far)
        apart = float(groups.values[far[0]] - groups.values[far[1]])
        gap = message("{high} less {low}", high=high, low=low)
        lines.append((head, gap, apart, by_rows, _finite(by_clusters), _ratio(by_rows, by_clusters)))
        note = _compared(by_rows, by_clusters, _GAP_MORE, _GAP_LESS, _GAP_ALIKE)
        if note is not None:
            shared = int(groups.shared[far])
            told = note.put(rate=head, high=high, low=low, rows=by_rows, clusters=by_clusters, shared=shared)
            said.append(Note(text=told))
    if not lines:
        return []
    title = message("Standard errors in {feature}, rows independent and by clusters", feature=grouping.title)
    if name is not None:
        title = message(
            "Standard errors in {feature}, class {name}, rows independent and by clusters",
            feature=grouping.title,
            name=name,
        )
    columns = (
        message("rate"), message("group"), message("value"), message("rows independent"), message("by clusters"),
        message("design effect"),
    )  # fmt: skip
    return [Table(title=title, columns=columns, rows=tuple(lines)), *said]


def _line(head: Message, label: Cell, errors: StandardErrors, g: int) -> tuple[Cell, ...]:
    rows, clusters = float(errors.by_rows[g]), float(errors.by_clusters[g])
    return (head, label, float(errors.values[g]), rows, _finite(clusters), _ratio(rows, clusters))


def _explained(head: Message, whole: StandardErrors) -> Message | None:
    rows, clusters = float(whole.by_rows[0]), float(whole.by_clusters[0])
    chosen = _compared(rows, clusters, _MORE, _LESS, _ALIKE)
    if chosen is None:
        return None
    return chosen.put(rate=head, rows=rows, clusters=clusters)


def _compared(rows: float, clusters: float, more: Message, less: Message, alike: Message) -> Message | None:
    if np.isnan(clusters) or rows == 0:
        return None
    ratio = clusters / rows
    return more if ratio > 1 + _NEAR else less if ratio < 1 - _NEAR else alike


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else value


def _ratio(rows: float, clusters: float) -> float | None:
    return None if np.isnan(clusters) or rows == 0 else (clusters / rows) ** 2
