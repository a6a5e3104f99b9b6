"""Shapley values by sampling: the mean change of the score when a unit joins, over random orders of joining (Castro et al.
2009). Orders are drawn in pairs, each with its reverse, which halves the noise of what is nearly additive (Mitchell et al.
2022). The weights add up to f(x) - f(baseline) whatever is drawn; their own noise shrinks with the number of orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.engines.captum.adapter import Adapter
from probes.engines.captum.explainer import Attribution, Bool, Encoded
from probes.engines.captum.forward import odds_without, sum_error
from probes.evidence import Message, message

TITLE = message("Shapley values, sampled")


@dataclass(frozen=True, kw_only=True)
class ShapleySampling:
    """See `probes.engines.captum.methods.Method`.

    Attributes:
        pairs: orders that are drawn; each is walked in reverse too.
    """

    name: str = "shapley_sampling"
    title: Message = TITLE
    source: str = "Castro et al. 2009; Mitchell et al. 2022"
    promises: bool = True
    default: bool = False
    signed: bool = True
    seeded: bool = True
    pairs: int = 5

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
        """Two passes for the ends, and one a unit and order less those."""
        orders = [self._orders(len(one.units), rng) for one, rng in zip(batch, rngs, strict=True)]
        scores = odds_without(adapter, batch, targets, [_joining(order) for order in orders])
        return [_weights(order, score, target) for order, score, target in zip(orders, scores, targets, strict=True)]

    def _orders(self, units: int, rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        drawn = np.array([rng.permutation(units) for _ in range(self.pairs)], dtype=np.int64).reshape(self.pairs, units)
        return np.concatenate([drawn, drawn[:, ::-1]])


def _joining(orders: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Bool:
    """Which units are there: none, all, then for each order after each joining but the last."""
    units = orders.shape[1]
    rank = np.argsort(orders, axis=1)
    steps = rank[:, None, :] <= np.arange(units - 1)[None, :, None]
    ends = np.array([[False] * units, [True] * units])
    return np.concatenate([ends, steps.reshape(-1, units)])


def _weights(
    orders: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    scores: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    target: int,
) -> Attribution:
    many, units = orders.shape
    none, whole = np.full((many, 1), scores[0]), np.full((many, 1), scores[1])
    path = np.hstack([none, scores[2:].reshape(many, units - 1), whole])
    weights = np.zeros(units)
    np.add.at(weights, orders, np.diff(path, axis=1))
    weights /= many
    error = sum_error(weights, float(scores[1] - scores[0]))
    return Attribution(weights=weights, target=target, error=error, evaluations=len(scores), converged=None)


METHOD = ShapleySampling()
