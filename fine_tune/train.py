"""Trains: a recipe and data in, a checkpoint with its training record and card out. It keeps no optimiser state in
the checkpoint, overwrites nothing that it did not make from the same request, and takes no default for the data's
meaning.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune.arguments import Extent, Place, trainer_arguments
from fine_tune.card import CARD, model_card
from fine_tune.checkpoint import TRAINING_RECORD, Checkpoint
from fine_tune.data import AuditData
from fine_tune.ensemble import ENSEMBLE, Ensemble, EnsembleRequest, train_members
from fine_tune.errors import DivergenceError, RecipeError
from fine_tune.methods import finish, prepare, with_dropout
from fine_tune.processes import is_main, process_count, wait_for_all
from fine_tune.quiet import quiet_transformers
from fine_tune.recipe import DataNote, HistoryPoint, Recipe, TrainingRecord, ids_digest
from fine_tune.resume import ResumeFolder, request_key
from fine_tune.splits import Split, row_weights, split_rows, training_classes
from fine_tune.tasks import Task, Trainable, find_task

LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "peft", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class _Job:
    recipe: Recipe
    task: Task
    base: Checkpoint
    data: AuditData
    classes: tuple[str, ...]
    split: Split
    device: str
    progress: bool
    states: ResumeFolder
    logs: Path


def fine_tune(
    recipe: Recipe, data: AuditData, out: Path, *, progress: bool = True, device: str = "cpu", resume: bool = True
) -> Checkpoint:
    """Train a model and save it with its record and card; with `Recipe.seeds`, one for each seed, as an ensemble.

    The same recipe, data, libraries, device and number of threads give the same weights, whether or not the training
    was stopped on the way and taken up again. A finished checkpoint of the same request in ``out`` is returned as it
    is. Under torchrun or accelerate launch every process calls this; the first one writes, and all return.

    Args:
        recipe: what to do.
        data: rows with inputs and labels; `AuditData.task_labels` gives the order of the classes.
        out: a folder to make, or one that holds the same request's checkpoint.
        progress: show a progress bar.
        device: torch's name of the device.
        resume: take up what an earlier call with the same request left unfinished. States lie beside ``out``, in
            ``.NAME.resume``, are written once a minute at most, and are removed when the checkpoint is there.

    Raises:
        DataError: no inputs, rows without labels, or a single class.
        RecipeError: ``out`` holds something else, an option does not fit the model, or the training diverged.
        CheckpointError: the base model cannot be used.
    """
    out = Path(out)
    base = Checkpoint.open(recipe.base, trust_remote_code=recipe.trust_remote_code, architecture=True)
    if isinstance(base, Ensemble):
        raise RecipeError(
            f"the base {recipe.base} is an ensemble of {len(base.members)} models", expected="one model to start from",
            fix=f"name one of its members, such as {Path(recipe.base) / base.members[0].folder.name}",
        )  # fmt: skip
    task = find_task(recipe.task)
    finished = _finished(out, recipe, base, data)
    if finished is not None:
        return finished
    if recipe.seeds is not None:
        asked = EnsembleRequest(recipe=recipe, base_digest=base.digest, data=DataNote.of(data))

        def member(one: Recipe, folder: Path) -> Checkpoint:
            return fine_tune(one, data, folder, progress=progress, device=device, resume=resume)

        train_members(asked, out, member, resume=resume)
    elif recipe.search:
        from fine_tune.search import search

        def trial(one: Recipe, folder: Path) -> Checkpoint:
            return fine_tune(one, data, folder, progress=progress, device=device, resume=resume)

        search(recipe, out, trial, resume=resume)
    else:
        job = _Job(
            recipe=recipe, task=task, base=base, data=data, classes=training_classes(data),
            split=split_rows(data, recipe), device=device, progress=progress and is_main(),
            states=ResumeFolder.beside(out, _request(recipe, base, data, device)),
            logs=out.parent / f"{out.name}-logs",
        )  # fmt: skip
        _train_into(out, job, resume=resume)
    wait_for_all()
    return Checkpoint.open(out, task=recipe.task, trust_remote_code=recipe.trust_remote_code)


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes ``out`` at the end of the block, and is removed if the block fails."""
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if out.exists():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_record(record: TrainingRecord, folder: Path) -> None:
    """Write the record and the card that says the same to people."""
    text = record.model_dump_json(indent=2, by_alias=True)
    (folder / TRAINING_RECORD).write_text(text + "\n", encoding="utf-8")
    (folder / CARD).write_text(model_card(record), encoding="utf-8", newline="\n")


def _request(recipe: Recipe, base: Checkpoint, data: AuditData, device: str) -> str:
    return request_key(recipe.digest, base.digest, data.digest, device, process_count(), _versions())


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def _finished(out: Path, recipe: Recipe, base: Checkpoint, data: AuditData) -> Checkpoint | None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    seen = "a file" if out.is_file() else "a folder with other content"
    if (out / ENSEMBLE).is_file():
        several = Checkpoint.open(out, task=recipe.task, trust_remote_code=recipe.trust_remote_code)
        if isinstance(several, Ensemble) and several.note.same_request(recipe, base.digest, data.digest):
            return several
        seen = "an ensemble of another recipe, base model or data"
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


