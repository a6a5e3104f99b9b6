"""Captum's metrics on units, against models on which their value is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from probes.engines.captum import metrics
from probes.engines.captum.engine import AdapterExplainer
from probes.engines.captum.explainer import Attribution, Encoded
from probes.engines.captum.text import TextAdapter
from probes.probe import Context

GAINS = np.array([1.5, -0.4, 0.0, 0.7, 0.2])


class AddsUp:
    """Two classes whose log-odds are the sum of what is left."""

    def scores(self, encoded, keeps, ctx=None):
        out = []
        for keep in keeps:
            yes = 1 / (1 + np.exp(-(keep @ GAINS)))
            out.append(np.column_stack([1 - yes, yes]))
        return out


def attribution(weights):
    return Attribution(weights=np.asarray(weights, dtype=float), target=1, error=None, evaluations=1, converged=None)


def test_infidelity_is_nought_for_weights_that_add_up_whatever_their_scale(here):
    one = Encoded(units=tuple("abcde"), spans=(), key="0")
    maps = {"true": [attribution(GAINS)], "scaled": [attribution(40 * GAINS)], "turned": [attribution(GAINS[::-1])]}
    found = metrics.infidelity(AddsUp(), [one], maps, here)
    assert found["true"][0] == pytest.approx(0.0, abs=1e-12)
    assert found["scaled"][0] == pytest.approx(0.0, abs=1e-12)
    assert found["turned"][0] > 0.1
    assert metrics.infidelity(AddsUp(), [one], maps, Context(instance="test", seed=7)) == found


def test_infidelity_by_a_loop(here):
    one = Encoded(units=tuple("abcde"), spans=(), key="0")
    weights = np.array([0.3, 0.1, -0.2, 0.5, 0.9])
    (found,) = metrics.infidelity(AddsUp(), [one], {"m": [attribution(weights)]}, here)["m"]
    kept = here.rng("infidelity/0").random((metrics.SAMPLES, 5)) < 0.5
    said, lost = (~kept) @ weights, (~kept) @ GAINS
    scale = (said @ lost) / (said @ said)
    assert found == pytest.approx(np.mean((scale * said - lost) ** 2))


def test_a_gradient_that_is_the_same_everywhere_does_not_move(tiny_subject, here):
    linear = AdapterExplainer(
        TextAdapter.of(two_class_bag(tiny_subject.reader("cpu").processor), ("no", "yes")), digest="2"
    )
    encoded = linear.encode(["the movie was good"])
    assert metrics.sensitivity_max(linear, encoded, [1], "saliency", here) == pytest.approx([0.0], abs=1e-6)
    # Input times gradient follows the input itself, so it moves by about as much as the input does.
    (moved,) = metrics.sensitivity_max(linear, encoded, [1], "input_x_gradient", here)
    assert 0 < moved < 0.2


def two_class_bag(tokenizer):
    """Logits are a sum over embeddings times a matrix, so the log-odds of two classes are linear."""
    import torch

    class Bag(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(3)
            self.words = torch.nn.Embedding(len(tokenizer), 8)
            self.head = torch.nn.Linear(8, 2, bias=False)

        def get_input_embeddings(self):
            return self.words

        def forward(self, input_ids, attention_mask, token_type_ids):
            return SimpleNamespace(logits=self.head((self.words(input_ids) * attention_mask[:, :, None]).sum(1)))

    return SimpleNamespace(model=Bag(), processor=tokenizer, max_length=32, device="cpu")


def test_sensitivity_is_journalled(explainer, here):
    encoded = explainer.encode(["a really awful film", "good"])
    first = metrics.sensitivity_max(explainer, encoded, [0, 1], "saliency", here)
    assert all(value >= 0 for value in first)
    assert metrics.sensitivity_max(explainer, encoded, [0, 1], "saliency", here) == first
    with pytest.raises(TypeError):
        metrics.sensitivity_max(SimpleNamespace(), encoded, [0, 1], "saliency", here)
