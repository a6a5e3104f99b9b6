"""From scores and coins of canaries to figures and evidence: bound, ceiling, difference to the claim, guesses by share. It asks no model
and reads no record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from probes.evidence import (
    AnyMeasurement,
    Counts,
    Curve,
    CurvePoint,
    Interval,
    Measurement,
    Message,
    Method,
    Reading,
    Series,
    Table,
    Undefined,
    message,
)
from probes.intervals import Bool, Float, clopper_pearson
from probes.privacy.canary_definitions import definition
from probes.privacy.one_run import Bound, ceiling, one_run_bound

MOST_DELTA = 0.01
FEWEST_ALIKE = 20
_EXAMPLES = (100, 1000)


def centred(scores: Float, flipped: Bool, labels: list[str]) -> Float:
    """Scores less the median of canaries of the same kind and label, coins unseen; shape (m,).

    A flipped label is unlikely even where it was trained on, and a true one likely even where it was not; what the coin changed
    is what is left without that. Medians are over canaries that are in and out alike, so no coin is used. A label with
    fewer than `FEWEST_ALIKE` canaries of a kind, whose median would be nearly each one's own score, is held to its kind's.
    """
    out = scores.copy()
    names = np.array(labels, dtype=str)
    for kind in (False, True):
        alike = flipped == kind
        if not alike.any():
            continue
        out[alike] -= np.median(scores[alike])
        for name in np.unique(names[alike]):
            these = alike & (names == name)
            if these.sum() >= FEWEST_ALIKE:
                out[these] = scores[these] - np.median(scores[these])
    return out


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Scores and coins of m canaries, and what is asked of them.

    Attributes:
        scores: centred, shape (m,); the higher, the more likely trained on.
        included: the coins.
        flipped: whose label was changed.
        raw: scores that are not centred.
        delta: of the claim.
        confidence: of the bound.
        shares: of the canaries to guess on.
    """

    scores: Float
    included: Bool
    flipped: Bool
    raw: Float
    delta: float
    confidence: float
    shares: tuple[float, ...]

    def bound(self, confidence: float) -> Bound:
        """At a confidence; `confidence` is the one that was asked for."""
        return one_run_bound(self.scores, self.included, self.delta, confidence, self.shares)

    def reading(self, claim: AnyMeasurement, counts: Counts, level: float) -> Reading:
        """Bound, ceiling, claim and their difference, and the guesses by share."""
        found = self.bound(self.confidence)
        at_level = found if level == self.confidence else self.bound(level)
        method = Method(
            name="Steinke, Nasr and Jagielski, one run",
            params={"canaries": counts.n, "delta": self.delta, "shares": len(self.shares)},
        )
        interval = Interval(low=min(at_level.epsilon, found.epsilon), high=None, level=level, method=method)
        guessed = Counts(n=counts.n, denominator=found.guesses, smallest=found.guesses)
        right = clopper_pearson(found.right, found.guesses, level)
        measurements: tuple[AnyMeasurement, ...] = (
            measured("bound", found.epsilon, interval, guessed),
            measured("ceiling", found.ceiling, None, counts),
            claim,
            _difference(found, claim, guessed),
            measured("right_guesses", right.value, right.interval(level), guessed),
        )
        return Reading(
            measurements=measurements, evidence=(self._guesses(), self._ceilings(), self._curve()),
            remarks=self._remarks(found, claim),
        )  # fmt: skip

    def _remarks(self, found: Bound, claim: AnyMeasurement) -> tuple[Message, ...]:
        out = [
            message(
                "{canaries} canaries, {included} of them trained on; the bound holds with {confidence%} confidence, and could not "
                "have been above {ceiling}.",
                canaries=len(self.included), included=int(self.included.sum()), confidence=self.confidence,
                ceiling=found.ceiling,
            )
        ]  # fmt: skip
        if isinstance(claim, Measurement) and claim.value > found.ceiling:
            out.append(
                message(
                    "The claim is above the ceiling: with so few canaries it could not have been disproved. More canaries could."
                )
            )
        return tuple(out)

    def _guesses(self) -> Table:
        """What each share gives, at the confidence that it is held to."""
        each = 1 - (1 - self.confidence) / len(self.shares)
        rows = []
        for share in self.shares:
            one = one_run_bound(self.scores, self.included, self.delta, each, (share,))
            rows.append((share, one.guesses, one.right, one.epsilon, one.ceiling))
        return Table(
            title=message("Guesses by share of the canaries, each held to a confidence of {each%}", each=each),
            columns=(message("share"), message("guesses"), message("right"), message("bound"), message("ceiling")),
            rows=tuple(rows),
        )

    def _ceilings(self) -> Table:
        """What so many canaries can show, with one share fixed beforehand and with these."""
        sizes = sorted({*_EXAMPLES, len(self.included)})
        confident, shares = self.confidence, self.shares
        return Table(
            title=message("The bound if every guess is right"),
            columns=(message("canaries"), message("one guess a canary"), message("with these shares")),
            rows=tuple(
                (m, ceiling(m, self.delta, confident, (1.0,)), ceiling(m, self.delta, confident, shares)) for m in sizes
            ),
        )

    def _curve(self) -> Curve:
        """How many of the included and of the others have at least a given score, by kind of label."""
        series = []
        for flipped, kind in ((True, message("flipped label")), (False, message("own label"))):
            for included, coin in ((True, message("trained on")), (False, message("left out"))):
                values = np.sort(self.raw[(self.flipped == flipped) & (self.included == included)])
                if not len(values):
                    continue
                at = np.unique(np.linspace(0, len(values) - 1, min(len(values), 41)).round().astype(int))
                series.append(
                    Series(
                        label=message("{kind}, {coin}", kind=kind, coin=coin),
                        points=tuple(
                            CurvePoint(x=float(values[i]), y=float((i + 1) / len(values)), n=len(values)) for i in at
                        ),
                    )
                )
        return Curve(
            title=message("How likely the model holds the canaries' labels"),
            x_label=message("logit of the label's probability"),
            y_label=message("share of canaries at or below"),
            series=tuple(series),
        )


