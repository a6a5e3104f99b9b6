"""The private training loop: Poisson batches, clipped sums, noise once a step by Opacus' optimizer, and a ledger of what was done. It
shares tasks, recipe, progress and resume folder with the other training, and keeps no loss of a protected row.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from opacus.accountants import create_accountant
from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fine_tune import resume
from fine_tune.errors import DivergenceError, RecipeError
from fine_tune.privacy.accounting import noise_for
from fine_tune.privacy.clipping import Clipper, make_clipper, refuse_mixing, refuse_shared
from fine_tune.privacy.ledger import Facts, Release
from fine_tune.privacy.sampling import PoissonSampler, UnitRows
from fine_tune.privacy.selftest import ROWS, self_test
from fine_tune.privacy.settings import Privacy
from fine_tune.processes import is_main, main_says, process_count, process_rank, wait_for_all
from fine_tune.recipe import Recipe
from fine_tune.resume import ResumeFolder
from fine_tune.trainer import moving, put_back

STATE = "private.pt"
DEFAULT_EPOCHS = 3.0
_NO_DECAY_BELOW = 2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is fixed before the first step, so that nothing seen on the way can move it.

    Attributes:
        units: whose presence is protected.
        batch: B, expected units a step.
        steps: noisy steps.
        noise_multiplier: sigma.
        privacy: what was asked for.
    """

    units: UnitRows
    batch: int
    steps: int
    noise_multiplier: float
    privacy: Privacy

    @classmethod
    def of(cls, recipe: Recipe, units: UnitRows) -> Plan:
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
            sigma = noise_for(privacy.epsilon, privacy.delta, batch / n, steps, privacy.accountant)
        return cls(units=units, batch=batch, steps=steps, noise_multiplier=sigma, privacy=privacy)

    @property
    def rate(self) -> float:
        """q."""
        return self.batch / len(self.units)


