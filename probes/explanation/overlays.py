"""Weights of patches laid over a small picture, as PNG bytes: orange speaks for the class and blue against it, and because colour
must not speak alone, the strongest patches are framed and the strongest against are crossed out. It computes no weight.
"""

from __future__ import annotations

import io
import math

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

FOR, AGAINST = (230, 159, 0), (0, 114, 178)
SIDE = 96
COLOURS = 64
STRONGEST = 3
MOST_OPAQUE = 0.75


def overlay(picture: Pixels, weights: Float, grid: tuple[int, int]) -> bytes:
    """PNG bytes, about `SIDE` pixels along the longer side.

    Args:
        picture: shape (height, width, 1, 3 or 4).
        weights: one a patch, row by row, shape (rows * columns,). Without signs only "for" is drawn.
        grid: rows and columns.
    """
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    times = SIDE / max(height, width)
    size = (max(1, round(width * times)), max(1, round(height * times)))
    # A grey picture leaves the colours to the weights.
    flat = picture[:, :, 0] if picture.shape[2] == 1 else np.asarray(Image.fromarray(picture[:, :, :3]).convert("L"))
    base = np.asarray(Image.fromarray(flat).resize(size, Image.Resampling.BILINEAR), dtype=np.float64)[:, :, None]
    side = max(math.ceil(height / grid[0]), math.ceil(width / grid[1]))
    row = (np.arange(size[1]) / times).astype(int) // side
    column = (np.arange(size[0]) / times).astype(int) // side
    shares = weights / max(float(np.abs(weights).max(initial=0.0)), 1e-300)
    place = shares.reshape(grid)[np.minimum(row, grid[0] - 1)[:, None], np.minimum(column, grid[1] - 1)[None, :]]
    colour = np.where(place[:, :, None] >= 0, np.array(FOR), np.array(AGAINST))
    opaque = MOST_OPAQUE * np.abs(place)[:, :, None]
    drawn = Image.fromarray(np.round(base * (1 - opaque) + colour * opaque).astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    order = np.argsort(-np.abs(shares), kind="stable")
    for sign in (1, -1):
        for unit in [int(u) for u in order if shares[u] * sign > 0][:STRONGEST]:
            left, top = unit % grid[1] * side * times, unit // grid[1] * side * times
            box = (round(left), round(top), round(left + side * times) - 1, round(top + side * times) - 1)
            box = (box[0], box[1], max(box[0], min(box[2], size[0] - 1)), max(box[1], min(box[3], size[1] - 1)))
            if sign > 0:
                pen.rectangle(box, outline=(255, 255, 255))
            else:
                pen.line((box[0], box[1], box[2], box[3]), fill=(0, 0, 0))
                pen.line((box[0], box[3], box[2], box[1]), fill=(0, 0, 0))
    kept = io.BytesIO()
    drawn.quantize(COLOURS).save(kept, format="PNG", optimize=True)
    return kept.getvalue()
