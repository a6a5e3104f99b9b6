"""Copies of a model with weights drawn anew from the head down, for the sanity check of Adebayo et al. 2018: a map that
stays the same when the model is destroyed does not explain the model. It changes no model it is given.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Any

from probes.engines.captum.adapter import Adapter

HEAD = "head"
EMBEDDINGS = "embeddings"


def stage_names(adapter: Adapter) -> tuple[str, ...]:
    """Blocks of parameters from the head down: ``head``, ``layer 5`` to ``layer 0``, ``embeddings``."""
    return tuple(_stages(adapter.model, adapter.first))


def draw_anew(adapter: Adapter, through: str, seed: int) -> Any:
    """A copy of the adapter's model, its weights drawn anew from the head down through ``through``.

    Matrices are drawn from a normal distribution with the trained matrix's own spread, so that signals keep their size;
    scales of normalising layers become 1, offsets 0, and running means and variances are reset. Each parameter has a
    generator of its own, so deeper stages keep what shallower ones drew.

    Raises:
        ValueError: there is no such stage.
    """
    import torch

    stages = _stages(adapter.model, adapter.first)
    if through not in stages:
        raise ValueError(f"there is no stage {through!r}; there are {', '.join(stages)}")
    names = list(stages)
    chosen = {name for stage in names[: names.index(through) + 1] for name in stages[stage]}
    twin = copy.deepcopy(adapter.model)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if name in chosen:
                _draw(name, parameter, seed)
        for name, module in twin.named_modules():
            if hasattr(module, "reset_running_stats") and any(p.startswith(f"{name}.") for p in chosen):
                module.reset_running_stats()
    return twin


def _draw(name: str, parameter: Any, seed: int) -> None:
    import torch

    if parameter.dim() < 2:
        parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        return
    number = int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:7], "big")
    generator = torch.Generator().manual_seed(number)
    spread = float(parameter.std()) or 0.02
    drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float32) * spread
    parameter.copy_(drawn.to(parameter.device, parameter.dtype))


def _stages(model: Any, first: Any) -> dict[str, list[str]]:
    """Parameter names by stage, from the head down; every parameter is in one."""
    names = [name for name, _ in model.named_parameters()]
    layers = _layers(model)
    below = {f"{name}." for name, module in model.named_modules() if module is first}
    if layers is None:
        low = [n for n in names if any(n.startswith(b) for b in below)]
        return {HEAD: [n for n in names if n not in low], **({EMBEDDINGS: low} if low else {})}
    prefix, count = layers
    inside = {i: [n for n in names if n.startswith(f"{prefix}.{i}.")] for i in range(count)}
    listed = [n for part in inside.values() for n in part]
    start = names.index(listed[0])
    # What is registered before the layers feeds them; what comes after reads them.
    low = [n for i, n in enumerate(names) if n not in listed and (i < start or any(n.startswith(b) for b in below))]
    top = [n for n in names if n not in listed and n not in low]
    stages = {HEAD: top} if top else {}
    stages |= {f"layer {i}": inside[i] for i in reversed(range(count)) if inside[i]}
    return stages | ({EMBEDDINGS: low} if low else {})


def _layers(model: Any) -> tuple[str, int] | None:
    """Name and length of the list of modules that holds most parameters; the outermost of equals."""
    import torch

    best: tuple[int, str, int] | None = None
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module):
            held = sum(p.numel() for p in module.parameters())
            if held and (best is None or held > best[0]):
                best = (held, name, len(module))
    return None if best is None else (best[1], best[2])
