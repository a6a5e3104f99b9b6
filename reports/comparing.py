"""Two runs on one page: what changed, whom it harmed, and how sure that is, in the order in which a reviewer asks.

Pure: a `RunComparison` in, sections as plain data and a page out. It computes no figure and drops none in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from probes.evidence import IntervalPlot, IntervalPoint, Message, Slice, message
from reports.comparison import Change, CheckChange, Difference, Kind, Movement, NotCompared, RunComparison, Way
from reports.harm import HarmedGroup, harm_headline, harmed_groups
from reports.language import ENGLISH
from reports.shell import whole_page
from reports.wording import level_words, measure_words

_FIRST: dict[Movement, int] = {"worse": 0, "better": 1, "unclear": 2, "neutral": 3, "same": 4}
_ONE_PLOT = 30

MOVEMENT_WORDS: dict[Movement, Message] = {
    "worse": message("worse"),
    "better": message("better"),
    "unclear": message("no clear change"),
    "neutral": message("no better side"),
    "same": message("no change"),
}
WAY_WORDS: dict[Way, Message] = {
    "paired": message("paired on the same rows"),
    "unpaired": message("NOT paired: each run on its own rows"),
    "exact": message("exact"),
}
KIND_WORDS: dict[Kind, Message] = {
    "subject": message("Model"),
    "data": message("Data"),
    "class": message("Class"),
    "feature": message("Sensitive feature"),
    "group": message("Group"),
    "instance": message("Probe instance"),
    "options": message("Option of a probe"),
    "status": message("Status of a probe"),
    "measure": message("Measure"),
    "slice": message("Slice of a measure"),
    "rule": message("Rule"),
    "software": message("Software"),
    "setting": message("Setting of the audit"),
}


@dataclass(frozen=True, kw_only=True)
class Moved:
    """One probe instance's differences: those that moved, the others, and a picture of the moved shares."""

    instance: str
    moved: tuple[Difference, ...]
    rest: tuple[Difference, ...]
    plot: IntervalPlot | None


@dataclass(frozen=True, kw_only=True)
class ComparedSections:
    """What the page says, in its order."""

    points: tuple[Message, ...]
    checks_moved: tuple[CheckChange, ...]
    checks_same: tuple[CheckChange, ...]
    groups: tuple[HarmedGroup, ...]
    groups_headline: Message
    groups_plot: IntervalPlot | None
    instances: tuple[Moved, ...]
    appeared: tuple[Change, ...]
    gone: tuple[Change, ...]
    altered: tuple[Change, ...]
    not_compared: tuple[NotCompared, ...]
    methods: tuple[Message, ...]


def compared_sections(c: RunComparison) -> ComparedSections:
    """The sections of a comparison."""
    groups = harmed_groups(c.differences, c.level)
    return ComparedSections(
        points=tuple(summary_points(c)),
        checks_moved=tuple(x for x in c.checks if x.moved),
        checks_same=tuple(x for x in c.checks if not x.moved),
        groups=groups,
        groups_headline=harm_headline(groups, c.groups_compared, c.level),
        groups_plot=_plot(
            message("Figures of groups that got worse: the change, turned so that right of 0 is worse"),
            [d for g in groups for d in g.worse], turned=True,
        ),
        instances=tuple(_by_instance(c.differences)),
        appeared=tuple(x for x in c.changes if x.before is None),
        gone=tuple(x for x in c.changes if x.after is None),
        altered=tuple(x for x in c.changes if x.before is not None and x.after is not None),
        not_compared=c.not_compared,
        methods=_methods(c),
    )  # fmt: skip


def summary_points(c: RunComparison) -> Iterable[Message]:
    """What changed, a sentence a subject; says so where nothing did, and where it is not known."""
    yield _checks_point(c)
    yield harm_headline(harmed_groups(c.differences, c.level), c.groups_compared, c.level)
    rows = c.harmed_rows
    if rows is not None:
        yield message(
            "Rows right before and wrong now: {harmed} of {labelled} with a label that both runs answered. Wrong before and"
            " right now: {mended}.", harmed=len(rows.harmed), labelled=rows.labelled, mended=rows.mended,
        )  # fmt: skip
    else:
        yield message("Newly harmed rows are not known. {why}", why=c.no_harmed_rows or message("Nobody counted them."))
    yield _figures_point(c)
    unpaired = sum(d.way == "unpaired" for d in c.differences)
    if unpaired:
        yield message("{count} figures are NOT paired: the runs share no rows there, so a change of data looks like one of the model.",
                      count=unpaired)  # fmt: skip
    if c.not_compared:
        yield message(
            "Not compared: {count} figures or probe instances; see the reasons below.", count=len(c.not_compared)
        )
    if c.policy:
        yield message("What is demanded changed in {count} points.", count=len(c.policy))
    elif c.after.policy is None:
        yield message("Neither run was held to a policy.")
    else:
        yield message("Both runs were held to the same demands.")
    yield from c.remarks


