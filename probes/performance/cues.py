"""What can be read off an input without a model: how long it is, and which frequent words it holds.

It turns inputs into columns of numbers and flags, so that a bundle keeps no raw text. It looks at no label and no answer,
so nothing that is chosen here can favour a slice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probes.intervals import Bool, Int

_WORD = re.compile(r"\w+(?:['’-]\w+)*")


@dataclass(frozen=True, kw_only=True)
class Cues:
    """Columns of N inputs.

    Attributes:
        lengths: characters of each input, shape (N,); -1 where the input is no text.
        words: word to the rows that hold it, each of shape (N,); most frequent first.
    """

    lengths: Int
    words: dict[str, Bool]


def read_cues(inputs: Sequence[Any], *, most: int, least_rows: int) -> Cues:
    """Lengths and frequent words of inputs.

    Args:
        inputs: texts, or dicts of texts, whose values are joined; anything else has neither length nor words.
        most: how many words are kept, by the number of rows that hold them.
        least_rows: words in fewer rows, or in more than half of the rows, are left out.
    """
    texts = [_text(value) for value in inputs]
    lengths = np.array([-1 if t is None else len(t) for t in texts], dtype=np.int64)
    held = [
        frozenset() if t is None else frozenset(w for w in _WORD.findall(t.casefold()) if len(w) > 1) for t in texts
    ]
    times: Counter[str] = Counter()
    for words in held:
        times.update(words)
    usual = [(w, n) for w, n in times.items() if least_rows <= n <= len(texts) / 2]
    chosen = [w for w, _ in sorted(usual, key=lambda item: (-item[1], item[0]))[:most]]
    rows: dict[str, list[int]] = {w: [] for w in chosen}
    for i, words in enumerate(held):
        for word in words & rows.keys():
            rows[word].append(i)
    flags = {}
    for word in chosen:
        flags[word] = np.zeros(len(texts), dtype=bool)
        flags[word][rows[word]] = True
    return Cues(lengths=lengths, words=flags)


def length_bins(lengths: Int) -> list[tuple[int, int, Bool]]:
    """Up to four bins at the quartiles: shortest and longest length, and the rows; inputs without a length are in none."""
    known = lengths >= 0
    if not known.any():
        return []
    edges = np.unique(np.quantile(lengths[known], (0.25, 0.5, 0.75), method="inverted_cdf"))
    bins = np.digitize(lengths, edges, right=True)
    out = []
    for b in range(len(edges) + 1):
        rows = known & (bins == b)
        if rows.any():
            out.append((int(lengths[rows].min()), int(lengths[rows].max()), rows))
    return out if len(out) > 1 else []


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        parts = [v for v in value.values() if isinstance(v, str)]
        return "\n".join(parts) if parts else None
    return None
