"""The subject: the only thing a probe may touch. This module holds the protocol and the list of its kinds, which live in
modules of their own. Importing it loads no torch, and it opens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from probes.callable_subject import CallableSpec, CallableSubject, EstimatorSubject
from probes.checkpoint_subject import CheckpointSubject
from probes.endpoint_subject import EndpointSpec, EndpointSubject
from probes.ensemble_subject import EnsembleSubject, subject_of
from probes.evidence import Need
from probes.fake_subject import FakeSubject
from probes.model_subject import LoadedModel, ModelSubject, PipelineSubject
from probes.predictions_subject import PredictionsSpec, PredictionsSubject
from probes.probe import Context

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from fine_tune.data import AuditData

__all__ = [
    "CallableSpec",
    "CallableSubject",
    "CheckpointSubject",
    "EndpointSpec",
    "EndpointSubject",
    "EnsembleSubject",
    "EstimatorSubject",
    "FakeSubject",
    "GeneratingSubject",
    "LoadedModel",
    "ModelSubject",
    "PipelineSubject",
    "PredictionsSpec",
    "PredictionsSubject",
    "Subject",
    "SubjectOfMembers",
    "subject_of",
]


class Subject(Protocol):
    """A model, or what it said, together with the data it is examined on.

    Attributes:
        kind: checkpoint, ensemble, model, pipeline, callable, estimator, endpoint, predictions.
        name: what the user called it.
        digest: sha256 over weights (or the table), label names, threshold and decoding.
        task: the Hugging Face task name.
        classes: label names in the order of scores.
        threshold, positive: score of ``positive`` from which it is predicted; both None for argmax.
        data: the rows it is examined on.
        offers: the needs that this subject and its data can serve.
        details: further facts for the report.
        training: what its training record says, without the row ids; None where it was trained elsewhere.
        training_named: the rows that the plan names as its training data, on the plan's word; None where it names none.
        files: sha256 of each file that decides its answers, by name; empty where there are none.
    """

    kind: str
    name: str
    digest: str
    task: str
    classes: tuple[str, ...]
    threshold: float | None
    positive: str | None
    data: AuditData
    offers: frozenset[Need]
    details: dict[str, str | int | float]
    training: dict[str, Any] | None
    training_named: AuditData | None
    files: dict[str, str]

    def predictions(self, ctx: Context) -> pa.Table:
        """The table of predictions on ``data`` (see `fine_tune.predictions`); computed once, resumed by the journal."""
        ...

    def predict(self, inputs: Sequence[Any], ctx: Context) -> npt.NDArray[np.float64]:
        """Scores on new inputs, shape (len(inputs), len(classes)); rows are probabilities. Only with `Need.QUERIES`."""
        ...


class SubjectOfMembers(Subject, Protocol):
    """A subject that is made of several, which can be asked alone too. Only with `Need.MEMBERS`.

    Attributes:
        members: each member on the same data, by name, in order.
    """

    @property
    def members(self) -> Mapping[str, Subject]: ...


class GeneratingSubject(Subject, Protocol):
    """A subject that goes on with text. Only with `Need.GENERATE`; of the kinds above none offers it yet.

    What it is asked is the text as it stands: decoding is greedy, and no chat template is put around a prefix.
    """

    def log_likelihoods(self, prefixes: Sequence[str], texts: Sequence[str], ctx: Context) -> npt.NDArray[np.float64]:
        """log P(text | prefix), natural, summed over the tokens of each text; finite, shape (len(texts),).

        Prefix and text are tokenised as one string, and a token that holds the border counts to the text.
        """
        ...

    def completions(self, prefixes: Sequence[str], characters: int, ctx: Context) -> list[str]:
        """The likeliest continuation of each prefix, without the prefix: at least so many characters, or fewer where the model
        ends before."""
        ...
