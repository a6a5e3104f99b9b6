"""What every way of clipping gradients promises, and the choice among the ways. A contribution is clipped over all trained
parameters together; what can't be clipped rightly is refused with the module's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from fine_tune.errors import RecipeError
from fine_tune.privacy.settings import Gradients


class Clipper(Protocol):
    """Sums of clipped contributions, batch by batch.

    Attributes:
        mode: which way it is.
        bound: C, the norm that each row's contribution is clipped to.
        parameters: everything that is trained, by name.
    """

    mode: str
    bound: float
    parameters: Mapping[str, Any]

    def backward(self, losses: Any) -> Any:
        """Add each row's clipped gradient to the sums.

        Args:
            losses: one a row, of the forward pass just made in training mode; shape (b,).

        Returns:
            Norms of the rows' gradients before clipping, float32, shape (b,).
        """
        ...

    def take(self) -> dict[str, Any]:
        """The sums since the last call by parameter name, float32; zeros where no row came. Starts again from zero."""
        ...

    def close(self) -> None:
        """Take every hook away and leave the model as it was."""
        ...


def make_clipper(model: Any, max_grad_norm: float, mode: Gradients = "auto") -> Clipper:
    """The way to clip this model's gradients; ``auto`` takes book-keeping where it covers every trained layer, else hooks.

    Raises:
        RecipeError: no way, or not the one that is asked for, covers the model; the message names the layers.
    """
    refuse_shared(model)
    refuse_mixing(model)
    if mode in ("auto", "bookkeeping"):
        from fine_tune.privacy.bookkeeping import BookKeeping, uncovered

        missing = uncovered(model)
        if not missing:
            return BookKeeping(model, max_grad_norm)
        if mode == "bookkeeping":
            raise RecipeError(
                f"book-keeping does not cover {', '.join(missing[:5])}", expected="layers that it knows",
                fix="set gradients: auto or hooks, or a method that does not train these layers (head, lora)",
            )  # fmt: skip
    from fine_tune.privacy.opacus_clipping import GhostClipper, HookClipper

    return GhostClipper(model, max_grad_norm) if mode == "ghost" else HookClipper(model, max_grad_norm)


def refuse_shared(model: Any) -> None:
    """Refuse weights that two layers share.

    Raises:
        RecipeError: a trained weight has two names.
    """
    names: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if not parameter.requires_grad:
            continue
        other = names.setdefault(id(parameter), name)
        if other != name:
            raise RecipeError(
                f"{name} and {other} are one weight, and clipping each use alone bounds nothing",
                expected="weights that one layer alone uses",
                fix="set tie_word_embeddings: false in the base's configuration, or train without them (method: head or lora)",
            )


def refuse_mixing(model: Any) -> None:
    """Refuse layers in which rows of a batch meet.

    Raises:
        RecipeError: a batch normalisation is trained, or learns its statistics.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and (
            any(p.requires_grad for p in module.parameters())
            or (module.training and not module.__dict__.get("held", False))
        ):
            raise RecipeError(
                f"{name} normalises over the rows of a batch, so no row's contribution can be clipped alone",
                expected="GroupNorm or LayerNorm, which look at one row at a time",
                fix="use such a base, or method: head, which holds the statistics still",
            )
