"""Shrunken rates: by hand, against a meta-analysis, and what they must never do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.meta_analysis import combine_effects

from probes.rates import independent
from probes.shrinkage import shrink


def test_by_hand():
    """Equal groups of 100 at 0.2, 0.5, 0.8: sampling variance 0.0025, observed variance 0.09, so tau^2 = 0.0875."""
    found = shrink(independent(np.array([20, 50, 80]), np.array([100, 100, 100])))
    assert found.tau**2 == pytest.approx(0.0875)
    assert found.mean == pytest.approx(0.5)
    assert found.own == pytest.approx(np.full(3, 0.0875 / 0.09))
    assert found.values == pytest.approx(0.5 + np.array([-0.3, 0, 0.3]) * 0.0875 / 0.09)


def test_the_spread_is_the_meta_analysis_one():
    hits, rows = np.array([3, 40, 75, 12, 200]), np.array([20, 100, 120, 60, 380])
    found = shrink(independent(hits, rows))
    pooled = hits.sum() / rows.sum()
    theirs = combine_effects(hits / rows, pooled * (1 - pooled) / rows, method_re="chi2")
    assert found.tau**2 == pytest.approx(theirs.tau2)
    assert found.mean == pytest.approx(theirs.mean_effect_re)


def test_a_small_extreme_group_does_not_come_first():
    found = shrink(independent(np.array([0, 80, 300, 250, 420]), np.array([2, 400, 600, 500, 700])))
    assert np.nanargmin(found.values) == 1
    assert found.own[0] < 0.2
    assert found.own[4] > 0.9


def test_groups_without_rows_and_without_spread():
    found = shrink(independent(np.array([5, 5, 0, 5]), np.array([10, 10, 0, 10])))
    assert np.isnan(found.values[2])
    assert found.values[[0, 1, 3]] == pytest.approx(0.5)
    assert found.tau == 0
    assert shrink(independent(np.array([0, 0, 0]), np.array([3, 4, 5]))).values.tolist() == [0, 0, 0]
    assert shrink(independent(np.array([1, 2]), np.array([3, 4]))) is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=3, max_size=12))
@settings(max_examples=60, deadline=None)
def test_values_lie_between_the_rate_and_the_mean(cells):
    hits, rows = (np.array(c) for c in zip(*((min(h, n), n) for h, n in cells), strict=True))
    found = shrink(independent(hits, rows))
    rates = hits / rows
    assert ((found.own >= 0) & (found.own < 1)).all()
    assert (found.values >= np.minimum(rates, found.mean) - 1e-12).all()
    assert (found.values <= np.maximum(rates, found.mean) + 1e-12).all()
    again = shrink(independent(hits[::-1], rows[::-1]))
    assert again.values[::-1] == pytest.approx(found.values, abs=1e-9)
