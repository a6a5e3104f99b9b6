"""Saliency: how steep the score is at each unit, without a sign (Simonyan et al. 2014). It says where the model is
sensitive, not what spoke for the target, and promises no sum. Opt-in: it barely follows the model's weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.engines.captum.adapter import Adapter, per_unit
from probes.engines.captum.explainer import Attribution, Encoded
from probes.engines.captum.forward import captum_forward
from probes.evidence import Message, message

TITLE = message("saliency")


@dataclass(frozen=True, kw_only=True)
class Saliency:
    """See `probes.engines.captum.methods.Method`. The weight of a unit is the sum of absolute gradients over its place."""

    name: str = "saliency"
    title: Message = TITLE
    source: str = "Simonyan et al. 2014"
    promises: bool = False
    default: bool = False
    signed: bool = False
    seeded: bool = False

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
        """One gradient an input."""
        from captum.attr import Saliency as Captum

        points = adapter.points(batch)
        forward, extra = captum_forward(adapter, points, targets)
        at = points.start.detach().clone().requires_grad_()
        values = Captum(forward).attribute(at, additional_forward_args=extra)
        return [
            Attribution(weights=w, target=t, error=None, evaluations=1, converged=None)
            for w, t in zip(per_unit(values, points, batch), targets, strict=True)
        ]


METHOD = Saliency()
