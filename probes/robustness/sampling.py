"""Which rows an expensive probe looks at: a random sample in proportion to the strata. It draws and names strata, and
looks at nothing that a model said, so that two models are examined on the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probes.intervals import Int

Stratum = tuple[str | None, ...]


def draw(strata: Sequence[Stratum], size: int | None, rng: np.random.Generator) -> Int:
    """Positions of a systematic sample over strata (Madow 1949), ascending.

    Rows are put in order of their strata, at random within each, and every ``N / size``-th is taken from a random start.
    Each row has the same chance, so that plain shares estimate those of all rows; each stratum gets its share of the
    sample, rounded up or down, and so does each set of strata that begin alike, such as all of one label. Rounding
    remainders by their size instead would never draw from a small stratum.

    Args:
        strata: what each of N rows belongs to; the first part, such as the label, is balanced first.
        size: rows to draw; None or N and above takes all.
        rng: decides the order within strata and the start.
    """
    total = len(strata)
    if size is None or size >= total:
        return np.arange(total, dtype=np.int64)
    shuffled = rng.permutation(total)
    ordered = np.array(sorted(shuffled.tolist(), key=lambda i: _sortable(strata[i])), dtype=np.int64)
    places = np.floor((rng.random() + np.arange(size)) * (total / size)).astype(np.int64)
    return np.sort(ordered[np.minimum(places, total - 1)])


def stratum_name(names: Sequence[str], stratum: Stratum) -> str:
    """``label=hateful, gender=female``; a missing part is left out."""
    return ", ".join(f"{name}={part}" for name, part in zip(names, stratum, strict=True) if part is not None)


def _sortable(stratum: Stratum) -> tuple[tuple[bool, str], ...]:
    return tuple((part is not None, part or "") for part in stratum)
