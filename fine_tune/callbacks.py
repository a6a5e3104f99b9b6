"""What happens between training steps: a progress bar for people, the best weights in memory, states to resume from,
AdaLoRA's budget. It needs torch and transformers at import, so only `fine_tune.train` imports it, inside its function.
"""

# The signatures are those of transformers.TrainerCallback.
# ruff: noqa: ARG002

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fine_tune import resume
from fine_tune.processes import main_says, wait_for_all
from fine_tune.resume import ResumeFolder
from fine_tune.trainer import Order, moving, put_back


class BestWeights(TrainerCallback):  # type: ignore[misc]
    """Keeps the trained weights of the lowest validation loss, and stops after ``patience`` evaluations without one.

    In memory, because a checkpoint folder must hold no optimiser state.
    """

    def __init__(self, model: torch.nn.Module, patience: int) -> None:
        self.model, self.patience = model, patience
        self.loss: float | None = None
        self.step: int | None = None
        self.waited = 0
        self.kept: dict[str, torch.Tensor] = {}

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any = None, **_: Any
    ) -> None:
        """After each evaluation."""
        loss = float((metrics or {}).get("eval_loss", float("nan")))
        if self.loss is None or loss < self.loss:
            self.loss, self.step, self.waited = loss, int(state.global_step), 0
            self.kept = moving(self.model)
        else:
            self.waited += 1
            control.should_training_stop = self.waited >= self.patience

    def restore(self) -> None:
        """Put the kept weights back."""
        put_back(self.model, self.kept)


class ValidateAtEnd(TrainerCallback):  # type: ignore[misc]
    """Asks for a validation loss after the last step, so that there is one of the weights that are kept."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """After each step."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = True


class RankBudget(TrainerCallback):  # type: ignore[misc]
    """Lets AdaLoRA move its rank budget between layers after each step (Zhang et al., 2023)."""

    FIGURES = ("ipt", "exp_avg_ipt", "exp_avg_unc")

    def __init__(self, model: Any) -> None:
        self.model = model
        self.pattern: dict[str, list[bool]] | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Go on with the ranks of a state."""
        if self.pattern is not None:
            self._settings.rank_pattern = self.pattern

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """While the gradients are there."""
        self.model.base_model.update_and_allocate(state.global_step + 1)
        self.pattern = self._settings.rank_pattern or None

    @property
    def _settings(self) -> Any:
        return self.model.peft_config[self.model.active_adapter]

    def figures(self) -> dict[str, torch.Tensor]:
        """The importances so far."""
        rank = self.model.base_model.rankallocator
        return {f"{kind}/{n}": t.cpu().clone() for kind in self.FIGURES for n, t in getattr(rank, kind).items()}

    def take_up(self, figures: dict[str, torch.Tensor], pattern: dict[str, list[bool]] | None) -> None:
        """Go on from what `figures` and `pattern` were."""
        self.pattern = pattern
        rank = self.model.base_model.rankallocator
        devices = {name: p.device for name, p in self.model.base_model.model.named_parameters()}
        for key, tensor in figures.items():
            kind, _, name = key.partition("/")
            getattr(rank, kind)[name] = tensor.to(devices.get(name, "cpu"))


class KeepStates(TrainerCallback):  # type: ignore[misc]
    """Asks for a state when one is due, and adds to it what the Trainer does not keep.

    A state is due where a training loss was just reported, so that the mean losses of a resumed training are those
    of one that was never stopped.
    """

    def __init__(self, folder: ResumeFolder, report_every: int, best: BestWeights | None, budget: RankBudget | None):
        self.folder, self.report_every, self.best, self.budget = folder, report_every, best, budget
        self.order: Order | None = None
        self._from: tuple[torch.Tensor | None, int] | None = None
        self._last = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Is a state due?"""
        if state.global_step % self.report_every == 0 and state.global_step < state.max_steps:
            due = time.monotonic() - self._last >= resume.SAVE_SECONDS
            control.should_save = main_says(due, str(args.device))

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,
        **_: Any,
    ) -> None:
        """Add to the state, and mark it as whole once every process has written its part."""
        place = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        wait_for_all()
        if args.should_save and self.order is not None:
            tensors = {"order": self.order.started}
            a_pass = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
            inside = state.global_step % a_pass != 0
            note: dict[str, Any] = {"passes": self.order.passes, "inside": inside}
            if self.best is not None:
                note["best"] = [self.best.loss, self.best.step, self.best.waited]
                tensors |= {f"best/{n}": t for n, t in self.best.kept.items()}
            if self.budget is not None:
                note["ranks"] = self.budget.pattern
                tensors |= {f"rank/{n}": t for n, t in self.budget.figures().items()}
            save_file(tensors, str(place / resume.TENSORS))
            self.folder.complete(place, note)
        self._last = time.monotonic()

    def take_up(self, state: Path) -> None:
        """Go on from a whole state."""
        note, tensors = self.folder.note(state), load_file(str(state / resume.TENSORS))
        self._from = (tensors["order"] if note["inside"] else None, int(note["passes"]))
        if self.best is not None:
            self.best.loss, self.best.step, self.best.waited = note["best"]
            self.best.kept = _below(tensors, "best/")
        if self.budget is not None:
            self.budget.take_up(_below(tensors, "rank/"), note["ranks"])

    def on_order(self, order: Order) -> None:
        """The Trainer has made its order of rows."""
        self.order = order
        if self._from is not None:
            order.take_up(*self._from)


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class Bar(TrainerCallback):  # type: ignore[misc]
    """A progress bar with the last losses."""

    def __init__(self, label: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
        )  # fmt: skip
        self._task = self._progress.add_task(label, losses="")
        self._losses: dict[str, float] = {}

    def begin(self, steps: int) -> None:
        """Show the bar."""
        self._progress.start()
        self._progress.update(self._task, total=steps)

    def reach(self, step: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=step)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Show the bar."""
        self.begin(state.max_steps)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Move the bar."""
        self.reach(state.global_step)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Show the losses."""
        for key, name in (("loss", "loss"), ("eval_loss", "validation")):
            if key in (logs or {}):
                self._losses[name] = float(logs[key])
        shown = "  ".join(f"{name} {value:.3f}" for name, value in self._losses.items())
        self._progress.update(self._task, losses=shown)

    def close(self) -> None:
        """Take the bar away; safe to call twice."""
        self._progress.stop()
