"""The loss of each row of a batch, which looks at that row alone: no mean over the batch, no count of anything. Clipping rests on
that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fine_tune.errors import RecipeError
from fine_tune.recipe import Recipe

_IGNORED = -100


class RowLosses:
    """Losses of one model.

    Args:
        model: gives ``logits`` of shape (b, classes), or (b, units, classes) where a row has several units.
        recipe: `Recipe.label_smoothing`, `Recipe.class_weights` and `Recipe.precision` count.
        classes: names in the order of the outputs.
        device: torch's name.

    Raises:
        RecipeError: ``class_weights`` does not name the classes.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, classes: tuple[str, ...], device: str) -> None:
        self._model, self._smoothing, self._device = model, recipe.label_smoothing, device
        self._weights = _class_weights(recipe, classes, device)

    def exact(self, batch: dict[str, Any]) -> Tensor:
        """Of a batch of b rows, in float32; shape (b,)."""
        return self._of(*self._outputs(batch))

    def mixed(self, batch: dict[str, Any]) -> Tensor:
        """As `exact`, with a forward pass in bfloat16."""
        with torch.autocast(torch.device(self._device).type, dtype=torch.bfloat16):
            made = self._outputs(batch)
        return self._of(*made)

    def plain(self, batch: dict[str, Any]) -> Tensor:
        """As `exact`, without smoothing and class weights."""
        return _cross_entropy(*self._outputs(batch))

    def _outputs(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        scores = self._model(**{name: value for name, value in batch.items() if name != "labels"}).logits
        labels = batch["labels"].reshape(len(scores), -1)
        return scores.reshape(*labels.shape, scores.shape[-1]), labels

    def _of(self, scores: Tensor, labels: Tensor) -> Tensor:
        return _cross_entropy(scores, labels, self._smoothing, self._weights)


def _cross_entropy(scores: Tensor, labels: Tensor, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the units of each row: scores (b, units, classes), labels (b, units), -100 for none."""
    each = F.cross_entropy(
        scores.float().flatten(0, 1),
        labels.flatten(),
        reduction="none",
        label_smoothing=smoothing,
        ignore_index=_IGNORED,
    ).reshape(labels.shape)
    counts = labels != _IGNORED
    if weights is not None:
        each = each * weights[labels.clamp(min=0)]
    return (each * counts).sum(1) / counts.sum(1).clamp(min=1)


def _class_weights(recipe: Recipe, classes: tuple[str, ...], device: str) -> Tensor | None:
    """Weights by class as they are given: scaling them by how many rows have which label would look at labels."""
    given = recipe.class_weights
    if not isinstance(given, dict):
        return None
    if set(given) != set(classes):
        raise RecipeError(
            f"class_weights names {', '.join(given) or 'no class'}",
            expected=f"one weight for each of {', '.join(classes)}",
        )
    return torch.tensor([given[c] for c in classes], device=device)
