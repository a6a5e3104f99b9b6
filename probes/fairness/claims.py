"""When `fairness.groups` says "there is a gap": where chance and the interval agree, all gaps of a feature taken together.

It claims a gap only if the p-value, corrected by Holm for the number of gaps that were compared, is at most 1 - level, and the
lower end of the gap's own interval is above 0. It never claims that there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from probes.evidence import Cell, Evidence, Message, Note, Table, message
from probes.fairness.gap_measures import ComparedGap
from probes.fairness.grouping import Grouping
from probes.multiplicity import holm
from probes.permutation import Exchange
from probes.reasons import naming


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One gap with its corrected p-value, and whether it is shown."""

    tested: ComparedGap
    adjusted: float
    shown: bool

    @property
    def metric(self) -> str:
        return self.tested.difference.name

    @property
    def name_of_class(self) -> str:
        """The class in the slice, or an empty string."""
        return next((a.name for a in self.tested.difference.slice if a.kind == "class"), "")


def claims(tested: Sequence[ComparedGap], level: float) -> tuple[Claim, ...]:
    """Decide for each gap; they are corrected for one another (Holm 1979)."""
    # A rounding error must not decide: 1 - 0.95 is a little above 0.05, and 1 - 0.9 a little below 0.1.
    alpha = 1 - level + 1e-12
    out = []
    for one, adjusted in zip(tested, holm([t.p for t in tested]), strict=True):
        interval = one.difference.interval
        above = interval is not None and interval.low is not None and interval.low > 0
        out.append(Claim(tested=one, adjusted=float(adjusted), shown=bool(adjusted <= alpha) and above))
    return tuple(out)


def claims_evidence(grouping: Grouping, found: Sequence[Claim], level: float) -> list[Evidence]:
    """The table of gaps and the rule behind its last column; nothing where nothing was compared."""
    if not found:
        return []
    classes = any(c.name_of_class for c in found)
    lines: list[tuple[Cell, ...]] = []
    for claim in found:
        d = claim.tested.difference
        low, high = (d.interval.low, d.interval.high) if d.interval else (None, None)
        shown = message("yes") if claim.shown else message("no")
        named: tuple[Cell, ...] = (claim.metric, claim.name_of_class or None) if classes else (claim.metric,)
        lines.append((*named, d.value, low, high, claim.tested.p, claim.adjusted, shown))
    heads = (message("metric"), message("class")) if classes else (message("metric"),)
    table = Table(
        title=message("Gaps between groups of {feature}", feature=grouping.title),
        columns=(
            *heads, message("gap"), message("low"), message("high"), message("p-value"), message("p-value (Holm)"),
            message("gap shown"),
        ),
        rows=tuple(lines),
    )  # fmt: skip
    rule = message(
        "A gap is said to be shown where both agree: the p-value, corrected for {compared} gaps (Holm), is at most "
        "{alpha}, and the interval's lower end is above 0. A gap that is not shown may still be there.",
        compared=len(found),
        alpha=round(1 - level, 12),
    )
    return [table, Note(text=rule)]


def claims_remarks(grouping: Grouping, found: Sequence[Claim], level: float, draws: int) -> list[Message]:
    """What may be said of a feature, with how many gaps were compared."""
    if not found:
        return []
    shown = [_named(c) for c in found if c.shown]
    if shown:
        few = message(
            "Gaps between groups of {feature} are shown in {shown} of {compared} comparisons: {names}.",
            feature=grouping.title,
            shown=len(shown),
            compared=len(found),
        )
        many = message(
            "Gaps between groups of {feature} are shown in {shown} of {compared} comparisons: {names} and {more} more.",
            feature=grouping.title,
            shown=len(shown),
            compared=len(found),
        )
        out = [naming(few, many, shown)]
    else:
        out = [
            message(
                "No gap between groups of {feature} is shown in {compared} comparisons, which does not show that there is "
                "none.",
                feature=grouping.title,
                compared=len(found),
            )
        ]
    needed = math.ceil(len(found) / (1 - level) - 1e-9) - 1
    if draws < needed:
        out.append(
            message(
                "{draws} random regroupings are too few for any of the {compared} gaps of {feature} to be shown first; set "
                "`permutations` to {needed} or more.",
                draws=draws,
                compared=len(found),
                feature=grouping.title,
                needed=needed,
            )
        )
    return out


def exchange_remark(grouping: Grouping, how: Exchange) -> Message:
    """How clusters entered the p-values of a feature."""
    if not how.within:
        return message(
            "Every cluster lies in one group of {feature}: p-values exchange whole clusters ({whole}) between groups.",
            feature=grouping.title,
            whole=how.whole,
        )
    if not how.whole:
        return message(
            "Every cluster holds several groups of {feature}: p-values exchange rows within the {within} clusters.",
            feature=grouping.title,
            within=how.within,
        )
    return message(
        "p-values of {feature} exchange rows within the {within} clusters that hold several groups, and the {whole} clusters "
        "that lie in one group as wholes.",
        feature=grouping.title,
        within=how.within,
        whole=how.whole,
    )


def _named(claim: Claim) -> str:
    return f"{claim.metric} ({claim.name_of_class})" if claim.name_of_class else claim.metric
