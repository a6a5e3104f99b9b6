"""Clipped gradients by Opacus: a gradient a row (hooks; Yousefpour et al., 2021), or norms first and a second, scaled backward pass
(ghost; Li et al., 2022). The fallback where book-keeping does not know a layer, and what it is compared with.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from opacus.grad_sample.grad_sample_module import GradSampleHooks
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleHooksFastGradientClipping
from torch import Tensor, nn

from fine_tune.errors import RecipeError
from fine_tune.sources import first_line

_STABLE = 1e-6


class _OpacusClipper:
    """What both ways share: hooks on the model, positions told apart, sums by name."""

    mode = ""

    def __init__(self, model: nn.Module, max_grad_norm: float) -> None:
        self.bound = max_grad_norm
        self.parameters: Mapping[str, nn.Parameter] = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._sums: dict[str, Tensor] = {}
        self._rows = 0
        self._handles = [model.register_forward_pre_hook(self._begin, with_kwargs=True)]
        for module in model.modules():
            if isinstance(module, nn.Embedding) and module.weight.requires_grad:
                self._handles.append(module.register_forward_pre_hook(self._one_row_each))
            elif isinstance(module, nn.modules.conv._ConvNd) and module.weight.requires_grad:
                self._handles.append(module.register_forward_pre_hook(_contiguous))
        logging.getLogger("opacus").setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._hooks = self._attach(model)
        except Exception as error:
            self._release()
            raise RecipeError(
                f"Opacus cannot give {self.mode} gradients of this model: {first_line(error)}",
                expected="layers that Opacus supports", fix="use another privacy.gradients, or method: head or lora",
            ) from error  # fmt: skip

    def _attach(self, model: nn.Module) -> Any:
        raise NotImplementedError

    def take(self) -> dict[str, Tensor]:
        """See `fine_tune.privacy.clipping.Clipper.take`."""
        out = {
            name: self._sums[name] if name in self._sums else torch.zeros_like(p, dtype=torch.float32)
            for name, p in self.parameters.items()
        }
        self._sums = {}
        return out

    def close(self) -> None:
        """See `fine_tune.privacy.clipping.Clipper.close`."""
        self._hooks.cleanup()
        self._release()
        for p in self.parameters.values():
            p.grad = None

    def _release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG002
        self._rows = next(v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)).shape[0]

    def _one_row_each(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ARG002
        """Positions are looked up once for all rows; Opacus would take them for one row."""
        ids = args[0] if args[0].dim() > 1 else args[0][None]
        return (ids.expand(self._rows, *ids.shape[1:]).contiguous(), *args[1:])

    def _add(self, name: str, total: Tensor) -> None:
        self._sums[name] = self._sums[name] + total if name in self._sums else total


class HookClipper(_OpacusClipper):
    """A gradient a row is written out for every parameter; see `fine_tune.privacy.clipping.Clipper`."""

    mode = "hooks"

    def _attach(self, model: nn.Module) -> Any:
        return GradSampleHooks(model, loss_reduction="sum")

    def backward(self, losses: Tensor) -> Tensor:
        """See `fine_tune.privacy.clipping.Clipper.backward`.

        Raises:
            RecipeError: a parameter got no gradient a row.
        """
        torch.autograd.backward(losses.sum())
        with torch.no_grad():
            rows = {name: _rows_of(name, p, len(losses)) for name, p in self.parameters.items()}
            squares = torch.stack([g.flatten(1).square().sum(1) for g in rows.values()]).sum(0)
            norms = squares.sqrt()
            factors = (self.bound / (norms + _STABLE)).clamp(max=1.0)
            for name, g in rows.items():
                self._add(name, torch.einsum("b,b...->...", factors, g))
        for p in self.parameters.values():
            p.grad = None
            p.grad_sample = None  # type: ignore[attr-defined]
        return norms


class GhostClipper(_OpacusClipper):
    """Norms without gradients a row, then a second backward pass; see `fine_tune.privacy.clipping.Clipper`."""

    mode = "ghost"

    def _attach(self, model: nn.Module) -> Any:
        return GradSampleHooksFastGradientClipping(model, loss_reduction="sum", max_grad_norm=self.bound)

    def backward(self, losses: Tensor) -> Tensor:
        """See `fine_tune.privacy.clipping.Clipper.backward`.

        Raises:
            RecipeError: a parameter got no norm.
        """
        torch.autograd.backward(losses.sum(), retain_graph=True)
        missing = [n for n, p in self.parameters.items() if getattr(p, "_norm_sample", None) is None]
        if missing:
            raise RecipeError(
                f"Opacus gives no norms for {', '.join(missing[:3])}", expected="norms for every trained weight"
            )
        norms: Tensor = self._hooks.get_norm_sample().detach().float()
        factors = (self.bound / (norms + _STABLE)).clamp(max=1.0)
        for p in self.parameters.values():
            p.grad = None
        self._hooks.disable_hooks()
        torch.autograd.backward((factors * losses).sum())
        self._hooks.enable_hooks()
        for name, p in self.parameters.items():
            if p.grad is not None:
                self._add(name, p.grad.detach().float())
            p.grad = None
            p._norm_sample = None  # type: ignore[attr-defined]
        return norms


def _rows_of(name: str, p: Any, rows: int) -> Tensor:
    found = getattr(p, "grad_sample", None)
    if isinstance(found, list):
        found = torch.stack(found).sum(0)
    if found is None:
        return torch.zeros((rows, *p.shape), device=p.device)
    if len(found) != rows:
        raise RecipeError(f"Opacus gives {len(found)} gradients of {name} for {rows} rows", expected="one a row")
    return found.float()


def _contiguous(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ARG001
    """Opacus unfolds what went into a convolution, and reads it wrongly where its axes were swapped."""
    return (args[0].contiguous(), *args[1:])
