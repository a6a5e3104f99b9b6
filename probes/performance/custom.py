"""A measure of one's own from one Python function: `metric` turns it into a probe with an interval.

It computes no measure itself, and cannot know whether the function measures what its name says. Nothing is registered
here until somebody calls `metric`.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import stats

from probes.answers import Answers, answers
from probes.errors import ProbeError
from probes.evidence import (
    Better,
    Counts,
    Interval,
    MeasureDefinition,
    Measurement,
    Message,
    Method,
    Need,
    Reading,
    Undefined,
    message,
)
from probes.intervals import Float, Int, critical, mean_interval, tail_of
from probes.rates import count
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject

Names = npt.NDArray[np.object_]
Scores = Mapping[str, Float]
Function = Callable[[Names, Names, Scores], Any]
F = TypeVar("F", bound=Function)

REPLICATES = 1000
_LIMITS = (
    message("It measures what its function computes; Plumbline has not checked that this is what the name says."),
    message("Rows without a label are left out."),
    message(
        "A figure over all rows has a bootstrap interval, which is too narrow for the largest or smallest of several "
        "values, and with few clusters."
    ),
)


def metric(
    name: str, *, better: Better, low: float | None = None, high: float | None = None, unit: str = ""
) -> Callable[[F], F]:
    """Register a function as the probe ``performance.<name>`` with the measure ``<name>``; use it as a decorator.

    The function is called with three arguments for the N labelled rows, and returns either N numbers, one a row (NaN
    where a row has no value), or one number over all rows (NaN where it has no value):

    - ``labels`` and ``predictions``: arrays of class names, shape (N,);
    - ``scores``: class name to an array of shape (N,); empty where the subject gives no scores.

    N numbers give their mean: with Wilson's interval where all are 0 or 1, else with Student's t interval. One number
    has the expanded percentile bootstrap (Hesterberg 2015) of 1000 samples of rows, drawn with the plan's seed. Both
    allow for clusters. The function must be pure: the same rows in any order give the same value. Its docstring
    becomes the measure's formula.

    To recompute a run's figures, as ``plumbline verify`` does, the function must be registered in that process too:
    name its module under the entry point group ``plumbline.probes`` of an installed package.

    Args:
        name: lower case letters, digits and underscores.
        better: higher, lower or neither.
        low, high: the range of possible values, if it is bounded; intervals of means are cut there.
        unit: such as ``share`` or ``euro``.

    Raises:
        ProbeError: the name is malformed, or another probe has it.
    """

    def register(function: F) -> F:
        said = inspect.getdoc(function)
        definition = MeasureDefinition(
            name=name,
            formula=message("{formula}", formula=" ".join((said or f"the function {_title(function)}").split())),
            low=low,
            high=high,
            better=better,
            unit=unit,
            source=_title(function),
        )
        digest = _source_digest(function)
        body = {
            "__doc__": f"What is {name}, a measure that a user defined?",
            "__module__": function.__module__,
            "__qualname__": getattr(function, "__qualname__", name),
            "function": staticmethod(function),
            "definition": definition,
            "own_source": digest,
        }
        cls: Any = dataclass(frozen=True, kw_only=True)(type(name, (_OneFunction,), body))
        probe(
            f"performance.{name}",
            needs={Need.PREDICTIONS, Need.LABELS},
            defines=(definition,),
            limits=_LIMITS,
            method=message(
                "Computed by the function {function}, whose source has the sha256 {digest}.",
                function=_title(function),
                digest=digest,
            ),
        )(cls)
        return function

    return register


class _OneFunction:
    """What all such probes share."""

    function: ClassVar[Function]
    definition: ClassVar[MeasureDefinition]
    own_source: ClassVar[str]

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """The subject's predictions on its data."""
        return subject.predictions(ctx)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """The function's value with its interval.

        Raises:
            ProbeError: the function returned neither one number nor one number a row, or an infinite one.
        """
        # Samples are drawn by position: sorted rows make them the same however the table is ordered.
        every = answers(rows.sort_by([("row_id", "ascending"), ("unit_id", "ascending")]))
        known = every.where(every.labelled)
        figure = _Figure(known, type(self).function, self.definition, ctx)
        if not len(known):
            none = figure.undefined(message("No row has a label."), 0)
            return Reading(measurements=(none,), remarks=every.remarks())
        value = figure.ask(np.arange(len(known)))
        if value.ndim == 1:
            return figure.mean(value, every.remarks())
        return figure.whole(float(value), every.remarks())


