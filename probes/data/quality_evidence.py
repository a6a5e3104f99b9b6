"""What `data.quality` shows beside its figures: tables of rows by their ids, words that tell groups apart, and remarks. No input is shown,
nor any part of one but words that many texts hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from probes.data.personal import KINDS
from probes.data.quality_figures import Sheet
from probes.evidence import (
    Cell,
    Evidence,
    IntervalPlot,
    IntervalPoint,
    Measurement,
    Message,
    Table,
    Undefined,
    message,
)
from probes.intervals import tail_of
from probes.reasons import naming

SHOWN = 10
IDS = 5
_CLASSES = 60

_KIND_NAMES = {
    "email": message("e-mail address"), "iban": message("bank account (IBAN)"),
    "cn_id": message("Chinese resident identity number"), "card": message("payment card number"),
    "us_ssn": message("US social security number"), "ip_address": message("public internet address"),
    "phone": message("telephone number"),
}  # fmt: skip


def evidence(sheet: Sheet) -> tuple[Evidence, ...]:
    """The tables and plots that have something to show."""
    if not sheet.n:
        return ()
    found: list[Evidence | None] = [
        _balance(sheet), _clusters(sheet), _conflicts(sheet), _leaks(sheet), _suspects(sheet), _areas(sheet),
        _words(sheet), _personal(sheet),
    ]  # fmt: skip
    return tuple(one for one in found if one is not None)


def _balance(sheet: Sheet) -> Table | None:
    cells: list[tuple[Cell, ...]] = []
    for feature in sheet.features if sheet.classes else ():
        names, rates = sheet.shares(feature)
        for g, group in enumerate(names):
            if not rates[0].denominators[g]:
                cells.append((feature, group, None, 0, 0, None, None, None))
                continue
            for name, rate in zip(sheet.classes, rates, strict=True):
                (low,), (high,) = rate.select(np.array([g])).limits(tail_of(sheet.level))
                hits, rows = int(rate.successes[g]), int(rate.denominators[g])
                cells.append((feature, group, name, hits, rows, hits / rows, float(low), float(high)))
    if not cells:
        return None
    return Table(
        title=message("Labels by group: the first {shown} of {there} lines", shown=min(len(cells), _CLASSES), there=len(cells)),
        columns=(
            message("feature"), message("group"), message("label"), message("rows with it"), message("labelled rows"),
            message("share"), message("low"), message("high"),
        ),
        rows=tuple(cells[:_CLASSES]),
    )  # fmt: skip


def _clusters(sheet: Sheet) -> Table | None:
    """The largest sets of copies and near copies."""
    name = "near" if "near" in sheet.rows else "content"
    members: dict[str, list[int]] = {}
    for i, key in enumerate(sheet.rows[name]):
        if key is not None:
            members.setdefault(key, []).append(i)
    large = sorted((rows for rows in members.values() if len(rows) > 1), key=lambda rows: (-len(rows), rows[0]))
    if not large:
        return None
    cells = tuple(
        (
            len(rows), len({sheet.rows["content"][i] for i in rows}),
            _listed({sheet.rows["label"][i] for i in rows} - {None}), _listed(sheet.rows["row_id"][i] for i in rows),
        )
        for rows in large[:SHOWN]
    )  # fmt: skip
    title = message(
        "Rows that are copies or near copies of one another: the {shown} largest of {there} sets",
        shown=len(cells),
        there=len(large),
    )
    columns = (message("rows"), message("different inputs"), message("labels"), message("row ids"))
    return Table(title=title, columns=columns, rows=cells)


def _conflicts(sheet: Sheet) -> Table | None:
    sets: dict[str, list[int]] = {}
    for i in sheet.marked("conflict").tolist():
        sets.setdefault(sheet.rows["content"][i], []).append(i)
    if not sets:
        return None
    found = sorted(sets.values())
    cells = tuple(
        (len(rows), _listed({sheet.rows["label"][i] for i in rows}), _listed(sheet.rows["row_id"][i] for i in rows))
        for rows in found[:SHOWN]
    )
    return Table(
        title=message(
            "Equal inputs with different labels: the first {shown} of {there}", shown=len(cells), there=len(found)
        ),
        columns=(message("rows"), message("labels"), message("row ids")),
        rows=cells,
    )


def _leaks(sheet: Sheet) -> Table | None:
    likeness, ids = sheet.rows.get("training_likeness"), sheet.rows.get("training_id")
    if likeness is None or ids is None:
        return None
    found = sorted((-v, sheet.rows["row_id"][i], ids[i]) for i, v in enumerate(likeness) if v is not None)
    if not found:
        return None
    return Table(
        title=message(
            "Audited rows that a training row equals or nearly equals: the {shown} most alike of {there}",
            shown=min(SHOWN, len(found)), there=len(found),
        ),
        columns=(message("row"), message("training row"), message("similarity")),
        rows=tuple((row, other, -v) for v, row, other in found[:SHOWN]),
    )  # fmt: skip


def _suspects(sheet: Sheet) -> Table | None:
    told, found = sheet.relabelled, list[tuple[float, str, str, str, float, float]]()
    if told is None:
        return None
    for k in np.flatnonzero(told.suspect).tolist():
        i = int(told.at[k])
        scores, given, sure = sheet.rows["label_scores"][i], int(told.given[k]), int(told.sure[k])
        found.append(
            (
                scores[given] - scores[sure], sheet.rows["row_id"][i], told.classes[given], told.classes[sure],
                scores[given], scores[sure],
            )
        )  # fmt: skip
    if not found:
        return None
    found.sort()
    return Table(
        title=message(
            "Labels to look at again: the {shown} of {there} that the simple model contradicts most", shown=min(SHOWN, len(found)),
            there=len(found),
        ),
        columns=(
            message("row"), message("label"), message("suggested label"), message("score of the label"),
            message("score of the suggestion"),
        ),
        rows=tuple(line[1:] for line in found[:SHOWN]),
    )  # fmt: skip


def _areas(sheet: Sheet) -> IntervalPlot | None:
    points = []
    for m in sheet.measurements:
        if m.name != "proxy_auc" or not m.slice:
            continue
        label = m.slice[0].selector
        if isinstance(m, Undefined):
            points.append(IntervalPoint(label=label, value=None, n=m.counts.denominator, note=m.reason))
        elif m.interval is not None:
            points.append(
                IntervalPoint(label=label, value=m.value, low=m.interval.low, high=m.interval.high, n=m.counts.smallest)
            )
    if not points:
        return None
    return IntervalPlot(
        title=message("How well words tell who is meant: ROC AUC of a simple model, by feature and group"),
        points=tuple(points),
        reference=0.5,
        reference_label=message("words say nothing"),
    )


def _words(sheet: Sheet) -> Table | None:
    cells: list[tuple[Cell, ...]] = []
    for feature in sheet.features:
        facts = sheet.facts["models"].get(feature, {})
        for group, words in zip(facts.get("classes", ()), facts.get("telling", ()), strict=False):
            for word, weight, inside, texts in words[:IDS]:
                cells.append((feature, group, word, weight, inside, texts))
    if not cells:
        return None
    return Table(
        title=message("Words that give a group away; each stands in ten of its independent texts at least"),
        columns=(
            message("feature"), message("group"), message("word"), message("weight"), message("texts of the group with it"),
            message("texts with it"),
        ),
        rows=tuple(cells),
    )  # fmt: skip


def _personal(sheet: Sheet) -> Table | None:
    if "personal" not in sheet.rows:
        return None
    cells = []
    for kind in KINDS:
        rows = [sheet.rows["row_id"][i] for i, found in enumerate(sheet.rows["personal"]) if kind in found]
        cells.append((_KIND_NAMES[kind], len(rows), _listed(rows) or None))
    return Table(
        title=message("What looks like personal data; what was found is neither kept nor shown"),
        columns=(message("kind"), message("rows"), message("row ids")),
        rows=tuple(cells),
    )


def _listed(names: Iterable[str]) -> str:
    """Up to five of them, and how many more there are."""
    found = sorted(set(names))
    return ", ".join(found[:IDS]) + (f" (+{len(found) - IDS})" if len(found) > IDS else "")


def remarks(sheet: Sheet) -> tuple[Message, ...]:
    """What the figures rest on, and what was left out of them."""
    facts, out = sheet.facts, list[Message]()
    if not sheet.n:
        return ()
    training = facts["training"]
    if "reason" in training:
        out.append(message("Leakage was not looked for: {reason}", reason=Message(**training["reason"])))
    elif training["proven"]:
        out.append(
            message(
                "Compared with the {rows} rows of {name} that the training record names.",
                rows=training["rows"],
                name=training["name"],
            )
        )
    else:
        out.append(
            message(
                "Compared with all {rows} rows of {name}, which the plan names as training data; no training record confirms it.",
                rows=training["rows"], name=training["name"],
            )
        )  # fmt: skip
    if "no_text" in facts:
        return (*out, Message(**facts["no_text"]))
    if "near_reason" not in facts:
        out.append(_near_copies(sheet))
    if facts["model_rows"] < sheet.n:
        out.append(
            message(
                "Simple models looked at {rows} of {there} rows, drawn at random.",
                rows=facts["model_rows"],
                there=sheet.n,
            )
        )
    units = len(np.unique(sheet.units))
    if units < sheet.n:
        out.append(
            message(
                "{rows} rows are {units} independent units: near copies and rows of one cluster count as one.",
                rows=sheet.n,
                units=units,
            )
        )
    return (*out, *_small(sheet), *_flat(sheet))


def _near_copies(sheet: Sheet) -> Message:
    return message(
        "Near copies share {threshold%} of their shingles of {size} characters; a pair exactly that alike is missed with a probability of "
        "{missed}, a more similar one less.",
        threshold=sheet.facts["threshold"], size=sheet.facts["shingle"], missed=sheet.facts["missed"],
    )  # fmt: skip


def _small(sheet: Sheet) -> list[Message]:
    out = []
    for target, facts in sheet.facts["models"].items():
        if facts["small"]:
            few = message("Too few rows of {names} for a simple model of {target}.", target=target or message("labels"))
            many = message(
                "Too few rows of {names} and {more} more for a simple model of {target}.",
                target=target or message("labels"),
            )
            out.append(naming(few, many, facts["small"]))
    return out


def _flat(sheet: Sheet) -> list[Message]:
    """Groups that are told apart without an error have an interval of no width, which is not certainty."""
    times = Counter(
        m.slice[0].selector
        for m in sheet.measurements
        if isinstance(m, Measurement) and m.name == "proxy_auc" and m.interval is not None and m.interval.degenerate
    )
    if not times:
        return []
    few = message("Every row of {names} is told from the rest; the interval shows no variation, which is no certainty.")
    many = message(
        "Every row of {names} and {more} more is told from the rest; the interval shows no variation, which is no certainty."
    )
    return [naming(few, many, sorted(times))]
