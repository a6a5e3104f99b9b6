from __future__ import annotations

from probes.evidence import message
from reports.checks import check_views
from reports.decision import headline, uncovered
from reports.language import say
from reports.record import AuditRecord, Verdict
from reports.sections import report
from reports.wording import measure_words, shortened, slug, visible


def test_checks_that_need_action_come_first_and_blocking_before_advisory(record: AuditRecord, verdict: Verdict) -> None:
    views = check_views(record, verdict)
    assert [v.ruling.check.rule.id for v in views[:6]] == [
        "equal-opportunity", "no-old-regression", "membership", "every-group-is-protected", "no-regression", "faithful",
    ]  # fmt: skip
    assert len(views) == len(verdict.rulings)


def test_every_planned_probe_has_its_place(record: AuditRecord, verdict: Verdict) -> None:
    families = report(record, verdict).families
    shown = [p.instance for f in families for p in f.probes]
    assert sorted(shown) == sorted(p.instance for p in record.planned)
    status = {p.instance: p.status for f in families for p in f.probes}
    assert status["attack-synonyms"] == "not_run"
    assert status["attack-typos"] == "not_applicable"
    assert status["membership"] == "errored"


def test_a_finding_outside_the_plan_is_shown_too(record: AuditRecord, verdict: Verdict) -> None:
    odd = record.model_copy(update={"planned": ()})
    shown = [p.instance for f in report(odd, verdict).families for p in f.probes]
    assert sorted(shown) == sorted(f.instance for f in record.findings)


def test_families_without_a_reading_are_named(record: AuditRecord) -> None:
    said = [str(m) for m in uncovered(record.model_copy(update={"findings": ()}))]
    for family in ("Performance", "Fairness", "Explanation", "Robustness", "Privacy", "Data quality"):
        assert f"{family}: nothing was measured." in said


def test_the_headline_counts(record: AuditRecord, verdict: Verdict) -> None:
    for outcome, count in (("error", 2), ("inconclusive", 2)):
        said = headline(record, verdict.model_copy(update={"outcome": outcome}))
        assert said.params["decided"].params["count"] == count
        assert "10 checks" in str(said)
    clean = tuple(r for r in verdict.rulings if r.outcome in ("pass", "waived"))
    said = headline(record, verdict.model_copy(update={"outcome": "waived", "rulings": clean}))
    assert str(said).startswith("No breach detected in 4 checks, except 1 waived.")


def test_nothing_of_a_third_familys_probe_is_lost(record: AuditRecord, verdict: Verdict) -> None:
    info = record.findings[0].info.model_copy(update={"id": "carbon.cost"})
    other = record.model_copy(
        update={"findings": (record.findings[0].model_copy(update={"info": info}),), "planned": ()}
    )
    families = report(other, verdict).families
    assert [(f.anchor, str(f.title)) for f in families] == [("f-carbon", "carbon")]


def test_words() -> None:
    assert measure_words("roc_auc") == "ROC AUC"
    assert measure_words("equal_opportunity_difference") == "Equal opportunity difference"
    assert slug("../<a>") == "a"
    assert slug("男") == "x"
    assert visible("a\tb\n\0\ud800") == "a\tb\n\ufffd\ufffd"
    assert shortened("abcdef", 3) == "abc […+3]"


def test_saying_fills_after_translation() -> None:
    assert say(message("{n} rows", n=3)) == "3 rows"
    assert say(None) == "–"
    assert say(0.5) == "0.500"
    assert say("{n}") == "{n}"
