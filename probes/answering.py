"""What every subject that can be asked has in common: inputs go out batch by batch, answers are journalled as they come, and
become a table of predictions. It knows neither models nor networks, and it opens nothing.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fine_tune.data import AuditData, check_labels, content_digest
from fine_tune.errors import DataError
from fine_tune.predictions import PredictionsMeta
from fine_tune.tasks import Answer
from probes.errors import EndpointError, SubjectError
from probes.evidence import Need
from probes.probe import Context

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

TASKS = ("text-classification", "image-classification", "audio-classification", "tabular-classification")

Plan = Callable[[Sequence[Any]], list[list[int]]]
Ask = Callable[[Sequence[Any]], list[Answer]]


def ask(inputs: Sequence[Any], ctx: Context, *, plan: Plan, answer: Ask, space: str, label: str) -> list[Answer]:
    """Answers to ``inputs``, in order; each different input is asked about once.

    A batch is the unit of the journal, because a float may differ in its last bits with the company it was computed in;
    so a resumed run gives the same bytes as one that was not killed. Each batch is journalled as soon as it is
    answered, so that whatever stops the loop loses the batch in hand and no other.

    Args:
        inputs: whatever the subject reads.
        ctx: its journal holds the answers, its progress is shown.
        plan: positions by batch; the same inputs in any order give the same batches of inputs.
        answer: asks one batch; an answer for each input, in order.
        space: names everything but the inputs that an answer depends on; part of every key.
        label: what a person sees while it runs.

    Raises:
        SubjectError: a batch came back with another number of answers.
    """
    unique: dict[str, Any] = {}
    asked = [content_digest(value) for value in inputs]
    for key, value in zip(asked, inputs, strict=True):
        unique.setdefault(key, value)
    contents = list(unique)
    known: dict[str, Answer] = {}
    batches = plan(list(unique.values()))
    for batch in ctx.progress(batches, len(batches), label):
        members = [contents[i] for i in batch]
        key = hashlib.sha256("\n".join((space, *members)).encode()).hexdigest()
        kept = ctx.journal.lookup(key)
        if kept is None:
            answers = answer([unique[c] for c in members])
            if len(answers) != len(members):
                raise SubjectError(f"{len(members)} inputs were asked about, and {len(answers)} answers came back")
            ctx.journal.append([(key, [a.to_json() for a in answers])])
        else:
            answers = [Answer.from_json(value) for value in kept]
        known.update(zip(members, answers, strict=True))
    return [known[key] for key in asked]


def plan_by_rows(inputs: Sequence[Any], rows: int) -> list[list[int]]:
    """Positions in batches of at most ``rows``, by the inputs' digests, so that their order does not matter."""
    order = sorted(range(len(inputs)), key=lambda i: content_digest(inputs[i]))
    return [order[start : start + rows] for start in range(0, len(order), rows)]


def task_named(name: str | None, value: Any) -> str:
    """The task of a subject that no task of ours reads: ``name``, or by what one of its inputs is if that is None.

    Raises:
        SubjectError: ``name`` is no task with one label an input.
    """
    if name is None:
        if isinstance(value, str):
            return "text-classification"
        return "image-classification" if isinstance(value, bytes) else "tabular-classification"
    if name not in TASKS:
        raise SubjectError(
            f"the task is {name!r}",
            expected=f"one of {', '.join(TASKS)}: one label an input",
            fix="for other tasks give the checkpoint or a table of predictions",
        )
    return name


