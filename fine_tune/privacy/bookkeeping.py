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
from fine_tune.privacy.clipping import ChangedInputsError, batch_rows
from fine_tune.privacy.kept import Grams, Kept, Written
from fine_tune.privacy.layers import Rule, Trace, rule_for

# The same as Opacus adds, so that both paths give the same sums.
_STABLE = 1e-6
# Vectors that scale the last axis of values with so many axes; one copy a row needs the axes in between.
_SCALES = {"layer_scale_parameter": 4, "lambda1": 3, "lambda_1": 3, "lambda_2": 3}


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
    copies: bool = False


@dataclass(frozen=True, kw_only=True)
class _Spread:
    """A parameter that stands for one row and is repeated for all."""

    name: str
    owner: nn.Module
    own: str
    parameter: nn.Parameter

    def copies(self, rows: int) -> Tensor:
        """A leaf with one copy a row, whose gradient is each row's."""
        between = _SCALES[self.own] - 2 if self.own in _SCALES else 0
        rest = self.parameter.shape if between else self.parameter.shape[1:]
        return self.parameter.detach().expand(rows, *[1] * between, *rest).clone().requires_grad_(True)


def uncovered(model: nn.Module) -> list[str]:
    """The trained parameters that book-keeping cannot clip, with the kinds of their layers; empty if it covers the model."""
    out = []
    for name, module, own in _owners(model):
        if rule_for(module, own) is None:
            out += [
                f"{_join(name, p)} ({type(module).__name__})" for p in own if not _broadcasts(p, getattr(module, p, None))
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
        self._spread: list[_Spread] = []
        self._copies: dict[str, Tensor] = {}
        self._sums: dict[str, Tensor] = {}
        self._handles: list[Any] = [model.register_forward_pre_hook(self._begin, with_kwargs=True)]
        self._handles.append(model.register_forward_hook(self._put_back, always_call=True))
        for name, module, own in _owners(model):
            rule = rule_for(module, own)
            if rule is None:
                self._spread += [
                    _Spread(name=_join(name, p), owner=module, own=p, parameter=getattr(module, p)) for p in own
                ]
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
            ChangedInputsError: something changed a layer's inputs in place, so that nothing right can be made of them. From
                the next forward pass on, that layer's inputs are copied.
        """
        if losses.shape != (self._rows,):
            raise RecipeError(f"losses of shape {tuple(losses.shape)} for {self._rows} rows", expected="one loss a row")
        # What was asked of the forward pass must not lower the precision that norms are computed in.
        with torch.autocast(losses.device.type, enabled=False):
            torch.autograd.backward(losses.sum())
            with torch.no_grad():
                self._refuse_changed()
                norms = self._add_clipped()
        self._forget()
        return norms

    def _add_clipped(self) -> Tensor:
        kept: list[tuple[str, Kept]] = [
            (layer.name, self._kept(layer)) for layer in self._layers if any(u.grads is not None for u in layer.uses)
        ]
        rows = {n: s.grad.float() for n, s in self._copies.items() if s.grad is not None}
        if rows:
            kept.append(("", Written(rows=rows)))
        squares, grams = torch.zeros(self._rows, device=self._device), Grams()
        for _, one in kept:
            squares += one.squares(grams)
        norms = squares.sqrt()
        factors = (self.bound / (norms + _STABLE)).clamp(max=1.0)
        for name, one in kept:
            for own, total in one.scaled(factors).items():
                self._accumulate(_join(name, own), total)
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
        self._put_back(None, None, None)
        self._forget()
        self._sums = {}
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG002
        if not torch.is_grad_enabled():
            return
        self._rows = batch_rows(args, kwargs)
        self._forget()
        for spread in self._spread:
            self._copies[spread.name] = spread.owner._parameters[spread.own] = spread.copies(self._rows)  # type: ignore[assignment]

    def _put_back(self, module: Any, args: Any, output: Any) -> None:  # noqa: ARG002
        for spread in self._spread:
            spread.owner._parameters[spread.own] = spread.parameter

    def _one_row_each(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:  # noqa: ARG002
        """Positions are looked up once for all rows; their gradients must be told apart.

        Ids of one axis are always taken for positions: whether their number equals that of the rows is chance.
        """
        if not torch.is_grad_enabled():
            return None
        ids = args[0] if args[0].dim() > 1 else args[0][None]
        return None if ids.shape[0] == self._rows else (ids.expand(self._rows, *ids.shape[1:]), *args[1:])

    def _remember(self, layer: _Layer) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:  # noqa: ARG001
            if not torch.is_grad_enabled():
                return None
            inputs = args[0].detach()
            inputs = inputs.clone() if layer.copies else inputs
            use = _Use(inputs=inputs, version=inputs._version)
            layer.uses.append(use)
            return _watch(output, use)

        return hook

    def _refuse_changed(self) -> None:
        changed = [layer for layer in self._layers if any(u.inputs._version != u.version for u in layer.uses)]
        for layer in changed:
            layer.copies = True
        if changed:
            self._forget()
            raise ChangedInputsError(
                f"what went into {', '.join(layer.name for layer in changed[:5])} was changed in place afterwards, so its"
                " gradients cannot be told",
                expected="layers that leave their inputs as they are",
                fix="compute the batch again: these inputs are copied from now on; or a method that does not train this layer",
            )

    def _kept(self, layer: _Layer) -> Kept:
        traces = [Trace(inputs=u.inputs, grads=u.grads) for u in layer.uses if u.grads is not None]
        for trace in traces:
            if len(trace.inputs) != self._rows or len(trace.grads) != self._rows:
                raise RecipeError(
                    f"{layer.name} saw {len(trace.inputs)} rows where the batch has {self._rows}",
                    expected="one row of a layer's inputs for each row of the batch, or one for all (positions)",
                    fix="set privacy.gradients: hooks, or a method that does not train this layer",
                )
        return layer.rule(layer.module, traces, layer.trained)

    @property
    def _device(self) -> Any:
        return next(iter(self.parameters.values())).device

    def _accumulate(self, name: str, total: Tensor) -> None:
        total = total.reshape(self.parameters[name].shape)
        if name in self._sums:
            self._sums[name] += total
        else:
            self._sums[name] = total

    def _forget(self) -> None:
        for layer in self._layers:
            layer.uses = []
        self._copies = {}


def _watch(output: Tensor, use: _Use) -> Tensor | None:
    """Have the gradient of a layer's output kept as it is before anything changes that output in place.

    Returns:
        What has to go on in place of the output, if anything.
    """

    def keep(grads: Tensor) -> None:
        use.grads = grads.detach()

    def keep_base(grads: Any) -> None:
        use.grads = None if grads[0] is None else grads[0].detach().reshape(shape)

    shape, base = output.shape, output._base
    if not output.requires_grad:
        marked = output.detach().requires_grad_(True)
        marked.register_hook(keep)  # type: ignore[no-untyped-call]
        # What follows may change its input in place, which autograd forbids for a tensor that begins a graph.
        return marked.clone()
    if base is None:
        output.register_hook(keep)  # type: ignore[no-untyped-call]
        return None
    # A hook on a view is never called once the view was changed in place; one on what it is a view of is.
    if base.grad_fn is not None and base.numel() == output.numel() and base.is_contiguous() and output.is_contiguous():
        base.grad_fn.register_prehook(keep_base)
        return None
    copied = output.clone()
    copied.register_hook(keep)  # type: ignore[no-untyped-call]
    return copied


def _owners(model: nn.Module) -> list[tuple[str, nn.Module, list[str]]]:
    """Modules that own trained parameters, with the parameters' own names; a weight that is made of others belongs to the
    layer that uses it."""
    out, inside = [], set[nn.Module]()
    for name, module in model.named_modules():
        if module in inside:
            continue
        parts = module._modules.get("parametrizations")
        if parts is not None:
            inside.update(parts.modules())
        own = [n for n, p in module.named_parameters(recurse=False) if p.requires_grad]
        own += [f"parametrizations.{n}" for n, p in (parts.named_parameters() if parts else ()) if p.requires_grad]
        if own:
            out.append((name, module, own))
    return out


def _broadcasts(own: str, parameter: Any) -> bool:
    """Whether a parameter stands for one row that is repeated for all, as class tokens and position tables do."""
    if not isinstance(parameter, nn.Parameter):
        return False
    return (own in _SCALES and parameter.dim() == 1) or (parameter.dim() >= 2 and parameter.shape[0] == 1)


def _join(name: str, own: str) -> str:
    return f"{name}.{own}" if name else own
