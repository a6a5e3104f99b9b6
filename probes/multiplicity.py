"""What several claims cost together. It adjusts p-values and makes none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probes.intervals import Float


def holm(p_values: Sequence[float], compared: int | None = None) -> Float:
    """p-values adjusted for their number (Holm 1979): at or below alpha means that all claims hold but for alpha.

    Args:
        p_values: of the hypotheses at hand.
        compared: how many were in question, at least as many; those not given count as 1. All at hand if None.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    factors = np.maximum((len(p) if compared is None else compared) - np.arange(len(p)), 1)
    out = np.empty(len(p))
    out[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return out
