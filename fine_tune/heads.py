"""Loads a model for training with a head for the classes at hand, from weights or from an architecture alone. It trains
nothing, and knows neither texts nor images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fine_tune.checkpoint_settings import check_room
from fine_tune.errors import CheckpointError, RecipeError
from fine_tune.sources import first_line

if TYPE_CHECKING:
    from fine_tune.checkpoint import Checkpoint
    from fine_tune.recipe import Recipe


def load_with_head(
    base: Checkpoint, recipe: Recipe, auto_model: str, classes: tuple[str, ...]
) -> tuple[Any, frozenset[str]]:
    """The model in float32 on the CPU, and the names of its parameters that no file gave a value.

    A base without weights is an architecture: every parameter is drawn from torch's generator, which the caller seeds.

    Args:
        base: opened.
        recipe: a method other than ``full`` needs weights to start from.
        auto_model: the class of transformers that loads such a model.
        classes: names in the order of the outputs.

    Raises:
        CheckpointError: transformers cannot make the model.
        RecipeError: the method keeps weights that there are none of.
    """
    import torch
    import transformers

    auto = getattr(transformers, auto_model)
    head = {
        "num_labels": len(classes),
        "id2label": dict(enumerate(classes)),
        "label2id": {name: code for code, name in enumerate(classes)},
        "problem_type": "single_label_classification",
    }
    if base.untrained and recipe.method != "full":
        raise RecipeError(
            f"method is {recipe.method!r}, and {recipe.base} holds no weights, only an architecture",
            expected="method: full, which trains every weight",
            fix="or name a base that was trained",
        )
    try:
        if base.untrained:
            config = transformers.AutoConfig.from_pretrained(
                str(base.folder), local_files_only=True, trust_remote_code=base.trust_remote_code, **head
            )
            check_room(base.name, config, auto)
            model = auto.from_config(config, trust_remote_code=base.trust_remote_code).to(torch.float32)
            return model, frozenset(name for name, _ in model.named_parameters())
        base.check_room(auto)
        model, info = auto.from_pretrained(
            str(base.folder),
            ignore_mismatched_sizes=True,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            trust_remote_code=base.trust_remote_code,
            output_loading_info=True,
            **head,
        )
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{base.name} cannot be loaded for {recipe.task}: {first_line(error)}") from error
    mismatched = {key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]}
    return model, frozenset(info["missing_keys"]) | mismatched


def head_parameters(model: Any, fresh: frozenset[str]) -> frozenset[str]:
    """Names of the parameters outside the body, and of those that no file gave a value."""
    inside = model.base_model_prefix + "."
    return frozenset(name for name, _ in model.named_parameters() if not name.startswith(inside) or name in fresh)


def linear_layers(model: Any) -> tuple[str, ...]:
    """Names of the body's linear layers, without poolers."""
    import torch
    from transformers.pytorch_utils import Conv1D

    inside = model.base_model_prefix + "."
    return tuple(
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and name.startswith(inside) and "pooler" not in name
    )
