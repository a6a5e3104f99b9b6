"""Attacks inputs that are numbers, batch by batch: what each attack makes of each input at each epsilon, and what the model then
says. Outcomes are journalled by batch and depend on the inputs, their labels and the seed alone, in whatever order they
come. It counts nothing, and draws no sample.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fine_tune.data import content_digest
from fine_tune.predictions import PredictionsMeta
from fine_tune.rows import decide
from probes.engines import captum_robust
from probes.engines.continuous import Continuous, Values, open_continuous

if TYPE_CHECKING:
    import torch

    from probes.probe import Context
    from probes.subject import Subject

ATTACKS = ("fgsm", "noise", "pgd")
Numbers = npt.NDArray[np.float32]
_LIBRARIES = ("captum", "torch", "transformers", "numpy")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the model says on one changed input: a class, and the probability of the true label."""

    prediction: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one input.

    Attributes:
        steepest: the largest absolute entry of the gradient at the input; 0 where there is none.
        before: probability of the true label before any change.
        after: what the model says, by attack and in the order of the epsilons.
    """

    steepest: float
    before: float
    after: dict[str, tuple[Said, ...]]

    def to_json(self) -> list[Any]:
        """As JSON values; floats keep every bit."""
        return [
            self.steepest,
            self.before,
            {a: [[s.prediction, s.score] for s in said] for a, said in self.after.items()},
        ]

    @classmethod
    def from_json(cls, value: Any) -> Outcome:
        """Read back what `to_json` gave."""
        steepest, before, after = value
        return cls(
            steepest=steepest,
            before=before,
            after={a: tuple(Said(prediction=p, score=s) for p, s in said) for a, said in after.items()},
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    """Inputs that go through the model together: their places, their numbers, the codes of their labels."""

    places: Sequence[int]
    values: Values
    targets: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Perturbing:
    """Inputs under attack, in an order of their own.

    Args:
        subject: offers gradients; its decision threshold decides what counts as changed.
        inputs: N inputs that are answered rightly.
        labels: their true class names.
        epsilons: ascending, in the inputs' own unit, >= 0.
        steps: of each descent.
        restarts: descents from different starts; the one that changes the answer counts, else the one closest to it.
        ctx: journal, progress, device and generators.
    """

    subject: Subject
    inputs: Sequence[Any]
    labels: Sequence[str]
    epsilons: Sequence[float]
    steps: int
    restarts: int
    ctx: Context
    source: Continuous = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", open_continuous(self.subject, self.ctx.device))

    def outcomes(self) -> list[Outcome]:
        """One an input, in order; each batch is kept as soon as it is done.

        Raises:
            DataError: an input is nothing that the task reads.
            Unavailable: the model gives other scores on numbers than on inputs, or no gradient reaches them.
        """
        found: dict[int, Outcome] = {}
        for batch in self.ctx.progress(self.batches, len(self.batches), f"attacking {self.subject.name}"):
            key = self._key(batch)
            kept = self.ctx.journal.lookup(key)
            made = self._attack(batch) if kept is None else [Outcome.from_json(value) for value in kept]
            if kept is None:
                self.ctx.journal.append([(key, [outcome.to_json() for outcome in made])])
            found.update(zip(batch, made, strict=True))
        return [found[i] for i in range(len(self.inputs))]

    def pair(self, place: int, attack: str, epsilon: float) -> tuple[Numbers, Numbers]:
        """One input's numbers before and after an attack, made again in the same batch as `outcomes` made them."""
        places = next(b for b in self.batches if place in b)
        batch, i = self._opened(places), places.index(place)
        changed = self._best(batch, attack, epsilon)[0]
        return batch.values.data[i].cpu().numpy(), changed[i].cpu().numpy()

    @cached_property
    def batches(self) -> list[list[int]]:
        """Positions by batch; inputs of equal content are put in order of their labels first."""
        order = sorted(range(len(self.inputs)), key=lambda i: (self._contents[i], self.labels[i]))
        planned = self.source.plan([self.inputs[i] for i in order]) if order else []
        return [[order[i] for i in batch] for batch in planned]

    @cached_property
    def _contents(self) -> list[str]:
        return [content_digest(value) for value in self.inputs]

    def _key(self, batch: Sequence[int]) -> str:
        settings = [
            "adversarial/1", self.subject.digest, self.source.settings, self.ctx.device.partition(":")[0], self.ctx.seed,
            self.ctx.instance, list(self.epsilons), self.steps, self.restarts,
            [importlib.metadata.version(name) for name in _LIBRARIES],
        ]  # fmt: skip
        members = [[self._contents[i], self.labels[i]] for i in batch]
        return hashlib.sha256(json.dumps([settings, members]).encode()).hexdigest()

    def _attack(self, places: Sequence[int]) -> list[Outcome]:
        batch = self._opened(places)
        steepest = captum_robust.steepest(self.source, batch.values, batch.targets).cpu().double().tolist()
        clean = [said.score for said in self._ask(batch, batch.values.data)]
        after = {a: [self._best(batch, a, epsilon)[1] for epsilon in self.epsilons] for a in ATTACKS}
        return [
            Outcome(
                steepest=steepest[i], before=clean[i], after={a: tuple(s[i] for s in said) for a, said in after.items()}
            )
            for i in range(len(places))
        ]

    def _opened(self, places: Sequence[int]) -> _Batch:
        import torch

        values = self.source.values([self.inputs[i] for i in places])
        codes = [self.subject.classes.index(self.labels[i]) for i in places]
        return _Batch(places=places, values=values, targets=torch.tensor(codes, device=self.source.device))

    def _best(self, batch: _Batch, attack: str, epsilon: float) -> tuple[torch.Tensor, list[Said]]:
        """The most harmful change of each input that an attack finds in its restarts, and what the model says then."""
        best = self._once(batch, attack, epsilon, 0)
        said = self._ask(batch, best)
        for restart in range(1, self.restarts if attack == "pgd" else 1):
            other = self._once(batch, attack, epsilon, restart)
            for i, heard in enumerate(self._ask(batch, other)):
                if self._harm(batch.places[i], heard) > self._harm(batch.places[i], said[i]):
                    best[i], said[i] = other[i], heard
        return best, said

    def _once(self, batch: _Batch, attack: str, epsilon: float, restart: int) -> torch.Tensor:
        values, source = batch.values, self.source
        if attack == "fgsm":
            return captum_robust.fgsm(source, values, batch.targets, epsilon)
        if attack == "pgd":
            start = self._drawn(batch, f"start {restart}")
            return captum_robust.pgd(source, values, batch.targets, epsilon, steps=self.steps, start=start)
        moved = self._drawn(batch, "noise").sign() * epsilon
        if values.mask is not None:
            moved = moved * values.mask
        return (values.data + moved).clamp(source.low, source.high)

    def _drawn(self, batch: _Batch, purpose: str) -> torch.Tensor:
        """Uniform in -1 to 1, in the shape of the values, the same for an input wherever it stands."""
        import torch

        shape = tuple(batch.values.data.shape[1:])
        drawn = [self.ctx.rng(f"{purpose} {self._contents[i]}").uniform(-1, 1, shape) for i in batch.places]
        return torch.from_numpy(np.stack(drawn).astype(np.float32)).to(batch.values.data.device)

    def _ask(self, batch: _Batch, data: torch.Tensor) -> list[Said]:
        import torch

        with torch.inference_mode():
            logits = self.source.logits(data, batch.values.mask).to("cpu", torch.float64)
        scores = torch.softmax(logits, dim=-1).numpy()
        true = scores[np.arange(len(scores)), batch.targets.cpu().numpy()].tolist()
        return [Said(prediction=p, score=s) for p, s in zip(decide(scores, self._meta), true, strict=True)]

    @property
    def _meta(self) -> PredictionsMeta:
        s = self.subject
        return PredictionsMeta(task=s.task, classes=s.classes, threshold=s.threshold, positive=s.positive)

    def _harm(self, place: int, said: Said) -> tuple[bool, float]:
        return said.prediction != self.labels[place], -said.score
