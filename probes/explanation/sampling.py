"""Which rows are explained: drawn with a seed, so that every class, every group, and right and wrong answers are among them. All
probes of this family draw by this rule, and from one plan's seed they draw the same rows, so that what one of them
says of the others' maps is about the same maps. It looks at no score and at no input.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fine_tune.predictions import GROUP, feature_names
from probes.errors import ProbeError
from probes.evidence import Message, message
from probes.probe import Context

if TYPE_CHECKING:
    import pyarrow as pa

# Rows of a label that are answered rightly, or wrongly: fewer say little of either.
OF_LABEL = 10
OF_GROUP = 2
INSTANCE = "explanation"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Positions in the table of predictions, ascending by row_id and unit_id, and the rule in a sentence."""

    positions: tuple[int, ...]
    rule: Message


def draw(predictions: pa.Table, rows: int, ctx: Context) -> Drawn:
    """Up to ``rows`` rows. The order of the table, the probe's instance and its level do not matter; the plan's seed does.

    First rows are taken so that each label has `OF_LABEL` rows that are answered rightly and as many that are answered
    wrongly, and each group of each feature `OF_GROUP` of either kind, as far as there are so many and they fit into half
    of the sample (one of each kind may fill all of it). The rest is drawn at random from all that is left.

    Raises:
        ProbeError: ``rows`` is below 1.
    """
    if rows < 1:
        raise ProbeError(f"{rows} rows are to be drawn", expected="at least 1")
    order = predictions.append_column("_place", [list(range(len(predictions)))]).select(["row_id", "unit_id", "_place"])
    places = order.sort_by([("row_id", "ascending"), ("unit_id", "ascending")])["_place"].to_pylist()
    there = len(places)
    if there <= rows:
        return Drawn(positions=tuple(places), rule=message("All {rows} rows are explained.", rows=there))
    table = predictions.take(places)
    cells = _cells(table)
    rng = Context(instance=INSTANCE, seed=ctx.seed).rng("sample")
    shuffled = rng.permutation(there)
    rank = np.argsort(shuffled)
    taken = np.zeros(there, dtype=np.bool_)
    # One of each kind before a second of any.
    most = max((wanted for wanted, _ in cells), default=0)
    for turn in range(1, most + 1):
        room = rows if turn == 1 else rows // 2
        for wanted, members in cells:
            if turn <= wanted and taken.sum() < room and taken[members].sum() < min(turn, len(members)):
                free = members[~taken[members]]
                taken[free[np.argmin(rank[free])]] = True
    missed = sum(not taken[members].any() for _, members in cells)
    rest = shuffled[~taken[shuffled]][: rows - int(taken.sum())]
    chosen = int(taken.sum())
    taken[rest] = True
    said = message(
        "{rows} of {there} rows, drawn with seed {seed}: {chosen} of them so that each label and each group has rows that are "
        "answered rightly and wrongly, as far as there are any, the rest at random.",
        rows=rows,
        there=there,
        seed=ctx.seed,
        chosen=chosen,
    )
    if missed:
        said = message(
            "{rule} {missed} of these kinds have no row in the sample, which is too small for that.",
            rule=said,
            missed=missed,
        )
    return Drawn(positions=tuple(places[i] for i in np.flatnonzero(taken)), rule=said)


def _cells(table: pa.Table) -> list[tuple[int, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]]:
    """Kinds of rows, each with how many are wanted and the rows it has: labels and groups, by right and wrong."""
    labels, said = table["label"].to_pylist(), table["prediction"].to_pylist()
    # Where the truth is unknown, the answer stands in for it.
    outcomes = ["unknown" if a is None else "right" if a == b else "wrong" for a, b in zip(labels, said, strict=True)]
    found: dict[tuple[str, str, str], list[int]] = {}

    def add(axis: str, values: Iterable[str | None]) -> None:
        for i, (value, outcome) in enumerate(zip(values, outcomes, strict=True)):
            if value is not None:
                found.setdefault((axis, value, outcome), []).append(i)

    add("", [b if a is None else a for a, b in zip(labels, said, strict=True)])
    for name in feature_names(table):
        add(GROUP + name, table[GROUP + name].to_pylist())
    return [(OF_GROUP if key[0] else OF_LABEL, np.array(found[key], dtype=np.int64)) for key in sorted(found)]
