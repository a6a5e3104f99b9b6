"""From rows with scores to what `privacy.membership` says: attacks, groups and what a reader has to know. It asks no model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.answers import group_codes
from probes.evidence import (
    AnyMeasurement,
    Cell,
    Curve,
    Evidence,
    Measurement,
    Message,
    Reading,
    Table,
    Undefined,
    message,
)
from probes.intervals import Bool, Float, Int
from probes.privacy.lira import OWN_VARIANCE, exceedance, likelihood_ratio
from probes.privacy.membership_definitions import (
    ADVISORY,
    GAP,
    LIRA,
    LIRA_OFFLINE,
    LOSS,
    RATES,
    RMIA,
    RMIA_OFFLINE,
    Attack,
)
from probes.privacy.membership_figures import Scored, curve, measure_attack, undefined_attack
from probes.privacy.membership_groups import Feature, measure_groups
from probes.privacy.rmia import beaten, usual, usual_outside

if TYPE_CHECKING:
    import pyarrow as pa

KEY = b"plumbline.membership"

_NO_HOLDOUT = message("Nothing was kept out of training at random to compare with; see the advisory figures.")
_NO_GROUPS_ADVISED = message("Against the audit data a gap between groups may be that of the two data sets.")


def read(rows: pa.Table, level: float, *, min_group: int, gamma: float, offset: float) -> Reading:
    """The reading of what `Membership.collect` gave; the options are the probe's."""
    facts = json.loads((rows.schema.metadata or {}).get(KEY, b"{}"))
    member = np.asarray(rows["member"].to_numpy(zero_copy_only=False), dtype=np.bool_)
    every = Scored(
        scores=np.asarray(rows["score"].to_numpy(), dtype=np.float64), member=member, clusters=_clusters(rows)
    )  # fmt: skip
    features = _features(rows, facts)
    advisory = facts.get("source") == "audit"
    attacks: list[tuple[Attack, Scored]] = [(ADVISORY if advisory else LOSS, every)]
    remarks = list(_remarks(every, facts))
    for attack, scores in _deep(rows, every, facts, gamma, offset):
        known = ~np.isnan(scores)
        attacks.append((attack, Scored(scores=scores, member=member, clusters=every.clusters).where(known)))
        if not known.all():
            remarks.append(
                message(
                    "{attack}: {rows} rows were in every shadow model that could be compared, or in none, and are left out.",
                    attack=attack.title, rows=int(np.count_nonzero(~known)),
                )
            )  # fmt: skip
    measurements: list[AnyMeasurement] = []
    if advisory:
        measurements += undefined_attack(LOSS, every.counts(), _NO_HOLDOUT)
    for attack, scored in attacks:
        measurements += measure_attack(attack, scored, level)
    remarks += _flat(measurements)
    evidence: list[Evidence] = _pictures(attacks, measurements)
    if advisory:
        measurements += [_no_gap(f, every) for f in features]
    else:
        told = measure_groups(features, every, level, min_group)
        measurements += told.measurements
        evidence += told.evidence
        remarks += told.remarks
        if not features:
            remarks.append(
                message(
                    "The training data names no sensitive feature, so nothing is told about groups; name them under data.train before training."
                )
            )
    return Reading(measurements=tuple(measurements), evidence=tuple(evidence), remarks=tuple(remarks))


def _no_gap(feature: Feature, every: Scored) -> Undefined:
    from probes.evidence import feature_axes

    return Undefined(name=GAP, slice=feature_axes(feature.name), counts=every.counts(), reason=_NO_GROUPS_ADVISED)


def _clusters(rows: pa.Table) -> Int | None:
    """Cluster codes; None where no two rows share one. A row without a cluster stands alone."""
    named = rows["cluster"].to_pylist()
    codes: dict[Any, int] = {}
    out = [codes.setdefault(("alone", i) if name is None else name, len(codes)) for i, name in enumerate(named)]
    return None if len(codes) == len(named) else np.array(out, dtype=np.int64)


def _features(rows: pa.Table, facts: dict[str, Any]) -> tuple[Feature, ...]:
    out = []
    for name in facts.get("features", ()):
        codes, groups = group_codes(rows, name)
        out.append(Feature(name=name, codes=codes, groups=groups))
    return tuple(out)


def _deep(
    rows: pa.Table, every: Scored, facts: dict[str, Any], gamma: float, offset: float
) -> list[tuple[Attack, Float]]:
    """Scores of the deep attacks, one a row, NaN where a row has none."""
    if "shadow_scores" not in rows.column_names:
        return []
    k = int(facts["models"])
    shadows = np.array(rows["shadow_scores"].to_pylist(), dtype=np.float64).reshape(len(rows), k).T
    inside: Bool = np.array(rows["shadow_members"].to_pylist(), dtype=np.bool_).reshape(len(rows), k).T
    out: list[tuple[Attack, Float]] = []
    if facts["deep"] in ("lira", "both"):
        out += [
            (LIRA, likelihood_ratio(every.scores, shadows, inside)),
            (LIRA_OFFLINE, exceedance(every.scores, shadows, inside)),
        ]
    if facts["deep"] in ("rmia", "both"):
        own, theirs = _probability(every.scores), _probability(shadows)
        out += [
            (RMIA, beaten(own, usual(theirs, inside), ~every.member, gamma)),
            (RMIA_OFFLINE, beaten(own, usual_outside(theirs, inside, offset), ~every.member, gamma)),
        ]
    return out


