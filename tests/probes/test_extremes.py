"""Critical values of both ends of a largest gap, against drawn errors and all splits of the groups."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from scipy import stats

from probes.extremes import Shares, crossing, least_favourable, lower_end, staying, upper_end
from probes.intervals import critical
from probes.pairs import gap_high, gap_low, shortfalls, simultaneous_tail
from probes.rates import count, independent

EVEN = np.full((2, 1), np.sqrt(0.5))
FREE = np.inf


def _table(rates, sizes, tables, seed):
    hits = np.random.default_rng(seed).binomial(sizes, rates, (tables, len(rates)))
    return [independent(h, sizes) for h in hits]


def _stack(tables):
    parts = [Shares.of(t) for t in tables]
    return Shares(**{a: np.stack([getattr(p, a) for p in parts]) for a in ("values", "sizes", "freedom")})


def _drawn_crossing(z, slack, errors, draws=200_000):
    """The probability by drawing errors, with the true standard errors of differences."""
    noise = np.random.default_rng(1).normal(size=(draws, len(errors))) * errors
    hit = np.zeros(draws, dtype=bool)
    for i, j in itertools.permutations(range(len(errors)), 2):
        hit |= noise[:, i] - noise[:, j] > z * np.hypot(errors[i], errors[j]) + slack[0][i] + slack[1][j]
    return hit.mean()


@pytest.mark.parametrize("groups", [2, 7, 20, 50])
def test_without_knowledge_it_is_the_studentised_range(groups):
    z = np.array([float(critical(simultaneous_tail(0.025, groups)))])
    none = np.zeros((1, groups))
    found = crossing(z, EVEN, (none, none), np.ones((1, groups)))
    assert 0.025 <= float(found[0]) <= 0.0275


def test_crossing_against_drawn_errors():
    errors = np.array([1.0, 0.9, 1.1, 1.0])
    a, b = np.array([0.0, 0.3, 1.5, 4.0]), np.array([4.0, 2.0, 1.0, 0.0])
    for z in (1.5, 2.0, 2.5):
        found = float(crossing(np.array([z]), EVEN, (a[None], b[None]), errors[None])[0])
        assert found == pytest.approx(_drawn_crossing(z, (a, b), errors), rel=0.06, abs=5e-4)


def test_unequal_errors_are_bounded_from_above_and_exact_for_the_pair_that_matters():
    errors = np.array([3.0, 0.3, 0.5])
    a, b = np.array([0.0, 20.0, 20.0]), np.array([20.0, 0.0, 15.0])
    weights = (errors[:2] / np.hypot(*errors[:2]))[:, None]
    one = float(crossing(np.array([1.96]), weights, (a[None], b[None]), errors[None])[0])
    assert one == pytest.approx(stats.norm.sf(1.96), rel=0.08)
    none = np.zeros(3)
    for w in (weights, EVEN):
        found = float(crossing(np.array([2.3]), w, (none[None], none[None]), errors[None])[0])
        assert found >= _drawn_crossing(2.3, (none, none), errors) - 1e-3


@pytest.mark.parametrize("seed", range(12))
def test_no_split_of_the_groups_is_less_favourable(seed):
    """All ways of putting each group at one of its two extremes, within a tenth of the tail."""
    rng = np.random.default_rng(seed)
    errors = np.ones(6) if seed % 2 else rng.uniform(0.7, 1.4, 6)
    gap = float(rng.choice([0.5, 2.0, 6.0]))
    below = np.where(rng.random(6) < 0.3, rng.uniform(0, gap, 6), 0.0)
    above = np.where((below == 0) & (rng.random(6) < 0.3), rng.uniform(0, gap, 6), 0.0)
    z = np.array([2.4])

    def chance(slack):
        return float(crossing(z, EVEN, tuple(s[None] for s in slack), errors[None])[0])

    chosen = least_favourable(below[None], above[None], errors[None], np.array([gap]))
    every = max(
        chance(
            (np.where(up, below, np.maximum(gap - above, below)), np.where(up, np.maximum(gap - below, above), above))
        )
        for up in (np.array(s) for s in itertools.product([True, False], repeat=6))
    )
    assert chance((chosen[0][0], chosen[1][0])) >= 0.9 * every


def test_staying_against_drawn_tables():
    """Five groups in the middle of a pair that is T apart: the bound is above the truth, and not far above."""
    n, gap, z, reps = 400, 0.12, 1.7, 40_000
    rates = np.array([0.5 + gap / 2, 0.5 - gap / 2, *[0.5] * 5])
    values = np.random.default_rng(0).binomial(n, rates, (reps, 7)) / n
    shares = Shares(values=values, sizes=np.full(values.shape, float(n)), freedom=np.full(values.shape, FREE))
    true = float(np.mean(gap_high(values, shares.limits(stats.norm.sf(z))) < gap))
    bound = float(staying(np.array([z]), np.array([gap]), np.array([0.5]), np.full((1, 7), float(n)))[0])
    assert true <= bound + 4 * np.sqrt(true / reps)
    assert bound < 0.6 * stats.norm.sf(z)
    far = float(staying(np.array([z]), np.array([0.6]), np.array([0.5]), np.full((1, 7), float(n)))[0])
    assert far == pytest.approx(stats.norm.sf(z), rel=1e-3)
    edge = float(staying(np.array([z]), np.array([0.05]), np.array([0.01]), np.full((1, 7), float(n)))[0])
    assert edge == pytest.approx(stats.norm.sf(z), rel=1e-3)


def test_shortfalls_pair_by_pair():
    rate = independent([45, 25, 24, 5], [50, 50, 50, 50])
    low, high = rate.limits(0.001)
    below, above = shortfalls(rate.values, (low, high))
    p = rate.values
    for g in range(4):
        others = [k for k in range(4) if k != g]
        lower = lambda i, j: p[i] - p[j] - np.hypot(p[i] - low[i], high[j] - p[j])  # noqa: E731
        assert below[g] == pytest.approx(max(0, *(lower(k, g) for k in others)))
        assert above[g] == pytest.approx(max(0, *(lower(g, k) for k in others)))


def test_many_tables_are_as_one_after_another_and_clusters_too(monkeypatch):
    rng = np.random.default_rng(4)
    tables = _table([0.7, 0.4, 0.4, 0.2], np.array([20, 60, 200, 40]), 20, 3)
    cluster, group = np.repeat(np.arange(60), 4), np.repeat(np.arange(4), 60)
    tables += [count(group, 4, np.repeat(rng.random(60) < 0.2 + 0.1 * group[::4], 4), cluster) for _ in range(5)]
    stacked = _stack(tables)
    assert np.allclose(np.sort(stacked.limits(np.full(25, 0.01))[0][22]), np.sort(tables[22].limits(0.01)[0]))
    for end in (lower_end, upper_end):
        one = [float(end(Shares.of(t), 0.025)) for t in tables]
        assert end(stacked, 0.025) == pytest.approx(one, abs=1e-12)
        monkeypatch.setattr("probes.extremes._CELLS", 400)
        assert end(stacked, 0.025) == pytest.approx(one, abs=1e-12)
        monkeypatch.undo()


def test_a_dominating_pair_pays_hardly_more_than_one_pair():
    rate = independent([285, *[150] * 10, 15], np.full(12, 300))
    low = float(lower_end(Shares.of(rate), 0.025))
    plain, wide = (float(gap_low(rate.values, rate.limits(t))) for t in (0.025, simultaneous_tail(0.025, 12)))
    assert wide < low < plain
    assert plain - low < 0.1 * (plain - wide)


def test_the_first_step_never_costs_much():
    """Where nothing dominates the low end may lose what the first step took from the tail, and no more."""
    tables = _stack(_table([0.3] * 7, np.full(7, 60), 200, 5))
    least = gap_low(tables.values, tables.limits(simultaneous_tail(0.0225, 7)))
    assert (lower_end(tables, 0.025) >= least - 1e-12).all()


def test_all_alike_all_zero_and_all_one():
    for hits in (0, 50):
        shares = Shares.of(independent(np.full(6, hits), np.full(6, 50)))
        assert float(lower_end(shares, 0.025)) == 0.0
        plain = float(gap_high(shares.values, shares.limits(0.025)))
        assert float(upper_end(shares, 0.025)) == pytest.approx(plain)


def test_fifty_groups_take_milliseconds():
    rate = Shares.of(independent(np.random.default_rng(0).integers(1, 30, 50), np.full(50, 30)))
    spent = []
    for _ in range(5):
        started = time.process_time()
        lower_end(rate, 0.025), upper_end(rate, 0.025)
        spent.append(time.process_time() - started)
    assert min(spent) < 0.03
