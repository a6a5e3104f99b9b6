"""What the canaries of a training give away of its epsilon: one lower bound from the one real run, beside the claim and beside the
most that so many canaries could show. It never turns the absence of a bound into privacy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from probes.errors import ProbeError, Unavailable
from probes.evidence import Counts, Need, Reading, Undefined, message
from probes.privacy.canary_definitions import DEFINES
from probes.privacy.canary_reading import Sheet, centred, claim_of, unfit
from probes.privacy.lira import confidence
from probes.privacy.one_run import FRACTIONS
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from fine_tune.data import AuditData
    from fine_tune.recipe import TrainingRecord
    from probes.probe import Context
    from probes.subject import Subject

KEY = b"plumbline.canaries"


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
        claim = claim_of(facts, counts)
        why = unfit(len(included), facts["delta"])
        if why is not None:
            return Reading(
                measurements=tuple(
                    claim if d.name == "claim" else Undefined(name=d.name, counts=counts, reason=why) for d in DEFINES
                )
            )
        flipped = np.asarray(rows.column("flipped").to_numpy(), dtype=np.bool_)
        raw = np.asarray(rows.column("score").to_numpy(), dtype=np.float64)
        scores = centred(raw, flipped, rows.column("label").to_pylist())
        sheet = Sheet(
            scores=scores,
            included=included,
            flipped=flipped,
            raw=raw,
            delta=facts["delta"],
            confidence=self.confidence,
            shares=self.shares,
        )
        return sheet.reading(claim, counts, ctx.level)


def claimed(record: TrainingRecord) -> dict[str, Any]:
    """What the training claims: ``private``, ``epsilon`` (None where none is stated), ``delta`` (0 where it was not private)."""
    ledger = record.ledger
    if ledger is None:
        return {"private": False, "epsilon": None, "delta": 0.0}
    return {"private": True, "epsilon": ledger.epsilon, "delta": ledger.facts.delta}
