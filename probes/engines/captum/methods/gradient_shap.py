"""Gradient SHAP: gradients at random places between baseline and input, with a little noise, times their difference (Lundberg and
Lee 2017). It runs on the points (word embeddings, pixels): Captum's layer variant adds its noise to token ids, and fails.
Opt-in: for the gradients it takes, integrated gradients come closer to adding up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.engines.captum.adapter import Adapter, per_unit
from probes.engines.captum.explainer import Attribution, Encoded
from probes.engines.captum.forward import captum_forward, drawing, rows_of, sum_error
from probes.evidence import Message, message

TITLE = message("gradient SHAP")


@dataclass(frozen=True, kw_only=True)
class GradientShap:
    """See `probes.engines.captum.methods.Method`.

    Attributes:
        samples: places that are drawn, an input.
        noise: standard deviation of the noise, relative to that of the points.
    """

    name: str = "gradient_shap"
    title: Message = TITLE
    source: str = "Lundberg and Lee 2017"
    promises: bool = True
    default: bool = False
    signed: bool = True
    seeded: bool = True
    samples: int = 20
    noise: float = 0.05

    def check(self, adapter: Adapter) -> Message | None:  # noqa: ARG002
        """It can be used on every model."""
        return None

    def attribute(
        self,
        adapter: Adapter,
        batch: Sequence[Encoded],
        targets: Sequence[int],
        rngs: Sequence[np.random.Generator],
    ) -> list[Attribution]:
        """``samples`` gradients an input, and its ends; inputs go one by one, as each has a baseline of its own."""
        import torch
        from captum.attr import GradientShap as Captum

        points = adapter.points(batch)
        out = []
        for i, (one, target, rng) in enumerate(zip(batch, targets, rngs, strict=True)):
            alone = rows_of(points, torch.tensor([i]))
            forward, extra = captum_forward(adapter, alone, [target])
            with drawing(rng):
                values = Captum(forward).attribute(
                    alone.start, alone.absent, n_samples=self.samples, additional_forward_args=extra,
                    stdevs=self.noise * float(alone.start.std()),
                )  # fmt: skip
            with torch.no_grad():
                difference = float(forward(alone.start, *extra) - forward(alone.absent, *extra))
            (weights,) = per_unit(values, alone, [one])
            out.append(
                Attribution(
                    weights=weights, target=target, error=sum_error(weights, difference),
                    evaluations=self.samples + 2, converged=None,
                )
            )  # fmt: skip
        return out


METHOD = GradientShap()
