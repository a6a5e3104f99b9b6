"""Images as numbers: the normalisation is undone and done again, scores stay the subject's own, and what cannot be is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData, Roles
from probes.checkpoint_subject import CheckpointSubject
from probes.engines.continuous import ADAPTERS, ImageValues, check_scores, open_continuous
from probes.errors import Unavailable
from probes.fake_subject import FakeSubject

CLASSES = ("dark", "light", "odd")
SIDE = 16


def png(array: np.ndarray) -> bytes:
    kept = io.BytesIO()
    Image.fromarray(array.astype(np.uint8)).save(kept, format="PNG")
    return kept.getvalue()


def checkpoint(folder: Path, channels: int = 3, **processor: object) -> Path:
    """A random ResNet whose running statistics are not those of a fresh one."""
    torch.manual_seed(0)
    config = ResNetConfig(
        num_channels=channels, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic",
        id2label=dict(enumerate(CLASSES)), label2id={c: i for i, c in enumerate(CLASSES)},
    )  # fmt: skip
    model = ResNetForImageClassification(config)
    model.train()
    for _ in range(3):
        model(pixel_values=torch.randn(8, channels, SIDE, SIDE) * 2 + 1)
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    values = {"image_mean": [0.4, 0.5, 0.6][:channels], "image_std": [0.2, 0.25, 0.3][:channels]}
    ViTImageProcessor(**{"size": size, **values, **processor}).save_pretrained(folder)
    return folder


def subject_on(folder: Path, inputs: list[object]) -> CheckpointSubject:
    data = AuditData.from_columns({"image": inputs}, Roles(input="image"), name="pictures")
    return CheckpointSubject(Checkpoint.open(folder), data)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> CheckpointSubject:
    rng = np.random.default_rng(0)
    inputs = [png(rng.integers(0, 256, (9 + i, 13, 3))) for i in range(6)]
    return subject_on(checkpoint(tmp_path_factory.mktemp("resnet")), inputs)


@pytest.fixture(scope="module")
def source(subject: CheckpointSubject) -> ImageValues:
    made = open_continuous(subject, "cpu")
    assert isinstance(made, ImageValues)
    return made


def test_gain_and_offset_are_those_of_the_processor(source: ImageValues) -> None:
    # (x - mean) / std with the mean and std of the fixture.
    assert source.gain.flatten().tolist() == pytest.approx([5.0, 4.0, 1 / 0.3], rel=1e-6)
    assert source.offset.flatten().tolist() == pytest.approx([-2.0, -2.0, -2.0], rel=1e-6)


def test_values_are_the_pixels_themselves(source: ImageValues) -> None:
    array = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3))
    data = source.values([array]).data
    assert data.shape == (1, 3, SIDE, SIDE)
    assert data.numpy()[0] == pytest.approx(array.transpose(2, 0, 1) / 255, abs=1e-6)
    seen = source.picture(data.numpy()[0])
    assert seen is not None
    assert np.array_equal(seen, array)


def test_scores_are_the_subjects_own(source: ImageValues, subject: CheckpointSubject, ctx) -> None:
    inputs = subject.data.inputs
    expected = subject.predict(inputs, ctx)
    order = source.plan(inputs)
    assert sorted(i for batch in order for i in batch) == list(range(len(inputs)))
    for batch in order:
        scores = source.logits(source.values([inputs[i] for i in batch]).data).softmax(-1)
        assert scores.detach().numpy() == pytest.approx(expected[batch], abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 40), width=st.integers(1, 40), grey=st.booleans())
def test_any_image_lies_within_the_bounds(source: ImageValues, seed: int, height: int, width: int, grey: bool) -> None:
    shape = (height, width) if grey else (height, width, 3)
    data = source.values([np.random.default_rng(seed).integers(0, 256, shape)]).data
    assert float(data.min()) >= 0.0
    assert float(data.max()) <= 1.0


def test_gradients_are_in_the_values_own_unit(source: ImageValues, subject: CheckpointSubject) -> None:
    """By finite differences in float64, pixel by pixel: the normalisation is inside what is differentiated."""
    values = source.values(subject.data.inputs[:1])
    data = values.data.clone().requires_grad_()
    source.logits(data)[0, 1].backward(inputs=[data])
    step = 1e-2
    for place in [(0, 0, 3, 4), (0, 1, 8, 8), (0, 2, 15, 2)]:
        up, down = values.data.clone(), values.data.clone()
        up[place] += step
        down[place] -= step
        with torch.no_grad():
            slope = float((source.logits(up)[0, 1] - source.logits(down)[0, 1]) / (2 * step))
        assert data.grad is not None
        assert float(data.grad[place]) == pytest.approx(slope, rel=0.05, abs=2e-3)


def test_the_model_is_left_as_it_was(subject: CheckpointSubject) -> None:
    reader = subject.reader("cpu")
    before = {name: value.clone() for name, value in reader.model.state_dict().items()}
    reader.model.train()
    source = open_continuous(subject, "cpu")
    assert not any(module.training for module in source.model.modules())
    source.values(subject.data.inputs)
    assert all(torch.equal(before[name], value) for name, value in reader.model.state_dict().items())
    assert all(p.grad is None for p in reader.model.parameters())


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_follow_the_model(tmp_path: Path, channels: int) -> None:
    found = open_continuous(subject_on(checkpoint(tmp_path, channels), [np.zeros((5, 5), np.int64)]), "cpu")
    data = found.values([np.full((5, 5), 51)]).data
    assert data.shape == (1, channels, SIDE, SIDE)
    assert float(data.min()) == pytest.approx(0.2, abs=1e-6)


def test_no_normalisation_at_all_is_followed_too(tmp_path: Path) -> None:
    found = open_continuous(subject_on(checkpoint(tmp_path, do_normalize=False), [np.zeros((5, 5), np.int64)]), "cpu")
    assert isinstance(found, ImageValues)
    assert found.gain.flatten().tolist() == pytest.approx([1, 1, 1])


class Crooked:
    """Eyes that do what no gain and offset does."""

    channels = 3

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def pixels(self, inputs: list[np.ndarray]) -> np.ndarray:
        arrays = np.stack([np.asarray(one, dtype=np.float32).transpose(2, 0, 1) / 255 for one in inputs])
        if self.kind == "border":
            arrays[:, :, :4] = 0.25
        if self.kind == "gamma":
            arrays = arrays**2
        if self.kind == "own mean":
            arrays = arrays - arrays.mean(axis=(1, 2, 3), keepdims=True)
        if self.kind == "nan":
            arrays = arrays / 0.0 * 0.0
        return arrays


class Reading:
    def __init__(self, kind: str) -> None:
        self.eyes = Crooked(kind)
        self.model = torch.nn.Identity()


@pytest.mark.parametrize("kind", ["border", "gamma", "own mean", "nan"])
@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_processor_that_cannot_be_undone_is_refused(kind: str) -> None:
    with pytest.raises(Unavailable, match="multiply and add"):
        ImageValues.of(Reading(kind), "cpu")  # type: ignore[arg-type]


def test_other_scores_than_the_subjects_are_refused() -> None:
    check_scores([[0.5, 0.5]], [[0.5005, 0.4995]])
    with pytest.raises(Unavailable, match=r"differ by 0\.2"):
        check_scores([[0.5, 0.5]], [[0.7, 0.3]])
    with pytest.raises(Unavailable, match="differ by nan"):
        check_scores([[np.nan, 0.5]], [[0.5, 0.5]])


def test_a_wrong_normalisation_is_noticed(source: ImageValues, subject: CheckpointSubject) -> None:
    wrong = ImageValues(reader=source.reader, device="cpu", gain=source.gain, offset=source.offset + 0.2)
    with pytest.raises(Unavailable):
        wrong.values(subject.data.inputs)


def test_texts_and_subjects_without_a_model_are_refused() -> None:
    fake = FakeSubject([[0.5, 0.5]], ("no", "yes"))
    with pytest.raises(Unavailable, match="text-classification are no numbers"):
        open_continuous(fake, "cpu")
    assert "image-classification" in ADAPTERS
    fake.task = "image-classification"  # type: ignore[misc]
    with pytest.raises(Unavailable, match="no model to look into"):
        open_continuous(fake, "cpu")
