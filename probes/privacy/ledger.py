"""What a private training claims, recomputed before it is repeated. It attacks nothing: a ledger says what was promised and on what
terms, and no figure here shows that the promise was kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probes.errors import ProbeError, Unavailable
from probes.evidence import (
    AnyMeasurement,
    Cell,
    Counts,
    Evidence,
    MeasureDefinition,
    Measurement,
    Message,
    Need,
    Reading,
    Table,
    Undefined,
    message,
)
from probes.privacy.ledger_words import WORDS, word
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from fine_tune.privacy.facts import Remark
    from fine_tune.privacy.ledger import Ledger
    from probes.probe import Context
    from probes.subject import Subject

KEY = b"plumbline.ledger"
SP800_226 = "NIST SP 800-226"
# The accountant's own error; what differs by more was computed from other facts.
TOLERANCE = 0.01

_EPSILON = message(
    "largest factor e^epsilon by which one unit's presence changes the probability of any trained model, but for delta"
)


def _define(
    name: str, formula: Message, *, source: str = SP800_226, unit: str = "", lower: bool = False
) -> MeasureDefinition:
    return MeasureDefinition(
        name=name, formula=formula, high=None, source=source, unit=unit, better="lower" if lower else "neither"
    )  # fmt: skip


DEFINES = (
    MeasureDefinition(
        name="epsilon", formula=_EPSILON, high=None, zero=message("the trained model depends on nobody's data"),
        source=SP800_226, better="lower",
    ),
    _define("epsilon_prv", message("epsilon by the PRV accountant"), source="Gopi, Lee and Wutschitz 2021", lower=True),
    _define("epsilon_rdp", message("epsilon by the RDP accountant"), source="Mironov 2017; Balle et al. 2020", lower=True),
    _define("epsilon_asked", message("epsilon that the recipe asked for"), lower=True),
    _define("delta", message("probability with which the guarantee may fail"), lower=True),
    _define("delta_times_units", message("delta x units; at 1 or more, giving away one unit in full would count as private"), lower=True),
    _define("noise_multiplier", message("standard deviation of the noise / clipping norm"), source="Abadi et al. 2016"),
    _define("sampling_rate", message("expected units a step / units"), source="Abadi et al. 2016"),
    _define("max_grad_norm", message("L2 norm that a unit's contribution to a step is clipped to"), source="Abadi et al. 2016"),
    _define("expected_batch", message("units a step on average"), unit="units"),
    _define("units", message("units whose presence is protected"), unit="units"),
    _define("rows", message("training rows"), unit="rows"),
    _define("steps", message("steps taken, empty batches among them"), unit="steps"),
    _define("planned_steps", message("steps that were fixed before training"), unit="steps"),
    _define("empty_steps", message("steps whose batch held no unit: noise alone, charged like the others"), unit="steps"),
    _define("charged_steps", message("noisy sums that epsilon is composed of, those of earlier trainings among them"), unit="steps"),
)  # fmt: skip

RECOMPUTED = ("epsilon", "epsilon_prv", "epsilon_rdp")


@probe(
    "privacy.ledger",
    needs={Need.TRAINING_RECORD},
    defines=DEFINES,
    limits=(
        message("A ledger repeats what the training wrote down. Whether the weights came from that training, no ledger shows."),
        message("Epsilon bounds what any attack can learn of a unit's presence; it says nothing of what is true of all people alike."),
        message("It covers the rows of this training and what the base's ledger charges; the base's own training data is taken as public."),
        message("Settings that were tried on the same rows and not named to the training are not charged."),
    ),
    method=message(
        "The conditions of the guarantee are checked again on the recorded facts, and epsilon is computed anew by Opacus' accountants from "
        "the recorded steps; where either disagrees with the ledger there is no epsilon. All figures are exact, not sampled."
    ),
    requires=("opacus",),
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class LedgerFigures:
    """What guarantee does the training claim, on what terms, and can the claim be computed again?"""

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:  # noqa: ARG002
        """One row a figure: ``figure``, ``recorded``, ``recomputed``; the ledger as it was written, and what speaks against it
        now, are in the table's metadata.

        Raises:
            Unavailable: trained elsewhere, or without privacy.
            ProbeError: the record's ledger is none.
        """
        import pyarrow as pa
        from pydantic import ValidationError

        from fine_tune.privacy.ledger import Ledger, settle

        training = subject.training
        if training is None:
            raise Unavailable(f"{subject.name} was trained elsewhere; it has no training record and so no ledger")
        if training.get("ledger") is None:
            raise Unavailable(f"{subject.name} was trained without privacy", fix="set privacy in the recipe")
        try:
            ledger = Ledger.model_validate(training["ledger"])
        except ValidationError as error:
            raise ProbeError(f"the training record's ledger cannot be read: {error.errors()[0]['msg']}") from None
        again = settle(ledger.facts, outside=ledger.outside)
        against = [
            *([] if ledger.epsilon is None else [_plain(r) for r in again.refusals]),
            *(m.model_dump(mode="json") for m in _disagreements(ledger, training)),
        ]
        recorded = _figures(ledger)
        new = _figures(again)
        names = list(recorded)
        facts = {"ledger": ledger.model_dump(mode="json", by_alias=True), "against": against}
        schema = pa.schema(
            [("figure", pa.string()), ("recorded", pa.float64()), ("recomputed", pa.float64())],
            metadata={KEY: json.dumps(facts, ensure_ascii=False, sort_keys=True).encode()},
        )
        return pa.table(
            [
                pa.array(names, type=pa.string()),
                pa.array([recorded[name] for name in names], type=pa.float64()),
                pa.array([new[name] if name in RECOMPUTED else recorded[name] for name in names], type=pa.float64()),
            ],
            schema=schema,
        )

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:  # noqa: ARG002
        """Every figure, exact; epsilon only where nothing speaks against it. Tables of terms, and remarks."""
        from fine_tune.privacy.ledger import Ledger

        kept = json.loads((rows.schema.metadata or {}).get(KEY, b"{}"))
        if not kept or not len(rows):
            nothing = Counts(n=0, denominator=0, smallest=0)
            why = message("There is no ledger.")
            return Reading(measurements=tuple(Undefined(name=d.name, counts=nothing, reason=why) for d in DEFINES))
        ledger = Ledger.model_validate(kept["ledger"])
        facts = ledger.facts
        counts = Counts(n=facts.rows, denominator=facts.units, smallest=facts.units)
        against = [_sentence(r) for r in ledger.refusals]
        against += [m for m in map(Message.model_validate, kept["against"]) if m not in against]
        measurements: list[AnyMeasurement] = []
        for name, recorded, again in zip(*(rows[c].to_pylist() for c in rows.column_names), strict=True):
            reason = _missing(name, recorded, again, against)
            if reason is not None or recorded is None:
                measurements.append(
                    Undefined(name=name, counts=counts, reason=reason or message("It was not recorded."))
                )
                continue
            definition = next(d for d in DEFINES if d.name == name)
            measurements.append(
                Measurement(
                    name=name, value=recorded, interval=None, counts=counts, unit=definition.unit, better=definition.better
                )
            )  # fmt: skip
        remarks = (*against, *map(_sentence, ledger.not_covered), *map(_sentence, ledger.known_issues))
        return Reading(measurements=tuple(measurements), evidence=_tables(ledger), remarks=remarks)


def _figures(ledger: Ledger) -> dict[str, float | None]:
    facts = ledger.facts
    out: dict[str, float | None] = {
        "epsilon": ledger.epsilon, "epsilon_prv": ledger.epsilon_prv, "epsilon_rdp": ledger.epsilon_rdp,
        "epsilon_asked": facts.target_epsilon, "delta": facts.delta, "delta_times_units": facts.delta * facts.units,
        "noise_multiplier": facts.noise_multiplier, "sampling_rate": facts.sampling_rate, "max_grad_norm": facts.max_grad_norm,
        "expected_batch": facts.expected_batch, "units": facts.units, "rows": facts.rows, "steps": facts.taken_steps,
        "planned_steps": facts.planned_steps, "empty_steps": facts.empty_steps,
        "charged_steps": sum(release.steps for release in facts.releases),
    }  # fmt: skip
    return {name: None if value is None or not math.isfinite(value) else float(value) for name, value in out.items()}


def _missing(name: str, recorded: float | None, again: float | None, against: list[Message]) -> Message | None:
    """Why a figure has no value; None where it has one."""
    if name == "epsilon_asked" and recorded is None:
        return message("The recipe gave a noise multiplier and asked for no epsilon.")
    if name not in RECOMPUTED:
        return None
    if against:
        return against[0] if len(against) == 1 else message(
            "{first} And {more} more, under remarks.", first=against[0], more=len(against) - 1
        )  # fmt: skip
    if recorded is None:
        return message("This accountant gives no figure for these steps.")
    if again is None or abs(recorded - again) > TOLERANCE:
        return message(
            "The ledger says {recorded}, and the recorded steps give {again}.",
            recorded=recorded, again="no figure" if again is None else again,
        )  # fmt: skip
    return None


def _disagreements(ledger: Ledger, training: Mapping[str, Any]) -> list[Message]:
    """Where the ledger says otherwise than the record that it stands in."""
    facts = ledger.facts
    asked = (training.get("recipe") or {}).get("privacy") or {}
    said = (
        (message("training rows"), facts.rows, _rows_trained_on(training)),
        (message("steps"), facts.taken_steps, training.get("steps")),
        (message("delta"), facts.delta, asked.get("delta")),
        (message("clipping norm"), facts.max_grad_norm, asked.get("max_grad_norm")),
        (message("unit"), facts.unit, asked.get("unit")),
        (message("noise multiplier"), facts.noise_multiplier, asked.get("noise_multiplier")),
    )
    return [
        message(
            "The ledger and the training record do not agree on {what}: {ledger} and {record}.", what=what, ledger=one, record=other
        )
        for what, one, other in said
        if other is not None and other != one
    ]  # fmt: skip


def _rows_trained_on(training: Mapping[str, Any]) -> int | None:
    """Canaries whose coin fell on "in" are trained on too, and are listed apart."""
    rows = training.get("training_rows")
    return None if rows is None else int(rows) + int(training.get("canaries_trained_on", 0))


def _sentence(remark: Remark) -> Message:
    return Message(
        text=remark.text, params={name: WORDS.get(str(value), value) for name, value in remark.params.items()}
    )


def _plain(remark: Remark) -> dict[str, Any]:
    return _sentence(remark).model_dump(mode="json")


def _yes(value: bool) -> Message:
    return message("yes") if value else message("no")


def _tables(ledger: Ledger) -> tuple[Evidence, ...]:
    facts = ledger.facts
    terms: tuple[tuple[Cell, ...], ...] = (
        (message("unit of privacy"), facts.unit),
        (message("neighbouring data sets"), word(ledger.neighbours)),
        (message("mechanism"), word(ledger.mechanism)),
        (message("accountant"), facts.accountant),
        (message("sampling"), word(facts.sampling)),
        (message("gradients clipped by"), facts.gradients),
        (message("clipping compared with one-at-a-time before training"), _yes(facts.self_tested)),
        (message("all gradients finite"), _yes(facts.finite)),
        (message("noise and sampling started from the operating system's entropy"), _yes(facts.secure_rng)),
        *(
            (message("version of {library}", library=name), version)
            for name, version in sorted(ledger.versions.items())
        ),
    )
    releases = tuple(
        (word(r.purpose), r.noise_multiplier, r.sampling_rate, r.steps) for r in facts.releases
    )  # fmt: skip
    outside = tuple((word(o.name), word(o.standing), _sentence(o.reason)) for o in ledger.outside)
    return (
        Table(title=message("Terms of the guarantee"), columns=(message("term"), message("value")), rows=terms),
        Table(
            title=message("Noisy steps that epsilon covers"),
            columns=(message("purpose"), message("noise multiplier"), message("sampling rate"), message("steps")),
            rows=releases,
        ),
        Table(
            title=message("What was fitted or chosen beside the private steps"),
            columns=(message("what"), message("standing"), message("why")),
            rows=outside,
        ),
    )
