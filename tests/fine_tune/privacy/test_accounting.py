"""Epsilon from noise and back, against another library's accountant and against closed forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from fine_tune.errors import RecipeError
from fine_tune.privacy.accounting import Phase, epsilon_spent, noise_for


def phase(noise: float, rate: float, steps: int) -> Phase:
    return Phase(noise_multiplier=noise, sampling_rate=rate, steps=steps)


def other_library(phases: list[Phase], delta: float) -> tuple[float, float]:
    """Google's dp-accounting on the same phases: by privacy loss distributions, and by Rényi divergences."""
    dp = pytest.importorskip("dp_accounting", reason="dp-accounting is not installed")
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    event = dp.ComposedDpEvent(
        [
            dp.SelfComposedDpEvent(
                dp.PoissonSampledDpEvent(p.sampling_rate, dp.GaussianDpEvent(p.noise_multiplier))
                if p.sampling_rate < 1
                else dp.GaussianDpEvent(p.noise_multiplier),
                p.steps,
            )
            for p in phases
        ]
    )
    found = []
    for accountant in (PLDAccountant(value_discretization_interval=1e-3), RdpAccountant()):
        accountant.compose(event)
        found.append(float(accountant.get_epsilon(delta)))
    return found[0], found[1]


CASES = [
    ([(0.6, 32 / 9000, 843)], 1e-5),
    ([(1.0, 256 / 9000, 105)], 1e-5),
    ([(4.0, 32 / 9000, 1000)], 1e-6),
    ([(0.8, 4 / 50, 40)], 1e-3),  # fifty rows
    ([(1.2, 0.5, 20)], 1e-2),
    ([(2.0, 1.0, 10)], 1e-5),  # everybody in every step
    ([(1.5, 1e-4, 500)], 1e-6),
    ([(1.0, 0.02, 100), (0.7, 0.01, 200), (3.0, 1.0, 2)], 1e-5),  # tuning, then training
]


@pytest.mark.parametrize(("phases", "delta"), CASES)
def test_both_accountants_agree_with_another_library(phases: list[tuple[float, float, int]], delta: float) -> None:
    given_phases = [phase(*p) for p in phases]
    pld, rdp = other_library(given_phases, delta)
    # PRV is an upper bound within 0.01, and the other library's figure is pessimistic by its own mesh.
    prv = epsilon_spent(given_phases, delta, "prv")
    assert pld - 0.01 <= prv <= pld + 0.03
    # Both search the same divergences over somewhat different orders.
    assert epsilon_spent(given_phases, delta, "rdp") == pytest.approx(rdp, rel=0.05, abs=0.02)
    assert prv <= epsilon_spent(given_phases, delta, "rdp") + 0.01


@pytest.mark.parametrize(("noise", "steps", "delta"), [(1.0, 1, 1e-5), (3.0, 4, 1e-6), (5.0, 100, 1e-3)])
def test_without_sampling_it_is_the_gaussian_mechanism(noise: float, steps: int, delta: float) -> None:
    """Balle and Wang (2018), theorem 8: the exact epsilon of a Gaussian with sensitivity sqrt(steps) / noise."""
    mu = math.sqrt(steps) / noise

    def gap(epsilon: float) -> float:
        high, low = norm.cdf(mu / 2 - epsilon / mu), norm.cdf(-mu / 2 - epsilon / mu)
        return float(high - math.exp(epsilon) * low) - delta

    exact = brentq(gap, 1e-6, 100)
    assert exact <= epsilon_spent([phase(noise, 1.0, steps)], delta, "prv") <= exact + 0.02
    assert exact <= epsilon_spent([phase(noise, 1.0, steps)], delta, "rdp")


def test_nothing_run_spends_nothing() -> None:
    assert epsilon_spent([], 1e-5, "prv") == 0
    assert epsilon_spent([phase(1.0, 0.1, 0)], 1e-5, "rdp") == 0


def test_phases_add_up_whatever_their_order() -> None:
    one, other = phase(1.0, 0.02, 50), phase(2.0, 0.1, 20)
    both = epsilon_spent([one, other], 1e-5, "prv")
    assert both == pytest.approx(epsilon_spent([other, one], 1e-5, "prv"), abs=0.011)
    assert both > max(epsilon_spent([p], 1e-5, "prv") for p in (one, other))
    assert epsilon_spent([one, one], 1e-5, "prv") == pytest.approx(
        epsilon_spent([phase(1.0, 0.02, 100)], 1e-5, "prv"), abs=0.011
    )


@pytest.mark.parametrize("bad", [(0.0, 0.1, 1), (-1.0, 0.1, 1), (1.0, 0.0, 1), (1.0, 1.1, 1), (float("nan"), 0.1, 1)])
def test_what_is_no_mechanism_is_refused(bad: tuple[float, float, int]) -> None:
    with pytest.raises(RecipeError, match="noise multiplier"):
        epsilon_spent([phase(*bad)], 1e-5, "prv")


@settings(max_examples=12, deadline=None)
@given(
    noise=st.floats(0.6, 8), rate=st.floats(0.002, 0.3), steps=st.integers(1, 300), delta=st.sampled_from([1e-3, 1e-5])
)
def test_more_steps_spend_more_and_more_noise_less(noise: float, rate: float, steps: int, delta: float) -> None:
    spent = epsilon_spent([phase(noise, rate, steps)], delta, "rdp")
    assert epsilon_spent([phase(noise, rate, steps + 10)], delta, "rdp") >= spent
    assert epsilon_spent([phase(noise * 1.2, rate, steps)], delta, "rdp") <= spent


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
@pytest.mark.parametrize(
    ("epsilon", "rate", "steps"), [(8.0, 32 / 9000, 200), (1.0, 0.03, 100), (3.0, 1.0, 5), (40.0, 0.1, 20)]
)
def test_the_noise_keeps_the_budget_and_hardly_more(epsilon: float, rate: float, steps: int, accountant: str) -> None:
    noise = noise_for(epsilon, 1e-5, rate, steps, accountant)  # type: ignore[arg-type]
    spent = epsilon_spent([phase(noise, rate, steps)], 1e-5, accountant)  # type: ignore[arg-type]
    assert 0.98 * epsilon <= spent <= epsilon
    less = epsilon_spent([phase(noise - 0.001, rate, steps)], 1e-5, accountant)  # type: ignore[arg-type]
    assert less > epsilon - 0.01
    assert noise == round(noise, 4)


def test_the_budget_covers_what_was_spent_before() -> None:
    before = [phase(2.0, 0.01, 500)]
    alone, after = (noise_for(2.0, 1e-5, 0.01, 500, "rdp", before=b) for b in ([], before))
    assert after > alone
    own = phase(after, 0.01, 500)
    assert epsilon_spent([own], 1e-5, "rdp") < epsilon_spent([*before, own], 1e-5, "rdp") <= 2.0
    with pytest.raises(RecipeError, match="they spent"):
        noise_for(0.1, 1e-5, 0.01, 500, "rdp", before=before)


def test_a_budget_below_what_can_be_resolved_is_refused() -> None:
    with pytest.raises(RecipeError, match="cannot be reached"):
        noise_for(0.001, 1e-5, 0.01, 100, "prv")
