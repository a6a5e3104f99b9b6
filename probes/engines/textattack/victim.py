"""The subject as an attacker meets it: many short texts at a time, answered as fast as the model allows, with no journal
between. It says what the subject says, decision threshold included, and knows nothing of recipes.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fine_tune.errors import CheckpointError, DataError
from fine_tune.quiet import quiet_transformers
from probes.probe import Context, MemoryJournal, silent

if TYPE_CHECKING:
    from fine_tune.tasks.text_classification import TextReader
    from probes.subject import Subject

Seen = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]

SLACK = 8
BATCH_TOKENS = 2048
# An accelerator is idle in small batches, and padding costs it little.
DEVICE_SLACK = 64
DEVICE_BATCH_TOKENS = 65_536


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A text as the model reads it. Equal keys are the same to the model, whatever the texts were."""

    key: Hashable
    value: Any


class Victim(ABC):
    """A subject that classifies texts, asked again and again. Get one with `of`.

    Attributes:
        classes: names in the order of the probabilities.
    """

    def __init__(self, subject: Subject) -> None:
        self.classes = subject.classes
        self._threshold, self._positive = subject.threshold, subject.positive

    @staticmethod
    def of(subject: Subject, ctx: Context) -> Victim:
        """The fast way for a model in this process; for every other subject its own ``predict``.

        Raises:
            DataError: the subject does not read texts.
            CheckpointError: its model cannot be loaded.
        """
        if subject.task != "text-classification":
            raise DataError(f"the task of {subject.name} is {subject.task}", expected="text-classification")
        reader = _text_reader(subject, ctx.device)
        return Asked(subject, ctx) if reader is None else Read(subject, reader, ctx.device)

    @property
    def reader(self) -> TextReader | None:
        """The loaded model with its tokenizer, where it is in this process."""
        return None

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """The texts as the model reads them, in order."""

    @abstractmethod
    def answer(self, inputs: Sequence[Encoded]) -> Seen:
        """Probabilities whose largest entry, the first of equals, is the class that the subject decides for.

        Shape (len(inputs), len(classes)); rows sum to 1 to within 1e-6. Without a threshold they are the subject's own.

        Raises:
            CheckpointError: scores that are not finite.
            SubjectError: the subject did not answer.
        """

    def probabilities(self, texts: Sequence[str]) -> Seen:
        """`encode` and `answer`."""
        return self.answer(self.encode(texts))

    def _decided(self, scores: Scores) -> Seen:
        if self._threshold is None:
            return scores.astype(np.float32)
        return at_even_odds(scores, self._threshold, self.classes.index(str(self._positive)))


class Asked(Victim):
    """A callable, an endpoint, an estimator or an ensemble."""

    def __init__(self, subject: Subject, ctx: Context) -> None:
        super().__init__(subject)
        self._subject, self._quiet = subject, replace(ctx, progress=silent)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        return [Encoded(key=text, value=text) for text in texts]

    def answer(self, inputs: Sequence[Encoded]) -> Seen:
        if not inputs:
            return np.empty((0, len(self.classes)), dtype=np.float32)
        # A new journal each time: the answers to an attack's queries are of no use to anyone else.
        ctx = replace(self._quiet, journal=MemoryJournal())
        scores = self._subject.predict([one.value for one in inputs], ctx)
        return self._decided(scores / scores.sum(axis=1, keepdims=True))


class Read(Victim):
    """A model in this process: texts of like length in one forward pass, with hardly any padding."""

    def __init__(self, subject: Subject, reader: TextReader, device: str) -> None:
        super().__init__(subject)
        self._reader = reader
        on_cpu = device.partition(":")[0] == "cpu"
        self._slack = SLACK if on_cpu else DEVICE_SLACK
        self._batch_tokens = BATCH_TOKENS if on_cpu else DEVICE_BATCH_TOKENS
        if reader.processor.pad_token is None:
            self._slack = self._batch_tokens = 0

    @property
    def reader(self) -> TextReader:
        return self._reader

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        if not texts:
            return []
        reader = self._reader
        by_name = reader.processor(
            list(texts), padding=False, truncation=True, max_length=reader.max_length, verbose=False
        )
        rows = [dict(zip(by_name, row, strict=True)) for row in zip(*by_name.values(), strict=True)]
        return [Encoded(key=_digest(row), value=row) for row in rows]

    def answer(self, inputs: Sequence[Encoded]) -> Seen:
        import torch

        out = np.empty((len(inputs), len(self.classes)), dtype=np.float32)
        batches = _like_lengths(inputs, self._slack, self._batch_tokens)
        with torch.inference_mode(), quiet_transformers():
            for batch in batches:
                tensors = _padded(self._reader.processor, [inputs[i].value for i in batch])
                logits = self._reader.model(**{n: t.to(self._reader.device) for n, t in tensors.items()}).logits
                if self._threshold is None:
                    # In float32, as TextAttack does it: in float64 other candidates would tie.
                    out[batch] = torch.softmax(logits.float(), dim=-1).cpu().numpy()
                else:
                    out[batch] = self._decided(torch.softmax(logits.double(), dim=-1).cpu().numpy())
        broken = np.flatnonzero(~np.isfinite(out).all(axis=1))
        if len(broken):
            text = self._reader.processor.decode(inputs[int(broken[0])].value["input_ids"], skip_special_tokens=True)
            raise CheckpointError(
                f"the model gives scores that are not finite, as for {text!r:.80}",
                expected="finite scores",
                fix="the weights are damaged or the training diverged; train or export the model again",
            )
        return out


