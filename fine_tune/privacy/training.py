"""The private training loop: Poisson batches, clipped sums, noise once a step by Opacus' optimizer, and the facts of what was done.
It shares tasks, recipe, progress and resume folder with the other training, and keeps no loss of a protected row.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fine_tune import resume
from fine_tune.errors import DivergenceError, RecipeError
from fine_tune.privacy.clipping import Clipper, make_clipper, prepare_model
from fine_tune.privacy.facts import Facts, Release
from fine_tune.privacy.losses import RowLosses
from fine_tune.privacy.noise import Streams, seed_of
from fine_tune.privacy.optimizing import NoisyOptimizer
from fine_tune.privacy.plan import Plan
from fine_tune.privacy.released import Released
from fine_tune.privacy.sampling import PoissonSampler, sampling_of
from fine_tune.privacy.selftest import ROWS, refuse_beyond_bound, self_test
from fine_tune.privacy.states import PrivateStates, State
from fine_tune.processes import is_main, main_says, process_count, process_rank, wait_for_all
from fine_tune.recipe import Recipe
from fine_tune.resume import ResumeFolder
from fine_tune.trainer import moving, put_back

__all__ = ["Material", "Plan", "PrivateTraining"]


@dataclass(frozen=True, kw_only=True)
class Material:
    """What is trained on what.

    Attributes:
        model: with the flags of what is trained set.
        examples: training rows, each with ``labels``.
        collate: examples to a batch of tensors.
        classes: names in the order of the outputs.
        device: torch's name.
        key: names the request; with ``secure_rng: false`` noise and sampling are drawn from it, so that no two requests
            share their noise.
    """

    model: nn.Module
    examples: list[dict[str, Any]]
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]]
    classes: tuple[str, ...]
    device: str
    key: str


class PrivateTraining:
    """One private training, from self-test to the last step.

    Args:
        recipe: with `Recipe.privacy`.
        material: what is trained on what.
        plan: what is fixed up front.
        states: where it is resumed from.

    Raises:
        RecipeError: the model cannot be clipped rightly, or a state is of another training.
    """

    def __init__(self, recipe: Recipe, material: Material, plan: Plan, states: ResumeFolder) -> None:
        self._recipe, self._material, self._plan = recipe, material, plan
        self._model = material.model.to(material.device)
        self._losses = RowLosses(self._model, recipe, material.classes, material.device)
        self._row_losses = self._losses.mixed if recipe.precision == "bf16" else self._losses.exact
        self._model.train()
        prepare_model(self._model, plan.privacy.batch_norm)
        self._clipper = self._tested()
        self._stream, self._again = 0, 0
        self._streams = self._chance()
        self._optimizer = NoisyOptimizer(self._clipper, recipe, plan, self._streams.noise)
        self._sampler = PoissonSampler(plan.units, plan.batch, self._streams.drawing)
        self._states = PrivateStates(states, self._written_plan())
        self._steps, self._empty, self._finite = 0, 0, True
        self._saved = time.monotonic()

    @property
    def trained(self) -> int:
        """Weights that move."""
        return sum(p.numel() for p in self._clipper.parameters.values())

    def run(self, watch: Callable[[int], None]) -> Facts:
        """Take every planned step that is not taken yet.

        Args:
            watch: told the number of steps taken, after each.

        Raises:
            DivergenceError: a gradient is not finite.
            RecipeError: a state is of another training.
        """
        try:
            self._take_up()
            while self._steps < self._plan.steps:
                self._step()
                watch(self._steps)
                self._keep_due_state()
        finally:
            self._clipper.close()
        return self._facts()

    def validation_loss(self, examples: list[dict[str, Any]]) -> float:
        """Mean cross-entropy of rows that were not trained on, after `run`; a figure without noise."""
        self._model.eval()
        size = self._plan.privacy.physical_batch
        batches = (self._batch(examples[start : start + size]) for start in range(0, len(examples), size))
        with torch.no_grad():
            return sum(float(self._losses.plain(batch).sum()) for batch in batches) / len(examples)

    def _step(self) -> None:
        _seed_dropout(self._material.key, self._steps)
        rows = self._sampler.draw()
        self._empty += not rows
        mine = rows[process_rank() :: process_count()]
        examples = sorted((self._material.examples[i] for i in mine), key=_length)
        size = self._plan.privacy.physical_batch
        for start in range(0, len(examples), size):
            batch = self._batch(examples[start : start + size])
            norms = self._clipper.backward(self._row_losses(batch))
            self._finite &= bool(torch.isfinite(norms).all())
        self._release(self._summed(self._clipper.take()))
        self._steps += 1

    def _summed(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sums over all processes; one whose share of a batch is empty adds zeros."""
        if process_count() > 1:
            import torch.distributed as dist

            for total in sums.values():
                dist.all_reduce(total)
        return sums

    def _release(self, sums: dict[str, Tensor]) -> None:
        """Noise, once, and a step of the optimizer.

        Raises:
            DivergenceError: a sum is not finite, so that clipping bounded nothing.
        """
        self._finite &= all(bool(torch.isfinite(total).all()) for total in sums.values())
        if not self._all_finite():
            raise DivergenceError(
                f"the gradients of step {self._steps + 1} are not finite, so clipping bounds nothing",
                expected="finite gradients", fix=f"lower learning_rate, which was {self._recipe.rate}",
            )  # fmt: skip
        self._optimizer.release(sums)

    def _all_finite(self) -> bool:
        """Whether every process saw finite gradients alone, so that all of them stop together."""
        if process_count() == 1:
            return self._finite
        import torch.distributed as dist

        said = torch.tensor([int(self._finite)], device=self._material.device)
        dist.all_reduce(said, op=dist.ReduceOp.MIN)
        return bool(said.item())

    def _batch(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        made = self._material.collate(examples)
        return {name: value.to(self._material.device) for name, value in made.items()}

    def _tested(self) -> Clipper:
        """The clipper, after it agreed with the reference on the shortest, the longest and rows between."""
        order = sorted(range(len(self._material.examples)), key=lambda i: _length(self._material.examples[i]))
        places = np.unique(np.linspace(0, len(order) - 1, ROWS).round().astype(int))
        examples = [self._material.examples[order[i]] for i in places]
        privacy = self._plan.privacy

        def make() -> Clipper:
            return make_clipper(self._model, privacy.max_grad_norm, privacy.gradients)

        clipper = self_test(self._model, make, self._batch, examples, self._losses.exact, bound=privacy.max_grad_norm)
        if self._recipe.precision == "bf16":
            refuse_beyond_bound(clipper, [self._batch([example]) for example in examples], self._losses.mixed)
        return clipper

    def _facts(self) -> Facts:
        plan, privacy = self._plan, self._plan.privacy
        return Facts(
            unit=privacy.unit, units=len(plan.units), rows=len(self._material.examples), expected_batch=plan.batch,
            sampling=sampling_of(self._sampler), sampling_rate=plan.rate, max_grad_norm=privacy.max_grad_norm,
            noise_multiplier=plan.noise_multiplier, delta=privacy.delta, accountant=privacy.accountant,
            planned_steps=plan.steps, taken_steps=self._steps, empty_steps=self._empty,
            releases=(*plan.earlier, *self._releases()),
            finite=self._finite, self_tested=True, gradients=self._clipper.mode, secure_rng=privacy.secure_rng,
            target_epsilon=privacy.epsilon,
        )  # fmt: skip

    def _releases(self) -> list[Release]:
        """What this training charges: its steps, and those that a released checkpoint holds and that were taken once more."""
        out = [
            Release(
                purpose="training", noise_multiplier=p.noise_multiplier, sampling_rate=p.sampling_rate, steps=p.steps
            )
            for p in self._optimizer.charged()
        ]
        if self._again:
            plan = self._plan
            out.append(
                Release(
                    purpose="resumed training", noise_multiplier=plan.noise_multiplier, sampling_rate=plan.rate, steps=self._again
                )
            )  # fmt: skip
        return out

    def _chance(self) -> Streams:
        """The generators of the current stream."""
        device, key = self._material.device, self._material.key
        if self._plan.privacy.secure_rng:
            return Streams.secret(device)
        return Streams.repeatable(f"{key}\0{self._stream}" if self._stream else key, device)

    def _keep_due_state(self) -> None:
        """Write a state between two steps, when one is due; nothing of it is ever part of a checkpoint."""
        due = time.monotonic() - self._saved >= resume.SAVE_SECONDS and self._steps < self._plan.steps
        if main_says(due, self._material.device):
            self._keep_state()

    def _keep_state(self) -> None:
        if is_main():
            with self._optimizer.flagged():
                weights = moving(self._model)
            tensors = {"weights": weights, "noise": self._streams.noise.get_state(), **self._optimizer.state()}
            self._states.keep(
                State(
                    steps=self._steps, empty=self._empty, history=self._optimizer.charged(), stream=self._stream,
                    again=self._again, sampling=self._sampler.state(), tensors=tensors,
                )
            )  # fmt: skip
        wait_for_all()
        self._saved = time.monotonic()

    def _take_up(self) -> None:
        """Go on from the newest whole state: with the noise that it would have had, or, where a checkpoint that carries some of
        that noise was released, with fresh noise.

        Raises:
            RecipeError: it is of another plan, or its accounts do not add up.
        """
        state, gone = self._states.newest(), self._states.released()
        wait_for_all()
        if state is None:
            return
        put_back(self._model, state.tensors["weights"])
        self._optimizer.take_up(state.tensors, state.history)
        self._steps, self._empty, self._stream, self._again = state.steps, state.empty, state.stream, state.again
        if gone is not None and gone.stream == state.stream and gone.steps > state.steps:
            self._begin_stream(gone)
            return
        self._streams.noise.set_state(state.tensors["noise"])
        self._sampler.take_up(state.sampling)

    def _begin_stream(self, gone: Released) -> None:
        """Draw units and noise anew, and charge the released steps beside those that take their place.

        Both are drawn anew: on the same units, two noises are not the two subsampled mechanisms that accountants compose.

        Raises:
            RecipeError: more steps were released than were planned.
        """
        if gone.steps > self._plan.steps:
            raise RecipeError(
                f"a checkpoint of step {gone.steps} is said to be released, and {self._plan.steps} steps are planned",
                expected="a step of this training",
            )
        self._stream += 1
        self._again += gone.steps - self._steps
        self._streams = self._chance()
        self._optimizer.draw_from(self._streams.noise)
        self._sampler = PoissonSampler(self._plan.units, self._plan.batch, self._streams.drawing)
        # At once, so that no state of the released stream is left to go on from.
        self._keep_state()

    def _written_plan(self) -> dict[str, Any]:
        plan, privacy = self._plan, self._plan.privacy
        return {
            "units": len(plan.units), "batch": plan.batch, "steps": plan.steps, "sigma": plan.noise_multiplier,
            "delta": privacy.delta, "bound": privacy.max_grad_norm, "key": self._material.key,
            "parameters": hashlib.sha256("\n".join(sorted(self._clipper.parameters)).encode()).hexdigest(),
            "opacus": importlib.metadata.version("opacus"),
        }  # fmt: skip


def _length(example: dict[str, Any]) -> int:
    """What padding depends on: tokens, or samples of sound; 0 where rows are of one size."""
    return next((len(example[name]) for name in ("input_ids", "input_values") if name in example), 0)


def _seed_dropout(key: str, step: int) -> None:
    """Dropout masks depend on request, process and step alone, so that a resumed training has the same."""
    torch.manual_seed(seed_of(f"{key}\0{process_rank()}\0{step}", "dropout"))
