"""The subject that is an HTTP endpoint: batches of inputs go out as JSON, and every answered batch is journalled at once, so
that a run that was cut off asks for the rest alone. What lies behind the endpoint it cannot know: the version is the
user's word.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from fine_tune.data import AuditData
from fine_tune.tasks import Answer
from probes.answering import AskedSubject, ask, data_needs, plan_by_rows, subject_digest, task_named
from probes.endpoint_client import EndpointClient, EndpointSpec
from probes.evidence import Need
from probes.probe import Context
from probes.score_shapes import ScoreShape, read_scores

__all__ = ["EndpointSpec", "EndpointSubject"]


class EndpointSubject(AskedSubject):
    """A model behind HTTP, with the data it is examined on; see `probes.subject.Subject`. Opening it sends nothing.

    Args:
        spec: where it is and how it is asked.
        data: rows with inputs that JSON can hold.
        task: Hugging Face name; None goes by the inputs.
        threshold, positive: the positive class is named from this score on, in [0, 1]; both or neither.

    Raises:
        SubjectError: the token's variable is not set, or a task with several labels an input.
        DataError: no inputs, labels that are no classes, or a threshold without a positive class.
    """

    kind = "endpoint"

    def __init__(
        self,
        spec: EndpointSpec,
        data: AuditData,
        *,
        task: str | None = None,
        threshold: float | None = None,
        positive: str | None = None,
    ) -> None:
        super().__init__(data, spec.classes, threshold=threshold, positive=positive)
        self.spec, self.name, self.task = spec, spec.place, task_named(task, data.inputs[0])
        self._client = EndpointClient(spec)
        self._shape = ScoreShape(where=spec.place, label_key=spec.label_key, score_key=spec.score_key)
        told = {"url", "version", "parameters", "inputs_key", "scores_key", "label_key", "score_key"}
        source = hashlib.sha256(json.dumps(spec.model_dump(include=told), sort_keys=True).encode()).hexdigest()
        self.digest = subject_digest(source, self.task, self.classes, threshold, positive)
        self.offers = frozenset({Need.PREDICTIONS, Need.QUERIES} | data_needs(data))
        self.training, self.files = None, {}
        self.details = {
            "version": f"{spec.version} (the user's word)",
            "batch_size": spec.batch_size,
            "answers_reused": "under the same url, version and parameters",
        }

    @property
    def requests(self) -> int:
        """Requests sent so far, repeats included."""
        return self._client.requests

    def _answers(self, inputs: Sequence[Any], ctx: Context, label: str) -> list[Answer]:
        space = json.dumps(["answers/1", self.digest, self.spec.batch_size])
        plan = partial(plan_by_rows, rows=self.spec.batch_size)
        with self._client:
            return ask(inputs, ctx, plan=plan, answer=self._answer, space=space, label=label)

    def _answer(self, inputs: Sequence[Any]) -> list[Answer]:
        return read_scores(self._client.ask(inputs), len(inputs), self.classes, self._shape)
