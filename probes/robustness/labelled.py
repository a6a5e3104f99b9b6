"""Which rows with a label a probe looks at, and what of them it keeps: the same rows in whatever order the data come. It looks at
nothing that a model said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fine_tune.predictions import GROUP
from probes.robustness.sampling import draw

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context

_OF_ROW = ("row_id", "unit_id", "label", "prediction", "cluster", "weight", "content")


def draw_labelled(table: pa.Table, size: int | None, ctx: Context) -> tuple[pa.Table, int]:
    """Rows of a table of predictions in proportion to their labels, by row id, and how many have a label.

    Args:
        table: see `fine_tune.predictions`.
        size: rows to draw; None takes all with a label.
        ctx: its generator for "draw" decides.
    """
    import pyarrow.compute as pc

    known = table.filter(pc.is_valid(table["label"])).sort_by(
        [("content", "ascending"), ("row_id", "ascending"), ("unit_id", "ascending")]
    )
    chosen = draw([(label,) for label in known["label"].to_pylist()], size, ctx.rng("draw"))
    return known.take(chosen).sort_by([("row_id", "ascending"), ("unit_id", "ascending")]), len(known)


def repeated(drawn: pa.Table, times: int) -> dict[str, pa.Array]:
    """What of each row its lines keep, ``times`` lines a row: ids, label, prediction, groups, cluster, weight, content.

    Each line is a unit of its row, numbered by ``unit_id``, so that two runs pair line by line; a row must be one unit.
    """
    import numpy as np
    import pyarrow as pa

    owner = pa.array(np.repeat(np.arange(len(drawn)), times))
    kept = [name for name in drawn.column_names if name in _OF_ROW or name.startswith(GROUP)]
    columns = {name: drawn[name].combine_chunks().take(owner) for name in kept}
    columns["unit_id"] = pa.array(np.tile(np.arange(times), len(drawn)), pa.int32())
    return columns
