"""tau over groups: a hand-computed table, statsmodels, properties, and that it does not grow with the number of groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from probes.heterogeneity import cochran_q, heterogeneity, within_variances
from probes.rates import count, independent

tables = st.lists(
    st.integers(1, 80).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=2, max_size=9
)


def _rate(cells):
    return independent([k for k, _ in cells], [n for _, n in cells])


def test_two_groups_by_hand():
    """46 of 96 and 22 of 96: shares with 2 of 4 added are .48 and .24, so v = .2496 / 96 = .0026 and .1824 / 96 = .0019."""
    e = heterogeneity(independent([46, 22], [96, 96]), 0.95)
    w = (1 / 0.0026, 1 / 0.0019)
    q = (0.25**2) * w[0] * w[1] / (w[0] + w[1])
    assert e.params["cochran_q"] == pytest.approx(0.0625 / 0.0045) == pytest.approx(q)
    tau2 = (q - 1) / (sum(w) - (w[0] ** 2 + w[1] ** 2) / sum(w))
    assert e.value == pytest.approx(np.sqrt(tau2))
    # Of two groups Q(t) = d^2 / (v1 + v2 + 2 t), so both ends can be written down.
    for end, target in ((e.low, stats.chi2.isf(0.025, 1)), (e.high, stats.chi2.ppf(0.025, 1))):
        assert end == pytest.approx(min(np.sqrt((0.0625 / target - 0.0045) / 2), 1.0), abs=1e-9)
    assert e.params["cochran_q_p_value"] == pytest.approx(stats.chi2.sf(q, 1))


@given(tables)
@settings(max_examples=80, deadline=None)
def test_value_is_that_of_statsmodels(cells):
    rate = _rate(cells)
    e = heterogeneity(rate, 0.95)
    theirs = combine_effects(rate.values, within_variances(rate), method_re="dl")
    assert e.value == pytest.approx(min(np.sqrt(max(theirs.tau2, 0)), 1.0), abs=1e-7)
    assert e.params["cochran_q"] == pytest.approx(theirs.q, abs=1e-9)


@given(tables, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_bounds_order_of_groups_and_opposite_answers(cells, random):
    e = heterogeneity(_rate(cells), 0.95)
    assert 0 <= e.low <= e.value <= e.high <= 1
    wider = heterogeneity(_rate(cells), 0.99)
    assert wider.low <= e.low + 1e-9
    assert wider.high >= e.high - 1e-9
    mixed = [(n - k, n) for k, n in cells]
    random.shuffle(mixed)
    other = heterogeneity(_rate(mixed), 0.95)
    assert (other.value, other.low, other.high) == pytest.approx((e.value, e.low, e.high), abs=1e-6)


def test_ends_of_the_profile_meet_the_chi_squared():
    rate = independent([10, 25, 40, 30, 5], [60, 60, 70, 50, 40])
    e = heterogeneity(rate, 0.95)
    for end, target in ((e.low, stats.chi2.isf(0.025, 4)), (e.high, stats.chi2.ppf(0.025, 4))):
        assert cochran_q(rate.values, within_variances(rate), end**2) == pytest.approx(target, rel=1e-9)


def test_groups_without_rows_are_left_out_and_one_group_has_none():
    full, gappy = independent([10, 30], [40, 40]), independent([10, 0, 30], [40, 0, 40])
    assert heterogeneity(full, 0.95) == heterogeneity(gappy, 0.95)
    assert heterogeneity(independent([3, 0], [5, 0]), 0.95) is None
    assert heterogeneity(independent([0, 0, 0], [9, 20, 50]), 0.95).low == 0.0


def test_clusters_take_from_it():
    rng = np.random.default_rng(0)
    cluster, group = np.repeat(np.arange(80), 5), np.repeat(np.arange(4), 100)
    hit = np.repeat(rng.random(80) < 0.4, 5)
    aware, blind = heterogeneity(count(group, 4, hit, cluster), 0.95), heterogeneity(count(group, 4, hit), 0.95)
    assert aware.value <= blind.value
    assert aware.params["cochran_q_p_value"] > blind.params["cochran_q_p_value"]


def test_it_does_not_grow_with_the_number_of_groups_where_all_are_alike():
    """The largest gap does; tau falls, and Q says "more than noise" about as often as it may."""
    rng, n = np.random.default_rng(3), 100
    tau, gap, small = {}, {}, {}
    for groups in (3, 10, 40):
        rates = [independent(rng.binomial(n, 0.3, groups), np.full(groups, n)) for _ in range(300)]
        found = [heterogeneity(r, 0.95) for r in rates]
        tau[groups] = np.mean([e.value for e in found])
        small[groups] = np.mean([e.params["cochran_q_p_value"] <= 0.05 for e in found])
        gap[groups] = np.mean([np.ptp(r.values) for r in rates])
    assert gap[3] < gap[10] - 0.05 < gap[40] - 0.1
    assert tau[40] <= tau[10] <= tau[3] < 0.03
    assert max(small.values()) <= 0.1


def test_the_interval_holds_a_true_tau():
    """Normal true rates around .5 with standard deviation .1, 12 groups of 100."""
    rng, held, reps = np.random.default_rng(4), 0, 300
    for _ in range(reps):
        rates = np.clip(rng.normal(0.5, 0.1, 12), 0, 1)
        e = heterogeneity(independent(rng.binomial(100, rates), np.full(12, 100)), 0.95)
        held += e.low <= 0.1 <= e.high
    assert held / reps >= 0.91
