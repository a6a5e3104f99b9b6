"""Epsilon from noise and noise from epsilon, by Opacus' accountants. It knows how often which mechanism ran and nothing of
models, and it refuses figures that an accountant cannot give.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from fine_tune.errors import RecipeError
from fine_tune.privacy.settings import Accountant

# The PRV accountant adds this to its estimate, so that what it returns is an upper bound.
PRV_ERROR = 0.01
MOST_NOISE = 1e4
# Below it, one step gives a unit away in full at any useful delta, and the accountants ask for meshes of gigabytes.
LEAST_NOISE = 0.05
_STEP = 1e-4
# Opacus looks at orders up to 63, which cannot resolve an epsilon far below one.
_HIGH_ORDERS = (64, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One mechanism, run several times in a row: the Poisson-subsampled Gaussian.

    Attributes:
        noise_multiplier: standard deviation of the noise over the clipping norm, above 0.
        sampling_rate: probability with which a unit takes part in a step, in (0, 1].
        steps: how often it ran, empty batches included.
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int


def epsilon_spent(phases: Sequence[Phase], delta: float, accountant: Accountant) -> float:
    """The epsilon that all phases spend together; adding or removing one unit is what neighbours differ in.

    ``prv`` composes privacy loss random variables numerically (Gopi, Lee and Wutschitz, 2021) and returns an upper bound;
    ``rdp`` composes Rényi divergences (Mironov, 2017; Balle et al., 2020), which is looser.

    Raises:
        RecipeError: a phase is no mechanism, or the accountant gives no finite figure.
    """
    history = [(p.noise_multiplier, p.sampling_rate, p.steps) for p in phases if p.steps]
    for noise, rate, _ in history:
        if not (noise > 0 and 0 < rate <= 1):
            raise RecipeError(
                f"a mechanism with noise multiplier {noise} and sampling rate {rate}", expected="noise above 0 and a rate in (0, 1]"
            )  # fmt: skip
    if not history:
        return 0.0
    value = _ask(accountant, history, delta)
    if not math.isfinite(value) or value < 0:
        raise RecipeError(
            f"the {accountant} accountant gives {value} for {history} at delta {delta}", expected="a finite epsilon",
            fix="use more noise, fewer steps or a smaller batch",
        )  # fmt: skip
    return value


def noise_for(
    epsilon: float,
    delta: float,
    sampling_rate: float,
    steps: int,
    accountant: Accountant,
    *,
    before: Sequence[Phase] = (),
) -> float:
    """The smallest noise multiplier, to four digits after the point, that keeps ``steps`` steps within ``epsilon``.

    Args:
        epsilon, delta: the budget.
        sampling_rate: q of each step.
        steps: how many.
        accountant: what the budget is measured by.
        before: what was spent on the same units earlier; the budget covers it too.

    Raises:
        RecipeError: the budget was spent before, or no noise multiplier up to ten thousand keeps it; the message names the
            epsilon that would be spent.
    """
    if before:
        gone = epsilon_spent(before, delta, accountant)
        if gone >= epsilon:
            raise RecipeError(
                f"epsilon {epsilon} is to cover earlier trainings on these rows too, and they spent {gone:.3g} at delta {delta}",
                expected="a budget above what was spent", fix="raise epsilon",
            )  # fmt: skip

    def spent(noise: float) -> float:
        own = Phase(noise_multiplier=noise, sampling_rate=sampling_rate, steps=steps)
        return _spent_or_infinite([*before, own], delta, accountant)

    high = 1.0
    while spent(high) > epsilon:
        high *= 2
        if high > MOST_NOISE:
            raise RecipeError(
                f"epsilon {epsilon} at delta {delta} over {steps} steps at rate {sampling_rate:.3g} cannot be reached: noise"
                f" multiplier {MOST_NOISE:g} still spends {spent(MOST_NOISE):.3g}",
                expected=f"an epsilon above what the {accountant} accountant can resolve",
                fix="raise epsilon or delta, or take fewer steps",
            )  # fmt: skip
    low = high / 2
    while low > LEAST_NOISE and spent(low) <= epsilon:
        high, low = low, low / 2
    while high - low > _STEP / 2:
        middle = (low + high) / 2
        if spent(middle) > epsilon:
            low = middle
        else:
            high = middle
    found = math.ceil(high / _STEP)
    # The accountants are numeric: the last digit is looked at again, so that what is returned was itself measured.
    while spent(found * _STEP) > epsilon:
        found += 1
    return round(found * _STEP, 4)


def _spent_or_infinite(phases: Sequence[Phase], delta: float, accountant: Accountant) -> float:
    try:
        return epsilon_spent(phases, delta, accountant)
    except (RecipeError, ArithmeticError, ValueError, MemoryError):
        # With next to no noise the accountants overflow or ask for a huge mesh: more than any budget.
        return math.inf


def _ask(accountant: Accountant, history: list[tuple[float, float, int]], delta: float) -> float:
    from opacus.accountants import PRVAccountant, RDPAccountant

    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        if accountant == "prv":
            prv = PRVAccountant()
            prv.history = history
            return float(prv.get_epsilon(delta, eps_error=PRV_ERROR))
        rdp = RDPAccountant()
        rdp.history = history
        return float(rdp.get_epsilon(delta, alphas=[*RDPAccountant.DEFAULT_ALPHAS, *_HIGH_ORDERS]))
