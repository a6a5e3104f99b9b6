"""Clipping the slow and obvious way, one row at a time: what the quick ways are held against. It compares nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fine_tune.errors import RecipeError
from fine_tune.sources import first_line

# How far weights are moved for the second comparison, at least and as a share of their size.
_LEAST, _SHARE = 0.02, 0.1

Losses = Callable[[dict[str, Any]], Tensor]


def reference_sums(
    parameters: dict[str, nn.Parameter],
    batches: Iterable[dict[str, Any]],
    losses: Losses,
    bound: float,
) -> tuple[dict[str, Tensor], list[float]]:
    """Clipped sums the slow and obvious way: one row, one backward pass, one norm over everything.

    Args:
        parameters: what is trained, by name; the model is in evaluation mode, so that nothing is random.
        batches: each of one row.
        losses: from a batch to one loss a row.
        bound: the clipping norm.

    Returns:
        The sums by name, and each row's norm before clipping.

    Raises:
        RecipeError: the model has no gradients.
    """
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in parameters.items()}
    norms = []
    for batch in batches:
        try:
            made = torch.autograd.grad(losses(batch).sum(), list(parameters.values()), allow_unused=True)
        except RuntimeError as error:
            raise RecipeError(
                f"the model gives no gradients of rows taken one at a time: {first_line(error)}",
                expected="a model that can be trained, with or without privacy", fix="use another base or method",
            ) from error  # fmt: skip
        grads = [
            torch.zeros_like(p) if g is None else g.float() for g, p in zip(made, parameters.values(), strict=True)
        ]
        norm = float(torch.sqrt(sum((g.square().sum() for g in grads), torch.zeros((), device=grads[0].device))))
        norms.append(norm)
        for name, g in zip(parameters, grads, strict=True):
            sums[name] += g * min(1.0, bound / (norm + 1e-6))
    return sums, norms


class Wanted:
    """The reference at some weights: clipped sums, norms, the bound that they were clipped to, and the largest entry of any
    contribution. Contributions of opposite labels cancel; what rounding leaves is small beside them, not beside their sum.
    """

    def __init__(
        self, trained: dict[str, nn.Parameter], rows: list[dict[str, Any]], losses: Losses, bound: float
    ) -> None:
        self.bound = bound
        _, self.norms = reference_sums(trained, rows, losses, bound)
        # A bound below every norm makes a row that escapes clipping visible, whatever the bound in use.
        self.bound = min([bound, *(0.5 * norm for norm in self.norms if norm > 0)])
        self.sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in trained.items()}
        self.sizes = dict.fromkeys(trained, 0.0)
        for row in rows:
            alone, _ = reference_sums(trained, [row], losses, self.bound)
            for name, total in alone.items():
                self.sums[name] += total
                self.sizes[name] = max(self.sizes[name], float(total.abs().max()) if total.numel() else 0.0)


def references(
    trained: dict[str, nn.Parameter], rows: list[dict[str, Any]], losses: Losses, bound: float
) -> tuple[Wanted, Wanted]:
    """At the weights as they are, and at moved ones; both before a clipper takes the flags of the weights away."""
    as_they_are = Wanted(trained, rows, losses, bound)
    with moved(trained):
        return as_they_are, Wanted(trained, rows, losses, bound)


@contextlib.contextmanager
def moved(trained: dict[str, nn.Parameter]) -> Iterator[None]:
    """The same small change of every trained weight each time; put back at the end, to the bit."""
    kept = {name: p.detach().clone() for name, p in trained.items()}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in trained.values():
            far = max(_LEAST, _SHARE * float(p.float().square().mean().sqrt())) if p.numel() else 0.0
            p.add_((far * torch.randn(p.shape, generator=generator)).to(device=p.device, dtype=p.dtype))
    try:
        yield
    finally:
        with torch.no_grad():
            for name, p in trained.items():
                p.copy_(kept[name])
