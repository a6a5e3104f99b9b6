"""Guided Grad-CAM (Selvaraju et al. 2017), for convolutional networks: where the last feature map speaks for the target, times
the guided gradient of the pixels. It needs a last stage that is larger than one place, or there is no "where" in it, and
ReLU as a module, or nothing is guided. Opt-in: guided gradients reconstruct edges and barely follow the weights (Adebayo et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probes.engines.captum.adapter import Adapter, per_unit
from probes.engines.captum.explainer import Attribution, Encoded
from probes.engines.captum.forward import as_module, captum_forward, quiet_captum
from probes.evidence import Message, message

TITLE = message("guided Grad-CAM")


@dataclass(frozen=True, kw_only=True)
class GuidedGradCam:
    """See `probes.engines.captum.methods.Method`."""

    name: str = "guided_grad_cam"
    title: Message = TITLE
    source: str = "Selvaraju et al. 2017"
    promises: bool = False
    default: bool = False
    signed: bool = False
    seeded: bool = False

    def check(self, adapter: Adapter) -> Message | None:
        """Whether there are ReLUs to guide and a feature map with more than one place."""
        import torch

        if adapter.kind != "image":
            return message("it is for images")
        if not any(isinstance(module, torch.nn.ReLU) for module in adapter.model.modules()):
            return message("the model has no ReLU module, so its gradients cannot be guided")
        _, places = _last_map(adapter)
        if places <= 1:
            return message("its last feature map has one place, so it does not say where")
        return None

    def attribute(
        self,
        adapter: Adapter,
        batch: Sequence[Encoded],
        targets: Sequence[int],
        rngs: Sequence[np.random.Generator],  # noqa: ARG002
    ) -> list[Attribution]:
        """Two gradients an input."""
        from captum.attr import GuidedGradCam as Captum

        points = adapter.points(batch)
        forward, extra = captum_forward(adapter, points, targets)
        layer, _ = _last_map(adapter)
        at = points.start.detach().clone().requires_grad_()
        with quiet_captum():
            values = Captum(as_module(adapter.model, forward), layer).attribute(at, additional_forward_args=extra)
        return [
            Attribution(weights=w, target=t, error=None, evaluations=2, converged=None)
            for w, t in zip(per_unit(values, points, batch), targets, strict=True)
        ]


def _last_map(adapter: Adapter) -> tuple[Any, int]:
    """The convolution that runs last, with the number of places of its output; (None, 0) where there is none."""
    import torch

    found: list[tuple[Any, int]] = []

    def note(module: Any, given: Any, made: Any) -> None:  # noqa: ARG001
        found.append((module, made.shape[2] * made.shape[3]))

    convolutions = [module for module in adapter.model.modules() if isinstance(module, torch.nn.Conv2d)]
    hooks = [module.register_forward_hook(note) for module in convolutions]
    try:
        points = adapter.points(adapter.encode(adapter.trial()))
        with torch.no_grad():
            adapter.logits(points.start, points.extra)
    finally:
        for hook in hooks:
            hook.remove()
    return found[-1] if found else (None, 0)


METHOD = GuidedGradCam()
