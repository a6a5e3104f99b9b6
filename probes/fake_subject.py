"""A subject for tests, of this project and of probes that others write: arrays in, the same contract as a real one out.
It answers new inputs from their content alone, so that the same input always gets the same scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fine_tune.data import AuditData, Roles, content_digest
from fine_tune.predictions import PredictionsMeta
from fine_tune.rows import decide, single_unit_rows
from probes.checkpoint_subject import check_decision, data_needs, subject_digest
from probes.evidence import Need
from probes.probe import Context

if TYPE_CHECKING:
    import pyarrow as pa


class FakeSubject:
    """Given labels and scores; see `probes.subject.Subject`.

    Args:
        scores: probabilities, shape (N, K).
        classes: K names.
        labels: N class names, None where unknown.
        inputs: N texts; ``text 0``, ``text 1``, ... if None.
        groups: feature name to N group names, None where missing.
        roles: further columns by role: cluster, counterpart, rationale, weight, id; each with N values.
        threshold, positive: as in `Subject`.
    """

    kind = "fake"
    name = "fake"
    task = "text-classification"

    def __init__(
        self,
        scores: npt.ArrayLike,
        classes: Sequence[str],
        *,
        labels: Sequence[str | None] | None = None,
        inputs: Sequence[str] | None = None,
        groups: Mapping[str, Sequence[str | None]] | None = None,
        roles: Mapping[str, Sequence[Any]] | None = None,
        threshold: float | None = None,
        positive: str | None = None,
    ) -> None:
        self._scores = np.asarray(scores, dtype=np.float64)
        self.classes = tuple(classes)
        self.threshold, self.positive = threshold, positive
        check_decision(self.classes, threshold, positive)
        texts = [f"text {i}" for i in range(len(self._scores))] if inputs is None else list(inputs)
        columns: dict[str, Sequence[Any]] = {"input": texts, **(groups or {}), **(roles or {})}
        if labels is not None:
            columns["label"] = labels
        named = {role: role for role in (roles or {})}
        self.data = AuditData.from_columns(
            columns,
            Roles(
                input="input",
                label=None if labels is None else "label",
                groups=tuple(groups or ()),
                labels={name: name for name in self.classes} if labels is not None else {},
                **named,
            ),
            name="fake data",
        )
        self._known = dict(zip(self.data.content_digests or (), self._scores, strict=True))
        self.offers = frozenset({Need.PREDICTIONS, Need.QUERIES} | data_needs(self.data))
        source = hashlib.sha256(self._scores.tobytes()).hexdigest()
        self.digest = subject_digest(source, self.task, self.classes, threshold, positive)
        self.details: dict[str, str | int | float] = {}
        self.training: dict[str, Any] | None = None
        self.training_named: AuditData | None = None
        self.files: dict[str, str] = {}
        self.asked = 0

    def predictions(self, ctx: Context) -> pa.Table:  # noqa: ARG002
        """The table of predictions on `data`."""
        meta = PredictionsMeta(
            task=self.task, classes=self.classes, threshold=self.threshold, positive=self.positive, truncated=0
        )
        return single_unit_rows(self.data, decide(self._scores, meta), self._scores, meta)

    def predict(self, inputs: Sequence[Any], ctx: Context) -> npt.NDArray[np.float64]:  # noqa: ARG002
        """The given scores for inputs of `data`; for others, scores that their sha256 decides. Counts in ``asked``."""
        self.asked += len(inputs)
        return np.array([self._answer(content_digest(value)) for value in inputs]).reshape(-1, len(self.classes))

    def _answer(self, digest: str) -> npt.NDArray[np.float64]:
        if digest in self._known:
            return np.asarray(self._known[digest], dtype=np.float64)
        raw = np.random.default_rng(int(digest[:16], 16)).dirichlet(np.ones(len(self.classes)))
        return np.asarray(raw, dtype=np.float64)
