"""Input times gradient: the first-order share of each unit in the score (Shrikumar et al. 2016). One gradient, signed; it
promises no sum, and misses what a saturated model no longer feels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.engines.captum.adapter import Adapter, per_unit
from probes.engines.captum.explainer import Attribution, Encoded
from probes.engines.captum.forward import captum_forward
from probes.evidence import Message, message

TITLE = message("input times gradient")


@dataclass(frozen=True, kw_only=True)
class InputXGradient:
    """See `probes.engines.captum.methods.Method`."""

    name: str = "input_x_gradient"
    title: Message = TITLE
    source: str = "Shrikumar et al. 2016"
    promises: bool = False
    default: bool = True
    signed: bool = True
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
        from captum.attr import InputXGradient as Captum

        points = adapter.points(batch)
        forward, extra = captum_forward(adapter, points, targets)
        at = points.start.detach().clone().requires_grad_()
        values = Captum(forward).attribute(at, additional_forward_args=extra)
        return [
            Attribution(weights=w, target=t, error=None, evaluations=1, converged=None)
            for w, t in zip(per_unit(values, points, batch), targets, strict=True)
        ]


METHOD = InputXGradient()
