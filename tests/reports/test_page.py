from __future__ import annotations

import hashlib
import html
import re
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from probes.evidence import (
    Bar,
    Bars,
    Measurement,
    Reading,
    Table,
    TextPair,
    TextPairs,
    format_number,
    group_axes,
    message,
)
from reports.checks import check_views
from reports.errors import RecordError
from reports.page import render
from reports.record import AuditRecord, Check, FeatureCard, Verdict
from reports.room import MOST_BYTES
from reports.showing import Showing

VOID = {"meta", "br", "img", "link", "input", "hr", "use", "path", "circle", "rect"}
OPTIONAL = {"td", "th", "tr", "tbody", "thead", "li", "dt", "dd"}


class Reader(HTMLParser):
    """Checks that tags close in order, but for end tags that HTML lets one leave out; gathers ids, links, attributes, text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]
        found = dict(attrs)
        if found.get("id"):
            self.ids.append(found["id"] or "")
        if tag in ("a", "use") and found.get("href"):
            self.links.append(found["href"] or "")
        if tag not in VOID | OPTIONAL:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID | OPTIONAL:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_the_page_is_well_formed_and_its_links_lead_somewhere(page: str) -> None:
    reader = read(page)
    assert len(reader.ids) == len(set(reader.ids))
    assert {link.removeprefix("#") for link in reader.links} <= set(reader.ids)
    assert all(link.startswith("#") for link in reader.links)


def test_the_same_record_gives_the_same_bytes(page: str, record: AuditRecord, verdict: Verdict) -> None:
    again = AuditRecord.model_validate_json(record.to_json())
    assert render(again, Verdict.model_validate_json(verdict.to_json())) == page


def test_nothing_is_loaded_or_run(page: str) -> None:
    reader = read(page)
    assert not {"script", "iframe", "link", "object", "embed", "form"} & set(reader.tags)
    assert not [a for a in reader.attributes if a[1].startswith("on") or a[1] == "style"]
    assert " style=" not in page
    sources = [v for _, k, v in reader.attributes if k in ("src", "srcset", "data", "action")]
    assert all(v.startswith("data:image/png;base64,") for v in sources)
    assert "url(" not in page
    assert "@import" not in page


def test_the_policy_admits_only_the_pages_own_style(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert policy and style
    digest = b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    directives = dict(d.strip().split(" ", 1) for d in policy[1].replace("&#39;", "'").split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["style-src"] == f"'sha256-{digest}'"
    assert directives["img-src"] == "data:"


@pytest.mark.parametrize("shown", ["record", "open_record"])
def test_hostile_text_stays_text(
    shown: str, request: pytest.FixtureRequest, make_verdict: Callable[..., Verdict], hostile: str
) -> None:
    record: AuditRecord = request.getfixturevalue(shown)
    page = render(record, make_verdict(record))
    reader = read(page)
    assert "<img src=x" not in page
    assert reader.words.count(hostile) >= 8
    assert not [a for a in reader.attributes if a[1] == "onerror"]


def test_control_characters_become_visible(record: AuditRecord, verdict: Verdict) -> None:
    page = render(record.model_copy(update={"name": "a\0b\x1b[31m\u202ec"}), verdict)
    assert not re.search("[\0\x1b\u202e]", page)
    assert "a\ufffdb\ufffd[31m\ufffdc" in page


def test_the_first_screen_says_what_was_decided_and_on_what(page: str, record: AuditRecord, verdict: Verdict) -> None:
    first = page[page.index('id="decision"') : page.index('id="action"')]
    words = " ".join(re.sub("<[^>]+>", " ", first).split())
    for expected in (
        "Fail", "Breach detected in 2 of 10 checks, 1 of them advisory.", "3 of 7 probes", "0.143", "0.101 to 0.189",
        "at most 0.100", "out/hiring", "checkpoint", record.subject.digest[:12], "screening-audit.csv", "2000 rows",
        record.data.digest[:12], "hiring-release, version 3, owned by risk@example.org", "14 March 2026", "95 %",
        "attack-synonyms (robustness.attack) was planned and did not run.", "was not applicable", "stopped with an error",
        "Robustness: nothing was measured.", "Waiver W-9 expired",
    ):  # fmt: skip
        assert expected in words, expected
    assert record.subject.digest in page
    assert record.data.digest in page
    assert verdict.record_sha256 in page


def test_every_check_is_there_with_its_figures(page: str, verdict: Verdict) -> None:
    reader = read(page)
    anchors = [i for i in reader.ids if i.startswith("c-")]
    assert len(anchors) == len(verdict.rulings)
    for ruling in verdict.rulings:
        assert ruling.check.rule.id in reader.words
        if ruling.value is not None:
            assert format_number(ruling.value) in reader.words
        if ruling.interval is not None and ruling.interval.low is not None and ruling.interval.high is not None:
            assert f"{format_number(ruling.interval.low)} to {format_number(ruling.interval.high)}" in reader.words
    assert "c-equal-opportunity-feature-gender" in anchors


def test_a_check_tells_everything_in_its_place(page: str) -> None:
    start = page.index('id="c-equal-opportunity-feature-gender"')
    check = page[start : page.index("</article>", start)]
    order = [
        "Equal opportunity difference for feature gender is at most 0.100.", "0.143", "95 % interval 0.101 to 0.189", 'class="strip"',
        "2000 rows, denominator 812, smallest group 212", "60 clusters", "wilson (alpha=0.050)", "blocking", "Model risk standard 4.2",
        "Ruling", "Fail. groups", "whole interval lies beyond", ">Definition<", ">Evidence and examples<",
        ">How it was measured, what would make it wrong<", "plumbline reproduce RUN --plan PLAN --check equal-opportunity",
    ]  # fmt: skip
    places = [check.index(piece) for piece in order]
    assert places == sorted(places)
    links = re.findall(r'href="#([^"]+)">([^<]+)<', check)
    behind = {words: page[page.index(f'id="{anchor}"') :] for anchor, words in links}
    assert behind["Definition"].index("Largest difference in recall") < 200
    for said in ("0 to 1", "0: Nobody.", "1: Everybody.", "Hardt et al. 2016"):
        assert said in behind["Definition"][:400]
    evidence = behind["Evidence and examples"]
    assert evidence.index("<svg") < evidence.index("<table") < evidence.index("</article>")
    how = behind["How it was measured, what would make it wrong"]
    for said in ("Newcombe limits", "Groups are as recorded", "plumbline-audit 0.1.0", "hired"):
        assert how.index(said) < how.index("</article>")


def test_anatomy_is_there_for_every_check(page: str, record: AuditRecord, verdict: Verdict) -> None:
    reader = read(page)
    for view in check_views(record, verdict):
        part = page[page.index(f'id="{view.anchor}"') :].split("</article>" if view.needs_action else "</details>", 1)[
            0
        ]
        wanted = [view.demand, view.ruling.check.rule.source or "none given", view.ruling.check.rule.id, view.command]
        if view.ruling.counts:
            wanted.append(f"denominator {view.ruling.counts.denominator}")
        if view.needed:
            wanted.append(view.needed)
        words = html.unescape(re.sub("<[^>]*>", "", part))
        for said in wanted:
            assert str(said) in words, (view.anchor, str(said))
        assert ('class="strip"' in part) == (view.ruling.value is not None and view.outcome != "pass")
        targets = re.findall(r'href="#([^"]+)"', part)
        assert f"{view.probe_anchor}-how" in targets
        assert set(targets) <= set(reader.ids)


def test_what_did_not_run_is_loud(page: str) -> None:
    words = read(page).words
    assert "Planned, did not run. It was planned and left out of this run." in words
    assert "Not applicable. textattack is not installed; pip install 'plumbline-audit[robustness]'" in words
    assert "Stopped with an error. ValueError" in words
    assert "undefined: No positives in this group." in words


def test_waivers_and_baselines_are_told_in_full(page: str) -> None:
    words = read(page).words
    for expected in (
        "W-17: Applied", "RISK-311", "d.osei@example.org", "before the waiver: Fail", "W-9: Expired on 2026-03-01; not applied",
        "not compared with 2024.", "0.852", "About 6094 rows",
    ):  # fmt: skip
        assert expected in words, expected


def test_raw_text_is_redacted_unless_the_plan_says_otherwise(
    page: str, open_record: AuditRecord, make_verdict: Callable[..., Verdict], secret: str
) -> None:
    assert secret not in read(page).words
    for word in ("candidate", "sentence", "wroet"):
        assert word not in page
    assert "data:image/png" not in page
    assert "6 tokens, redacted" in page
    assert "5 words before, 5 after; redacted" in page
    shown = render(open_record, make_verdict(open_record))
    assert secret in read(shown).words
    assert re.search(r"<del>.*wrot<mark>e</mark>.*</del><ins>.*wro<mark>e</mark>t.*</ins>", shown)
    assert "[removed: wrot e ]" in read(shown).words
    assert "[added: wro e t ]" in read(shown).words
    assert "data:image/png;base64," in shown
    assert "shown: the plan sets include_text" in shown


def test_not_enforced_is_stamped(record: AuditRecord, make_verdict: Callable[..., Verdict], page: str) -> None:
    assert "NOT ENFORCED" in render(record, make_verdict(record, enforced=False))
    assert "NOT ENFORCED" not in page


def test_a_pass_never_claims_that_nothing_is_wrong(
    record: AuditRecord, verdict: Verdict, make_passing: Callable[[AuditRecord, Verdict], Verdict]
) -> None:
    page = render(record, make_passing(record, verdict))
    words = read(page).words
    assert "No breach detected in 3 checks. Not run or without a result: 3 of 7 probes." in words
    assert "no issues" not in words.lower()
    assert 'id="action"' not in page


def test_without_a_policy_nothing_passes(record: AuditRecord, verdict: Verdict) -> None:
    bare = verdict.model_copy(
        update={"policy": None, "rulings": (), "outcome": "error", "exit_code": 12, "waivers": (), "comparisons": (),
                "reasons": (message("No policy was given, so nothing was decided."),)}
    )  # fmt: skip
    words = read(render(record, bare)).words
    assert "No policy was given, so nothing was decided." in words
    assert "No check was made. This is not a pass." in words


def test_pictures_are_named_and_followed_by_a_table(page: str) -> None:
    for figure in re.findall(r"<figure>.*?</figure>", page, re.DOTALL):
        if "<svg" in figure:
            assert figure.index("<svg") < figure.index("<table")
    for svg in re.findall(r"<svg class=\"(?:strip|plot|curve)\".*?</svg>", page, re.DOTALL):
        assert 'role="img"' in svg
        assert "<title>" in svg
        assert "<desc>" in svg


def test_tables_and_landmarks_can_be_read_aloud(page: str) -> None:
    assert '<html lang="en">' in page
    assert page.count("<table") == page.count("<caption")
    assert re.findall(r"<th(?! scope)[ >]", page) == []
    for landmark in ("<main", "<nav aria-label", "<header", "<footer", 'class="skip" href="#main"'):
        assert landmark in page


def test_unknown_languages_are_refused(record: AuditRecord, verdict: Verdict) -> None:
    for language in ("tlh", "../../etc", ""):
        with pytest.raises(RecordError):
            render(record, verdict, Showing(language=language))


def test_slices_that_look_alike_get_their_own_anchor(record: AuditRecord, verdict: Verdict) -> None:
    template = verdict.rulings[3]
    values = ["男", "女", "a b", "a-b", "A-B", "x" * 300, "x" * 299 + "y", "<i>"]
    rulings = tuple(
        template.model_copy(update={"check": Check(rule=template.check.rule, slice=group_axes({"gender": v}))})
        for v in values
    )
    reader = read(render(record, verdict.model_copy(update={"rulings": rulings, "waivers": ()})))
    anchors = [i for i in reader.ids if i.startswith("c-")]
    assert len(anchors) == len(set(anchors)) == len(values)
    assert all(re.fullmatch(r"[a-z0-9-]+", a) for a in anchors)


def big(record: AuditRecord, verdict: Verdict, groups: int, long: int) -> tuple[AuditRecord, Verdict]:
    """Many groups, long texts and much evidence."""
    names = [f"{i:05d} " + "w" * long for i in range(groups)]
    found = record.findings[1]
    assert found.reading is not None
    template = found.reading.measurements[0]
    assert isinstance(template, Measurement)
    measurements = tuple(template.model_copy(update={"slice": group_axes({"g": n})}) for n in names)
    evidence = (
        Table(title=message("Rates"), columns=(message("g"), message("n")), rows=tuple((n, 1) for n in names)),
        Bars(title=message("Sizes"), bars=tuple(Bar(label=n, value=1) for n in names)),
        TextPairs(
            title=message("Texts"),
            chosen_by=message("all"),
            pairs=tuple(TextPair(before=n * 3, after=n * 4, before_label="a", after_label="b") for n in names),
        ),
    )
    reading = Reading(measurements=measurements, evidence=evidence * 4)
    data = record.data.model_copy(
        update={"features": (FeatureCard(name="g", values=dict.fromkeys(names, 1)),), "include_text": True}
    )
    ruling = verdict.rulings[3].model_copy(update={"outcome": "fail"})
    rulings = tuple(
        ruling.model_copy(update={"check": Check(rule=ruling.check.rule, slice=group_axes({"g": n}))}) for n in names
    )
    findings = (found.model_copy(update={"reading": reading}),)
    return (
        record.model_copy(update={"data": data, "findings": findings}),
        verdict.model_copy(update={"rulings": rulings, "waivers": ()}),
    )


def test_size_typical(page: str) -> None:
    assert len(page.encode()) < 150_000


@pytest.mark.parametrize(("groups", "long"), [(60, 10), (3000, 30), (600, 5000)])
def test_size_is_capped_and_what_is_left_out_is_said(
    record: AuditRecord, verdict: Verdict, groups: int, long: int
) -> None:
    page = render(*big(record, verdict, groups, long))
    reader = read(page)
    assert len(page.encode()) <= MOST_BYTES
    if groups == 60:
        assert len(page.encode()) < 600_000
        assert len([i for i in reader.ids if i.startswith("c-")]) == groups
    else:
        assert "not shown here; they lie in results.json of the bundle" in reader.words
        assert "not shown in full" in reader.words


def test_rendering_is_quick_and_loads_no_torch() -> None:
    code = (
        "import sys, reports.page, reports.bundle, reports.junit, reports.summary; reports.page.page_environment('en')"
        ".get_template('page.html');"
        " print([m for m in ('torch', 'transformers', 'datasets', 'pandas', 'sklearn', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rendering_takes_a_fraction_of_a_second(record: AuditRecord, verdict: Verdict) -> None:
    render(record, verdict)
    start = time.process_time()
    render(record, verdict)
    assert time.process_time() - start < 0.5
