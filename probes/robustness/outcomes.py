"""What became of attacked examples, counted: accuracy before and after, success, queries, words and similarity. It reads rows
that `probes.robustness.attack` collected, and neither attacks nor shows anything; `probes.robustness.attack_groups` has the
figures by class, by group and by budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probes.answers import Answers, answers
from probes.evidence import (
    AnyMeasurement,
    Counts,
    Interval,
    Measurement,
    Message,
    Slice,
    Undefined,
    message,
)
from probes.intervals import Bool, Float, Int, mean_interval
from probes.medians import median_interval
from probes.probe import Context
from probes.rates import Proportions, count
from probes.robustness.definitions import ATTACK_BY_NAME

if TYPE_CHECKING:
    import pyarrow as pa

STATUSES = ("succeeded", "failed", "skipped", "error")

NONE_DRAWN = message("No example was attacked.")
NONE_RIGHT = message("No drawn example is answered rightly, so there was nothing to attack.")
NONE_FLIPPED = message("No attack succeeded.")


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """One entry a drawn example (N examples).

    Attributes:
        answers: labels, predictions and clusters.
        status: positions in `STATUSES`, shape (N,).
        queries: asked of the subject, shape (N,).
        words, words_changed: of the text, shape (N,).
        similarity: shape (N,); NaN where there is none.
        close_calls: decisions that rounding might turn, shape (N,).
        right_after: answered rightly before and after the attack, shape (N,).
    """

    answers: Answers
    status: Int
    queries: Int
    words: Int
    words_changed: Int
    similarity: Float
    close_calls: Int
    right_after: Bool

    @classmethod
    def of(cls, rows: pa.Table) -> Outcomes:
        """Read the rows.

        Raises:
            DataError: they are not those of an attack.
        """
        codes = {name: code for code, name in enumerate(STATUSES)}

        def whole(name: str) -> Int:
            return np.array(rows.column(name).to_pylist(), dtype=np.int64)

        labels, after = rows.column("label").to_pylist(), rows.column("prediction_after").to_pylist()
        status = rows.column("status").to_pylist()
        # Nearly every recipe succeeds by changing the answer; reducing a text to a word succeeds by keeping it.
        right = [s == "failed" or (s == "succeeded" and a == y) for s, a, y in zip(status, after, labels, strict=True)]
        return cls(
            answers=answers(rows),
            status=np.array([codes[value] for value in status], dtype=np.int64),
            queries=whole("queries"),
            words=whole("words"),
            words_changed=whole("words_changed"),
            similarity=np.array(rows.column("similarity").to_pylist(), dtype=np.float64),
            close_calls=whole("close_calls"),
            right_after=np.array(right, dtype=np.bool_),
        )

    def __len__(self) -> int:
        return len(self.status)

    def has(self, *statuses: str) -> Bool:
        """Which examples ended in one of the statuses."""
        return np.isin(self.status, [STATUSES.index(status) for status in statuses])

    @property
    def tried(self) -> Bool:
        """Examples on which nothing broke."""
        return ~self.has("error")

    @property
    def attacked(self) -> Bool:
        """Examples that were answered rightly, and so attacked to the end."""
        return self.has("succeeded", "failed")

    def share(self, inside: Bool, success: Bool) -> Proportions:
        """One proportion: ``success`` among ``inside``."""
        codes = np.where(inside, 0, -1).astype(np.int64)
        return count(codes, 1, success, self.answers.clusters)

    def counts(self, inside: Bool, smallest: int | None = None, n: int | None = None) -> Counts:
        """What a figure on the examples ``inside`` rests on."""
        size = int(inside.sum())
        return Counts(
            n=len(self) if n is None else n,
            denominator=size,
            smallest=size if smallest is None else smallest,
            clusters=self.answers.distinct_clusters(inside),
        )


@dataclass(frozen=True, kw_only=True)
class Overall:
    """The figures on all examples.

    Attributes:
        outcomes: of the drawn examples.
        ctx: its level.
        budget: queries that an attack could ask at most, or None.
        no_similarity: why there are no similarities, or None.
    """

    outcomes: Outcomes
    ctx: Context
    budget: int | None
    no_similarity: Message | None

    def measurements(self) -> list[AnyMeasurement]:
        """Accuracy before and after, success, queries, words and similarity."""
        found = self.outcomes
        empty = NONE_RIGHT if found.tried.any() else NONE_DRAWN
        none_flipped = NONE_FLIPPED if found.attacked.any() else empty
        return [
            self._share("clean_accuracy", found.tried, found.attacked, NONE_DRAWN),
            self._share("accuracy_under_attack", found.tried, found.right_after, NONE_DRAWN),
            self._share("attack_success_rate", found.attacked, found.has("succeeded"), empty),
            self._queries(empty),
            self._words(none_flipped),
            self._similarity(self.no_similarity or none_flipped),
        ]

    def _share(self, name: str, inside: Bool, success: Bool, empty: Message) -> AnyMeasurement:
        counts = self.outcomes.counts(inside)
        if not inside.any():
            return Undefined(name=name, counts=counts, reason=empty)
        estimate = self.outcomes.share(inside, success).estimate(0, self.ctx.level)
        return measured(name, estimate.value, estimate.interval(self.ctx.level), counts)

    def _queries(self, empty: Message) -> AnyMeasurement:
        inside, name = self.outcomes.attacked, "median_queries"
        counts = self.outcomes.counts(inside)
        if not inside.any():
            return Undefined(name=name, counts=counts, reason=empty)
        queries = self.outcomes.queries[inside].astype(np.float64)
        most = None if self.budget is None else max(float(self.budget), float(queries.max()))
        value, interval = median_interval(queries, self.ctx.level, self._clusters(inside), (0.0, most))
        return measured(name, value, interval, counts)

    def _words(self, empty: Message) -> AnyMeasurement:
        flipped, words = self.outcomes.has("succeeded"), self.outcomes.words
        inside = flipped & (words > 0)
        if flipped.any() and not inside.any():
            empty = message("None of the texts that were changed has a word.")
        shares = np.divide(self.outcomes.words_changed, words, out=np.zeros(len(words)), where=inside)
        return self._mean("words_changed_share", np.where(inside, shares, np.nan), (0.0, 1.0), empty)

    def _similarity(self, empty: Message) -> AnyMeasurement:
        values = np.where(self.outcomes.has("succeeded"), self.outcomes.similarity, np.nan)
        return self._mean("semantic_similarity", values, (-1.0, 1.0), empty)

    def _mean(self, name: str, values: Float, bounds: tuple[float, float], empty: Message) -> AnyMeasurement:
        """The mean of the values that there are."""
        inside = ~np.isnan(values)
        counts = self.outcomes.counts(inside)
        if not inside.any():
            return Undefined(name=name, counts=counts, reason=empty)
        estimate = mean_interval(values[inside], self.ctx.level, self._clusters(inside), bounds)
        if estimate is None:
            alone = message("All of them come from one independent example, so the mean has no interval.")
            return Undefined(name=name, counts=counts, reason=alone)
        return measured(name, estimate.value, estimate.interval(self.ctx.level), counts)

    def _clusters(self, inside: Bool) -> Int | None:
        codes = self.outcomes.answers.clusters
        return None if codes is None else codes[inside]


def measured(name: str, value: float, interval: Interval | None, counts: Counts, at: Slice = ()) -> Measurement:
    """A figure of `probes.robustness.definitions.ATTACK`."""
    definition = ATTACK_BY_NAME[name]
    return Measurement(
        name=name,
        value=value,
        interval=interval,
        counts=counts,
        unit=definition.unit,
        slice=at,
        better=definition.better,
    )


def tally(outcomes: Outcomes) -> dict[str, int]:
    """How many examples ended in each status."""
    return {name: int(outcomes.has(name).sum()) for name in STATUSES}
