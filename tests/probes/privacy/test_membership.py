"""Membership figures and groups by hand, and how often their intervals miss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from probes.errors import ProbeError
from probes.evidence import Measurement, Undefined
from probes.intervals import clopper_pearson
from probes.privacy.membership import _table
from probes.privacy.membership_definitions import LOSS
from probes.privacy.membership_figures import Scored, exact_share, measure_attack, threshold
from probes.privacy.membership_groups import Feature, measure_groups
from probes.probe import Context
from probes.ranking import roc_auc
from probes.registry import create

CTX = Context(instance="membership", seed=3)


def figures(reading):
    return {(m.name, *(str(a) for a in m.slice)): m for m in reading.measurements}


def rows(score, member, *, groups=None, cluster=None, source="holdout"):
    n = len(score)
    told = {"name": "d", "there": n, "repeated": 0, "apart": 0}
    columns = {
        "row_id": [str(i) for i in range(n)], "member": list(member), "label": ["yes"] * n,
        "cluster": [None] * n if cluster is None else list(cluster), **{f"group_{k}": v for k, v in (groups or {}).items()},
        "score": [float(s) for s in score], "loss": [0.0] * n,
    }  # fmt: skip
    facts = {
        "source": source, "members": told, "others": told, "features": list(groups or {}), "deep": "none", "private": False
    }  # fmt: skip
    return _table(columns, facts)


def read(table, level=0.95, **options):
    return create("privacy.membership", options).summarise(table, CTX.at(level))


# figures


def test_area_by_hand():
    # Of 2 x 2 pairs the members win three, and one is a tie: 3.5 / 4.
    found = figures(read(rows([3, 2, 2, 1], [True, True, False, False])))
    assert found["auc",].value == pytest.approx(0.875)
    assert found["auc",].better == "lower"
    assert found["auc",].counts.smallest == 2
    assert isinstance(found["tpr_at_1_percent_fpr",], Undefined)
    assert "Not resolvable" in found["tpr_at_1_percent_fpr",].reason.fill()


def test_found_at_a_false_positive_rate_by_hand():
    others = np.arange(200.0)
    # 1 % of 200 allows two wrong names: 199 and 198 lie above 197.
    assert threshold(others, 0.01) == 197.0
    members = np.array([197.0, 197.5, 300.0, 5.0])
    scored = Scored(
        scores=np.concatenate([members, others]), member=np.array([True] * 4 + [False] * 200), clusters=None
    )
    _, one, tenth = measure_attack(LOSS, scored, 0.95)
    wanted = clopper_pearson(2, 4, 0.95)
    assert (one.value, one.interval.low, one.interval.high) == pytest.approx((0.5, wanted.low, wanted.high))
    assert one.counts.denominator == 4
    assert isinstance(tenth, Undefined)
    assert "0.1 %" in tenth.reason.fill()


@pytest.mark.parametrize(
    ("others", "defined", "unstable"), [(99, 0, 0), (100, 1, 1), (999, 1, 1), (1000, 2, 1), (9999, 2, 1), (10000, 2, 0)]
)
def test_what_few_rows_cannot_resolve(others, defined, unstable):
    rng = np.random.default_rng(0)
    reading = read(rows(rng.normal(size=others + 50), [True] * 50 + [False] * others))
    shares = [m for m in reading.measurements if "fpr" in m.name]
    assert sum(isinstance(m, Measurement) for m in shares) == defined
    assert sum("Unstable" in r.text for r in reading.remarks) == unstable


@given(st.integers(0, 2**32 - 1))
def test_what_keeps_the_order_keeps_the_figures_and_rows_may_be_shuffled(seed):
    rng = np.random.default_rng(seed)
    n = 160
    score, member = rng.integers(-4, 5, n).astype(float), np.arange(n) < 50
    first = read(rows(score, member))
    order = rng.permutation(n)
    again = read(rows(np.exp(score / 3)[order], member[order]))
    for a, b in zip(first.measurements, again.measurements, strict=True):
        assert (a.name, a.kind) == (b.name, b.kind)
        if isinstance(a, Measurement):
            assert a.value == pytest.approx(b.value)
            assert a.interval.low == pytest.approx(b.interval.low)


def test_chance_is_covered():
    """Scores that know nothing: the interval of the AUC misses one half about as often as it says."""
    rng = np.random.default_rng(5)
    member = np.arange(200) < 100
    missed = sum(
        not (e.low <= 0.5 <= e.high) for e in (roc_auc(rng.normal(size=200), member, 0.95) for _ in range(400))
    )
    assert missed <= 33


def test_clusters_widen_both_kinds_of_figure():
    rng = np.random.default_rng(4)
    one = rng.normal(size=100)
    score, member = np.repeat(one, 4), np.repeat(np.arange(100) < 50, 4)
    alone = figures(read(rows(score, member)))
    names = [f"c{i}" for i in np.repeat(np.arange(100), 4)]
    together = figures(read(rows(score, member, cluster=names)))
    for key in (("auc",), ("tpr_at_1_percent_fpr",)):
        a, b = alone[key], together[key]
        assert a.value == b.value
        assert b.interval.high - b.interval.low > 1.5 * (a.interval.high - a.interval.low)
    assert together["auc",].counts.clusters == 100


@given(st.integers(0, 40), st.integers(1, 40), st.sampled_from([0.9, 0.99]))
def test_exact_limits_hold_their_value_with_clusters(found, size, level):
    hits = np.arange(40) < found
    e = exact_share(hits, np.arange(40) // size, level)
    assert 0 <= e.low <= e.value <= e.high <= 1
    assert e.interval(level).high > e.interval(level).low


# groups


def leaky(rng, n, shift):
    member = np.arange(n) % 2 == 0
    return rng.normal(size=n) + shift * member, member


def test_whose_rows_are_found_most():
    rng = np.random.default_rng(6)
    much, plain = leaky(rng, 400, 1.5), leaky(rng, 400, 0.0)
    score, member = np.concatenate([much[0], plain[0]]), np.concatenate([much[1], plain[1]])
    table = rows(score, member, groups={"g": ["f"] * 400 + ["m"] * 390 + ["x"] * 6 + [None] * 4})
    reading = read(table)
    found = figures(reading)
    assert found["group_auc", "group:g=f"].interval.low > 0.75
    assert found["group_auc", "group:g=m"].interval.low < 0.5 < found["group_auc", "group:g=m"].interval.high
    few = found["group_auc", "group:g=x"]
    assert isinstance(few, Undefined)
    assert "3 training rows and 3 others" in few.reason.fill()
    gap = found["largest_auc_gap", "feature:g"]
    assert gap.value == pytest.approx(found["group_auc", "group:g=f"].value - found["group_auc", "group:g=m"].value)
    assert 0.2 < gap.interval.low < gap.value < gap.interval.high
    said = " ".join(r.fill() for r in reading.remarks)
    assert "told more easily than the rest's, after Holm's correction for 2 groups: g=f" in said
    assert "4 rows have no value for g" in said


def test_the_gap_of_two_equal_groups_reaches_down_to_nothing():
    rng = np.random.default_rng(7)
    score, member = leaky(rng, 600, 0.5)
    groups = np.where(np.arange(600) % 4 < 2, "a", "b").tolist()
    found = figures(read(rows(score, member, groups={"g": groups})))
    assert found["largest_auc_gap", "feature:g"].interval.low == 0.0


def test_the_gap_misses_and_the_claims_err_no_more_often_than_they_say():
    """Three groups: alike (claims are wrong then), and unlike (the gap's ends are tested then)."""
    rng = np.random.default_rng(9)
    trials, n = 150, 60
    codes, member = np.repeat(np.arange(3), 2 * n), np.tile(np.arange(2 * n) < n, 3)
    for shifts in ((0.4, 0.4, 0.4), (0.0, 0.3, 0.8)):
        areas = stats.norm.cdf(np.array(shifts) / np.sqrt(2))
        truth, low, high, claims = areas.max() - areas.min(), 0, 0, 0
        for _ in range(trials):
            score = rng.normal(size=len(codes)) + member * np.repeat(shifts, 2 * n)
            feature = Feature(name="g", codes=codes, groups=("a", "b", "c"))
            told = measure_groups((feature,), Scored(scores=score, member=member, clusters=None), 0.95, 20)
            gap = told.measurements[-1]
            low += gap.interval.low > truth + 1e-9
            high += gap.interval.high < truth - 1e-9
            claims += "of these groups" in told.remarks[-1].text
        # 2.5 % a side and 5 % in all, and three standard errors of so few trials.
        assert low <= 9
        assert high <= 9
        assert claims <= 15 or shifts[0] != shifts[-1]


def test_names_of_groups_do_not_matter():
    rng = np.random.default_rng(8)
    score, member = leaky(rng, 300, 0.7)
    groups = rng.choice(["a", "b", "c"], 300)
    other = {"a": "z", "b": "y", "c": "x"}
    first = figures(read(rows(score, member, groups={"g": groups.tolist()})))["largest_auc_gap", "feature:g"]
    again = figures(read(rows(score, member, groups={"g": [other[v] for v in groups]})))["largest_auc_gap", "feature:g"]
    assert first.value == pytest.approx(again.value)
    assert first.interval.low == pytest.approx(again.interval.low)
    assert first.interval.high == pytest.approx(again.interval.high)


def test_groups_without_any_error_leave_no_width_to_compare_by():
    member = np.arange(120) % 2 == 0
    score = np.where(member, 1.0, 0.0) + np.random.default_rng(0).random(120) * np.where(np.arange(120) < 60, 0.1, 5)
    reading = read(rows(score, member, groups={"g": ["a"] * 60 + ["b"] * 60}))
    gap = figures(reading)["largest_auc_gap", "feature:g"]
    assert isinstance(gap, Undefined)
    assert "in a," in gap.reason.fill()


def test_no_feature_is_said():
    assert any("names no sensitive feature" in r.text for r in read(rows([1, 0], [True, False])).remarks)


# options


@pytest.mark.parametrize(
    "options",
    [
        {"members": 1}, {"nonmember_rows": 0}, {"min_group": 1}, {"shadow_models": 5}, {"shadow_models": 2}, {"gamma": 0.5},
        {"offset": 1.5}, {"deep": "lira", "nonmembers": "audit"}, {"deep": "all"}, {"nonmembers": "test"},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ProbeError):
        create("privacy.membership", options)


def test_it_never_speaks_of_a_bound_on_epsilon():
    info = create("privacy.membership", {}).info
    assert any("no figure here is a bound on epsilon" in limit.text for limit in info.limits)
    assert all("epsilon" not in d.name for d in info.defines)
