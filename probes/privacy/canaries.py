"""What the canaries of a training give away of its epsilon: one lower bound from the one real run, beside the claim and beside the
most that so many canaries could show. It never turns the absence of a bound into privacy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from probes.errors import ProbeError, Unavailable
from probes.evidence import (
    AnyMeasurement,
    Counts,
    Curve,
    CurvePoint,
    Interval,
    Measurement,
    Message,
    Method,
    Need,
    Reading,
    Series,
    Table,
    Undefined,
    message,
)
from probes.intervals import Bool, Float, clopper_pearson
from probes.privacy.canary_definitions import DEFINES, definition
from probes.privacy.lira import confidence
from probes.privacy.one_run import FRACTIONS, Bound, ceiling, one_run_bound
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from fine_tune.data import AuditData
    from fine_tune.recipe import TrainingRecord
    from probes.probe import Context
    from probes.subject import Subject

KEY = b"plumbline.canaries"
MOST_DELTA = 0.01
FEWEST_ALIKE = 20
_EXAMPLES = (100, 1000)


@probe(
    "privacy.canaries",
    needs={Need.QUERIES, Need.TRAINING_DATA, Need.TRAINING_RECORD},
    defines=DEFINES,
    limits=(
        message(
            "A lower bound: the true epsilon may lie far above it, and a bound of 0 says that this attack found nothing, not that "
            "there is nothing to find."
        ),
        message("No bound can lie above the ceiling, whatever the model gives away; more canaries raise it."),
        message(
            "The attack sees the finished model alone. An auditor who sees every step, or plants stronger canaries, may find more."
        ),
        message(
            "It tests the guarantee for adding or removing one unit, on these rows. Half of the included canaries were trained on "
            "with a wrong label."
        ),
    ),
    method=message(
        "Each canary is scored by the logit of its training label's probability, less the median of canaries of the same kind "
        "and, where there are enough, label. The highest scores are guessed to be in, as many of the lowest to be out, and the rest is abstained from. The "
        "number of right guesses is set against the most that any mechanism of that epsilon and delta can reach; several shares "
        "to guess on, fixed beforehand, pay for their number by Bonferroni's inequality."
    ),
)
@dataclass(frozen=True, kw_only=True)
class Canaries:
    """Which epsilon does the trained model disprove, by what it gives away of its canaries' coins?

    The bound holds at the stated confidence over coins, noise and everything else in the training; it needs a delta far below one
    over the number of canaries.
    """

    confidence: float = field(
        default=0.95,
        metadata={"help": "Confidence of the bound, between 0.5 and 1. The interval's end goes by the level."},
    )
    shares: tuple[float, ...] = field(
        default=FRACTIONS,
        metadata={
            "help": "Shares of the canaries to guess on, fixed beforehand. One share alone pays for no others: [1.0] has the highest ceiling."
        },
    )

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence < 1:
            raise ProbeError(f"confidence is {self.confidence}", expected="a number above 0.5 and below 1")
        if not self.shares or any(not 0 < share <= 1 for share in self.shares):
            raise ProbeError(f"shares is {self.shares}", expected="numbers above 0 and at most 1")
        if len(set(self.shares)) < len(self.shares):
            raise ProbeError(f"shares is {self.shares}", expected="each share once")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row a canary: row_id, label (that it is trained with), flipped, included, score, the logit of that label.

        Raises:
            Unavailable: the training had no canaries, or its rows are not at hand.
        """
        import pyarrow as pa

        given = cast("AuditData | None", getattr(subject, "training_source", None))
        record = cast("TrainingRecord | None", getattr(getattr(subject, "checkpoint", None), "training_record", None))
        if given is None or record is None:
            raise Unavailable("the training rows are not at hand", fix="name them under data.train of the plan")
        planted = record.canaries
        if not planted:
            raise Unavailable(
                "the training had no canaries", expected="a recipe with canaries", fix="train with canaries: 500"
            )
        places = {row: i for i, row in enumerate(given.row_ids)}
        inputs = given.select(places[canary.id] for canary in planted).inputs
        codes = {name: k for k, name in enumerate(subject.classes)}
        labels = np.array([codes[canary.label] for canary in planted], dtype=np.int64)
        scores = confidence(np.asarray(subject.predict(inputs, ctx), dtype=np.float64), labels)
        schema = pa.schema(
            [
                ("row_id", pa.string()), ("label", pa.string()), ("flipped", pa.bool_()), ("included", pa.bool_()),
                ("score", pa.float64()),
            ],
            metadata={KEY: json.dumps(claimed(record), sort_keys=True).encode()},
        )  # fmt: skip
        return pa.table(
            {
                "row_id": [c.id for c in planted], "label": [c.label for c in planted],
                "flipped": [c.flipped for c in planted], "included": [c.included for c in planted], "score": scores,
            },
            schema=schema,
        )  # fmt: skip

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Bound, ceiling, claim and their difference; the guesses by share."""
        facts = json.loads(rows.schema.metadata[KEY])
        # Equal scores are guessed on in the order of the ids, so that the order of the rows decides nothing.
        rows = rows.sort_by("row_id")
        included = np.asarray(rows.column("included").to_numpy(), dtype=np.bool_)
        counts = Counts(n=len(included), denominator=len(included), smallest=len(included))
        claim = _claim(facts, counts)
        why = _unfit(len(included), facts["delta"])
        if why is not None:
            return Reading(
                measurements=tuple(
                    claim if d.name == "claim" else Undefined(name=d.name, counts=counts, reason=why) for d in DEFINES
                )
            )
        flipped = np.asarray(rows.column("flipped").to_numpy(), dtype=np.bool_)
        raw = np.asarray(rows.column("score").to_numpy(), dtype=np.float64)
        scores = centred(raw, flipped, rows.column("label").to_pylist())
        sheet = _Sheet(scores=scores, included=included, flipped=flipped, raw=raw, delta=facts["delta"], asked=self)
        return sheet.reading(claim, counts, ctx.level)


def claimed(record: TrainingRecord) -> dict[str, Any]:
    """What the training claims: ``private``, ``epsilon`` (None where none is stated), ``delta`` (0 where it was not private)."""
    ledger = record.ledger
    if ledger is None:
        return {"private": False, "epsilon": None, "delta": 0.0}
    return {"private": True, "epsilon": ledger.epsilon, "delta": ledger.facts.delta}


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
class _Sheet:
    """Scores and coins of m canaries; ``raw`` scores are not centred."""

    scores: Float
    included: Bool
    flipped: Bool
    raw: Float
    delta: float
    asked: Canaries

    def bound(self, confidence: float) -> Bound:
        return one_run_bound(self.scores, self.included, self.delta, confidence, self.asked.shares)

    def reading(self, claim: AnyMeasurement, counts: Counts, level: float) -> Reading:
        found = self.bound(self.asked.confidence)
        at_level = found if level == self.asked.confidence else self.bound(level)
        method = Method(
            name="Steinke, Nasr and Jagielski, one run",
            params={"canaries": counts.n, "delta": self.delta, "shares": len(self.asked.shares)},
        )
        interval = Interval(low=min(at_level.epsilon, found.epsilon), high=None, level=level, method=method)
        guessed = Counts(n=counts.n, denominator=found.guesses, smallest=found.guesses)
        right = clopper_pearson(found.right, found.guesses, level)
        measurements: tuple[AnyMeasurement, ...] = (
            _measured("bound", found.epsilon, interval, guessed),
            _measured("ceiling", found.ceiling, None, counts),
            claim,
            _difference(found, claim, guessed),
            _measured("right_guesses", right.value, right.interval(level), guessed),
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
                canaries=len(self.included), included=int(self.included.sum()), confidence=self.asked.confidence,
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
        each = 1 - (1 - self.asked.confidence) / len(self.asked.shares)
        rows = []
        for share in self.asked.shares:
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
        confident, shares = self.asked.confidence, self.asked.shares
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
        for flipped, kind in ((True, "flipped label"), (False, "own label")):
            for included, coin in ((True, "in"), (False, "out")):
                values = np.sort(self.raw[(self.flipped == flipped) & (self.included == included)])
                if not len(values):
                    continue
                at = np.unique(np.linspace(0, len(values) - 1, min(len(values), 41)).round().astype(int))
                series.append(
                    Series(
                        label=f"{kind}, {coin}",
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


def _unfit(canaries: int, delta: float) -> Message | None:
    if canaries < 2:
        return message("{canaries} canaries are too few to guess on.", canaries=canaries)
    if canaries * delta > MOST_DELTA:
        return message(
            "Delta is {delta}, and {canaries} canaries need one of at most {most}: every unit of delta may give a canary away "
            "for nothing.",
            delta=delta, canaries=canaries, most=MOST_DELTA / canaries,
        )  # fmt: skip
    return None


def _claim(facts: dict[str, Any], counts: Counts) -> AnyMeasurement:
    if facts["epsilon"] is not None:
        return _measured("claim", float(facts["epsilon"]), None, counts)
    reason = (
        message("The ledger states no epsilon; it says why.")
        if facts["private"]
        else message("The training was not private: it claims nothing, which is an epsilon without limit.")
    )
    return Undefined(name="claim", counts=counts, reason=reason)


def _difference(found: Bound, claim: AnyMeasurement, counts: Counts) -> AnyMeasurement:
    if isinstance(claim, Undefined):
        return Undefined(name="bound_minus_claim", counts=counts, reason=claim.reason)
    return _measured("bound_minus_claim", found.epsilon - claim.value, None, counts)


def _measured(name: str, value: float, interval: Interval | None, counts: Counts) -> Measurement:
    meant = definition(name)
    return Measurement(name=name, value=value, interval=interval, counts=counts, unit=meant.unit, better=meant.better)
