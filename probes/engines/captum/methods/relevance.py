"""The transformer-aware relevance rule (Ali et al. 2022): gradient times input while attention weights, the scale of
normalising layers and activation gates count as constants. One gradient an input. Captum's own LRP fails on embeddings.

It is offered only for a model whose forward pass it leaves unchanged, and in which it met attention and normalising layers:
elsewhere it would be input times gradient under another name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.engines.captum.adapter import Adapter, log_odds, per_unit
from probes.engines.captum.detached import constant_gates
from probes.engines.captum.explainer import Attribution, Encoded
from probes.evidence import Message, message

UNCHANGED = 1e-4

TITLE = message("relevance propagation for transformers")


@dataclass(frozen=True, kw_only=True)
class Relevance:
    """See `probes.engines.captum.methods.Method`."""

    name: str = "relevance"
    title: Message = TITLE
    source: str = "Ali et al. 2022"
    promises: bool = False
    default: bool = True
    signed: bool = True
    seeded: bool = False

    def check(self, adapter: Adapter) -> Message | None:
        """A forward pass under the rule against a plain one."""
        import torch

        trial = adapter.trial()
        points = adapter.points(adapter.encode(trial))
        with torch.no_grad():
            plain = adapter.logits(points.start, points.extra)
            try:
                with constant_gates(adapter.model) as met:
                    same = adapter.logits(points.start, points.extra)
            except Exception as error:
                return message("its forward pass fails under the rule: {error}", error=str(error)[:200])
        if not met.attentions or not met.norms:
            return message(
                "its forward pass has {attentions} attention weights and {norms} normalising layers that the rule knows; it "
                "is for transformers",
                attentions=met.attentions,
                norms=met.norms,
            )
        off = float((plain - same).abs().max() / plain.abs().max().clamp(min=1.0))
        if not off <= UNCHANGED:
            return message("the rule changes its scores by {off}, and may change none", off=off)
        return None

    def attribute(
        self,
        adapter: Adapter,
        batch: Sequence[Encoded],
        targets: Sequence[int],
        rngs: Sequence[np.random.Generator],  # noqa: ARG002
    ) -> list[Attribution]:
        """One gradient an input."""
        import torch

        points = adapter.points(batch)
        at = points.start.detach().clone().requires_grad_()
        with constant_gates(adapter.model):
            score = log_odds(adapter.logits(at, points.extra), torch.tensor(list(targets), device=at.device))
        (gradient,) = torch.autograd.grad(score.sum(), at)
        weights = per_unit(gradient * at, points, batch)
        return [
            Attribution(weights=w, target=t, error=None, evaluations=1, converged=None)
            for w, t in zip(weights, targets, strict=True)
        ]


METHOD = Relevance()
