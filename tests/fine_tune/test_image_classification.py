"""Image classification: what is read as an image, one content whatever held it, ViT and ResNet, training from scratch."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData, DataSpec, Roles
from fine_tune.errors import CheckpointError, DataError, RecipeError
from fine_tune.recipe import Recipe
from fine_tune.roles import content_digest
from fine_tune.tasks import find_task
from fine_tune.tasks.image_classification import MAX_ROWS, ImageReader, open_image
from fine_tune.train import fine_tune
from probes.checkpoint_subject import CheckpointSubject
from probes.probe import Context

TASK = find_task("image-classification")
CLASSES = ("dark", "light")


def png(array: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    kept = io.BytesIO()
    Image.fromarray(array.astype(np.uint8)).save(kept, format=kind, **options)
    return kept.getvalue()


def pictures(count: int = 24, seed: int = 0) -> tuple[list[bytes], list[str]]:
    """Noise, the odd ones brighter."""
    rng = np.random.default_rng(seed)
    arrays = [rng.integers(0, 120, (9, 7)) + 130 * (i % 2) for i in range(count)]
    return [png(a) for a in arrays], [CLASSES[i % 2] for i in range(count)]


def picture_data(count: int = 24) -> AuditData:
    inputs, labels = pictures(count)
    side = ["up" if i % 3 else "down" for i in range(count)]
    columns = {"image": inputs, "label": labels, "side": side, "id": [f"p{i}" for i in range(count)]}
    return AuditData.from_columns(columns, Roles(input="image", label="label", groups=("side",), id="id"))


@pytest.fixture(scope="module")
def architecture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet on grey images without weights."""
    from transformers import ResNetConfig, ViTImageProcessor

    folder = tmp_path_factory.mktemp("architecture")
    ResNetConfig(
        num_channels=1, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic"
    ).save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}, image_mean=[0.5], image_std=[0.5]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random ViT on colour images, with weights for the two classes."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vit")
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=16,
        id2label=dict(enumerate(CLASSES)), label2id={c: i for i, c in enumerate(CLASSES)}, initializer_range=0.5,
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reader(vit: Path) -> ImageReader:
    made = TASK.reader(Checkpoint.open(vit), "cpu")
    assert isinstance(made, ImageReader)
    return made


def recipe(base: Path, **changes: object) -> Recipe:
    values = {"base": str(base), "task": "image-classification", "steps": 3, "batch_size": 8, "learning_rate": 0.01}
    return Recipe.of({**values, **changes})


# What is an image ---------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(shape=st.sampled_from([(1, 1), (8, 8), (5, 3), (4, 6, 1), (4, 6, 3), (3, 3, 4)]), seed=st.integers(0, 9))
def test_files_arrays_and_lists_are_the_same_picture(shape: tuple[int, ...], seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, shape)
    flat = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    for value in (array, array.tolist(), png(flat), np.array([*array.tolist(), None], dtype=object)[:-1]):
        assert np.array_equal(np.asarray(open_image(value)), flat)
    assert content_digest(array) == content_digest(array.tolist())


def _animation() -> bytes:
    kept = io.BytesIO()
    frames = [Image.fromarray(np.full((4, 4), v, np.uint8)) for v in (0, 255)]
    frames[0].save(kept, format="GIF", save_all=True, append_images=frames[1:])
    return kept.getvalue()


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("cat.png", "str is no image.*files: true"),
        (b"no picture", "no known image format"),
        (pictures(1)[0][0][:-40], "cannot be read as an image"),
        (_animation(), "GIF with 2 pictures"),
        ([[0.5, 1.0]], "array of float64"),
        ([[0, 256]], "values from 0 to 256"),
        ([[-1, 3]], "values from -1 to 3"),
        ([[1, 2], [3]], "different lengths"),
        ([], r"shape \(0,\)"),
        (np.zeros((2, 2, 2), int), r"shape \(2, 2, 2\)"),
    ],
    ids=["name", "text", "truncated", "animation", "float", "high", "low", "ragged", "empty", "channels"],
)
def test_what_is_no_image_is_refused(reader: ImageReader, value: object, seen: str) -> None:
    with pytest.raises(DataError, match=f"(?s)input 1: .*{seen}"):
        reader.answer([png(np.zeros((4, 4))), value])


def test_sixteen_bits_are_refused_rather_than_cut() -> None:
    kept = io.BytesIO()
    Image.fromarray(np.full((2, 2), 40_000, np.uint16)).save(kept, format="PNG")
    with pytest.raises(DataError, match="mode I;16"):
        open_image(kept.getvalue())


def test_a_picture_is_turned_as_the_camera_was_held() -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = open_image(png(array, exif=exif))
    assert np.array_equal(np.asarray(turned), np.rot90(array, -1))


def test_people_see_small_pictures() -> None:
    for shape, size in (((8, 8), (64, 64)), ((9, 30), (90, 27)), ((70, 80), (80, 70)), ((300, 150), (48, 96))):
        shown = TASK.show(png(np.random.default_rng(0).integers(0, 255, shape)))
        assert shown.png is not None
        assert Image.open(io.BytesIO(shown.png)).size == size


