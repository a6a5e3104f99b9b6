"""Explanations batch by batch: inputs of similar length are explained together, each batch is journalled as it is done, and
the same inputs in any order make the same batches. The one implementation of `probes.engines.captum.explainer.Explainer`;
what a task is lies in its adapter, what a method is in its file.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.engines.captum.adapter import Adapter
from probes.engines.captum.explainer import Attribution, Bool, Encoded, Float
from probes.engines.captum.forward import PASS_SIZE, logits_without, plan
from probes.engines.captum.methods import Method, methods
from probes.engines.captum.randomising import draw_anew, stage_names
from probes.errors import ProbeError, Unavailable
from probes.evidence import Message
from probes.probe import Context

# Inputs that are explained together, in tokens: methods put several points of each through the model at once.
GROUP_SIZE = 512
# Rows whose scores are journalled together, in passes.
KEPT_PASSES = 8


class AdapterExplainer:
    """See `probes.engines.captum.explainer.Explainer`.

    Args:
        adapter: around a copy of the model.
        digest: names the weights, and everything else that decides the subject's answers.
    """

    def __init__(self, adapter: Adapter, *, digest: str) -> None:
        self.adapter, self._digest = adapter, digest
        self.classes, self.kind, self.absent = adapter.classes, adapter.kind, adapter.absent
        self._checked: dict[str, Message | None] = {}

    @cached_property
    def stages(self) -> tuple[str, ...]:
        """Blocks of parameters from the head down."""
        return stage_names(self.adapter)

    def encode(self, inputs: Sequence[Any]) -> list[Encoded]:
        """Inputs cut into units, in order."""
        return self.adapter.encode(inputs)

    def picture(self, encoded: Encoded) -> npt.NDArray[np.uint8] | None:
        """The image as the model sees it; None for texts."""
        return self.adapter.picture(encoded)

    def check(self, method: str | Method) -> Message | None:
        """Why the method cannot be used on this model, or None; asked once a method."""
        found = method_of(method)
        if found.name not in self._checked:
            self._checked[found.name] = found.check(self.adapter)
        return self._checked[found.name]

    def attribute(
        self, encoded: Sequence[Encoded], targets: Sequence[int], method: str | Method, ctx: Context
    ) -> list[Attribution]:
        """The weights of every input's units, in order; see `Explainer.attribute`."""
        found = method_of(method)
        reason = self.check(found)
        if reason is not None:
            raise Unavailable(f"{found.name} cannot be used on this model: {reason.fill()}")
        asked = [(one.key, int(target)) for one, target in zip(encoded, targets, strict=True)]
        unique = dict(zip(reversed(asked), reversed(encoded), strict=True))
        pairs = sorted(unique)
        known = {pair: _nothing(pair[1]) for pair in pairs if not unique[pair].units}
        pairs = [pair for pair in pairs if pair not in known]
        sizes = [self.adapter.size(unique[pair]) for pair in pairs]
        batches = plan(sizes, [f"{key}:{target}" for key, target in pairs], room=GROUP_SIZE, width=self.adapter.width)
        space = [*self.space(ctx), repr(found), *([ctx.seed] if found.seeded else [])]
        for batch in ctx.progress(batches, len(batches), f"explaining by {found.name}"):
            members = [pairs[i] for i in batch]
            key = _key(space, members)
            kept = ctx.journal.lookup(key)
            if kept is None:
                rngs = [_generator(ctx.seed, found.name, pair) for pair in members]
                made = found.attribute(
                    self.adapter, [unique[pair] for pair in members], [target for _, target in members], rngs
                )
                kept = [_to_json(one) for one in made]
                ctx.journal.append([(key, kept)])
            # Also what was just made is read back, so that a resumed run cannot differ.
            known.update(
                zip(members, (_from_json(one, pair[1]) for one, pair in zip(kept, members, strict=True)), strict=True)
            )
        return [known[pair] for pair in asked]

    def scores(self, encoded: Sequence[Encoded], keeps: Sequence[Bool], ctx: Context | None = None) -> list[Float]:
        """Probabilities of the inputs with units taken away; see `Explainer.scores`."""
        held = ctx or Context(instance="scores")
        rows: dict[tuple[str, str], tuple[Encoded, Bool]] = {}
        asked: list[list[tuple[str, str]]] = []
        for one, keep in zip(encoded, keeps, strict=True):
            bits = np.asarray(keep, dtype=np.bool_).reshape(len(keep), len(one.units))
            names = [np.packbits(row).tobytes().hex() for row in bits]
            asked.append([(one.key, name) for name in names])
            rows.update({(one.key, name): (one, row) for name, row in zip(names, bits, strict=True)})
        wanted = sorted(rows)
        sizes = [self.adapter.size(rows[pair][0]) for pair in wanted]
        batches = plan(sizes, [f"{key}:{bits}" for key, bits in wanted], room=PASS_SIZE, width=self.adapter.width)
        groups = [batches[i : i + KEPT_PASSES] for i in range(0, len(batches), KEPT_PASSES)]
        known: dict[tuple[str, str], list[float]] = {}
        space = [*self.space(held), "scores"]
        for group in held.progress(groups, len(groups), "asking with units taken away"):
            members = [wanted[i] for batch in group for i in batch]
            key = _key(space, members)
            kept = held.journal.lookup(key)
            if kept is None:
                kept = []
                for batch in group:
                    part = [rows[wanted[i]] for i in batch]
                    kept += _softmax(logits_without(self.adapter, [a for a, _ in part], [b for _, b in part])).tolist()
                if ctx is not None:
                    held.journal.append([(key, kept)])
            known.update(zip(members, kept, strict=True))
        return [np.array([known[pair] for pair in pairs]).reshape(-1, len(self.classes)) for pairs in asked]

    def randomised(self, through: str, seed: int) -> AdapterExplainer:
        """A copy whose weights are drawn anew from the head down through a stage; see `Explainer.randomised`."""
        model = draw_anew(self.adapter, through, seed)
        return AdapterExplainer(self.adapter.twin(model), digest=f"{self._digest}/randomised:{through}:{seed}")

    def space(self, ctx: Context) -> list[Any]:
        """Everything but method, input and target that a figure depends on; part of every key in the journal."""
        versions = [importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers", "captum")]
        return [_source(), self._digest, self.adapter.settings, ctx.device.partition(":")[0], *versions]


def method_of(method: str | Method) -> Method:
    """The method of that name, or the method itself.

    Raises:
        ProbeError: there is none of that name.
    """
    if not isinstance(method, str):
        return method
    known = methods()
    if method not in known:
        raise ProbeError(f"no method is called {method!r}", expected=f"one of {', '.join(known)}")
    return known[method]


@lru_cache(maxsize=1)
def _source() -> str:
    """sha256 over the source of this package, so that what an earlier version journalled is not taken for this one's."""
    hashed = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        hashed.update(f"{path.name}\0".encode() + path.read_bytes())
    return hashed.hexdigest()


def _key(space: Sequence[Any], members: Sequence[tuple[Any, ...]]) -> str:
    return hashlib.sha256(json.dumps([space, members]).encode()).hexdigest()


def _generator(seed: int, name: str, pair: tuple[str, int]) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\0{name}\0{pair[0]}\0{pair[1]}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _softmax(logits: Float) -> Float:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float64)


def _nothing(target: int) -> Attribution:
    """What an input without units gets: no weights, and nothing to add up."""
    return Attribution(weights=np.zeros(0), target=target, error=None, evaluations=0, converged=None)


def _to_json(one: Attribution) -> list[Any]:
    return [one.weights.tolist(), one.error, one.evaluations, one.converged]


def _from_json(value: Any, target: int) -> Attribution:
    weights, error, evaluations, converged = value
    return Attribution(
        weights=np.array(weights, dtype=np.float64), target=target, error=error, evaluations=evaluations,
        converged=converged,
    )  # fmt: skip
