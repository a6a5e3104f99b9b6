"""Proves on a handful of rows, before any private step, that clipped sums are what they claim to be. A training whose proof fails
does not start, so that no epsilon is ever printed for an unchecked model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fine_tune.errors import RecipeError
from fine_tune.privacy.clipping import Clipper

TOLERANCE = 1e-4
ROWS = 4

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
    """
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in parameters.items()}
    norms = []
    for batch in batches:
        made = torch.autograd.grad(losses(batch).sum(), list(parameters.values()), allow_unused=True)
        grads = [
            torch.zeros_like(p) if g is None else g.float() for g, p in zip(made, parameters.values(), strict=True)
        ]
        norm = float(torch.sqrt(sum((g.square().sum() for g in grads), torch.zeros((), device=grads[0].device))))
        norms.append(norm)
        for name, g in zip(parameters, grads, strict=True):
            sums[name] += g * min(1.0, bound / (norm + 1e-6))
    return sums, norms


def self_test(
    model: nn.Module,
    make: Callable[[], Clipper],
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
    examples: list[dict[str, Any]],
    losses: Losses,
    *,
    bound: float,
) -> Clipper:
    """Compare a clipper with the reference and hand it over if they agree.

    Args:
        model: with the flags of what is trained set; its mode is restored.
        make: opens the clipper on the model.
        collate: examples to a batch on the model's device.
        examples: three or four rows, of different lengths where rows have a length.
        losses: from a batch to one loss a row.
        bound: the clipping norm.

    Raises:
        RecipeError: the sums differ, some parameter gets no gradient from any row though the reference has one, or the
            clipper holds other parameters than the model trains; the message names the parameter.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    modes = {module: module.training for module in model.modules()}
    model.eval()
    # Opacus' hooks look at layers in training mode alone; layers with weights of their own have no dropout inside.
    for module in model.modules():
        if any(p.requires_grad for p in module.parameters(recurse=False)) and not list(module.children()):
            module.training = True
    try:
        wanted, norms = reference_sums(trained, (collate([e]) for e in examples), losses, bound)
        # A bound below every norm makes a row that escapes clipping visible, whatever the bound in use.
        tight = min([bound, *(0.5 * norm for norm in norms if norm > 0)])
        if tight < bound:
            wanted, _ = reference_sums(trained, (collate([e]) for e in examples), losses, tight)
        clipper = make()
        clipper.bound = tight
        try:
            seen = clipper.backward(losses(collate(examples)))
            sums = clipper.take()
            _compare(trained, clipper, wanted, sums)
            _compare_norms(norms, [float(v) for v in seen])
        except BaseException:
            clipper.close()
            raise
        clipper.bound = bound
        return clipper
    finally:
        for module, mode in modes.items():
            module.training = mode


def _compare(
    trained: dict[str, nn.Parameter], clipper: Clipper, wanted: dict[str, Tensor], sums: dict[str, Tensor]
) -> None:
    if set(sums) != set(trained) or set(clipper.parameters) != set(trained):
        other = sorted(set(sums) ^ set(trained))
        raise RecipeError(
            f"private training would clip {len(sums)} weights, and {len(trained)} are trained, such as {other[:3]}",
            expected="the same ones", fix="set gradients: hooks, or another method",
        )  # fmt: skip
    scale = max((float(w.abs().max()) for w in wanted.values()), default=0.0) or 1.0
    for name, want in wanted.items():
        got = sums[name]
        worst = float((got.reshape(want.shape).float() - want).abs().max()) if want.numel() else 0.0
        if not worst <= TOLERANCE * scale:
            raise RecipeError(
                f"the clipped gradient of {name} differs from one-at-a-time clipping by {worst:.2g} ({clipper.mode})",
                expected=f"a difference of at most {TOLERANCE:g} of the largest entry, {scale:.2g}",
                fix="set privacy.gradients to another way, or a method that does not train this layer (head, lora); without agreement"
                " no epsilon can be stated",
            )


def _compare_norms(wanted: list[float], seen: list[float]) -> None:
    for want, got in zip(wanted, seen, strict=True):
        if not abs(want - got) <= TOLERANCE * max(1.0, want):
            raise RecipeError(
                f"a row's gradient has the norm {want:.6g}, and clipping took it for {got:.6g}", expected="the same norm",
                fix="set privacy.gradients to another way",
            )  # fmt: skip
