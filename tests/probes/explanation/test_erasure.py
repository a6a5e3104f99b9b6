"""Rankings, shares rounded up, and masks that are scored once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.bounded_means import bounded_mean
from probes.explanation.erasure import ONLY, WITHOUT, Erasures, curve_shares, random_orders, rank, units_of
from probes.intervals import clopper_pearson, mean_interval


@pytest.mark.parametrize(
    ("share", "units", "expected"),
    [(0.01, 9, 1), (0.2, 5, 1), (0.2, 6, 2), (0.5, 9, 5), (0.1, 30, 3), (0.7, 10, 7), (1.0, 4, 4), (0.5, 0, 0)],
)
def test_shares_are_rounded_up_and_not_beyond_what_is_meant(share, units, expected):
    assert units_of(share, units) == expected


def test_the_strongest_support_comes_first_and_signs_count():
    assert rank(np.array([0.1, -3.0, 2.0, 0.5]), np.random.default_rng(0)).tolist() == [2, 3, 0, 1]


def test_ties_fall_either_way_and_the_same_way_with_the_same_seed():
    weights = np.array([1.0, 1.0, 0.0])
    firsts = [int(rank(weights, np.random.default_rng(seed))[0]) for seed in range(400)]
    assert set(firsts) == {0, 1}
    assert 150 < firsts.count(0) < 250
    assert firsts == [int(rank(weights, np.random.default_rng(seed))[0]) for seed in range(400)]


def test_random_orders_put_every_unit_first_equally_often():
    firsts = np.bincount(random_orders(4, 4000, np.random.default_rng(1))[:, 0], minlength=4)
    assert firsts.sum() == 4000
    assert (abs(firsts - 1000) < 150).all()


def test_masks_by_hand():
    made = Erasures(units=4)
    order = np.array([2, 0, 3, 1])
    made.add("m", 0, order, WITHOUT, (0.25, 0.5, 1.0))
    made.add("m", 0, order, ONLY, (0.5,))
    masks = made.masks
    assert masks[0].tolist() == [True] * 4
    taken = {(s.kind, s.share): masks[s.mask].astype(int).tolist() for s in made.steps}
    assert taken == {
        (WITHOUT, 0.25): [1, 1, 0, 1],
        (WITHOUT, 0.5): [0, 1, 0, 1],
        (WITHOUT, 1.0): [0, 0, 0, 0],
        (ONLY, 0.5): [1, 0, 1, 0],
    }


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_every_mask_is_kept_once_and_has_the_right_size(units, seed):
    rng = np.random.default_rng(seed)
    made = Erasures(units=units)
    for i, order in enumerate(random_orders(units, 3, rng)):
        for kind in (WITHOUT, ONLY):
            made.add("random", i, order, kind, curve_shares(5))
    masks = made.masks
    assert len({row.tobytes() for row in masks}) == len(masks)
    for step in made.steps:
        first = units_of(step.share, units)
        assert masks[step.mask].sum() == (first if step.kind == ONLY else units - first)


def test_equal_values_leave_a_width_that_shrinks_with_inputs():
    few, many = (bounded_mean(np.ones(n), 0.95, np.arange(n), (-1.0, 1.0)) for n in (10, 100))
    share = clopper_pearson(10, 10, 0.95).low
    assert few.value == 1.0 == few.high
    assert few.low == pytest.approx(2 * share - 1)
    assert few.low < many.low < 1.0
    assert bounded_mean(np.ones(10), 0.95, np.zeros(10, dtype=np.int64), (-1.0, 1.0)) is None


def test_differing_values_have_the_t_interval():
    values, clusters = np.array([0.1, 0.4, 0.2, 0.3]), np.array([0, 0, 1, 2])
    found, plain = (f(values, 0.9, clusters, (-1.0, 1.0)) for f in (bounded_mean, mean_interval))
    assert found == plain
