"""The interval of a median against the binomial distribution, by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from probes.medians import median_interval


def test_ranks_are_those_of_the_binomial():
    # P(Bin(10, 1/2) <= 1) = 11/1024 < .025 < P(Bin <= 2) = 56/1024: the 2nd and the 9th value.
    value, interval = median_interval(np.arange(1.0, 11.0), 0.95)
    assert value == 5.5
    assert (interval.low, interval.high) == (2.0, 9.0)
    assert interval.method.name == "order statistics"
    _, wider = median_interval(np.arange(1.0, 11.0), 0.99)
    assert (wider.low, wider.high) == (1.0, 10.0)


def test_too_few_values_leave_an_end_open():
    # The median of five lies outside their range with probability 2 / 32 > .05.
    value, interval = median_interval(np.array([3.0, 1.0, 2.0, 9.0, 4.0]), 0.95, bounds=(0.0, None))
    assert (value, interval.low, interval.high) == (3.0, 0.0, None)
    assert median_interval(np.array([3.0]), 0.95) == (3.0, None)
    _, six = median_interval(np.array([3.0, 1.0, 2.0, 9.0, 4.0, 5.0]), 0.95)
    assert (six.low, six.high) == (1.0, 9.0)
    with pytest.raises(ValueError, match="nothing"):
        median_interval(np.array([]), 0.95)


@pytest.mark.parametrize("size", [8, 25, 60])
@pytest.mark.parametrize("draw", [lambda g, n: g.exponential(1, n), lambda g, n: np.round(g.exponential(1, n) * 4)])
def test_it_covers_at_least_at_its_level(size, draw):
    rng = np.random.default_rng(5)
    true = np.log(2) if draw(rng, 1)[0] % 1 else np.round(np.log(2) * 4)
    ends = [median_interval(draw(rng, size), 0.9)[1] for _ in range(1500)]
    inside = sum(i.low <= true <= i.high for i in ends)
    assert inside / 1500 > 0.9 - 3 * np.sqrt(0.09 / 1500)


def test_clusters_of_alike_values_widen_it():
    rng = np.random.default_rng(1)
    means = rng.normal(0, 1, 40)
    values = np.repeat(means, 10) + rng.normal(0, 0.01, 400)
    codes = np.repeat(np.arange(40), 10)
    _, alone = median_interval(values, 0.95)
    _, together = median_interval(values, 0.95, codes)
    assert together.low < alone.low
    assert alone.high < together.high
    _, of_means = median_interval(means, 0.95)
    assert abs(together.low - of_means.low) < 0.35
    assert together.method.params["clusters"] == 40
    assert median_interval(values, 0.95, np.arange(400))[1].low == alone.low


def test_clusters_keep_their_level():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(600):
        sizes = rng.integers(1, 8, 30)
        values = np.repeat(rng.normal(0, 1, 30), sizes) + rng.normal(0, 0.5, sizes.sum())
        _, interval = median_interval(values, 0.9, np.repeat(np.arange(30), sizes))
        hits += (interval.low is None or interval.low <= 0) and (interval.high is None or interval.high >= 0)
    assert hits / 600 > 0.9 - 3 * np.sqrt(0.09 / 600)


def test_the_ranks_of_sixteen_values():
    # P(Bin(16, 1/2) <= 3) = 697/65536 < .025 < P(Bin <= 4) = 2517/65536: the 4th and the 13th value.
    _, interval = median_interval(np.arange(1.0, 17.0), 0.95)
    assert (interval.low, interval.high) == (4.0, 13.0)
