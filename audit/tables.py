"""Prints verdicts, probes and lists to a terminal or a pipe. It words nothing new and decides nothing.

Names and slices come from data: they are printed as plain text, never as markup, and without control characters.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from probes.evidence import Interval, ProbeInfo, format_number, slice_name

if TYPE_CHECKING:
    from rich.console import Console

    from audit.api import PlannedStep
    from audit.frontier import Frontier
    from audit.power import Resolution
    from audit.reproduction import Reproduction
    from audit.steadiness import Steadiness
    from reports.record import Ruling, Verdict

PIPED_WIDTH = 160
_ORDER = ("error", "fail", "inconclusive", "waived", "pass")
_STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "waived": "cyan", "error": "bold magenta"}


def console() -> Console:
    """Standard output; wide enough for tables where it is a pipe, whose width nobody knows."""
    from rich.console import Console

    out = Console(highlight=False, markup=False, emoji=False)
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = PIPED_WIDTH
    return out


def printable(text: str) -> str:
    """Text without control characters, which could steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, styled: str = "") -> None:
    """A table of text; the column ``styled`` is coloured by its outcome. Long cells fold, so nothing is cut off."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        cells = [printable(cell) for cell in row]
        styles = [_STYLES.get(c.lower(), "") if name == styled else "" for name, c in zip(columns, cells, strict=True)]
        table.add_row(*(Text(c, style=s) for c, s in zip(cells, styles, strict=True)))
    console().print(table)


def print_verdict(verdict: Verdict) -> None:
    """Every ruling, those that need action first; then the verdict with its reasons and warnings."""
    rulings = sorted(verdict.rulings, key=lambda r: _ORDER.index(r.outcome))
    if rulings:
        columns = ("rule", "slice", "outcome", "value [interval]", "limit")
        print_table(columns, [_ruling_row(r) for r in rulings], styled="outcome")
    out = console()
    enforced = "" if verdict.enforced else " (NOT ENFORCED)"
    out.print(f"Verdict: {verdict.outcome.upper()}{enforced}", style=_STYLES[verdict.outcome])
    for reason in verdict.reasons:
        out.print(f"  {printable(str(reason))}")
    for warning in (*verdict.warnings, *(verdict.lock.differences if verdict.lock else ())):
        out.print(f"  warning: {printable(str(warning))}")


def print_frontier(done: Frontier) -> None:
    """A line a twin: what it spent, how good it is, what of its rows can be found, and what its own audit decided."""
    measures = ("epsilon", "accuracy", "accuracy_cost", "calibration_error", "membership_auc")
    rows = []
    for twin, result in done.twins.items():
        found = [done.figure(twin, name) for name in measures]
        cells = ["-" if m is None else f"{format_number(m.value)} {_interval(m.interval)}".strip() for m in found]
        took = done.seconds[twin]
        outcome = "-" if result.verdict.policy is None else result.verdict.outcome.upper()
        rows.append((twin, *cells, "-" if took is None else f"{took:.0f} s", outcome))
    columns = (
        "twin",
        "epsilon spent",
        "accuracy",
        "cost",
        "calibration error",
        "membership AUC",
        "trained in",
        "outcome",
    )
    print_table(columns, rows, styled="outcome")


def print_steps(steps: Sequence[PlannedStep]) -> None:
    """A dry run: a line a step, and what is to do with the time that it took before."""
    rows = [(s.instance, s.probe, s.status, "" if s.seconds is None else f"{s.seconds:.1f} s", s.reason) for s in steps]
    print_table(("instance", "probe", "status", "took before", "reason"), rows)
    known = [s.seconds for s in steps if s.seconds is not None]
    todo = sum(s.status in ("to do", "train") for s in steps)
    console().print(f"To do: {todo} of {len(steps)} steps; {len(known)} of them took {sum(known):.1f} s before.")


def print_resolutions(resolutions: Sequence[Resolution]) -> None:
    """A line a check: its limit, and the true values from which a run of this size mostly passes or fails."""
    from audit.power import POWER

    def shown(value: float | None, found: Resolution) -> str:
        if found.effect is None:
            return "-"
        return "no possible value" if value is None else format_number(value)

    rows = [
        (
            r.ruling.check.name,
            str(r.ruling.counts.denominator) if r.ruling.counts else "-",
            format_number(r.ruling.limit),
            shown(r.passes, r),
            shown(r.fails, r),
            "-" if r.effect is None else format_number(r.effect),
        )
        for r in resolutions
    ]
    print_table(("check", "rows", "limit", "passes from", "fails from", "smallest effect decided"), rows)
    out = console()
    out.print(
        f"True values from which a run of this size passes or fails with probability {POWER}, if its intervals are as wide."
    )


def print_steadiness(found: Steadiness) -> None:
    """A line a check, those that flip most first; then the flip rates, and what was left out."""
    words = ("pass", "fail", "inconclusive", "error")
    rows = [(c.name, *(str(c.outcomes.get(w, 0)) for w in words), f"{100 * c.flip_rate:.2f} %") for c in found.checks]  # type: ignore[call-overload]
    print_table(("check", *words, "flips"), rows)
    out = console()
    for said in found.left_out:
        out.print(f"  left out: {printable(str(said))}")
    out.print(
        f"{found.replicates} gates on resampled rows. Pairs of them in which some check passes in one and fails in the other: {100 * found.flip_rate:.2f} %."
    )
    valued = [c.name for c in found.checks if c.by_value]
    if valued and found.interval_flip_rate is not None:
        out.print(
            f"Without the checks on a figure that has no interval, or whose interval the policy leaves aside: {100 * found.interval_flip_rate:.2f} %. They are: {printable(', '.join(valued))}."
        )
    out.print(f"Pairs whose verdicts differ so: {100 * found.verdict_flip_rate:.2f} %.")


def print_reproduction(found: Reproduction) -> None:
    """A line a figure, those that differ first with both values in full; then the tolerance and why it is what it is."""

    def told(value: float | None) -> str:
        return "-" if value is None else repr(value)

    figures = sorted(found.figures, key=lambda f: f.same)
    rows = [
        (
            f.measure,
            slice_name(f.slice),
            f.part,
            told(f.stored),
            told(f.again),
            "none" if f.tolerance == 0 else f"{f.tolerance:.2g}",
            "same" if f.same else "DIFFERS",
        )
        for f in figures
    ]
    print_table(("measure", "on", "figure", "in the run", "again", "tolerance", ""), rows)
    out = console()
    for said in found.basis:
        out.print(f"  {printable(str(said))}")
    if found.rows_same is not None:
        out.print(
            "  The rows are the run's, value by value."
            if found.rows_same
            else "  The rows are not the run's, value by value."
        )


def _ruling_row(ruling: Ruling) -> tuple[str, ...]:
    rule = ruling.check.rule
    advisory = " (advisory)" if rule.severity == "advisory" else ""
    kind = next(k for k in ("max", "min", "max_drop") if getattr(rule, k) is not None)
    against = f" from {rule.baseline}" if rule.baseline else ""
    value = "-" if ruling.value is None else format_number(ruling.value)
    return (
        rule.id + advisory,
        slice_name(ruling.check.slice),
        ruling.outcome.upper(),
        f"{value} {_interval(ruling.interval)}".strip(),
        f"{kind} {format_number(ruling.limit)}{against}",
    )


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return ""
    ends = ("-" if end is None else format_number(end) for end in (interval.low, interval.high))
    return f"[{', '.join(ends)}]"


def print_probe(info: ProbeInfo, available: str) -> None:
    """One probe in full: what it asks, its options, what it measures, and what it cannot say."""
    out = console()
    out.print(f"{info.id} ({info.distribution} {info.version})".replace(" )", ")"), style="bold")
    out.print(str(info.asks))
    if info.method:
        out.print(str(info.method))
    out.print(f"Needs: {', '.join(info.needs) or 'nothing'}. Available here: {available}.")
    if info.uses:
        out.print(f"Uses where offered: {', '.join(info.uses)}.")
    if info.parameters:
        out.print("\nOptions", style="bold")
        options = [(p.name, p.type, "required" if p.required else p.default or "", p.help) for p in info.parameters]
        print_table(("option", "type", "default", "what it does"), options)
    out.print("\nMeasures", style="bold")
    measures = [(d.name, _range(d.low, d.high), d.better, str(d.formula), d.source) for d in info.defines]
    print_table(("measure", "range", "better", "formula", "source"), measures)
    if info.limits:
        out.print("Limits", style="bold")
        for limit in info.limits:
            out.print(f"  - {limit}")


def _range(low: float | None, high: float | None) -> str:
    ends = ("unbounded" if end is None else format_number(end) for end in (low, high))
    return " to ".join(ends)
