"""Book-keeping on small nets: random ones against one row at a time, layers used twice, inputs changed in place, closing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fine_tune.errors import RecipeError
from fine_tune.privacy.bookkeeping import BookKeeping, uncovered
from fine_tune.privacy.clipping import ChangedInputsError
from fine_tune.privacy.reference import reference_sums

WIDTH, PLACES = 8, 4


class Turn(nn.Module):
    """Channels to the end, or back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class Net(nn.Module):
    """Words, positions that are looked up once for all rows, a class token, blocks, and a head."""

    def __init__(self, blocks: list[str]) -> None:
        super().__init__()
        self.words = nn.Embedding(11, WIDTH, padding_idx=0)
        self.places = nn.Embedding(PLACES, WIDTH)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.register_buffer("order", torch.arange(PLACES)[None], persistent=False)
        self.blocks = nn.ModuleList(BLOCKS[b]() for b in blocks)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.places(self.order)
        x = torch.cat([self.token.expand(len(ids), -1, -1), x], dim=1)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean(1))


BLOCKS: dict[str, Any] = {
    "linear": lambda: nn.Sequential(nn.Linear(WIDTH, 5), nn.GELU(), nn.Linear(5, WIDTH, bias=False)),
    "in place": lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(inplace=True), nn.Linear(WIDTH, WIDTH)),
    "layer norm": lambda: nn.LayerNorm(WIDTH),
    "layer norm, no bias": lambda: nn.LayerNorm(WIDTH, bias=False),
    "group norm": lambda: nn.Sequential(Turn(), nn.GroupNorm(2, WIDTH), Turn()),
    "convolution": lambda: nn.Sequential(Turn(), nn.Conv1d(WIDTH, WIDTH, 3, padding=1), Turn()),
    "depthwise": lambda: nn.Sequential(Turn(), nn.Conv1d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH), Turn()),
    "wide": lambda: nn.Sequential(nn.Linear(WIDTH, 64), nn.Tanh(), nn.Linear(64, WIDTH)),
    "rms norm": lambda: nn.RMSNorm(WIDTH),
}


def losses_of(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch["ids"]), batch["labels"], reduction="none")


def batch_of(rows: int) -> dict[str, Tensor]:
    return {"ids": torch.randint(0, 11, (rows, PLACES)), "labels": torch.randint(0, 3, (rows,))}


def rows_of(batch: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    return [{n: v[i : i + 1] for n, v in batch.items()} for i in range(len(batch["labels"]))]


@given(
    blocks=st.lists(st.sampled_from(sorted(BLOCKS)), max_size=4), rows=st.integers(1, 4), frozen=st.integers(0, 5),
    bound=st.sampled_from([1e-3, 0.3, 1.0, 1e3]), seed=st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=60)
def test_random_nets_agree_with_one_row_at_a_time_and_stay_within_the_bound(
    blocks: list[str], rows: int, frozen: int, bound: float, seed: int
) -> None:
    torch.manual_seed(seed)
    model = Net(blocks)
    for i, p in enumerate(model.parameters()):
        p.requires_grad = frozen == 0 or i % 5 != frozen - 1
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    batch = batch_of(rows)
    wanted, norms = reference_sums(trained, rows_of(batch), lambda b: losses_of(model, b), bound)
    clipper = BookKeeping(model, bound)
    seen = clipper.backward(losses_of(model, batch))
    sums = clipper.take()
    assert torch.allclose(seen, torch.tensor(norms), rtol=1e-4, atol=1e-6)
    scale = max(float(w.abs().max()) for w in wanted.values())
    assert all(torch.allclose(sums[n], w, rtol=1e-4, atol=1e-5 * scale) for n, w in wanted.items())
    for row in rows_of(batch):
        clipper.backward(losses_of(model, row))
        assert float(torch.sqrt(sum(s.double().square().sum() for s in clipper.take().values()))) <= bound * (1 + 1e-5)
    clipper.close()
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(trained)


def test_physical_batches_add_up_and_an_empty_batch_gives_zeros() -> None:
    torch.manual_seed(0)
    model, batch = Net(["linear", "layer norm"]), batch_of(6)
    clipper = BookKeeping(model, 0.5)
    empty = clipper.take()
    assert {n: t.shape for n, t in empty.items()} == {n: p.shape for n, p in model.named_parameters()}
    assert all(not bool(t.any()) and t.dtype == torch.float32 for t in empty.values())
    clipper.backward(losses_of(model, batch))
    whole = clipper.take()
    for part in ({n: v[:4] for n, v in batch.items()}, {n: v[4:] for n, v in batch.items()}):
        clipper.backward(losses_of(model, part))
    pieces = clipper.take()
    assert all(torch.allclose(whole[n], pieces[n], atol=1e-6) for n in whole)
    assert not any(bool(t.any()) for t in clipper.take().values())


def test_a_layer_that_is_used_twice_has_the_sum_over_its_uses() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.shared, self.head = nn.Embedding(11, 6), nn.Linear(6, 6), nn.Linear(6, 3)
            self.norm = nn.LayerNorm(6)

        def forward(self, ids: Tensor) -> Tensor:
            x = self.words(ids).mean(1) + self.words(ids.flip(1)[:, :2]).sum(1)
            return self.head(self.norm(self.shared(torch.tanh(self.norm(self.shared(x))))))

    torch.manual_seed(0)
    model, batch = Twice(), batch_of(4)
    wanted, norms = reference_sums(dict(model.named_parameters()), rows_of(batch), lambda b: losses_of(model, b), 0.4)
    clipper = BookKeeping(model, 0.4)
    assert clipper.backward(losses_of(model, batch)).tolist() == pytest.approx(norms, rel=1e-5)
    sums = clipper.take()
    assert all(torch.allclose(sums[n], w, atol=1e-6) for n, w in wanted.items())


def test_a_layer_that_is_left_out_of_a_pass_gets_zeros() -> None:
    class Skips(Net):
        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.words(ids).mean(1))

    torch.manual_seed(0)
    model, batch = Skips(["linear"]), batch_of(3)
    clipper = BookKeeping(model, 1.0)
    clipper.backward(losses_of(model, batch))
    sums = clipper.take()
    assert not sums["blocks.0.0.weight"].any() and not sums["token"].any() and sums["head.weight"].any()


