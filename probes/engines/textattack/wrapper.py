"""The model wrapper that TextAttack calls: it hands texts on and gives probabilities back, never logits, because TextAttack
takes logits that happen to sum to 1 for probabilities. Gradients and tokens are TextAttack's own, where the model is here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from probes.engines.textattack.loading import load
from probes.engines.textattack.victim import Encoded, Seen, Victim

CLOSE = 1e-5


def wrapper_of(victim: Victim, ask: Callable[[list[Encoded]], Seen]) -> Any:
    """A `textattack.models.wrappers.ModelWrapper` that has its texts answered by ``ask``, as the victim encodes them.

    Within one attack the same input has the same answer to the last bit, in whatever company it is asked about: texts that
    differ, but not to the model, tie, and a search breaks ties by its own rules. ``begin`` starts a new attack;
    ``close_calls`` counts its decisions in which the two largest probabilities lie less than `CLOSE` apart. Where the
    victim's model is a `transformers` one in this process, ``model``, ``tokenizer``, ``get_grad`` and ``tokenize`` are
    those of `HuggingFaceModelWrapper`; elsewhere there are none.
    """
    whole, bare = _kinds()
    reader = victim.reader
    if reader is not None:
        from transformers import PreTrainedModel, PreTrainedTokenizerBase

        if isinstance(reader.model, PreTrainedModel) and isinstance(reader.processor, PreTrainedTokenizerBase):
            return whole(reader.model, reader.processor, victim, ask)
    return bare(victim, ask)


def close_calls(probabilities: Seen) -> int:
    """How many rows have their two largest entries less than `CLOSE` apart."""
    if not len(probabilities):
        return 0
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return int((two[:, 1] - two[:, 0] < CLOSE).sum())


@functools.cache
def _kinds() -> tuple[Any, Any]:
    load()
    import torch
    from textattack.models.wrappers import HuggingFaceModelWrapper, ModelWrapper

    class Answered(ModelWrapper):  # type: ignore[misc]
        """Texts in, probabilities out."""

        def __init__(self, victim: Victim, ask: Callable[[list[Encoded]], Seen]) -> None:
            self.model: Any = None
            self.victim, self.ask = victim, ask
            self.begin()

        def begin(self) -> None:
            self.answers: dict[Hashable, Any] = {}
            self.close_calls = 0

        def __call__(self, text_input_list: Sequence[str], **kwargs: Any) -> torch.Tensor:  # noqa: ARG002
            inputs = self.victim.encode(text_input_list)
            new = {one.key: one for one in inputs if one.key not in self.answers}
            if new:
                self.answers.update(zip(new, self.ask(list(new.values())), strict=True))
            said = np.stack([self.answers[one.key] for one in inputs])
            self.close_calls += close_calls(said)
            return torch.from_numpy(said)

    class AnsweredHere(HuggingFaceModelWrapper):  # type: ignore[misc]
        """The same, with the model's gradients at hand."""

        def __init__(self, model: Any, tokenizer: Any, victim: Victim, ask: Callable[[list[Encoded]], Seen]) -> None:
            super().__init__(model, tokenizer)
            self.victim, self.ask = victim, ask
            self.begin()

        begin = Answered.begin
        __call__ = Answered.__call__

        def get_grad(self, text_input: str) -> dict[str, Any]:
            try:
                found: dict[str, Any] = super().get_grad(text_input)
            finally:
                self.model.eval()
                self.model.zero_grad(set_to_none=True)
            return found

    return AnsweredHere, Answered
