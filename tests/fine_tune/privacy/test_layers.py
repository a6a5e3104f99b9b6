"""Norms and sums of single layers against gradients taken one row at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from fine_tune.privacy.convolutions import convolved, unfolded
from fine_tune.privacy.kept import Grams, Lookup, Product, Written, is_small
from fine_tune.privacy.layers import Trace, rule_for
from fine_tune.privacy.normalisation import keep_still


class T5LayerNorm(nn.Module):
    """As in T5: a root mean square, a scale, no shift."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = nn.Parameter(torch.randn(width)), 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon)


def _held() -> nn.Module:
    layer = nn.BatchNorm2d(4)
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2)
    layer.register_forward_pre_hook(keep_still)
    return layer


def _weight_normed(axis: int) -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 6, 3, padding=1, groups=2), dim=axis)


LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(4, 6), (5, 4)),
    "linear, one place": (lambda: nn.Linear(4, 6), (4,)),
    "linear, short": (lambda: nn.Linear(40, 60), (2, 40)),
    "linear, no bias": (lambda: nn.Linear(4, 6, bias=False), (2, 3, 4)),
    "turned linear": (lambda: Conv1D(6, 4), (5, 4)),
    "layer norm": (lambda: nn.LayerNorm(4), (5, 4)),
    "layer norm, no bias": (lambda: nn.LayerNorm(4, bias=False), (5, 4)),
    "layer norm, two axes": (lambda: nn.LayerNorm((5, 4)), (3, 5, 4)),
    "rms norm": (lambda: nn.RMSNorm(4), (5, 4)),
    "rms norm of T5": (lambda: T5LayerNorm(4), (5, 4)),
    "group norm": (lambda: nn.GroupNorm(2, 4), (4, 3, 3)),
    "held batch norm": (_held, (4, 3, 3)),
    "convolution": (lambda: nn.Conv2d(4, 6, 3, padding=1), (4, 5, 5)),
    "convolution in patches": (lambda: nn.Conv2d(4, 60, 4, stride=4), (4, 8, 8)),
    "convolution in few places": (lambda: nn.Conv2d(6, 40, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (6, 5, 4)),
    "convolution, same": (lambda: nn.Conv1d(4, 40, 4, padding="same", dilation=2), (4, 3)),
    "convolution, valid": (lambda: nn.Conv1d(4, 6, 3, padding="valid"), (4, 9)),
    "convolution, depthwise": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4), (4, 5, 5)),
    "convolution, 3": (lambda: nn.Conv3d(2, 3, 2), (2, 3, 4, 3)),
    "weight norm over outputs": (lambda: _weight_normed(0), (4, 7)),
    "weight norm over the kernel": (lambda: _weight_normed(2), (4, 7)),
}  # fmt: skip


def _by_row(layer: nn.Module, inputs: Tensor, grads: Tensor, names: list[str]) -> dict[str, Tensor]:
    """Gradients a row by autograd, one row at a time."""
    parameters = dict(layer.named_parameters())
    made: dict[str, list[Tensor]] = {n: [] for n in names}
    for row in range(len(inputs)):
        layer.zero_grad()
        layer(inputs[row : row + 1]).backward(grads[row : row + 1])
        for n in names:
            found = parameters[n].grad
            assert found is not None
            made[n].append(found.clone())
    return {n: torch.stack(g) for n, g in made.items()}


def _check(layer: nn.Module, several: list[tuple[Tensor, Tensor]], names: list[str]) -> None:
    rule = rule_for(layer, names)
    assert rule is not None
    kept = rule(layer, [Trace(inputs=a, grads=g) for a, g in several], frozenset(names))
    wanted: dict[str, Tensor] = {}
    for a, g in several:
        for n, rows in _by_row(layer, a, g, names).items():
            wanted[n] = wanted[n] + rows if n in wanted else rows
    squares = torch.stack([w.flatten(1).square().sum(1) for w in wanted.values()]).sum(0)
    assert torch.allclose(kept.squares(Grams()), squares, rtol=1e-4)
    factors = torch.linspace(0.2, 1.0, len(several[0][0]))
    for n, total in kept.scaled(factors).items():
        expected = torch.einsum("b,b...->...", factors, wanted.pop(n))
        assert torch.allclose(total.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5), n
    assert not wanted


@pytest.mark.parametrize("uses", [1, 2])
@pytest.mark.parametrize("kind", sorted(LAYERS))
def test_a_layer_agrees_with_one_row_at_a_time(kind: str, uses: int) -> None:
    torch.manual_seed(0)
    make, shape = LAYERS[kind]
    layer = make()
    several = []
    for _ in range(uses):
        inputs = torch.randn(3, *shape)
        several.append((inputs, torch.randn_like(layer(inputs))))
    names = [n for n, _ in layer.named_parameters()]
    _check(layer, several, names)
    for name in names:
        _check(layer, several, [name])


def test_a_product_by_hand() -> None:
    a = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])
    g = torch.tensor([[[1.0], [-1.0]]])
    # 1 * (1, 2) - 1 * (3, 0) = (-2, 2), and a bias of 1 - 1 = 0.
    kept = Product(a=a, g=g, weight=True, bias=True)
    assert float(kept.squares(Grams())) == pytest.approx(8.0)
    sums = kept.scaled(torch.tensor([0.5]))
    assert sums["weight"].tolist() == [[-1.0, 1.0]] and sums["bias"].tolist() == [0.0]


