"""Texts for the explainer: words are units, word embeddings are the points, and an absent word is the mask token.

Absence is the mask token because models of this kind have seen it stand for "a word, unknown" in pre-training; the padding
token's embedding is often untrained and never attended to. Separators stay where they are. So the baseline of a gradient
method and the text with words taken away are one and the same, and an attribution adds up to a difference that can be
checked by asking the model. Nothing is padded beyond the longest text of its batch. This module knows no method.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fine_tune.data import content_digest
from fine_tune.errors import DataError
from fine_tune.quiet import quiet_transformers
from probes.engines.captum.adapter import Points
from probes.engines.captum.explainer import Encoded
from probes.errors import Unavailable
from probes.evidence import Message, message

if TYPE_CHECKING:
    from torch import Tensor

    from fine_tune.tasks import Reader

MAX_ROWS = 64
TOLERANCE = 1e-4
# Scripts that put no spaces between words: what a tokenizer calls a word may be a whole sentence there.
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokens:
    """A text as a model reads it: ids by input name, and the unit of each token, -1 for separators."""

    ids: dict[str, tuple[int, ...]]
    owner: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class TextAdapter:
    """See `probes.engines.captum.adapter.Adapter`. Build with `of`.

    Attributes:
        names: the tensors that the model reads, ``input_ids`` first.
        absent_id: the token that stands for an absent word.
    """

    model: Any
    device: str
    classes: tuple[str, ...]
    tokenizer: Any
    max_length: int
    names: tuple[str, ...]
    absent_id: int
    absent: Message
    width: int
    kind: str = "text"

    @classmethod
    def of(cls, reader: Reader, classes: tuple[str, ...]) -> TextAdapter:
        """Around a copy of the reader's model, which it leaves as it was.

        Raises:
            Unavailable: words cannot be taken away, or the model does not read embeddings where it says it does.
        """
        model = copy.deepcopy(reader.model).eval().requires_grad_(False)
        tokenizer = reader.processor
        absent_id, absent = _absent(tokenizer)
        probe = tokenizer("a", truncation=True, verbose=False)
        found = cls(
            model=model,
            device=str(getattr(reader, "device", "cpu")),
            classes=tuple(classes),
            tokenizer=tokenizer,
            max_length=int(getattr(reader, "max_length", 512)),
            names=("input_ids", *(name for name in probe if name != "input_ids")),
            absent_id=absent_id,
            absent=absent,
            width=1 if tokenizer.pad_token is None else MAX_ROWS,
        )
        found._check_embeddings()
        return found

    @property
    def settings(self) -> str:
        """What besides the weights decides a point."""
        return f"text/1;max_length={self.max_length};absent={self.absent_id}"

    @property
    def first(self) -> Any:
        """The word embeddings."""
        return self.model.get_input_embeddings()

    def encode(self, inputs: Sequence[Any]) -> list[Encoded]:
        """Texts cut into words.

        Raises:
            DataError: an input is no text.
        """
        for i, value in enumerate(inputs):
            if not isinstance(value, str):
                raise DataError(f"input {i} is {type(value).__name__}", expected="text")
        return [self._encode(text) for text in inputs]

    def picture(self, encoded: Encoded) -> npt.NDArray[np.uint8] | None:  # noqa: ARG002
        """A text has none."""
        return None

    def trial(self) -> list[Any]:
        """Two texts of different length, so that padding is tried too."""
        return ["a b c", "the first of these was not so good, and the second was"] if self.width > 1 else ["a b c"]

    def size(self, encoded: Encoded) -> int:
        """Tokens, separators included."""
        return len(encoded.body.owner)

    def points(self, batch: Sequence[Encoded]) -> Points:
        """Word embeddings, padded on the right to the longest of the batch."""
        import torch

        length = max(self.size(one) for one in batch)
        filler = {"input_ids": self.tokenizer.pad_token_id or 0}
        extra = tuple(
            torch.tensor(
                [[*one.body.ids[name], *[filler.get(name, 0)] * (length - self.size(one))] for one in batch],
                device=self.device,
            )
            for name in self.names
        )
        owner = torch.tensor(
            [[*one.body.owner, *[-1] * (length - self.size(one))] for one in batch], device=self.device
        )
        with torch.no_grad():
            start = self.first(extra[0])
            absent = self.first(torch.where(owner >= 0, self.absent_id, extra[0]))
        return Points(start=start, absent=absent, owner=owner[:, :, None], extra=extra)

    def logits(self, points: Tensor, extra: tuple[Tensor, ...]) -> Tensor:
        """The model's logits with its word embeddings replaced by ``points``, shape (B, L, D).

        The ids go in too: models read positions, masks and the place of the last token off them.
        """
        hook = self.first.register_forward_hook(lambda module, given, made: points)  # noqa: ARG005
        try:
            logits: Tensor = self.model(**dict(zip(self.names, extra, strict=True))).logits
        finally:
            hook.remove()
        return logits

    def twin(self, model: Any) -> TextAdapter:
        """The same around another copy of the model."""
        return replace(self, model=model)

    def _encode(self, text: str) -> Encoded:
        fast = bool(getattr(self.tokenizer, "is_fast", False))
        made = self.tokenizer(
            text, truncation=True, max_length=self.max_length, verbose=False, return_offsets_mapping=fast,
            return_special_tokens_mask=True,
        )  # fmt: skip
        ids = {name: tuple(made[name]) for name in self.names}
        special = made["special_tokens_mask"]
        offsets = made["offset_mapping"] if fast else _found(self.tokenizer, ids["input_ids"], special, text)
        words = made.word_ids(0) if fast else [None if s else i for i, s in enumerate(special)]
        owner, spans = _units(text, words, offsets)
        whole = len(ids["input_ids"])
        truncated = whole >= self.max_length and len(self.tokenizer(text, verbose=False)["input_ids"]) > whole
        return Encoded(
            units=tuple(text[a:b] for a, b in spans),
            spans=spans,
            key=content_digest(text),
            truncated=truncated,
            body=Tokens(ids=ids, owner=owner),
        )

    def _check_embeddings(self) -> None:
        """Raise `Unavailable` unless putting a text's own embeddings in changes nothing."""
        import torch

        name = type(self.model).__name__
        try:
            with quiet_transformers(), torch.inference_mode():
                points = self.points(self.encode(["a b"]))
                plain = self.model(**dict(zip(self.names, points.extra, strict=True))).logits
                same = self.logits(points.start, points.extra)
                # Not a shift: a normalising layer would take that out again.
                moved = self.logits(points.start.flip(-1), points.extra)
        except Exception as error:
            raise Unavailable(f"{name} cannot be asked by its word embeddings: {error}") from error
        if not torch.allclose(plain, same, atol=TOLERANCE, rtol=TOLERANCE) or torch.equal(plain, moved):
            raise Unavailable(
                f"{name} does not read its inputs where get_input_embeddings says, so gradients do not reach the words"
            )


