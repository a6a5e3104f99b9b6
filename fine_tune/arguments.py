"""A recipe in the words of transformers' Trainer: its arguments, of whichever version is installed. It adds no choice
of its own that would change the weights.
"""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune.errors import RecipeError
from fine_tune.recipe import Recipe
from fine_tune.sources import first_line

EVALUATIONS = 5
REPORTS = 20
DEFAULT_EPOCHS = 3.0


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How long a training is.

    Attributes:
        steps: optimiser steps in all.
        a_pass: steps that see every training row once.
        report_every: steps between two training losses.
    """

    steps: int
    a_pass: int
    report_every: int

    @classmethod
    def of(cls, recipe: Recipe, rows: int) -> Extent:
        """Of a recipe on ``rows`` training rows."""
        a_pass = math.ceil(rows / recipe.batch_size)
        epochs = DEFAULT_EPOCHS if recipe.epochs is None else recipe.epochs
        steps = recipe.steps or max(1, math.ceil(epochs * a_pass))
        return cls(steps=steps, a_pass=a_pass, report_every=max(1, steps // REPORTS))


def trainer_arguments(recipe: Recipe, extent: Extent, place: Place) -> Any:
    """`transformers.TrainingArguments` for a recipe.

    Raises:
        RecipeError: the precision, the batch or a tracker does not fit this machine, these processes or what is
            installed.
    """
    from transformers import TrainingArguments

    rows = _rows_a_process(recipe, place.processes)
    _check_precision(recipe, place.device)
    _check_schedule(recipe, extent)
    chosen: dict[str, Any] = {
        "output_dir": str(place.scratch),
        "max_steps": extent.steps,
        "per_device_train_batch_size": rows,
        "per_device_eval_batch_size": 2 * rows,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "learning_rate": recipe.rate,
        "weight_decay": recipe.weight_decay,
        "lr_scheduler_type": recipe.schedule,
        "lr_scheduler_kwargs": dict(recipe.schedule_options),
        "warmup_steps": round(recipe.warmup_ratio * extent.steps),
        "bf16": recipe.precision == "bf16",
        "fp16": recipe.precision == "fp16",
        "torch_compile": recipe.compile,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "eval_strategy": "steps" if place.validates else "no",
        "eval_steps": max(1, min(extent.a_pass, extent.steps // EVALUATIONS)),
        # `fine_tune.resume` asks for states when they are due.
        "save_strategy": "no",
        "logging_strategy": "steps",
        "logging_steps": extent.report_every,
        "logging_nan_inf_filter": False,
        "report_to": list(recipe.report_to) or "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "prediction_loss_only": True,
        "dataloader_pin_memory": False,
        "use_cpu": place.device == "cpu",
    }
    known = {f.name for f in dataclasses.fields(TrainingArguments)}
    if recipe.gradient_checkpointing:
        # Later versions of transformers 5 call it by another name.
        name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
        # The reentrant kind loses gradients where the inputs need none, as with held embeddings.
        chosen |= {name: True, f"{name}_kwargs": {"use_reentrant": False}}
    if place.by_length:
        # transformers 5 says by one option what 4 said by another.
        if "train_sampling_strategy" in known:
            chosen["train_sampling_strategy"] = "group_by_length"
        else:
            chosen["group_by_length"] = True
    if recipe.report_to:
        chosen |= _tracking(recipe, place, known)
    try:
        made = TrainingArguments(**chosen)
    except (ValueError, ImportError) as error:
        raise RecipeError(f"the recipe cannot be used here: {first_line(error)}") from error
    # A process that sees several accelerators would otherwise train on all, with that many times the rows a step.
    made._n_gpu = min(1, made.n_gpu)
    return made


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a training runs.

    Attributes:
        device: torch's name.
        processes: how many train together.
        scratch: the folder that resume states go to.
        logs: the folder that trackers with files of their own write to.
        validates: there are validation rows.
        by_length: examples are of different lengths, so that batches of similar length save padding.
    """

    device: str
    processes: int
    scratch: Path
    logs: Path
    validates: bool
    by_length: bool


def _rows_a_process(recipe: Recipe, processes: int) -> int:
    parts = processes * recipe.gradient_accumulation
    if recipe.batch_size % parts:
        raise RecipeError(
            f"a batch of {recipe.batch_size} rows cannot be shared by {processes} processes in"
            f" {recipe.gradient_accumulation} pieces each",
            expected=f"a batch_size that {parts} divides, or another number of processes",
        )
    return recipe.batch_size // parts


def _check_precision(recipe: Recipe, device: str) -> None:
    if recipe.precision == "fp16" and device == "cpu":
        raise RecipeError("precision fp16 needs an accelerator, and this is a CPU", expected="fp32 or bf16")


def _check_schedule(recipe: Recipe, extent: Extent) -> None:
    import torch
    from transformers import get_scheduler

    nothing = torch.optim.SGD([torch.zeros(1)], lr=recipe.rate)
    warmup = round(recipe.warmup_ratio * extent.steps)
    try:
        get_scheduler(recipe.schedule, nothing, warmup, extent.steps, dict(recipe.schedule_options))
    except (TypeError, ValueError, AttributeError) as error:
        raise RecipeError(
            f"the schedule {recipe.schedule} cannot be made: {first_line(error)}",
            expected="the options that transformers gives this schedule",
            fix="add or correct schedule_options",
        ) from error


def _tracking(recipe: Recipe, place: Place, known: set[str]) -> dict[str, Any]:
    from transformers.integrations import integration_utils as trackers

    unknown = [name for name in recipe.report_to if name not in trackers.INTEGRATION_TO_CALLBACK]
    if unknown:
        raise RecipeError(
            f"no tracker is called {', '.join(unknown)}",
            expected=f"some of {', '.join(sorted(trackers.INTEGRATION_TO_CALLBACK))}",
        )
    # transformers 5 reads the folder off the environment. What stands there may be that of the training before.
    if "logging_dir" not in known:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(place.logs)
    return {"run_name": place.logs.name.removesuffix("-logs")} | (
        {"logging_dir": str(place.logs)} if "logging_dir" in known else {}
    )