def test_a_lookup_by_hand() -> None:
    ids, g = torch.tensor([[2, 2, 0]]), torch.tensor([[[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]]])
    kept = Lookup(ids=ids, g=g, size=3)
    assert float(kept.squares(Grams())) == pytest.approx(9 + 9)
    assert kept.scaled(torch.tensor([1.0]))["weight"].tolist() == [[0, 3], [0, 0], [3, 0]]


def test_a_written_gradient_by_hand() -> None:
    kept = Written(rows={"scale": torch.tensor([[3.0, 4.0], [0.0, 2.0]])})
    assert kept.squares(Grams()).tolist() == [25.0, 4.0]
    assert kept.scaled(torch.tensor([0.2, 0.5]))["scale"].tolist() == pytest.approx([0.6, 1.8])


def test_padding_moves_no_embedding() -> None:
    layer = nn.Embedding(5, 3, padding_idx=1)
    ids, grads = torch.tensor([[1, 4, 4], [0, 1, 1]]), torch.randn(2, 3, 3)
    _check(layer, [(ids, grads)], ["weight"])
    rule = rule_for(layer, ["weight"])
    assert rule is not None
    made = rule(layer, [Trace(inputs=ids, grads=grads)], frozenset({"weight"})).scaled(torch.ones(2))["weight"]
    assert made[1].abs().max() == 0 and made[4].abs().max() > 0


def test_what_cancels_between_places_is_never_taken_for_less_than_it_is() -> None:
    """A key's gradients sum to nearly nothing over places; the norm from inner products is then mostly rounding."""
    torch.manual_seed(0)
    for size in (1e-3, 1e-4, 1e-5, 0.0):
        a = 10 + size * torch.randn(4, 6, 64)
        g = torch.randn(4, 6, 64)
        g -= g.mean(1, keepdim=True)
        true = torch.bmm(g.double().transpose(1, 2), a.double()).square().sum((1, 2))
        assert is_small(6, 64, 64)
        seen = Product(a=a, g=g, weight=True, bias=False).squares(Grams()).double()
        assert bool((seen >= true * (1 - 1e-3)).all())


@pytest.mark.parametrize("live", [[], [0], [1, 4], [0, 1, 2, 3, 4]])
def test_places_without_a_gradient_are_dropped_and_change_nothing(live: list[int]) -> None:
    torch.manual_seed(0)
    layer, inputs, grads = nn.Linear(3, 2), torch.randn(4, 5, 3), torch.zeros(4, 5, 2)
    # One row alone has a gradient at a place, and there in its second entry alone.
    grads[2, live, 1] = torch.randn(len(live))
    rule = rule_for(layer, ["weight", "bias"])
    assert rule is not None
    kept = rule(layer, [Trace(inputs=inputs, grads=grads)], frozenset({"weight", "bias"}))
    assert isinstance(kept, Product) and kept.a.shape[1] == {0: 1, 1: 1, 2: 2, 5: 5}[len(live)]
    _check(layer, [(inputs, grads)], ["weight", "bias"])


def test_equal_inputs_are_multiplied_once() -> None:
    grams, a = Grams(), torch.randn(2, 3, 4)
    assert grams.of(a) is grams.of(a.detach())
    assert grams.of(a) is not grams.of(a.clone())
    assert grams.of(a[:1]).shape == (1, 3, 3)


def test_layers_that_are_not_known() -> None:
    class Mine(nn.Linear):
        pass

    for layer in (
        Mine(2, 2), nn.Embedding(3, 2, max_norm=1.0), nn.Embedding(3, 2, sparse=True), nn.BatchNorm1d(3),
        nn.Conv1d(2, 2, 3, padding_mode="circular"), nn.LSTM(2, 2), nn.Bilinear(2, 2, 2), nn.MultiheadAttention(2, 1),
        nn.ConvTranspose1d(2, 2, 2), nn.PReLU(),
    ):  # fmt: skip
        assert rule_for(layer, [n for n, _ in layer.named_parameters(recurse=False)]) is None, layer
    assert rule_for(nn.Linear(2, 2), ["weight", "extra"]) is None
    normed = nn.utils.parametrizations.spectral_norm(nn.Conv1d(2, 2, 3))
    assert rule_for(normed, ["bias", "parametrizations.weight.original"]) is None


@given(
    rows=st.integers(1, 3), channels=st.integers(1, 3), outward=st.integers(1, 4), length=st.integers(4, 9),
    kernel=st.integers(1, 4), stride=st.integers(1, 3), padding=st.integers(0, 2), dilation=st.integers(1, 2),
    seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=40)
def test_patches_and_grouped_convolutions_give_the_same_gradients(
    rows: int,
    channels: int,
    outward: int,
    length: int,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    seed: int,
) -> None:
    if length + 2 * padding < dilation * (kernel - 1) + 1:
        return
    torch.manual_seed(seed)
    layer = nn.Conv1d(channels, outward, kernel, stride=stride, padding=padding, dilation=dilation)
    inputs = torch.randn(rows, channels, length)
    grads = torch.randn_like(layer(inputs))
    wanted = _by_row(layer, inputs, grads, ["weight"])["weight"]
    assert torch.allclose(convolved(layer, inputs, grads), wanted, atol=1e-5)
    product = torch.bmm(grads, unfolded(layer, inputs))
    assert torch.allclose(product.reshape(wanted.shape), wanted, atol=1e-5)
