"""Whom a newer run treats worse than an older one: groups whose figure got worse, with the whole interval beyond 0.

Pure, and careful with the word: a group is listed where its own interval leaves no doubt, and claimed only where that still
holds after a correction for all group figures that were compared (Holm). It measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

from probes.evidence import Message, Slice, message
from reports.comparison import Difference
from reports.record import Comparison, NoComparison
from reports.wording import listed

_NAMED = 6


@dataclass(frozen=True, kw_only=True)
class HarmedGroup:
    """A group and its figures that got worse; ``claimed`` are those of them that hold after the correction."""

    slice: Slice
    worse: tuple[Difference, ...]
    claimed: tuple[Difference, ...]


def harmed_groups(differences: Iterable[Difference], level: float) -> tuple[HarmedGroup, ...]:
    """Groups with a figure that got worse, those with a claim first, then in the order of the differences.

    A slice that names more than a group (a class too, say) counts with the group that it names.
    """
    found: dict[Slice, list[Difference]] = {}
    for d in differences:
        if d.of_group and d.movement == "worse":
            found.setdefault(tuple(a for a in d.slice if a.kind == "group"), []).append(d)
    groups = [HarmedGroup(slice=s, worse=tuple(worse), claimed=tuple(d for d in worse if is_claim(d, level)))
              for s, worse in found.items()]  # fmt: skip
    return tuple(sorted(groups, key=lambda g: not g.claimed))


def is_claim(difference: Difference, level: float) -> bool:
    """It may be said of a group that this figure got worse, all group figures that were compared taken together."""
    return difference.movement == "worse" and difference.p_holm is not None and difference.p_holm <= 1 - level


def worse_groups(comparisons: Iterable[Comparison | NoComparison]) -> tuple[Comparison, ...]:
    """A verdict's comparisons with a baseline by which a group is worse off, the whole interval of the drop beyond 0.

    These are the figures that rules ask for, each with its own interval; no claim over all of them together.
    """
    return tuple(
        c
        for c in comparisons
        if isinstance(c, Comparison)
        and any(a.kind == "group" for a in c.slice)
        and c.drop_interval is not None
        and c.drop_interval.low is not None
        and c.drop_interval.low > 0
        and not c.drop_interval.degenerate
    )


def harm_headline(groups: Iterable[HarmedGroup], compared: int, level: float) -> Message:
    """Which groups are worse off, and how sure that is, with the number of figures that were compared."""
    found = tuple(groups)
    claimed, alpha = [g for g in found if g.claimed], f"{100 * (1 - level):.3g} %"
    if not compared:
        return message("No figure of a group could be compared, so nothing is known of newly harmed groups.")
    if not found:
        return message(
            "No group was found worse off, in {compared} figures of groups that were compared.", compared=compared
        )
    if not claimed:
        return message(
            "Groups with a figure that got worse by its own interval: {names}. For none of them it still holds after a"
            " correction for all {compared} figures of groups that were compared (Holm, together at {alpha}).",
            names=_named(found), compared=compared, alpha=alpha,
        )  # fmt: skip
    if len(claimed) == len(found):
        return message(
            "Newly harmed groups: {names}; it holds after a correction for all {compared} figures of groups that were compared"
            " (Holm, together at {alpha}).", names=_named(claimed), compared=compared, alpha=alpha,
        )  # fmt: skip
    others = [g for g in found if not g.claimed]
    return message(
        "Newly harmed groups: {names}; it holds after a correction for all {compared} figures of groups that were compared"
        " (Holm, together at {alpha}). Worse by its own interval alone: {others}.",
        names=_named(claimed), compared=compared, alpha=alpha, others=_named(others),
    )  # fmt: skip


def _named(groups: Sequence[HarmedGroup]) -> Message:
    named = [listed([a.selector for a in g.slice]) for g in groups[:_NAMED]]
    if len(groups) > _NAMED:
        named.append(listed([f"+{len(groups) - _NAMED}"]))
    return reduce(lambda one, more: message("{one}; {more}", one=one, more=more), named)
