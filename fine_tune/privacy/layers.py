"""Clipped gradients of single layers from what went in and what came back (Bu et al., 2023): squared norms a row, and sums in which
each row is scaled, without a gradient a row where that would be large. It knows layers, not models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.grad import conv1d_weight, conv2d_weight, conv3d_weight


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One layer's part in a backward pass.

    Attributes:
        inputs: what went in, b rows first.
        grads: the gradient of the summed losses with regard to what came out, b rows first.
    """

    inputs: Tensor
    grads: Tensor


class Kept(Protocol):
    """A layer's gradient, not yet written out."""

    def squares(self) -> Tensor:
        """Squared norm of each row's gradient, shape (b,)."""
        ...

    def scaled(self, factors: Tensor) -> dict[str, Tensor]:
        """Sum over rows of factor times gradient, by the parameter's own name."""
        ...


@dataclass(frozen=True, kw_only=True)
class Product:
    """The gradient of a weight that multiplies: per row the sum over places t of g_t a_t^T.

    Attributes:
        a: inputs, shape (b, t, inward).
        g: gradients, shape (b, t, outward).
        weight, bias: which of them is trained.
        turned: the weight is kept as (inward, outward).
    """

    a: Tensor
    g: Tensor
    weight: bool
    bias: bool
    turned: bool = False

    def squares(self) -> Tensor:
        out = torch.zeros(len(self.g), device=self.g.device)
        places, inward, outward = self.a.shape[1], self.a.shape[2], self.g.shape[2]
        if self.weight and places == 1:
            out += self.a.square().sum((1, 2)) * self.g.square().sum((1, 2))
        elif self.weight and places * (inward + outward) < inward * outward:
            # The norm of sum_t g_t a_t^T from its Gram matrices, which are small where a row has few places.
            grams = torch.bmm(self.a, self.a.transpose(1, 2)) * torch.bmm(self.g, self.g.transpose(1, 2))
            out += grams.sum((1, 2)).clamp(min=0)
        elif self.weight:
            out += torch.bmm(self.g.transpose(1, 2), self.a).square().sum((1, 2))
        if self.bias:
            out += self.g.sum(1).square().sum(1)
        return out

    def scaled(self, factors: Tensor) -> dict[str, Tensor]:
        g = (self.g * factors[:, None, None]).flatten(0, 1)
        out = {}
        if self.weight:
            made = g.t() @ self.a.flatten(0, 1)
            out["weight"] = made.t() if self.turned else made
        if self.bias:
            out["bias"] = g.sum(0)
        return out


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """The gradient of an embedding: per row, gradients land where its ids point.

    Attributes:
        ids: shape (b, t).
        g: shape (b, t, width); zero where an id is the padding's.
        size: rows of the table.
    """

    ids: Tensor
    g: Tensor
    size: int

    def squares(self) -> Tensor:
        same = self.ids[:, :, None] == self.ids[:, None, :]
        return (torch.bmm(self.g, self.g.transpose(1, 2)) * same).sum((1, 2)).clamp(min=0)

    def scaled(self, factors: Tensor) -> dict[str, Tensor]:
        g = (self.g * factors[:, None, None]).flatten(0, 1)
        table = torch.zeros(self.size, g.shape[1], device=g.device)
        return {"weight": table.index_add_(0, self.ids.flatten(), g)}


@dataclass(frozen=True, kw_only=True)
class Written:
    """A gradient a row, written out; for small parameters.

    Attributes:
        rows: by parameter name, shape (b, *parameter).
    """

    rows: dict[str, Tensor]

    def squares(self) -> Tensor:
        return torch.stack([rows.flatten(1).square().sum(1) for rows in self.rows.values()]).sum(0)

    def scaled(self, factors: Tensor) -> dict[str, Tensor]:
        return {name: torch.einsum("b,b...->...", factors, rows) for name, rows in self.rows.items()}


Rule = Callable[[Any, list[Trace], frozenset[str]], Kept]


def _linear(module: Any, traces: list[Trace], trained: frozenset[str]) -> Kept:
    """A layer that is used several times in one pass has the sum over its uses: further places of the same row."""
    a = torch.cat([_places(t.inputs) for t in traces], dim=1)
    g = torch.cat([_places(t.grads) for t in traces], dim=1)
    turned = not isinstance(module, nn.Linear)
    return Product(a=a, g=g, weight="weight" in trained, bias="bias" in trained, turned=turned)