class Changes(nn.Module):
    """Doubles what went into its first layer afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.first, self.head = nn.Embedding(11, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids).mean(1)
        y = self.first(x)
        x.mul_(2.0)
        return self.head(x + y)


def test_inputs_that_are_changed_in_place_are_refused_by_name_and_copied_from_then_on() -> None:
    torch.manual_seed(0)
    model, batch = Changes(), batch_of(4)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    clipper = BookKeeping(model, 0.4)
    with pytest.raises(ChangedInputsError, match="first was changed in place"):
        clipper.backward(losses_of(model, batch))
    assert not any(bool(t.any()) for t in clipper.take().values())
    norms = clipper.backward(losses_of(model, batch))
    sums = clipper.take()
    clipper.close()

    def kept(rows: dict[str, Tensor]) -> Tensor:
        x = model.words(rows["ids"]).mean(1)
        return F.cross_entropy(model.head(x * 2.0 + model.first(x)), rows["labels"], reduction="none")

    wanted, expected = reference_sums(dict(model.named_parameters()), rows_of(batch), kept, 0.4)
    assert norms.tolist() == pytest.approx(expected, rel=1e-5)
    assert all(torch.allclose(sums[n], w, atol=1e-6) for n, w in wanted.items())
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())


def _look_of(model: nn.Module) -> Any:
    """Flags, hooks, attributes and order of a model."""
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


@pytest.mark.parametrize("fails", [False, True])
def test_closing_leaves_the_model_as_it_was(fails: bool) -> None:
    torch.manual_seed(0)
    model, batch = Net(["linear", "convolution", "layer norm"]), batch_of(3)
    model.places.weight.requires_grad_(False)
    before = _look_of(model)
    clipper = BookKeeping(model, 0.4)
    if fails:
        handle = model.head.register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            losses_of(model, batch)
        assert isinstance(model.token, nn.Parameter) and "token" in dict(model.named_parameters())
        handle.remove()
        first = losses_of(model, batch)
        assert torch.allclose(clipper.backward(first), clipper.backward(losses_of(model, batch)))
    else:
        clipper.backward(losses_of(model, batch))
    losses_of(model, batch)
    clipper.close()
    assert _look_of(model) == before
    losses_of(model, batch).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_evaluation_between_passes_changes_nothing() -> None:
    torch.manual_seed(0)
    model, batch = Net(["linear"]), batch_of(3)
    clipper = BookKeeping(model, 0.4)
    losses = losses_of(model, batch)
    with torch.no_grad():
        assert torch.allclose(model(batch_of(7)["ids"]).new_zeros(1), torch.zeros(1))
    norms = clipper.backward(losses)
    assert torch.allclose(norms, clipper.backward(losses_of(model, batch)))


def test_losses_that_are_not_one_a_row_are_refused() -> None:
    model = Net([])
    clipper = BookKeeping(model, 0.4)
    with pytest.raises(RecipeError, match="losses of shape"):
        clipper.backward(losses_of(model, batch_of(3)).mean()[None])


def test_rows_that_a_layer_sees_otherwise_are_refused_by_name() -> None:
    class Splits(Net):
        def forward(self, ids: Tensor) -> Tensor:
            x = self.words(ids)
            return self.head(x.reshape(-1, WIDTH)).reshape(*ids.shape, 3).mean(1)

    model = Splits([])
    clipper = BookKeeping(model, 0.4)
    with pytest.raises(RecipeError, match=r"head saw 12 rows where the batch has 3"):
        clipper.backward(losses_of(model, batch_of(3)))


def test_what_is_not_covered_is_named_with_its_kind() -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

    model = nn.Sequential(nn.Linear(2, 2), Mine(), nn.LSTM(2, 2))
    assert uncovered(model)[:2] == ["1.scale (Mine)", "2.weight_ih_l0 (LSTM)"]
    with pytest.raises(RecipeError, match=r"1\.scale \(Mine\)"):
        BookKeeping(model, 1.0)
    assert all(p.requires_grad for p in model.parameters())
    for p in [*model[1].parameters(), *model[2].parameters()]:
        p.requires_grad_(False)
    assert uncovered(model) == []


@pytest.mark.parametrize("rows", [2, PLACES])
def test_positions_of_one_axis_are_told_apart_even_where_there_are_as_many_as_rows(rows: int) -> None:
    class Flat(Net):
        def forward(self, ids: Tensor) -> Tensor:
            return self.head(torch.tanh(self.words(ids) + self.places(self.order[0])).mean(1))

    torch.manual_seed(0)
    model, batch = Flat([]), batch_of(rows)
    wanted, _ = reference_sums(dict(model.named_parameters()), rows_of(batch), lambda b: losses_of(model, b), 0.1)
    clipper = BookKeeping(model, 0.1)
    clipper.backward(losses_of(model, batch))
    sums = clipper.take()
    assert all(torch.allclose(sums[n], w, atol=1e-6) for n, w in wanted.items())
