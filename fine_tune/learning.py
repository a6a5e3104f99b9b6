"""The training without privacy: a job in, learned weights out, by the Trainer of transformers. It writes no checkpoint and no record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fine_tune.arguments import Extent, Place, trainer_arguments
from fine_tune.canaries import taught
from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.methods import finish, prepare, with_dropout
from fine_tune.privacy.ledger import Ledger
from fine_tune.processes import is_main, process_count, wait_for_all
from fine_tune.quiet import quiet_transformers
from fine_tune.recipe import BalanceNote, HistoryPoint, Recipe, WeightNote
from fine_tune.resume import ResumeFolder
from fine_tune.splits import Split, balanced_draws, row_weights
from fine_tune.tasks import Task, Trainable


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training of one model."""

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

    @cached_property
    def taught(self) -> AuditData:
        """The data with the labels that are trained on: a canary's may be flipped."""
        return taught(self.data, self.split.canaries)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What came of a job.

    Attributes:
        model: in plain weights.
        made: what the task gave; its processor belongs beside the weights.
        trained, total: weights that could move, and all of them.
        steps: optimiser steps taken.
        best_step, final_loss, validation_loss, history, weighting, balancing, ledger: as in `fine_tune.recipe.TrainingRecord`.
    """

    model: Any
    made: Trainable
    trained: int
    total: int
    steps: int
    best_step: int | None = None
    final_loss: float | None = None
    validation_loss: float | None = None
    history: tuple[HistoryPoint, ...] = ()
    weighting: WeightNote | None = None
    balancing: BalanceNote | None = None
    ledger: Ledger | None = None


def materials(job: Job) -> tuple[Trainable, dict[int, dict[str, Any]]]:
    """Model and processor of the job's base, and the examples of the rows that are used, by row number."""
    used = sorted([*job.split.training, *job.split.validation])
    rows = job.taught if len(used) == len(job.data) else job.taught.select(used)
    made = with_dropout(job.task.trainable(job.base, job.recipe, rows, job.classes), job.recipe)
    return made, dict(zip(used, made.examples, strict=True))


def train_openly(job: Job) -> Learned:
    """Train as the recipe says, without privacy; takes up the newest state."""
    from transformers import PrinterCallback, set_seed

    from fine_tune.callbacks import Bar, BestWeights, KeepStates, RankBudget, ValidateAtEnd
    from fine_tune.trainer import OwnLoss, SteadyTrainer, collate_weights, with_weights

    recipe, split = job.recipe, job.split
    # Before the model is opened, so that a feature that is not there is said at once.
    weighting = row_weights(job.taught, split.training, recipe)
    draws = balanced_draws(job.data, split.training, recipe)
    set_seed(recipe.seed)
    made, examples = materials(job)
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
        trainer.draws = draws
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
    history = _history(trainer.state.log_history)
    losses = [p.loss for p in history if p.loss is not None]
    validated = [p.validation_loss for p in history if p.validation_loss is not None]
    return Learned(
        model=finish(model, recipe),
        made=made,
        trained=trained,
        total=total,
        steps=int(trainer.state.global_step),
        best_step=None if best is None else best.step,
        final_loss=losses[-1] if losses else None,
        validation_loss=best.loss if best is not None else (validated[-1] if validated else None),
        history=history,
        weighting=None if weighting is None else weighting[1],
        balancing=None if draws is None else draws.note(recipe.balance),
    )


def _history(log: Sequence[dict[str, Any]]) -> tuple[HistoryPoint, ...]:
    points: dict[int, dict[str, float]] = {}
    for entry in log:
        for key, name in (("loss", "loss"), ("eval_loss", "validation_loss")):
            value = entry.get(key)
            if value is not None and math.isfinite(float(value)):
                points.setdefault(int(entry["step"]), {})[name] = float(value)
    return tuple(HistoryPoint(step=step, **losses) for step, losses in sorted(points.items()))