@dataclass(frozen=True, kw_only=True)
class Material:
    """What is trained on what.

    Attributes:
        model: with the flags of what is trained set.
        examples: training rows, each with ``labels``.
        collate: examples to a batch of tensors.
        classes: names in the order of the outputs.
        device: torch's name.
        key: names the request; noise and sampling are drawn from it, so that no two requests share their noise.
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
        self._recipe, self._material, self._plan, self._states = recipe, material, plan, states
        self._model = material.model.to(material.device)
        self._class_weights = _class_weights(recipe, material)
        self._model.train()
        refuse_shared(self._model)
        refuse_mixing(self._model)
        self._clipper = self._tested()
        self._optimizer, self._inner, self._schedule = self._optimizers()
        self._sampler_rng, self._noise = self._generators()
        self._sampler = PoissonSampler(plan.units, plan.batch, self._sampler_rng)
        self._steps, self._empty, self._finite = 0, 0, True
        self._saved = time.monotonic()

    def run(self, watch: Callable[[int], None]) -> Facts:
        """Take every planned step that is not taken yet.

        Args:
            watch: told the number of steps taken, after each.

        Raises:
            DivergenceError: a gradient is not finite.
            RecipeError: a state is of another training.
        """
        self._take_up()
        try:
            while self._steps < self._plan.steps:
                self._step()
                watch(self._steps)
                self._keep_state()
        finally:
            self._clipper.close()
        return self._facts()

    def _step(self) -> None:
        _seed_dropout(self._material.key, self._steps)
        rows = self._sampler.draw()
        self._empty += not rows
        mine = rows[process_rank() :: process_count()]
        examples = sorted((self._material.examples[i] for i in mine), key=_length)
        size = self._plan.privacy.physical_batch
        for start in range(0, len(examples), size):
            batch = self._batch(examples[start : start + size])
            norms = self._clipper.backward(self._losses(batch, mixed=self._recipe.precision == "bf16"))
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
        if not self._finite:
            raise DivergenceError(
                f"the gradients of step {self._steps + 1} are not finite, so clipping bounds nothing",
                expected="finite gradients", fix=f"lower learning_rate, which was {self._recipe.rate}",
            )  # fmt: skip
        parameters = self._clipper.parameters
        # Opacus looks for parameters that ask for gradients; without the flag a step would be taken without noise.
        for name, p in parameters.items():
            p.requires_grad_(True)
            p.grad = sums[name].to(p.dtype)
        self._optimizer.step()
        missed = [name for name, p in parameters.items() if not hasattr(p.summed_grad, "_processed")]
        if missed:
            raise RecipeError(
                f"no noise was added to {', '.join(missed[:3])}", expected="noise on every trained weight"
            )
        self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._clipper.mode == "bookkeeping":
            for p in parameters.values():
                p.requires_grad_(False)

    def _batch(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        made = self._material.collate(examples)
        return {name: value.to(self._material.device) for name, value in made.items()}

    def _losses(self, batch: dict[str, Any], *, mixed: bool) -> Tensor:
        """Cross-entropy of each row, in float32 whatever the forward pass runs in."""
        labels = batch["labels"]
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        kind = torch.device(self._material.device).type
        with torch.autocast(kind, dtype=torch.bfloat16) if mixed else contextlib.nullcontext():
            logits = self._model(**inputs).logits
        smoothing = self._recipe.label_smoothing
        each = F.cross_entropy(logits.float(), labels.reshape(-1), reduction="none", label_smoothing=smoothing)
        return each if self._class_weights is None else each * self._class_weights[labels.reshape(-1)]

    def _tested(self) -> Clipper:
        """The clipper, after it agreed with the reference on the shortest, the longest and rows between."""
        order = sorted(range(len(self._material.examples)), key=lambda i: _length(self._material.examples[i]))
        places = np.unique(np.linspace(0, len(order) - 1, ROWS).round().astype(int))
        examples = [self._material.examples[order[i]] for i in places]
        privacy = self._plan.privacy

        def exact(batch: dict[str, Any]) -> Tensor:
            return self._losses(batch, mixed=False)

        def make() -> Clipper:
            return make_clipper(self._model, privacy.max_grad_norm, privacy.gradients)

        return self_test(self._model, make, self._batch, examples, exact, bound=privacy.max_grad_norm)

    def _optimizers(self) -> tuple[Any, torch.optim.Optimizer, Any]:
        from transformers import get_scheduler

        parameters = list(self._clipper.parameters.values())
        for p in parameters:
            p.requires_grad_(True)
        heavy = [p for p in parameters if p.dim() >= _NO_DECAY_BELOW]
        light = [p for p in parameters if p.dim() < _NO_DECAY_BELOW]
        groups = [{"params": heavy, "weight_decay": self._recipe.weight_decay}, {"params": light, "weight_decay": 0.0}]
        inner = torch.optim.AdamW([g for g in groups if g["params"]], lr=self._recipe.rate)
        schedule = get_scheduler(
            self._recipe.schedule, inner, round(self._recipe.warmup_ratio * self._plan.steps), self._plan.steps,
            scheduler_specific_kwargs=dict(self._recipe.schedule_options) or None,
        )  # fmt: skip
        private = DPOptimizerFastGradientClipping(
            inner, noise_multiplier=self._plan.noise_multiplier, max_grad_norm=self._plan.privacy.max_grad_norm,
            expected_batch_size=self._plan.batch, loss_reduction="mean",
        )  # fmt: skip
        if {id(p) for p in private.params} != {id(p) for p in parameters}:
            raise RecipeError("the optimizer holds other weights than are clipped", expected="exactly the same")
        self._accountant = create_accountant(self._plan.privacy.accountant)
        private.attach_step_hook(self._accountant.get_optimizer_hook_fn(self._plan.rate))
        if self._clipper.mode == "bookkeeping":
            for p in parameters:
                p.requires_grad_(False)
        return private, inner, schedule

    def _generators(self) -> tuple[np.random.Generator, torch.Generator]:
        """One stream for drawing and one for noise; the same in every process."""
        if self._plan.privacy.secure_rng:
            entropy = _from_main(secrets.randbits(62), self._material.device)
            drawing, noise = np.random.default_rng([entropy, 0]), _seed_of(f"{entropy}", "noise")
        else:
            drawing, noise = (
                np.random.default_rng(_seed_of(self._material.key, "sampling")),
                _seed_of(self._material.key, "noise"),
            )
        generator = torch.Generator(device=self._material.device).manual_seed(noise)
        self._optimizer.generator = generator
        return drawing, generator

    def _facts(self) -> Facts:
        plan, privacy = self._plan, self._plan.privacy
        return Facts(
            unit=privacy.unit, units=len(plan.units), rows=len(self._material.examples), expected_batch=plan.batch,
            sampling="poisson", sampling_rate=plan.rate, max_grad_norm=privacy.max_grad_norm,
            noise_multiplier=plan.noise_multiplier, delta=privacy.delta, accountant=privacy.accountant,
            planned_steps=plan.steps, taken_steps=self._steps, empty_steps=self._empty,
            releases=tuple(
                Release(purpose="training", noise_multiplier=sigma, sampling_rate=rate, steps=steps)
                for sigma, rate, steps in self._accountant.history
            ),
            finite=self._finite, self_tested=True, gradients=self._clipper.mode, secure_rng=privacy.secure_rng,
            target_epsilon=privacy.epsilon,
        )  # fmt: skip

    def _keep_state(self) -> None:
        """Write a state between two steps, when one is due; nothing of it is ever part of a checkpoint."""
        due = time.monotonic() - self._saved >= resume.SAVE_SECONDS and self._steps < self._plan.steps
        if not main_says(due, self._material.device):
            return
        if is_main():
            place = self._states.path / f"checkpoint-{self._steps}"
            place.mkdir(parents=True, exist_ok=True)
            for p in self._clipper.parameters.values():
                p.requires_grad_(True)
            weights = moving(self._model)
            if self._clipper.mode == "bookkeeping":
                for p in self._clipper.parameters.values():
                    p.requires_grad_(False)
            torch.save(
                {
                    "weights": weights,
                    "optimizer": self._inner.state_dict(),
                    "schedule": self._schedule.state_dict(),
                    "noise": self._noise.get_state(),
                },
                place / STATE,
            )
            self._states.complete(
                place,
                {
                    "plan": self._written_plan(),
                    "steps": self._steps,
                    "empty": self._empty,
                    "history": [list(entry) for entry in self._accountant.history],
                    "sampling": self._sampler.state(),
                },
            )
        wait_for_all()
        self._saved = time.monotonic()

    def _take_up(self) -> None:
        """Go on from the newest whole state.

        Raises:
            RecipeError: it is of another plan, or its accounts do not add up.
        """
        place = self._states.newest()
        wait_for_all()
        if place is None:
            return
        note = self._states.note(place)
        if note.get("plan") != self._written_plan():
            raise RecipeError(
                f"{place} is a state of another private training", expected="the same data, weights, noise and clipping",
                fix=f"remove {self._states.path} to start anew",
            )  # fmt: skip
        kept = torch.load(place / STATE, map_location="cpu", weights_only=True)
        put_back(self._model, kept["weights"])
        self._inner.load_state_dict(kept["optimizer"])
        self._schedule.load_state_dict(kept["schedule"])
        self._steps, self._empty = int(note["steps"]), int(note["empty"])
        self._accountant.history = [(float(s), float(q), int(t)) for s, q, t in note["history"]]
        if sum(t for _, _, t in self._accountant.history) != self._steps:
            raise RecipeError(f"{place} has accounts of other steps than it took", expected="as many charges as steps")
        self._noise.set_state(kept["noise"])
        self._sampler.take_up(note["sampling"])

    def _written_plan(self) -> dict[str, Any]:
        plan, privacy = self._plan, self._plan.privacy
        return {
            "units": len(plan.units), "batch": plan.batch, "steps": plan.steps, "sigma": plan.noise_multiplier,
            "delta": privacy.delta, "bound": privacy.max_grad_norm, "key": self._material.key,
            "parameters": hashlib.sha256("\n".join(sorted(self._clipper.parameters)).encode()).hexdigest(),
        }  # fmt: skip


def _length(example: dict[str, Any]) -> int:
    return len(example["input_ids"]) if "input_ids" in example else 0


def _class_weights(recipe: Recipe, material: Material) -> Tensor | None:
    """Weights by class as they are given: scaling them by how many rows have which label would look at labels."""
    given = recipe.class_weights
    if not isinstance(given, dict):
        return None
    if set(given) != set(material.classes):
        raise RecipeError(
            f"class_weights names {', '.join(given) or 'no class'}",
            expected=f"one weight for each of {', '.join(material.classes)}",
        )
    return torch.tensor([given[c] for c in material.classes], device=material.device)


def _seed_of(key: str, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{key}\0{purpose}".encode()).digest()[:7], "big")


def _seed_dropout(key: str, step: int) -> None:
    """Dropout masks depend on request, process and step alone, so that a resumed training has the same."""
    torch.manual_seed(_seed_of(f"{key}\0{process_rank()}\0{step}", "dropout"))


def _from_main(value: int, device: str) -> int:
    if process_count() == 1:
        return value
    import torch.distributed as dist

    said = torch.tensor([value], device=device)
    dist.broadcast(said, src=0)
    return int(said.item())
