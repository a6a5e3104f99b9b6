"""The page of a comparison: its sections from plain data, safe and the same bytes each time."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from probes.evidence import Counts, Interval, Method, Slice, group_axes, message
from reports.comparing import compared_sections, comparison_page
from reports.comparison import Difference, RunComparison
from reports.harm import harm_headline, harmed_groups, worse_groups
from reports.record import Comparison, Verdict

HOSTILE = "<img src=x onerror=alert(1)>"
F, M = group_axes({"gender": "f"}), group_axes({"gender": "m"})


def difference(
    value: float = -0.1, span: tuple[float, float] | None = (-0.15, -0.05), where: Slice = F, **more: Any
) -> Difference:
    interval = Interval(low=span[0], high=span[1], level=0.95, method=Method(name="m")) if span else None
    return Difference(
        **{
            "instance": "groups", "measure": "recall", "slice": where, "better": "higher", "unit": "share", "before": 0.8,
            "after": 0.8 + value, "difference": value, "interval": interval, "way": "paired",
            "counts": Counts(n=100, denominator=100, smallest=100), **more,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "movement"),
    [
        (difference(), "worse"),
        (difference(better="lower"), "better"),
        (difference(0.1, (0.05, 0.15)), "better"),
        (difference(0.1, (0.05, 0.15), better="lower"), "worse"),
        (difference(-0.01, (-0.06, 0.04)), "unclear"),
        (difference(-0.05, (-0.1, 0.0)), "unclear"),
        (difference(enough=False), "unclear"),
        (difference(-0.1, (-0.1, -0.1)), "unclear"),
        (difference(better="neither"), "neutral"),
        (difference(0.0, None, way="exact"), "same"),
        (difference(2.0, None, way="exact", better="lower"), "worse"),
        (difference(2.0, None, way="exact", better="neither"), "neutral"),
    ],
)
def test_better_or_worse_needs_the_whole_interval_and_enough_rows(given: Difference, movement: str) -> None:
    assert given.movement == movement


def test_a_claim_needs_the_correction_too_and_its_number_is_told() -> None:
    figures = (difference(p_holm=0.01), difference(where=M, p_holm=0.2), difference(where=(), p_holm=None))
    groups = harmed_groups(figures, 0.95)
    assert [(g.slice, bool(g.claimed)) for g in groups] == [(F, True), (M, False)]
    assert str(harm_headline(groups, 12, 0.95)) == (
        "Newly harmed groups: gender=f; it holds after a correction for all 12 figures of groups that were compared (Holm, together"
        " at 5 %). Worse by its own interval alone: gender=m."
    )
    assert "nothing is known" in str(harm_headline((), 0, 0.95))
    assert "No group was found worse off, in 12" in str(harm_headline((), 12, 0.95))


def test_a_verdict_names_the_groups_that_its_rules_found_worse(verdict: Verdict) -> None:
    (compared,) = [c for c in verdict.comparisons if isinstance(c, Comparison)]
    worse = compared.model_copy(update={"slice": F, "drop_interval": difference(0.1, (0.05, 0.15)).interval})
    doubtful = worse.model_copy(update={"drop_interval": difference(0.1, (0.0, 0.2)).interval})
    assert worse_groups((compared, worse, doubtful)) == (worse,)


Build = Callable[..., RunComparison]


class Markup(HTMLParser):
    """Every tag of a page, and every attribute with its value."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= set(attrs)


def test_checks_that_moved_come_first_and_vanished_ones_are_told(comparison: Build) -> None:
    found = compared_sections(comparison())
    assert {c.name for c in found.checks_moved} >= {"equal-opportunity [feature:gender]", "no-regression"}
    assert all(c.after is None for c in found.checks_moved)
    assert {c.name for c in found.checks_same} == {"accurate", "every-group-is-protected [group:gender=male]", "budget"}


def test_seed_and_software_that_changed_are_told(comparison: Build) -> None:
    found = compared_sections(comparison())
    assert [(c.kind, c.before, c.after) for c in found.altered] == [("setting", "7", "8")]
    assert [(c.kind, c.name) for c in found.appeared] == [("software", HOSTILE)]


def test_the_page_is_one_safe_file_and_the_same_each_time(comparison: Build) -> None:
    page = comparison_page(comparison())
    assert page == comparison_page(comparison())
    assert "default-src 'none'" in page
    markup = Markup(page)
    assert not markup.tags & {"script", "img", "link", "iframe", "form", "object"}
    assert not [name for name, _ in markup.attributes if name.startswith("on") or name in ("style", "src")]
    assert all(value is not None and value.startswith("#") for name, value in markup.attributes if name == "href")
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    for words in (
        "NOT ENFORCED",
        "NOT paired",
        "claimed",
        "There is no policy any more",
        "was measured with other options",
    ):
        assert words in page
    assert page.count("<h1") == 1
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_a_comparison_of_nothing_says_so(comparison: Build) -> None:
    empty = comparison(
        differences=(), not_compared=(), groups_compared=0, harmed_rows=None, no_harmed_rows=message("No predictions."), checks=(),
        changes=(), policy=(),
    )  # fmt: skip
    page = comparison_page(empty)
    for words in ("No figure could be compared.", "Neither run made a check. This is not a pass.", "No predictions.",
                  "nothing is known of newly harmed groups"):  # fmt: skip
        assert words in page


def test_a_page_of_very_many_figures_stays_below_its_limit_and_says_what_is_left_out(comparison: Build) -> None:
    many = tuple(difference(where=group_axes({"g": f"{HOSTILE}{i}"}), p_holm=0.001) for i in range(4000))
    page = comparison_page(comparison(differences=many))
    assert len(page.encode()) <= 2_000_000
    assert "more are not shown here; plumbline compare --json lists them." in page
