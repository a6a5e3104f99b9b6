"""Both standard errors: against an ordinary regression with clustered errors, against the cluster bootstrap, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.api import OLS

from probes.rates import count_cells
from probes.resampling import draw_rates, pool_clusters
from probes.standard_errors import standard_errors


def material(seed: int = 0, clusters: int = 80):
    rng = np.random.default_rng(seed)
    at = np.repeat(np.arange(clusters), rng.integers(2, 8, clusters))
    groups = rng.integers(0, 3, len(at))
    return groups, rng.random(len(at)) < rng.beta(1, 1, clusters)[at], at


def test_by_hand():
    """Two groups in the same two clusters of one row each: residuals +-1/2 over 2 rows, times 2 / (2 - 1)."""
    groups, clusters = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    both = standard_errors(count_cells(groups, 2, np.array([1, 1, 0, 0], bool), clusters))
    assert both.covariance == pytest.approx(np.full((2, 2), 0.25))
    assert both.by_rows == pytest.approx([np.sqrt(0.125)] * 2)
    assert both.difference(0, 1) == (pytest.approx(0.5), 0.0)
    against = standard_errors(count_cells(groups, 2, np.array([1, 0, 0, 1], bool), clusters))
    assert against.covariance == pytest.approx(np.array([[0.25, -0.25], [-0.25, 0.25]]))
    assert against.difference(0, 1) == (pytest.approx(0.5), pytest.approx(1.0))
    assert against.shared.tolist() == [[2, 2], [2, 2]]


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_regression_on_groups_with_clustered_errors_gives_the_same(seed):
    groups, success, clusters = material(seed, clusters=12)
    dummies = (groups[:, None] == np.arange(3)).astype(float)
    fitted = OLS(success.astype(float), dummies).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}
    )
    found = standard_errors(count_cells(groups, 3, success, clusters))
    number = np.array([len(set(clusters[groups == g])) for g in range(3)])
    scale = np.sqrt(number / (number - 1))
    assert found.values == pytest.approx(fitted.params, abs=1e-12)
    assert found.covariance == pytest.approx(fitted.cov_params() * np.outer(scale, scale), abs=1e-12)


def test_the_cluster_bootstrap_agrees():
    groups, success, clusters = material(1, clusters=300)
    found = standard_errors(count_cells(groups, 3, success, clusters))
    drawn = draw_rates(pool_clusters(groups, 3, success, clusters), 20_000, np.random.default_rng(0))
    assert found.by_clusters == pytest.approx(drawn.std(axis=0), rel=0.05)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert found.difference(a, b)[1] == pytest.approx((drawn[:, a] - drawn[:, b]).std(), rel=0.05)
        # Clusters span the groups and their rows are alike: the difference is known better than its parts say.
        assert found.difference(a, b)[1] < 0.95 * np.hypot(found.by_clusters[a], found.by_clusters[b])


def test_what_is_unknown_stays_unknown():
    groups, clusters = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 2, 2, 0])
    found = standard_errors(count_cells(groups, 4, np.array([1, 0, 1, 0, 1], bool), clusters))
    assert found.by_clusters[0] > 0
    assert np.isnan(found.by_clusters[1:]).all()  # one cluster, one cluster, no rows
    assert np.isnan(found.values[3])
    assert found.farthest() == (2, 0)
    assert standard_errors(count_cells(groups[:2], 1, np.array([1, 0], bool), clusters[:2])).farthest() is None
