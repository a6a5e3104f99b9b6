"""The methods against what is known by hand, against Captum's own, and against each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest

from probes.engines.captum.adapter import log_odds
from probes.engines.captum.detached import constant_gates
from probes.engines.captum.engine import AdapterExplainer
from probes.engines.captum.forward import captum_forward
from probes.engines.captum.methods import default_methods, methods
from probes.engines.captum.methods.integrated_gradients import IntegratedGradients
from probes.engines.captum.methods.shapley_sampling import ShapleySampling
from probes.engines.captum.text import TextAdapter
from probes.errors import ProbeError, Unavailable

from .conftest import TEXTS, bag_reader

EXACT = ("integrated_gradients", "shapley_sampling", "occlusion", "gradient_shap", "deep_lift", "input_x_gradient")


def test_the_list():
    assert set(EXACT) | {"saliency", "relevance", "guided_grad_cam", "random"} == set(methods())
    assert set(default_methods()) == {"relevance", "integrated_gradients", "input_x_gradient"}
    for name, method in methods().items():
        assert method.name == name
        assert method.title.fill()


@pytest.fixture(scope="module")
def linear(tiny_subject):
    """A bag of embeddings with two classes: its log-odds are linear in the words."""
    reader = bag_reader(tiny_subject.reader("cpu").processor, classes=2)
    return AdapterExplainer(TextAdapter.of(reader, ("no", "yes")), digest="linear"), reader


@pytest.mark.parametrize("name", EXACT)
def test_on_a_linear_model_weights_are_weight_times_input(linear, here, name):
    """f(x) = sum over words of e(word) . (w1 - w0), and absent words are 0: so each word has its own term."""
    explainer, reader = linear
    head = reader.model.head.weight.detach().double()
    direction = (head[1] - head[0]).numpy()
    encoded = explainer.encode(list(TEXTS))
    method = methods()[name]
    if name == "gradient_shap":
        method = replace(method, noise=0.0)
    for one, found in zip(encoded, explainer.attribute(encoded, [1] * len(encoded), method, here), strict=True):
        ids = [reader.processor.convert_tokens_to_ids(reader.processor.tokenize(unit)) for unit in one.units]
        table = reader.model.words.weight.detach().double().numpy()
        by_hand = [float(table[i].sum(0) @ direction) for i in ids]
        assert found.weights == pytest.approx(by_hand, abs=1e-5)
        if method.promises:
            assert found.error < 1e-5
    if name == "integrated_gradients":
        assert found.converged
        assert found.evaluations == 5


def test_captums_trapezoid_is_biased_and_ours_is_not(linear, here):
    from captum.attr import IntegratedGradients as Captum

    explainer, _ = linear
    encoded = explainer.encode(list(TEXTS[:1]))
    points = explainer.adapter.points(encoded)
    forward, extra = captum_forward(explainer.adapter, points, [1])
    ours = explainer.attribute(encoded, [1], "integrated_gradients", here)[0].weights.sum()
    for steps in (5, 50):
        theirs = Captum(forward).attribute(
            points.start, points.absent, additional_forward_args=extra, n_steps=steps, method="riemann_trapezoid"
        )
        assert float(theirs.sum()) == pytest.approx((steps - 1) / steps * ours, rel=1e-4)


def test_integrated_gradients_against_two_thousand_steps_of_captum(explainer, here):
    from captum.attr import IntegratedGradients as Captum

    encoded = explainer.encode(list(TEXTS[:2]))
    targets = [0, 1]
    ours = explainer.attribute(encoded, targets, IntegratedGradients(tolerance=1e-3, most=600), here)
    rough = explainer.attribute(encoded, targets, "integrated_gradients", here)
    for one, target, fine, quick in zip(encoded, targets, ours, rough, strict=True):
        points = explainer.adapter.points([one])
        forward, extra = captum_forward(explainer.adapter, points, [target])
        theirs = Captum(forward).attribute(
            points.start, points.absent, additional_forward_args=extra, n_steps=2000, internal_batch_size=200
        )
        by_token = theirs[0].sum(-1).double().numpy()
        owner = np.array(one.body.owner)
        expected = np.array([by_token[owner == u].sum() for u in range(len(one.units))])
        size = np.abs(expected).sum()
        assert np.abs(fine.weights - expected).sum() <= 0.01 * size
        assert np.abs(quick.weights - expected).sum() <= 0.25 * size
        assert quick.converged
        assert quick.error <= 0.05
        assert quick.evaluations <= fine.evaluations


def test_a_tolerance_out_of_reach_is_said(explainer, here):
    encoded = explainer.encode([TEXTS[2]])
    (found,) = explainer.attribute(encoded, [0], IntegratedGradients(tolerance=1e-12, most=20), here)
    assert found.converged is False
    assert found.error > 1e-12
    assert found.evaluations >= 20


def test_occlusion_against_captum(explainer, here):
    from captum.attr import FeatureAblation

    (one,) = explainer.encode([TEXTS[1]])
    points = explainer.adapter.points([one])
    forward, extra = captum_forward(explainer.adapter, points, [1])
    mask = points.owner.clamp(min=-1) + 1
    theirs = FeatureAblation(forward).attribute(
        points.start, points.absent, additional_forward_args=extra, feature_mask=mask.expand(points.start.shape)
    )
    expected = [float(theirs[0][list(one.body.owner).index(u), 0]) for u in range(len(one.units))]
    (found,) = explainer.attribute([one], [1], "occlusion", here)
    assert found.weights == pytest.approx(expected, abs=1e-4)


def test_shapley_sampling_tends_to_the_shapley_values(explainer, here):
    (one,) = explainer.encode(["the movie was good"])
    units = len(one.units)

    def value(keep):
        scores = explainer.scores([one], [np.array([keep])])[0][0]
        return float(np.log(scores[1] / scores[0]))

    known = {bits: value([bool(bits >> u & 1) for u in range(units)]) for bits in range(2**units)}
    exact = np.zeros(units)
    orders = list(permutations(range(units)))
    for order in orders:
        bits = 0
        for u in order:
            exact[u] += (known[bits | 1 << u] - known[bits]) / len(orders)
            bits |= 1 << u
    (found,) = explainer.attribute([one], [1], ShapleySampling(pairs=400), here)
    assert found.weights == pytest.approx(exact, abs=0.05 * np.abs(exact).max() + 0.02)
    assert found.weights.sum() == pytest.approx(exact.sum(), abs=1e-5)
    assert found.error < 1e-5


def test_the_rule_keeps_values_and_hands_everything_down():
    """A net of attention, layer norm and gates without a bias: under the rule gradient times input is the score."""
    import torch
    from torch.nn import functional as f

    torch.manual_seed(0)
    maps = [torch.randn(8, 8) for _ in range(5)]

    def net(x):
        h = f.layer_norm(x, (8,))
        q, k, v = (h @ m for m in maps[:3])
        h = h + f.scaled_dot_product_attention(q, k, v)
        h = f.layer_norm(h, (8,))
        return torch.tanh(f.gelu(h @ maps[3]) @ maps[4]).sum(-1)[:, 0]

    x = torch.randn(2, 5, 8)
    model = torch.nn.Identity()

    def total(score, at):
        (gradient,) = torch.autograd.grad(score.sum(), at)
        return (gradient * at).sum((1, 2)).detach()

    at = x.clone().requires_grad_()
    plain = net(at)
    with constant_gates(model) as met:
        ruled = net(at)
    assert (met.attentions, met.norms, met.gates) == (1, 2, 2)
    assert torch.allclose(plain, ruled, atol=1e-5)
    # Layer norm's epsilon is the one thing that takes a little.
    assert torch.allclose(total(ruled, at), plain.detach(), atol=1e-3)
    assert not torch.allclose(total(plain, at), plain.detach(), atol=0.1)


def test_fused_attention_is_answered_as_torch_does(torch_masks=("none", "bool", "float", "causal", "grouped")):
    import torch
    from torch.nn import functional as f

    torch.manual_seed(1)
    q, k, v = torch.randn(2, 4, 5, 8), torch.randn(2, 4, 5, 8), torch.randn(2, 4, 5, 8)
    keep = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    keep[1, :, :, 3:] = False
    cases = {
        "none": {},
        "bool": {"attn_mask": keep},
        "float": {"attn_mask": torch.where(keep, 0.0, -1e9)},
        "causal": {"is_causal": True, "scale": 0.3},
    }
    for name in torch_masks:
        if name == "grouped":
            a, b, options = k[:, :2], v[:, :2], {"enable_gqa": True}
        else:
            a, b, options = k, v, cases[name]
        expected = f.scaled_dot_product_attention(q, a, b, **options)
        with constant_gates(torch.nn.Identity()):
            found = f.scaled_dot_product_attention(q, a, b, **options)
        assert torch.allclose(found, expected, atol=1e-5), name


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DistilBert", "Albert", "Electra", "GPT2"])
def test_relevance_is_offered_for_common_encoders_whatever_their_attention(tiny_subject, here, kind):
    found = []
    for implementation in ("eager", "sdpa"):
        explainer = _tiny(kind, implementation, tiny_subject.reader("cpu").processor)
        if explainer is None:
            continue
        assert explainer.check("relevance") is None
        encoded = explainer.encode(list(TEXTS[:2]))
        found.append([one.weights for one in explainer.attribute(encoded, [1, 0], "relevance", here)])
        assert all(np.abs(w).max() > 0 for w in found[-1])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert a == pytest.approx(b, abs=1e-4, rel=1e-3)
    assert found


def _tiny(kind, implementation, tokenizer):
    import copy

    import torch
    import transformers

    names = {
        "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
        "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    }
    common = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    options = names.get(kind, common) | ({"embedding_size": 8} if kind in {"Albert", "Electra"} else {})
    options |= {"max_position_embeddings": 64, "vocab_size": len(tokenizer), "pad_token_id": 0}
    config = getattr(transformers, f"{kind}Config")(**options)
    config.initializer_range = 0.5
    torch.manual_seed(0)
    try:
        model = getattr(transformers, f"{kind}ForSequenceClassification")._from_config(
            config, attn_implementation=implementation
        )
    except ValueError:
        return None
    tokenizer = copy.deepcopy(tokenizer)
    if kind in {"DistilBert", "GPT2"}:
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    reader = SimpleNamespace(model=model.eval(), processor=tokenizer, max_length=32, device="cpu")
    return AdapterExplainer(TextAdapter.of(reader, ("no", "yes")), digest=kind + implementation)


def test_relevance_is_not_offered_where_it_would_be_gradient_times_input(bag, here):
    reason = bag.check("relevance")
    assert reason is not None
    assert "0 attention weights" in reason.fill()
    with pytest.raises(Unavailable, match="relevance"):
        bag.attribute(bag.encode([TEXTS[0]]), [0], "relevance", here)


def test_relevance_is_not_offered_where_it_changes_the_scores(explainer, here, monkeypatch):
    from probes.engines.captum import detached

    right = detached._layer_norm
    monkeypatch.setattr(detached, "_layer_norm", lambda *a, **k: right(*a, **k) * 1.1)
    fresh = AdapterExplainer(explainer.adapter, digest="x")
    assert "changes its scores" in fresh.check("relevance").fill()


def test_random_weights_differ_by_input_and_not_by_company(explainer, here):
    encoded = explainer.encode(list(TEXTS))
    together = explainer.attribute(encoded, [0] * 5, "random", here)
    alone = explainer.attribute(encoded[2:3], [0], "random", here)
    assert together[2].weights.tolist() == alone[0].weights.tolist()
    assert together[2].weights[:4].tolist() != together[0].weights[:4].tolist()


def test_saliency_has_no_signs(explainer, here):
    (found,) = explainer.attribute(explainer.encode([TEXTS[1]]), [0], "saliency", here)
    assert (found.weights > 0).all()


def test_images_alone_have_grad_cam(explainer):
    assert explainer.check("guided_grad_cam").fill() == "it is for images"


def test_an_unknown_method_is_named(explainer, here):
    with pytest.raises(ProbeError, match="integrated_gradients"):
        explainer.attribute([], [], "lime", here)


def test_log_odds_by_hand():
    import torch

    logits = torch.tensor([[1.0, 2.0], [3.0, 0.5]])
    assert log_odds(logits, torch.tensor([1, 1])).tolist() == pytest.approx([1.0, -2.5])
    three = torch.log(torch.tensor([[0.2, 0.3, 0.5]]))
    assert float(log_odds(three, torch.tensor([2]))) == pytest.approx(0.0, abs=1e-6)
