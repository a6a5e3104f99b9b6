"""The subject that is a checkpoint: it predicts on the data and on new inputs, batch by batch, and resumes after a kill.
It knows neither tokens nor logits, which are the task's business; importing it loads no torch.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fine_tune.canaries import without_canaries
from fine_tune.data import AuditData
from fine_tune.ensemble import Ensemble
from fine_tune.errors import CheckpointError
from fine_tune.predictions import PredictionsMeta
from fine_tune.tasks import Answer, Reader, Task, find_task
from probes.answering import AskedSubject, ask, check_decision, data_needs, subject_digest
from probes.evidence import Need
from probes.probe import Context

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from fine_tune.checkpoint import Checkpoint

__all__ = ["CheckpointSubject", "check_decision", "data_needs", "subject_digest"]

BATCH_TOKENS = 4096
_ROW_LISTS = {"training_ids", "validation_ids", "holdout_ids", "canaries"}


class CheckpointSubject(AskedSubject):
    """A checkpoint with the data it is examined on; see `probes.subject.Subject`.

    The model is loaded when it is first asked. Answers are journalled by batch (see `probes.answering.ask`), under a key
    that names the weights, the settings, the device's kind, the libraries and the batch's inputs.

    Args:
        checkpoint: already opened.
        data: rows with inputs; labels, if any, are names of the model's classes. Rows that are canaries of its training are
            left out, and `details` say how many.
        threshold, positive: the positive class is named from this score on, in [0, 1]; both or neither.
        batch_tokens: tokens a batch holds at most, padding included.
        training_data: the data that it was trained on, if it is at hand. It is offered only where its digest is the one
            in the training record; otherwise `details` say that it is not.

    Attributes:
        training_data: the rows that moved its weights, without those held out; None where they are not at hand.
        training_source: all rows that the training was given, those held out among them; None likewise.

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
        training_data: AuditData | None = None,
    ) -> None:
        if isinstance(checkpoint, Ensemble):
            raise CheckpointError(
                f"{checkpoint.name} is an ensemble of {len(checkpoint.members)} models", expected="one checkpoint",
                fix="open it with probes.subject.subject_of",
            )  # fmt: skip
        self.checkpoint = checkpoint
        self.name, self.task = checkpoint.name, checkpoint.task
        self._task: Task = find_task(self.task)
        self._task.check(checkpoint)
        given = len(data)
        if checkpoint.training_record is not None:
            data = without_canaries(data, checkpoint.training_record.canaries)
        super().__init__(data, checkpoint.classes, threshold=threshold, positive=positive)
        model = {Need.PREDICTIONS, Need.QUERIES, Need.WEIGHTS, Need.GRADIENTS}
        record = {Need.TRAINING_RECORD} if checkpoint.training_record is not None else set()
        self.training_data = trained_on(checkpoint, training_data)
        self.training_source = training_data if self.training_data is not None else None
        if self.training_data is not None:
            record |= {Need.TRAINING_DATA}
        self.offers = frozenset(model | record | data_needs(data))
        self.digest = subject_digest(checkpoint.digest, self.task, self.classes, threshold, positive)
        self.details = _details(checkpoint)
        if len(data) < given:
            self.details["canary_rows_left_out"] = given - len(data)
        if training_data is not None and self.training_data is None and checkpoint.training_record is not None:
            self.details["training_data"] = f"{training_data.name} is not what the training record names; not used"
        self.training = _training(checkpoint)
        self.files = dict(checkpoint.file_digests)
        self._batch_tokens = batch_tokens
        self._readers: dict[str, Reader] = {}

    def reader(self, device: str) -> Reader:
        """The loaded model with its tokenizer or processor, for probes that need weights or gradients."""
        if device not in self._readers:
            self._readers[device] = self._task.reader(self.checkpoint, device)
        return self._readers[device]

    def _answers(self, inputs: Sequence[Any], ctx: Context, label: str) -> list[Answer]:
        return self.answers(inputs, ctx, label)

    def answers(self, inputs: Sequence[Any], ctx: Context, label: str) -> list[Answer]:
        """Answers in the order of the inputs, all that the model says; ``label`` is shown while it runs."""
        reader = self.reader(ctx.device)
        space = self._namespace(reader, ctx.device)

        def plan(unique: Sequence[Any]) -> list[list[int]]:
            return reader.plan(unique, self._batch_tokens)

        return ask(inputs, ctx, plan=plan, answer=reader.answer, space=space, label=label)

    def _labels(self) -> list[str | None]:
        return self._task.labels(self.data)

    def _rows(self, answers: Sequence[Answer], meta: PredictionsMeta) -> pa.Table:
        return self._task.rows(self.data, answers, meta)

    def _scores(self, answers: Sequence[Answer]) -> npt.NDArray[np.float64]:
        return self._task.scores(answers)

    def _truncated(self, answers: Sequence[Answer]) -> int:
        return sum(answer.truncated for answer in answers)

    def _namespace(self, reader: Reader, device: str) -> str:
        versions = [importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")]
        return json.dumps(
            ["answers/1", self.checkpoint.digest, self.task, reader.settings, device.partition(":")[0], *versions]
        )


def trained_on(checkpoint: Checkpoint, data: AuditData | None) -> AuditData | None:
    """The rows of ``data`` that the training record says moved the weights.

    None where there is no record or no data, where its digest is not the one that was trained on, or where a row has no
    input or label.
    """
    record = checkpoint.training_record
    if record is None or data is None or data.digest != record.data.digest or not data.has_inputs:
        return None
    places = {row: i for i, row in enumerate(data.row_ids)}
    kept = data.select(places[row] for row in record.training_ids)
    return kept if set(kept.labels) <= set(checkpoint.classes) else None


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
    body = record.model_dump(mode="json", by_alias=True, exclude=_ROW_LISTS)
    counts = {"training": record.training_ids, "validation": record.validation_ids, "holdout": record.holdout_ids}
    planted = [canary.included for canary in record.canaries]
    canaries = {"canaries": len(planted), "canaries_trained_on": sum(planted)} if planted else {}
    return {**body, **{f"{part}_rows": len(ids) for part, ids in counts.items()}, **canaries}
