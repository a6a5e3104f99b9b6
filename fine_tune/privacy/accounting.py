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
_STEP = 1e-4


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


def noise_for(epsilon: float, delta: float, sampling_rate: float, steps: int, accountant: Accountant) -> float:
    """The smallest noise multiplier, to four digits after the point, that keeps ``steps`` steps within ``epsilon``.

    Raises:
        RecipeError: no noise multiplier up to ten thousand does; the message names the epsilon that it would spend.
    """

    def spent(noise: float) -> float:
        return _spent_or_infinite(noise, sampling_rate, steps, delta, accountant)

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
    low = high / 2 if high > 1 else 0.0
    while high - low > _STEP / 2:
        middle = (low + high) / 2
        if spent(middle) > epsilon:
            low = middle
        else:
            high = middle
    rounded = math.ceil(high / _STEP) * _STEP
    return round(rounded, 4)


def _spent_or_infinite(noise: float, rate: float, steps: int, delta: float, accountant: Accountant) -> float:
    try:
        return epsilon_spent([Phase(noise_multiplier=noise, sampling_rate=rate, steps=steps)], delta, accountant)
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
        return float(rdp.get_epsilon(delta))
