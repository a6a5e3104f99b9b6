"""The gate: every outcome, its reason, its exit code; and nothing missing, broken or thin ever passes."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.decide import decide, not_enforced
from audit.errors import PolicyError
from probes.evidence import (
    Axis,
    Counts,
    Interval,
    MeasureDefinition,
    Measurement,
    Method,
    ProbeInfo,
    Reading,
    Undefined,
    feature_axes,
    group_axes,
    message,
)
from reports.record import (
    AuditRecord,
    Comparison,
    DataCard,
    Finding,
    NoComparison,
    PlannedProbe,
    Policy,
    SubjectCard,
    Waiver,
)

DAY = date(2026, 3, 1)
DIGEST = "a" * 64
INFO = ProbeInfo(
    id="fairness.groups",
    asks=message("?"),
    defines=tuple(
        MeasureDefinition(name=n, formula=message("f"), better="higher") for n in ("recall", "gap", "count", "gone")
    ),
)


def measured(value, low, high, *, name="gap", slice_=(), n=1000, level=0.95, smallest=None):
    return Measurement(
        name=name,
        value=value,
        interval=None if low is None else Interval(low=low, high=high, level=level, method=Method(name="wilson")),
        counts=Counts(n=n, denominator=n, smallest=smallest if smallest is not None else n),
        slice=slice_,
    )


def record(*measurements, level=0.95, status="measured", extra_planned=()):
    planned = PlannedProbe(instance="groups", info=INFO)
    finding = Finding(
        instance="groups",
        info=INFO,
        status=status,
        seed=0,
        reading=Reading(measurements=measurements) if status == "measured" else None,
        reason=None if status == "measured" else message("it broke"),
    )
    return AuditRecord(
        plumbline="0",
        name="t",
        seed=0,
        level=level,
        subject=SubjectCard(kind="fake", name="m", digest=DIGEST, task="text-classification", classes=("a", "b")),
        data=DataCard(name="d", digest=DIGEST, rows=1000, roles={}, labels={}),
        planned=(planned, *extra_planned),
        findings=(finding,),
    )


def policy(*rules, **defaults):
    return Policy.model_validate(
        {
            "schema": "plumbline.policy/v1",
            "name": "p",
            "version": 1,
            "owner": "o",
            "defaults": defaults,
            "rules": [{"id": f"r{i}", "measure": "groups:gap", **r} for i, r in enumerate(rules)],
        }
    )


def ruled(*measurements, rule, **defaults):
    return decide(record(*measurements), policy(rule, **defaults), on=DAY)


@pytest.mark.parametrize(
    ("value", "low", "high", "rule", "outcome", "code"),
    [
        (0.05, 0.01, 0.10, {"max": 0.10}, "pass", 0),
        (0.05, 0.01, 0.1000001, {"max": 0.10}, "inconclusive", 11),
        (0.30, 0.10, 0.40, {"max": 0.10}, "inconclusive", 11),
        (0.30, 0.1000001, 0.40, {"max": 0.10}, "fail", 10),
        (0.80, 0.70, 0.90, {"min": 0.70}, "pass", 0),
        (0.80, 0.69, 0.90, {"min": 0.70}, "inconclusive", 11),
        (0.50, 0.40, 0.69, {"min": 0.70}, "fail", 10),
        (0.00, 0.00, 0.00, {"max": 0.10}, "inconclusive", 11),
        (0.00, None, None, {"max": 0}, "pass", 0),
        (0.01, None, None, {"max": 0}, "fail", 10),
        (0.05, None, 0.09, {"max": 0.10}, "pass", 0),
        (0.05, 0.01, None, {"max": 0.10}, "inconclusive", 11),
    ],
)
def test_interval_against_limit(value, low, high, rule, outcome, code):
    if low is None and high is None:
        m = measured(value, None, None)
    else:
        m = measured(value, 0.0, 0.0).model_copy(
            update={"interval": Interval(low=low, high=high, level=0.95, method=Method(name="x"))}
        )
    verdict = ruled(m, rule=rule)
    assert (verdict.rulings[0].outcome, verdict.outcome, verdict.exit_code) == (outcome, outcome, code)


def test_thin_evidence_is_inconclusive_by_its_smallest_denominator():
    verdict = ruled(measured(0.01, 0.0, 0.02, smallest=49), rule={"max": 0.5}, min_n=50)
    assert verdict.outcome == "inconclusive"
    assert "49 rows" in str(verdict.rulings[0].reason)


def test_undefined_is_inconclusive_with_its_reason():
    m = Undefined(name="gap", counts=Counts(n=9, denominator=0, smallest=0), reason=message("no positives"))
    verdict = ruled(m, rule={"max": 0.5})
    assert verdict.exit_code == 11
    assert "no positives" in str(verdict.rulings[0].reason)


def test_inconclusive_says_how_many_rows_would_decide():
    ruling = ruled(measured(0.05, 0.0, 0.15), rule={"max": 0.10}).rulings[0]
    assert ruling.needed_n == pytest.approx(1000 * (0.10 / 0.05) ** 2, abs=1)
    assert str(ruling.needed_n) in str(ruling.reason)
    ruling = ruled(measured(0.0999, 0.0, 0.15), rule={"max": 0.10}).rulings[0]
    assert ruling.needed_n is None
    assert "No practical sample" in str(ruling.reason)


@pytest.mark.parametrize("status", ["errored", "not_applicable"])
def test_what_did_not_measure_never_passes(status):
    verdict = decide(record(status=status), policy({"max": 1.0}), on=DAY)
    assert (verdict.outcome, verdict.exit_code) == ("error", 12)
    assert "it broke" in str(verdict.rulings[0].reason)


def test_planned_but_not_run_is_an_error():
    other = PlannedProbe(instance="later", info=INFO)
    rules = policy({"max": 1.0}, {"measure": "later:gap", "max": 1.0})
    verdict = decide(record(measured(0, 0, 0.1), extra_planned=(other,)), rules, on=DAY)
    assert [r.outcome for r in verdict.rulings] == ["pass", "error"]
    assert verdict.exit_code == 12


def test_missing_slice_is_an_error_that_lists_what_there_is():
    m = measured(0.1, 0, 0.2, slice_=feature_axes("gender"))
    verdict = decide(record(m), policy({"max": 1, "where": {"feature": "age"}}), on=DAY)
    assert verdict.exit_code == 12
    assert "feature:gender" in str(verdict.rulings[0].reason)


def test_several_slices_without_each_are_refused_with_a_list():
    ms = [measured(0.1, 0, 0.2, slice_=group_axes({"gender": g})) for g in ("f", "m")]
    with pytest.raises(PolicyError, match=r"group:gender=f; group:gender=m"):
        decide(record(*ms), policy({"max": 1}), on=DAY)


def test_each_makes_one_check_per_group_and_where_picks_one():
    ms = [measured(0.1, 0, 0.2, slice_=group_axes({"gender": g})) for g in ("f", "m")]
    both = group_axes({"gender": "f", "age": "old"})
    ms.append(measured(0.9, 0.8, 0.95, slice_=both))
    assert len(decide(record(*ms), policy({"max": 0.5, "each": {"group": "gender"}}), on=DAY).rulings) == 2
    one = decide(record(*ms), policy({"max": 0.5, "where": {"group": "gender=m"}}), on=DAY).rulings
    assert [r.check.slice for r in one] == [group_axes({"gender": "m"})]
    cross = decide(record(*ms), policy({"max": 0.5, "each": {"group": ["age", "gender"]}}), on=DAY).rulings
    assert [r.check.slice for r in cross] == [both]


def test_each_over_groups_is_ambiguous_where_classes_remain_open():
    ms = [measured(0.1, 0, 0.2, slice_=(*group_axes({"g": "f"}), Axis(kind="class", name=c))) for c in ("x", "y")]
    with pytest.raises(PolicyError, match="matches 2 slices"):
        decide(record(*ms), policy({"max": 1, "each": {"group": "g"}}), on=DAY)
    assert len(decide(record(*ms), policy({"max": 1, "each": {"group": "g", "class": "*"}}), on=DAY).rulings) == 2


def test_a_rule_that_names_no_slice_speaks_of_the_whole():
    ms = [measured(0.1, 0, 0.2), measured(0.9, 0.8, 0.95, slice_=group_axes({"g": "f"}))]
    (ruling,) = decide(record(*ms), policy({"max": 0.5}), on=DAY).rulings
    assert (ruling.check.slice, ruling.outcome) == ((), "pass")
    with pytest.raises(PolicyError, match="matches 2 slices"):
        decide(record(ms[1], measured(0.1, 0, 0.2, slice_=group_axes({"g": "m"}))), policy({"max": 0.5}), on=DAY)


def test_no_policy_and_no_rules_decide_nothing():
    assert decide(record(measured(0, 0, 0.1)), None, on=DAY).exit_code == 12
    assert decide(record(measured(0, 0, 0.1)), policy(), on=DAY).exit_code == 12


def test_precedence_and_advisory_rules():
    ms = (
        measured(0.5, 0.4, 0.6, slice_=group_axes({"g": "fails"})),
        measured(0.1, 0.0, 0.3, slice_=group_axes({"g": "open"})),
        measured(0.1, 0.0, 0.15, slice_=group_axes({"g": "fine"})),
    )

    def verdict(*names, warn=False, severity="blocking"):
        rules = [{"max": 0.2, "where": {"group": f"g={n}"}, "severity": severity} for n in names]
        return decide(record(*ms), policy(*rules, on_inconclusive="warn" if warn else "block"), on=DAY)

    assert verdict("fails", "open", "absent").exit_code == 10
    assert verdict("open", "absent").exit_code == 12
    assert verdict("open", "fine").exit_code == 11
    assert verdict("open", "fine", warn=True).exit_code == 0
    assert verdict("open", "fine", warn=True).outcome == "inconclusive"
    assert verdict("fine").exit_code == 0
    assert verdict("fails", severity="advisory").exit_code == 0
    assert verdict("absent", severity="advisory").exit_code == 12
    enforced = not_enforced(verdict("fails"))
    assert (enforced.exit_code, enforced.enforced, enforced.outcome) == (0, False, "fail")


def test_point_decisions_say_so_and_exact_ones_refuse_samples():
    verdict = ruled(measured(0.05, 0.0, 0.5), rule={"max": 0.1}, decision="point")
    assert verdict.outcome == "pass"
    assert "point value" in str(verdict.rulings[0].reason)
    with pytest.raises(PolicyError, match="sampled"):
        ruled(measured(0.05, 0.0, 0.5), rule={"max": 0.1, "decision": "exact"})
    assert ruled(measured(7, None, None), rule={"max": 8, "decision": "exact"}).outcome == "pass"


def test_another_level_needs_a_restated_record():
    rules = policy({"max": 0.1}, level=0.99)
    base = record(measured(0.05, 0.01, 0.09))
    assert decide(base, rules, on=DAY).exit_code == 12
    wider = record(measured(0.05, 0.0, 0.12, level=0.99), level=0.99)
    verdict = decide(base, rules, on=DAY, restated={0.99: wider})
    assert verdict.outcome == "inconclusive"
    assert verdict.rulings[0].interval.level == 0.99


def waiver(**changes):
    body = {
        "id": "w1",
        "rule": "r0",
        "slice": "all",
        "subject": DIGEST,
        "allow_up_to": 0.4,
        "justification": "j",
        "statement": "s",
        "requested_by": "ann",
        "approved_by": "bob",
        "approved_on": date(2026, 2, 1),
        "expires": date(2026, 4, 1),
        "ticket": "T-1",
    }
    return Waiver.model_validate({**body, **changes})


def excused(changes, *, m=None, rule=None, on=DAY):
    m = m or measured(0.3, 0.2, 0.4)
    return decide(record(m), policy({"max": 0.1, **(rule or {})}), (waiver(**changes),), on=on)


def test_a_live_waiver_covers_a_fail_and_keeps_the_original():
    verdict = excused({})
    assert (verdict.outcome, verdict.exit_code) == ("waived", 0)
    assert verdict.rulings[0].original == "fail"
    assert not verdict.warnings


@pytest.mark.parametrize(
    ("changes", "rule", "on", "words"),
    [
        ({"expires": date(2026, 2, 20)}, {}, DAY, "expired"),
        ({"approved_on": date(2026, 3, 2)}, {}, DAY, "approved only from"),
        ({"subject": "b" * 64}, {}, DAY, "another subject"),
        ({"allow_up_to": 0.2}, {}, DAY, "up to"),
        ({"approved_by": "Ann "}, {}, DAY, "does not count"),
        ({"expires": date(2026, 9, 1)}, {}, DAY, "does not count"),
        ({"rule": "r9"}, {}, DAY, "matches no check"),
        ({"slice": "group:g=f"}, {}, DAY, "matches no check"),
        ({}, {"waivable": False}, DAY, "may not be waived"),
    ],
)
def test_a_waiver_that_does_not_fit_warns_and_excuses_nothing(changes, rule, on, words):
    verdict = excused(changes, rule=rule, on=on)
    assert (verdict.outcome, verdict.exit_code) == ("fail", 10)
    assert words in str(verdict.warnings[0])


def test_an_error_cannot_be_waived_and_an_unneeded_waiver_warns():
    verdict = decide(record(status="errored"), policy({"max": 0.1}), (waiver(),), on=DAY)
    assert verdict.exit_code == 12
    assert "cannot be waived" in str(verdict.warnings[0])
    verdict = excused({}, m=measured(0.01, 0, 0.05))
    assert verdict.outcome == "pass"
    assert "not needed" in str(verdict.warnings[0])


def comparison(drop, low, high):
    return Comparison(
        baseline="main",
        baseline_digest=DIGEST,
        instance="groups",
        measure="gap",
        value=0.5,
        baseline_value=0.5,
        difference=-drop,
        drop=drop,
        drop_interval=None if low is None else Interval(low=low, high=high, level=0.95, method=Method(name="x")),
        counts=Counts(n=100, denominator=100, smallest=100),
        paired=True,
        level=0.95,
    )


def test_max_drop_is_held_against_the_comparison():
    rules = policy({"baseline": "main", "max_drop": 0.01})
    run = record(measured(0.5, 0.4, 0.6))

    def outcome(*comparisons):
        return decide(run, rules, (), comparisons, on=DAY).outcome

    assert outcome(comparison(0.0, None, None)) == "pass"
    assert outcome(comparison(-0.02, -0.04, 0.005)) == "pass"
    assert outcome(comparison(0.005, -0.01, 0.02)) == "inconclusive"
    assert outcome(comparison(0.05, 0.02, 0.08)) == "fail"
    assert outcome() == "error"


def test_a_missing_baseline_is_an_error_unless_the_policy_skips_it():
    run = record(measured(0.5, 0.4, 0.6))
    gone = NoComparison(rule="r0", baseline="main", missing=True, reason=message("no baseline"))
    rule = {"baseline": "main", "max_drop": 0.01}
    assert decide(run, policy(rule), (), (gone,), on=DAY).exit_code == 12
    skipping = policy({**rule, "baseline_missing": "skip"}, {"max": 0.9})
    verdict = decide(run, skipping, (), (gone,), on=DAY)
    assert (verdict.outcome, len(verdict.rulings)) == ("pass", 1)
    assert "skipped" in str(verdict.warnings[0])
    broken = gone.model_copy(update={"missing": False})
    assert decide(run, skipping, (), (broken,), on=DAY).exit_code == 12


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.3), st.floats(0, 0.3)), min_size=1, max_size=5),
    st.floats(0, 1),
)
def test_adding_a_rule_never_improves_a_verdict(figures, limit):
    rank = {0: 0, 11: 1, 12: 2, 10: 3}
    ms = [measured(v, max(0.0, v - a), v + b, slice_=group_axes({"g": str(i)})) for i, (v, a, b) in enumerate(figures)]
    rules = [{"max": limit, "where": {"group": f"g={i}"}} for i in range(len(ms))]
    codes = [decide(record(*ms), policy(*rules[: k + 1]), on=DAY).exit_code for k in range(len(rules))]
    assert [rank[c] for c in codes] == sorted(rank[c] for c in codes)


def test_the_same_input_gives_the_same_bytes():
    one, two = (ruled(measured(0.05, 0.01, 0.2), rule={"max": 0.1}).to_json() for _ in range(2))
    assert one == two
