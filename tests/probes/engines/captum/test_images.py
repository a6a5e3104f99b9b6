"""Images: patches, the processor's mean colour as absence, and the methods that see pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData, Roles
from probes.checkpoint_subject import CheckpointSubject
from probes.engines.captum.explainer import open_explainer
from probes.engines.captum.forward import captum_forward
from probes.engines.captum.methods import methods
from probes.probe import Context

CLASSES = ("dark", "light", "other")


def build(folder: Path, kind: str) -> CheckpointSubject:
    import torch
    from transformers import (
        ResNetConfig,
        ResNetForImageClassification,
        ViTConfig,
        ViTForImageClassification,
        ViTImageProcessor,
    )

    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(CLASSES)), "label2id": {c: i for i, c in enumerate(CLASSES)}}
    if kind == "vit":
        config = ViTConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=16,
            initializer_range=0.5, **names,
        )  # fmt: skip
        ViTForImageClassification(config).save_pretrained(folder)
    else:
        stages = (
            {"hidden_sizes": [4, 8], "depths": [1, 1]}
            if kind == "resnet"
            else {"hidden_sizes": [4, 8, 8, 8], "depths": [1] * 4}
        )
        config = ResNetConfig(embedding_size=4, layer_type="basic", **stages, **names)
        ResNetForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.25] * 3, image_std=[0.5] * 3).save_pretrained(
        folder
    )
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (32, 32, 3)).tolist() for _ in range(4)]
    data = AuditData.from_columns({"image": pictures}, Roles(input="image"))
    return CheckpointSubject(Checkpoint.open(folder), data)


@pytest.fixture(scope="module", params=["vit", "resnet"])
def subject(request, tmp_path_factory):
    return build(tmp_path_factory.mktemp(request.param), request.param)


def test_every_method_that_is_offered_weighs_every_patch(subject):
    ctx = Context(instance="test", seed=7)
    explainer = open_explainer(subject, ctx)
    encoded = explainer.encode(subject.data.inputs)
    assert encoded[0].grid == (11, 11)
    assert encoded[0].units[:2] == ("0,0", "0,1")
    offered = [name for name in methods() if explainer.check(name) is None]
    convolutional = "guided_grad_cam" in offered
    assert convolutional != ("relevance" in offered)
    assert len(offered) == len(methods()) - 1
    for name in offered:
        found = explainer.attribute(encoded[:2], [0, 2], name, ctx)
        assert all(one.weights.shape == (121,) and np.isfinite(one.weights).all() for one in found)
        assert any(np.abs(one.weights).max() > 0 for one in found)


def test_plain_scores_are_the_subjects_own(subject):
    ctx = Context(instance="test", seed=7)
    explainer = open_explainer(subject, ctx)
    encoded = explainer.encode(subject.data.inputs)
    found = explainer.scores(encoded, [np.ones((1, 121), dtype=bool)] * 4)
    assert np.concatenate(found) == pytest.approx(subject.predict(subject.data.inputs, ctx), abs=1e-5)


def test_an_absent_patch_is_zero_to_the_model(subject):
    """The mean colour is a quarter of the range here, and normalisation turns it into 0."""
    ctx = Context(instance="test", seed=7)
    explainer = open_explainer(subject, ctx)
    encoded = explainer.encode(subject.data.inputs[:1])
    (found,) = explainer.scores(encoded, [np.zeros((1, 121), dtype=bool)])
    grey = subject.predict([np.full((32, 32, 3), 64, dtype=np.uint8)], ctx)
    assert found == pytest.approx(grey, abs=5e-3)
    points = explainer.adapter.points(encoded)
    assert float(points.absent.min()) == pytest.approx(0.25, abs=1e-4) == float(points.absent.max())


def test_occlusion_against_captum(subject):
    from captum.attr import FeatureAblation

    ctx = Context(instance="test", seed=7)
    explainer = open_explainer(subject, ctx)
    encoded = explainer.encode(subject.data.inputs[:1])
    points = explainer.adapter.points(encoded)
    forward, extra = captum_forward(explainer.adapter, points, [1])
    theirs = FeatureAblation(forward).attribute(
        points.start, points.absent, additional_forward_args=extra,
        feature_mask=points.owner.expand(points.start.shape), perturbations_per_eval=11,
    )  # fmt: skip
    (found,) = explainer.attribute(encoded, [1], "occlusion", ctx)
    expected = theirs[0, 0, ::3, ::3].reshape(-1).numpy()
    assert found.weights == pytest.approx(expected, abs=1e-4)


def test_grad_cam_needs_a_last_stage_with_places(tmp_path):
    subject = build(tmp_path, "deep")
    reason = open_explainer(subject, Context(instance="test")).check("guided_grad_cam")
    assert "one place" in reason.fill()


def test_the_picture_is_the_input(subject):
    explainer = open_explainer(subject, Context(instance="test"))
    (one,) = explainer.encode(subject.data.inputs[:1])
    assert (explainer.picture(one) == np.array(subject.data.inputs[0])).all()