def comparison_page(c: RunComparison, language: str = ENGLISH) -> str:
    """The whole page.

    Raises:
        RecordError: there is no catalogue for the language.
    """
    sections = compared_sections(c)
    contents = (
        ("summary", message("Summary")),
        ("checks", message("Checks")),
        ("groups", message("Newly harmed groups")),
        ("rows", message("Newly harmed rows")),
        ("measures", message("Every measure")),
        ("policy", message("Policy")),
        ("changes", message("Appeared and disappeared")),
        ("without", message("Not compared")),
        ("methods", message("Methods and limits")),
    )
    names = {
        "c": c,
        "s": sections,
        "contents": contents,
        "movement_words": MOVEMENT_WORDS,
        "way_words": WAY_WORDS,
        "kind_words": KIND_WORDS,
    }
    return whole_page("compare.html", names, language)


def _checks_point(c: RunComparison) -> Message:
    moved = [x for x in c.checks if x.moved]
    if not c.checks:
        return message("Neither run made a check.")
    if not moved:
        return message("Every one of {checks} checks came out as before.", checks=len(c.checks))
    stopped = sum(x.before is not None and x.before.outcome == "pass" and x.after is not None for x in moved)
    return message("{moved} of {checks} checks came out otherwise; {stopped} that passed before do not pass now.",
                   moved=len(moved), checks=len(c.checks), stopped=stopped)  # fmt: skip


def _figures_point(c: RunComparison) -> Message:
    if not c.differences:
        return message("No figure could be compared.")
    tally = {m: sum(d.movement == m for d in c.differences) for m in _FIRST}
    return message(
        "Of {count} figures that both runs have, {worse} got worse and {better} better, the whole interval beyond 0; {unclear}"
        " show no clear change, {same} are the same, and {neutral} have no better side.", count=len(c.differences), **tally,
    )  # fmt: skip


def _by_instance(differences: Sequence[Difference]) -> Iterable[Moved]:
    for instance in dict.fromkeys(d.instance for d in differences):
        own = sorted((d for d in differences if d.instance == instance), key=lambda d: _FIRST[d.movement])
        moved = tuple(d for d in own if d.movement in ("worse", "better"))
        plot = _plot(
            message("Changes in {instance} with the whole interval on one side of 0", instance=instance),
            moved,
            turned=False,
        )
        yield Moved(
            instance=instance,
            moved=moved,
            rest=tuple(d for d in own if d.movement not in ("worse", "better")),
            plot=plot,
        )


def _plot(title: Message, differences: Sequence[Difference], *, turned: bool) -> IntervalPlot | None:
    """Shares alone, because figures of other units do not belong on one axis; None where there are fewer than two."""
    shares = [d for d in differences if d.unit == "share" and d.interval is not None][:_ONE_PLOT]
    if len(shares) < 2:
        return None
    points = []
    for d in shares:
        flip = turned and d.better == "higher"
        low, high = (d.interval.low, d.interval.high) if d.interval else (None, None)
        value = -d.difference if flip else d.difference
        low, high = (_minus(high), _minus(low)) if flip else (low, high)
        points.append(IntervalPoint(label=_label(d.measure, d.slice), value=value, low=low, high=high))
    return IntervalPlot(title=title, points=tuple(points), reference=0.0, reference_label=message("no change"))


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _label(measure: str, where: Slice) -> str:
    words = measure_words(measure, first="keep")
    short = ", ".join(a.value or a.name for a in where)
    return f"{short}: {words}" if short else words


def _methods(c: RunComparison) -> tuple[Message, ...]:
    level = level_words(c.level)
    return (
        message(
            "A difference is the later run minus the earlier one; intervals are two-sided at {level}.", level=level
        ),
        message(
            "Where both runs hold the same rows (by id with equal content, or by content), both figures are taken on these rows"
            " alone, so they can differ from those of either report."
        ),
        message(
            "Smooth figures: delete-a-group jackknife over paired rows in whole clusters, t quantile. Largest gaps and the like:"
            " each run's own interval at half the error against the other's (Bonferroni)."
        ),
        message("Worse or better is said only where the whole interval lies on one side of 0."),
        message(
            "Figures on fewer than {min_n} rows, the policy's min_n, are shown and nothing is claimed from them.",
            min_n=c.min_n,
        ),
        message(
            "A group is claimed to be worse off where that holds after Holm's correction over all {count} group figures with a"
            " better side that rest on enough rows. Many of them say the same thing in other words, so the correction is strict.",
            count=c.groups_compared,
        ),
        message("That no harm was found does not show that there is none: small groups leave wide intervals."),
        message("Rows are named by their ids and never by their text."),
    )
