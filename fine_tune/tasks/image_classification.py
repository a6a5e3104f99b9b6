"""Image classification with one label an image: encoded image files or arrays of grey or colour values in, one probability
a class out. It opens no path: files become bytes where data is read. It refuses what it cannot read whole and unchanged
in meaning, such as animations and images of more than eight bits a channel, and heads with several labels an image.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fine_tune.data import content_digest
from fine_tune.errors import CheckpointError, DataError, RecipeError
from fine_tune.heads import head_parameters, linear_layers, load_with_head
from fine_tune.quiet import quiet_transformers
from fine_tune.single_label import SingleLabel
from fine_tune.sources import first_line
from fine_tune.tasks import Answer, Shown, Trainable

if TYPE_CHECKING:
    from PIL.Image import Image

    from fine_tune.checkpoint import Checkpoint
    from fine_tune.data import AuditData
    from fine_tune.recipe import Recipe

Pixels = npt.NDArray[np.uint8]

MAX_ROWS = 64
PATCH = 16
MOST_PIXELS = 100_000_000
SHOWN_SIDES = (64, 96)
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
KINDS = "the bytes of an image file, or an array of integers from 0 to 255, shape (height, width[, 1, 3 or 4])"


@dataclass(frozen=True)
class ImageClassification(SingleLabel):
    """The task; see `fine_tune.tasks.Task`."""

    name: str = "image-classification"
    auto_model: str = "AutoModelForImageClassification"
    architecture: str = "ForImageClassification"
    head: str = "image classification head"
    unit: str = "an image"

    def reader(self, checkpoint: Checkpoint, device: str) -> ImageReader:
        """Load model and processor."""
        self.check(checkpoint)
        with quiet_transformers():
            model = checkpoint.load_model(device)
        eyes = Eyes(processor=load_processor(checkpoint), channels=_channels(model))
        return ImageReader(model=model, eyes=eyes, device=device)

    def show(self, value: Any) -> Shown:
        """A small picture: large images are reduced, tiny ones enlarged with their pixels kept apart."""
        from PIL import Image

        image = open_image(value).convert("RGB")
        least, most = SHOWN_SIDES
        longest = max(image.size)
        if longest > most:
            image.thumbnail((most, most), Image.Resampling.LANCZOS)
        elif longest < least:
            times = math.ceil(least / longest)
            image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
        kept = io.BytesIO()
        image.save(kept, format="PNG")
        return Shown(png=kept.getvalue())

    def trainable(self, base: Checkpoint, recipe: Recipe, data: AuditData, classes: tuple[str, ...]) -> Trainable:
        """Model with a fresh head where the base has none for these classes; images are decoded batch by batch."""
        if recipe.max_length is not None:
            raise RecipeError(
                f"max_length is {recipe.max_length}, and images are not cut",
                expected="no max_length; the base's preprocessor_config.json says how large an image becomes",
            )
        with quiet_transformers():
            model, fresh = load_with_head(base, recipe, self.auto_model, classes)
        processor = load_processor(base)
        eyes = Eyes(processor=processor, channels=_channels(model))
        inputs = data.inputs
        for i, value in enumerate(inputs):
            _opened(value, i)
        codes = {name: code for code, name in enumerate(classes)}

        def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
            import torch

            pixels = torch.from_numpy(eyes.pixels([example["pixel_values"] for example in batch]))
            others = [name for name in batch[0] if name != "pixel_values"]
            return {"pixel_values": pixels, **{n: torch.tensor([e[n] for e in batch]) for n in others}}

        return Trainable(
            model=model,
            processor=processor,
            examples=[
                {"pixel_values": value, "labels": codes[str(label)]}
                for value, label in zip(inputs, data.labels, strict=True)
            ],
            truncated=0,
            collate=collate,
            head=head_parameters(model, fresh),
            adapted=linear_layers(model),
        )


@dataclass(frozen=True, kw_only=True)
class Eyes:
    """Images to what a model reads: an image processor, and the number of channels that the model has."""

    processor: Any
    channels: int

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a processed image."""
        channels, height, width = self.pixels([np.zeros((64, 64), np.uint8)]).shape[1:]
        return int(channels), int(height), int(width)

    def pixels(self, inputs: Sequence[Any]) -> npt.NDArray[np.float32]:
        """Shape (images, channels, height, width).

        Raises:
            DataError: an input is no image.
            CheckpointError: the processor fails, or leaves images of different sizes.
        """
        arrays = []
        for i, value in enumerate(inputs):
            array = np.asarray(_opened(value, i).convert(MODES[self.channels]))
            arrays.append(array[:, :, None] if array.ndim == 2 else array)
        try:
            with quiet_transformers():
                made = self.processor(images=arrays, input_data_format="channels_last")["pixel_values"]
        except Exception as error:
            raise CheckpointError(f"the image processor fails: {first_line(error)}") from error
        sizes = sorted({np.shape(one) for one in made})
        if len(sizes) > 1:
            raise CheckpointError(
                f"the image processor leaves images of different sizes, such as {sizes[0]} and {sizes[-1]}",
                expected="a processor that resizes or crops to one height and width",
                fix="set do_resize and size, with height and width, in preprocessor_config.json",
            )
        return np.stack([np.asarray(one, dtype=np.float32) for one in made])


