"""Clipped gradients in one backward pass by book-keeping (Bu et al., "Differentially Private Optimization on Large Model at Small
Cost", ICML 2023). Autograd is kept from building weight gradients; each layer's inputs and output gradients are kept
instead, and the clipped sums are made from them. It covers the layers that `fine_tune.privacy.layers` knows and parameters that
broadcast over rows, and refuses everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fine_tune.errors import RecipeError
from fine_tune.privacy.layers import Kept, Rule, Trace, Written, rule_for

# The same as Opacus adds, so that both paths give the same sums.
_STABLE = 1e-6
# Vectors that scale the last axis of values with so many axes; one copy a row needs the axes in between.
_SCALES = {"layer_scale_parameter": 4}


@dataclass(kw_only=True, eq=False)
class _Use:
    """One call of a layer in a forward pass."""

    inputs: Tensor
    version: int
    grads: Tensor | None = None


@dataclass(kw_only=True, eq=False)
class _Layer:
    """A layer with trained parameters."""

    name: str
    module: nn.Module
    trained: frozenset[str]
    rule: Rule
    uses: list[_Use] = field(default_factory=list)


def uncovered(model: nn.Module) -> list[str]:
    """The trained parameters that book-keeping cannot clip, with the kinds of their layers; empty if it covers the model."""
    out = []
    for name, module, own in _owners(model):
        if rule_for(module) is None:
            out += [
                f"{name}.{p} ({type(module).__name__})" for p in own if not _broadcasts(p, getattr(module, p))
            ]  # fmt: skip
    return out


class BookKeeping:
    """See `fine_tune.privacy.clipping.Clipper`.

    While it is open, autograd builds no gradients of the trained parameters; `close` gives them their flags back.

    Args:
        model: in training mode; every trained parameter must be covered.
        max_grad_norm: C; a row's contribution is scaled by min(1, C / norm).

    Raises:
        RecipeError: a trained parameter is not covered.
    """

    mode = "bookkeeping"

    def __init__(self, model: nn.Module, max_grad_norm: float) -> None:
        missing = uncovered(model)
        if missing:
            raise RecipeError(f"book-keeping does not cover {', '.join(missing[:5])}", expected="layers that it knows")
        self.bound = max_grad_norm
        self.parameters: Mapping[str, nn.Parameter] = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._rows = 0
        self._layers: list[_Layer] = []
        self._spread: list[tuple[str, nn.Module, str, nn.Parameter]] = []
        self._spreads: dict[str, Tensor] = {}
        self._sums: dict[str, Tensor] = {}
        self._handles: list[Any] = [model.register_forward_pre_hook(self._begin, with_kwargs=True)]
        self._handles.append(model.register_forward_hook(self._put_back, always_call=True))
        for name, module, own in _owners(model):
            rule = rule_for(module)
            if rule is None:
                self._spread += [(_join(name, p), module, p, getattr(module, p)) for p in own]
                continue
            layer = _Layer(name=name, module=module, trained=frozenset(own), rule=rule)
            self._layers.append(layer)
            if isinstance(module, nn.Embedding):
                self._handles.append(module.register_forward_pre_hook(self._one_row_each))
            self._handles.append(module.register_forward_hook(self._remember(layer)))
        for parameter in self.parameters.values():
            parameter.requires_grad_(False)

    def backward(self, losses: Tensor) -> Tensor:
        """One backward pass; see `fine_tune.privacy.clipping.Clipper.backward`.

        Raises:
            RecipeError: a layer changed its inputs in place, so that nothing right can be made of them.
        """
        if losses.shape != (self._rows,):
            raise RecipeError(f"losses of shape {tuple(losses.shape)} for {self._rows} rows", expected="one loss a row")
        torch.autograd.backward(losses.sum())
        with torch.no_grad():
            kept = [(layer.name, self._kept(layer)) for layer in self._layers if layer.uses]
            if self._spreads:
                rows = {n: s.grad.float() for n, s in self._spreads.items() if s.grad is not None}
                if rows:
                    kept.append(("", Written(rows=rows)))
            squares = torch.zeros(self._rows, device=losses.device)
            for _, one in kept:
                squares += one.squares()
            norms = squares.sqrt()
            factors = (self.bound / (norms + _STABLE)).clamp(max=1.0)
            for name, one in kept:
                for own, total in one.scaled(factors).items():
                    self._accumulate(_join(name, own), total)
        self._forget()
        return norms

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
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._forget()
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG002
        first = next(v for v in (*args, *kwargs.values()) if isinstance(v, Tensor))
        self._rows = first.shape[0]
        self._forget()
        for name, owner, own, parameter in self._spread:
            # A plain tensor in place of the parameter, one copy a row: its gradient is each row's.
            between = _SCALES[own] - 2 if own in _SCALES else 0
            shape = (self._rows, *[1] * between, *parameter.shape[0 if between else 1 :])
            copies = parameter.detach().expand(shape).clone().requires_grad_(True)
            self._spreads[name] = copies
            del owner._parameters[own]
            setattr(owner, own, copies)

    def _put_back(self, module: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG002
        for _, owner, own, parameter in self._spread:
            if own in owner.__dict__:
                delattr(owner, own)
            owner._parameters[own] = parameter

    def _one_row_each(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:  # noqa: ARG002
        """Positions are looked up once for all rows; their gradients must be told apart."""
        ids = args[0] if args[0].dim() > 1 else args[0][None]
        return None if ids.shape[0] == self._rows else (ids.expand(self._rows, *ids.shape[1:]), *args[1:])

    def _remember(self, layer: _Layer) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:  # noqa: ARG001
            if not torch.is_grad_enabled():
                return None
            inputs = args[0]
            use = _Use(inputs=inputs.detach(), version=inputs._version)
            layer.uses.append(use)
            fresh = not output.requires_grad
            marked = output.detach().requires_grad_(True) if fresh else output

            def keep(grads: Tensor) -> None:
                use.grads = grads.detach()

            marked.register_hook(keep)  # type: ignore[no-untyped-call]
            # What follows may change its input in place, which autograd forbids for a tensor that begins a graph.
            return marked.clone() if fresh else None

        return hook

    def _kept(self, layer: _Layer) -> Kept:
        traces = []
        for use in layer.uses:
            if use.inputs._version != use.version:
                raise RecipeError(
                    f"what went into {layer.name} was changed in place afterwards, so its gradients cannot be told",
                    expected="layers that leave their inputs as they are",
                    fix="set gradients: hooks, or a method that does not train this layer",
                )
            if use.grads is not None:
                traces.append(Trace(inputs=use.inputs, grads=use.grads))
        if not traces:
            shapes = {n: (self._rows, *getattr(layer.module, n).shape) for n in layer.trained}
            return Written(rows={n: torch.zeros(s, device=self._device) for n, s in shapes.items()})
        return layer.rule(layer.module, traces, layer.trained)

    @property
    def _device(self) -> Any:
        return next(iter(self.parameters.values())).device

    def _accumulate(self, name: str, total: Tensor) -> None:
        total = total.reshape(self.parameters[name].shape)
        self._sums[name] = self._sums[name] + total if name in self._sums else total

    def _forget(self) -> None:
        for layer in self._layers:
            layer.uses = []
        self._spreads = {}


def _owners(model: nn.Module) -> list[tuple[str, nn.Module, list[str]]]:
    """Modules that own trained parameters, with the parameters' own names."""
    out = []
    for name, module in model.named_modules():
        own = [n for n, p in module.named_parameters(recurse=False) if p.requires_grad]
        if own:
            out.append((name, module, own))
    return out


def _broadcasts(own: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter stands for one row that is repeated for all, as class tokens and position tables do."""
    return own in _SCALES or (parameter.dim() >= 2 and parameter.shape[0] == 1)


def _join(name: str, own: str) -> str:
    return f"{name}.{own}" if name else own
