"""Prints two models side by side, measure by measure. It computes nothing: the figures are a verdict's comparisons."""

from __future__ import annotations

from collections.abc import Sequence

from audit.tables import print_table
from probes.evidence import Interval, format_number, slice_name
from reports.record import Comparison, NoComparison


def print_comparisons(
    comparisons: Sequence[Comparison | NoComparison], first: str = "original", second: str = "hardened"
) -> None:
    """A line a measure: both values, how much worse the second is with its interval, and the rows they rest on."""
    columns = ("measure", "slice", first, second, "worse by [interval]", "rows")
    print_table(columns, [_line(c) for c in comparisons])


def _line(c: Comparison | NoComparison) -> tuple[str, ...]:
    if isinstance(c, NoComparison):
        return (c.rule, "", "-", "-", str(c.reason), "")
    worse = f"{format_number(c.drop)} {_ends(c.drop_interval)}".strip()
    return (
        f"{c.instance}:{c.measure}",
        slice_name(c.slice),
        format_number(c.baseline_value),
        format_number(c.value),
        worse,
        str(c.counts.denominator),
    )


def _ends(interval: Interval | None) -> str:
    if interval is None:
        return ""
    low, high = ("-" if end is None else format_number(end) for end in (interval.low, interval.high))
    return f"[{low}, {high}]"
