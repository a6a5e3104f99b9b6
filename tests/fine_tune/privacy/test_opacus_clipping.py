"""Opacus' two ways: small nets against one row at a time, passes that break off, layers left out, refusals, closing."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fine_tune.errors import RecipeError
from fine_tune.privacy.clipping import make_clipper
from fine_tune.privacy.opacus_clipping import GhostClipper, HookClipper
from fine_tune.privacy.reference import reference_sums

WAYS = [HookClipper, GhostClipper]


class Scale(nn.Module):
    """A layer that nobody has a rule for."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(9, 6), nn.Embedding(5, 6)
        self.norm, self.middle, self.scale, self.head = nn.LayerNorm(6), nn.Linear(6, 6), Scale(6), nn.Linear(6, 3)
        self.skips = False

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.words(ids) + self.places(torch.arange(ids.shape[1])))
        x = x if self.skips else x + self.scale(self.middle(x))
        return self.head(x.mean(1))


def losses_of(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch["ids"]), batch["labels"], reduction="none")


def made() -> tuple[Net, dict[str, Tensor], list[dict[str, Tensor]]]:
    torch.manual_seed(0)
    batch = {"ids": torch.randint(0, 9, (4, 5)), "labels": torch.tensor([0, 1, 2, 0])}
    return Net(), batch, [{n: v[i : i + 1] for n, v in batch.items()} for i in range(4)]


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_small_nets_agree_even_where_a_pass_leaves_layers_out(way: Any, skips: bool) -> None:
    model, batch, rows = made()
    model.skips = skips
    wanted, norms = reference_sums(dict(model.named_parameters()), rows, lambda b: losses_of(model, b), 0.3)
    clipper = way(model, 0.3)
    for _ in range(2):
        assert clipper.backward(losses_of(model, batch)).tolist() == pytest.approx(norms, rel=1e-5)
        sums = clipper.take()
        assert all(torch.allclose(sums[n], w, atol=1e-6) for n, w in wanted.items())
    assert not any(bool(t.any()) for t in clipper.take().values())


@pytest.mark.parametrize("way", WAYS)
def test_a_pass_that_breaks_off_spoils_no_later_one(way: Any) -> None:
    model, batch, _ = made()
    clipper = way(model, 0.3)
    clipper.backward(losses_of(model, batch))
    wanted = clipper.take()
    handle = model.head.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        losses_of(model, batch)
    handle.remove()
    losses_of(model, {n: v[:2] for n, v in batch.items()})
    clipper.backward(losses_of(model, batch))
    sums = clipper.take()
    assert all(torch.allclose(sums[n], w, atol=1e-7) for n, w in wanted.items())


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_closing_leaves_the_model_as_it_was(way: Any, fails: bool) -> None:
    def look() -> Any:
        return (
            [(n, id(p), p.requires_grad, p.grad is None, sorted(p.__dict__)) for n, p in model.named_parameters()],
            [
                (
                    n,
                    m.training,
                    sorted(m.__dict__),
                    len(m._forward_hooks),
                    len(m._forward_pre_hooks),
                    len(m._backward_hooks),
                )
                for n, m in model.named_modules()
            ],
        )

    model, batch, _ = made()
    model.places.weight.requires_grad_(False)
    before, level = look(), logging.getLogger("opacus").level
    clipper = way(model, 0.3)
    if fails:
        handle = model.head.register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            losses_of(model, batch)
        handle.remove()
    else:
        clipper.backward(losses_of(model, batch))
    clipper.close()
    assert look() == before and logging.getLogger("opacus").level == level


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_a_layer_that_opacus_cannot_take_is_refused_by_name(mode: Any) -> None:
    class Counts(Scale):
        def __init__(self) -> None:
            super().__init__(6)
            self.register_buffer("seen", torch.zeros(()))

    model, _, _ = made()
    model.scale = Counts()
    with pytest.raises(RecipeError, match=r"scale \(Counts\)"):
        make_clipper(model, 1.0, mode)
    assert not any(hasattr(p, "grad_sample") for p in model.parameters())


def test_a_layer_that_is_used_twice_is_refused_by_ghost_and_right_with_hooks() -> None:
    class Twice(Net):
        def forward(self, ids: Tensor) -> Tensor:
            x = self.middle(self.words(ids))
            return self.head(self.middle(torch.tanh(x)).mean(1))

    _, batch, rows = made()
    model = Twice()
    trained = {n: p for n, p in model.named_parameters() if n.split(".")[0] in ("words", "middle", "head")}
    for n, p in model.named_parameters():
        p.requires_grad = n in trained
    wanted, _ = reference_sums(trained, rows, lambda b: losses_of(model, b), 0.3)
    clipper = HookClipper(model, 0.3)
    clipper.backward(losses_of(model, batch))
    sums = clipper.take()
    clipper.close()
    assert all(torch.allclose(sums[n], w, atol=1e-6) for n, w in wanted.items())
    ghost = GhostClipper(model, 0.3)
    with pytest.raises(NotImplementedError, match="tying"):
        losses_of(model, batch)
    ghost.close()


def test_the_wrong_number_of_losses_is_refused() -> None:
    model, batch, _ = made()
    clipper = HookClipper(model, 0.3)
    with pytest.raises(RecipeError, match="losses of shape"):
        clipper.backward(losses_of(model, batch)[:2])


def test_lower_precision_is_refused_by_ghost_and_within_the_bound_with_hooks() -> None:
    model, batch, rows = made()

    def losses(some: dict[str, Tensor]) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(some["ids"])
        return F.cross_entropy(logits.float(), some["labels"], reduction="none")

    hooks = HookClipper(model, 0.01)
    for row in rows:
        assert float(hooks.backward(losses(row))) > 0.01
        squares = [t.double().square().sum() for t in hooks.take().values()]
        assert float(torch.stack(squares).sum().sqrt()) <= 0.01 * (1 + 1e-6)
    hooks.close()
    ghost = GhostClipper(model, 0.01)
    with pytest.raises(RecipeError, match="lower precision"):
        losses(batch)
    ghost.close()
    with pytest.raises(RecipeError, match="bfloat16"):
        GhostClipper(model.to(torch.bfloat16), 0.01)
