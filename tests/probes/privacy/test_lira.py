"""The likelihood ratio attack against normal densities written out, and against a world whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from probes.privacy.lira import OWN_VARIANCE, confidence, exceedance, likelihood_ratio
from probes.ranking import roc_auc


def test_confidence_is_the_logit_and_keeps_its_digits():
    scores = np.array([[0.2, 0.3, 0.5], [1e-20, 1.0, 1e-22], [0.0, 0.0, 1.0]])
    found = confidence(scores, np.array([2, 1, 0]))
    assert found[0] == pytest.approx(0.0)
    assert found[1] == pytest.approx(-np.log(1e-20 + 1e-22))
    assert np.isfinite(found[2])
    assert found[2] < -600
    assert scores[1, 1] == 1.0, "the input is left alone"


def test_by_hand_with_a_variance_of_their_own():
    k = OWN_VARIANCE
    inside = np.zeros((k, 1), dtype=bool)
    inside[: k // 2] = True
    rng = np.random.default_rng(0)
    shadows = np.where(inside, rng.normal(2, 1, (k, 1)), rng.normal(-1, 0.5, (k, 1)))
    ins, outs = shadows[inside], shadows[~inside]
    observed = np.array([0.7])
    wanted = stats.norm.logpdf(0.7, ins.mean(), ins.std(ddof=1)) - stats.norm.logpdf(0.7, outs.mean(), outs.std(ddof=1))
    assert likelihood_ratio(observed, shadows, inside)[0] == pytest.approx(wanted)
    assert stats.norm.cdf(exceedance(observed, shadows, inside)[0]) == pytest.approx(
        1 - stats.norm.sf(0.7, outs.mean(), outs.std(ddof=1))
    )


def test_by_hand_with_one_variance_for_all():
    inside = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=bool)
    shadows = np.array([[1.0, 0.0], [3.0, 2.0], [-1.0, 5.0], [-2.0, 5.0]])
    # With: means 2 and 5, squares 2 and 0, two degrees of freedom; without: means -1.5 and 1, squares 0.5 and 2.
    found = likelihood_ratio(np.array([1.0, 4.0]), shadows, inside)
    with_ = stats.norm.logpdf([1.0, 4.0], [2.0, 5.0], 1.0)
    without = stats.norm.logpdf([1.0, 4.0], [-1.5, 1.0], np.sqrt(1.25))
    assert found == pytest.approx(with_ - without)
    assert exceedance(np.array([1.0, 4.0]), shadows, inside) == pytest.approx(np.array([2.5, 3.0]) / np.sqrt(1.25))


def test_a_row_that_every_model_saw_has_no_score():
    inside = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]], dtype=bool)
    shadows = np.arange(12, dtype=float).reshape(4, 3)
    both, outside = likelihood_ratio(np.ones(3), shadows, inside), exceedance(np.ones(3), shadows, inside)
    assert np.isnan(both).tolist() == [True, False, True]
    assert np.isnan(outside).tolist() == [True, False, False]


@given(st.integers(0, 2**32 - 1), st.floats(-5, 5), st.booleans())
def test_a_shift_and_the_order_of_models_do_not_matter(seed, shift, many):
    rng = np.random.default_rng(seed)
    k, n = (OWN_VARIANCE if many else 6), 7
    inside = np.argsort(rng.random((k, n)), axis=0) < k // 2
    shadows, observed = rng.normal(size=(k, n)), rng.normal(size=n)
    order = rng.permutation(k)
    for attack in (likelihood_ratio, exceedance):
        first = attack(observed, shadows, inside)
        assert np.isfinite(first).all()
        again = attack(observed + shift, (shadows + shift)[order], inside[order])
        np.testing.assert_allclose(again, first, rtol=1e-6, atol=1e-8)


def test_finds_what_one_threshold_for_all_rows_cannot():
    """Rows differ in difficulty by far more than membership moves them: the paper's reason for shadow models."""
    rng = np.random.default_rng(1)
    n, k = 2000, 16
    difficulty, member = rng.normal(0, 5, n), rng.random(n) < 0.5
    inside = np.argsort(rng.random((k, n)), axis=0) < k // 2
    shadows = difficulty + inside + rng.normal(0, 0.7, (k, n))
    observed = difficulty + member + rng.normal(0, 0.7, n)
    plain = roc_auc(observed, member, 0.95)
    assert plain.value < 0.6
    for attack in (likelihood_ratio, exceedance):
        assert roc_auc(attack(observed, shadows, inside), member, 0.95).low > 0.75