def at_even_odds(scores: Scores, threshold: float, positive: int) -> Seen:
    """``scores`` with the odds of one class moved, so that the largest entry is what a threshold on that class decides.

    With p the positive class's probability and m the largest of the others, p >= threshold is the same as
    p (1 - threshold) / threshold * m / (1 - p) >= m. That product takes the place of p, and the row is divided by its sum:
    a smooth, increasing function of p, so an attacker climbs the same hill. Ties are broken as `fine_tune.rows.decide` does.

    Args:
        scores: probabilities, shape (n, K).
        threshold: the positive class is decided for from here on, in [0, 1].
        positive: its position.

    Returns:
        Shape (n, K), float32; rows sum to 1.
    """
    moved = scores.copy()
    others = np.delete(scores, positive, axis=1)
    most, rest = others.max(axis=1), others.sum(axis=1)
    tiny = np.finfo(np.float64).tiny
    within = min(max(threshold, 1e-9), 1 - 1e-9)
    moved[:, positive] *= (1 - within) / within * most / np.maximum(rest, tiny)
    alone = rest <= 0
    moved[alone, positive] = 1.0
    moved /= moved.sum(axis=1, keepdims=True)
    seen = moved.astype(np.float32)
    runner_up = others.argmax(axis=1)
    decided = np.where(scores[:, positive] >= threshold, positive, runner_up + (runner_up >= positive))
    for row in np.flatnonzero(seen.argmax(axis=1) != decided):
        # Rounding, or a threshold of 0 or 1, which no odds express.
        seen[row, decided[row]] = seen[row].max()
        seen[row] /= seen[row].sum()
        seen[row, decided[row]] = np.nextafter(seen[row].max(), np.float32(2))
    return seen


def _text_reader(subject: Subject, device: str) -> TextReader | None:
    if not hasattr(subject, "reader"):
        return None
    from fine_tune.tasks.text_classification import TextReader

    reader = subject.reader(device)
    return reader if isinstance(reader, TextReader) else None


def _digest(row: Mapping[str, list[int]]) -> bytes:
    """Short, because a search keeps thousands."""
    body = b"".join(
        name.encode() + np.asarray(values, dtype=np.int64).tobytes() for name, values in sorted(row.items())
    )
    return hashlib.blake2b(body, digest_size=16).digest()


def _like_lengths(inputs: Sequence[Encoded], slack: int, tokens: int) -> list[list[int]]:
    """Positions by batch: lengths within ``slack`` of each other, at most ``tokens`` tokens with padding, or one row.

    The same inputs in any order give the same batches of inputs.
    """
    lengths = [len(one.value["input_ids"]) for one in inputs]
    batches: list[list[int]] = []
    shortest = 0
    for i in sorted(range(len(inputs)), key=lambda i: (lengths[i], inputs[i].key)):
        if not batches or lengths[i] - shortest > slack or lengths[i] * (len(batches[-1]) + 1) > tokens:
            batches.append([])
            shortest = lengths[i]
        batches[-1].append(i)
    return batches


def _padded(tokenizer: Any, rows: Sequence[Mapping[str, list[int]]]) -> dict[str, Any]:
    """One tensor for each of the model's inputs; padding on the side that the tokenizer pads."""
    import torch

    together = {name: [row[name] for row in rows] for name in rows[0]}
    if len({len(ids) for ids in together["input_ids"]}) == 1:
        return {name: torch.tensor(values) for name, values in together.items()}
    return dict(tokenizer.pad(together, padding=True, return_tensors="pt"))