def unfit(canaries: int, delta: float) -> Message | None:
    """Why so many canaries at this delta can give no bound; None where they can."""
    if canaries < 2:
        return message("{canaries} canaries are too few to guess on.", canaries=canaries)
    if canaries * delta > MOST_DELTA:
        return message(
            "Delta is {delta}, and {canaries} canaries need one of at most {most}: every unit of delta may give a canary away "
            "for nothing.",
            delta=delta, canaries=canaries, most=MOST_DELTA / canaries,
        )  # fmt: skip
    return None


def claim_of(facts: dict[str, Any], counts: Counts) -> AnyMeasurement:
    """What the ledger claims, or why it claims nothing; ``facts`` holds ``private``, ``epsilon`` and ``delta``."""
    if facts["epsilon"] is not None:
        return measured("claim", float(facts["epsilon"]), None, counts)
    reason = (
        message("The ledger states no epsilon; it says why.")
        if facts["private"]
        else message("The training was not private: it claims nothing, which is an epsilon without limit.")
    )
    return Undefined(name="claim", counts=counts, reason=reason)


def _difference(found: Bound, claim: AnyMeasurement, counts: Counts) -> AnyMeasurement:
    if isinstance(claim, Undefined):
        return Undefined(name="bound_minus_claim", counts=counts, reason=claim.reason)
    return measured("bound_minus_claim", found.epsilon - claim.value, None, counts)


def measured(name: str, value: float, interval: Interval | None, counts: Counts) -> Measurement:
    meant = definition(name)
    return Measurement(name=name, value=value, interval=interval, counts=counts, unit=meant.unit, better=meant.better)
