"""What the gradients of single layers are made of: a rule for each kind of layer, from what went in and what came back to norms and
sums (Bu et al., 2023), in float32. It knows layers, not models, and has no rule where it is not sure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fine_tune.privacy.convolutions import convolved, unfolded
from fine_tune.privacy.kept import Kept, Lookup, Product, Written, is_small
from fine_tune.privacy.normalisation import is_held

WEIGHT_NORM = ("parametrizations.weight.original0", "parametrizations.weight.original1")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One layer's part in a backward pass.

    Attributes:
        inputs: what went in, b rows first.
        grads: the gradient of the summed losses with regard to what came out, b rows first.
    """

    inputs: Tensor
    grads: Tensor


Rule = Callable[[Any, list[Trace], frozenset[str]], Kept]


def _linear(module: Any, traces: list[Trace], trained: frozenset[str]) -> Kept:
    """A layer that is used several times in one pass has the sum over its uses: further places of the same row."""
    a, g = _live(_joined(_places(t.inputs) for t in traces), _joined(_places(t.grads) for t in traces))
    turned = not isinstance(module, nn.Linear)
    return Product(a=a, g=g, weight="weight" in trained, bias="bias" in trained, turned=turned)


def _embedding(module: Any, traces: list[Trace], trained: frozenset[str]) -> Kept:  # noqa: ARG001
    ids = _joined(t.inputs.flatten(1) for t in traces)
    g = _joined(t.grads.float().reshape(len(t.grads), -1, t.grads.shape[-1]) for t in traces)
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


def _rms_norm(module: Any, traces: list[Trace], trained: frozenset[str]) -> Kept:  # noqa: ARG001
    eps = next((e for n in ("variance_epsilon", "eps") if (e := getattr(module, n, None)) is not None), None)
    out: dict[str, Tensor] = {}
    for t in traces:
        seen = F.rms_norm(t.inputs.float(), tuple(module.weight.shape), eps=eps)
        _add(out, "weight", _over_places(seen * t.grads.float(), module.weight.dim()))
    return Written(rows=out)


def _group_norm(module: Any, traces: list[Trace], trained: frozenset[str]) -> Kept:
    return _by_channel(traces, trained, lambda x: F.group_norm(x, module.num_groups, eps=module.eps))


def _held_batch_norm(module: Any, traces: list[Trace], trained: frozenset[str]) -> Kept:
    """Statistics that stand still make it a fixed scale a channel, which looks at one row at a time."""
    mean, variance = module.running_mean.float(), module.running_var.float()
    return _by_channel(traces, trained, lambda x: F.batch_norm(x, mean, variance, eps=module.eps))


def _by_channel(traces: list[Trace], trained: frozenset[str], normalised: Callable[[Tensor], Tensor]) -> Kept:
    out: dict[str, Tensor] = {}
    for t in traces:
        grads = t.grads.float()
        if "weight" in trained:
            _add(out, "weight", _over_rest(normalised(t.inputs.float()) * grads))
        if "bias" in trained:
            _add(out, "bias", _over_rest(grads))
    return Written(rows=out)


def _convolution(module: Any, traces: list[Trace], trained: frozenset[str]) -> Kept:
    inward, outward = module.weight[0].numel(), module.weight.shape[0]
    places = sum(t.grads[0, 0].numel() for t in traces)
    if module.groups == 1 and module.weight.dim() <= 4 and is_small(places, inward, outward):
        a = _joined(unfolded(module, t.inputs.float()) for t in traces)
        g = _joined(t.grads.float().flatten(2).transpose(1, 2) for t in traces)
        return Product(a=a, g=g, weight="weight" in trained, bias="bias" in trained)
    return Written(rows=_convolution_rows(module, traces, trained))


