"""The self-test passes what is right, and names what is wrong: sabotaged clippers, weights left out, rows that meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fine_tune.errors import RecipeError
from fine_tune.privacy.bookkeeping import BookKeeping
from fine_tune.privacy.clipping import Clipper, make_clipper
from fine_tune.privacy.meeting import module_where_rows_meet
from fine_tune.privacy.reference import reference_sums
from fine_tune.privacy.selftest import self_test

BOUND = 0.5


class Centred(nn.Module):
    """Takes the mean of the batch away, so that each row depends on all."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


class Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by


class Counting(nn.Module):
    """Keeps a mean of what it sees, as normalisations do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 0.1 * x.detach().mean(0)
        return x


def net(*extra: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(5, 6), *extra, nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 3)
    )


def examples() -> list[dict[str, Any]]:
    torch.manual_seed(1)
    return [{"x": torch.randn(5), "labels": i % 3} for i in range(4)]


ROWS = examples()


def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    return {"x": torch.stack([r["x"] for r in rows]), "labels": torch.tensor([r["labels"] for r in rows])}


def check(model: nn.Module, make: Callable[[], Clipper] | None = None) -> Clipper:
    def losses(batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch["x"]), batch["labels"], reduction="none")

    return self_test(model, make or (lambda: make_clipper(model, BOUND)), collate, ROWS, losses, bound=BOUND)


@pytest.mark.parametrize("mode", ["bookkeeping", "hooks", "ghost"])
def test_a_right_clipper_is_handed_over_with_model_and_generator_as_they_were(mode: Any) -> None:
    model = net().train()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    state = torch.get_rng_state()
    clipper = check(model, lambda: make_clipper(model, BOUND, mode))
    assert torch.equal(state, torch.get_rng_state())
    assert clipper.bound == BOUND and all(m.training for m in model.modules())
    assert not any(bool(t.any()) for t in clipper.take().values())
    clipper.close()
    assert all(torch.equal(before[n], p) and p.requires_grad for n, p in model.named_parameters())


def test_the_reference_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([0.0, 0.0]))
    sums, norms = reference_sums(
        {"w": weight},
        [{"x": torch.tensor([[3.0, 4.0]])}, {"x": torch.tensor([[0.0, 1.0]])}],
        lambda b: b["x"] @ weight,
        2.0,
    )
    assert norms == [5.0, 1.0]
    assert sums["w"].tolist() == pytest.approx([1.2, 2.6], rel=1e-5)


class Sabotaged(BookKeeping):
    """Right, but for one thing."""

    wrong = ""

    def backward(self, losses: Tensor) -> Tensor:
        norms = super().backward(losses)
        if self.wrong == "unclipped":
            for total in self._sums.values():
                total.mul_(1.001)
        if self.wrong == "norms":
            norms = norms * 1.01
        return norms

    def take(self) -> dict[str, Tensor]:
        sums = super().take()
        if self.wrong == "zero":
            sums["3.weight"].zero_()
        if self.wrong == "one entry":
            sums["3.weight"][1, 2] += 1e-3
        if self.wrong == "missing":
            del sums["3.bias"]
        return sums


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("unclipped", r"differs from one-at-a-time clipping .*Linear, bookkeeping"), ("norms", "took it for"),
        ("zero", r"3\.weight is missing"), ("one entry", r"3\.weight differs"), ("missing", r"3\.bias"),
    ],
)  # fmt: skip
def test_a_wrong_clipper_is_caught_and_closed(wrong: str, said: str) -> None:
    model = net()

    def make() -> Clipper:
        clipper = Sabotaged(model, BOUND)
        clipper.wrong = wrong
        return clipper

    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    with pytest.raises(RecipeError, match=said):
        check(model, make)
    assert all(p.requires_grad and torch.equal(before[n], p) for n, p in model.named_parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_a_weight_that_the_clipper_does_not_hold_is_named() -> None:
    model = net()

    def make() -> Clipper:
        model[3].weight.requires_grad_(False)
        clipper = BookKeeping(model, BOUND)
        model[3].weight.requires_grad_(True)
        return clipper

    with pytest.raises(RecipeError, match=r"3\.weight is in one of the sets alone"):
        check(model, make)


def test_what_zero_weights_hide_is_seen_after_they_are_moved() -> None:
    """The first factor of LoRA has no gradient while the second is zero, so that a wrong sum of it would pass."""
    model = net()
    nn.init.zeros_(model[3].weight)

    class HidesFirst(BookKeeping):
        def take(self) -> dict[str, Tensor]:
            sums = super().take()
            sums["0.weight"].zero_()
            return sums

    with pytest.raises(RecipeError, match=r"0\.weight is missing"):
        check(model, lambda: HidesFirst(model, BOUND))
    assert not model[3].weight.any()


def test_a_layer_of_its_own_kind_is_refused_by_book_keeping_and_covered_by_hooks() -> None:
    model = net(Scale(6))
    with pytest.raises(RecipeError, match=r"1\.by \(Scale\)"):
        check(model, lambda: make_clipper(model, BOUND, "bookkeeping"))
    clipper = check(model)
    assert clipper.mode == "hooks"
    clipper.close()


@pytest.mark.parametrize("mode", ["bookkeeping", "hooks", "ghost"])
def test_rows_that_meet_are_caught_and_the_layer_is_named(mode: Any) -> None:
    model = net(Centred())
    with pytest.raises(RecipeError, match=r"rows of a batch meet in 1 \(Centred\)"):
        check(model, lambda: make_clipper(model, BOUND, mode))


def test_rows_that_meet_outside_any_inner_layer_are_found_in_the_layer_around_them() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.second(x + x.flip(0))

    model = net(Around())
    with pytest.raises(RecipeError, match=r"meet in 1 \(Around\)"):
        check(model)
    fine = net()

    def losses(batch: dict[str, Tensor]) -> Tensor:
        return fine.eval()(batch["x"]).sum(1)

    assert module_where_rows_meet(fine, collate(ROWS), losses) is None


def test_statistics_that_are_learned_without_noise_are_refused_and_put_back() -> None:
    model = net(Counting())
    with pytest.raises(RecipeError, match=r"1 \(Counting\) learns seen"):
        check(model)
    assert not model[1].seen.any()


def test_a_layer_that_claims_to_be_a_layer_norm_and_is_not_is_caught() -> None:
    class Signed(nn.LayerNorm):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.square())

    model = net(Signed(6))
    with pytest.raises(RecipeError, match=r"1\.weight differs .*Signed"):
        check(model)


class Doubles(nn.Module):
    """Changes in place what went into its layer, which autograd allows where that layer's weight is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        x.mul_(2.0)
        return x + y


def test_inputs_that_are_changed_in_place_are_copied_and_pass() -> None:
    model = net(nn.Identity(), Doubles())
    model[2].inner.weight.requires_grad_(False)
    clipper = check(model)
    assert clipper.mode == "bookkeeping"
    clipper.close()


def test_a_model_that_could_not_be_trained_without_privacy_either_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"one at a time.*inplace"):
        check(net(nn.Identity(), Doubles()))


def test_what_fails_under_opacus_alone_is_refused_by_name() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            y = self.inner(x)
            y += x
            return y

    model = net(Residual())
    clipper = check(model)
    assert clipper.mode == "bookkeeping"
    clipper.close()
    with pytest.raises(RecipeError, match=r"1 \(Residual\) fails while gradients are clipped \(hooks\)"):
        check(model, lambda: make_clipper(model, BOUND, "hooks"))


def test_no_rows_prove_nothing() -> None:
    model = net()
    with pytest.raises(RecipeError, match="no row"):
        self_test(model, lambda: make_clipper(model, BOUND), collate, [], lambda b: b["x"], bound=BOUND)