@dataclass(frozen=True, kw_only=True)
class ImageReader:
    """A loaded classifier; see `fine_tune.tasks.Reader`."""

    model: Any
    eyes: Eyes
    device: str

    @property
    def processor(self) -> Any:
        """The image processor."""
        return self.eyes.processor

    @property
    def settings(self) -> str:
        """What besides the weights decides an answer."""
        channels, height, width = self.eyes.shape
        return f"pixels={channels}x{height}x{width};{type(self.processor).__name__};pillow={version('pillow')}"

    def plan(self, inputs: Sequence[Any], batch_tokens: int) -> list[list[int]]:
        """Batches of at most `MAX_ROWS` images and ``batch_tokens`` patches of `PATCH` by `PATCH` pixels."""
        _, height, width = self.eyes.shape
        patches = math.ceil(height / PATCH) * math.ceil(width / PATCH)
        rows = max(1, min(MAX_ROWS, batch_tokens // patches))
        digests = [content_digest(value) for value in inputs]
        order = sorted(range(len(inputs)), key=digests.__getitem__)
        return [order[i : i + rows] for i in range(0, len(order), rows)]

    def answer(self, inputs: Sequence[Any]) -> list[Answer]:
        """One forward pass in inference mode; softmax in float64.

        Raises:
            DataError: an input is no image.
            CheckpointError: the model gives scores that are not finite.
        """
        import torch

        pixels = torch.from_numpy(self.eyes.pixels(inputs)).to(self.device)
        with torch.inference_mode():
            logits = self.model(pixel_values=pixels).logits
            scores = torch.softmax(logits.to("cpu", torch.float64), dim=-1).numpy()
        if not np.isfinite(scores).all():
            raise CheckpointError(
                "the model gives scores that are not finite",
                expected="finite scores",
                fix="the weights are damaged or the training diverged; train or export the model again",
            )
        return [Answer(scores=(tuple(row),)) for row in scores.tolist()]


def load_processor(checkpoint: Checkpoint) -> Any:
    """The image processor that needs numpy and Pillow alone, so that an answer does not depend on what is installed.

    Raises:
        CheckpointError: there is none, or it cannot be loaded.
    """
    import transformers

    # transformers 5 says by one option what 4 said by another, and has this module for it.
    named = find_spec("transformers.image_processing_backends") is not None
    plain: dict[str, Any] = {"backend": "pil"} if named else {"use_fast": False}
    try:
        with quiet_transformers():
            return transformers.AutoImageProcessor.from_pretrained(
                str(checkpoint.folder), local_files_only=True, trust_remote_code=checkpoint.trust_remote_code, **plain
            )
    except Exception as error:
        raise CheckpointError(
            f"the image processor of {checkpoint.name} cannot be loaded: {first_line(error)}",
            expected="preprocessor_config.json beside config.json",
        ) from error


def open_image(value: Any) -> Image:
    """An input as a picture, turned as its camera was held.

    Args:
        value: bytes of an image file, or an array or nested lists of integers in 0 to 255, shape (height, width) or
            (height, width, channels) with 1, 3 or 4 channels.

    Raises:
        DataError: it is none of these, or more than one picture of at most eight bits a channel.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not isinstance(value, bytes):
        return Image.fromarray(_array(value))
    try:
        with Image.open(io.BytesIO(value)) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise DataError(
                    f"an image of {opened.width} x {opened.height} pixels", expected=f"at most {MOST_PIXELS:,} pixels"
                )
            frames = getattr(opened, "n_frames", 1)
            if frames > 1:
                raise DataError(f"{opened.format} with {frames} pictures", expected="one picture a file")
            if opened.mode not in EIGHT_BIT:
                raise DataError(
                    f"an image of mode {opened.mode}",
                    expected="at most eight bits a channel",
                    fix="convert the images, choosing which range of values matters",
                )
            opened.load()
            return ImageOps.exif_transpose(opened)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        seen = "no known image format" if isinstance(error, UnidentifiedImageError) else first_line(error)
        raise DataError(f"{len(value):,} bytes that cannot be read as an image: {seen}", expected=KINDS) from None


def _opened(value: Any, place: int) -> Image:
    try:
        return open_image(value)
    except DataError as error:
        raise DataError(error.seen, expected=error.expected, fix=error.fix, where=f"input {place}") from None


def _array(value: Any) -> Pixels:
    fix = "name the column that holds the images; a column of file names needs `files: true`"
    if not isinstance(value, list | tuple | np.ndarray):
        raise DataError(f"{type(value).__name__} is no image", expected=KINDS, fix=fix)
    try:
        # Nested arrays of a data frame come as arrays of arrays.
        array = np.asarray(value.tolist() if isinstance(value, np.ndarray) and value.dtype == object else value)
    except ValueError:
        raise DataError("nested lists of different lengths are no image", expected=KINDS) from None
    whole = np.issubdtype(array.dtype, np.integer) and array.size > 0
    if not whole or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in MODES):
        raise DataError(f"an array of {array.dtype}, shape {array.shape}", expected=KINDS)
    if array.min() < 0 or array.max() > 255:
        raise DataError(f"an array with values from {array.min()} to {array.max()}", expected=KINDS)
    pixels = array.astype(np.uint8)
    return pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _channels(model: Any) -> int:
    count = getattr(model.config, "num_channels", 3)
    if count not in MODES:
        raise CheckpointError(f"the model reads images of {count} channels", expected="1, 3 or 4 channels")
    return int(count)


TASK = ImageClassification()
