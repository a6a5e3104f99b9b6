"""One file = one task: how inputs become tensors, outputs become answers, and what a row of predictions holds.

A task is found by its Hugging Face name; adding one is adding a module that holds ``TASK``. Nothing here loads torch:
a task's module imports it inside its functions. The rooms above know units, classes and scores, and leave what an input
is, what a label says and how either is shown to the task.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from fine_tune.errors import RecipeError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from fine_tune.checkpoint import Checkpoint
    from fine_tune.data import AuditData
    from fine_tune.predictions import PredictionsMeta
    from fine_tune.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model says on one input.

    Attributes:
        scores: one row a unit, one column a class; probabilities. One unit where the input is the unit.
        truncated: the input was cut at the model's maximum length.
        texts: what each unit says or covers, for tasks whose answers are no classes; empty otherwise.
    """

    scores: tuple[tuple[float, ...], ...]
    truncated: bool = False
    texts: tuple[str, ...] = ()

    def to_json(self) -> list[Any]:
        """As JSON values; floats keep every bit."""
        return [[list(row) for row in self.scores], int(self.truncated), list(self.texts)]

    @classmethod
    def from_json(cls, value: Any) -> Answer:
        """Read back what `to_json` gave."""
        scores, truncated, texts = value
        return cls(scores=tuple(tuple(row) for row in scores), truncated=bool(truncated), texts=tuple(texts))


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One input as a person may look at it: a text, or a small picture as PNG bytes."""

    text: str = ""
    png: bytes | None = None


class Reader(Protocol):
    """A loaded model that answers inputs, whatever they are.

    Attributes:
        settings: what besides the weights decides an answer, such as the maximum length; part of every key.
        model: the torch module, for gradients.
        processor: its tokenizer or processor.
    """

    settings: str
    model: Any
    processor: Any

    def plan(self, inputs: Sequence[Any], batch_tokens: int) -> list[list[int]]:
        """Positions of ``inputs`` by batch; the same inputs in any order give the same batches of inputs.

        ``batch_tokens`` bounds a batch in the units that the model attends to: tokens of text, patches of an image.
        """
        ...

    def answer(self, inputs: Sequence[Any]) -> list[Answer]:
        """One batch in one forward pass, in order."""
        ...


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """What `fine_tune.train` needs of a task.

    Attributes:
        model: with a head for the classes, in training mode, on the CPU.
        processor: saved beside the weights.
        examples: one a row, each with ``labels`` and what `collate` needs; ``input_ids`` where rows differ in length.
        truncated: examples cut at the maximum length.
        collate: examples to a batch of tensors; what is too large to keep for every row may be computed here.
        head: names of the parameters that ``method: head`` trains.
        adapted: names of the linear layers that ``method: lora`` adapts.
    """

    model: Any
    processor: Any
    examples: list[dict[str, Any]]
    truncated: int
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]]
    head: frozenset[str]
    adapted: tuple[str, ...]


@runtime_checkable
class Task(Protocol):
    """How one kind of model is read, trained and written down.

    Attributes:
        name: Hugging Face name.
        auto_model: the class of transformers that loads such a model.
        architecture: how class names of such models end.
    """

    name: str
    auto_model: str
    architecture: str

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise `CheckpointError` if the checkpoint's head does not serve this task."""
        ...

    def reader(self, checkpoint: Checkpoint, device: str) -> Reader:
        """Load the model. Raises `CheckpointError`."""
        ...

    def labels(self, data: AuditData) -> list[str | None]:
        """The true class name of every unit, row after row; None where unknown. Raises `DataError`."""
        ...

    def rows(self, data: AuditData, answers: Sequence[Answer], meta: PredictionsMeta) -> pa.Table:
        """The table of predictions (see `fine_tune.predictions`); ``answers`` are in the order of ``data``."""
        ...

    def show(self, value: Any) -> Shown:
        """One input for people to look at. Raises `DataError` if it is nothing that the task reads."""
        ...

    def scores(self, answers: Sequence[Answer]) -> npt.NDArray[np.float64]:
        """Answers as probabilities, shape (inputs, classes). Raises `DataError` where inputs have several units."""
        ...

    def trainable(self, base: Checkpoint, recipe: Recipe, data: AuditData, classes: tuple[str, ...]) -> Trainable:
        """Model and examples for training. Raises `CheckpointError` or `DataError`."""
        ...


@lru_cache(maxsize=1)
def all_tasks() -> tuple[Task, ...]:
    """Every task, by name."""
    found: list[Task] = []
    for module in pkgutil.iter_modules(__path__):
        task = getattr(importlib.import_module(f"{__name__}.{module.name}"), "TASK", None)
        if isinstance(task, Task):
            found.append(task)
    return tuple(sorted(found, key=lambda t: t.name))


def find_task(name: str) -> Task:
    """The task called ``name``; hyphens and underscores are the same.

    Raises:
        RecipeError: there is none; the message lists what there is.
    """
    known = {task.name: task for task in all_tasks()}
    wanted = name.replace("_", "-")
    if wanted in known:
        return known[wanted]
    close = difflib.get_close_matches(wanted, list(known), n=1)
    raise RecipeError(
        f"no task is called {name!r}",
        expected=f"one of {', '.join(known)}",
        fix=f"did you mean {close[0]!r}?" if close else "this version knows no other task",
    )