class _Figure:
    """One figure in the making: the rows, the function, and what it says of them."""

    def __init__(self, known: Answers, function: Function, definition: MeasureDefinition, ctx: Context) -> None:
        self.known, self.function, self.definition, self.ctx = known, function, definition, ctx
        classes = np.array(known.classes, dtype=object)
        self._labels, self._predictions = classes[known.labels], classes[known.predictions]
        self._scores = {} if known.scores is None else {c: known.scores[:, k] for k, c in enumerate(known.classes)}

    def ask(self, at: Int) -> Float:
        """What the function says of some rows: shape (len(at),), or () for one number."""
        scores = {name: values[at] for name, values in self._scores.items()}
        said = self.function(self._labels[at], self._predictions[at], scores)
        if said is None:
            raise self._refused("nothing")
        try:
            value = np.asarray(said, dtype=np.float64)
        except (TypeError, ValueError):
            raise self._refused(f"{type(said).__name__} {str(said)[:80]!r}") from None
        if value.shape not in ((), (len(at),)):
            raise self._refused(f"an array of shape {value.shape} for {len(at)} rows")
        if np.isinf(value).any():
            raise self._refused("an infinite number")
        return value

    def undefined(self, reason: Message, rows: int) -> Undefined:
        counts = Counts(n=len(self.known), denominator=rows, smallest=rows)
        return Undefined(name=self.definition.name, counts=counts, reason=reason)

    def mean(self, values: Float, remarks: tuple[Message, ...]) -> Reading:
        """The mean over rows that have a value."""
        has = ~np.isnan(values)
        if not has.all():
            left = message("{rows} rows have no value of {name}; they are left out.", rows=int((~has).sum()),
                           name=self.definition.name)  # fmt: skip
            remarks = (*remarks, left)
        values, rows = values[has], int(has.sum())
        clusters = None if self.known.clusters is None else self.known.clusters[has]
        if not rows:
            return Reading(measurements=(self.undefined(message("No row has a value."), 0),), remarks=remarks)
        d = self.definition
        if np.isin(values, (0.0, 1.0)).all():
            rates = count(np.zeros(rows, dtype=np.int64), 1, values == 1, clusters)
            estimate = rates.estimate(0, self.ctx.level)
        else:
            bounds = (-np.inf if d.low is None else d.low, np.inf if d.high is None else d.high)
            found = mean_interval(values, self.ctx.level, clusters, bounds)
            if found is None:
                reason = message("Fewer than two independent rows have a value, so nothing is known of its spread.")
                return Reading(measurements=(self.undefined(reason, rows),), remarks=remarks)
            estimate = found
        return self._reading(estimate.value, estimate.interval(self.ctx.level), self._counts(has), remarks)

    def whole(self, value: float, remarks: tuple[Message, ...]) -> Reading:
        """One number over all rows, with the bootstrap of rows or clusters."""
        n = len(self.known)
        if np.isnan(value):
            return Reading(
                measurements=(self.undefined(message("The function gives no value here."), n),), remarks=remarks
            )
        members = _members(n, self.known.clusters)
        units = len(members)
        if units < 2:
            reason = message("There are fewer than two independent rows, so nothing is known of its spread.")
            return Reading(measurements=(self.undefined(reason, n),), remarks=remarks)
        rng = self.ctx.rng(f"bootstrap {self.definition.name}")
        drawn = []
        for _ in range(REPLICATES):
            one = self.ask(np.concatenate([members[u] for u in rng.integers(0, units, units)]))
            if one.ndim:
                raise self._refused("one number over all rows, and one a row for a sample of them")
            drawn.append(float(one))
        samples = np.array(drawn)
        lost = int(np.isnan(samples).sum())
        if lost:
            if lost > REPLICATES / 20:
                reason = message("The function gives no value for {lost} of {all} samples of the rows.",
                                 lost=lost, all=REPLICATES)  # fmt: skip
                return Reading(measurements=(self.undefined(reason, n),), remarks=remarks)
            said = message("{lost} of {all} samples of the rows gave no value, and are left out of the interval.",
                           lost=lost, all=REPLICATES)  # fmt: skip
            remarks = (*remarks, said)
        interval = _expanded(np.sort(samples[~np.isnan(samples)]), value, units, self.ctx.level)
        return self._reading(value, interval, self._counts(np.ones(n, dtype=bool)), remarks)

    def _reading(self, value: float, interval: Interval, counts: Counts, remarks: tuple[Message, ...]) -> Reading:
        d = self.definition
        figure = Measurement(name=d.name, value=value, interval=interval, counts=counts, unit=d.unit, better=d.better)
        return Reading(measurements=(figure,), remarks=remarks)

    def _counts(self, kept: npt.NDArray[np.bool_]) -> Counts:
        rows = int(np.count_nonzero(kept))
        return Counts(
            n=len(self.known), denominator=rows, smallest=rows, clusters=self.known.distinct_clusters(kept)
        )  # fmt: skip

    def _refused(self, seen: str) -> ProbeError:
        return ProbeError(
            f"the function of {self.definition.name} returned {seen}",
            expected="one finite number over all rows, or one a row; NaN where there is no value",
            fix="repair the function that was given to audit.metric",
        )


def _members(n: int, clusters: Int | None) -> list[Int]:
    """The rows of each independent unit."""
    if clusters is None:
        return [np.array([i]) for i in range(n)]
    order = np.argsort(clusters, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(clusters[order])) + 1)


def _expanded(samples: Float, value: float, units: int, level: float) -> Interval:
    """Percentile limits at tails widened for the number of units (Hesterberg 2015), with their Monte Carlo error."""
    tail = float(stats.norm.sf(np.sqrt(units / (units - 1)) * float(critical(tail_of(level), units - 1))))
    low, high = (float(q) for q in np.quantile(samples, (tail, 1 - tail)))
    return Interval(
        low=min(low, value),
        high=max(high, value),
        level=level,
        method=Method(name="expanded percentile bootstrap", params={"samples": len(samples), "units": units}),
        monte_carlo_error=max(_quantile_error(samples, tail), _quantile_error(samples, 1 - tail)),
    )


def _quantile_error(samples: Float, at: float) -> float:
    """Standard error of a simulated quantile: half the distance between order statistics one deviation to each side."""
    spread = np.sqrt(at * (1 - at) / len(samples))
    low, high = np.quantile(samples, (max(at - spread, 0.0), min(at + spread, 1.0)))
    return float(high - low) / 2


def _title(function: Function) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"


def _source_digest(function: Function) -> str:
    """sha256 of the function's source; of its byte code where the source cannot be had."""
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        text = repr((code.co_code, code.co_names, code.co_consts)) if code is not None else repr(type(function))
    return hashlib.sha256(text.encode()).hexdigest()
