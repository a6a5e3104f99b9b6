"""Images for the explainer: square patches are units, pixels are the points, and an absent patch has the processor's mean colour.

Pixels come from `probes.engines.continuous`, before normalisation, so that a step means the same on every model. The mean
colour is what normalisation turns into 0: grey for most models, black where there is none. A patch of one
colour still has edges, so what it leaves behind is not nothing. This module knows no method.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from fine_tune.data import content_digest
from probes.engines.captum.adapter import Points
from probes.engines.captum.explainer import Encoded
from probes.engines.continuous import ImageValues
from probes.evidence import Message, message

if TYPE_CHECKING:
    from torch import Tensor

    from fine_tune.tasks import Reader

# Patches along the longer side, at most: more are too small to speak of, and each one is a pass in occlusion.
MOST_PATCHES = 14
# One pass costs about as much as this many pixels do as tokens of text.
PIXELS_PER_TOKEN = 256
ABSENT = message("a patch of the mean colour that the model's processor subtracts")


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageAdapter:
    """See `probes.engines.captum.adapter.Adapter`. Build with `of`.

    Attributes:
        values: the model on pixels.
        side: pixels along a patch.
    """

    values: ImageValues
    classes: tuple[str, ...]
    side: int
    width: int = 32
    kind: str = "image"
    absent: Message = ABSENT

    @classmethod
    def of(cls, reader: Reader, classes: tuple[str, ...]) -> ImageAdapter:
        """Around a copy of the reader's model, which it leaves as it was.

        Raises:
            Unavailable: the processor's normalisation cannot be undone.
        """
        model = copy.deepcopy(reader.model).eval().requires_grad_(False)
        own = dataclasses.replace(cast("Any", reader), model=model)
        values = ImageValues.of(own, own.device)
        side = math.ceil(max(own.eyes.shape[1:]) / MOST_PATCHES)
        return cls(values=values, classes=tuple(classes), side=side)

    @property
    def model(self) -> Any:
        """The torch module."""
        return self.values.model

    @property
    def device(self) -> str:
        """Where the model lies."""
        return self.values.device

    @property
    def settings(self) -> str:
        """What besides the weights decides a point."""
        return f"image/1;{self.values.reader.settings};side={self.side}"

    @property
    def first(self) -> Any:
        """The module that reads pixels: the first one with weights of its own."""
        for module in self.model.modules():
            if next(module.parameters(recurse=False), None) is not None and next(module.children(), None) is None:
                return module
        return self.model

    def encode(self, inputs: Sequence[Any]) -> list[Encoded]:
        """Images cut into patches, row by row; those at the right and lower edge may be smaller.

        Raises:
            DataError: an input is no image.
            Unavailable: the model would not say the same on its own pixels.
        """
        if not len(inputs):
            return []
        batches = self.values.plan(inputs)
        made: dict[int, Encoded] = {}
        for batch in batches:
            data = self.values.values([inputs[i] for i in batch]).data.cpu()
            rows, columns = (math.ceil(size / self.side) for size in data.shape[2:])
            units = tuple(f"{row},{column}" for row in range(rows) for column in range(columns))
            for i, pixels in zip(batch, data, strict=True):
                made[i] = Encoded(
                    units=units, spans=(), key=content_digest(inputs[i]), grid=(rows, columns), body=pixels.numpy()
                )
        return [made[i] for i in range(len(inputs))]

    def picture(self, encoded: Encoded) -> npt.NDArray[np.uint8] | None:
        """The image as the model sees it, shape (height, width, channels)."""
        return self.values.picture(encoded.body)

    def trial(self) -> list[Any]:
        """A smooth picture, so that no activation is at its kink."""
        channels, height, width = self.values.reader.eyes.shape
        ramp = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 120, width))
        return [np.repeat(ramp[:, :, None], channels, axis=2).astype(np.uint8)]

    def size(self, encoded: Encoded) -> int:
        """By the number of pixels."""
        _, height, width = encoded.body.shape
        return max(1, int(height) * int(width) // PIXELS_PER_TOKEN)

    def points(self, batch: Sequence[Encoded]) -> Points:
        """Pixels from 0 to 1, shape (B, channels, height, width)."""
        import torch

        start = torch.from_numpy(np.stack([one.body for one in batch])).to(self.device)
        mean = (-self.values.offset / self.values.gain).clamp(self.values.low, self.values.high)
        absent = mean.expand(start.shape[1:]).expand(start.shape).clone()
        columns = math.ceil(start.shape[3] / self.side)
        row, column = (torch.arange(size, device=self.device) // self.side for size in start.shape[2:])
        owner = (row[:, None] * columns + column[None, :])[None, None].expand(len(batch), -1, -1, -1)
        return Points(start=start, absent=absent, owner=owner, extra=())

    def logits(self, points: Tensor, extra: tuple[Tensor, ...]) -> Tensor:  # noqa: ARG002
        """The model's logits on pixels."""
        return self.values.logits(points)

    def twin(self, model: Any) -> ImageAdapter:
        """The same around another copy of the model."""
        reader = dataclasses.replace(self.values.reader, model=model)
        return replace(self, values=replace(self.values, reader=reader))
