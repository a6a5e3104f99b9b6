"""The mean over inputs of a figure that lies between two bounds, with an interval that keeps a width where every input gives
the same value. It knows no probe and draws nothing.
"""

from __future__ import annotations

import numpy as np

from probes.intervals import Estimate, Float, Int, clopper_pearson, mean_interval


def bounded_mean(values: Float, level: float, clusters: Int, bounds: tuple[float, float]) -> Estimate | None:
    """The mean with a t interval robust to clusters, within ``bounds``.

    Where all values agree, t has no width, which is not certainty about other inputs. Then the share of clusters with that
    value is at least the lower limit of Clopper and Pearson, and the others may lie anywhere between the bounds.

    Args:
        values: one an input, each within ``bounds``.
        level: two-sided.
        clusters: codes >= 0, one an input.

    Returns:
        None where fewer than two clusters leave nothing to estimate a variance from.
    """
    found = mean_interval(values, level, clusters, bounds=bounds)
    if found is None or found.low < found.high:
        return found
    units = len(np.unique(clusters))
    share = clopper_pearson(units, units, level).low
    return Estimate(
        value=found.value,
        low=share * found.value + (1 - share) * bounds[0],
        high=share * found.value + (1 - share) * bounds[1],
        method="Clopper-Pearson on equal values",
        params={"clusters": units},
    )
