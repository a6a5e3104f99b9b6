"""The largest gap over groups: its two ends, its simulation, and chance. `test_extremes.py` has the critical values."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from probes.extremes import Shares, lower_end, upper_end
from probes.gaps import (
    gap_high,
    gap_low,
    largest_gap,
    least_ratio_high,
    least_ratio_low,
    mean_gap,
    ratios_to_highest,
    simultaneous_tail,
    smallest_ratio,
)
from probes.intervals import critical, difference_high, difference_low, ratio_high, ratio_low, wilson
from probes.permutation import gap_p_value
from probes.rates import Rate, count, count_rate, independent

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
def test_plain_forms_against_the_slow_reference(cells):
    rate = independent([k for k, _ in cells], [n for _, n in cells])
    gap, ratio = _slow(rate, 0.95)
    wide = rate.limits(simultaneous_tail(0.025, len(rate)))
    plain = gap_low(rate.values, wide), gap_high(rate.values, rate.limits(0.025))
    assert plain == pytest.approx(gap, abs=1e-12)
    if rate.successes.any():
        r = smallest_ratio([rate], 0.95)
        assert (r.low, r.high) == pytest.approx(ratio, abs=1e-12)
        assert r.low <= r.value + 1e-12 <= r.high + 2e-12


@given(tables)
@settings(max_examples=30, deadline=None)
def test_the_interval_holds_the_gap_and_a_higher_level_holds_the_interval(cells):
    rate = independent([k for k, _ in cells], [n for _, n in cells])
    e, wider = largest_gap([rate], 0.9), largest_gap([rate], 0.99)
    assert 0 <= wider.low <= e.low + 1e-3
    assert e.low <= e.value + 1e-12 <= e.high + 2e-12
    assert e.high - 1e-3 <= wider.high <= 1
    assert e.high <= float(gap_high(rate.values, rate.limits(0.05))) + 1e-12


@given(tables, st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_order_of_groups_does_not_matter(cells, random):
    mixed = list(cells)
    random.shuffle(mixed)
    a, b = (largest_gap([independent([k for k, _ in c], [n for _, n in c])], 0.95) for c in (cells, mixed))
    assert (a.value, a.low, a.high) == (b.value, b.low, b.high)


@given(tables)
@settings(max_examples=25, deadline=None)
def test_calling_every_answer_its_opposite_changes_hardly_anything(cells):
    """Groups of which nothing is known are dealt to the high end first: in tiny tables that leaves a trace."""
    a, b = (
        largest_gap([independent([n - k if turned else k for k, n in cells], [n for _, n in cells])], 0.95)
        for turned in (False, True)
    )
    assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=0.01)


def test_blocks_of_pairs_agree(monkeypatch):
    rng = np.random.default_rng(0)
    rate = independent(rng.integers(1, 30, 40), np.full(40, 30))
    whole = largest_gap([rate], 0.95), smallest_ratio([rate], 0.95), ratios_to_highest(rate, 0.95)
    monkeypatch.setattr("probes.pairs.BLOCK", 100)
    assert (largest_gap([rate], 0.95), smallest_ratio([rate], 0.95), ratios_to_highest(rate, 0.95)) == whole


def test_two_groups_by_hand():
    """56/70 against 48/80: the high end is Newcombe's own; the low end pays for not knowing which is larger, until it is known."""
    e = largest_gap([independent([56, 48], [70, 80])], 0.95)
    assert e.high == pytest.approx(0.3339, abs=5e-5)
    assert simultaneous_tail(0.025, 2) == pytest.approx(0.0125, abs=1e-6)

    def low(z):
        (l1, _), (_, u2) = wilson(0.8, 70, z), wilson(0.6, 80, z)
        return float(difference_low(0.8, l1, 0.6, u2))

    assert low(stats.norm.isf(0.0125)) < e.low <= low(stats.norm.isf(0.0225)) + 1e-9
    far = largest_gap([independent([190, 20], [200, 200])], 0.95)
    (l1, _), (_, u2) = wilson(0.95, 200, stats.norm.isf(0.0225)), wilson(0.1, 200, stats.norm.isf(0.0225))
    assert far.low == pytest.approx(float(difference_low(0.95, l1, 0.1, u2)), abs=2e-3)


def test_equalized_odds_splits_the_low_end_only():
    one, two = independent([40, 20], [50, 50]), independent([10, 11], [60, 60])
    both, alone, half = largest_gap([one, two], 0.95), largest_gap([one], 0.95), largest_gap([one], 0.975)
    assert both.value == alone.value
    assert both.low == half.low < alone.low
    assert both.high == max(alone.high, largest_gap([two], 0.95).high)
    ratio, plain = smallest_ratio([one, two], 0.95), smallest_ratio([one], 0.95)
    assert ratio.low == min(plain.low, smallest_ratio([two], 0.95).low)
    assert ratio.high > plain.high


