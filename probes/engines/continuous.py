"""A task's inputs as tensors of numbers in their own unit, such as pixels from 0 to 1: what gradients, attacks and attributions
need. It opens the subject's model, turns the processor's normalisation into a step that gradients pass through, and
checks that the model still says what the subject says. It attacks and explains nothing itself, and refuses inputs that
are no numbers.

A further continuous task, such as audio, is one more class with the face of `Continuous` and one more line in ``ADAPTERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from probes.errors import Unavailable

if TYPE_CHECKING:
    import torch

    from fine_tune.tasks import Reader
    from fine_tune.tasks.image_classification import Eyes, ImageReader
    from probes.subject import Subject

BATCH_TOKENS = 4096
INPUT_ERROR = 1e-4
SCORE_ERROR = 1e-3
_SIDE = 64
_GREYS = (0, 255, 51, 204)


@dataclass(frozen=True, kw_only=True, eq=False)
class Values:
    """A batch of N inputs.

    Attributes:
        data: shape (N, ...), float32, between the bounds of their `Continuous`; no gradient required.
        mask: same shape, 1 where an entry is part of the input and 0 where it fills up a shorter one; None where every
            entry is part of it. What fills up must be neither changed nor attributed to.
    """

    data: torch.Tensor
    mask: torch.Tensor | None = None

    def __len__(self) -> int:
        return int(self.data.shape[0])


class Continuous(Protocol):
    """A loaded model whose inputs are numbers.

    Attributes:
        unit: what one number is, in words.
        low, high: bounds of a number.
        steps: how many equal steps the stored form of an input has between the bounds (255 for 8-bit pixels), or None.
            A distance of one step is the smallest that survives being stored.
        settings: what besides the weights decides values and scores, such as the size; part of every key.
        model: the torch module, in evaluation mode.
        device: torch's name of the device that values and logits lie on.
    """

    @property
    def unit(self) -> str: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...

    @property
    def steps(self) -> int | None: ...

    @property
    def settings(self) -> str: ...

    @property
    def model(self) -> Any: ...

    @property
    def device(self) -> str: ...

    def plan(self, inputs: Sequence[Any]) -> list[list[int]]:
        """Positions of ``inputs`` by batch; the same inputs in any order give the same batches of inputs."""
        ...

    def values(self, inputs: Sequence[Any]) -> Values:
        """One batch as the model reads it, before normalisation; checked to give the subject's own scores.

        Raises:
            DataError: an input is nothing that the task reads.
            Unavailable: the model would not say the same; the message says where they differ.
        """
        ...

    def logits(self, data: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Shape (N, classes), before softmax; gradients pass through to ``data``, in its unit."""
        ...

    def picture(self, value: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8] | None:
        """One input's numbers for people to look at, shape (height, width, 1, 3 or 4); None where there is no picture."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageValues:
    """Images as the pixels that are left after resizing and cropping, each from 0 to 1; see `Continuous`.

    The normalisation is not read from a configuration but measured: what the processor makes of plain pictures gives gain
    and offset of every channel. ``data`` has shape (N, channels, height, width).
    """

    reader: Any
    device: str
    gain: torch.Tensor
    offset: torch.Tensor
    unit: str = "pixel value"
    low: float = 0.0
    high: float = 1.0
    steps: int | None = 255

    @classmethod
    def of(cls, reader: Reader, device: str) -> ImageValues:
        """Measure the normalisation.

        Raises:
            Unavailable: it is no gain and offset a channel: it depends on the image, or the processor adds a border.
        """
        import torch

        eyes: Eyes = cast("ImageReader", reader).eyes
        plain = [np.full((_SIDE, _SIDE, eyes.channels), grey, np.uint8) for grey in _GREYS]
        seen = eyes.pixels(plain).astype(np.float64)
        offset = seen[0].mean(axis=(1, 2), keepdims=True)
        gain = seen[1].mean(axis=(1, 2), keepdims=True) - offset
        expected = np.stack([offset + gain * grey / 255 for grey in _GREYS])
        worst = float(np.abs(seen - expected).max())
        # Written so that a NaN is refused too.
        if not (worst < INPUT_ERROR and float(np.abs(gain).min()) > INPUT_ERROR):
            raise Unavailable(
                "the image processor does more to a pixel than multiply and add, so its steps cannot be followed backwards",
                fix="use a processor with a fixed mean and standard deviation, and without a border",
            )
        reader.model.eval()
        return cls(
            reader=reader,
            device=device,
            gain=torch.from_numpy(gain).to(device, torch.float32),
            offset=torch.from_numpy(offset).to(device, torch.float32),
        )

    @property
    def settings(self) -> str:
        """The reader's own."""
        return str(self.reader.settings)

    @property
    def model(self) -> Any:
        """The torch module."""
        return self.reader.model

    def plan(self, inputs: Sequence[Any]) -> list[list[int]]:
        """As the reader's own batches."""
        planned: list[list[int]] = self.reader.plan(inputs, BATCH_TOKENS)
        return planned

    def values(self, inputs: Sequence[Any]) -> Values:
        """See `Continuous.values`."""
        import torch

        features = torch.from_numpy(self.reader.eyes.pixels(inputs)).to(self.device)
        free = (features - self.offset) / self.gain
        outside = float(torch.clamp(torch.maximum(self.low - free, free - self.high), min=0).max())
        data = free.clamp(self.low, self.high)
        if not outside < INPUT_ERROR:
            raise Unavailable(
                f"the image processor leaves pixels {outside:.3g} outside 0 to 1 once its normalisation is undone",
                fix="use a processor that keeps pixels in their range while resizing",
            )
        with torch.inference_mode():
            scores = torch.softmax(self.logits(data).to("cpu", torch.float64), dim=-1).numpy()
        check_scores(scores, [answer.scores[0] for answer in self.reader.answer(inputs)])
        return Values(data=data)

    def logits(self, data: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:  # noqa: ARG002
        """See `Continuous.logits`."""
        made: torch.Tensor = self.model(pixel_values=data * self.gain + self.offset).logits
        return made

    def picture(self, value: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8] | None:
        """Shape (height, width, channels), rounded to 256 levels."""
        return np.round(np.clip(value, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)


ADAPTERS: dict[str, Callable[[Reader, str], Continuous]] = {"image-classification": ImageValues.of}


def open_continuous(subject: Subject, device: str) -> Continuous:
    """The subject's model on inputs that are numbers, in evaluation mode.

    Raises:
        Unavailable: the task's inputs are no numbers, the subject has no model to look into, or the processor's steps
            cannot be followed backwards.
    """
    if subject.task not in ADAPTERS:
        raise Unavailable(
            f"inputs of {subject.task} are no numbers that can be changed a little",
            fix=f"it runs for: {', '.join(sorted(ADAPTERS))}",
        )
    loaded = getattr(subject, "reader", None)
    if loaded is None:
        raise Unavailable(f"a subject of the kind {subject.kind} has no model to look into", fix="give a checkpoint")
    return ADAPTERS[subject.task](loaded(device), device)


def check_scores(scores: npt.ArrayLike, expected: npt.ArrayLike) -> None:
    """Check that both, shape (N, classes), agree; what is left of rounding passes.

    Raises:
        Unavailable: they differ by more than ``SCORE_ERROR``, or one is not finite.
    """
    worst = float(np.abs(np.asarray(scores, dtype=np.float64) - np.asarray(expected, dtype=np.float64)).max())
    if not worst <= SCORE_ERROR:
        raise Unavailable(
            f"the model on its own numbers gives scores that differ by {worst:.3g} from those of the subject",
            fix="report this with the processor's configuration; figures of another model would be worthless",
        )
