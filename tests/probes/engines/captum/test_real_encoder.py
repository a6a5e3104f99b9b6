"""A real encoder on real tweets: how many gradients adaptive integrated gradients take, and that the rule leaves it as it is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fine_tune.checkpoint import Checkpoint, locate
from fine_tune.data import AuditData, Roles
from fine_tune.errors import CheckpointError
from probes.checkpoint_subject import CheckpointSubject
from probes.engines.captum.explainer import open_explainer
from probes.engines.captum.methods.integrated_gradients import IntegratedGradients
from probes.probe import Context

FIXED = 50


@pytest.mark.slow
def test_gradients_spent_on_tweets(tmp_path):
    """Fewer than half of the usual fifty at 5 %, fewer than all of them at 1 %, and every text converges."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    data = os.environ.get("PLUMBLINE_DATA")
    tweets = Path(data or ".") / "tweeteval_hate" / "test_text.txt"
    if data is None or not tweets.is_file():
        pytest.skip("PLUMBLINE_DATA names no folder with tweeteval_hate/test_text.txt")
    try:
        base = locate("sentence-transformers/all-MiniLM-L6-v2")
    except CheckpointError as error:
        pytest.skip(f"the encoder is not installed: {error}")
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_pretrained(base, num_labels=2).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path)
    lines = tweets.read_text(encoding="utf-8").splitlines()
    texts = [lines[i] for i in np.random.default_rng(0).choice(len(lines), 12, replace=False)]
    subject = CheckpointSubject(Checkpoint.open(tmp_path), AuditData.from_columns({"text": texts}, Roles(input="text")))
    ctx = Context(instance="test", seed=7)
    explainer = open_explainer(subject, ctx)
    assert explainer.check("relevance") is None
    encoded = explainer.encode(texts)
    for tolerance, most in ((0.05, FIXED / 2), (0.01, FIXED)):
        found = explainer.attribute(encoded, [1] * 12, IntegratedGradients(tolerance=tolerance), ctx)
        assert all(one.converged for one in found)
        assert max(one.error for one in found) <= tolerance
        assert np.mean([one.evaluations for one in found]) < most