# Where images come from ---------------------------------------------------------------------------------------------


def test_one_content_whatever_held_it(tmp_path: Path) -> None:
    import datasets

    inputs, labels = pictures(6)
    (tmp_path / "files").mkdir()
    names = []
    for i, content in enumerate(inputs):
        names.append(f"files/{i}.png")
        (tmp_path / names[-1]).write_bytes(content)
    (tmp_path / "paths.csv").write_text("image,y\n" + "".join(f"{n},{y}\n" for n, y in zip(names, labels, strict=True)))
    pq.write_table(pa.table({"image": inputs, "y": labels}), tmp_path / "bytes.parquet")
    structs = [{"bytes": content, "path": f"/elsewhere/{i}.png"} for i, content in enumerate(inputs)]
    pq.write_table(pa.table({"image": structs, "y": labels}), tmp_path / "hub.parquet")
    made = datasets.Dataset.from_dict({"image": [str(tmp_path / n) for n in names], "y": labels})
    made.cast_column("image", datasets.Image()).save_to_disk(str(tmp_path / "folder"))
    digests = {
        AuditData.load(DataSpec(source=source, input="image", label="y", files=files), base_dir=tmp_path).digest
        for source, files in (("paths.csv", True), ("bytes.parquet", False), ("hub.parquet", False), ("folder", False))
    }
    whole = AuditData.from_columns({"image": inputs, "y": labels}, Roles(input="image", label="y"))
    assert digests == {whole.digest}
    changed = [inputs[1], *inputs[1:]]
    other = AuditData.from_columns({"image": changed, "y": labels}, Roles(input="image", label="y"))
    assert other.digest != whole.digest


def test_pictures_in_memory_are_kept_whole() -> None:
    array = np.random.default_rng(0).integers(0, 255, (5, 4, 3), dtype=np.uint8)
    data = AuditData.from_columns({"x": [Image.fromarray(array), array]}, Roles(input="x"))
    assert [np.array_equal(np.asarray(open_image(v)), array) for v in data.inputs] == [True, True]
    with pytest.raises(DataError, match="row 0 is an image of mode CMYK"):
        AuditData.from_columns({"x": [Image.new("CMYK", (2, 2))]}, Roles(input="x"))


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("../secret.png", "outside the folder"),
        ("/etc/passwd", "outside the folder"),
        ("one.pgn", "did you mean 'one.png'"),
    ],
)
def test_file_names_stay_below_the_table(tmp_path: Path, name: str, seen: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one.png").write_bytes(png(np.zeros((2, 2))))
    (tmp_path / "data" / "t.csv").write_text(f"image\none.png\n{name}\n")
    with pytest.raises(DataError, match=f"(?s)row 1 .*{seen}"):
        AuditData.load(DataSpec(source="data/t.csv", input="image", files=True), base_dir=tmp_path)


def test_paths_inside_parquet_are_not_followed(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"image": [{"bytes": b"x", "path": "a"}, {"bytes": None, "path": "/b.png"}]}), tmp_path / "t.parquet"
    )
    with pytest.raises(DataError, match="row 1 of column 'image' holds the path"):
        AuditData.load(DataSpec(source="t.parquet", input="image"), base_dir=tmp_path)


# A finished model ---------------------------------------------------------------------------------------------------


def test_the_task_is_read_off_the_checkpoint(vit: Path, tiny_checkpoint: Path) -> None:
    assert Checkpoint.open(vit).task == "image-classification"
    with pytest.raises(CheckpointError, match="no image classification head"):
        Checkpoint.open(tiny_checkpoint, task="image-classification")


def test_scores_equal_plain_transformers(reader: ImageReader, vit: Path) -> None:
    import torch
    from transformers import ViTForImageClassification, ViTImageProcessor

    inputs, _ = pictures(5)
    colour = [Image.open(io.BytesIO(one)).convert("RGB") for one in inputs]
    pixels = ViTImageProcessor.from_pretrained(vit)(images=colour, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        logits = ViTForImageClassification.from_pretrained(vit).eval()(pixel_values=pixels).logits.double()
    expected = torch.softmax(logits, -1).numpy()
    given = np.array([answer.scores[0] for answer in reader.answer(inputs)])
    assert np.abs(given - expected).max() < 1e-6
    assert np.ptp(given[:, 0]) > 1e-4


@settings(max_examples=15, deadline=None)
@given(count=st.integers(0, 200), tokens=st.integers(1, 2000), seed=st.integers(0, 3))
def test_plans_cover_every_image_once_within_bounds(reader: ImageReader, count: int, tokens: int, seed: int) -> None:
    inputs = [i.to_bytes(2, "big") for i in range(count)]
    plan = reader.plan(inputs, tokens)
    assert sorted(i for batch in plan for i in batch) == list(range(count))
    assert all(len(batch) <= MAX_ROWS and (len(batch) == 1 or 4 * len(batch) <= tokens) for batch in plan)
    shuffled = np.random.default_rng(seed).permutation(count)
    again = reader.plan([inputs[i] for i in shuffled], tokens)
    assert [[inputs[shuffled[i]] for i in b] for b in again] == [[inputs[i] for i in b] for b in plan]


def test_scores_that_are_not_finite_are_refused(vit: Path) -> None:
    import torch

    broken = TASK.reader(Checkpoint.open(vit), "cpu")
    with torch.no_grad():
        broken.model.classifier.bias[0] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        broken.answer(pictures(1)[0])


def test_images_of_different_sizes_after_processing_are_refused(vit: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(vit, tmp_path / "vit")
    told = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**told, "do_resize": False}))
    loose = TASK.reader(Checkpoint.open(folder), "cpu")
    with pytest.raises(CheckpointError, match="different sizes"):
        loose.answer([png(np.zeros((32, 32))), png(np.zeros((32, 16)))])
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"(?s)image processor .*preprocessor_config\.json"):
        TASK.reader(Checkpoint.open(folder), "cpu")


