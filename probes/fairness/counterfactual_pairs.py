"""The twins that show best what is wrong: pairs of texts that differ in who is meant and get different answers. It shows what was
found and computes no figure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from probes.evidence import TextPair, TextPairs, message
from probes.fairness.templates import Templates

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context

TEXT = "text"
SHOWN = 5


def worst_pairs(grid: Templates, table: pa.Table, classes: tuple[str, ...], k: int, ctx: Context) -> list[TextPairs]:
    """The twins of templates that flip whose scores lie furthest apart, one pair a template."""
    at = np.flatnonzero(grid.flips)
    if TEXT not in table.column_names or not len(at):
        return []
    ends = np.array([_ends(grid, int(t), k) for t in at])
    apart = np.zeros(len(at))
    if grid.scores is not None:
        apart = grid.scores[at, ends[:, 0], k] - grid.scores[at, ends[:, 1], k]
    ties = ctx.rng(f"pairs/{grid.feature}").random(len(at))
    ranked = np.lexsort((ties, -apart))[:SHOWN]
    chosen = [(int(at[r]), int(ends[r, 0]), int(ends[r, 1])) for r in ranked]
    pairs = [pair for t, high, low in chosen if (pair := _pair(grid, table, classes, (t, high, low, k))) is not None]
    if not pairs:
        return []
    rule = message(
        "up to {shown} templates whose answer changes with {feature}, those first whose scores of {positive} lie furthest "
        "apart among different answers, one pair a template, ties drawn with seed {seed}",
        shown=SHOWN, feature=grid.feature, positive=classes[k], seed=ctx.seed,
    )  # fmt: skip
    title = message("Only who is meant differs, and the answer does: {feature}", feature=grid.feature)
    return [TextPairs(title=title, chosen_by=rule, pairs=tuple(pairs))]


def _ends(grid: Templates, t: int, k: int) -> tuple[int, int]:
    """Two identities of a template that flips with different answers: the one with the higher score first."""
    here = np.flatnonzero(grid.present[t])
    said = grid.answers[t]
    pairs = [(a, b) for a in here for b in here if said[a] != said[b]]
    if grid.scores is None:
        return next(((int(a), int(b)) for a, b in pairs if said[a] == k), (int(pairs[0][0]), int(pairs[0][1])))
    scores = grid.scores[t, :, k]
    a, b = max(pairs, key=lambda pair: (scores[pair[0]] - scores[pair[1]], -pair[0], -pair[1]))
    return int(a), int(b)


def _pair(grid: Templates, table: pa.Table, classes: tuple[str, ...], at: tuple[int, int, int, int]) -> TextPair | None:
    t, high, low, k = at
    names = ["row_id", TEXT]
    one, other = (table.select(names).slice(int(grid.first[t, g]), 1).to_pylist()[0] for g in (high, low))
    if one[TEXT] is None or other[TEXT] is None:
        return None
    said = {
        "feature": grid.feature,
        "high": grid.identities[high],
        "low": grid.identities[low],
        "row": one["row_id"],
    }
    note = message("{feature}: {high}, then {low}; row {row}", **said)
    if grid.scores is not None:
        note = message(
            "{feature}: {high}, then {low}; scores of {positive} {x} and {y}; row {row}", **said, positive=classes[k],
            x=float(grid.scores[t, high, k]), y=float(grid.scores[t, low, k]),
        )  # fmt: skip
    return TextPair(
        before=one[TEXT], after=other[TEXT], before_label=classes[grid.answers[t, high]],
        after_label=classes[grid.answers[t, low]], note=note,
    )  # fmt: skip
