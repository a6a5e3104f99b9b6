"""Text classification with one label a text: tokens in, one probability a class out. Heads with several labels a text
and regression heads are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fine_tune.data import content_digest
from fine_tune.errors import CheckpointError, DataError, RecipeError
from fine_tune.heads import head_parameters, linear_layers, load_with_head
from fine_tune.quiet import quiet_transformers
from fine_tune.single_label import SingleLabel
from fine_tune.tasks import Answer, Shown, Trainable

if TYPE_CHECKING:
    from fine_tune.checkpoint import Checkpoint
    from fine_tune.data import AuditData
    from fine_tune.recipe import Recipe

MAX_ROWS = 64
FALLBACK_LENGTH = 512


@dataclass(frozen=True)
class TextClassification(SingleLabel):
    """The task; see `fine_tune.tasks.Task`."""

    name: str = "text-classification"
    auto_model: str = "AutoModelForSequenceClassification"
    architecture: str = "ForSequenceClassification"
    head: str = "classification head"
    unit: str = "a text"

    def reader(self, checkpoint: Checkpoint, device: str) -> TextReader:
        """Load model and tokenizer."""
        self.check(checkpoint)
        with quiet_transformers():
            model, tokenizer = checkpoint.load_model(device), checkpoint.load_tokenizer()
        return TextReader(model=model, processor=tokenizer, max_length=input_limit(model, tokenizer), device=device)

    def show(self, value: Any) -> Shown:
        """The text itself."""
        return Shown(text=_texts([value])[0])

    def trainable(self, base: Checkpoint, recipe: Recipe, data: AuditData, classes: tuple[str, ...]) -> Trainable:
        """Model with a fresh head where the base has none for these classes, and the encoded texts."""
        with quiet_transformers():
            model, fresh = load_with_head(base, recipe, self.auto_model, classes)
            tokenizer = base.load_tokenizer()
        if tokenizer.pad_token is None:
            if tokenizer.eos_token is None:
                raise CheckpointError(f"{base.name}: the tokenizer has no token to pad with")
            tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
        limit = input_limit(model, tokenizer)
        if recipe.max_length is not None and recipe.max_length > limit:
            raise RecipeError(f"max_length is {recipe.max_length}", expected=f"at most {limit}, the base model's limit")
        tokenizer.model_max_length = recipe.max_length or limit
        texts = _texts(data.inputs)
        encoded = _encode(tokenizer, texts, tokenizer.model_max_length)
        codes = {name: code for code, name in enumerate(classes)}
        examples = [
            {**{k: encoded[k][i] for k in encoded}, "labels": codes[str(label)]} for i, label in enumerate(data.labels)
        ]

        def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
            return dict(tokenizer.pad(batch, padding=True, return_tensors="pt"))

        return Trainable(
            model=model,
            processor=tokenizer,
            examples=examples,
            truncated=sum(_truncated(tokenizer, texts, encoded["input_ids"], tokenizer.model_max_length)),
            collate=collate,
            head=head_parameters(model, fresh),
            adapted=linear_layers(model),
        )


@dataclass(frozen=True, kw_only=True)
class TextReader:
    """A loaded classifier; see `fine_tune.tasks.Reader`."""

    model: Any
    processor: Any
    max_length: int
    device: str

    @property
    def settings(self) -> str:
        """What besides the weights decides an answer."""
        return f"max_length={self.max_length}"

    def plan(self, inputs: Sequence[Any], batch_tokens: int) -> list[list[int]]:
        """Batches of similar length, the longest first, of at most ``batch_tokens`` tokens and `MAX_ROWS` rows."""
        texts = _texts(inputs)
        if not texts:
            return []
        lengths = [len(ids) for ids in _encode(self.processor, texts, self.max_length)["input_ids"]]
        order = sorted(range(len(texts)), key=lambda i: (-lengths[i], content_digest(texts[i])))
        batches: list[list[int]] = []
        rows = 0
        for i in order:
            if not batches or len(batches[-1]) >= rows:
                batches.append([])
                most = MAX_ROWS if self.processor.pad_token is not None else 1
                rows = max(1, min(most, batch_tokens // max(1, lengths[i])))
            batches[-1].append(i)
        return batches

    def answer(self, inputs: Sequence[Any]) -> list[Answer]:
        """One forward pass in inference mode; softmax in float64.

        Raises:
            CheckpointError: the model gives scores that are not finite.
        """
        import torch

        texts = _texts(inputs)
        encoded = _encode(self.processor, texts, self.max_length)
        cut = _truncated(self.processor, texts, encoded["input_ids"], self.max_length)
        if self.processor.pad_token is None:
            batch = {name: torch.tensor(values) for name, values in encoded.items()}
        else:
            with quiet_transformers():
                batch = dict(self.processor.pad(encoded, padding=True, return_tensors="pt"))
        with torch.inference_mode():
            logits = self.model(**{name: tensor.to(self.device) for name, tensor in batch.items()}).logits
            scores = torch.softmax(logits.to("cpu", torch.float64), dim=-1).numpy()
        if not np.isfinite(scores).all():
            raise CheckpointError(
                f"the model gives scores that are not finite, as for {texts[int(np.argmin(np.isfinite(scores).all(1)))]!r:.80}",
                expected="finite scores",
                fix="the weights are damaged or the training diverged; train or export the model again",
            )
        return [
            Answer(scores=(tuple(row),), truncated=was_cut) for row, was_cut in zip(scores.tolist(), cut, strict=True)
        ]


def input_limit(model: Any, tokenizer: Any) -> int:
    """How many tokens the model reads: the least of what tokenizer and position table allow."""
    limits = []
    if tokenizer.model_max_length and tokenizer.model_max_length < 1_000_000:
        limits.append(int(tokenizer.model_max_length))
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # RoBERTa and its kin keep the first rows of their position table for padding.
        table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
        padding = getattr(table, "padding_idx", None)
        limits.append(positions if padding is None else positions - padding - 1)
    return min(limits, default=FALLBACK_LENGTH)


def _texts(inputs: Sequence[Any]) -> list[str]:
    for i, value in enumerate(inputs):
        if not isinstance(value, str):
            raise DataError(
                f"input {i} is {type(value).__name__}", expected="text", fix="name the column that holds the text"
            )
    return list(inputs)


def _encode(tokenizer: Any, texts: list[str], max_length: int) -> dict[str, list[list[int]]]:
    return dict(tokenizer(texts, padding=False, truncation=True, max_length=max_length, verbose=False))


def _truncated(tokenizer: Any, texts: list[str], ids: list[list[int]], max_length: int) -> list[bool]:
    full = [i for i, row in enumerate(ids) if len(row) >= max_length]
    cut = [False] * len(texts)
    if full:
        whole = tokenizer([texts[i] for i in full], padding=False, truncation=False, verbose=False)["input_ids"]
        for i, row in zip(full, whole, strict=True):
            cut[i] = len(row) > max_length
    return cut


TASK = TextClassification()
