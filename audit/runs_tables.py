"""Prints a comparison of two runs, and the history of many, to a terminal or a pipe. It words nothing new and computes nothing."""

from __future__ import annotations

from audit.tables import console, print_table, printable
from probes.evidence import Slice, format_number, slice_name
from reports.comparing import KIND_WORDS, MOVEMENT_WORDS, WAY_WORDS, compared_sections
from reports.comparison import CheckChange, Difference, RunComparison, RunFacts
from reports.history import History, RunLine
from reports.record import Ruling
from reports.reviews import DECISION_WORDS
from reports.trending import SIGNED_WORDS, TrendView, trend_views
from reports.wording import ends

MOST_LISTED = 20


def print_comparison(c: RunComparison) -> None:
    """What changed: checks, groups, figures that moved, and what is demanded; then the summary."""
    s, out = compared_sections(c), console()
    for words, run in (("Before", c.before), ("After", c.after)):
        out.print(f"{words}: {printable(_run(run))}")
    if s.checks_moved:
        print_table(("check", "before", "after", "figure before", "figure after"), [_check(x) for x in s.checks_moved])
    if s.groups:
        columns = ("newly harmed group", "figure", "before", "after", "difference [interval]", "p, corrected", "claim")
        print_table(columns, [_harm(g.slice, d, claimed=d in g.claimed) for g in s.groups for d in g.worse])
    moved = [d for i in s.instances for d in i.moved]
    if moved:
        heads = ("figure", "slice", "before", "after", "difference [interval]", "change", "rows", "how")
        print_table(heads, [_difference(d) for d in moved])
    _print_listed("policy", [str(p) for p in c.policy])
    _print_listed("appeared", [f"{KIND_WORDS[x.kind]}: {x.name} {x.after or ''}".rstrip() for x in s.appeared])
    _print_listed("disappeared", [f"{KIND_WORDS[x.kind]}: {x.name} {x.before or ''}".rstrip() for x in s.gone])
    _print_listed("changed", [f"{KIND_WORDS[x.kind]}: {x.name}: {x.before} -> {x.after}" for x in s.altered])
    _print_listed(
        "not compared",
        [
            f"{n.instance}{':' if n.measure else ''}{n.measure} on {slice_name(n.slice)}: {n.reason}"
            for n in c.not_compared
        ],
    )
    if c.harmed_rows is not None:
        _print_listed("newly harmed row", list(c.harmed_rows.harmed))
    out.print("Summary", style="bold")
    for point in s.points:
        out.print(f"  {printable(str(point))}")


def print_history(h: History) -> None:
    """The index of runs, a line a measure, and what could not be read."""
    out = console()
    if h.runs:
        columns = ("decided on", "run", "verdict", "review", "model", "data", "policy", "signed")
        print_table(columns, [_index(r) for r in h.runs])
    views = trend_views(h)
    if views:
        columns_ = ("measure", "slice", "first", "latest [interval]", "checks, oldest first")
        print_table(columns_, [_trend(v) for v in views])
    for b in h.broken:
        out.print(f"not read: {printable(f'{b.folder}: {b.reason}')}")
    for remark in h.remarks:
        out.print(printable(str(remark)))
    out.print(
        f"{len(h.runs)} runs, {len(h.broken)} folders not read; looked {h.depth} folders deep below {printable(h.folder)}."
    )


def _index(r: RunLine) -> tuple[str, ...]:
    enforced = "" if r.enforced else " (NOT ENFORCED)"
    verdict = f"{r.outcome.upper()}{enforced}" if r.problem is None else f"DOES NOT VERIFY: {r.problem}"
    review = f"{DECISION_WORDS[r.review.decision]}, {r.review.by}, {r.review.on}" if r.review else "none"
    if r.review is None and r.reviews:
        review = f"none that counts, of {r.reviews}"
    policy = "none" if r.policy is None else f"{r.policy} {r.policy_version}"
    return (r.decided_on.isoformat(), r.folder, verdict, review, f"{r.subject} {r.subject_digest[:12]}",
            f"{r.data} {r.data_digest[:12]}", policy, str(SIGNED_WORDS[r.signed]))  # fmt: skip


def _trend(v: TrendView) -> tuple[str, ...]:
    first = "-" if v.first is None or v.first.value is None else format_number(v.first.value)
    last = "-" if v.last is None or v.last.value is None else format_number(v.last.value)
    if v.last is not None and v.last.low is not None and v.last.high is not None:
        last += f" [{format_number(v.last.low)} to {format_number(v.last.high)}]"
    return (f"{v.trend.instance}:{v.trend.measure}", slice_name(v.trend.slice), first, last,
            " ".join(o.upper() for o in v.outcomes) or "no check")  # fmt: skip


def _print_listed(word: str, lines: list[str]) -> None:
    out = console()
    for line in lines[:MOST_LISTED]:
        out.print(f"{word}: {printable(line)}")
    if len(lines) > MOST_LISTED:
        out.print(f"{word}: {len(lines) - MOST_LISTED} more; --json lists them")


def _run(run: RunFacts) -> str:
    enforced = "" if run.enforced else " (NOT ENFORCED)"
    policy = "no policy" if run.policy is None else f"{run.policy} {run.policy_version}"
    return (
        f"{run.folder}: {run.outcome.upper()}{enforced}, {run.subject} {run.subject_digest[:12]}, {run.rows} rows,"
        f" {policy}, decided on {run.decided_on}"
    )


def _check(x: CheckChange) -> tuple[str, ...]:
    return (x.name, _outcome(x.before), _outcome(x.after), _figure(x.before), _figure(x.after))


def _outcome(ruling: Ruling | None) -> str:
    return "not made" if ruling is None else ruling.outcome.upper()


def _figure(ruling: Ruling | None) -> str:
    if ruling is None or ruling.value is None:
        return "-"
    sign = ">=" if ruling.check.rule.min is not None else "<="
    return f"{format_number(ruling.value)} {sign} {format_number(ruling.limit)}"


def _harm(group: Slice, d: Difference, *, claimed: bool) -> tuple[str, ...]:
    p = "-" if d.p_holm is None else format_number(d.p_holm)
    return (slice_name(group), f"{d.instance}:{d.measure}", format_number(d.before), format_number(d.after), _moved(d), p,
            "claimed" if claimed else "not claimed")  # fmt: skip


def _difference(d: Difference) -> tuple[str, ...]:
    return (
        f"{d.instance}:{d.measure}",
        slice_name(d.slice),
        format_number(d.before),
        format_number(d.after),
        _moved(d),
        str(MOVEMENT_WORDS[d.movement]),
        str(d.counts.denominator),
        str(WAY_WORDS[d.way]),
    )


def _moved(d: Difference) -> str:
    return f"{format_number(d.difference)} [{ends(d.interval)}]" if d.interval else format_number(d.difference)
