"""Resampled counts have the distribution that resampled rows, or clusters, have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from probes.resampling import (
    draw_rates,
    gaps,
    percentile_interval,
    pool_clusters,
    pool_rows,
    quantile_error,
)

SIZE = 4


def material(rows: int = 160, seed: int = 3):
    rng = np.random.default_rng(seed)
    groups = rng.integers(-1, SIZE, rows)
    success = rng.random(rows) < np.array([0.2, 0.4, 0.5, 0.8, 0.5])[groups]
    return groups, success, rng.integers(0, rows // 5, rows)


def slow_rates(groups, success) -> np.ndarray:
    return np.array([success[groups == g].mean() if (groups == g).any() else np.nan for g in range(SIZE)])


def slow_rows(groups, success, replicates: int, rng) -> np.ndarray:
    picks = (rng.integers(0, len(groups), len(groups)) for _ in range(replicates))
    return np.array([slow_rates(groups[i], success[i]) for i in picks])


def slow_clusters(groups, success, clusters, replicates: int, rng) -> np.ndarray:
    members = [np.flatnonzero(clusters == c) for c in np.unique(clusters)]
    out = []
    for _ in range(replicates):
        rows = np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])
        out.append(slow_rates(groups[rows], success[rows]))
    return np.array(out)


def same_distribution(one: np.ndarray, other: np.ndarray) -> None:
    """Each group's rate and the gap, by Kolmogorov and Smirnov; fixed seeds, so no chance failure."""
    for a, b in [*zip(one.T, other.T, strict=True), (gaps(one), gaps(other))]:
        assert stats.ks_2samp(a[~np.isnan(a)], b[~np.isnan(b)]).pvalue > 1e-3


def test_rows_against_the_obvious_way():
    groups, success, _ = material()
    fast = draw_rates(pool_rows(groups, SIZE, success), 4000, np.random.default_rng(1))
    same_distribution(fast, slow_rows(groups, success, 1500, np.random.default_rng(2)))


def test_clusters_against_the_obvious_way():
    groups, success, clusters = material()
    pool = pool_clusters(groups, SIZE, success, clusters)
    assert pool.units == len(np.unique(clusters))
    fast = draw_rates(pool, 4000, np.random.default_rng(1))
    slow = slow_clusters(groups, success, clusters, 1500, np.random.default_rng(2))
    same_distribution(fast, slow)


def test_rows_of_a_cluster_that_are_alike_widen_the_distribution():
    groups, _, clusters = material()
    alike = clusters % 2 == 0
    of_clusters = draw_rates(pool_clusters(groups, SIZE, alike, clusters), 4000, np.random.default_rng(1))
    of_rows = draw_rates(pool_rows(groups, SIZE, alike), 4000, np.random.default_rng(1))
    assert np.nanstd(of_clusters) > 1.1 * np.nanstd(of_rows)


def test_one_hit_and_one_miss_by_hand():
    """Two rows drawn from a hit and a miss: two misses, one of each, two hits in the shares 1/4, 1/2, 1/4."""
    pool = pool_rows(np.array([0, 0]), 1, np.array([True, False]))
    drawn = draw_rates(pool, 40_000, np.random.default_rng(0))[:, 0]
    shares = [(drawn == v).mean() for v in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.012)
    assert sum(shares) == pytest.approx(1.0)


def test_a_replicate_without_rows_of_a_group_has_no_rate():
    pool = pool_rows(np.array([0, 1, -1, -1]), 2, np.array([True, False, True, True]))
    drawn = draw_rates(pool, 20_000, np.random.default_rng(0))
    assert np.isnan(drawn[:, 0]).mean() == pytest.approx((3 / 4) ** 4, abs=0.02)
    assert np.isnan(gaps(drawn)).mean() == pytest.approx((1 / 2) ** 4, abs=0.02)
    assert set(gaps(drawn)[~np.isnan(gaps(drawn))]) == {0.0, 1.0}
    said = percentile_interval(drawn[:, 0], 0.95)
    assert said.method.params["without_value"] == np.isnan(drawn[:, 0]).sum()


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_observed_rates_are_the_rows_rates(seed, clustered):
    groups, success, clusters = material(60, seed)
    pool = pool_clusters(groups, SIZE, success, clusters) if clustered else pool_rows(groups, SIZE, success)
    np.testing.assert_allclose(pool.rates, slow_rates(groups, success))


def test_one_row_a_cluster_is_the_bootstrap_of_rows():
    groups, success, _ = material()
    clusters = np.random.default_rng(5).permutation(len(groups)) * 7
    one = draw_rates(pool_clusters(groups, SIZE, success, clusters), 4000, np.random.default_rng(1))
    other = draw_rates(pool_rows(groups, SIZE, success), 4000, np.random.default_rng(2))
    same_distribution(one, other)


def test_the_same_seed_gives_the_same_and_rows_may_be_shuffled():
    groups, success, _ = material()
    order = np.random.default_rng(0).permutation(len(groups))
    one = draw_rates(pool_rows(groups, SIZE, success), 50, np.random.default_rng(1))
    other = draw_rates(pool_rows(groups[order], SIZE, success[order]), 50, np.random.default_rng(1))
    np.testing.assert_array_equal(one, other)


def test_blocks_do_not_change_the_distribution(monkeypatch):
    groups, success, clusters = material()
    pool = pool_clusters(groups, SIZE, success, clusters)
    whole = draw_rates(pool, 3000, np.random.default_rng(1))
    monkeypatch.setattr("probes.resampling._BLOCK", 100)
    same_distribution(draw_rates(pool, 3000, np.random.default_rng(2)), whole)


def test_the_monte_carlo_error_is_that_of_repeated_runs():
    rng = np.random.default_rng(0)
    ends = [np.quantile(rng.normal(size=2000), 0.975) for _ in range(400)]
    said = np.mean([quantile_error(rng.normal(size=2000), 0.975) for _ in range(50)])
    assert said == pytest.approx(np.std(ends), rel=0.2)


def test_percentiles_are_fairlearns():
    from fairlearn.metrics import MetricFrame, selection_rate

    groups, success, _ = material(400)
    groups = np.maximum(groups, 0)
    frame = MetricFrame(
        metrics=selection_rate,
        y_true=success.astype(int),
        y_pred=success.astype(int),
        sensitive_features=groups,
        n_boot=300,
        ci_quantiles=[0.025, 0.975],
        random_state=1,
    )
    drawn = draw_rates(pool_rows(groups, SIZE, success), 20_000, np.random.default_rng(1))
    for end, share in enumerate((0.025, 0.975)):
        pairs = [(drawn[:, g], frame.by_group_ci[end].to_numpy()[g]) for g in range(SIZE)]
        for ours, their in [*pairs, (gaps(drawn), frame.difference_ci()[end])]:
            error = quantile_error(np.random.default_rng(2).choice(ours, 300), share)
            assert abs(np.quantile(ours, share) - their) < 5 * error


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        draw_rates(pool_rows(np.array([0]), 1, np.array([True])), 0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least one"):
        draw_rates(pool_rows(np.array([], dtype=int), 1, np.array([], dtype=bool)), 5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="no replicate"):
        percentile_interval(np.array([np.nan]), 0.95)
