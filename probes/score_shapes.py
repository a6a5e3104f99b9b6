"""Reads what a callable, an estimator or an endpoint answered into probabilities, whichever of the usual shapes it has.
It refuses by name what is no probability of classes that exclude one another, and mends nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from fine_tune.tasks import Answer
from probes.errors import SubjectError

SUM_TOLERANCE = 1e-3
ROUNDING = 1e-6
SHAPES = "a list with, for each input, the classes' probabilities in order, or label: probability"


@dataclass(frozen=True, kw_only=True)
class ScoreShape:
    """How to read answers, and how to speak of them.

    Attributes:
        where: who answered, for messages.
        label_key, score_key: the names in answers such as ``[{"label": "toxic", "score": 0.9}, ...]``.
    """

    where: str
    label_key: str = "label"
    score_key: str = "score"

    def error(self, seen: str, *, expected: str = "", fix: str = "") -> SubjectError:
        """An error that names who answered."""
        return SubjectError(seen, expected=expected, fix=fix, where=self.where)


def read_scores(said: Any, count: int, classes: Sequence[str], shape: ScoreShape) -> list[Answer]:
    """One answer for each of ``count`` inputs.

    Args:
        said: an array (count, classes), a data frame with a column for each class, or a list of rows; a row is
            probabilities in the order of ``classes``, ``{class: probability}``, or
            ``[{"label": class, "score": probability}, ...]``.
        count: how many inputs were asked about.
        classes: names in the order of scores.

    Raises:
        SubjectError: another number of answers, classes that are not these, a score that is missing, not finite or
            no probability, several labels a row, or a single output.
    """
    rows = _rows(said, shape)
    if len(rows) != count:
        raise shape.error(
            f"{count} inputs were asked about, and {len(rows)} answers came back", expected="one answer for each input"
        )
    return [Answer(scores=(_row(row, i, classes, shape),)) for i, row in enumerate(rows)]


def classes_in(said: Any, shape: ScoreShape) -> tuple[str, ...] | None:
    """The class names in an answer, sorted; None where it has none. Raises `SubjectError` as `read_scores`."""
    rows = _rows(said, shape)
    named = _by_name(rows[0], 0, shape) if rows else None
    return None if named is None else tuple(sorted(named))


def _rows(said: Any, shape: ScoreShape) -> list[Any]:
    if hasattr(said, "detach"):
        said = said.detach().cpu().double().numpy()
    if hasattr(said, "to_dict") and hasattr(said, "columns"):
        said = said.to_dict("records")
    elif hasattr(said, "tolist"):
        said = said.tolist()
    if isinstance(said, Mapping | str | bytes) or not isinstance(said, Sequence):
        raise shape.error(f"the answer is {_kind(said)}", expected=SHAPES)
    return list(said)


def _row(row: Any, i: int, classes: Sequence[str], shape: ScoreShape) -> tuple[float, ...]:
    named = _by_name(row, i, shape)
    if named is not None:
        if set(named) != set(classes):
            raise shape.error(
                f"answer {i} of its batch, counted from 0, is about the classes {_names(sorted(named))}",
                expected=f"each of {_names(classes)}",
                fix="name the classes as the subject does, under `classes`",
            )
        values = [named[name] for name in classes]
    else:
        values = _plain(row, i, classes, shape)
    return _probabilities(values, i, shape)


def _by_name(row: Any, i: int, shape: ScoreShape) -> dict[str, Any] | None:
    """A row that names its classes, or None."""
    pair = {shape.label_key, shape.score_key}
    if isinstance(row, Mapping):
        if set(row) == pair and isinstance(row[shape.label_key], str):
            raise shape.error(
                f"answer {i} of its batch names one class and its score alone",
                expected="the score of every class",
                fix="ask for all scores, such as top_k=None of a transformers pipeline",
            )
        return {str(name): value for name, value in row.items()}
    if not isinstance(row, list | tuple) or not row or not all(isinstance(part, Mapping) for part in row):
        return None
    if any(not pair <= set(part) for part in row):
        raise shape.error(
            f"answer {i} of its batch lacks {shape.label_key!r} or {shape.score_key!r}",
            expected=f"[{{{shape.label_key!r}: class, {shape.score_key!r}: probability}}, ...] with every class",
        )
    named = {str(part[shape.label_key]): part[shape.score_key] for part in row}
    if len(named) != len(row):
        raise shape.error(f"answer {i} of its batch names a class twice", expected="every class once")
    return named


def _plain(row: Any, i: int, classes: Sequence[str], shape: ScoreShape) -> list[Any]:
    values = row.tolist() if hasattr(row, "tolist") else row
    single = isinstance(values, Real) or (isinstance(values, list | tuple) and len(values) == 1)
    if single and len(classes) != 1:
        raise shape.error(
            f"answer {i} of its batch is one number, as of a regression or a single output",
            expected=f"a probability for each of {_names(classes)}; regression is not supported",
            fix="for a binary score p, answer [1 - p, p]",
        )
    if not isinstance(values, list | tuple):
        raise shape.error(f"answer {i} of its batch is {_kind(values)}", expected=SHAPES)
    if len(values) != len(classes):
        raise shape.error(
            f"answer {i} of its batch has {len(values)} scores",
            expected=f"{len(classes)}, one for each of {_names(classes)}",
        )
    return list(values)


def _probabilities(values: Sequence[Any], i: int, shape: ScoreShape) -> tuple[float, ...]:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise shape.error(f"answer {i} of its batch has a score that is {_kind(value)}", expected="numbers")
    scores = [float(value) for value in values]
    if not all(math.isfinite(score) for score in scores):
        raise shape.error(f"answer {i} of its batch has a score that is not finite", expected="finite probabilities")
    if any(not -ROUNDING <= score <= 1 + ROUNDING for score in scores) or abs(sum(scores) - 1) > SUM_TOLERANCE:
        raise shape.error(
            f"answer {i} of its batch has scores that are no probabilities of one label: they lie between"
            f" {min(scores):.4g} and {max(scores):.4g} and sum to {sum(scores):.6g}",
            expected="probabilities that sum to 1; multi-label subjects, where several classes may hold at once, are not"
            " supported",
            fix="apply softmax if these are logits",
        )
    return tuple(min(1.0, max(0.0, score)) for score in scores)


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"of type {type(value).__name__}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
