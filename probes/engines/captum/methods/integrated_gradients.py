"""Integrated gradients (Sundararajan et al. 2017), adaptive: the gradient averaged over the straight path from the baseline to
the input, times their difference, with as many gradients as the stated error takes and no more.

The baseline is the input with every unit taken away (see the adapter), so that the weights sum to what taking all units
away does to the score. Points of several inputs go through the model together. Error and gradients spent are given for each
input; one that does not get there within ``most`` gradients says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.engines.captum.adapter import Adapter
from probes.engines.captum.explainer import Attribution, Encoded
from probes.engines.captum.forward import slopes_at
from probes.engines.captum.quadrature import PathIntegral
from probes.evidence import Message, message

TITLE = message("integrated gradients")


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients:
    """See `probes.engines.captum.methods.Method`.

    Attributes:
        tolerance: the error at which it stops; see `probes.engines.captum.quadrature.PathIntegral`.
        most: gradients that an input may take, about.
    """

    name: str = "integrated_gradients"
    title: Message = TITLE
    source: str = "Sundararajan et al. 2017"
    promises: bool = True
    default: bool = True
    signed: bool = True
    seeded: bool = False
    tolerance: float = 0.05
    most: int = 128

    def check(self, adapter: Adapter) -> Message | None:  # noqa: ARG002
        """It can be used on every model."""
        return None

    def attribute(
        self,
        adapter: Adapter,
        batch: Sequence[Encoded],
        targets: Sequence[int],
        rngs: Sequence[np.random.Generator],  # noqa: ARG002
    ) -> list[Attribution]:
        """Rounds of gradients, until every input is done."""
        points = adapter.points(batch)
        paths = [PathIntegral(tolerance=self.tolerance, most=self.most) for _ in batch]
        while not all(path.done for path in paths):
            wanted = [path.wanted() for path in paths]
            found = slopes_at(adapter, points, batch, targets, wanted)
            for path, places, (scores, slopes) in zip(paths, wanted, found, strict=True):
                if places:
                    path.give(places, scores.tolist(), list(slopes))
        return [
            Attribution(
                weights=path.weights, target=target, error=path.error, evaluations=path.spent, converged=path.converged
            )
            for path, target in zip(paths, targets, strict=True)
        ]


METHOD = IntegratedGradients()
