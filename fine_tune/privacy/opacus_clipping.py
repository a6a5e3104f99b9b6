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
from fine_tune.privacy.clipping import batch_rows
from fine_tune.sources import first_line

_STABLE = 1e-6
# What Opacus leaves on layers and parameters.
_ON_LAYERS = ("activations", "max_batch_len", "ft_compute_sample_grad")
_ON_PARAMETERS = ("grad_sample", "_forward_counter", "_current_grad_sample", "_norm_sample")


class _OpacusClipper:
    """What both ways share: hooks on the model, positions told apart, sums by name."""

    mode = ""

    def __init__(self, model: nn.Module, max_grad_norm: float) -> None:
        self.bound = max_grad_norm
        self._model = model
        self.parameters: Mapping[str, nn.Parameter] = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._sums: dict[str, Tensor] = {}
        self._rows = 0
        self._handles = [model.register_forward_pre_hook(self._begin, with_kwargs=True)]
        for module in model.modules():
            if isinstance(module, nn.Embedding) and module.weight.requires_grad:
                self._handles.append(module.register_forward_pre_hook(self._one_row_each))
            elif isinstance(module, nn.modules.conv._ConvNd) and module.weight.requires_grad:
                self._handles.append(module.register_forward_pre_hook(_contiguous))
        log = logging.getLogger("opacus")
        level = log.level
        log.setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._hooks = self._attach(model)
        except Exception as error:
            self._release()
            raise RecipeError(
                f"Opacus cannot give {self.mode} gradients of this model: {first_line(error)}{_unusual(model)}",
                expected="layers that Opacus supports", fix="use another privacy.gradients, or method: head or lora",
            ) from error  # fmt: skip
        finally:
            log.setLevel(level)

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
        self._sums = {}
        for p in self.parameters.values():
            p.grad = None

    def _release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for layer in self._model.modules():
            _drop(layer, _ON_LAYERS)
        for p in self._model.parameters():
            _drop(p, _ON_PARAMETERS)

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG002
        if not torch.is_grad_enabled():
            return
        self._rows = batch_rows(args, kwargs)
        # Left over where the pass before broke off: Opacus would wait for that pass's gradients for ever.
        for layer in self._model.modules():
            _drop(layer, ("activations", "max_batch_len"))
        for p in self.parameters.values():
            p._forward_counter = 0  # type: ignore[attr-defined]
            p.grad_sample = None  # type: ignore[attr-defined]
            _drop(p, ("_current_grad_sample",))

    def _one_row_each(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:  # noqa: ARG002
        """Positions are looked up once for all rows; Opacus would take them for one row."""
        if not torch.is_grad_enabled():
            return None
        ids = args[0] if args[0].dim() > 1 else args[0][None]
        return (ids.expand(self._rows, *ids.shape[1:]).contiguous(), *args[1:])

    def _backward(self, losses: Tensor, *, again: bool = False) -> None:
        """One backward pass, outside any lowered precision.

        Raises:
            RecipeError: Opacus failed on a layer.
        """
        if losses.shape != (self._rows,):
            raise RecipeError(f"losses of shape {tuple(losses.shape)} for {self._rows} rows", expected="one loss a row")
        try:
            with warnings.catch_warnings(), torch.autocast(losses.device.type, enabled=False):
                warnings.filterwarnings("ignore", message="Full backward hook is firing")
                torch.autograd.backward(losses.sum(), retain_graph=again)
        except (ValueError, RuntimeError, NotImplementedError, IndexError) as error:
            raise RecipeError(
                f"Opacus cannot give {self.mode} gradients of this model: {first_line(error)}{_unusual(self._model)}",
                expected="layers that Opacus supports", fix="use another privacy.gradients, or method: head or lora",
            ) from error  # fmt: skip

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
        self._backward(losses)
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

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # Norms and gradients are then computed apart, each rounded in its own way: up to 1.004 C was seen to come through.
        if torch.is_grad_enabled() and torch.is_autocast_enabled(next(iter(self.parameters.values())).device.type):
            raise RecipeError(
                "ghost clipping takes norms in the lower precision of the forward pass, so that contributions exceed the bound",
                expected="float32, or a way that takes norms in it", fix="privacy.gradients: bookkeeping or hooks, or precision: fp32",
            )  # fmt: skip
        super()._begin(module, args, kwargs)

    def _attach(self, model: nn.Module) -> Any:
        low = [n for n, p in self.parameters.items() if p.dtype != torch.float32]
        if low:
            raise TypeError(f"{low[0]} is in {self.parameters[low[0]].dtype}, and norms would be too")
        return GradSampleHooksFastGradientClipping(model, loss_reduction="sum", max_grad_norm=self.bound)

    def backward(self, losses: Tensor) -> Tensor:
        """See `fine_tune.privacy.clipping.Clipper.backward`.

        Raises:
            RecipeError: a parameter got no norm.
        """
        self._backward(losses, again=True)
        squares = torch.zeros(len(losses), device=losses.device)
        without = []
        for name, p in self.parameters.items():
            found = getattr(p, "_norm_sample", None)
            if found is None:
                without.append(name)
            else:
                squares += found.detach().float().reshape(len(losses)).square()
            p.grad = None
            p._norm_sample = None  # type: ignore[attr-defined]
        norms = squares.sqrt()
        factors = (self.bound / (norms + _STABLE)).clamp(max=1.0)
        self._hooks.disable_hooks()
        try:
            self._backward(factors * losses)
        finally:
            self._hooks.enable_hooks()
        for name in without:
            made = self.parameters[name].grad
            # A layer that the pass left out has neither; one with a gradient and no norm would go in unclipped.
            if made is not None and bool(made.any()):
                raise RecipeError(
                    f"Opacus gives no norms for {name}", expected="norms for every trained weight",
                    fix="use another privacy.gradients, or a method that does not train this layer",
                )  # fmt: skip
        for name, p in self.parameters.items():
            if p.grad is not None:
                self._add(name, p.grad.detach().float())
            p.grad = None
        return norms


def _unusual(model: nn.Module) -> str:
    """The layers that Opacus has no rule of its own for, which it tends to stumble over."""
    owners = {
        name: type(m).__name__
        for name, m in model.named_modules()
        if type(m) not in GradSampleHooks.GRAD_SAMPLERS and any(p.requires_grad for p in m.parameters(recurse=False))
    }
    said = ", ".join(f"{name or 'the model'} ({kind})" for name, kind in list(owners.items())[:3])
    return f"; it has no rule for {said}" if said else ""


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


def _drop(thing: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if name in thing.__dict__:
            delattr(thing, name)
