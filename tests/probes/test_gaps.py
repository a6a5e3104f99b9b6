"""The largest gap over groups: its two ends, its simulation, and chance."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from probes.gaps import (
    gap_high,
    gap_low,
    largest_gap,
    least_ratio_high,
    least_ratio_low,
    permutation_p_value,
    ratios_to_highest,
    simultaneous_tail,
    smallest_ratio,
)
from probes.intervals import critical, difference_high, difference_low, ratio_high, ratio_low, wilson
from probes.rates import count, independent

tables = st.lists(
    st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=2, max_size=7
)


def _slow(rate, level):
    """Both ends, pair by pair, as DESIGN writes them."""
    tail, groups = (1 - level) / 2, len(rate)
    z = stats.studentized_range.ppf(1 - tail, groups, np.inf) / np.sqrt(2)
    p, n = rate.values, rate.denominators
    (b, u), (wl, wu) = wilson(p, n, stats.norm.isf(tail)), wilson(p, n, z)
    pairs = list(itertools.permutations(range(groups), 2))
    low = max(0, *(difference_low(p[i], wl[i], p[j], wu[j]) for i, j in pairs))
    high = max(difference_high(p[i], u[i], p[j], b[j]) for i, j in pairs)
    ratio = (
        min(1.0, *(float(ratio_low(p[i], b[i], p[j], u[j])) for i, j in pairs)),
        min(1.0, *(float(ratio_high(p[i], wu[i], p[j], wl[j])) for i, j in pairs)),
    )
    return (low, high), ratio


@given(tables)
@settings(max_examples=80, deadline=None)
def test_ends_against_the_slow_reference(cells):
    rate = independent([k for k, _ in cells], [n for _, n in cells])
    gap, ratio = _slow(rate, 0.95)
    e = largest_gap([rate], 0.95)
    assert (e.low, e.high) == pytest.approx(gap, abs=1e-12)
    assert e.low <= e.value + 1e-12 <= e.high + 2e-12
    if rate.successes.any():
        r = smallest_ratio([rate], 0.95)
        assert (r.low, r.high) == pytest.approx(ratio, abs=1e-12)
        assert r.low <= r.value + 1e-12 <= r.high + 2e-12


@given(tables, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_order_of_groups_does_not_matter(cells, random):
    mixed = list(cells)
    random.shuffle(mixed)
    a, b = (largest_gap([independent([k for k, _ in c], [n for _, n in c])], 0.95) for c in (cells, mixed))
    assert (a.value, a.low, a.high) == (b.value, b.low, b.high)


def test_blocks_of_pairs_agree(monkeypatch):
    rng = np.random.default_rng(0)
    rate = independent(rng.integers(1, 30, 40), np.full(40, 30))
    whole = largest_gap([rate], 0.95), smallest_ratio([rate], 0.95), ratios_to_highest(rate, 0.95)
    monkeypatch.setattr("probes.gaps._BLOCK", 100)
    assert (largest_gap([rate], 0.95), smallest_ratio([rate], 0.95), ratios_to_highest(rate, 0.95)) == whole


def test_two_groups_by_hand():
    """56/70 against 48/80: the high end is Newcombe's own; the low end pays for not knowing which is larger."""
    e = largest_gap([independent([56, 48], [70, 80])], 0.95)
    assert e.high == pytest.approx(0.3339, abs=5e-5)
    assert simultaneous_tail(0.025, 2) == pytest.approx(0.0125, abs=1e-6)
    z = stats.norm.isf(0.0125)
    (l1, _), (_, u2) = wilson(0.8, 70, z), wilson(0.6, 80, z)
    assert e.low == pytest.approx(float(difference_low(0.8, l1, 0.6, u2)), abs=1e-6)


def test_equalized_odds_splits_the_low_end_only():
    one, two = independent([40, 20], [50, 50]), independent([10, 11], [60, 60])
    both, alone = largest_gap([one, two], 0.95), largest_gap([one], 0.95)
    assert both.value == alone.value
    assert both.low < alone.low
    assert both.low == pytest.approx(float(gap_low(one.values, one.limits(simultaneous_tail(0.0125, 2)))))
    assert both.high == max(alone.high, largest_gap([two], 0.95).high)
    ratio, plain = smallest_ratio([one, two], 0.95), smallest_ratio([one], 0.95)
    assert ratio.low == min(plain.low, smallest_ratio([two], 0.95).low)
    assert ratio.high > plain.high


def test_refuses_one_group_and_empty_groups():
    for bad in (independent([1], [2]), independent([1, 0], [2, 0])):
        with pytest.raises(ValueError, match="at least two"):
            largest_gap([bad], 0.95)


def test_a_thousand_groups_are_fast():
    rng = np.random.default_rng(0)
    rate = independent(rng.integers(1, 200, 1000), np.full(1000, 200))
    started = time.process_time()
    largest_gap([rate], 0.95)
    smallest_ratio([rate], 0.95)
    assert time.process_time() - started < 5


# The simulation ------------------------------------------------------------------------------------------------------

REPS = 400
CELLS = {
    "2x100 equal": (100, [0.4, 0.4]),
    "2x100 apart": (100, [0.3, 0.5]),
    "7x50 equal": (50, [0.3] * 7),
    "7x50 apart": (50, [0.7, *[0.4] * 6]),
    "20x50 equal": (50, [0.5] * 20),
    "20x50 apart": (50, [0.2, *[0.5] * 18, 0.6]),
}


def _draw(cell):
    n, rates = CELLS[cell]
    rng = np.random.default_rng(sorted(CELLS).index(cell))
    return n, rng.binomial(n, rates, size=(REPS, len(rates))) / n, max(rates) - min(rates), min(rates) / max(rates)


