"""Tries every combination of a small grid and keeps the one of the lowest validation loss. It records each trial,
the diverged ones too, and hides no choice: the figures that it chose by are in the record.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from fine_tune.checkpoint import Checkpoint
from fine_tune.errors import CheckpointError, DivergenceError
from fine_tune.processes import is_main, wait_for_all
from fine_tune.recipe import Recipe, Trial


def search(recipe: Recipe, out: Path, train: Callable[[Recipe, Path], Checkpoint], *, resume: bool) -> None:
    """Train each trial beside ``out``, and leave the best one there with all trials in its record.

    Args:
        recipe: one with a `Recipe.search`.
        out: a folder to make. Trials lie in ``.NAME.trials`` meanwhile; a search that was stopped goes on there.
        train: makes one trial's checkpoint in a folder, or returns it if it is there.
        resume: keep the trials that an earlier call finished.

    Raises:
        DivergenceError: every trial diverged.
    """
    from fine_tune.train import whole_folder, write_record

    place = out.parent / f".{out.name}.trials"
    if not resume and is_main():
        shutil.rmtree(place, ignore_errors=True)
    wait_for_all()
    trials: list[Trial] = []
    made: list[Checkpoint | None] = []
    for number, (values, asked) in enumerate(recipe.trials()):
        try:
            checkpoint = train(asked, place / f"{number:03d}-{asked.digest[:16]}")
        except DivergenceError:
            made.append(None)
            trials.append(Trial(values=values, validation_loss=None, steps=0, weights=""))
            continue
        record = checkpoint.training_record
        if record is None:
            raise CheckpointError(f"the trial {checkpoint.folder.name} has no training record")
        made.append(checkpoint)
        trials.append(
            Trial(
                values=values,
                validation_loss=record.validation_loss,
                steps=record.steps,
                weights=checkpoint.weights_digest,
            )
        )
    losses = {i: t.validation_loss for i, t in enumerate(trials) if t.validation_loss is not None}
    kept = min(losses, key=lambda i: (losses[i], i), default=None)
    best = None if kept is None else made[kept]
    if best is None or best.training_record is None:
        raise DivergenceError(
            f"all {len(trials)} trials of the search diverged", expected="one with a validation loss at least",
            fix="search lower learning rates",
        )  # fmt: skip
    wait_for_all()
    if is_main():
        asked_of = {"recipe": recipe, "trials": tuple(trials), "kept_trial": kept}
        with whole_folder(out) as folder:
            shutil.copytree(best.folder, folder, dirs_exist_ok=True)
            write_record(best.training_record.model_copy(update=asked_of), folder)
        shutil.rmtree(place, ignore_errors=True)
