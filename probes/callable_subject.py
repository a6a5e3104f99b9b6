"""The subjects that are a Python callable or an estimator with ``predict_proba``: a list of inputs goes in, probabilities
come out. What such an object will say is not visible from outside, so its answers are reused only under a digest that the
user gives; it is never pickled and never opened.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from fine_tune.data import AuditData
from fine_tune.errors import DataError, PlumblineError
from fine_tune.roles import as_text
from fine_tune.sources import first_line
from fine_tune.tasks import Answer
from probes.answering import AskedSubject, ask, data_needs, plan_by_rows, subject_digest, task_named
from probes.errors import SubjectError
from probes.evidence import Need, Plain
from probes.probe import Context
from probes.score_shapes import ScoreShape, classes_in, read_scores

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


class CallableSpec(Plain):
    """What a callable cannot say of itself.

    Attributes:
        classes: names in the order of its scores; None reads them from answers that name their classes.
        digest: the user's word that the same digest gives the same answers, such as a version or a commit; None keeps
            answers from being reused.
        name: what the report calls it; None takes the callable's own name.
        task: Hugging Face name of the task; None goes by the inputs.
        batch_size: inputs a call at most.
    """

    classes: tuple[str, ...] | None = None
    digest: str | None = Field(default=None, min_length=1)
    name: str | None = None
    task: str | None = None
    batch_size: int = Field(default=64, ge=1)


class CallableSubject(AskedSubject):
    """A function from a list of inputs to probabilities, with the data it is examined on; see `probes.subject.Subject`.

    Args:
        function: called with a list of 1 to ``spec.batch_size`` inputs; returns what `probes.score_shapes.read_scores`
            reads. It is called once at the start, with one input, where no classes are given.
        data: rows with inputs.
        spec: what the function cannot say of itself.
        threshold, positive: the positive class is named from this score on, in [0, 1]; both or neither.

    Raises:
        SubjectError: no classes are given and none can be read from an answer; or fewer than two, or twice the same.
        DataError: no inputs, labels that are no classes, or a threshold without a positive class.
    """

    kind = "callable"

    def __init__(
        self,
        function: Callable[[list[Any]], Any],
        data: AuditData,
        spec: CallableSpec | None = None,
        *,
        threshold: float | None = None,
        positive: str | None = None,
    ) -> None:
        spec = spec or CallableSpec()
        self._function, self._batch_size = function, spec.batch_size
        self.name = spec.name or str(getattr(function, "__qualname__", type(function).__name__))
        self._shape = ScoreShape(where=self.name)
        classes = spec.classes if spec.classes is not None else self._read_classes(data)
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise self._shape.error(
                f"the classes are {', '.join(map(repr, classes)) or 'none'}", expected="two or more different names"
            )
        super().__init__(data, classes, threshold=threshold, positive=positive)
        self.task = task_named(spec.task, data.inputs[0])
        self.reusable = spec.digest is not None
        given = [self.kind, spec.digest if spec.digest is not None else secrets.token_hex(32)]
        source = hashlib.sha256(json.dumps(given).encode()).hexdigest()
        self.digest = subject_digest(source, self.task, self.classes, threshold, positive)
        self.offers = frozenset({Need.PREDICTIONS, Need.QUERIES} | data_needs(data))
        self.training, self.files = None, {}
        self.details = {
            "batch_size": spec.batch_size,
            "answers_reused": f"under the digest that the user gave: {spec.digest}"
            if self.reusable
            else f"never: no digest was given for this {self.kind}, so each run asks again and has a digest of its own",
        }

    def _read_classes(self, data: AuditData) -> tuple[str, ...]:
        names = classes_in(self._call(data.inputs[:1]), self._shape)
        if names is None:
            raise self._shape.error(
                "the answers name no classes, and none are given",
                expected="the class names in the order of the scores",
                fix="give classes=, or answer with {class: probability} for each input",
            )
        return tuple(n for n in data.task_labels if n in names) if {*data.task_labels} == {*names} else names

    def _answers(self, inputs: Sequence[Any], ctx: Context, label: str) -> list[Answer]:
        space = json.dumps(["answers/1", self.digest, self._batch_size])
        plan = partial(plan_by_rows, rows=self._batch_size)
        return ask(inputs, ctx, plan=plan, answer=self._answer, space=space, label=label)

    def _answer(self, inputs: Sequence[Any]) -> list[Answer]:
        return read_scores(self._call(list(inputs)), len(inputs), self.classes, self._shape)

    def _call(self, inputs: list[Any]) -> Any:
        try:
            return self._function(inputs)
        except PlumblineError:
            raise
        except Exception as error:
            raise self._shape.error(
                f"the {self.kind} raised {type(error).__name__}: {first_line(error)}",
                expected="an answer for each input",
                fix="call it on a few inputs of the data by hand; the bundle keeps the traceback",
            ) from error


class EstimatorSubject(CallableSubject):
    """A fitted scikit-learn style classifier; inputs are texts, or rows of features.

    Texts go in as a list. Rows of features (inputs that are mappings) go in as a data frame with the columns that the
    estimator was fitted on, or as an array where it was fitted without names; inputs that are lists, as an array.

    Args:
        estimator: has ``predict_proba`` and ``classes_``.
        data: rows with inputs.
        spec: ``classes`` stays None: they are the estimator's.
        labels: class name for each value of ``classes_``, where they differ.
        threshold, positive: as `CallableSubject`.

    Raises:
        SubjectError: it is not fitted, gives no probabilities, or has several outputs.
        DataError: as `CallableSubject`, or a column that it was fitted on is not in the inputs.
    """

    kind = "estimator"

    def __init__(
        self,
        estimator: Any,
        data: AuditData,
        spec: CallableSpec | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        threshold: float | None = None,
        positive: str | None = None,
    ) -> None:
        self._estimator = estimator
        spec = spec or CallableSpec()
        name = spec.name or type(estimator).__name__
        found = _estimator_classes(estimator, ScoreShape(where=name))
        classes = tuple((labels or {}).get(value, value) for value in found)
        spec = spec.model_copy(update={"classes": classes, "name": name})
        super().__init__(self._ask_estimator, data, spec, threshold=threshold, positive=positive)
        self.details["estimator"] = f"{type(estimator).__module__}.{type(estimator).__qualname__}"

    def _ask_estimator(self, inputs: list[Any]) -> Any:
        said = self._estimator.predict_proba(self._matrix(inputs))
        if isinstance(said, list) and said and hasattr(said[0], "shape"):
            raise _several_outputs(self._shape)
        return said

    def _matrix(self, inputs: list[Any]) -> list[Any] | npt.NDArray[np.generic] | pd.DataFrame:
        import numpy as np
        import pandas as pd

        if all(isinstance(value, str | bytes) for value in inputs):
            return inputs
        if not all(isinstance(value, Mapping) for value in inputs):
            return np.asarray(inputs)
        frame = pd.DataFrame.from_records(inputs)
        names = feature_names(self._estimator)
        if names is None:
            return frame.to_numpy()
        absent = [name for name in names if name not in frame.columns]
        if absent:
            raise DataError(
                f"{self.name} was fitted on {absent[0]!r}, which is not among the inputs",
                expected=f"the columns {', '.join(names)}",
                fix="name them all under `input`",
            )
        return frame[list(names)]


def feature_names(estimator: Any) -> tuple[str, ...] | None:
    """The columns that an estimator was fitted on, or None where it does not say."""
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else tuple(str(name) for name in names)


def _estimator_classes(estimator: Any, shape: ScoreShape) -> tuple[str, ...]:
    if not hasattr(estimator, "predict_proba"):
        raise shape.error(
            "it has no predict_proba: a regression, or a classifier without probabilities",
            expected="a fitted classifier with predict_proba and classes_; regression is not supported",
            fix="ask for probabilities, such as SVC(probability=True), or wrap it in CalibratedClassifierCV",
        )
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        raise shape.error("it has no classes_", expected="a classifier that was fitted", fix="call fit first")
    if getattr(estimator, "multilabel_", False) or (isinstance(classes, list) and hasattr(classes[0], "shape")):
        raise _several_outputs(shape)
    return tuple(as_text(value) or "" for value in classes)


def _several_outputs(shape: ScoreShape) -> SubjectError:
    return shape.error(
        "it is multi-label: it has several outputs", expected="one label a row; multi-label is not supported"
    )
