"""What a reader sees of an attack: tables, plots, the curve, and pairs of texts that were chosen by a rule. It shows what
`probes.robustness.outcomes` counted; texts are data, and how they are escaped is the report's business.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fine_tune.predictions import GROUP
from probes.evidence import (
    AnyMeasurement,
    Cell,
    Curve,
    Evidence,
    IntervalPlot,
    IntervalPoint,
    Label,
    Measurement,
    Message,
    Note,
    Series,
    Table,
    TextPair,
    TextPairs,
    Undefined,
    message,
)
from probes.probe import Context
from probes.robustness.attack_groups import FeatureReading, curve
from probes.robustness.outcomes import Outcomes, tally

if TYPE_CHECKING:
    import pyarrow as pa

_WORDS = {
    "succeeded": message("answered rightly, and the attack succeeded"),
    "failed": message("answered rightly, and the attack failed"),
    "skipped": message("answered wrongly before any change, so not attacked"),
    "error": message("ended in an error, left out of every figure"),
}
_RULE = message(
    "{shown} of {there} successful attacks: the labels take turns, and within a label the smallest share of words changed "
    "comes first; ties are broken at random with seed {seed}."
)


def outcome_table(outcomes: Outcomes) -> Table:
    """How many of the drawn examples ended how."""
    total = len(outcomes)
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (_WORDS[name], found, found / total if total else None)
        for name, found in tally(outcomes).items()
        if found or name != "error"
    )
    return Table(
        title=message("What became of the {drawn} drawn examples", drawn=total),
        columns=(message("what happened"), message("examples"), message("share")),
        rows=rows,
    )


def accuracy_plot(measurements: Sequence[AnyMeasurement]) -> IntervalPlot:
    """Accuracy on the drawn examples, before any change and after the attack."""
    found = {m.name: m for m in measurements if not m.slice}
    points = ((message("before any change"), "clean_accuracy"), (message("under attack"), "accuracy_under_attack"))
    return IntervalPlot(
        title=message("Accuracy before any change and under attack"),
        unit="share",
        points=tuple(_point(label, found[name]) for label, name in points),
    )


def class_plot(rates: Sequence[AnyMeasurement]) -> list[Evidence]:
    """The success rate on the examples of each true class."""
    points = tuple(_point(rate.slice[0].name, rate) for rate in rates)
    return (
        [IntervalPlot(title=message("Attack success rate by true class"), unit="share", points=points)]
        if points
        else []
    )


def success_curve(outcomes: Outcomes, ctx: Context) -> list[Evidence]:
    """Success against the budget of queries."""
    points = curve(outcomes, ctx)
    if not points:
        return []
    return [
        Curve(
            title=message("Attacks that succeed within so many queries"),
            x_label=message("queries an attack may ask"),
            y_label=message("share of attacks that succeed"),
            series=(Series(label=message("all attacked examples"), points=points),),
        )
    ]


def group_plot(read: FeatureReading) -> list[Evidence]:
    """The success rate of every group, and what the number of groups does to the largest gap."""
    points = [_point(name, rate) for name, rate in zip(read.names, read.rates, strict=True)]
    out: list[Evidence] = [
        IntervalPlot(
            title=message("Attack success rate by {feature}", feature=read.feature),
            unit="share",
            points=tuple(points),
            reference=read.pooled,
            reference_label=None if read.pooled is None else message("all groups together"),
        )
    ]
    gap, p = read.gaps
    if isinstance(gap, Measurement) and isinstance(p, Measurement):
        said = message(
            "The largest gap between two of {groups} groups of {feature} is {gap}. The more groups, the larger the gap that "
            "chance alone makes; it makes one as large with a probability of {p}.",
            groups=read.compared,
            feature=read.feature,
            gap=gap.value,
            p=p.value,
        )
        out.append(Note(text=said))
    return out


def group_remarks(read: FeatureReading) -> list[Message]:
    """Drawn examples that belong to no group."""
    if not read.missing:
        return []
    return [
        message(
            "{rows} drawn examples have no {feature}; they are left out of it.", rows=read.missing, feature=read.feature
        )
    ]


def instructive_pairs(rows: pa.Table, features: Sequence[str], shown: int, ctx: Context) -> list[Evidence]:
    """Successful attacks that changed the least, as pairs of texts."""
    found = rows.to_pylist()
    flipped = [i for i, row in enumerate(found) if row["status"] == "succeeded" and row["perturbed"] is not None]
    if not flipped or not shown:
        return []
    by_id = sorted(flipped, key=lambda i: str(found[i]["row_id"]))
    chance = dict(zip(by_id, ctx.rng("pairs").permutation(len(by_id)).tolist(), strict=True))
    waiting: dict[str, list[int]] = {}
    for i in sorted(flipped, key=lambda i: (_changed(found[i]), chance[i])):
        waiting.setdefault(found[i]["label"], []).append(i)
    turns = [waiting[label] for label in sorted(waiting)]
    chosen = [turn[k] for k in range(max(map(len, turns))) for turn in turns if k < len(turn)][:shown]
    return [
        TextPairs(
            title=message("Texts that the attack changed, and the answers to them"),
            chosen_by=_RULE.model_copy(
                update={"params": {"shown": len(chosen), "there": len(flipped), "seed": ctx.seed}}
            ),
            pairs=tuple(
                TextPair(
                    before=found[i]["text"],
                    after=found[i]["perturbed"],
                    before_label=found[i]["prediction"],
                    after_label=found[i]["prediction_after"] or "",
                    note=_note(found[i], features),
                )
                for i in chosen
            ),
        )
    ]


def error_table(rows: pa.Table) -> list[Evidence]:
    """Errors by kind, with the first sentence of each kind; that may quote a text, so it is raw."""
    errors = [text for text in rows.column("error").to_pylist() if text is not None]
    if not errors:
        return []
    kinds = Counter(error_kind(text) for text in errors)
    first = {error_kind(text): text for text in reversed(errors)}
    return [
        Table(
            title=message("Errors by kind"),
            columns=(message("kind"), message("examples"), message("the first of them")),
            rows=tuple(
                (kind, number, first[kind]) for kind, number in sorted(kinds.items(), key=lambda k: (-k[1], k[0]))
            ),
            raw=(2,),
        )
    ]


def error_kind(text: str) -> str:
    """``ValueError`` of ``ValueError: what it said``."""
    return text.partition(":")[0].strip()[:80] or "error"


def _point(label: Label, m: AnyMeasurement) -> IntervalPoint:
    n = m.counts.denominator
    if isinstance(m, Undefined):
        return IntervalPoint(label=label, value=None, n=n, note=m.reason)
    low, high = (m.interval.low, m.interval.high) if m.interval else (None, None)
    return IntervalPoint(label=label, value=m.value, low=low, high=high, n=n)


def _changed(row: dict[str, Any]) -> float:
    return row["words_changed"] / row["words"] if row["words"] else math.inf


def _note(row: dict[str, Any], features: Sequence[str]) -> Message:
    said = message(
        "row {row}: {changed} of {words} words changed, {queries} queries",
        row=row["row_id"], changed=row["words_changed"], words=row["words"], queries=row["queries"],
    )  # fmt: skip
    if row["score_before"] is not None and row["score_after"] is not None:
        said = message(
            "{what}; score of {label} from {before} to {after}",
            what=said, label=row["label"], before=row["score_before"], after=row["score_after"],
        )  # fmt: skip
    if row["similarity"] is not None:
        said = message("{what}; similarity {similarity}", what=said, similarity=row["similarity"])
    groups = ", ".join(f"{f} = {row[GROUP + f]}" for f in features if row[GROUP + f] is not None)
    return message("{what}; {groups}", what=said, groups=groups) if groups else said
