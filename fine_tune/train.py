"""Trains: a recipe and data in, a checkpoint with its training record out. It keeps no optimiser state in the
checkpoint, overwrites nothing that it did not make from the same request, and takes no default for the data's meaning.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fine_tune.checkpoint import TRAINING_RECORD, Checkpoint
from fine_tune.data import AuditData
from fine_tune.errors import DataError, RecipeError
from fine_tune.quiet import quiet_transformers
from fine_tune.recipe import DataNote, HistoryPoint, Recipe, TrainingRecord, ids_digest
from fine_tune.tasks import Task, Trainable, find_task

LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "peft", "numpy")
EVALUATIONS = 5
DEFAULT_EPOCHS = 3.0


@dataclass(frozen=True, kw_only=True)
class _Job:
    recipe: Recipe
    task: Task
    base: Checkpoint
    data: AuditData
    classes: tuple[str, ...]
    training: list[int]
    validation: list[int]
    device: str
    progress: bool


def fine_tune(recipe: Recipe, data: AuditData, out: Path, *, progress: bool = True, device: str = "cpu") -> Checkpoint:
    """Train a model and save it with its record.

    The same recipe, data, libraries, device and number of threads give the same weights. A finished checkpoint of the
    same request in ``out`` is returned as it is. Row weights of the data are not used.

    Args:
        recipe: what to do.
        data: rows with inputs and labels; `AuditData.task_labels` gives the order of the classes.
        out: a folder to make, or one that holds the same request's checkpoint.
        progress: show a progress bar.
        device: torch's name of the device.

    Raises:
        DataError: no inputs, rows without labels, or a single class.
        RecipeError: ``out`` holds something else, an option does not fit the model, or the training diverged.
        CheckpointError: the base model cannot be used.
    """
    out = Path(out)
    base = Checkpoint.open(recipe.base, trust_remote_code=recipe.trust_remote_code)
    task = find_task(recipe.task)
    finished = _finished(out, recipe, base, data)
    if finished is not None:
        return finished
    classes = _classes(data)
    training, validation = _split(data, recipe)
    if len({data.labels[i] for i in training}) < 2:
        raise DataError(
            f"the {len(training)} rows left for training are all of one class",
            expected="at least two classes after validation rows are held out",
            fix="give more rows, or lower validation_share",
        )
    job = _Job(
        recipe=recipe, task=task, base=base, data=data, classes=classes,
        training=training, validation=validation, device=device, progress=progress,
    )  # fmt: skip
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        record = _train(job, partial)
        text = record.model_dump_json(indent=2, by_alias=True)
        (partial / TRAINING_RECORD).write_text(text + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Checkpoint.open(out, task=recipe.task, trust_remote_code=recipe.trust_remote_code)


def _finished(out: Path, recipe: Recipe, base: Checkpoint, data: AuditData) -> Checkpoint | None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    seen = "a file" if out.is_file() else "a folder with other content"
    if (out / TRAINING_RECORD).is_file():
        found = Checkpoint.open(out, task=recipe.task, trust_remote_code=recipe.trust_remote_code)
        record = found.training_record
        if record is not None and record.same_request(recipe, base.digest, data.digest):
            return found
        seen = "a checkpoint of another recipe, base model or data"
    raise RecipeError(
        f"{out} is {seen}",
        expected="a new folder, or the finished checkpoint of the same request",
        fix="name another folder, or remove this one yourself",
    )


def _classes(data: AuditData) -> tuple[str, ...]:
    if not data.has_inputs:
        raise DataError(f"{data.name} has no inputs to train on", expected="data whose `input` names a column")
    data.require_labels()
    bare = [data.row_ids[i] for i, label in enumerate(data.labels) if label is None]
    if bare:
        raise DataError(
            f"{len(bare)} rows of {data.name} have no label, such as row {bare[0]}",
            expected="a label in every row that is trained on",
            fix="remove these rows",
        )
    return data.task_labels


def _split(data: AuditData, recipe: Recipe) -> tuple[list[int], list[int]]:
    """Row numbers for training and for validation; a cluster is never in both."""
    if recipe.held_out == 0:
        return list(range(len(data))), []
    units = np.array(data.clusters if data.clusters is not None else data.row_ids, dtype=object)
    names = np.unique(units.astype(str))
    shuffled = np.random.default_rng(recipe.seed).permutation(names)
    wanted = max(1, round(recipe.held_out * len(data)))
    sizes = dict(zip(*np.unique(units.astype(str), return_counts=True), strict=True))
    held: set[str] = set()
    count = 0
    for name in shuffled:
        if count >= wanted:
            break
        held.add(name)
        count += int(sizes[name])
    validation = [i for i, unit in enumerate(units) if str(unit) in held]
    training = [i for i, unit in enumerate(units) if str(unit) not in held]
    if not training:
        raise DataError(
            f"{data.name} has {len(names)} clusters, too few to hold any out", expected="several clusters",
            fix="set validation_share: 0 and no early stopping, or drop the cluster role",
        )  # fmt: skip
    return training, validation


def _train(job: _Job, folder: Path) -> TrainingRecord:
    import torch
    from transformers import PrinterCallback, Trainer, set_seed

    from fine_tune.callbacks import Bar, BestWeights

    recipe = job.recipe
    set_seed(recipe.seed)
    made = job.task.trainable(job.base, recipe, job.data, job.classes)
    total = sum(p.numel() for p in made.model.parameters())
    model = _prepare(made, recipe)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    best = BestWeights(model, recipe.early_stopping) if recipe.early_stopping is not None else None
    bar = Bar(f"fine-tuning {Path(recipe.base).name}") if job.progress else None
    with tempfile.TemporaryDirectory(prefix="plumbline-") as scratch, quiet_transformers():
        trainer = Trainer(
            model=model,
            args=_arguments(job, scratch),
            train_dataset=[made.examples[i] for i in job.training],
            eval_dataset=[made.examples[i] for i in job.validation] or None,
            data_collator=made.collate,
            processing_class=made.processor,
            callbacks=[c for c in (best, bar) if c is not None],
        )
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train()
        finally:
            if bar is not None:
                bar.close()
        history = _history(trainer.state.log_history)
        steps = int(trainer.state.global_step)
        if best is not None:
            best.restore()
        merged = model.merge_and_unload() if recipe.method == "lora" else model
        if not all(bool(torch.isfinite(p).all()) for p in merged.parameters()):
            raise RecipeError(
                "the training diverged: some weights are not finite", expected="finite weights",
                fix=f"lower learning_rate, which was {recipe.rate}",
            )  # fmt: skip
        merged.config.name_or_path = ""
        merged.to("cpu").save_pretrained(folder)
        made.processor.save_pretrained(folder)
    losses = [p.loss for p in history if p.loss is not None]
    validated = [p.validation_loss for p in history if p.validation_loss is not None]
    ids = job.data.row_ids
    training_ids = tuple(ids[i] for i in job.training)
    validation_ids = tuple(ids[i] for i in job.validation)
    return TrainingRecord(
        recipe=recipe,
        base_digest=job.base.digest,
        data=DataNote(name=job.data.name, digest=job.data.digest, rows=len(job.data)),
        classes=job.classes,
        training_ids=training_ids,
        validation_ids=validation_ids,
        ids_digest=ids_digest(training_ids, validation_ids),
        seeds={"training": recipe.seed, "validation_split": recipe.seed},
        versions={name: importlib.metadata.version(name) for name in LIBRARIES},
        device=torch.device(job.device).type,
        trained_parameters=trained,
        parameters=total,
        truncated=made.truncated,
        steps=steps,
        best_step=None if best is None else best.step,
        final_loss=losses[-1] if losses else None,
        validation_loss=best.loss if best is not None else (validated[-1] if validated else None),
        history=history,
    )


def _prepare(made: Trainable, recipe: Recipe) -> Any:
    if recipe.method == "full":
        return made.model
    if recipe.method == "head":
        for name, parameter in made.model.named_parameters():
            parameter.requires_grad = name in made.head
        return made.model
    from peft import LoraConfig, get_peft_model

    if not made.adapted:
        raise RecipeError(f"{recipe.base} has no linear layers to adapt", expected="method: full or head")
    heads = sorted({name.rsplit(".", 1)[0] for name in made.head})
    settings = LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=list(made.adapted),
        modules_to_save=heads,
    )
    return get_peft_model(made.model, settings)


def _arguments(job: _Job, scratch: str) -> Any:
    from transformers import TrainingArguments

    recipe = job.recipe
    a_pass = math.ceil(len(job.training) / recipe.batch_size)
    epochs = DEFAULT_EPOCHS if recipe.epochs is None else recipe.epochs
    steps = recipe.steps or max(1, math.ceil(epochs * a_pass))
    chosen: dict[str, Any] = {
        "output_dir": scratch,
        "max_steps": steps,
        "per_device_train_batch_size": recipe.batch_size,
        "per_device_eval_batch_size": 2 * recipe.batch_size,
        "learning_rate": recipe.rate,
        "weight_decay": recipe.weight_decay,
        "warmup_steps": round(recipe.warmup_ratio * steps),
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "eval_strategy": "steps" if job.validation else "no",
        "eval_steps": max(1, min(a_pass, steps // EVALUATIONS)),
        "save_strategy": "no",
        "logging_strategy": "steps",
        "logging_steps": max(1, steps // 20),
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "prediction_loss_only": True,
        "dataloader_pin_memory": False,
        "use_cpu": job.device == "cpu",
    }
    known = {f.name for f in dataclasses.fields(TrainingArguments)}
    # transformers 5 says by one option what 4 said by another.
    if "train_sampling_strategy" in known:
        chosen["train_sampling_strategy"] = "group_by_length"
    else:
        chosen["group_by_length"] = True
    return TrainingArguments(**chosen)


def _history(log: Sequence[dict[str, Any]]) -> tuple[HistoryPoint, ...]:
    points: dict[int, dict[str, float]] = {}
    for entry in log:
        for key, name in (("loss", "loss"), ("eval_loss", "validation_loss")):
            value = entry.get(key)
            if value is not None and math.isfinite(float(value)):
                points.setdefault(int(entry["step"]), {})[name] = float(value)
    return tuple(HistoryPoint(step=step, **losses) for step, losses in sorted(points.items()))
