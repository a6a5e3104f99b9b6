"""Small pictures of an input before a change, after it, and of the change itself. It chooses no examples."""

from __future__ import annotations

import io
import math

import numpy as np
import numpy.typing as npt

SIDE = 64

Pixels = npt.NDArray[np.uint8]


def png(pixels: Pixels) -> bytes:
    """An array of shape (height, width, 1, 3 or 4) as a PNG of at most `SIDE` pixels a side; smaller ones are enlarged."""
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    longest = max(image.size)
    if longest > SIDE:
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    elif longest < SIDE:
        times = math.ceil(SIDE / longest)
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    kept = io.BytesIO()
    image.save(kept, format="PNG", optimize=True)
    return kept.getvalue()


def change(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], most: float) -> npt.NDArray[np.float32]:
    """The change as values of 0 to 1: one half where there is none, 0 at ``-most`` and 1 at ``most``, which is above 0."""
    return (0.5 + (after.astype(np.float64) - before) / (2 * most)).clip(0, 1).astype(np.float32)
