"""The rule of Ali et al. 2022 for transformers, "XAI for Transformers: Better Explanations through Conservative
Propagation": attention weights, the scale of normalising layers and the gates of activations count as constants, and
gradient times input then hands a layer's relevance down without losing or inventing any.

It is a way of running a model, not a change to it: while `constant_gates` is open, the operations that a forward pass asks
torch for are answered by ones with the same values and other gradients, whatever the attention is implemented with. Modules,
weights and settings stay as they are.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1e-12


@dataclass(kw_only=True)
class Met:
    """How often a forward pass met what the rule is about."""

    attentions: int = 0
    norms: int = 0
    gates: int = 0


@contextmanager
def constant_gates(model: Any) -> Iterator[Met]:
    """Within this, forward passes of ``model`` keep their values and have the gradients of the rule."""
    met = Met()
    mode, hook = _kinds()
    hooks = [m.register_forward_hook(hook(met)) for m in model.modules() if _is_activation(m)]
    try:
        with mode(met):
            yield met
    finally:
        for one in hooks:
            one.remove()


def _is_activation(module: Any) -> bool:
    """Whether a module is an activation written out in several operations, which `Rule` would not know as one."""
    return type(module).__module__.startswith("transformers.activations") and not any(module.parameters())


def _gated(x: Tensor, y: Tensor) -> Tensor:
    """``y`` by value; its gradient is that of ``x`` times a constant. Where x is 0, so is the gradient."""
    import torch

    safe = torch.where(x.abs() < TINY, torch.ones_like(x), x)
    gate = torch.where(x.abs() < TINY, torch.zeros_like(x), y / safe).detach()
    through = x * gate
    # Dividing and multiplying rounds; what is left over goes back in as a constant.
    return through + (y - through).detach()


def _layer_norm(
    x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    dims = tuple(range(-len(shape), 0))
    centred = x - x.mean(dims, keepdim=True)
    scaled = centred * (centred.pow(2).mean(dims, keepdim=True) + eps).rsqrt().detach()
    scaled = scaled if weight is None else scaled * weight
    return scaled if bias is None else scaled + bias


def _attention(  # noqa: PLR0917 - the order of torch's own arguments
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What torch's fused attention computes, with the weights as constants; dropout is off in evaluation mode."""
    import torch

    if enable_gqa:
        times = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
    weights = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        ones = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device)
        weights = weights.masked_fill(~ones.tril(), -torch.inf)
    if attn_mask is not None:
        hidden = attn_mask.dtype == torch.bool
        weights = weights.masked_fill(~attn_mask, -torch.inf) if hidden else weights + attn_mask
    # A row that may attend to nothing is 0 here, as in torch's own.
    constant = torch.nan_to_num(torch.softmax(weights, dim=-1)).detach()
    return constant @ value


@functools.cache
def _kinds() -> tuple[Any, Callable[[Met], Callable[..., Any]]]:
    """The mode that answers operations, and the hook for activations that are modules; made when torch is there."""
    import torch
    from torch.nn import functional as f
    from torch.overrides import TorchFunctionMode

    softmaxes = {f.softmax, torch.softmax, torch.Tensor.softmax}
    norms = {f.layer_norm}
    roots = {torch.rsqrt, torch.Tensor.rsqrt}
    gates = {
        f.gelu,
        f.silu,
        f.relu,
        f.mish,
        f.hardswish,
        torch.relu,
        torch.tanh,
        torch.Tensor.tanh,
        f.tanh,
        torch.Tensor.relu,
    }

    class Rule(TorchFunctionMode):
        def __init__(self, met: Met) -> None:
            super().__init__()
            self.met = met

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func is f.scaled_dot_product_attention:
                self.met.attentions += 1
                return _attention(*args, **kwargs)
            if func in norms:
                self.met.norms += 1
                return _layer_norm(*args, **kwargs)
            made = func(*args, **kwargs)
            if func in softmaxes:
                self.met.attentions += 1
                return made.detach()
            if func in roots:
                self.met.norms += 1
                return made.detach()
            if func in gates and not kwargs.get("inplace"):
                self.met.gates += 1
                return _gated(args[0], made)
            return made

    def hook(met: Met) -> Callable[..., Any]:
        def gate(module: Any, given: tuple[Any, ...], made: Any) -> Any:  # noqa: ARG001
            met.gates += 1
            return _gated(given[0], made.detach())

        return gate

    return Rule, hook
