"""Occlusion: how much the score falls when one unit alone is taken away (leave-one-out; Zeiler and Fergus 2014, Li et al. 2016).
One pass a unit. What two units say together is counted twice, or not at all, so it promises no sum.

Captum's `FeatureAblation` gives the same weights; it asks every input of a batch as often as the longest has units, and
rows of one input go alone there, where here those of many inputs go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.engines.captum.adapter import Adapter
from probes.engines.captum.explainer import Attribution, Encoded
from probes.engines.captum.forward import odds_without
from probes.evidence import Message, message

TITLE = message("occlusion")


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """See `probes.engines.captum.methods.Method`."""

    name: str = "occlusion"
    title: Message = TITLE
    source: str = "Zeiler and Fergus 2014"
    promises: bool = False
    default: bool = False
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
        """One pass for the whole input and one a unit."""
        keeps = [
            np.vstack([np.ones(len(one.units), dtype=np.bool_), ~np.eye(len(one.units), dtype=np.bool_)])
            for one in batch
        ]
        scores = odds_without(adapter, batch, targets, keeps)
        return [
            Attribution(weights=s[0] - s[1:], target=t, error=None, evaluations=len(s), converged=None)
            for s, t in zip(scores, targets, strict=True)
        ]


METHOD = Occlusion()
