"""One figure against one limit: the arithmetic of a ruling, and the sentence that explains it.

Pure. Knows nothing of policies' files, of waivers or of other checks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from audit.errors import PolicyError
from probes.evidence import Counts, Interval, Message, Scalar, Slice, message, slice_name
from reports.record import Check, Comparison, Decision, Outcome, Policy, Rule, Ruling

NO_PRACTICAL_SAMPLE = 100


@dataclass(frozen=True, kw_only=True)
class Terms:
    """A rule with the policy's defaults filled in."""

    rule: Rule
    level: float
    decision: Decision
    min_n: int

    @classmethod
    def of(cls, policy: Policy, rule: Rule) -> Terms:
        return cls(rule=rule, level=policy.level(rule), decision=policy.decision(rule), min_n=policy.min_n(rule))

    @property
    def limit(self) -> float:
        """The threshold: max, min or max_drop, of which a rule has exactly one."""
        rule = self.rule
        return next(t for t in (rule.max, rule.min, rule.max_drop) if t is not None)

    @property
    def sign(self) -> float:
        """+1 where smaller is wanted, -1 where larger is; ``sign * value <= sign * limit`` is within either way."""
        return -1.0 if self.rule.min is not None else 1.0

    @property
    def demand(self) -> Message:
        """The limit in words."""
        if self.rule.min is not None:
            return message("at least {limit}", limit=self.limit)
        return message("at most {limit}", limit=self.limit)

    def ruling(self, slice_: Slice, outcome: Outcome, reason: Message) -> Ruling:
        """A ruling without a figure."""
        return Ruling(
            check=Check(rule=self.rule, slice=slice_),
            outcome=outcome,
            reason=reason,
            limit=self.limit,
            level=self.level,
            decision=self.decision,
            min_n=self.min_n,
        )


_EXACTLY = message("{figure} is {value}, exactly; the policy allows {demand}.")
_TOO_THIN = message(
    "{figure} is {value} [{low}, {high}]; the policy allows {demand}. It rests on {rests_on} rows, and the policy rules on no"
    " fewer than {min_n}."
)
_ON_THE_POINT = message(
    "{figure} is {value} [{low}, {high}]; the policy allows {demand}. Decided on the point value, as the policy says; the"
    " interval was not used."
)
_NO_VARIATION = message(
    "{figure} is {value} [{low}, {high}]; the policy allows {demand}. The rows show no variation, so the interval cannot be"
    " trusted."
)
_WITHIN = message(
    "{figure} is {value} [{low}, {high}]; the policy allows {demand}, and the whole interval lies within."
)
_BEYOND = message(
    "{figure} is {value} [{low}, {high}]; the policy allows {demand}, and the whole interval lies beyond."
)
_UNDECIDED = message(
    "{figure} is {value} [{low}, {high}]; the policy allows {demand}, which lies inside the interval. No practical sample"
    " would decide it."
)
_UNDECIDED_YET = message(
    "{figure} is {value} [{low}, {high}]; the policy allows {demand}, which lies inside the interval. About {needed} rows"
    " would decide it."
)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A value with its interval (None where exact), on a slice."""

    value: float
    interval: Interval | None
    counts: Counts
    slice: Slice
    comparison: Comparison | None = None

    @property
    def rests_on(self) -> int:
        """The smallest denominator behind the value."""
        return min(self.counts.denominator, self.counts.smallest)


def weigh(terms: Terms, figure: Figure) -> Ruling:
    """Rule on a figure.

    On an interval: pass if all of it is within the limit, fail if all of it is beyond, else inconclusive; inconclusive
    too where it rests on fewer than ``min_n`` rows or shows no variation.

    Raises:
        PolicyError: an exact decision is asked of a sampled figure.
    """
    sign, limit = terms.sign, terms.limit
    within = sign * figure.value <= sign * limit
    if figure.interval is None:
        return _ruling(terms, figure, "pass" if within else "fail", _EXACTLY)
    if terms.decision == "exact":
        raise PolicyError(
            f"rule {terms.rule.id} wants an exact decision, and {terms.rule.measure} is a sampled figure",
            expected="decision: exact only for figures without sampling, such as a privacy ledger's",
            fix="use decision: interval",
        )
    if figure.rests_on < terms.min_n:
        return _ruling(terms, figure, "inconclusive", _TOO_THIN, _needed(terms, figure))
    if terms.decision == "point":
        return _ruling(terms, figure, "pass" if within else "fail", _ON_THE_POINT)
    if figure.interval.degenerate:
        return _ruling(terms, figure, "inconclusive", _NO_VARIATION)
    low, high = _ends(figure.interval)
    near, far = (low, high) if sign > 0 else (high, low)
    if sign * far <= sign * limit:
        return _ruling(terms, figure, "pass", _WITHIN)
    if sign * near > sign * limit:
        return _ruling(terms, figure, "fail", _BEYOND)
    needed = _needed(terms, figure)
    return _ruling(terms, figure, "inconclusive", _UNDECIDED if needed is None else _UNDECIDED_YET, needed)


def figure_name(rule: Rule, slice_: Slice) -> Message:
    """``groups:recall on group:gender=female``."""
    if not slice_:
        return message("{measure}", measure=rule.measure)
    return message("{measure} on {slice}", measure=rule.measure, slice=slice_name(slice_))


def _needed(terms: Terms, figure: Figure) -> int | None:
    """Rows that would decide it at the same shares: n (half-width towards the limit / distance to it) squared."""
    if figure.interval is None:
        return None
    n, rests_on = figure.counts.n, max(figure.rests_on, 1)
    low, high = _ends(figure.interval)
    distance = abs(figure.value - terms.limit)
    half = high - figure.value if figure.value <= terms.limit else figure.value - low
    try:
        if not math.isfinite(half) or half**2 > NO_PRACTICAL_SAMPLE * distance**2 or distance == 0:
            return None
        rows = max(n * (half / distance) ** 2, n * terms.min_n / rests_on)
    except OverflowError:
        # A limit or a min_n beyond all measure, whose square or product no float holds: no sample reaches it.
        return None
    return math.ceil(rows) if rows <= NO_PRACTICAL_SAMPLE * n else None


def _ends(interval: Interval) -> tuple[float, float]:
    low = -math.inf if interval.low is None else interval.low
    high = math.inf if interval.high is None else interval.high
    return low, high


def _shown(end: float | None) -> Scalar | Message:
    return message("unbounded") if end is None else end


def _ruling(terms: Terms, figure: Figure, outcome: Outcome, said: Message, needed: int | None = None) -> Ruling:
    rule = terms.rule
    name = figure_name(rule, figure.slice)
    if figure.comparison is not None:
        name = message("The drop of {figure} since {baseline}", figure=name, baseline=figure.comparison.baseline)
    facts: dict[str, Scalar | Message] = {"figure": name, "value": figure.value, "demand": terms.demand}
    if figure.interval is not None:
        facts |= {"low": _shown(figure.interval.low), "high": _shown(figure.interval.high)}
    if said is _TOO_THIN:
        facts |= {"rests_on": figure.rests_on, "min_n": terms.min_n}
    if said is _UNDECIDED_YET and needed is not None:
        facts["needed"] = needed
    return terms.ruling(figure.slice, outcome, said.put(**facts)).model_copy(
        update={
            "value": figure.value,
            "interval": figure.interval,
            "counts": figure.counts,
            "needed_n": needed,
            "comparison": figure.comparison,
        }
    )
