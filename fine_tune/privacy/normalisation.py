"""Layers that normalise over the rows of a batch, in which no row's contribution can be clipped alone: their statistics are held still,
or they are turned into GroupNorm. It decides nothing; a recipe or a caller asks for either.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fine_tune.errors import RecipeError

if TYPE_CHECKING:
    from torch import nn

GROUPS = 32


def keep_still(module: Any, inputs: Any) -> None:  # noqa: ARG001
    """A forward pre-hook by which a layer uses its running statistics and leaves them as they are, in training too."""
    module.eval()


def hold_statistics(model: nn.Module) -> list[str]:
    """Keep every running statistic as it came with the base. Scales and shifts stay trainable, a checkpoint stays loadable.

    Returns:
        Names of the layers, those that were held already left out.

    Raises:
        RecipeError: a layer has no running statistics to use.
    """
    from torch.nn.modules.batchnorm import _NormBase

    out = []
    for name, module in model.named_modules():
        if isinstance(module, _NormBase) and _mixes(module) and not is_held(module):
            if module.running_mean is None:
                raise RecipeError(
                    f"{name} keeps no running statistics that could be held", expected="track_running_stats: true"
                )
            module.register_forward_pre_hook(keep_still)
            out.append(name)
    return out


def is_held(module: Any) -> bool:
    """Whether a layer uses running statistics that stand still even where the model is set to train."""
    if module.running_mean is None:
        return False
    was = module.training
    plain = [h for n, h in module._forward_pre_hooks.items() if n not in module._forward_pre_hooks_with_kwargs]
    try:
        module.train()
        for hook in plain:
            if getattr(hook, "__name__", "") in ("hold", keep_still.__name__):
                hook(module, ())
        return not module.training
    finally:
        module.training = was


def mixing(model: nn.Module) -> list[str]:
    """Names of layers that look at several rows at once, or that learn statistics from rows without noise."""
    from torch.nn.modules.batchnorm import _NormBase

    return [n for n, m in model.named_modules() if isinstance(m, _NormBase) and _mixes(m) and not is_held(m)]


def _mixes(module: Any) -> bool:
    from torch.nn.modules.batchnorm import _BatchNorm

    return isinstance(module, _BatchNorm) or module.running_mean is not None


def with_group_norm(model: nn.Module) -> nn.Module:
    """The same model with every BatchNorm replaced by GroupNorm (Wu and He, 2018); scale and shift are kept.

    Groups are as many as divide the channels, up to 32. The function is another one: such a model has to be trained
    anew. See `refuse_unloadable` for what that means for a checkpoint.

    Returns:
        The model itself, changed; a layer of its own kind comes back as another object.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    made: dict[nn.Module, nn.Module] = {}
    for module in [model, *model.modules()]:
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, made.setdefault(child, _as_group_norm(child)))
    return _as_group_norm(model) if isinstance(model, _BatchNorm) else model


def _as_group_norm(layer: Any) -> nn.Module:
    import torch
    from torch import nn

    channels = layer.num_features
    kept = next((t for t in (layer.weight, layer.running_mean) if t is not None), torch.zeros(0))
    out = nn.GroupNorm(
        math.gcd(GROUPS, channels), channels, eps=layer.eps, affine=layer.affine, device=kept.device, dtype=kept.dtype
    )
    if layer.affine:
        out.load_state_dict({"weight": layer.weight.detach(), "bias": layer.bias.detach()})
        out.weight.requires_grad_(layer.weight.requires_grad)
        out.bias.requires_grad_(layer.bias.requires_grad)
    out.train(layer.training)
    return out


def refuse_unloadable(model: Any) -> None:
    """Refuse a model of transformers that its own class would not build again from its configuration.

    ``from_pretrained`` builds layers by the configuration, so that it would put BatchNorm with made-up statistics where
    GroupNorm was trained, with no more than a warning.

    Raises:
        RecipeError: a layer's weights would be missing or left over; the message names the layer.
    """
    import torch
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        return
    with torch.device("meta"):
        again = type(model)(model.config).state_dict()
    here = model.state_dict()
    other = sorted(set(again) ^ set(here))
    if other:
        raise RecipeError(
            f"{other[0].rsplit('.', 1)[0]} is not the layer that {type(model).__name__} builds, so from_pretrained could not open"
            " the checkpoint rightly",
            expected="layers as the base's configuration says",
            fix="hold the statistics (privacy.batch_norm: hold), use a base that has GroupNorm, such as BiT, or method: head",
        )
