"""The closed forms, against published figures, other libraries, slow references and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from probes.intervals import (
    clopper_pearson,
    critical,
    difference_high,
    difference_low,
    mean_interval,
    mean_of_parts,
    ratio_high,
    ratio_low,
    wilson,
)
from probes.ranking import roc_auc
from probes.rates import count, independent

Z = float(stats.norm.isf(0.025))
counts = st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_wilson_is_statsmodels(pair):
    k, n = pair
    low, high = wilson(k / n, n, Z)
    assert np.allclose((low, high), proportion_confint(k, n, method="wilson"), atol=1e-12)
    assert 0 <= low <= k / n <= high <= 1


@given(counts)
def test_clopper_pearson_is_statsmodels(pair):
    k, n = pair
    e = clopper_pearson(k, n, 0.95)
    low, high = proportion_confint(k, n, method="beta")
    assert (e.low, e.high) == pytest.approx((np.nan_to_num(low), 1.0 if k == n else high), abs=1e-12)


def test_newcombe_published():
    """Newcombe 1998, table II, method 10: 56/70 - 48/80 is (0.0524, 0.3339); 9/10 - 3/10 is (0.1705, 0.8090)."""
    for a, m, b, n, low, high in ((56, 70, 48, 80, 0.0524, 0.3339), (9, 10, 3, 10, 0.1705, 0.8090)):
        (l1, u1), (l2, u2) = wilson(a / m, m, Z), wilson(b / n, n, Z)
        assert float(difference_low(a / m, l1, b / n, u2)) == pytest.approx(low, abs=5e-5)
        assert float(difference_high(a / m, u1, b / n, l2)) == pytest.approx(high, abs=5e-5)
        assert confint_proportions_2indep(a, m, b, n, method="newcomb") == pytest.approx((low, high), abs=5e-5)


@given(counts, counts)
@settings(max_examples=60)
def test_ratio_limits_solve_their_equation(one, two):
    """The limit t is where the limit of p1 - t p2 reaches 0; found here by bisection instead."""
    p1, p2 = one[0] / one[1], two[0] / two[1]
    (l1, u1), (l2, u2) = wilson(p1, one[1], Z), wilson(p2, two[1], Z)
    low, high = float(ratio_low(p1, l1, p2, u2)), float(ratio_high(p1, u1, p2, l2))
    assert 0 <= low <= high
    if p1 > 0:
        gap = lambda t: difference_low(p1, l1, t * p2, t * u2)  # noqa: E731
        assert low == pytest.approx(optimize.brentq(gap, 0, 1e9, xtol=1e-14, rtol=1e-13), rel=1e-6)
        if p2 > 0:
            assert low <= p1 / p2 <= high
    if l2 > 0:
        over = lambda t: difference_high(p1, u1, t * p2, t * l2)  # noqa: E731
        assert high == pytest.approx(optimize.brentq(over, 0, 1e9, xtol=1e-14, rtol=1e-13), rel=1e-6)
    else:
        assert high == np.inf


def test_mean_of_parts_by_hand():
    low, high = mean_of_parts(np.array([0.5, 0.9]), np.array([0.2, 0.5]), np.array([0.6, 1.0]))
    assert low == pytest.approx(0.7 - 0.5 / 2)
    assert high == pytest.approx(0.7 + np.sqrt(0.02) / 2)


def test_mean_interval_is_the_t_interval_and_clusters_widen_it():
    rng = np.random.default_rng(0)
    values = rng.normal(size=60)
    plain = mean_interval(values, 0.9)
    assert plain is not None
    expected = stats.t.interval(0.9, 59, values.mean(), stats.sem(values))
    assert (plain.low, plain.high) == pytest.approx(expected)
    copies = mean_interval(np.repeat(values, 4), 0.9, np.repeat(np.arange(60), 4))
    assert copies is not None
    assert (copies.low, copies.high) == pytest.approx((plain.low, plain.high), rel=1e-9)
    assert mean_interval(values, 0.9, np.zeros(60, dtype=np.int64)) is None


def test_design_effect_counts_copies_once():
    """Rows copied five times carry what one copy carries: the interval of 40 rows, not of 200."""
    hit = np.arange(40) < 14
    once = count(np.zeros(40, dtype=np.int64), 1, hit)
    copied = count(np.zeros(200, dtype=np.int64), 1, np.repeat(hit, 5), np.repeat(np.arange(40), 5))
    assert copied.design_effects[0] == pytest.approx(5 * 40 / 39)
    low, high = wilson(14 / 40, 40 * 39 / 40, critical(0.025, 39))
    found = copied.estimate(0, 0.95)
    assert (found.low, found.high) == pytest.approx((float(low), float(high)))
    assert found.high - found.low > once.estimate(0, 0.95).high - once.estimate(0, 0.95).low


def test_design_effect_against_the_slow_reference():
    rng = np.random.default_rng(1)
    n, size = 500, 4
    groups, clusters = rng.integers(-1, size, n), rng.integers(0, 60, n)
    hit = rng.random(n) < 0.2 + 0.6 * (clusters % 3 == 0)
    found = count(groups, size, hit, clusters)
    for g in range(size):
        y, c = hit[groups == g], clusters[groups == g]
        p, units = y.mean(), np.unique(c)
        squares = sum((y[c == u] - p).sum() ** 2 for u in units)
        expected = len(units) / (len(units) - 1) * squares / (len(y) * p * (1 - p))
        assert found.design_effects[g] == pytest.approx(max(expected, 1))
        assert found.clusters is not None
        assert found.clusters[g] == len(units)


def test_no_variation_takes_rows_of_a_cluster_as_copies():
    all_right = count(np.zeros(12, dtype=np.int64), 1, np.ones(12, dtype=bool), np.repeat(np.arange(3), 4))
    assert all_right.design_effects[0] == pytest.approx(4)
    singles = count(np.zeros(5, dtype=np.int64), 1, np.ones(5, dtype=bool), np.arange(5))
    assert singles.design_effects[0] == 1
    assert singles.estimate(0, 0.95).low == pytest.approx(independent([5], [5]).estimate(0, 0.95).low)


def test_sparse_and_dense_counting_agree(monkeypatch):
    rng = np.random.default_rng(2)
    groups, clusters, hit = rng.integers(0, 5, 300), rng.integers(0, 40, 300), rng.random(300) < 0.4
    dense = count(groups, 5, hit, clusters)
    monkeypatch.setattr("probes.rates._DENSE", 0)
    sparse = count(groups, 5, hit, clusters)
    assert np.array_equal(dense.design_effects, sparse.design_effects)
    assert np.array_equal(dense.clusters, sparse.clusters)


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_clustered_wilson_covers(rho):
    """60 clusters of 8 rows; at rho = .5 the plain interval misses far more than it may, the design effect does not."""
    rng, reps, p = np.random.default_rng(3), 400, 0.3
    cluster = np.repeat(np.arange(60), 8)
    missed = naive = 0
    for _ in range(reps):
        own = rng.random(480) < p
        common = np.repeat(rng.random(60) < p, 8)
        hit = np.where(rng.random(480) < np.sqrt(rho), common, own)
        e = count(np.zeros(480, dtype=np.int64), 1, hit, cluster).estimate(0, 0.95)
        missed += not e.low <= p <= e.high
        low, high = wilson(hit.mean(), 480, Z)
        naive += not low <= p <= high
    assert missed / reps <= 0.08
    if rho:
        assert naive / reps > 0.2


def _slow_auc(scores, positive):
    up, down = scores[positive], scores[~positive]
    wins = (up[:, None] > down[None, :]) + 0.5 * (up[:, None] == down[None, :])
    v10, v01 = wins.mean(axis=1), wins.mean(axis=0)
    return wins.mean(), v10.var(ddof=1) / len(up) + v01.var(ddof=1) / len(down), v10, v01


def test_roc_auc_against_all_pairs():
    rng = np.random.default_rng(4)
    positive = rng.random(150) < 0.4
    scores = np.round(rng.normal(size=150) + positive, 1)
    area, variance, _, _ = _slow_auc(scores, positive)
    e = roc_auc(scores, positive, 0.95)
    assert e.value == pytest.approx(area, abs=1e-12)
    logit = np.log(area / (1 - area))
    half = Z * np.sqrt(variance) / (area * (1 - area))
    assert (e.low, e.high) == pytest.approx((stats.logistic.cdf(logit - half), stats.logistic.cdf(logit + half)))


def test_clustered_roc_auc_of_copies_is_that_of_one_copy():
    rng = np.random.default_rng(5)
    positive = np.arange(80) < 35
    scores = rng.normal(size=80) + positive
    one = roc_auc(scores, positive, 0.95)
    four = roc_auc(np.repeat(scores, 4), np.repeat(positive, 4), 0.95, np.repeat(np.arange(80), 4))
    assert four.value == pytest.approx(one.value)
    assert four.high - four.low == pytest.approx(one.high - one.low, rel=0.03)
    assert roc_auc(np.repeat(scores, 4), np.repeat(positive, 4), 0.95).high < one.high


def test_roc_auc_covers():
    rng, reps = np.random.default_rng(6), 400
    truth = float(stats.norm.cdf(1.2 / np.sqrt(2)))
    positive = np.arange(120) < 40
    missed = 0
    for _ in range(reps):
        e = roc_auc(rng.normal(size=120) + 1.2 * positive, positive, 0.95)
        missed += not e.low <= truth <= e.high
    assert missed / reps <= 0.08


def test_perfect_separation_is_degenerate_and_not_hidden():
    e = roc_auc(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]), 0.95)
    assert (e.value, e.low, e.high) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="positive and negative"):
        roc_auc(np.array([0.1]), np.array([True]), 0.95)
