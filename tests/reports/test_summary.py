from __future__ import annotations

from collections.abc import Callable

from reports.record import AuditRecord, Verdict
from reports.summary import MOST_ROWS, escaped, summary


def test_what_needs_action_comes_first(record: AuditRecord, verdict: Verdict) -> None:
    text = summary(record, verdict)
    assert text.startswith("# ❌ Fail: Hiring screen, spring release\n\nBreach detected in 2 of 10 checks")
    places = [
        text.index(p)
        for p in ("## Needs action", "- Fail, equal-opportunity", "## Warnings", "## Checks", "## Not covered")
    ]
    assert places == sorted(places)
    assert "attack-synonyms (robustness.attack) was planned and did not run." in text
    assert "decided on 2026-03-14" in text


def test_every_check_has_a_row_of_six_cells(record: AuditRecord, verdict: Verdict) -> None:
    rows = [line for line in summary(record, verdict).splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(verdict.rulings)
    for row in rows:
        assert row.replace("\\|", "").count("|") == 7


def test_text_from_data_is_never_markup(record: AuditRecord, verdict: Verdict, hostile: str) -> None:
    text = summary(record, verdict)
    assert hostile not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert escaped("a|b\n# c `d` [x](http://e) @me <b>&") == (
        "a\\|b \\# c \\`d\\` \\[x\\](http:&#47;&#47;e) &#64;me &lt;b&gt;&amp;"
    )


def test_a_long_list_is_cut_and_says_so(record: AuditRecord, verdict: Verdict) -> None:
    many = verdict.model_copy(update={"rulings": verdict.rulings * 100})
    text = summary(record, many)
    assert f"and {1000 - MOST_ROWS} more; see verdict.json" in text
    assert len(text.encode()) < 200_000


def test_pass_and_report_only(
    record: AuditRecord,
    verdict: Verdict,
    make_verdict: Callable[..., Verdict],
    make_passing: Callable[[AuditRecord, Verdict], Verdict],
) -> None:
    assert "No breach detected in 3 checks." in summary(record, make_passing(record, verdict))
    assert "NOT ENFORCED" in summary(record, make_verdict(record, enforced=False))
    assert "NOT ENFORCED" not in summary(record, verdict)