def _probability(confidence: Float) -> Float:
    return np.exp(-np.logaddexp(0.0, -confidence))


def _remarks(every: Scored, facts: dict[str, Any]) -> tuple[Message, ...]:
    if not facts:
        return ()
    members, others = facts["members"], facts["others"]
    asked: dict[str, int | str] = {
        "members": every.members, "members_there": members["there"], "others": every.others, "others_there": others["there"],
        "data": others["name"],
    }  # fmt: skip
    if facts["source"] == "audit":
        out = [
            message("Asked: {members} of {members_there} training rows and {others} of {others_there} labelled rows of {data}, drawn at random.", **asked),
            message(
                "The audit data was not kept out of the training rows at random. What is found may be the difference between the two data sets, and not membership: these figures are advisory."
            ),
        ]  # fmt: skip
        if others["repeated"]:
            out.append(
                message(
                    "{rows} rows of the audit data were given to the training too, and are left out.",
                    rows=others["repeated"],
                )
            )
    else:
        out = [
            message("Asked: {members} of {members_there} training rows and {others} of {others_there} rows that were kept out at random; samples are drawn at random.", **asked)
        ]  # fmt: skip
        repeated = members["repeated"] + others["repeated"]
        if repeated:
            out.append(
                message(
                    "{rows} rows have an input that stands in several rows; they are left out on both sides, as the model may have seen those that were kept out.",
                    rows=repeated,
                )
            )
        if others["apart"]:
            out.append(
                message(
                    "{rows} rows that were kept out belong to clusters that went to validation as a whole; they are left out, as no training row can be like them.",
                    rows=others["apart"],
                )
            )
    if every.clusters is not None:
        out.append(
            message(
                "Rows come in {clusters} clusters; intervals allow for rows of one cluster being alike.",
                clusters=len(np.unique(every.clusters)),
            )
        )
    for rate in RATES:
        if rate.least <= every.others < rate.steady:
            out.append(
                message(
                    "Unstable: at a false positive rate of {share%} the threshold rests on {allowed} of {others} non-members; from {steady} on it is steadier.",
                    share=rate.share, allowed=int(np.floor(rate.share * every.others + 1e-9)), others=every.others, steady=rate.steady,
                )
            )  # fmt: skip
    if facts["private"]:
        out.append(
            message(
                "The model was trained privately. This test reads the protected rows without noise, so that its figures are outside of what the ledger's epsilon covers."
            )
        )
    return (*out, *_shadow_remarks(facts))


def _shadow_remarks(facts: dict[str, Any]) -> tuple[Message, ...]:
    if facts.get("deep", "none") == "none":
        return ()
    out = [
        message(
            "{models} shadow models were trained by the same recipe, each on a random half of the training rows and those kept out: {fewest} to {most} rows, where the model itself saw {rows}.",
            models=facts["models"], fewest=facts["fewest_rows"], most=facts["most_rows"], rows=facts["trained_rows"],
        ),
        message("Every model was asked about each row once, as it stands; images are not flipped or shifted."),
    ]  # fmt: skip
    if facts["deep"] != "rmia" and facts["models"] < OWN_VARIANCE:
        out.append(
            message(
                "With fewer than {enough} shadow models LiRA takes one variance for all rows, as its authors advise, and finds less than with more.",
                enough=OWN_VARIANCE,
            )
        )
    if facts["private"]:
        out.append(
            message(
                "Shadow models were trained with the same privacy settings, solved anew for their number of rows, with noise from a seed. They are thrown away, and no ledger counts them."
            )
        )
    return tuple(out)


def _flat(measurements: list[AnyMeasurement]) -> tuple[Message, ...]:
    flat = [m for m in measurements if isinstance(m, Measurement) and m.interval is not None and m.interval.degenerate]
    return tuple(
        message(
            "{measure} is {value} without any width: these rows show no variation, which is not certainty.",
            measure=m.name, value=m.value,
        )
        for m in flat
    )  # fmt: skip


def _pictures(attacks: list[tuple[Attack, Scored]], measurements: list[AnyMeasurement]) -> list[Evidence]:
    drawn = [(attack, rows) for attack, rows in attacks if rows.members and rows.others]
    out: list[Evidence] = []
    if drawn:
        out.append(
            Curve(
                title=message("Training rows that are found, against others that are wrongly named"),
                x_label=message("share of other rows that are wrongly named"),
                y_label=message("share of training rows that are found"),
                series=tuple(curve(attack, rows) for attack, rows in drawn),
                diagonal=True,
            )
        )
    if len(attacks) > 1:
        values = {m.name: m.value for m in measurements if isinstance(m, Measurement)}
        names = ("auc", *(rate.measure for rate in RATES))
        table: list[tuple[Cell, ...]] = [
            (attack.title, rows.members, rows.others, *(values.get(attack.prefix + name) for name in names))
            for attack, rows in attacks
        ]
        out.append(
            Table(
                title=message("What each attack finds"),
                columns=(
                    message("attack"), message("training rows"), message("others"), message("AUC"),
                    message("found at 1 % wrongly named"), message("found at 0.1 % wrongly named"),
                ),
                rows=tuple(table),
            )
        )  # fmt: skip
    return out
