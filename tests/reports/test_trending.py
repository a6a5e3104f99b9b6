"""The page of a history: each run with its standing, each measure with its gaps, and safe whatever a folder is called."""

from __future__ import annotations

from html.parser import HTMLParser

from reports.history import History
from reports.trending import history_page, trend_views


class Markup(HTMLParser):
    """Every tag, and every address."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str | None] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name == "href"]


def test_each_run_shows_what_stands_for_it(a_history: History, hostile: str) -> None:
    page = history_page(a_history, {"spring": "spring/report.html"})
    for words in ("Does not verify", "NOT ENFORCED", "newest of 2", "none that counts, of 1 beside it", "no review",
                  "plumbline verify checks it", "it is cut off at line 3", "not measured in this run"):  # fmt: skip
        assert words in page
    markup = Markup(page)
    assert not markup.tags & {"script", "img", "iframe", "form"}
    assert hostile not in page
    assert [a for a in markup.addresses if a and not a.startswith("#")] == ["spring/report.html"]
    assert page == history_page(a_history, {"spring": "spring/report.html"})


def test_a_trend_keeps_its_gaps_and_draws_a_limit_only_where_there_is_one(a_history: History) -> None:
    (view,) = trend_views(a_history)
    assert [(p.label, p.value) for p in view.plot.points] == [
        ("2026-03-14 spring", 0.7), ("2026-03-14 summer", 0.6), ("2026-03-14 autumn", None),
    ]  # fmt: skip
    assert (view.plot.reference, view.outcomes) == (0.65, ("pass", "fail"))
    assert view.first is not None
    assert view.last is not None
    assert (view.first.value, view.last.value) == (0.7, 0.6)
    (trend,) = a_history.trends
    moved = tuple(p.model_copy(update={"limits": (0.7,)}) if p.run == 1 else p for p in trend.points)
    changed = a_history.model_copy(update={"trends": (trend.model_copy(update={"points": moved}),)})
    assert trend_views(changed)[0].plot.reference is None


def test_many_runs_and_measures_stay_below_the_limit_and_say_what_is_left_out(a_history: History) -> None:
    (trend,) = a_history.trends
    trends = tuple(trend.model_copy(update={"instance": f"p{i}", "points": trend.points * 40}) for i in range(900))
    page = history_page(a_history.model_copy(update={"trends": trends}), {})
    assert len(page.encode()) <= 2_000_000
    assert "plumbline history --json lists them, and --measure picks." in page
