"""Which weights a method of training moves, and how what it learned ends up in plain weights. It leaves every other
parameter and buffer as it was.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from fine_tune.errors import RecipeError
from fine_tune.recipe import Recipe
from fine_tune.tasks import Trainable

# What configurations call their dropout rates; layer drop, which skips whole layers, is something else.
DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "hidden_dropout", "attention_dropout",
    "activation_dropout", "classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "cls_dropout",
    "pooler_dropout", "summary_first_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "mlp_dropout",
    "embedding_dropout", "resid_dropout",
)  # fmt: skip


def with_dropout(made: Trainable, recipe: Recipe) -> Trainable:
    """The same weights in a model whose dropout rates are all ``recipe.dropout``.

    Raises:
        RecipeError: the model has no dropout that its configuration sets.
    """
    if recipe.dropout is None:
        return made
    config = made.model.config
    names = [name for name in DROPOUTS if hasattr(config, name)]
    if not names:
        raise RecipeError(f"{recipe.base} has no dropout rate to set", expected="no dropout in the recipe")
    for name in names:
        setattr(config, name, recipe.dropout)
    # Attention reads its rate off the configuration when it is built, so setting modules would miss it.
    fresh = type(made.model)(config)
    fresh.load_state_dict(made.model.state_dict())
    fresh.train()
    return dataclasses.replace(made, model=fresh)


def prepare(made: Trainable, recipe: Recipe, steps: int) -> Any:
    """The model with the parameters that ``recipe.method`` moves set to move, and the others held.

    Raises:
        RecipeError: the model has nothing that the method could move.
    """
    model = made.model
    if recipe.gradient_checkpointing and not getattr(model, "supports_gradient_checkpointing", False):
        raise RecipeError(
            f"{recipe.base} cannot compute its activations twice", expected="gradient_checkpointing: false"
        )
    if recipe.method == "full":
        return model
    if recipe.method in {"lora", "adalora"}:
        model = _adapted(made, recipe, steps)
    else:
        wanted = set(made.head)
        if recipe.method == "bias":
            wanted |= {name for name, _ in model.named_parameters() if name.rsplit(".", 1)[-1] == "bias"}
        if not wanted:
            raise RecipeError(
                f"{recipe.base} has no new layers{' and no biases' if recipe.method == 'bias' else ''} to train",
                expected="a method that moves other weights: full or lora",
            )
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name in wanted
    _hold_statistics(model)
    return model


def finish(model: Any, recipe: Recipe) -> Any:
    """The model in plain weights: what was added is merged in."""
    return model.merge_and_unload() if recipe.method in {"lora", "adalora"} else model


def _adapted(made: Trainable, recipe: Recipe, steps: int) -> Any:
    from peft import AdaLoraConfig, LoraConfig, get_peft_model

    if not made.adapted:
        raise RecipeError(f"{recipe.base} has no linear layers to adapt", expected="method: full or head")
    common: dict[str, Any] = {
        "lora_alpha": recipe.lora_alpha,
        "lora_dropout": recipe.lora_dropout,
        "target_modules": list(made.adapted),
        "modules_to_save": sorted({name.rsplit(".", 1)[0] for name in made.head}),
    }
    if recipe.method == "lora":
        return get_peft_model(made.model, LoraConfig(r=recipe.lora_r, **common))
    if steps < 4:
        raise RecipeError(f"adalora has {steps} steps to share out its rank in", expected="at least 4 steps")
    # The paper starts with half as much rank again, and fixes the budget for the last part of the training.
    settings = AdaLoraConfig(
        target_r=recipe.lora_r,
        init_r=max(recipe.lora_r + 1, round(1.5 * recipe.lora_r)),
        tinit=steps // 10,
        tfinal=max(1, 3 * steps // 10),
        deltaT=max(1, steps // 100),
        total_step=steps,
        **common,
    )
    return get_peft_model(made.model, settings)


def _hold_statistics(model: Any) -> None:
    """Normalisation layers that are held keep their running statistics too, which move without gradients."""
    from torch.nn.modules.batchnorm import _NormBase

    def hold(module: Any, _inputs: Any) -> None:
        module.eval()

    for module in model.modules():
        if isinstance(module, _NormBase) and not any(p.requires_grad for p in module.parameters()):
            module.register_forward_pre_hook(hold)