def _misses(low, high, truth):
    return float(np.mean(low > truth + 1e-9)), float(np.mean(high < truth - 1e-9))


@pytest.mark.parametrize("cell", CELLS)
def test_gap_and_ratio_cover(cell):
    n, shares, gap, ratio = _draw(cell)
    plain = wilson(shares, n, critical(0.025))
    wide = wilson(shares, n, critical(simultaneous_tail(0.025, shares.shape[1])))
    assert max(_misses(gap_low(shares, wide), gap_high(shares, plain), gap)) <= 0.05
    assert max(_misses(least_ratio_low(shares, plain), least_ratio_high(shares, wide), ratio)) <= 0.05


def test_the_simulation_catches_wrong_intervals():
    """Plain limits on the low end, simultaneous limits a third too narrow, and the percentile bootstrap all fail it."""
    n, shares, gap, _ = _draw("20x50 equal")
    plain = wilson(shares, n, critical(0.025))
    assert _misses(gap_low(shares, plain), gap_high(shares, plain), gap)[0] > 0.05
    z = critical(simultaneous_tail(0.025, 20))
    narrow = wilson(shares, n, 0.67 * z)
    assert _misses(gap_low(shares, narrow), gap_high(shares, plain), gap)[0] > 0.05
    rng = np.random.default_rng(9)
    again = rng.binomial(n, np.broadcast_to(shares, (300, *shares.shape))) / n
    spread = again.max(axis=-1) - again.min(axis=-1)
    assert max(_misses(np.quantile(spread, 0.025, axis=0), np.quantile(spread, 0.975, axis=0), gap)) > 0.9


def test_the_simulation_catches_a_high_end_that_is_too_low():
    n, shares, gap, _ = _draw("2x100 apart")
    narrow = wilson(shares, n, 0.5 * critical(0.025))
    assert _misses(gap_low(shares, narrow), gap_high(shares, narrow), gap)[1] > 0.05


def test_ratios_to_highest_cover():
    """Every group's ratio to the truly highest; the observed highest is often another one."""
    rng, truth = np.random.default_rng(11), np.array([0.5, 0.5, 0.45, 0.3])
    wrong = np.zeros((2, 4))
    for _ in range(REPS):
        found = ratios_to_highest(independent(rng.binomial(80, truth), np.full(4, 80)), 0.95)
        for g, e in enumerate(found):
            wrong[:, g] += (e.low > truth[g] / 0.5 + 1e-9, e.high < truth[g] / 0.5 - 1e-9)
    assert (wrong / REPS).max() <= 0.05


def test_the_highest_group_is_uncertain_too():
    found = ratios_to_highest(independent([30, 29], [60, 60]), 0.95)
    assert found[0].value == 1.0 == found[0].high
    assert found[0].low < 1
    assert found[1].value == pytest.approx(29 / 30)


def test_clustered_gaps_cover_and_chance_knows_clusters():
    """Four equal groups of 25 clusters of 8 alike rows: taken as independent they would show gaps that are not there."""
    rng, reps = np.random.default_rng(12), 300
    cluster, group = np.repeat(np.arange(100), 8), np.repeat(np.arange(4), 200)
    low = naive = small = naive_small = 0
    for _ in range(reps):
        common = np.repeat(rng.random(100) < 0.4, 8)
        hit = np.where(rng.random(800) < 0.7, common, rng.random(800) < 0.4)
        aware, blind = count(group, 4, hit, cluster), count(group, 4, hit)
        low += largest_gap([aware], 0.95).low > 0
        naive += largest_gap([blind], 0.95).low > 0
        small += permutation_p_value([aware], rng, 99)[0] <= 0.05
        naive_small += permutation_p_value([blind], rng, 99)[0] <= 0.05
    assert low / reps <= 0.05 < naive / reps
    assert small / reps <= 0.09 < naive_small / reps


# Chance ---------------------------------------------------------------------------------------------------------------


def test_permutation_against_all_regroupings():
    """4 of 5 against 1 of 5 with 5 successes in 10: P(|gap| >= .6) = 2 (C(5,4) C(5,1) + 1) / C(10,5) = 52 / 252."""
    rate = independent([4, 1], [5, 5])
    p, error = permutation_p_value([rate], np.random.default_rng(0), 20_000)
    assert p == pytest.approx(52 / 252, abs=4 * error)
    assert error == pytest.approx(np.sqrt(p * (1 - p) / 20_001), rel=1e-6)


def test_permutation_against_shuffled_rows():
    rng = np.random.default_rng(1)
    group, hit = np.repeat([0, 1, 2], [30, 20, 10]), np.arange(60) % 3 == 0
    hit[50:] = True
    totals = np.bincount(group)

    def gap(h):
        shares = np.bincount(group[h], minlength=3) / totals
        return shares.max() - shares.min()

    slow = np.mean([gap(rng.permutation(hit)) >= gap(hit) - 1e-12 for _ in range(4000)])
    fast, _ = permutation_p_value([independent(np.bincount(group[hit]), totals)], rng, 4000)
    assert fast == pytest.approx(slow, abs=0.02)


def test_permutation_is_level_under_no_difference():
    rng = np.random.default_rng(2)
    small = 0
    for _ in range(200):
        rate = independent(rng.binomial(40, 0.3, 5), np.full(5, 40))
        small += permutation_p_value([rate], rng, 199)[0] <= 0.05
    assert small / 200 <= 0.09


def test_permutation_never_says_zero():
    assert permutation_p_value([independent([50, 0], [50, 50])], np.random.default_rng(0), 99)[0] == 0.01