def _embedding(module: Any, traces: list[Trace], trained: frozenset[str]) -> Kept:  # noqa: ARG001
    ids = torch.cat([t.inputs.flatten(1) for t in traces], dim=1)
    g = torch.cat([t.grads.float().reshape(len(t.grads), -1, t.grads.shape[-1]) for t in traces], dim=1)
    if module.padding_idx is not None:
        g = g * (ids != module.padding_idx)[..., None]
    return Lookup(ids=ids, g=g, size=module.num_embeddings)


def _layer_norm(module: Any, traces: list[Trace], trained: frozenset[str]) -> Kept:
    axes = len(module.normalized_shape)
    first = getattr(module, "data_format", "") == "channels_first"
    out: dict[str, Tensor] = {}
    for t in traces:
        inputs, grads = (v.float().movedim(1, -1) if first else v.float() for v in (t.inputs, t.grads))
        if "weight" in trained:
            seen = F.layer_norm(inputs, module.normalized_shape, eps=module.eps)
            _add(out, "weight", _over_places(seen * grads, axes))
        if "bias" in trained:
            _add(out, "bias", _over_places(grads, axes))
    return Written(rows=out)


def _group_norm(module: Any, traces: list[Trace], trained: frozenset[str]) -> Kept:
    out: dict[str, Tensor] = {}
    for t in traces:
        grads = t.grads.float()
        seen = F.group_norm(t.inputs.float(), module.num_groups, eps=module.eps) * grads
        for name, values in (("weight", seen), ("bias", grads)):
            if name in trained:
                _add(out, name, values.flatten(2).sum(2))
    return Written(rows=out)


def _convolution(module: Any, traces: list[Trace], trained: frozenset[str]) -> Kept:
    out: dict[str, Tensor] = {}
    for t in traces:
        grads = t.grads.float().contiguous()
        if "weight" in trained:
            _add(out, "weight", _convolved(module, t.inputs.float().contiguous(), grads))
        if "bias" in trained:
            _add(out, "bias", grads.flatten(2).sum(2))
    return Written(rows=out)


def _convolved(module: Any, inputs: Tensor, grads: Tensor) -> Tensor:
    """Each row's weight gradient: one grouped convolution in which every row is a group of its own."""
    rows, outward = len(inputs), module.weight.shape[0]
    dims = inputs.dim() - 2
    convolve = {1: conv1d_weight, 2: conv2d_weight, 3: conv3d_weight}[dims]
    padding = module.padding
    if padding == "valid":
        padding = (0,) * dims
    elif padding == "same":
        sides = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        pads = [side for total in reversed(sides) for side in (total // 2, total - total // 2)]
        inputs, padding = F.pad(inputs, pads), (0,) * dims
    stacked: Tensor = convolve(  # type: ignore[no-untyped-call]
        inputs.reshape(1, rows * inputs.shape[1], *inputs.shape[2:]),
        (rows * outward, *module.weight.shape[1:]),
        grads.reshape(1, rows * outward, *grads.shape[2:]),
        stride=module.stride, padding=padding, dilation=module.dilation, groups=rows * module.groups,
    )  # fmt: skip
    return stacked.reshape(rows, *module.weight.shape)


def _places(values: Tensor) -> Tensor:
    return values.float().reshape(len(values), -1, values.shape[-1])


def _over_places(values: Tensor, axes: int) -> Tensor:
    return values.reshape(len(values), -1, *values.shape[values.dim() - axes :]).sum(1)


def _add(out: dict[str, Tensor], name: str, values: Tensor) -> None:
    out[name] = out[name] + values if name in out else values


def rule_for(module: Any) -> Rule | None:
    """How this layer's gradients are clipped, or None where book-keeping does not know the layer."""
    kind = type(module)
    if kind is nn.Linear or (kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils"):
        return _linear
    if kind is nn.Embedding:
        plain = module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
        return _embedding if plain else None
    if kind is nn.LayerNorm or kind.__mro__[1] is nn.LayerNorm:
        return _layer_norm
    if kind is nn.GroupNorm:
        return _group_norm
    if kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d) and module.padding_mode == "zeros":
        return _convolution
    return None
