"""Weights drawn at random: the baseline that every method has to beat. It looks at nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.engines.captum.adapter import Adapter
from probes.engines.captum.explainer import Attribution, Encoded
from probes.evidence import Message, message

TITLE = message("random weights")


@dataclass(frozen=True, kw_only=True)
class Random:
    """See `probes.engines.captum.methods.Method`."""

    name: str = "random"
    title: Message = TITLE
    source: str = ""
    promises: bool = False
    default: bool = False
    signed: bool = True
    seeded: bool = True

    def check(self, adapter: Adapter) -> Message | None:  # noqa: ARG002
        """It can be used on every model."""
        return None

    def attribute(
        self,
        adapter: Adapter,  # noqa: ARG002
        batch: Sequence[Encoded],
        targets: Sequence[int],
        rngs: Sequence[np.random.Generator],
    ) -> list[Attribution]:
        """Standard normal weights, from the generator of each input."""
        return [
            Attribution(
                weights=rng.standard_normal(len(one.units)), target=target, error=None, evaluations=0, converged=None
            )
            for one, target, rng in zip(batch, targets, rngs, strict=True)
        ]


METHOD = Random()