# Training -----------------------------------------------------------------------------------------------------------


def test_from_scratch_and_again(architecture: Path, tmp_path: Path) -> None:
    data = picture_data()
    first = fine_tune(recipe(architecture, steps=30), data, tmp_path / "one", progress=False)
    record = first.training_record
    assert record is not None
    assert record.from_scratch
    assert record.trained_parameters == record.parameters == sum(_sizes(first, skip=("running_", "num_batches")))
    second = fine_tune(recipe(architecture, steps=30), data, tmp_path / "two", progress=False)
    assert first.weights_digest == second.weights_digest
    other = fine_tune(recipe(architecture, steps=30, seed=1), data, tmp_path / "three", progress=False)
    assert other.weights_digest != first.weights_digest
    subject = CheckpointSubject(Checkpoint.open(tmp_path / "one"), data)
    table = subject.predictions(Context(instance="test"))
    right = np.mean([a == b for a, b in zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True)])
    assert right > 0.9
    assert subject.classes == CLASSES
    assert table["content"].to_pylist() == data.content_digests


def _sizes(checkpoint: Checkpoint, skip: tuple[str, ...]) -> list[int]:
    from safetensors import safe_open

    with safe_open(checkpoint.folder / "model.safetensors", framework="np") as opened:
        names = [n for n in opened.keys() if not any(s in n for s in skip)]  # noqa: SIM118
        return [opened.get_tensor(n).size for n in names]


def test_only_the_head_moves(architecture: Path, tmp_path: Path) -> None:
    """Running statistics count as body: they would change what the held weights mean."""
    from safetensors.numpy import load_file

    data = picture_data()
    base = fine_tune(recipe(architecture), data, tmp_path / "base", progress=False)
    moved = fine_tune(recipe(tmp_path / "base", method="head"), data, tmp_path / "head", progress=False)
    before, after = (load_file(c.folder / "model.safetensors") for c in (base, moved))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"classifier.1.weight", "classifier.1.bias"}
    assert moved.training_record is not None
    assert not moved.training_record.from_scratch


def test_a_vit_adapts_its_linear_layers(vit: Path, tmp_path: Path) -> None:
    made = fine_tune(recipe(vit, method="lora", steps=2), picture_data(12), tmp_path / "lora", progress=False)
    assert made.architectures == ("ViTForImageClassification",)
    assert made.training_record is not None
    assert made.training_record.trained_parameters < made.training_record.parameters


def test_a_batch_in_pieces_is_the_same_batch(vit: Path, tmp_path: Path) -> None:
    """Unlike BERT, a ViT divides a loss by the rows of the whole batch if the Trainer tells it how many they are."""
    losses = []
    for name, pieces in (("whole", 1), ("pieces", 2)):
        asked = recipe(vit, steps=3, batch_size=4, gradient_accumulation=pieces)
        record = fine_tune(asked, picture_data(12), tmp_path / name, progress=False).training_record
        assert record is not None
        losses.append([point.loss for point in record.history])
    assert losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_what_training_refuses(architecture: Path, tmp_path: Path) -> None:
    data = picture_data(8)
    with pytest.raises(RecipeError, match="holds no weights, only an architecture"):
        fine_tune(recipe(architecture, method="head"), data, tmp_path / "a", progress=False)
    with pytest.raises(RecipeError, match="images are not cut"):
        fine_tune(recipe(architecture, max_length=16), data, tmp_path / "a", progress=False)
    texts = AuditData.from_columns({"x": ["a", "b"], "y": ["u", "v"]}, Roles(input="x", label="y"))
    with pytest.raises(DataError, match="input 0: str is no image"):
        fine_tune(recipe(architecture), texts, tmp_path / "a", progress=False)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "damage", ["pytorch_model.bin", "model-00001-of-00002.safetensors", "model.safetensors.index.json"]
)
def test_lost_or_pickled_weights_are_no_architecture(architecture: Path, tmp_path: Path, damage: str) -> None:
    folder = shutil.copytree(architecture, tmp_path / "base")
    (folder / damage).write_bytes(b"{}")
    with pytest.raises(CheckpointError):
        Checkpoint.open(folder, architecture=True)
    with pytest.raises(CheckpointError, match=r"holds no model\.safetensors"):
        Checkpoint.open(architecture)
