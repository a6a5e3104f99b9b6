"""What every way of clipping gradients promises, and the choice among the ways. A contribution is clipped over all trained
parameters together; what can't be clipped rightly is refused with the module's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

from fine_tune.errors import RecipeError
from fine_tune.privacy.normalisation import hold_statistics, mixing
from fine_tune.privacy.settings import Gradients

# Vectors that are written at places of a sequence, not at rows of a batch: what stands for masked stretches of sound.
_BY_PLACE = ("masked_spec_embed",)


class ChangedInputsError(RecipeError):
    """Something changed a layer's inputs in place before its gradient was made of them."""


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


def prepare_model(model: Any, batch_norm: Literal["refuse", "hold"] = "refuse") -> list[str]:
    """Hold still what cannot be clipped and need not be trained.

    Args:
        model: with the flags of what is trained set; changed in place.
        batch_norm: ``hold`` keeps running statistics as they came with the base, in training too; scales and shifts are
            trained. With ``refuse`` such layers stay as they are, and `make_clipper` refuses them.

    Returns:
        Names of the parameters and layers that are held from now on.
    """
    held = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name.rsplit(".", 1)[-1] in _BY_PLACE:
            parameter.requires_grad_(False)
            held.append(name)
    return held + (hold_statistics(model) if batch_norm == "hold" else [])


def make_clipper(model: Any, max_grad_norm: float, mode: Gradients = "auto") -> Clipper:
    """The way to clip this model's gradients; ``auto`` takes book-keeping where it covers every trained layer, else hooks.

    Raises:
        RecipeError: no way, or not the one that is asked for, covers the model; the message names the layers.
    """
    refuse_shared(model)
    refuse_mixing(model)
    if not any(p.requires_grad for p in model.parameters()):
        raise RecipeError("no weight of the model is trained", expected="a method that moves weights")
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
        RecipeError: a batch normalisation uses the batch's statistics, or a layer learns statistics without noise.
    """
    found = mixing(model)
    if found:
        raise RecipeError(
            f"{found[0]} normalises over the rows of a batch, so no row's contribution can be clipped alone"
            + (f" (and {len(found) - 1} more layers)" if len(found) > 1 else ""),
            expected="GroupNorm or LayerNorm, which look at one row at a time, or statistics that are held still",
            fix="set privacy.batch_norm: hold, use such a base (BiT has GroupNorm), or method: head",
        )


def batch_rows(args: Iterable[Any], kwargs: Mapping[str, Any]) -> int:
    """Rows of the batch that a model is called with. Inputs that stand for all rows at once, such as positions, have one.

    Raises:
        RecipeError: there is no tensor among the inputs.
    """
    sizes = [int(v.shape[0]) for v in (*args, *kwargs.values()) if getattr(v, "ndim", 0) > 0]
    if not sizes:
        raise RecipeError("the model was called without a tensor", expected="inputs with one row for each example")
    return max(sizes)