def _absent(tokenizer: Any) -> tuple[int, Message]:
    if tokenizer.mask_token_id is not None:
        return int(tokenizer.mask_token_id), message("the mask token, {token}", token=str(tokenizer.mask_token))
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return int(tokenizer.pad_token_id), message("the padding token, {token}", token=str(tokenizer.pad_token))
    if tokenizer.unk_token_id is not None:
        return int(tokenizer.unk_token_id), message(
            "the token for unknown words, {token}", token=str(tokenizer.unk_token)
        )
    if tokenizer.eos_token_id is not None:
        return int(tokenizer.eos_token_id), message(
            "the token that ends a text, {token}", token=str(tokenizer.eos_token)
        )
    raise Unavailable("the tokenizer has no token that could stand for an absent word")


def _units(
    text: str, words: Sequence[int | None], offsets: Sequence[tuple[int, int]]
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """The unit of each token (-1 for separators), and each unit's span."""
    owner: list[int] = []
    spans: list[tuple[int, int]] = []
    last: int | None = None
    for word, offset in zip(words, offsets, strict=True):
        if word is None:
            owner.append(-1)
            last = None
            continue
        start, end = _trimmed(text, *offset)
        apart = _unspaced(text[start:end]) and bool(spans) and start >= spans[-1][1]
        if word != last or apart:
            spans.append((start, end))
        else:
            spans[-1] = (min(spans[-1][0], start), max(spans[-1][1], end)) if end > start else spans[-1]
        last = word
        owner.append(len(spans) - 1)
    return tuple(owner), tuple(spans)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return start, max(start, start + len(piece.strip()))


def _unspaced(piece: str) -> bool:
    return any(unicodedata.name(c, "").startswith(UNSPACED) for c in piece)


def _found(tokenizer: Any, ids: Sequence[int], special: Sequence[int], text: str) -> list[tuple[int, int]]:
    """Spans by looking for each token's letters in turn, for tokenizers that do not say; empty where not found."""
    spans: list[tuple[int, int]] = []
    at = 0
    lowered = text.lower()
    for token, separator in zip(ids, special, strict=True):
        letters = "" if separator else tokenizer.convert_tokens_to_string([tokenizer.convert_ids_to_tokens(token)])
        letters = letters.strip().removeprefix("##").lower()
        start = lowered.find(letters, at) if letters else -1
        spans.append((at, at) if start < 0 else (start, start + len(letters)))
        at = spans[-1][1]
    return spans
