from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as Xml

from junitparser import Error, Failure, JUnitXml, Skipped

from probes.evidence import message
from reports.junit import junit
from reports.record import AuditRecord, Verdict


def cases(text: str) -> dict[str, list[object]]:
    """Results by test name, as junitparser reads them."""
    return {c.name: list(c.result) for suite in JUnitXml.fromstring(text.encode()) for c in suite}


def test_every_ruling_is_a_test_with_its_result(record: AuditRecord, verdict: Verdict, hostile: str) -> None:
    found = cases(junit(record, verdict))
    assert {r.check.name for r in verdict.rulings} <= set(found)
    assert found["accurate"] == []
    assert isinstance(found["equal-opportunity [feature:gender]"][0], Failure)
    assert isinstance(found["no-regression"][0], Failure)
    assert isinstance(found["no-old-regression"][0], Error)
    assert isinstance(found["every-group-is-protected [group:gender=female]"][0], Skipped)
    assert found["faithful"] == [], "an advisory failure must not turn the suite red"
    assert f"every-group-is-protected [group:gender={hostile}]" in found
    assert isinstance(found["attack-synonyms"][0], Skipped)
    assert isinstance(found["membership"][0], Skipped | Error)


def test_an_advisory_ruling_is_told_all_the_same(record: AuditRecord, verdict: Verdict) -> None:
    assert "advisory fail: Faithfulness is below 0.5." in junit(record, verdict)


def test_counts_agree_with_the_cases(record: AuditRecord, verdict: Verdict) -> None:
    root = Xml.fromstring(junit(record, verdict).encode())
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("skipped")) == ("17", "3", "2", "4")
    assert root.get("tests") == str(len(root.findall(".//testcase")))


def test_inconclusive_is_red_only_where_the_policy_blocks(record: AuditRecord, verdict: Verdict) -> None:
    assert verdict.policy is not None
    defaults = verdict.policy.defaults.model_copy(update={"on_inconclusive": "warn"})
    warned = verdict.model_copy(update={"policy": verdict.policy.model_copy(update={"defaults": defaults})})
    assert cases(junit(record, warned))["no-regression"] == []
    root = Xml.fromstring(junit(record, verdict).encode())
    kinds = [e.get("type") for e in root.iter("failure")]
    assert kinds.count("inconclusive") == 2


def test_no_check_at_all_is_red(record: AuditRecord, verdict: Verdict) -> None:
    bare = verdict.model_copy(
        update={"rulings": (), "outcome": "error", "exit_code": 12, "reasons": (message("No check ran."),)}
    )
    assert isinstance(cases(junit(record, bare))["verdict"][0], Error)


def test_illegal_characters_and_clocks_are_absent(
    record: AuditRecord, verdict: Verdict, make_passing: Callable[[AuditRecord, Verdict], Verdict]
) -> None:
    bad = record.model_copy(update={"name": "a\0\x0b\ufffe\x1b<]]>&\"'b"})
    text = junit(bad, make_passing(record, verdict))
    root = Xml.fromstring(text.encode())
    assert root.get("name") == "plumbline a\ufffd\ufffd\ufffd\ufffd<]]>&\"'b"
    assert "timestamp" not in text
    assert "hostname" not in text
    assert text == junit(bad, make_passing(record, verdict))


def test_the_file_has_the_shape_that_ci_servers_read(record: AuditRecord, verdict: Verdict) -> None:
    from lxml import etree

    schema = etree.XMLSchema(etree.parse(Path(__file__).parent / "junit.xsd"))
    for given in (verdict, verdict.model_copy(update={"enforced": False, "exit_code": 0})):
        schema.assertValid(etree.fromstring(junit(record, given).encode()))
    two_endings = junit(record, verdict).replace("</failure>", '</failure><skipped type="x" message="y"/>', 1)
    assert not schema.validate(etree.fromstring(two_endings.encode()))


def test_nothing_is_red_that_is_not_enforced(record: AuditRecord, verdict: Verdict) -> None:
    told = junit(record, verdict.model_copy(update={"enforced": False, "exit_code": 0}))
    root = Xml.fromstring(told.encode())
    assert (root.get("failures"), root.get("errors")) == ("0", "0")
    assert "fail, not enforced: groups:equal_opportunity_difference" in told
