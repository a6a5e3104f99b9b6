"""The step of a private training: noise once on the clipped sums, by Opacus' optimizer, whose accountant hears of every step. It sees
sums, never a row.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from opacus.accountants import create_accountant
from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping
from torch import Tensor, nn

from fine_tune.errors import RecipeError
from fine_tune.privacy.accounting import Phase
from fine_tune.privacy.clipping import Clipper
from fine_tune.privacy.plan import Plan
from fine_tune.recipe import Recipe
from fine_tune.sources import first_line

_NO_DECAY_BELOW = 2


class NoisyOptimizer:
    """AdamW with a schedule, behind Opacus' noise.

    Args:
        clipper: whose parameters are moved.
        recipe: rate, decay, schedule.
        plan: noise, clipping norm, expected batch, steps.
        noise: the generator that noise is drawn from.

    Raises:
        RecipeError: the schedule cannot be made, or the optimizer would hold other weights than are clipped.
    """

    def __init__(self, clipper: Clipper, recipe: Recipe, plan: Plan, noise: torch.Generator) -> None:
        from transformers import get_scheduler

        self._parameters: dict[str, nn.Parameter] = dict(clipper.parameters)
        parameters = list(self._parameters.values())
        with self.flagged():
            heavy = [p for p in parameters if p.dim() >= _NO_DECAY_BELOW]
            light = [p for p in parameters if p.dim() < _NO_DECAY_BELOW]
            groups = [{"params": heavy, "weight_decay": recipe.weight_decay}, {"params": light, "weight_decay": 0.0}]
            self._inner = torch.optim.AdamW([g for g in groups if g["params"]], lr=recipe.rate)
            try:
                self._schedule: Any = get_scheduler(
                    recipe.schedule, self._inner, round(recipe.warmup_ratio * plan.steps), plan.steps,
                    scheduler_specific_kwargs=dict(recipe.schedule_options) or None,
                )  # fmt: skip
            except (TypeError, ValueError, AttributeError) as error:
                raise RecipeError(
                    f"the schedule {recipe.schedule} cannot be made: {first_line(error)}",
                    expected="the options that transformers gives this schedule", fix="add or correct schedule_options",
                ) from error  # fmt: skip
            # The sums come clipped and without gradients a row; Opacus adds the noise and divides by the expected batch.
            self._private: Any = DPOptimizerFastGradientClipping(
                self._inner, noise_multiplier=plan.noise_multiplier, max_grad_norm=plan.privacy.max_grad_norm,
                expected_batch_size=plan.batch, loss_reduction="mean",
            )  # fmt: skip
            if {id(p) for p in self._private.params} != {id(p) for p in parameters}:
                raise RecipeError("the optimizer holds other weights than are clipped", expected="exactly the same")
        self._accountant: Any = create_accountant(plan.privacy.accountant)
        self._private.attach_step_hook(self._accountant.get_optimizer_hook_fn(plan.rate))
        self.draw_from(noise)

    def draw_from(self, noise: torch.Generator) -> None:
        """Draw the noise of the steps to come from ``noise``."""
        self._private.generator = noise

    def release(self, sums: dict[str, Tensor]) -> None:
        """Noise, once, and a step.

        Args:
            sums: clipped and finite, by parameter.

        Raises:
            RecipeError: a weight was left without noise.
        """
        # Opacus looks for parameters that ask for gradients; without the flag a step would be taken without noise.
        with self.flagged():
            for name, p in self._parameters.items():
                p.grad = sums[name].to(p.dtype)
            self._private.step()
            missed = [
                n for n, p in self._parameters.items() if not hasattr(getattr(p, "summed_grad", None), "_processed")
            ]
            if missed:
                raise RecipeError(
                    f"no noise was added to {', '.join(missed[:3])}", expected="noise on every trained weight"
                )
            self._schedule.step()
            self._private.zero_grad(set_to_none=True)

    @contextlib.contextmanager
    def flagged(self) -> Iterator[None]:
        """The trained weights ask for gradients inside the block, as book-keeping forbids them outside."""
        before = {p: p.requires_grad for p in self._parameters.values()}
        for p in before:
            p.requires_grad_(True)
        try:
            yield
        finally:
            for p, flag in before.items():
                p.requires_grad_(flag)

    def charged(self) -> tuple[Phase, ...]:
        """What Opacus' accountant heard of."""
        return tuple(
            Phase(noise_multiplier=noise, sampling_rate=rate, steps=steps)
            for noise, rate, steps in self._accountant.history
        )

    def state(self) -> dict[str, Any]:
        """What going on needs, beside `charged`."""
        return {"optimizer": self._inner.state_dict(), "schedule": self._schedule.state_dict()}

    def take_up(self, tensors: dict[str, Any], charged: tuple[Phase, ...]) -> None:
        """Go on from a `state` and what was charged for it."""
        self._inner.load_state_dict(tensors["optimizer"])
        self._schedule.load_state_dict(tensors["schedule"])
        self._accountant.history = [(p.noise_multiplier, p.sampling_rate, p.steps) for p in charged]