def _convolution_rows(module: Any, traces: list[Trace], trained: frozenset[str]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for t in traces:
        grads = t.grads.float()
        if "weight" in trained:
            _add(out, "weight", convolved(module, t.inputs.float(), grads))
        if "bias" in trained:
            _add(out, "bias", grads.flatten(2).sum(2))
    return out


def _weight_normed(module: Any, traces: list[Trace], trained: frozenset[str]) -> Kept:
    """A convolution whose weight is g v / |v| (Salimans and Kingma, 2016), by the chain rule from the weight's gradients."""
    rows = _convolution_rows(module, traces, (trained & {"bias"}) | {"weight"})
    length, direction = (getattr(module.parametrizations.weight, n).float() for n in ("original0", "original1"))
    axis = module.parametrizations.weight[0].dim
    others = [d for d in range(direction.dim()) if d != axis]
    norm = direction.square().sum(others, keepdim=True).sqrt()
    unit = direction / norm
    weight = rows.pop("weight")
    along = (weight * unit).sum([d + 1 for d in others], keepdim=True)
    for name, made in zip(WEIGHT_NORM, (along, length / norm * (weight - unit * along)), strict=True):
        if name in trained:
            rows[name] = made
    return Written(rows=rows)


def _live(a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Without the places at which no row has a gradient: a last layer of which the first place alone is read has one such."""
    live = (g[:, :, 0] != 0).any(0)
    if bool(live.all()):
        return a, g
    live = (g != 0).any(2).any(0)
    places = live.nonzero()[:, 0]
    # At least one stays, so that sums of nothing have their shapes.
    places = places if len(places) else places.new_zeros(1)
    return (a[:, places], g[:, places]) if 2 * len(places) <= len(live) else (a, g)


def _joined(parts: Iterable[Tensor]) -> Tensor:
    """Several uses are further places of the same row; a single one is not copied."""
    several = list(parts)
    return several[0] if len(several) == 1 else torch.cat(several, dim=1)


def _places(values: Tensor) -> Tensor:
    return values.float().reshape(len(values), -1, values.shape[-1])


def _over_places(values: Tensor, axes: int) -> Tensor:
    return values.reshape(len(values), -1, *values.shape[values.dim() - axes :]).sum(1)


def _over_rest(values: Tensor) -> Tensor:
    return values.reshape(*values.shape[:2], -1).sum(2)


def _add(out: dict[str, Tensor], name: str, values: Tensor) -> None:
    out[name] = out[name] + values if name in out else values


def rule_for(module: Any, own: Iterable[str]) -> Rule | None:
    """How this layer's gradients are clipped, or None where book-keeping does not know the layer.

    Args:
        module: the layer.
        own: names of its trained parameters.
    """
    kind, names = type(module), set(own)
    if kind.__name__ == "ParametrizedConv1d":
        return _weight_normed if names <= {"bias", *WEIGHT_NORM} and _has_weight_norm(module) else None
    if not names <= {"weight", "bias"}:
        return None
    if kind is nn.Linear or (kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils"):
        return _linear
    if kind is nn.Embedding:
        plain = module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
        return _embedding if plain else None
    # Kinds with weights of their own; whether they compute what their names say is for the self-test to see.
    if kind is nn.LayerNorm or kind.__mro__[1] is nn.LayerNorm:
        return _layer_norm
    if kind is nn.RMSNorm or (kind.__name__.endswith(("RMSNorm", "T5LayerNorm")) and names == {"weight"}):
        return _rms_norm
    if kind is nn.GroupNorm:
        return _group_norm
    if kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
        return _held_batch_norm if is_held(module) else None
    if kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d) and module.padding_mode == "zeros":
        return _convolution
    return None


def _has_weight_norm(module: Any) -> bool:
    made = module.parametrizations
    if type(module).__mro__[1:3].count(nn.Conv1d) == 0 or list(made) != ["weight"] or len(made.weight) != 1:
        return False
    return type(made.weight[0]).__name__ == "_WeightNorm" and made.weight[0].dim >= 0 and module.padding_mode == "zeros"
