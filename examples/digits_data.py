"""Writes scikit-learn's handwritten digits as data that `digits.yaml` names, and the architecture that it trains from scratch.

It needs no network: the 1,797 images of 8 x 8 pixels come with scikit-learn (the test part of Alpaydin and Kaynak's
"Optical Recognition of Handwritten Digits", 1998). It writes below ``out/digits`` beside this folder, or where it is told:

    train.parquet, audit.parquet   image (PNG), digit, id, stroke, slant; half of the rows each, digits in equal shares
    resnet/                        config.json and preprocessor_config.json of a small ResNet, and no weights

Two properties of each image become groups. With I the ink at a pixel, in 0 to 1:

    stroke   2 sum(I) / sum(|dI/dx| + |dI/dy|), which is about the width of a stroke in pixels: the ink of a long line is
             length times width, and its outline is twice its length. Below 1.17 is thin, from 1.29 on thick.
    slant    -m11 / m02, central moments of the ink with y downwards: the shear that leans the digit to the right, in pixels
             a pixel. Below -0.09 is left, from 0.01 on right.

The cuts are near the thirds of all 1,797 images, rounded; so each group has about a third.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

OUT = Path(__file__).resolve().parents[1] / "out" / "digits"
SEED = 7
INK = 16
STROKE_CUTS = (1.17, 1.29)
SLANT_CUTS = (-0.09, 0.01)

Images = npt.NDArray[np.float64]


def stroke_width(ink: Images) -> npt.NDArray[np.float64]:
    """Shape (N,), in pixels; ``ink`` has shape (N, height, width) and values from 0 to 1."""
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    outline = sum(np.abs(np.diff(padded, axis=axis)).sum(axis=(1, 2)) for axis in (1, 2))
    return np.asarray(2 * ink.sum(axis=(1, 2)) / outline)


def slant(ink: Images) -> npt.NDArray[np.float64]:
    """Shape (N,), in pixels to the right for a pixel upwards; ``ink`` as in `stroke_width`."""
    y, x = np.mgrid[: ink.shape[1], : ink.shape[2]]
    mass = ink.sum(axis=(1, 2))
    dx = x - ((ink * x).sum(axis=(1, 2)) / mass)[:, None, None]
    dy = y - ((ink * y).sum(axis=(1, 2)) / mass)[:, None, None]
    return np.asarray(-(ink * dx * dy).sum(axis=(1, 2)) / (ink * dy**2).sum(axis=(1, 2)))


def named(values: npt.NDArray[np.float64], cuts: tuple[float, float], names: tuple[str, str, str]) -> list[str]:
    """The group of each value."""
    return [names[i] for i in np.searchsorted(cuts, values, side="right")]


def png(ink: Images) -> bytes:
    """One image as an 8-bit grey PNG, white on black."""
    kept = io.BytesIO()
    Image.fromarray(np.round(ink * 255).astype(np.uint8)).save(kept, format="PNG")
    return kept.getvalue()


def halves(digits: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row numbers of two halves with the same share of each digit."""
    rng = np.random.default_rng(SEED)
    first: list[int] = []
    for digit in range(10):
        rows = rng.permutation(np.flatnonzero(digits == digit))
        first += rows[: len(rows) // 2].tolist()
    chosen = np.isin(np.arange(len(digits)), first)
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def write_data(folder: Path) -> None:
    """Both halves as parquet."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    ink, digits = loaded.images / INK, loaded.target
    table = pa.table(
        {
            "id": [f"digit-{i:04d}" for i in range(len(digits))],
            "image": pa.array([png(one) for one in ink], type=pa.binary()),
            "digit": digits.astype(str),
            "stroke": named(stroke_width(ink), STROKE_CUTS, ("thin", "medium", "thick")),
            "slant": named(slant(ink), SLANT_CUTS, ("left", "upright", "right")),
        }
    )
    for name, rows in zip(("train", "audit"), halves(digits), strict=True):
        pq.write_table(table.take(pa.array(rows)), folder / f"{name}.parquet")


def write_architecture(folder: Path) -> None:
    """A ResNet with two stages of basic layers on grey images of 32 x 32 pixels."""
    from transformers import ResNetConfig, ViTImageProcessor

    ResNetConfig(
        num_channels=1, embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic"
    ).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.5], image_std=[0.5]).save_pretrained(folder)


def main(out: Path = OUT) -> None:
    """Write everything below ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    write_data(out)
    write_architecture(out / "resnet")
    sys.stdout.write(f"{out}\n")


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:2]))
