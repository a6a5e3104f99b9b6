"""Everyday damage to images: noise, blur, low contrast, brightness, a covered part, coarse pixels, strong compression, each at
five severities. It works on the image as it is stored and gives back the same form, so that whoever is asked reads it
like any other. It asks no model and draws nothing that the caller's generator does not.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from probes.evidence import Message, message

if TYPE_CHECKING:
    from PIL.Image import Image

SEVERITIES = (1, 2, 3, 4, 5)

Colours = npt.NDArray[np.float64]
Apply = Callable[[Colours, float, np.random.Generator], Colours]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of damage.

    Attributes:
        meaning: what its amounts are.
        amounts: one a severity.
        apply: from values (height, width, 1 or 3) of 0 to 1, an amount and a generator to values of the same shape, which
            are cut to 0 to 1 afterwards.
    """

    meaning: Message
    amounts: tuple[float, ...]
    apply: Apply


def _noise(x: Colours, amount: float, rng: np.random.Generator) -> Colours:
    return x + rng.normal(0, amount, x.shape)


def _blur(x: Colours, amount: float, rng: np.random.Generator) -> Colours:  # noqa: ARG001
    from scipy.ndimage import gaussian_filter

    sigma = amount * min(x.shape[:2])
    out: Colours = gaussian_filter(x, (sigma, sigma, 0), mode="nearest")
    return out


def _contrast(x: Colours, amount: float, rng: np.random.Generator) -> Colours:  # noqa: ARG001
    mean: Colours = x.mean(axis=(0, 1), keepdims=True)
    return (x - mean) * amount + mean


def _brightness(x: Colours, amount: float, rng: np.random.Generator) -> Colours:  # noqa: ARG001
    return x + amount


def _occlusion(x: Colours, amount: float, rng: np.random.Generator) -> Colours:
    height, width = x.shape[:2]
    tall, wide = (max(1, round(side * amount**0.5)) for side in (height, width))
    top, left = int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1))
    out = x.copy()
    out[top : top + tall, left : left + wide] = 0.5
    return out


def _pixelation(x: Colours, amount: float, rng: np.random.Generator) -> Colours:  # noqa: ARG001
    from PIL import Image

    image = _image(x)
    small = (max(1, round(image.width * amount)), max(1, round(image.height * amount)))
    coarse = image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)
    return _colours(coarse)


def _compression(x: Colours, amount: float, rng: np.random.Generator) -> Colours:  # noqa: ARG001
    from PIL import Image

    kept = io.BytesIO()
    _image(x).save(kept, format="JPEG", quality=int(amount))
    with Image.open(kept) as opened:
        return _colours(opened)


KINDS: dict[str, Kind] = {
    "noise": Kind(
        meaning=message("standard deviation of Gaussian noise, of a range of 1"),
        amounts=(0.08, 0.12, 0.18, 0.26, 0.38),
        apply=_noise,
    ),
    "blur": Kind(
        meaning=message("standard deviation of a Gaussian blur, of the shorter side"),
        amounts=(0.01, 0.02, 0.03, 0.045, 0.06),
        apply=_blur,
    ),
    "contrast": Kind(
        meaning=message("what is left of the distance to the mean of each channel"),
        amounts=(0.4, 0.3, 0.2, 0.1, 0.05),
        apply=_contrast,
    ),
    "brightness": Kind(
        meaning=message("added to each value, of a range of 1"), amounts=(0.1, 0.2, 0.3, 0.4, 0.5), apply=_brightness
    ),
    "occlusion": Kind(
        meaning=message("share of the image under a grey patch at a random place"),
        amounts=(0.04, 0.08, 0.12, 0.18, 0.25),
        apply=_occlusion,
    ),
    "pixelation": Kind(
        meaning=message("pixels a side that are left, of those there were"),
        amounts=(0.6, 0.5, 0.4, 0.3, 0.25),
        apply=_pixelation,
    ),
    "compression": Kind(meaning=message("quality of JPEG"), amounts=(25, 18, 15, 10, 7), apply=_compression),
}


def corrupt(value: Any, kind: str, severity: int, rng: np.random.Generator) -> Any:
    """A damaged image in the form of the given one: a PNG for the bytes of a file, else an array of integers.

    Transparency stays as it is.

    Args:
        value: what `fine_tune.tasks.image_classification.open_image` reads.
        kind: one of ``KINDS``.
        severity: 1 to 5.
        rng: where the damage is random.

    Raises:
        DataError: it is no image.
    """
    chosen = KINDS[kind]
    return _with(value, lambda colours: chosen.apply(colours, chosen.amounts[severity - 1], rng))


def pixels(value: Any) -> npt.NDArray[np.uint8]:
    """An image for people to look at, shape (height, width, 1 or 3)."""
    from fine_tune.tasks.image_classification import open_image

    opened = open_image(value)
    array = np.asarray(opened.convert("L" if _mode(opened) == "L" else "RGB"))
    return array[:, :, None] if array.ndim == 2 else array


def undamaged(value: Any) -> Any:
    """The same image in the form that `corrupt` gives, to tell whether damage changed anything."""
    return _with(value, lambda colours: colours)


def _with(value: Any, change: Callable[[Colours], Colours]) -> Any:
    from PIL import Image

    from fine_tune.tasks.image_classification import open_image

    opened = open_image(value)
    image = opened.convert(_mode(opened))
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    made = _image(change(_colours(image.convert("RGB") if alpha is not None else image)))
    if alpha is not None:
        made = Image.merge("RGBA", (*made.split(), alpha))
    if not isinstance(value, bytes):
        return np.asarray(made)
    kept = io.BytesIO()
    made.save(kept, format="PNG")
    return kept.getvalue()


def _mode(image: Image) -> str:
    if image.mode in {"1", "L"}:
        return "L"
    return "RGBA" if image.has_transparency_data else "RGB"


def _colours(image: Image) -> Colours:
    array = np.asarray(image, dtype=np.float64) / 255
    return array[:, :, None] if array.ndim == 2 else array


def _image(x: Colours) -> Image:
    from PIL import Image

    pixels = np.round(np.clip(x, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
