"""Groups in the order of their rates, small ones drawn towards the mean: something to look at, not to decide by.

The values are `probes.shrinkage`'s. They stay a table: no measurement, no interval, nothing that a policy can name.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from probes.evidence import Cell, Evidence, Note, Table, message
from probes.fairness.definitions import HEADS, PLOTTED
from probes.fairness.grouping import Grouping
from probes.rates import Rate
from probes.shrinkage import shrink


def ranking_evidence(grouping: Grouping, rates: Mapping[str, Rate], name: str | None) -> list[Evidence]:
    """All groups, those below the minimum size too, by shrunken selection rate; nothing for fewer than three groups.

    Args:
        grouping: with its small groups, which are marked.
        rates: of all its groups.
        name: the class taken as positive, where there are several.
    """
    drawn = {rate: shrink(rates[rate].proportions) for rate in PLOTTED}
    first = drawn["selection_rate"]
    if first is None:
        return []
    lines: list[tuple[Cell, ...]] = []
    for g in np.argsort(first.values, kind="stable").tolist():
        cells: list[Cell] = []
        for found in drawn.values():
            cells.append(None if found is None or np.isnan(found.values[g]) else float(found.values[g]))
        small = None if grouping.enough[g] else message("below the minimum size")
        lines.append((grouping.label(g), int(grouping.sizes[g]), *cells, float(first.own[g]), small))
    title = message("Ranking aid for {feature}: rates drawn towards the mean", feature=grouping.title)
    if name is not None:
        title = message(
            "Ranking aid for {feature}, class {name}: rates drawn towards the mean", feature=grouping.title, name=name
        )
    columns = (
        message("group"), message("rows"), *(HEADS[rate] for rate in drawn), message("own share of selection rate"),
        message("note"),
    )  # fmt: skip
    note = message(
        "A ranking aid and no measurement: each rate is mixed with the mean over groups, the more so the fewer rows it rests "
        "on, so that small groups do not take the first and last places by chance. It carries no interval, and no rule can "
        "ask for it."
    )
    return [Table(title=title, columns=columns, rows=tuple(lines)), Note(text=note)]
