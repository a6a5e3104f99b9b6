"""The subject that is a checkpoint: it predicts on the data and on new inputs, batch by batch, and resumes after a kill.
It knows neither tokens nor logits, which are the task's business; importing it loads no torch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fine_tune.data import AuditData, check_labels, content_digest
from fine_tune.errors import DataError
from fine_tune.predictions import PredictionsMeta
from fine_tune.tasks import Answer, Reader, Task, find_task
from probes.evidence import Need
from probes.probe import Context

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from fine_tune.checkpoint import Checkpoint

BATCH_TOKENS = 4096


class CheckpointSubject:
    """A checkpoint with the data it is examined on; see `probes.subject.Subject`.

    The model is loaded when it is first asked. Answers are journalled by batch, under a key that names the weights, the
    settings, the device's kind, the libraries and the batch's inputs. A batch is the unit because a float may differ in
    its last bits with the company it was computed in; so a resumed run gives the same bytes as one that was not killed.

    Args:
        checkpoint: already opened.
        data: rows with inputs; labels, if any, are names of the model's classes.
        threshold, positive: the positive class is named from this score on, in [0, 1]; both or neither.
        batch_tokens: tokens a batch holds at most, padding included.

    Raises:
        CheckpointError: the head does not serve the task.
        DataError: no inputs, labels that are no classes, or a threshold without a positive class.
    """

    kind = "checkpoint"

    def __init__(
        self,
        checkpoint: Checkpoint,
        data: AuditData,
        *,
        threshold: float | None = None,
        positive: str | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.checkpoint, self.data = checkpoint, data
        self.name, self.task = checkpoint.name, checkpoint.task
        self._task: Task = find_task(self.task)
        self._task.check(checkpoint)
        self.classes = checkpoint.classes
        self.threshold, self.positive = threshold, positive
        check_decision(self.classes, threshold, positive)
        if not data.has_inputs:
            raise DataError(f"{data.name} has no inputs", expected="data whose `input` names a column")
        check_labels((v for v in data.labels if v is not None), self.classes, data.name)
        model = {Need.PREDICTIONS, Need.QUERIES, Need.WEIGHTS, Need.GRADIENTS}
        record = {Need.TRAINING_RECORD} if checkpoint.training_record is not None else set()
        self.offers = frozenset(model | record | data_needs(data))
        self.digest = subject_digest(checkpoint.digest, self.task, self.classes, threshold, positive)
        self.details = _details(checkpoint)
        self.training = _training(checkpoint)
        self.files = dict(checkpoint.file_digests)
        self._batch_tokens = batch_tokens
        self._readers: dict[str, Reader] = {}
        self._table: pa.Table | None = None

    def predictions(self, ctx: Context) -> pa.Table:
        """The table of predictions on `data`; computed once a subject.

        Raises:
            CheckpointError: the model cannot be loaded or gives no finite scores.
        """
        if self._table is None:
            answers = self._answers(self.data.inputs, ctx, f"predicting {self.data.name}")
            meta = PredictionsMeta(
                task=self.task,
                classes=self.classes,
                threshold=self.threshold,
                positive=self.positive,
                truncated=sum(answer.truncated for answer in answers),
            )
            self._table = self._task.rows(self.data, answers, meta)
        return self._table

    def predict(self, inputs: Sequence[Any], ctx: Context) -> npt.NDArray[np.float64]:
        """Probabilities on new inputs, shape (len(inputs), len(classes)).

        Raises:
            CheckpointError: as `predictions`.
            DataError: an input is not what the task reads.
        """
        import numpy as np

        if not len(inputs):
            return np.empty((0, len(self.classes)))
        return self._task.scores(self._answers(inputs, ctx, f"querying {self.name}"))

    def reader(self, device: str) -> Reader:
        """The loaded model with its tokenizer or processor, for probes that need weights or gradients."""
        if device not in self._readers:
            self._readers[device] = self._task.reader(self.checkpoint, device)
        return self._readers[device]

    def _answers(self, inputs: Sequence[Any], ctx: Context, label: str) -> list[Answer]:
        reader = self.reader(ctx.device)
        unique: dict[str, Any] = {}
        asked = [content_digest(value) for value in inputs]
        for key, value in zip(asked, inputs, strict=True):
            unique.setdefault(key, value)
        contents = list(unique)
        known: dict[str, Answer] = {}
        batches = reader.plan(list(unique.values()), self._batch_tokens)
        space = self._namespace(reader, ctx.device)
        for batch in ctx.progress(batches, len(batches), label):
            members = [contents[i] for i in batch]
            key = hashlib.sha256("\n".join((space, *members)).encode()).hexdigest()
            kept = ctx.journal.lookup(key)
            if kept is None:
                answers = reader.answer([unique[c] for c in members])
                ctx.journal.append([(key, [a.to_json() for a in answers])])
            else:
                answers = [Answer.from_json(value) for value in kept]
            known.update(zip(members, answers, strict=True))
        return [known[key] for key in asked]

    def _namespace(self, reader: Reader, device: str) -> str:
        versions = [importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")]
        return json.dumps(
            ["answers/1", self.checkpoint.digest, self.task, reader.settings, device.partition(":")[0], *versions]
        )


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


def _details(checkpoint: Checkpoint) -> dict[str, str | int | float]:
    details: dict[str, str | int | float] = {
        "architecture": ", ".join(checkpoint.architectures),
        "parameters": checkpoint.parameters,
        "trust_remote_code": "yes" if checkpoint.trust_remote_code else "no",
    }
    if checkpoint.ignored_files:
        details["pickles_not_opened"] = ", ".join(checkpoint.ignored_files)
    record = checkpoint.training_record
    if record is not None:
        details |= {
            "base": record.recipe.base,
            "method": record.recipe.method,
            "training_rows": len(record.training_ids),
        }
    return details


def _training(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """The training record without its lists of row ids, whose digest stays."""
    record = checkpoint.training_record
    if record is None:
        return None
    body = record.model_dump(mode="json", by_alias=True, exclude={"training_ids", "validation_ids"})
    return {**body, "training_rows": len(record.training_ids), "validation_rows": len(record.validation_ids)}
