"""DeepLift with the rescale rule (Shrikumar et al. 2017): differences from the baseline are handed down activation by activation.
Its sum holds only where every non-linearity is a module that Captum knows. Attention and layer norms are none, so on
transformers the error is large, and is reported: opt-in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.engines.captum.adapter import Adapter, per_unit
from probes.engines.captum.explainer import Attribution, Encoded, Float
from probes.engines.captum.forward import as_module, captum_forward, quiet_captum, sum_error
from probes.evidence import Message, message

TITLE = message("DeepLift")


@dataclass(frozen=True, kw_only=True)
class DeepLift:
    """See `probes.engines.captum.methods.Method`."""

    name: str = "deep_lift"
    title: Message = TITLE
    source: str = "Shrikumar et al. 2017"
    promises: bool = True
    default: bool = False
    signed: bool = True
    seeded: bool = False

    def check(self, adapter: Adapter) -> Message | None:
        """One trial: Captum's hooks fail on modules that are used twice."""
        batch = adapter.encode(adapter.trial()[:1])
        try:
            made = self.attribute(adapter, batch, [0], [])
        except Exception as error:
            return message("Captum's DeepLift fails on it: {error}", error=str(error)[:200])
        if not all(np.isfinite(one.weights).all() for one in made):
            return message("Captum's DeepLift gives weights that are not finite on it")
        return None

    def attribute(
        self,
        adapter: Adapter,
        batch: Sequence[Encoded],
        targets: Sequence[int],
        rngs: Sequence[np.random.Generator],  # noqa: ARG002
    ) -> list[Attribution]:
        """One gradient an input, of input and baseline together."""
        import torch
        from captum.attr import DeepLift as Captum

        points = adapter.points(batch)
        forward, extra = captum_forward(adapter, points, targets)
        at = points.start.detach().clone().requires_grad_()
        with quiet_captum():
            values = Captum(as_module(adapter.model, forward)).attribute(
                at, points.absent, additional_forward_args=extra
            )
        with torch.no_grad():
            differences: Float = (forward(points.start, *extra) - forward(points.absent, *extra)).double().cpu().numpy()
        return [
            Attribution(weights=w, target=t, error=sum_error(w, float(d)), evaluations=4, converged=None)
            for w, t, d in zip(per_unit(values, points, batch), targets, differences, strict=True)
        ]


METHOD = DeepLift()
