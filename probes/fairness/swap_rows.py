"""The rows of `fairness.identity_swaps`: which texts can be rewritten and how, which of them are drawn, and the table of answers. It asks
no model, and it measures nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fine_tune.predictions import SCORE, PredictionsMeta
from probes.fairness.counterfactual_pairs import TEXT
from probes.fairness.rewriting import Finding, Rewriter
from probes.fairness.wordlists import WordList

if TYPE_CHECKING:
    import pyarrow as pa

    from fine_tune.data import AuditData
    from probes.probe import Context

_HAN = re.compile(r"[\u3400-\u9fff]")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A text that can be rewritten; ``variants`` by identity, None for the one that it names as it is."""

    row: int
    finding: Finding
    variants: Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the table; ``row`` is the text's position in the data."""

    row: int
    feature: str
    identity: str
    original: bool
    text: str


def _variants(rewriter: Rewriter, text: str, finding: Finding) -> dict[str, str | None]:
    out: dict[str, str | None] = {}
    (own,) = finding.identities
    for number, identity in enumerate(rewriter.attribute.identities):
        changed = None if number == own else rewriter.rewrite(text, finding, number)
        if number == own or changed is not None:
            out[identity] = changed
    return out


def find_swappable(
    lists: Mapping[str, WordList], texts: Sequence[str], ctx: Context
) -> tuple[dict[str, list[Found]], dict[str, Any]]:
    """Every text that can be rewritten, by attribute; and what was seen on the way.

    Args:
        lists: the word list for texts with a Chinese character (zh) and for others (en).
        texts: all of them.
        ctx: for progress.
    """
    rewriters = {language: [Rewriter(one, a) for a in one.attributes] for language, one in lists.items()}
    identities: dict[str, list[str]] = {}
    for one in lists.values():
        for a in one.attributes:
            identities[a.name] = list(dict.fromkeys((*identities.get(a.name, ()), *a.identities)))
    found: dict[str, list[Found]] = {name: [] for name in identities}
    mixed: Counter[str] = Counter()
    stuck: Counter[str] = Counter()
    nobody = 0
    for i, text in enumerate(ctx.progress(texts, len(texts), "looking for who is meant")):
        seen = False
        for rewriter in rewriters["zh" if _HAN.search(text) else "en"]:
            finding = rewriter.find(text)
            if not finding.spots:
                continue
            seen, name = True, rewriter.attribute.name
            if len(finding.identities) > 1:
                mixed[name] += 1
                continue
            variants = _variants(rewriter, text, finding)
            if len(variants) > 1:
                found[name].append(Found(row=i, finding=finding, variants=variants))
            else:
                stuck[name] += 1
        nobody += not seen
    facts = {
        "texts": len(texts), "nobody": nobody, "attributes": identities, "mixed": dict(mixed), "stuck": dict(stuck),
        "swappable": {name: len(many) for name, many in found.items() if many},
        "ruled": {name: ruled for name, many in found.items() if (ruled := sum(one.finding.ruled for one in many))},
    }  # fmt: skip
    return found, facts


def draw(found: Sequence[Found], data: AuditData, name: str, examples: int | None, ctx: Context) -> Iterable[Line]:
    """The rows of the texts that are drawn; the order of the rows in the data does not matter."""
    ids, inputs = data.row_ids, data.inputs
    ordered = sorted(found, key=lambda one: ids[one.row])
    if examples is not None and examples < len(ordered):
        picked = ctx.rng(f"examples/{name}").choice(len(ordered), size=examples, replace=False)
        ordered = [ordered[i] for i in np.sort(picked).tolist()]
    for one in ordered:
        for identity, text in one.variants.items():
            original = text is None
            yield Line(
                row=one.row,
                feature=name,
                identity=identity,
                original=original,
                text=inputs[one.row] if text is None else text,
            )


def table_of(
    data: AuditData, lines: Sequence[Line], spoken: Sequence[tuple[str, Any]], meta: PredictionsMeta
) -> pa.Table:
    """One row a line, with the class that was named and the scores; columns as `IdentitySwaps.collect` says."""
    import pyarrow as pa

    from fine_tune.data import content_digest

    ids, labels, string = data.row_ids, data.labels, pa.string()
    seen: Counter[int] = Counter()
    units = []
    for line in lines:
        units.append(seen[line.row])
        seen[line.row] += 1
    columns: list[tuple[str, pa.DataType, list[Any]]] = [
        ("row_id", string, [ids[x.row] for x in lines]),
        ("unit_id", pa.int32(), units),
        ("feature", string, [x.feature for x in lines]),
        ("identity", string, [x.identity for x in lines]),
        ("original", pa.bool_(), [x.original for x in lines]),
        ("label", string, [labels[x.row] for x in lines]),
        ("prediction", string, [said for said, _ in spoken]),
        *((SCORE + c, pa.float64(), [float(s[k]) for _, s in spoken]) for k, c in enumerate(meta.classes)),
    ]
    if data.clusters is not None:
        clusters = data.clusters
        columns.append(("cluster", string, [clusters[x.row] for x in lines]))
    columns += [
        (TEXT, string, [x.text for x in lines]),
        ("content", string, [content_digest(x.text) for x in lines]),
    ]
    return pa.table([pa.array(v, type=t) for _, t, v in columns], names=[name for name, _, _ in columns])
