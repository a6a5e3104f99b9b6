"""Captum's two metrics of attributions, infidelity and sensitivity (Yeh et al. 2019), on units. Both are opt-in wherever they are
offered: they order methods, and neither says whether a map may be believed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.engines.captum.engine import AdapterExplainer, method_of

if TYPE_CHECKING:
    from torch import Tensor

    from probes.engines.captum.adapter import Points
    from probes.engines.captum.explainer import Attribution, Encoded, Explainer
    from probes.engines.captum.methods import Method
    from probes.probe import Context

SAMPLES = 32
STEPS = 10
RADIUS = 0.02
_LEAST = 1e-12


def infidelity(
    explainer: Explainer, encoded: Sequence[Encoded], attributions: Mapping[str, Sequence[Attribution]], ctx: Context
) -> dict[str, list[float]]:
    """How badly weights add up to what the log-odds lose when units are taken away at random; one value an input, by method.

    Each unit is taken away with probability one half, ``SAMPLES`` times an input, the same ones for every method. Captum's
    ``normalize`` scales each map by the factor that fits it best, as methods have scales of their own. Even so an arbitrary
    positive score can get a lower infidelity than integrated gradients: a low figure is no proof of anything.

    Args:
        explainer: whose scores are asked.
        encoded: T inputs.
        attributions: T an entry, by method.
        ctx: seed, journal and progress.

    Returns:
        values >= 0 in squared log-odds; T an entry.
    """
    kept = [_taken(one, ctx) for one in encoded]
    scores = explainer.scores(encoded, kept, ctx)
    out: dict[str, list[float]] = {}
    for name, found in attributions.items():
        out[name] = [_infidelity(k, s[:, a.target], a.weights) for k, s, a in zip(kept, scores, found, strict=True)]
    return out


def _taken(one: Encoded, ctx: Context) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which units are kept: all of them in the first row, then one row a sample."""
    drawn = ctx.rng(f"infidelity/{one.key}").random((SAMPLES, len(one.units))) < 0.5
    return np.vstack([np.ones((1, len(one.units)), dtype=np.bool_), drawn])


def _infidelity(
    kept: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    shares: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    weights: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> float:
    """Captum's figure of one input; the model is a table of the answers that are already there."""
    import torch
    from captum.metrics import infidelity as captum_infidelity

    bounded = np.clip(shares, _LEAST, 1 - _LEAST)
    known = {row.tobytes(): float(odds) for row, odds in zip(kept, np.log(bounded / (1 - bounded)), strict=True)}

    def forward(masks: Tensor) -> Tensor:
        return torch.tensor([known[row.tobytes()] for row in masks.numpy().astype(np.bool_)], dtype=torch.float64)

    def take(inputs: Tensor) -> tuple[Tensor, Tensor]:
        left = torch.from_numpy(kept[1:].astype(np.float64))
        return inputs - left, left

    value = captum_infidelity(
        forward, take, torch.ones(1, kept.shape[1], dtype=torch.float64), torch.from_numpy(np.ascontiguousarray(weights))[None, :],
        n_perturb_samples=len(kept) - 1, normalize=True,
    )  # fmt: skip
    return max(float(value[0]), 0.0)


def sensitivity_max(
    explainer: Explainer, encoded: Sequence[Encoded], targets: Sequence[int], method: str | Method, ctx: Context
) -> list[float]:
    """The largest relative change of a map among ``STEPS`` random steps of the input's point; one value an input.

    Each coordinate moves by at most ``RADIUS`` times the spread of the point. It costs one attribution for the input and one
    for each step, and a map that ignores the input has the best value there is.

    Args:
        explainer: of this engine; its model is asked directly.
        encoded, targets: T inputs with their classes.
        method: by name, or with settings of its own.
        ctx: seed, journal and progress.

    Returns:
        values >= 0, T of them.
    """
    if not isinstance(explainer, AdapterExplainer):
        raise TypeError(f"{type(explainer).__name__} has no points to move; AdapterExplainer has")
    found = method_of(method)
    pairs = list(zip(encoded, targets, strict=True))
    out = []
    for one, target in ctx.progress(pairs, len(pairs), f"moving inputs under {found.name}"):
        name = f"sensitivity/{STEPS}/{RADIUS}/{explainer.space(ctx)}/{found!r}/{ctx.seed}/{one.key}/{target}"
        key = hashlib.sha256(name.encode()).hexdigest()
        kept = ctx.journal.lookup(key)
        if kept is None:
            kept = _sensitivity(explainer.adapter, one, target, found, ctx)
            ctx.journal.append([(key, kept)])
        out.append(float(kept))
    return out


class _Moved:
    """An adapter whose inputs start elsewhere; everything else is the adapter's own."""

    def __init__(self, adapter: Any, start: Tensor) -> None:
        self._adapter, self._start = adapter, start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def points(self, batch: Sequence[Encoded]) -> Points:
        points: Points = self._adapter.points(batch)
        return replace(points, start=self._start)


def _sensitivity(adapter: Any, one: Encoded, target: int, method: Method, ctx: Context) -> float:
    import torch
    from captum.metrics import sensitivity_max as captum_sensitivity

    points = adapter.points([one])
    owned = (points.owner >= 0).expand(points.start.shape)
    radius = RADIUS * float(points.start[owned].std())
    rng = ctx.rng(f"sensitivity/{one.key}")

    def explain(starts: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        start = starts[0] if isinstance(starts, tuple) else starts
        rngs = [np.random.default_rng(0) for _ in range(len(start))]
        with torch.enable_grad():
            made = method.attribute(_Moved(adapter, start), [one] * len(start), [target] * len(start), rngs)
        # A tuple, because Captum takes a bare tensor apart row by row.
        return (torch.tensor(np.array([a.weights for a in made])),)

    def move(start: Tensor) -> Tensor:
        step = torch.from_numpy(rng.uniform(-radius, radius, tuple(start.shape))).to(start)
        return start + torch.where(owned, step, torch.zeros_like(step))

    value = captum_sensitivity(explain, points.start, perturb_func=move, n_perturb_samples=STEPS)
    return float(value[0])
