"""The one-run bound: by hand, by its own p-value, and against randomised response whose epsilon is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from probes.privacy.one_run import FRACTIONS, MOST_EPSILON, ceiling, epsilon_bound, one_run_bound, p_value


@pytest.mark.parametrize(("m", "delta", "expected"), [(100, 0.0, 3.49), (1000, 1e-5, 5.78), (1000, 0.0, 5.81)])
def test_all_right_is_the_ceiling_by_hand(m, delta, expected):
    """Without delta: (e^eps / (1 + e^eps))^m = 0.05, so e^eps = s / (1 - s) with s = 0.05^(1/m)."""
    found = ceiling(m, delta, 0.95, (1.0,))
    assert found == pytest.approx(expected, abs=0.005)
    if delta == 0:
        share = 0.05 ** (1 / m)
        assert found == pytest.approx(math.log(share / (1 - share)), abs=1e-6)


def test_p_value_by_hand():
    # Three guesses, two or three right, epsilon 0: (3 + 1) / 8.
    assert p_value(3, 3, 2, 0.0, 0.0) == pytest.approx(0.5)
    # epsilon = ln 3: share 3/4, 3 (9/64) + 27/64.
    assert p_value(3, 3, 2, math.log(3), 0.0) == pytest.approx(54 / 64)
    # delta adds 2 m delta max_i P(2 - i <= W < 2) / i = 2 * 3 * 0.01 * max(3/8, (3/8 + 1/8) / 2).
    assert p_value(3, 3, 2, 0.0, 0.01) == pytest.approx(0.5 + 6 * 0.01 * 3 / 8)


def test_delta_term_against_the_sum_written_out():
    m, r, v, eps, delta = 60, 40, 33, 0.7, 1e-4
    share = math.exp(eps) / (1 + math.exp(eps))
    chance = [stats.binom.pmf(k, r, share) for k in range(r + 1)]
    beta = sum(chance[v:])
    alpha = max(sum(chance[v - i : v]) / i for i in range(1, v + 1))
    assert p_value(m, r, v, eps, delta) == pytest.approx(beta + 2 * m * delta * alpha)


@given(
    m=st.integers(10, 400), share=st.floats(0.1, 1.0), right=st.floats(0, 1), delta=st.sampled_from([0.0, 1e-6, 1e-4]),
    confidence=st.sampled_from([0.9, 0.95, 0.99]),
)  # fmt: skip
@settings(max_examples=40)
def test_the_bound_is_where_its_p_value_says(m, share, right, delta, confidence):
    r = max(1, round(m * share))
    v = round(right * r)
    found = epsilon_bound(m, r, v, delta, confidence)
    assert 0 <= found <= MOST_EPSILON
    if found > 0:
        assert p_value(m, r, v, found, delta) <= 1 - confidence
        assert p_value(m, r, v, found + 1e-6, delta) > 1 - confidence
    else:
        assert p_value(m, r, v, 1e-9, delta) > (1 - confidence) * (1 - 1e-6)
    assert epsilon_bound(m, r, v, delta, 0.999) <= found or confidence > 0.999
    assert epsilon_bound(m, r, min(v + 1, r), delta, confidence) >= found


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
def test_randomised_response_is_overestimated_in_at_most_one_of_twenty(epsilon):
    """Each coin is told truly with probability e^eps / (1 + e^eps): its epsilon is eps. 400 trials of m = 500 coins."""
    m, trials = 500, 400
    rng = np.random.default_rng(17)
    keep = 1 / (1 + math.exp(-epsilon))
    found = []
    for _ in range(trials):
        coins = rng.random(m) < 0.5
        said = np.where(rng.random(m) < keep, coins, ~coins)
        # Ties are broken without the coins, as scores of a model would be.
        found.append(one_run_bound(said + 0.01 * rng.random(m), coins, 0.0, 0.95).epsilon)
    over = np.mean(np.array(found) > epsilon)
    assert over <= 0.05
    if epsilon:
        assert np.median(found) > 0.6 * epsilon, "a bound that finds nothing would be safe too"


@given(
    epsilon=st.floats(0, 6), m=st.integers(10, 120), confidence=st.sampled_from([0.9, 0.95, 0.99]),
)  # fmt: skip
@settings(max_examples=15)
def test_one_share_alone_is_exact(epsilon, m, confidence):
    """Right guesses of randomised response are binomial, so how often the bound is too high can be summed up."""
    chance = stats.binom.pmf(np.arange(m + 1), m, 1 / (1 + math.exp(-epsilon)))
    too_high = sum(
        p for v, p in enumerate(chance) if p > 0 and epsilon_bound(m, m, v, 0.0, confidence) > epsilon + 1e-9
    )
    assert too_high <= 1 - confidence + 1e-9


def test_perfect_scores_reach_the_ceiling_and_no_scores_reach_nothing():
    coins = np.arange(200) % 2 == 0
    best = one_run_bound(coins.astype(float), coins, 1e-6, 0.95)
    assert best.epsilon == best.ceiling == ceiling(200, 1e-6, 0.95)
    assert (best.guesses, best.right) == (200, 200)
    worst = one_run_bound((~coins).astype(float), coins, 1e-6, 0.95)
    assert (worst.epsilon, worst.guesses, worst.right) == (0.0, 200, 0), "where nothing is found, of all guesses"


@given(seed=st.integers(0, 1000), shift=st.floats(-5, 5), scale=st.floats(0.1, 10))
@settings(max_examples=20)
def test_only_the_order_of_scores_and_not_that_of_rows_matters(seed, shift, scale):
    rng = np.random.default_rng(seed)
    coins = rng.random(60) < 0.5
    scores = rng.normal(size=60) + coins
    found = one_run_bound(scores, coins, 0.0, 0.95)
    again = rng.permutation(60)
    assert one_run_bound(scale * scores[again] + shift, coins[again], 0.0, 0.95) == found
    assert found.epsilon <= found.ceiling


def test_several_shares_pay_for_their_number():
    assert ceiling(100, 0.0, 0.95) < ceiling(100, 0.0, 0.95, (1.0,))
    assert ceiling(100, 0.0, 0.95) == epsilon_bound(100, 100, 100, 0.0, 1 - 0.05 / len(FRACTIONS))


def test_too_few_to_guess_on():
    with pytest.raises(ValueError, match="at least two"):
        one_run_bound(np.zeros(1), np.ones(1, dtype=bool), 0.0, 0.95)
    with pytest.raises(ValueError, match="one score a coin"):
        one_run_bound(np.zeros(4), np.ones(3, dtype=bool), 0.0, 0.95)
