"""Thresholds for the groups of one feature or intersection, fitted on one half of the rows, and how they are stored.

What was fitted travels with the rows, so that figures are recomputed from the same thresholds whatever version of
fairlearn is installed then. It measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.engines.fairlearn import Criterion, Objective, randomised_rules, version
from probes.errors import ProbeError
from probes.fairness.grouping import Grouping
from probes.fairness.threshold_search import Ladder, finest, search
from probes.intervals import Bool, Float, Int
from probes.threshold_rules import ThresholdRule

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"plumbline.mitigation"
FIXED, BY_LOT = "fixed", "by_lot"
EQUALISED: dict[Criterion, tuple[str, ...]] = {
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("recall",),
    "predictive_equality": ("false_positive_rate",),
    "equalized_odds": ("recall", "false_positive_rate"),
}


@dataclass(frozen=True, kw_only=True)
class Binary:
    """One class against the rest, one entry a row.

    Attributes:
        scores: of the positive class.
        truly: the label is the positive class; false where it is unknown.
        known: there is a label.
        chosen: the present model gives the positive label.
        clusters: codes, or None.
    """

    scores: Float
    truly: Bool
    known: Bool
    chosen: Bool
    clusters: Int | None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What thresholds are fitted for."""

    criterion: Criterion
    objective: Objective
    slack: float
    points: int
    min_group: int


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What was fitted for one feature or intersection.

    Attributes:
        features: its names.
        groups: those with enough rows, each by its value in every feature.
        rows: labelled rows of each in the fitting half.
        left_out: groups with too few rows, or rows of one label only; the present model goes on deciding them.
        width: what fixed thresholds were allowed to differ by in the fitting half.
        rules: by kind, `FIXED` and `BY_LOT`: one rule a group.
        frontier: widths allowed in the fitting half, ascending, with the fixed rules of each.
    """

    features: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    rows: tuple[int, ...]
    left_out: tuple[tuple[str, ...], ...]
    width: float
    rules: dict[str, tuple[ThresholdRule, ...]]
    frontier: tuple[tuple[float, tuple[ThresholdRule, ...]], ...]

    def encode(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "features": self.features, "groups": self.groups, "rows": self.rows, "left_out": self.left_out,
            "width": self.width, "rules": {k: [r.encode() for r in v] for k, v in self.rules.items()},
            "frontier": [[w, [r.encode() for r in rules]] for w, rules in self.frontier],
        }  # fmt: skip

    @classmethod
    def decode(cls, body: dict[str, Any]) -> Fit:
        """Back from `encode`."""

        def rules(values: list[list[float | str]]) -> tuple[ThresholdRule, ...]:
            return tuple(ThresholdRule.decode(v) for v in values)

        return cls(
            features=tuple(body["features"]),
            groups=tuple(tuple(g) for g in body["groups"]),
            rows=tuple(body["rows"]),
            left_out=tuple(tuple(g) for g in body["left_out"]),
            width=float(body["width"]),
            rules={kind: rules(values) for kind, values in body["rules"].items()},
            frontier=tuple((float(w), rules(values)) for w, values in body["frontier"]),
        )


def fit_groups(grouping: Grouping, first: Bool, binary: Binary, asked: Asked) -> Fit:
    """Fit both kinds of rule and the frontier on the rows where ``first``."""
    usable = first & binary.known & (grouping.codes >= 0)
    sizes = np.bincount(grouping.codes[usable], minlength=len(grouping))
    positives = np.bincount(grouping.codes[usable & binary.truly], minlength=len(grouping))
    enough = (sizes >= asked.min_group) & (positives > 0) & (positives < sizes)
    kept = np.flatnonzero(enough)
    out = Fit(
        features=grouping.features,
        groups=tuple(grouping.names[int(g)] for g in kept),
        rows=tuple(int(n) for n in sizes[kept]),
        left_out=tuple(grouping.names[int(g)] for g in np.flatnonzero(~enough)),
        width=0.0,
        rules={},
        frontier=(),
    )
    if len(kept) < 2:
        return out
    place = np.full(len(grouping) + 1, -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    codes = place[grouping.codes]
    at = usable & (codes >= 0)
    scores, truly, codes, chosen = binary.scores[at], binary.truly[at], codes[at], binary.chosen[at]
    ladders = [Ladder.of(scores[codes == g], truly[codes == g]) for g in range(len(kept))]
    rates, balanced = EQUALISED[asked.criterion], asked.objective == "balanced_accuracy"
    least = finest(ladders, rates)
    width = max(asked.slack, least)

    def fixed(allowed: float) -> tuple[ThresholdRule, ...]:
        return tuple(ThresholdRule.fixed(t) for t in search(ladders, rates, allowed, balanced=balanced))

    present = _present_gap(rates, chosen, truly, codes, len(kept))
    allowed = [*np.linspace(least, max(present, least), asked.points).tolist(), 1.0]
    return Fit(
        features=out.features, groups=out.groups, rows=out.rows, left_out=out.left_out, width=width,
        rules={FIXED: fixed(width), BY_LOT: randomised_rules(scores, truly, codes, asked.criterion, asked.objective)},
        frontier=tuple((w, fixed(w)) for w in dict.fromkeys(allowed)),
    )  # fmt: skip


def _present_gap(rates: Sequence[str], chosen: Bool, truly: Bool, codes: Int, size: int) -> float:
    inside = {"selection_rate": np.ones(len(truly), dtype=bool), "recall": truly, "false_positive_rate": ~truly}
    gaps = []
    for name in rates:
        rows = np.bincount(codes[inside[name]], minlength=size)
        share = np.bincount(codes[inside[name] & chosen], minlength=size) / rows
        gaps.append(float(share.max() - share.min()))
    return max(gaps)


def with_fits(rows: pa.Table, fits: Sequence[Fit]) -> pa.Table:
    """The rows, with what was fitted in the schema's metadata."""
    body = {"fairlearn": version(), "fits": [f.encode() for f in fits]}
    kept = dict(rows.schema.metadata or {})
    return rows.replace_schema_metadata({**kept, METADATA_KEY: json.dumps(body, ensure_ascii=False).encode()})


def fits_of(rows: pa.Table) -> tuple[str, tuple[Fit, ...]]:
    """fairlearn's version when it was fitted, and what was.

    Raises:
        ProbeError: the rows carry no thresholds.
    """
    raw = (rows.schema.metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise ProbeError(
            "the rows carry no thresholds", expected="rows that fairness.mitigation collected", fix="collect them again"
        )
    body = json.loads(raw)
    return str(body["fairlearn"]), tuple(Fit.decode(f) for f in body["fits"])
