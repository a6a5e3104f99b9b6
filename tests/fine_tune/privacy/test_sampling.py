"""Poisson sampling: every unit on its own, with exactly the rate that is accounted for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, chi2

from fine_tune.errors import DataError, RecipeError
from fine_tune.privacy.sampling import PoissonSampler, UnitRows


def sampler(units: int, expected: int, seed: int = 0) -> PoissonSampler:
    return PoissonSampler(UnitRows.single(units), expected, np.random.default_rng(seed))


def test_the_rate_is_exact() -> None:
    """Opacus' loader would make 31 of these 32: int(9000 * 1 / int(9000 / 32))."""
    assert sampler(9000, 32).rate == 32 / 9000
    assert sampler(7, 7).rate == 1.0


def test_sizes_are_binomial() -> None:
    made = sampler(500, 10)
    sizes = np.array([len(made.draw()) for _ in range(4000)])
    error = np.sqrt(500 * 0.02 * 0.98 / len(sizes))
    assert abs(sizes.mean() - 10) < 4 * error
    # The sample variance over its expectation is chi-squared; a shuffled loader would have variance 0.
    wanted = 500 * 0.02 * 0.98
    low, high = chi2.ppf([1e-5, 1 - 1e-5], len(sizes) - 1) / (len(sizes) - 1)
    assert low * 0.97 < sizes.var(ddof=1) / wanted < high * 1.03


def test_empty_batches_come_as_often_as_they_should() -> None:
    made = sampler(40, 1)
    empty = sum(not made.draw() for _ in range(3000))
    assert binomtest(empty, 3000, binom.pmf(0, 40, 1 / 40)).pvalue > 1e-5


def test_units_and_steps_are_independent() -> None:
    """Each unit as often as the rate says, pairs as often as its square, and no memory from step to step."""
    made = sampler(20, 6)
    drawn = np.zeros((4000, 20))
    for row in drawn:
        row[made.draw()] = 1
    assert np.abs(drawn.mean(0) - 0.3).max() < 5 * np.sqrt(0.21 / 4000)
    pairs = np.corrcoef(drawn.T) - np.eye(20)
    assert np.abs(pairs).max() < 5 / np.sqrt(4000)
    later = [np.corrcoef(drawn[1:, i], drawn[:-1, i])[0, 1] for i in range(20)]
    assert np.abs(later).max() < 5 / np.sqrt(4000)


def test_with_rate_one_everybody_takes_part() -> None:
    assert sampler(9, 9).draw() == list(range(9))


def test_more_units_than_there_are_is_refused() -> None:
    for expected in (0, 11):
        with pytest.raises(RecipeError, match=f"{expected} units"):
            sampler(10, expected)


def test_a_person_contributes_one_row_a_step() -> None:
    names = ["a"] * 50 + ["b"] * 2 + ["c"]
    units = UnitRows.of(names)
    assert len(units) == 3
    assert units.largest == 50
    made = PoissonSampler(units, 2, np.random.default_rng(3))
    counts = np.zeros(53)
    for _ in range(6000):
        rows = made.draw()
        assert len({names[i] for i in rows}) == len(rows)
        counts[rows] += 1
    by_person = [counts[:50].sum(), counts[50:52].sum(), counts[52]]
    # Rows do not make a person more likely; each takes part in two thirds of the steps.
    assert np.abs(np.array(by_person) - 4000).max() < 5 * np.sqrt(6000 * 2 / 9)
    assert binomtest(int(counts[50]), int(by_person[1]), 0.5).pvalue > 1e-5
    assert counts[:50].min() > 0


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40))
def test_every_row_belongs_to_one_unit(names: list[str]) -> None:
    units = UnitRows.of(names)
    assert sorted(int(i) for rows in units.rows for i in rows) == list(range(len(names)))
    assert all(len({names[i] for i in rows}) == 1 for rows in units.rows)
    assert len(units) == len(set(names))


def test_a_row_without_a_person_is_refused() -> None:
    with pytest.raises(DataError, match="row 1"):
        UnitRows.of(["a", None])


def test_a_state_goes_on_where_it_was() -> None:
    made = sampler(100, 10)
    for _ in range(5):
        made.draw()
    kept = json.loads(json.dumps(made.state()))
    wanted = [made.draw() for _ in range(5)]
    other = sampler(100, 10, seed=9)
    other.take_up(kept)
    assert [other.draw() for _ in range(5)] == wanted