def test_mean_of_two_gaps_by_hand():
    one, two = independent([40, 20], [50, 50]), independent([10, 11], [60, 60])
    e = mean_gap([one, two], 0.95)
    assert e.value == pytest.approx((0.4 + 1 / 60) / 2, abs=1e-12)
    high = [largest_gap([r], 0.95).high for r in (one, two)]
    assert e.high == pytest.approx(e.value + np.hypot(high[0] - 0.4, high[1] - 1 / 60) / 2, abs=1e-12)
    assert e.low == pytest.approx(np.mean([largest_gap([r], 0.975).low for r in (one, two)]), abs=1e-12)
    alone = largest_gap([one], 0.95)
    assert [getattr(mean_gap([one], 0.95), a) for a in ("value", "low", "high")] == pytest.approx(
        [alone.value, alone.low, alone.high]
    )


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
@settings(max_examples=10, deadline=None)
def test_both_equalized_odds_are_fairlearns(seed, groups):
    from fairlearn.metrics import equalized_odds_difference

    rng = np.random.default_rng(seed)
    group = np.concatenate([np.repeat(np.arange(groups), 2), rng.integers(0, groups, 60)])
    label = np.concatenate([np.tile([0, 1], groups), rng.integers(0, 2, 60)])
    chosen = rng.random(len(group)) < 0.3 + 0.1 * group
    rates = [count(np.where(label == y, group, -1), groups, chosen) for y in (1, 0)]
    for agg, gap in (("worst_case", largest_gap), ("mean", mean_gap)):
        theirs = equalized_odds_difference(label, chosen.astype(int), sensitive_features=group, agg=agg)
        e = gap(rates, 0.95)
        assert e.value == pytest.approx(theirs, abs=1e-12)
        assert 0 <= e.low <= e.value + 1e-12 <= e.high + 2e-12 <= 1 + 3e-12


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


def _shares(shares, n):
    return Shares(values=shares, sizes=np.full(shares.shape, float(n)), freedom=np.full(shares.shape, np.inf))


@pytest.mark.parametrize("cell", CELLS)
def test_gap_and_ratio_cover(cell):
    """Each side may miss 2.5 %; .05 leaves more than three standard errors of 400 tables."""
    n, shares, gap, ratio = _draw(cell)
    ends = lower_end(_shares(shares, n), 0.025), upper_end(_shares(shares, n), 0.025)
    assert max(_misses(*ends, gap)) <= 0.05
    plain = wilson(shares, n, critical(0.025))
    wide = wilson(shares, n, critical(simultaneous_tail(0.025, shares.shape[1])))
    assert max(_misses(least_ratio_low(shares, plain), least_ratio_high(shares, wide), ratio)) <= 0.05
    assert np.mean(ends[1] - ends[0]) < np.mean(gap_high(shares, plain) - gap_low(shares, wide)) + 1e-3


@pytest.mark.parametrize("rates", [([0.3] * 4, [0.3] * 4), ([0.8, 0.4, 0.4, 0.4], [0.3] * 4), ([0.8, 0.4], [0.5, 0.3])])
def test_the_mean_of_two_gaps_covers(rates):
    rng, n, reps = np.random.default_rng(13), 80, 250
    truth = np.mean([max(r) - min(r) for r in rates])
    found = [mean_gap([independent(rng.binomial(n, r), np.full(len(r), n)) for r in rates], 0.95) for _ in range(reps)]
    assert np.mean([e.low > truth + 1e-9 for e in found]) <= 0.055
    assert np.mean([e.high < truth - 1e-9 for e in found]) <= 0.055


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
        aware_rate, blind_rate = count_rate(group, 4, hit, cluster), count_rate(group, 4, hit, None)
        aware, blind = aware_rate.proportions, blind_rate.proportions
        low += largest_gap([aware], 0.95).low > 0
        naive += largest_gap([blind], 0.95).low > 0
        small += gap_p_value(aware_rate, rng, 99)[0] <= 0.05
        naive_small += gap_p_value(blind_rate, rng, 99)[0] <= 0.05
    assert low / reps <= 0.05 < naive / reps
    assert small / reps <= 0.09 < naive_small / reps


# Chance ---------------------------------------------------------------------------------------------------------------


def _independent(proportions):
    return Rate(proportions=proportions, cells=None)


def test_permutation_against_all_regroupings():
    """4 of 5 against 1 of 5 with 5 successes in 10: P(|gap| >= .6) = 2 (C(5,4) C(5,1) + 1) / C(10,5) = 52 / 252."""
    rate = independent([4, 1], [5, 5])
    p, error = gap_p_value(_independent(rate), np.random.default_rng(0), 20_000)
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
    fast, _ = gap_p_value(_independent(independent(np.bincount(group[hit]), totals)), rng, 4000)
    assert fast == pytest.approx(slow, abs=0.02)


def test_permutation_is_level_under_no_difference():
    rng = np.random.default_rng(2)
    small = 0
    for _ in range(200):
        rate = independent(rng.binomial(40, 0.3, 5), np.full(5, 40))
        small += gap_p_value(_independent(rate), rng, 199)[0] <= 0.05
    assert small / 200 <= 0.09


def test_permutation_never_says_zero():
    assert gap_p_value(_independent(independent([50, 0], [50, 50])), np.random.default_rng(0), 99)[0] == 0.01
