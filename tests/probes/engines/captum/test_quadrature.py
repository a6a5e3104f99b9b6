"""The adaptive integral: exact where it should be, honest where it cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.engines.captum.quadrature import PathIntegral


def integrate(score, slopes, *, tolerance=0.05, most=128):
    """Run to the end; returns the integral and the places in the order they were asked for."""
    path = PathIntegral(tolerance=tolerance, most=most)
    asked = []
    while not path.done:
        places = path.wanted()
        assert places
        asked += places
        path.give(places, [score(a) for a in places], [np.asarray(slopes(a), dtype=float) for a in places])
    assert path.wanted() == []
    return path, asked


def test_a_straight_path_takes_five_places_and_is_exact():
    path, asked = integrate(lambda a: 3 * a + 1, lambda a: [1.0, 2.0])
    assert path.weights.tolist() == pytest.approx([1, 2], abs=1e-15)
    assert (path.converged, path.spent, path.error) == (True, 5, pytest.approx(0, abs=1e-15))
    assert asked == [0, 0.25, 0.5, 0.75, 1]


def test_a_quintic_is_exact_by_booles_rule():
    path, asked = integrate(lambda a: a**6 - a, lambda a: [6 * a**5, -1.0], tolerance=0.5)
    assert path.weights.tolist() == pytest.approx([1, -1], abs=1e-12)
    assert len(asked) == 5
    assert path.error < 1e-12


def test_places_gather_where_the_score_bends():
    def score(a):
        return np.tanh(40 * (a - 0.7))

    path, asked = integrate(score, lambda a: [40 / np.cosh(40 * (a - 0.7)) ** 2], tolerance=0.01)
    assert path.converged
    assert path.weights[0] == pytest.approx(score(1) - score(0), rel=0.01)
    near = np.mean([abs(a - 0.7) < 0.15 for a in asked])
    assert near > 0.5, "most places lie in the third of the path where something happens"


def test_a_jump_never_converges_and_says_so():
    """No gradient sees a step: the weights stay 0 while the score has moved."""
    path, asked = integrate(lambda a: float(a > 0.3), lambda a: [0.0], most=20)
    assert not path.converged
    assert path.error == 1.0
    assert 20 <= len(asked) < 40


def test_opposite_errors_are_not_set_off_against_each_other():
    """The score does not move and the slopes sum to 0 over the whole path, but not over either half."""
    wrong = {0.25: -1.0, 0.75: 1.0}
    path, _ = integrate(lambda a: 0.0, lambda a: [wrong.get(a, 0.0), 0.0], tolerance=0.05)
    assert path.spent > 5


def test_what_is_not_finite_ends_at_once():
    path, asked = integrate(lambda a: float("nan"), lambda a: [1.0])
    assert not path.converged
    assert len(asked) == 5


@given(
    bends=st.lists(st.tuples(st.floats(-3, 3), st.floats(1, 12), st.floats(0, 1)), min_size=1, max_size=4),
    tolerance=st.sampled_from([0.2, 0.05, 0.01]),
)
def test_converged_means_that_the_weights_add_up(bends, tolerance):
    def score(a):
        return sum(c * np.tanh(k * (a - m)) for c, k, m in bends)

    def slopes(a):
        return [c * k / np.cosh(k * (a - m)) ** 2 for c, k, m in bends]

    path, asked = integrate(score, slopes, tolerance=tolerance, most=2000)
    assert len(asked) == len(set(asked)) == path.spent, "no place is asked about twice"
    weights, rise = path.weights, score(1.0) - score(0.0)
    scale = max(abs(rise), 0.1 * np.abs(weights).sum())
    if path.converged:
        assert abs(weights.sum() - rise) <= tolerance * scale + 1e-12
    truth = np.array([c * (np.tanh(k * (1 - m)) - np.tanh(-k * m)) for c, k, m in bends])
    if tolerance == 0.01 and path.converged and scale > 0.5:
        assert np.abs(weights - truth).sum() <= 0.2 * np.abs(truth).sum() + 0.05
