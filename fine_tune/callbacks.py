"""What happens between training steps: a progress bar for people, and keeping the best weights in memory. It needs
torch and transformers at import, so only `fine_tune.train` imports it, inside its function.
"""

# The signatures are those of transformers.TrainerCallback.
# ruff: noqa: ARG002

from __future__ import annotations

from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class BestWeights(TrainerCallback):  # type: ignore[misc]
    """Keeps the trained weights of the lowest validation loss, and stops after ``patience`` evaluations without one.

    In memory, because a checkpoint folder must hold no optimiser state.
    """

    def __init__(self, model: torch.nn.Module, patience: int) -> None:
        self.model, self.patience = model, patience
        self.loss: float | None = None
        self.step: int | None = None
        self._waited = 0
        self._kept: dict[str, torch.Tensor] = {}

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any = None, **_: Any
    ) -> None:
        """After each evaluation."""
        loss = float((metrics or {}).get("eval_loss", float("nan")))
        if self.loss is None or loss < self.loss:
            self.loss, self.step, self._waited = loss, int(state.global_step), 0
            self._kept = {n: p.detach().cpu().clone() for n, p in self.model.named_parameters() if p.requires_grad}
        else:
            self._waited += 1
            control.should_training_stop = self._waited >= self.patience

    def restore(self) -> None:
        """Put the kept weights back."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if name in self._kept:
                    parameter.copy_(self._kept[name])


class Bar(TrainerCallback):  # type: ignore[misc]
    """A progress bar with the last losses."""

    def __init__(self, label: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
        )  # fmt: skip
        self._task = self._progress.add_task(label, losses="")
        self._losses: dict[str, float] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Show the bar."""
        self._progress.start()
        self._progress.update(self._task, total=state.max_steps)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=state.global_step)

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
