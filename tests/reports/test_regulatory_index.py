"""The regulatory index: only what was measured, recorded or stated counts, and the page says that it certifies nothing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from probes.evidence import Counts, Reading, Undefined, message
from reports.page import render
from reports.record import AuditRecord, Verdict
from reports.regulations import regulation_ids, regulations
from reports.regulatory_index import FieldView, RegulatoryIndex, regulatory_index
from reports.sections import report

MOST = 25_000
NONE = Counts(n=9, denominator=0, smallest=0)
NO_VALUES = tuple(Undefined(name=m, reason=message("none"), counts=NONE) for m in ("selection_rate", "impact_ratio"))


@pytest.fixture(scope="session")
def record(record: AuditRecord) -> AuditRecord:
    """The shared record, of a plan that names no framework."""
    return record.model_copy(update={"regulations": ()})


def field(index: RegulatoryIndex, framework: str, requirement: str, title: str) -> FieldView:
    found = [
        f
        for view in index.frameworks
        if view.id == framework
        for r in view.requirements
        if r.id == requirement
        for f in r.fields
        if f.title.text == title
    ]
    assert len(found) == 1
    return found[0]


def changed(record: AuditRecord, instance: str, **update: Any) -> AuditRecord:
    findings = [f.model_copy(update=update) if f.instance == instance else f for f in record.findings]
    return record.model_copy(update={"findings": tuple(findings)})


def section(page: str) -> str:
    return page[page.index('<section id="regulation"') : page.index('<section id="glossary"')]


def test_a_measured_finding_is_evidence_and_its_checks_are_told(record: AuditRecord, verdict: Verdict) -> None:
    shown = field(regulatory_index(record, verdict), "nist-ai-rmf", "measure-2.11", "Errors and selections by group")
    assert shown.standing == "measured"
    assert [(link.label, link.anchor) for link in shown.links] == [("groups", "p-groups")]
    assert shown.outcomes == {"fail": 1, "inconclusive": 1, "pass": 1, "waived": 1}
    one = field(regulatory_index(record, verdict), "eu-ai-act", "art-15-3", "Accuracy, by measure")
    assert one.outcomes == {"error": 1, "inconclusive": 1, "pass": 1}


def test_a_selector_with_a_measure_counts_the_checks_on_that_measure_alone(
    record: AuditRecord, verdict: Verdict
) -> None:
    index = regulatory_index(record, verdict)
    shown = field(index, "uniform-guidelines", "1607.4-a", "Applicants and selections by group")
    assert (shown.standing, shown.outcomes) == ("measured", {})


@pytest.mark.parametrize(
    ("instance", "update", "says"),
    [
        ("membership", {}, "membership: stopped with an error."),
        ("attack-typos", {}, "attack-typos: was not applicable."),
        ("attack-synonyms", {}, "attack-synonyms: planned, did not run."),
        ("groups", {"reading": Reading(measurements=NO_VALUES)}, "groups: has no value for it here."),
        ("groups", {"reading": Reading(measurements=())}, "groups: did not measure it."),
    ],
)
def test_what_gave_no_figure_is_no_evidence(
    record: AuditRecord, verdict: Verdict, instance: str, update: dict[str, Any], says: str
) -> None:
    index = regulatory_index(changed(record, instance, **update), verdict)
    anchor = f"p-{instance}"
    told = False
    for view in index.frameworks:
        for shown in (f for r in view.requirements for f in r.fields):
            assert anchor not in {link.anchor for link in shown.links}
            if says in map(str, shown.gaps):
                told = True
                assert shown.standing == "missing" or shown.links
    assert told


def test_a_probe_that_no_plan_names_is_missing_with_its_name(record: AuditRecord, verdict: Verdict) -> None:
    shown = field(
        regulatory_index(record, verdict), "eu-ai-act", "art-15-1", "How much that differs between training seeds"
    )
    assert shown.standing == "missing"
    assert str(shown.gaps[0]) == "No probe of the plan measures it. What would: performance.seeds."


@pytest.mark.parametrize("text", [None, "", "   ", "...", "–"])
def test_nothing_is_attested_by_default(record: AuditRecord, verdict: Verdict, text: str | None) -> None:
    stated = {} if text is None else {"owner": text}
    index = regulatory_index(record.model_copy(update={"attestations": stated}), verdict)
    assert all(view.counts["attested"] == 0 for view in index.frameworks)
    assert field(index, "sr-26-2", "vi.1", "Owner").standing == "missing"


def test_what_people_state_is_attested_and_never_measured(record: AuditRecord, verdict: Verdict) -> None:
    stated = {"owner": "risk@example.org", "house_rule": "kept"}
    index = regulatory_index(record.model_copy(update={"attestations": stated}), verdict)
    shown = field(index, "sr-26-2", "vi.1", "Owner")
    assert (shown.standing, shown.text) == ("attested", "risk@example.org")
    attested = {f.title.text for v in index.frameworks for r in v.requirements for f in r.having("attested")}
    assert attested == {"Owner"}


@pytest.mark.parametrize(
    ("where", "update", "title", "says"),
    [
        ("record", {"training": None}, "The training record", "No training record came with the subject."),
        ("record", {"predictions": None}, "Every prediction, kept in the bundle", "None were kept."),
        ("verdict", {"policy": None}, "The policy, with owner and version", "There was no policy."),
        ("verdict", {"rulings": ()}, "A decision on every check", "There was no check."),
        ("verdict", {"comparisons": ()}, "The change since a baseline", "No baseline was compared."),
        ("verdict", {}, "Limits fixed before the run", "No lock was handed in."),
    ],
)
def test_a_part_that_the_record_lacks_is_missing(
    record: AuditRecord, verdict: Verdict, where: str, update: dict[str, Any], title: str, says: str
) -> None:
    record = record.model_copy(update=update if where == "record" else {})
    verdict = verdict.model_copy(update=update if where == "verdict" else {})
    shown = [
        f
        for view in regulatory_index(record, verdict).frameworks
        for r in view.requirements
        for f in r.fields
        if f.title.text == title
    ]
    assert shown
    assert {(f.standing, str(f.gaps[0])) for f in shown} == {("missing", says)}


def test_counts_add_up(record: AuditRecord, verdict: Verdict) -> None:
    for view, framework in zip(
        sorted(regulatory_index(record, verdict).frameworks, key=lambda v: v.id), regulations(), strict=True
    ):
        assert sum(view.counts.values()) == sum(len(r.fields) for r in framework.requirements)
        assert view.counts["missing"] == sum(len(r.having("missing")) for r in view.requirements)


def test_named_frameworks_come_first_and_unknown_ones_are_told(record: AuditRecord, verdict: Verdict) -> None:
    named = record.model_copy(update={"regulations": ("sr-26-2", "no-such-law", "gdpr", "gdpr")})
    index = regulatory_index(named, verdict)
    assert [f.id for f in index.named] == ["sr-26-2", "gdpr"] == [f.id for f in index.frameworks[:2]]
    assert {f.id for f in index.frameworks} == set(regulation_ids())
    assert index.unknown == ("no-such-law",)
    assert "knows no regulation called no-such-law" in section(render(named, verdict))


def test_it_is_plain_data_and_the_same_each_time(record: AuditRecord, verdict: Verdict) -> None:
    index = regulatory_index(record, verdict)
    text = index.model_dump_json(by_alias=True)
    assert RegulatoryIndex.model_validate(json.loads(text)) == index
    assert regulatory_index(record, verdict).model_dump_json(by_alias=True) == text


def test_the_page_says_that_nothing_is_certified(record: AuditRecord, verdict: Verdict) -> None:
    named = record.model_copy(update={"regulations": ("eu-ai-act",)})
    for shown in (record, named):
        assert "does not certify compliance" in section(render(shown, verdict))
        assert 'href="#regulation"' in render(shown, verdict)


def test_the_page_shows_named_frameworks_field_by_field(record: AuditRecord, verdict: Verdict) -> None:
    named = section(render(record.model_copy(update={"regulations": ("eu-ai-act",)}), verdict))
    assert "membership: stopped with an error." in named
    assert "attack-synonyms: planned, did not run." in named
    assert re.search(r'<a href="#p-performance">performance</a>[^<]*\(', named)
    assert "not stated (oversight)" in named
    assert "the others are counted only" in named
    assert 'class="unnamed"' not in named
    plain = section(render(record, verdict))
    assert "did not run" not in plain
    assert plain.count('class="unnamed"') == len(regulation_ids())


def test_the_index_stays_small(record: AuditRecord, verdict: Verdict) -> None:
    for names in ((), ("eu-ai-act",), ("nist-ai-rmf", "gdpr")):
        shown = record.model_copy(update={"regulations": names})
        assert len(section(render(shown, verdict)).encode()) < MOST
    busy = record.model_copy(
        update={
            "regulations": regulation_ids(),
            "planned": tuple(
                p.model_copy(update={"instance": f"{p.instance}-{n}"}) for p in record.planned for n in range(300)
            ),
            "findings": (),
        }
    )
    assert len(section(render(busy, verdict)).encode()) < 30 * MOST


def test_the_report_holds_it(record: AuditRecord, verdict: Verdict) -> None:
    assert report(record, verdict).regulation == regulatory_index(record, verdict)
