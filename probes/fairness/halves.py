"""Two halves of the rows, alike in labels and groups: one to fit thresholds on, the other to measure them on.

What belongs together is not torn: a cluster, else equal inputs, else a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from probes.answers import Answers
from probes.intervals import Bool, Int

if TYPE_CHECKING:
    import pyarrow as pa


def units_of(rows: pa.Table, every: Answers) -> Int:
    """The unit of each row, as codes by sorted name."""
    if every.clusters is not None:
        return np.unique(every.clusters, return_inverse=True)[1].astype(np.int64)
    name = "content" if "content" in rows.column_names and not rows.column("content").null_count else "row_id"
    names = np.asarray(rows.column(name).to_pylist(), dtype=str)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def halves(units: Int, columns: Sequence[Int], rng: np.random.Generator) -> Bool:
    """A random half of the units: True for the rows to fit on, shape (N,).

    Units are put in a random order, then sorted by stratum, and of each two neighbours one is drawn: so the halves
    differ by at most one unit in number, and hardly in any stratum.

    Args:
        units: codes in [0, U).
        columns: codes of each row that make up its stratum (label, groups). A unit of several rows goes by its most
            frequent one, the first of equals.
    """
    if not len(units):
        return np.zeros(0, dtype=bool)
    cells = np.zeros(len(units), dtype=np.int64)
    for column in columns:
        cells = np.unique(cells * (int(column.max()) + 2) + column + 1, return_inverse=True)[1].astype(np.int64)
    # Numbered by the first unit that has them, so that renaming groups draws the same halves.
    earliest = np.full(int(cells.max()) + 1, len(units), dtype=np.int64)
    np.minimum.at(earliest, cells, units)
    number = np.empty(len(earliest), dtype=np.int64)
    number[np.argsort(earliest, kind="stable")] = np.arange(len(earliest))
    cells = number[cells]
    size = int(units.max()) + 1
    kinds = len(number)
    pairs, counts = np.unique(units * kinds + cells, return_counts=True)
    by_count = np.lexsort((pairs % kinds, -counts, pairs // kinds))
    owner, first = np.unique(pairs[by_count] // kinds, return_index=True)
    stratum = np.zeros(size, dtype=np.int64)
    stratum[owner] = pairs[by_count[first]] % kinds
    shuffled = rng.permutation(size)
    order = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    even = order[: size - size % 2].reshape(-1, 2)
    side = rng.integers(0, 2, len(even))
    chosen = np.zeros(size, dtype=bool)
    chosen[even[np.arange(len(even)), side]] = True
    if size % 2:
        chosen[order[-1]] = bool(rng.integers(0, 2))
    return chosen[units]
