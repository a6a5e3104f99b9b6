"""Many runs on one page: an index of releases with their verdicts and reviews, and a line and a picture for each measure.

Pure: a `History` in, a page out. What could not be read stands on it as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from probes.evidence import IntervalPlot, IntervalPoint, Message, message
from reports.history import History, Point, RunLine, Signed, Trend
from reports.language import ENGLISH
from reports.record import Outcome
from reports.reviews import DECISION_WORDS
from reports.shell import whole_page
from reports.wording import measure_words

SIGNED_WORDS: dict[Signed, Message] = {
    "unsigned": message("unsigned"),
    "signature beside, not checked": message("a signature lies beside it; plumbline verify checks it"),
}


@dataclass(frozen=True, kw_only=True)
class TrendView:
    """A measure over the runs. ``first`` and ``last`` are its first and last points with a value, if any."""

    trend: Trend
    title: Message
    first: Point | None
    last: Point | None
    outcomes: tuple[Outcome, ...]
    plot: IntervalPlot


def history_page(history: History, links: Mapping[str, str], language: str = ENGLISH) -> str:
    """The whole page.

    Args:
        history: the runs.
        links: by a run's folder, the address of its report as seen from this page; runs without one get no link.
        language: ``en`` or the name of a catalogue.

    Raises:
        RecordError: there is no catalogue for the language.
    """
    contents = [
        ("summary", message("Every run")),
        ("measures", message("Measures over time")),
        ("pictures", message("Each measure by itself")),
        ("methods", message("How to read this")),
    ]
    if history.broken:
        contents.insert(1, ("broken", message("What could not be read")))
    names = {
        "h": history,
        "links": links,
        "contents": contents,
        "trends": trend_views(history),
        "decision_words": DECISION_WORDS,
        "signed_words": SIGNED_WORDS,
        "methods": _methods(history),
    }
    return whole_page("history.html", names, language)


def trend_views(history: History) -> tuple[TrendView, ...]:
    """Each trend with its picture."""
    return tuple(_view(t, history) for t in history.trends)


def _view(trend: Trend, history: History) -> TrendView:
    valued = [p for p in trend.points if p.value is not None]
    limits = {limit for p in trend.points for limit in p.limits}
    same = next(iter(limits)) if len(limits) == 1 else None
    title = message("{measure}", measure=measure_words(trend.measure))
    points = [IntervalPoint(label=run_label(history.runs[p.run]), value=p.value, low=p.low, high=p.high, n=p.n, note=p.note)
              for p in trend.points]  # fmt: skip
    plot = IntervalPlot(title=title, unit=trend.unit, points=tuple(points), reference=same,
                        reference_label=None if same is None else message("limit"))  # fmt: skip
    outcomes = tuple(o for p in trend.points for o in p.outcomes)
    return TrendView(
        trend=trend,
        title=title,
        first=valued[0] if valued else None,
        last=valued[-1] if valued else None,
        outcomes=outcomes,
        plot=plot,
    )


def run_label(run: RunLine) -> str:
    """``2026-03-14 spring``."""
    return f"{run.decided_on.isoformat()} {run.folder}"


def _methods(history: History) -> tuple[Message, ...]:
    shown = (
        message("Shown are the measures that were asked for: {names}.", names=", ".join(history.asked))
        if history.asked
        else message("Shown are the measures that some run has a rule on, or where none has one, those over all rows.")
    )
    return (
        message("Runs stand in the order of their decisions, then of their folders; they were looked for {depth} folders deep.",
                depth=history.depth),
        shown,
        message("Each interval is a run's own. Two that overlap may still differ: plumbline compare A B pairs the rows."),
        message("A verdict is the run's own, by the policy of its day."),
        message("A review counts only for the very bundle that it names, and changes no verdict."),
    )  # fmt: skip
