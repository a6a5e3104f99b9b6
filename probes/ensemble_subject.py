"""The subject that is an ensemble: it asks every member, and what it says is the mean of their probabilities. Each member
answers, and is journalled, as it would be alone. It offers neither weights nor gradients, as there is no single model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fine_tune.data import AuditData
from fine_tune.ensemble import Ensemble
from fine_tune.predictions import PredictionsMeta
from fine_tune.tasks import Answer, find_task
from probes.answering import AskedSubject, data_needs, subject_digest
from probes.checkpoint_subject import BATCH_TOKENS, CheckpointSubject
from probes.errors import SubjectError
from probes.evidence import Need
from probes.probe import Context

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from fine_tune.checkpoint import Checkpoint


class EnsembleSubject(AskedSubject):
    """Several checkpoints that answer together; see `probes.subject.Subject`.

    Args:
        ensemble: already opened; its members have the same classes.
        data, threshold, positive, batch_tokens: as `CheckpointSubject`. The threshold applies to the mean, and to each
            member where it is asked alone.

    Attributes:
        members: a subject a member, on the same data, by the member's name, such as ``seed-1``; in order.

    Raises:
        CheckpointError, DataError: as `CheckpointSubject`.
    """

    kind = "ensemble"

    def __init__(
        self,
        ensemble: Ensemble,
        data: AuditData,
        *,
        threshold: float | None = None,
        positive: str | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.name, self.task = ensemble.name, ensemble.task
        self._task = find_task(self.task)
        self.members: dict[str, CheckpointSubject] = {
            member.folder.name: CheckpointSubject(
                member, data, threshold=threshold, positive=positive, batch_tokens=batch_tokens
            )
            for member in ensemble.members
        }
        super().__init__(data, ensemble.note.classes, threshold=threshold, positive=positive)
        self.offers = frozenset({Need.PREDICTIONS, Need.QUERIES, Need.MEMBERS} | data_needs(data))
        self.digest = subject_digest(ensemble.digest, self.task, self.classes, threshold, positive)
        self.details = _details(ensemble)
        self.training = _training(ensemble)
        self.files = dict(ensemble.file_digests)

    def _answers(self, inputs: Sequence[Any], ctx: Context, label: str) -> list[Answer]:
        said = [
            member.answers(inputs, ctx, f"{label}, {name} of {len(self.members)} members")
            for name, member in self.members.items()
        ]
        return [mean_answer(of_one) for of_one in zip(*said, strict=True)]

    def _labels(self) -> list[str | None]:
        return self._task.labels(self.data)

    def _rows(self, answers: Sequence[Answer], meta: PredictionsMeta) -> pa.Table:
        return self._task.rows(self.data, answers, meta)

    def _scores(self, answers: Sequence[Answer]) -> npt.NDArray[np.float64]:
        return self._task.scores(answers)

    def _truncated(self, answers: Sequence[Answer]) -> int:
        return sum(answer.truncated for answer in answers)


def mean_answer(answers: Sequence[Answer]) -> Answer:
    """What several models say on one input together: the mean of their probabilities, unit by unit.

    Raises:
        SubjectError: they found different units, so there is nothing to take a mean of.
    """
    import numpy as np

    counts = sorted({len(answer.scores) for answer in answers})
    if len(counts) > 1 or any(answer.texts != answers[0].texts for answer in answers):
        raise SubjectError(
            f"the members found different units in one input ({' and '.join(map(str, counts))})",
            expected="the same units from every member", fix="examine each member alone",
        )  # fmt: skip
    mean = np.array([answer.scores for answer in answers], dtype=np.float64).mean(axis=0).tolist()
    return Answer(
        scores=tuple(tuple(row) for row in mean),
        truncated=any(answer.truncated for answer in answers),
        texts=answers[0].texts,
    )


def subject_of(
    checkpoint: Checkpoint,
    data: AuditData,
    *,
    threshold: float | None = None,
    positive: str | None = None,
    training_data: AuditData | None = None,
) -> CheckpointSubject | EnsembleSubject:
    """The subject that a checkpoint, or an ensemble of several, makes with its data; the arguments are the classes'.

    An ensemble offers no training data: what drove its answer is a matter of its members.
    """
    if isinstance(checkpoint, Ensemble):
        return EnsembleSubject(checkpoint, data, threshold=threshold, positive=positive)
    return CheckpointSubject(
        checkpoint, data, threshold=threshold, positive=positive, training_data=training_data
    )  # fmt: skip


def _details(ensemble: Ensemble) -> dict[str, str | int | float]:
    note = ensemble.note
    details: dict[str, str | int | float] = {
        "architecture": ", ".join(ensemble.architectures),
        "members": len(ensemble.members),
        "seeds": ", ".join(str(member.seed) for member in note.members),
        "member_digests": ", ".join(member.digest for member in note.members),
        "answer": "mean of the members' probabilities",
        "parameters": ensemble.parameters,
        "trust_remote_code": "yes" if ensemble.trust_remote_code else "no",
        "base": note.recipe.base,
        "method": note.recipe.method,
    }
    if ensemble.ignored_files:
        details["pickles_not_opened"] = ", ".join(ensemble.ignored_files)
    record = ensemble.members[0].training_record
    if record is not None:
        details["training_rows"] = len(record.training_ids)
    return details


def _training(ensemble: Ensemble) -> dict[str, Any]:
    """What all members share, and for each how its training ended."""
    body = ensemble.note.model_dump(mode="json", by_alias=True, exclude={"members"})
    first = ensemble.members[0].training_record
    if first is not None:
        parts = {"training": first.training_ids, "validation": first.validation_ids, "holdout": first.holdout_ids}
        body |= {"ids_digest": first.ids_digest, "versions": first.versions, "device": first.device}
        body |= {f"{part}_rows": len(ids) for part, ids in parts.items()}
    body["members"] = {}
    for said, member in zip(ensemble.note.members, ensemble.members, strict=True):
        record = member.training_record
        made = {} if record is None else record.model_dump(
            mode="json", include={"steps", "best_step", "final_loss", "validation_loss", "ids_digest"}
        )  # fmt: skip
        body["members"][said.folder] = {"seed": said.seed, "digest": said.digest, **made}
    return body
