"""Finds the layer in which rows of a batch meet, for a message that names it. It is asked after a comparison failed, and proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

_DIFFERENT = 1e-4


def module_where_rows_meet(
    model: nn.Module, batch: dict[str, Any], losses: Callable[[dict[str, Any]], Tensor]
) -> str | None:
    """Name and kind of the first layer that gives a row something else in a batch than alone, though it gets the same.

    Args:
        model: as it was compared, with nothing random in it.
        batch: rows first, padded; each row alone keeps its padding.
        losses: from a batch to one loss a row.

    Returns:
        None if no row changes with its company, such as where only padding makes a difference.
    """
    rows = max(int(v.shape[0]) for v in batch.values() if isinstance(v, Tensor) and v.dim())
    together = _calls(model, batch, losses)
    for row in range(rows):
        one = {
            n: v[row : row + 1] if isinstance(v, Tensor) and v.dim() and len(v) == rows else v for n, v in batch.items()
        }
        alone = _calls(model, one, losses)
        for (name, kind, before, after), (other, _, same, result) in zip(together, alone, strict=False):
            if name != other:
                break
            if not _differ(before, same, row, rows) and _differ(after, result, row, rows):
                return f"{name or 'the model'} ({kind})"
    return None


def _calls(model: nn.Module, batch: dict[str, Any], losses: Callable[[dict[str, Any]], Tensor]) -> list[Any]:
    """Every layer's inputs and outputs in the order in which layers finish, the inner ones first."""
    found: list[Any] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            before = [t.clone() for t in _tensors((args, kwargs))]
            found.append((name, type(module).__name__, before, [t.clone() for t in _tensors(output)]))

        return hook

    handles = [m.register_forward_hook(note(n), with_kwargs=True) for n, m in model.named_modules()]
    try:
        with torch.no_grad():
            losses(batch)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value.detach()
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _tensors(inner)


def _differ(together: list[Tensor], alone: list[Tensor], row: int, rows: int) -> bool:
    for many, one in zip(together, alone, strict=False):
        if not many.dim() or len(many) != rows or not one.dim() or many.shape[1:] != one.shape[1:] or len(one) != 1:
            continue
        first, second = many[row].double(), one[0].double()
        if float((first - second).abs().max() if first.numel() else 0.0) > _DIFFERENT * (1 + float(second.abs().max())):
            return True
    return False
