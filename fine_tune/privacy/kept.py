"""A layer's gradient before it is written out: norms a row and sums in which each row is scaled, from what went in and what came back
(Bu et al., 2023). It knows three kinds of gradients, and neither layers nor models.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

_ROUNDING = torch.finfo(torch.float32).eps


def is_small(places: int, inward: int, outward: int) -> bool:
    """Whether inputs and gradients of a row hold fewer numbers than its weight gradient."""
    return places * (inward + outward) < inward * outward


@dataclass
class Grams:
    """Inner products of all places of a row, once for each tensor: queries, keys and values have the same inputs."""

    _known: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)

    def of(self, values: Tensor) -> Tensor:
        """From (b, t, d) to (b, t, t); the tensor must stay alive as long as this object."""
        key = (values.data_ptr(), values.shape, values.stride(), values.dtype)
        if key not in self._known:
            self._known[key] = torch.bmm(values, values.transpose(1, 2))
        return self._known[key]


class Kept(Protocol):
    """A layer's gradient, not yet written out."""

    def squares(self, grams: Grams) -> Tensor:
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

    @cached_property
    def _bias_rows(self) -> Tensor:
        return self.g.sum(1)

    def squares(self, grams: Grams) -> Tensor:
        out = torch.zeros(len(self.g), device=self.g.device)
        places, inward, outward = self.a.shape[1], self.a.shape[2], self.g.shape[2]
        if self.weight and places == 1:
            out += self.a.square().sum((1, 2)) * self.g.square().sum((1, 2))
        elif self.weight and is_small(places, inward, outward):
            out += _norms_by_grams(grams.of(self.a), grams.of(self.g))
        elif self.weight:
            out += torch.bmm(self.g.transpose(1, 2), self.a).square().sum((1, 2))
        if self.bias:
            out += self._bias_rows.square().sum(1)
        return out

    def scaled(self, factors: Tensor) -> dict[str, Tensor]:
        out = {}
        if self.weight:
            # The narrower side is scaled, which is fewer numbers to write.
            a, g, by_row = self.a, self.g, factors[:, None, None]
            a, g = (a * by_row, g) if a.shape[2] <= g.shape[2] else (a, g * by_row)
            a, g = a.flatten(0, 1), g.flatten(0, 1)
            out["weight"] = a.t() @ g if self.turned else g.t() @ a
        if self.bias:
            out["bias"] = factors @ self._bias_rows
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

    def squares(self, grams: Grams) -> Tensor:
        same = self.ids[:, :, None] == self.ids[:, None, :]
        return _norms_by_grams(same, grams.of(self.g))

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

    def squares(self, grams: Grams) -> Tensor:  # noqa: ARG002
        return torch.stack([rows.flatten(1).square().sum(1) for rows in self.rows.values()]).sum(0)

    def scaled(self, factors: Tensor) -> dict[str, Tensor]:
        return {name: (factors @ rows.flatten(1)).reshape(rows.shape[1:]) for name, rows in self.rows.items()}


def _norms_by_grams(first: Tensor, second: Tensor) -> Tensor:
    """Squared norms of sum_t g_t a_t^T from inner products, shape (b,).

    Where gradients of places cancel, little is left of large terms; what they may have lost to rounding is added, so that a
    row is scaled down too much rather than too little.
    """
    lost = (first.diagonal(dim1=1, dim2=2) * second.diagonal(dim1=1, dim2=2)).clamp(min=0).sqrt().sum(1).square()
    return ((first * second).sum((1, 2)) + _ROUNDING * lost).clamp(min=0)
