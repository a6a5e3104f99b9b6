"""The first screen: ten questions of a reviewer, each answered there or one click away; reasons, counts, policy, change."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest

from probes.evidence import message
from reports.answers import QUESTIONS, answers
from reports.changes import changes
from reports.checks import check_views
from reports.page import render
from reports.record import AuditRecord, Check, Verdict

# Question, the anchor on the first screen that answers it, what it says, where its one click leads, what is found there.
TEN = (
    ("May it ship?", "decision", "Fail", None, ""),
    ("Why not?", "why", "Equal opportunity difference for feature gender is 0.143 (95 % interval 0.101 to 0.189); required is at most"
     " 0.100.", "c-equal-opportunity-feature-gender", "whole interval lies beyond"),
    ("Who is harmed?", "a-harmed", "Beyond the policy's limits for gender: female.", "c-equal-opportunity-feature-gender", "0.143"),
    ("How sure is this?", "a-sure", "The evidence does not decide 2 of 10 checks.", "c-every-group-is-protected-group-gender-", "no positives"),
    ("What was not checked?", "a-unchecked", "3 of 7 probes gave no result: attack-typos, membership, attack-synonyms.", "uncovered",
     "attack-synonyms (robustness.attack) was planned and did not run."),
    ("What changed?", "a-changed", "Compared figures without a change beyond noise: 1.", "baseline", "0.852"),
    ("Who waived what, until when?", "a-waived", "every-group-is-protected on group:gender=female, approved by risk@example.org, until"
     " 2026-05-01.", "waivers", "RISK-311"),
    ("On which data?", "a-data", "screening-audit.csv: 2000 rows, digest dddddddddddd.", "scope", "d" * 64),
    ("Can I reproduce it?", "a-reproduce", "Figures of 1 of 4 measured probes can be computed again", "provenance", "plumbline verify RUN"),
    ("Does it leak personal data?", "a-personal", "No breach detected in 2 privacy checks. This page shows no raw inputs.",
     "c-membership", "membership stopped with an error"),
)  # fmt: skip


def part(page: str, anchor: str) -> str:
    """From an anchor to the end of what it names: an answer, a list, a check or a section."""
    start = re.search(rf'id="{anchor}[^"]*"', page)
    assert start, anchor
    rest = page[start.start() :]
    ends = {"why": "</ul>", "decision": "<h3"}.get(anchor, "</div>" if anchor.startswith("a-") else "</section>")
    return rest[: rest.index(ends)]


def words(markup: str) -> str:
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", markup)).split())


@pytest.mark.parametrize(("question", "anchor", "said", "link", "behind"), TEN, ids=[t[1] for t in TEN])
def test_ten_questions(page: str, question: str, anchor: str, said: str, link: str | None, behind: str) -> None:
    first = page[page.index('id="decision"') : page.index('id="policy"')]
    here = part(first + "</section>", anchor)
    assert said in words(here)
    if anchor.startswith("a-"):
        assert question in words(here)
    if link is not None:
        target = re.search(rf'href="#({link}[^"]*)"', here)
        assert target, here
        assert behind in words(part(page, target[1]))


def test_every_question_is_answered_in_any_record(record: AuditRecord, verdict: Verdict) -> None:
    bare = verdict.model_copy(
        update={"policy": None, "rulings": (), "waivers": (), "comparisons": (), "outcome": "error"}
    )
    empty = record.model_copy(update={"findings": (), "predictions": None})
    for r, v in ((record, verdict), (record, bare), (empty, bare)):
        found = answers(r, v, check_views(r, v))
        assert [a.key for a in found] == list(QUESTIONS)
        assert all(a.said and all(str(s) for s in a.said) for a in found)
        page = render(r, v)
        ids = set(re.findall(r' id="([^"]+)"', page))
        assert set(re.findall(r'href="#([^"]+)"', page)) <= ids
    said = {a.key: words(" ".join(str(s) for s in a.said)) for a in answers(empty, bare, ())}
    assert said["changed"] == "No baseline was given, so nothing is known about change."
    assert said["harmed"].startswith("Not known")
    assert said["personal"].startswith("Not known of the model")
    assert said["reproduce"].startswith("Only by running the plan again")


def test_all_six_counts_are_there_also_the_zeros(
    page: str, record: AuditRecord, verdict: Verdict, make_passing: Callable[..., Verdict]
) -> None:
    tally = words(page[page.index('class="tally"') : page.index('id="why"')])
    for said in ("2 Fail", "2 Error", "2 Inconclusive", "1 Waived", "3 Pass", "3 not run"):
        assert said in tally
    passed = render(record, make_passing(record, verdict))
    tally = words(passed[passed.index('class="tally"') : passed.index('id="why"')])
    for said in ("0 Fail", "0 Error", "0 Inconclusive", "0 Waived", "3 Pass"):
        assert said in tally


def test_a_rule_with_many_groups_does_not_hide_the_other_rules(record: AuditRecord, verdict: Verdict) -> None:
    template = verdict.rulings[3].model_copy(update={"outcome": "fail"})
    many = tuple(
        template.model_copy(
            update={"check": Check(rule=template.check.rule, slice=template.check.slice[:0]), "value": 0.6 - i / 100}
        )
        for i in range(20)
    )
    page = render(record, verdict.model_copy(update={"rulings": (*many, verdict.rulings[1]), "waivers": ()}))
    why = words(part(page, "why"))
    assert why.count("Fail:") == 2
    assert "Recall is 0.410" in why, "the worst of them"
    assert "So are 19 more checks of this rule." in why


def test_the_whole_policy_is_there_with_its_sources(page: str, verdict: Verdict) -> None:
    assert verdict.policy is not None
    rows = re.findall(r"<tr><th scope=\"row\">.*", part(page, "rules"))
    assert len(rows) == len(verdict.policy.rules)
    for rule, row in zip(verdict.policy.rules, rows, strict=True):
        for said in (rule.id, rule.measure, rule.source or "none given", rule.severity):
            assert said in words(row)
    assert "may not be waived" in words(rows[5])
    assert "hiring-release, version 3, owned by risk@example.org" in words(part(page, "policy"))


def test_what_changed_in_the_policy_is_told_or_said_to_be_unknown(
    record: AuditRecord, verdict: Verdict, page: str
) -> None:
    assert "nothing is known about changes of the policy" in words(part(page, "policy"))
    same = render(record, verdict.model_copy(update={"policy_changes": ()}))
    assert "The baseline was decided by the same policy." in words(part(same, "policy"))
    changed = render(
        record, verdict.model_copy(update={"policy_changes": (message("Rule {rule} was added.", rule="new"),)})
    )
    assert "Rule new was added." in words(part(changed, "policy"))
    assert "Points in which the policy changed since the baseline: 1." in words(part(changed, "a-changed"))


def test_worse_and_better_need_the_whole_interval(record: AuditRecord, verdict: Verdict) -> None:
    c = verdict.comparisons[0]
    spans = {"worse": (0.001, 0.02), "better": (-0.02, -0.001), "neither": (-0.001, 0.02)}
    made = []
    for name, (low, high) in spans.items():
        span = c.drop_interval.model_copy(update={"low": low, "high": high})  # type: ignore[union-attr]
        made.append(c.model_copy(update={"measure": name, "drop_interval": span}))
    exact = c.model_copy(update={"measure": "same", "drop_interval": None})
    told = verdict.model_copy(update={"comparisons": (*made, exact, *made)})
    found = changes(told)
    assert [c.measure for c in found.worse] == ["worse"]
    assert [c.measure for c in found.better] == ["better"]
    assert [c.measure for c in found.neither] == ["neither", "same"]
    said = words(part(render(record, told), "a-changed"))
    assert "Worse than the baseline beyond noise: Worse." in said
    assert "Better than the baseline beyond noise: Better." in said