class AskedSubject(ABC):
    """The part of `probes.subject.Subject` that all subjects share which can be asked about new inputs.

    Subclasses set `name`, `task`, `digest`, `offers`, `details`, `training` and `files`, and answer.

    Args:
        data: rows with inputs; labels, if any, are names of classes.
        classes: names in the order of scores.
        threshold, positive: the positive class is named from this score on, in [0, 1]; both or neither.

    Raises:
        DataError: no inputs, labels that are no classes, or a threshold without a positive class.
    """

    kind: str
    name: str
    task: str
    digest: str
    offers: frozenset[Need]
    details: dict[str, str | int | float]
    training: dict[str, Any] | None
    training_named: AuditData | None = None
    files: dict[str, str]

    def __init__(
        self, data: AuditData, classes: Sequence[str], *, threshold: float | None, positive: str | None
    ) -> None:
        self.data, self.classes = data, tuple(classes)
        self.threshold, self.positive = threshold, positive
        check_decision(self.classes, threshold, positive)
        if not data.has_inputs:
            raise DataError(f"{data.name} has no inputs", expected="data whose `input` names a column")
        check_labels((v for v in self._labels() if v is not None), self.classes, data.name)
        self._table: pa.Table | None = None
        self._failure: SubjectError | None = None

    def predictions(self, ctx: Context) -> pa.Table:
        """The table of predictions on `data`; computed once a subject, and a failure is not tried again either.

        Raises:
            CheckpointError: a model cannot be loaded or gives no finite scores.
            SubjectError: whoever was asked did not answer, or not with probabilities.
        """
        if self._failure is not None:
            raise self._failure
        if self._table is None:
            try:
                answers = self._answers(self.data.inputs, ctx, f"predicting {self.data.name}")
            except SubjectError as error:
                self._failure = error
                raise
            meta = PredictionsMeta(
                task=self.task,
                classes=self.classes,
                threshold=self.threshold,
                positive=self.positive,
                truncated=self._truncated(answers),
            )
            self._table = self._rows(answers, meta)
        return self._table

    def predict(self, inputs: Sequence[Any], ctx: Context) -> npt.NDArray[np.float64]:
        """Probabilities on new inputs, shape (len(inputs), len(classes)).

        Raises:
            CheckpointError, SubjectError: as `predictions`.
            DataError: an input is not what the task reads.
        """
        import numpy as np

        if not len(inputs):
            return np.empty((0, len(self.classes)))
        # Who did not answer at all will not answer the next probe either; a wrong answer may be due to these inputs.
        if isinstance(self._failure, EndpointError):
            raise self._failure
        return self._scores(self._answers(inputs, ctx, f"querying {self.name}"))

    @abstractmethod
    def _answers(self, inputs: Sequence[Any], ctx: Context, label: str) -> list[Answer]:
        """Answers in the order of the inputs, by way of `ask`."""

    def _labels(self) -> list[str | None]:
        """The true class name of every unit; None where unknown."""
        return self.data.labels

    def _rows(self, answers: Sequence[Answer], meta: PredictionsMeta) -> pa.Table:
        from fine_tune.rows import decide, single_unit_rows

        scores = self._scores(answers)
        return single_unit_rows(self.data, decide(scores, meta), scores, meta)

    def _scores(self, answers: Sequence[Answer]) -> npt.NDArray[np.float64]:
        import numpy as np

        return np.array([answer.scores[0] for answer in answers], dtype=np.float64)

    def _truncated(self, answers: Sequence[Answer]) -> int | None:  # noqa: ARG002
        """How many inputs were cut; None where the one who was asked does not say."""
        return None


def check_decision(classes: Sequence[str], threshold: float | None, positive: str | None) -> None:
    """Check that a threshold has a positive class, and that both can be met.

    Raises:
        DataError: they cannot.
    """
    if threshold is not None and positive is None:
        raise DataError(
            f"a threshold of {threshold} is set without a class it applies to",
            expected=f"positive: one of {', '.join(classes)}",
        )
    if positive is not None and positive not in classes:
        raise DataError(f"the positive class is {positive!r}", expected=f"one of {', '.join(map(repr, classes))}")
    if threshold is not None and not 0 <= threshold <= 1:
        raise DataError(f"the threshold is {threshold}", expected="a score between 0 and 1")


def data_needs(data: AuditData) -> frozenset[Need]:
    """The needs that the roles of the data serve."""
    served = {
        Need.LABELS: any(label is not None for label in data.labels),
        Need.GROUPS: bool(data.features),
        Need.COUNTERPARTS: any(value is not None for value in data.counterparts or ()),
        Need.RATIONALES: any(value is not None for value in data.rationales or ()),
    }
    return frozenset(need for need, there in served.items() if there)


def subject_digest(
    source: str, task: str, classes: Sequence[str], threshold: float | None, positive: str | None
) -> str:
    """sha256 over what decides a subject's answers: ``source`` is the digest of the weights, or of the table."""
    body = {"source": source, "task": task, "classes": list(classes), "threshold": threshold, "positive": positive}
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
