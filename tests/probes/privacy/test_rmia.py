"""RMIA against its definition, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.privacy.rmia import beaten, usual, usual_outside
from probes.ranking import roc_auc


def test_by_hand():
    inside = np.array([[1, 0], [0, 1]], dtype=bool)
    shadows = np.array([[0.9, 0.2], [0.3, 0.6]])
    assert usual(shadows, inside) == pytest.approx([0.6, 0.4])
    # ((1 + a) p_out + 1 - a) / 2 with a = 0.3 and p_out = 0.3 and 0.2.
    assert usual_outside(shadows, inside, 0.3) == pytest.approx([0.545, 0.48])
    # Ratios 1.5, 0.5 and 2: the first beats the second but not the third, the third beats both, and itself it never meets.
    scores = beaten(np.array([0.9, 0.2, 0.8]), np.array([0.6, 0.4, 0.4]), np.array([False, True, True]), 1.0)
    assert scores.tolist() == [0.5, 0.0, 1.0]
    scores = beaten(np.array([0.9, 0.2, 0.8]), np.array([0.6, 0.4, 0.4]), np.array([False, True, True]), 4.0)
    assert scores.tolist() == [0.0, 0.0, 1.0]


def slow(observed, usually, population, gamma):
    ratio = observed / usually
    out = []
    for i in range(len(ratio)):
        others = [j for j in range(len(ratio)) if population[j] and j != i]
        out.append(np.mean([ratio[j] <= ratio[i] / gamma for j in others]) if others else np.nan)
    return np.array(out)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 1.5, 2.0]), st.integers(2, 30))
def test_agrees_with_every_pair(seed, gamma, n):
    rng = np.random.default_rng(seed)
    # Few values, so that there are ties.
    observed, usually = rng.integers(1, 5, n) / 4, rng.integers(1, 3, n) / 2
    population = rng.random(n) < 0.5
    found = beaten(observed, usually, population, gamma)
    np.testing.assert_allclose(found, slow(observed, usually, population, gamma), rtol=0, atol=1e-12)
    known = found[~np.isnan(found)]
    assert ((known >= 0) & (known <= 1)).all()


def test_rows_without_models_to_compare_have_no_score():
    inside = np.array([[1, 0, 1], [1, 0, 0]], dtype=bool)
    shadows = np.full((2, 3), 0.5)
    assert np.isnan(usual(shadows, inside)).tolist() == [True, True, False]
    assert np.isnan(usual_outside(shadows, inside, 0.3)).tolist() == [True, False, False]
    found = beaten(np.full(3, 0.5), usual(shadows, inside), np.array([True, True, True]), 1.0)
    assert np.isnan(found).all(), "the only row with a ratio has nobody but itself"


def test_finds_members_among_rows_of_unlike_difficulty():
    rng = np.random.default_rng(2)
    n, k = 1500, 8
    difficulty, member = rng.normal(0, 3, n), rng.random(n) < 0.5
    inside = np.argsort(rng.random((k, n)), axis=0) < k // 2

    def probability(x):
        return 1 / (1 + np.exp(-x))

    shadows = probability(difficulty + inside + rng.normal(0, 0.5, (k, n)))
    observed = probability(difficulty + member + rng.normal(0, 0.5, n))
    plain = roc_auc(observed, member, 0.95).value
    for usually in (usual(shadows, inside), usual_outside(shadows, inside, 0.3)):
        assert roc_auc(beaten(observed, usually, ~member, 1.0), member, 0.95).low > plain + 0.05
