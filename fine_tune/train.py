"""Trains: a recipe and data in, a checkpoint with its training record and card out. It keeps no optimiser state in
the checkpoint, overwrites nothing that it did not make from the same request, and takes no default for the data's
meaning.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import shutil
from collections.abc import Iterator
from pathlib import Path

from fine_tune.card import CARD, model_card
from fine_tune.checkpoint import TRAINING_RECORD, Checkpoint
from fine_tune.data import AuditData
from fine_tune.ensemble import ENSEMBLE, Ensemble, EnsembleRequest, train_members
from fine_tune.errors import DivergenceError, RecipeError
from fine_tune.learning import Job, Learned, train_openly
from fine_tune.privacy.options import check_options
from fine_tune.privacy.released import mark_released
from fine_tune.processes import is_main, process_count, wait_for_all
from fine_tune.quiet import quiet_transformers
from fine_tune.recipe import DataNote, Recipe, TrainingRecord, ids_digest
from fine_tune.resume import ResumeFolder, request_key
from fine_tune.splits import split_rows, training_classes
from fine_tune.tasks import find_task

LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "peft", "numpy", "pillow")


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
    check_options(recipe)
    finished = _finished(out, recipe, base, data)
    if finished is not None:
        if is_main():
            # A kill after the checkpoint was whole leaves states behind; a private one would hold its noise.
            ResumeFolder.beside(out, "").remove()
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
        job = Job(
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


def _train_into(out: Path, job: Job, *, resume: bool) -> None:
    if not resume and is_main():
        job.states.remove()
    if resume and job.recipe.privacy is not None:
        # Before anything that could remove a state: whoever came with the wrong data can still go on with the right one.
        from fine_tune.privacy.states import refuse_other_states

        refuse_other_states(job.states)
    keep = True
    try:
        learned, record = _learn(job)
        if is_main():
            with whole_folder(out) as folder:
                learned.model.config.name_or_path = ""
                with quiet_transformers():
                    learned.model.to("cpu").save_pretrained(folder)
                    learned.made.processor.save_pretrained(folder)
                write_record(record, folder)
                if job.recipe.privacy is not None and job.states.newest() is not None:
                    # Before the folder gets its name: a kill right after may leave states of the noise that it carries.
                    mark_released(job.states.path, record.steps)
        keep = False
    except RecipeError:
        keep = False
        raise
    finally:
        if is_main() and (not keep or job.states.newest() is None):
            job.states.remove()


def _learn(job: Job) -> tuple[Learned, TrainingRecord]:
    """Train, check the weights and write down what was done."""
    import torch

    if job.recipe.privacy is not None:
        from fine_tune.privacy.learning import train_privately

        learned = train_privately(job)
    else:
        learned = train_openly(job)
    if not all(bool(torch.isfinite(p).all()) for p in learned.model.parameters()):
        raise DivergenceError(
            "the training diverged: some weights are not finite", expected="finite weights",
            fix=f"lower learning_rate, which was {job.recipe.rate}",
        )  # fmt: skip
    ids, canaries = job.data.row_ids, job.split.canaries
    planted = {canary.id for canary in canaries}
    training_ids, validation_ids, holdout_ids = (
        tuple(ids[i] for i in part if ids[i] not in planted)
        for part in (job.split.training, job.split.validation, job.split.holdout)
    )
    return learned, TrainingRecord(
        recipe=job.recipe,
        base_digest=job.base.digest,
        from_scratch=job.base.untrained,
        data=DataNote.of(job.data),
        classes=job.classes,
        training_ids=training_ids,
        validation_ids=validation_ids,
        holdout_ids=holdout_ids,
        canaries=canaries,
        ids_digest=ids_digest(training_ids, validation_ids, holdout_ids, canaries),
        seeds={"training": job.recipe.seed, "validation_split": job.recipe.drawing_seed},
        versions=_versions(),
        device=torch.device(job.device).type,
        trained_parameters=learned.trained,
        parameters=learned.total,
        truncated=learned.made.truncated,
        steps=learned.steps,
        best_step=learned.best_step,
        final_loss=learned.final_loss,
        validation_loss=learned.validation_loss,
        history=learned.history,
        processes=process_count(),
        weighting=learned.weighting,
        balancing=learned.balancing,
        ledger=learned.ledger,
    )