def _train_into(out: Path, job: _Job, *, resume: bool) -> None:
    if not resume and is_main():
        job.states.remove()
    keep = True
    try:
        model, made, record = _train(job)
        if is_main():
            with whole_folder(out) as folder:
                model.config.name_or_path = ""
                with quiet_transformers():
                    model.to("cpu").save_pretrained(folder)
                    made.processor.save_pretrained(folder)
                write_record(record, folder)
        keep = False
    except RecipeError:
        keep = False
        raise
    finally:
        if is_main() and (not keep or job.states.newest() is None):
            job.states.remove()


def _train(job: _Job) -> tuple[Any, Trainable, TrainingRecord]:
    import torch
    from transformers import PrinterCallback, set_seed

    from fine_tune.callbacks import Bar, BestWeights, KeepStates, RankBudget, ValidateAtEnd
    from fine_tune.trainer import OwnLoss, SteadyTrainer, collate_weights, with_weights

    recipe, split = job.recipe, job.split
    set_seed(recipe.seed)
    used = sorted([*split.training, *split.validation])
    rows = job.data if len(used) == len(job.data) else job.data.select(used)
    made = with_dropout(job.task.trainable(job.base, recipe, rows, job.classes), recipe)
    examples = dict(zip(used, made.examples, strict=True))
    weighting = row_weights(job.data, split.training, recipe)
    training = [examples[i] for i in split.training]
    if weighting is not None:
        training = with_weights(training, weighting[0])
    extent = Extent.of(recipe, len(training))
    total = sum(p.numel() for p in made.model.parameters())
    model = prepare(made, recipe, extent.steps)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    place = Place(
        device=job.device, processes=process_count(), scratch=job.states.path, logs=job.logs,
        validates=bool(split.validation), by_length="input_ids" in training[0],
    )  # fmt: skip
    best = BestWeights(model, recipe.early_stopping) if recipe.early_stopping is not None else None
    budget = RankBudget(model) if recipe.method == "adalora" else None
    states = KeepStates(job.states, extent.report_every, best, budget)
    bar = Bar(f"fine-tuning {Path(recipe.base).name}") if job.progress else None
    at_end = ValidateAtEnd() if split.validation else None
    with quiet_transformers():
        trainer = SteadyTrainer(
            model=model,
            args=trainer_arguments(recipe, extent, place),
            train_dataset=training,
            eval_dataset=[examples[i] for i in split.validation] or None,
            data_collator=collate_weights(made.collate),
            processing_class=made.processor,
            callbacks=[c for c in (budget, at_end, best, states, bar) if c is not None],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.on_order = states.on_order
        # A loss is the mean over a piece of a batch, so the Trainer must divide by the number of pieces. It would not
        # if the model claimed to do that itself, and with transformers 5 some claim so and do not.
        trainer.model_accepts_loss_kwargs = False
        if weighting is not None or recipe.label_smoothing > 0:
            trainer.own_loss = OwnLoss(smoothing=recipe.label_smoothing, keeps_penalty=budget is not None)
        wait_for_all()
        start = job.states.newest()
        wait_for_all()
        if is_main():
            job.states.keep_only(start)
        if start is not None:
            states.take_up(start)
        try:
            trainer.train(resume_from_checkpoint=None if start is None else str(start))
        finally:
            if bar is not None:
                bar.close()
    if best is not None:
        best.restore()
    merged = finish(model, recipe)
    if not all(bool(torch.isfinite(p).all()) for p in merged.parameters()):
        raise DivergenceError(
            "the training diverged: some weights are not finite", expected="finite weights",
            fix=f"lower learning_rate, which was {recipe.rate}",
        )  # fmt: skip
    history = _history(trainer.state.log_history)
    losses = [p.loss for p in history if p.loss is not None]
    validated = [p.validation_loss for p in history if p.validation_loss is not None]
    ids = job.data.row_ids
    training_ids, validation_ids, holdout_ids = (
        tuple(ids[i] for i in part) for part in (split.training, split.validation, split.holdout)
    )
    record = TrainingRecord(
        recipe=recipe,
        base_digest=job.base.digest,
        from_scratch=job.base.untrained,
        data=DataNote.of(job.data),
        classes=job.classes,
        training_ids=training_ids,
        validation_ids=validation_ids,
        holdout_ids=holdout_ids,
        ids_digest=ids_digest(training_ids, validation_ids, holdout_ids),
        seeds={"training": recipe.seed, "validation_split": recipe.drawing_seed},
        versions=_versions(),
        device=torch.device(job.device).type,
        trained_parameters=trained,
        parameters=total,
        truncated=made.truncated,
        steps=int(trainer.state.global_step),
        best_step=None if best is None else best.step,
        final_loss=losses[-1] if losses else None,
        validation_loss=best.loss if best is not None else (validated[-1] if validated else None),
        history=history,
        processes=place.processes,
        weighting=None if weighting is None else weighting[1],
    )
    return merged, made, record


def _history(log: Sequence[dict[str, Any]]) -> tuple[HistoryPoint, ...]:
    points: dict[int, dict[str, float]] = {}
    for entry in log:
        for key, name in (("loss", "loss"), ("eval_loss", "validation_loss")):
            value = entry.get(key)
            if value is not None and math.isfinite(float(value)):
                points.setdefault(int(entry["step"]), {})[name] = float(value)
    return tuple(HistoryPoint(step=step, **losses) for step, losses in sorted(points.items()))
