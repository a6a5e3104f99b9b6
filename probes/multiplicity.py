"""What several claims cost together. It adjusts p-values and makes none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probes.intervals import Float


def holm(p_values: Sequence[float]) -> Float:
    """p-values adjusted for their number (Holm 1979): at or below alpha means that all claims hold but for alpha."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(np.minimum(p[order] * (len(p) - np.arange(len(p))), 1.0))
    out = np.empty(len(p))
    out[order] = steps
    return out
