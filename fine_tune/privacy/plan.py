"""What is fixed before the first private step: units, expected batch, number of steps, noise. It draws nothing and trains nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fine_tune.arguments import DEFAULT_EPOCHS
from fine_tune.errors import RecipeError
from fine_tune.privacy.accounting import noise_for
from fine_tune.privacy.facts import Release
from fine_tune.privacy.sampling import UnitRows
from fine_tune.privacy.settings import Privacy
from fine_tune.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is fixed before the first step, so that nothing seen on the way can move it.

    Attributes:
        units: whose presence is protected.
        batch: B, expected units a step.
        steps: noisy steps.
        noise_multiplier: sigma.
        privacy: what was asked for.
        earlier: what trainings on the same rows spent before; the budget covers it too.
    """

    units: UnitRows
    batch: int
    steps: int
    noise_multiplier: float
    privacy: Privacy
    earlier: tuple[Release, ...] = ()

    @classmethod
    def of(cls, recipe: Recipe, units: UnitRows, earlier: Sequence[Release] = ()) -> Plan:
        """Solve for the noise, or take the given one.

        Raises:
            RecipeError: no privacy is asked for, the batch is larger than the data, delta allows giving a unit away, or no
                noise reaches epsilon.
        """
        privacy = recipe.privacy
        if privacy is None:
            raise RecipeError("the recipe has no privacy", expected="privacy: {epsilon: ..., delta: ...}")
        n = len(units)
        if privacy.delta * n >= 1:
            raise RecipeError(
                f"delta is {privacy.delta}, and {n} units are protected", expected=f"a delta below 1/{n} = {1 / n:.3g}",
                fix="a guarantee that may fail for one unit in so many protects nobody; lower delta",
            )  # fmt: skip
        batch = privacy.logical_batch or recipe.batch_size
        if batch > n:
            raise RecipeError(
                f"a step is to see {batch} units on average, and there are {n}",
                expected=f"a logical batch of at most {n}",
            )
        epochs = DEFAULT_EPOCHS if recipe.epochs is None else recipe.epochs
        steps = recipe.steps or max(1, math.ceil(epochs * n / batch))
        sigma = privacy.noise_multiplier
        if sigma is None:
            assert privacy.epsilon is not None
            before = [release.phase for release in earlier]
            sigma = noise_for(privacy.epsilon, privacy.delta, batch / n, steps, privacy.accountant, before=before)
        return cls(
            units=units, batch=batch, steps=steps, noise_multiplier=sigma, privacy=privacy, earlier=tuple(earlier)
        )

    @property
    def rate(self) -> float:
        """q."""
        return self.batch / len(self.units)
