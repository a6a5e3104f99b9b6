"""The private loop on a model whose gradients are known: what reaches the optimizer, and what stops it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fine_tune.errors import DivergenceError, RecipeError
from fine_tune.privacy import training as module
from fine_tune.privacy.ledger import settle
from fine_tune.privacy.losses import RowLosses
from fine_tune.privacy.noise import Streams
from fine_tune.privacy.plan import Plan
from fine_tune.privacy.sampling import PoissonSampler, UnitRows
from fine_tune.privacy.states import refuse_other_states
from fine_tune.privacy.training import Material, PrivateTraining
from fine_tune.recipe import Recipe
from fine_tune.resume import ResumeFolder

N, WIDTH = 40, 3


class Linear(nn.Module):
    """Scores of a row are one linear map of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.classifier = nn.Linear(WIDTH, 2)

    def forward(self, values: torch.Tensor) -> Any:
        return SimpleNamespace(logits=self.classifier(values))


def examples(count: int = N) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [
        {"values": torch.tensor(rng.normal(size=WIDTH), dtype=torch.float32), "labels": i % 2} for i in range(count)
    ]


def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
    return {"values": torch.stack([e["values"] for e in batch]), "labels": torch.tensor([e["labels"] for e in batch])}


def training(
    folder: Path, *, key: str = "k", rows: list[dict[str, Any]] | None = None, **options: Any
) -> PrivateTraining:
    privacy = {
        "noise_multiplier": 1.0,
        "delta": 1e-3,
        "secure_rng": False,
        "gradients": "hooks",
        **options.pop("privacy", {}),
    }
    recipe = Recipe.of({"base": "x", "batch_size": 8, "steps": 5, "learning_rate": 0.1, "privacy": privacy, **options})
    rows = examples() if rows is None else rows
    material = Material(model=Linear(), examples=rows, collate=collate, classes=("a", "b"), device="cpu", key=key)
    plan = Plan.of(recipe, UnitRows.single(len(rows)))
    return PrivateTraining(recipe, material, plan, ResumeFolder(folder, key))


def weights(made: PrivateTraining) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in made._model.parameters()])


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The gradients that reach the inner optimizer, step by step: weight, then bias."""
    seen: list[torch.Tensor] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *given: Any, **named: Any) -> Any:
        found = {p.dim(): p.grad for group in self.param_groups for p in group["params"]}
        seen.append(torch.cat([found[2].flatten(), found[1].flatten()]).clone())
        return step(self, *given, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    return seen


def test_a_step_is_clipped_sums_plus_noise_over_the_expected_batch(
    tmp_path: Path, gradients: list[torch.Tensor]
) -> None:
    """By hand: draw the batch, clip one row at a time, add the stream's noise, divide by B and not by what came."""
    rows, bound, sigma = examples(), 0.3, 2.0
    made = training(
        tmp_path, key="other", steps=1, privacy={"noise_multiplier": sigma, "max_grad_norm": bound, "physical_batch": 3}
    )
    streams = Streams.repeatable("other", "cpu")
    drawn = PoissonSampler(UnitRows.single(N), 8, streams.drawing).draw()
    assert len(drawn) not in (0, 8)
    model, total = Linear(), torch.zeros(2 * WIDTH + 2)
    for i in drawn:
        loss = nn.functional.cross_entropy(model(rows[i]["values"][None]).logits, torch.tensor([rows[i]["labels"]]))
        grad = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
        total += grad * min(1.0, bound / float(grad.norm()))
    made.run(lambda _: None)
    noise = gradients[0] * 8 - total
    # The noise is the stream's own, weight first, with standard deviation sigma times the bound.
    wanted = [torch.normal(0.0, sigma * bound, shape, generator=streams.noise) for shape in ((2, WIDTH), (2,))]
    torch.testing.assert_close(noise, torch.cat([w.flatten() for w in wanted]), rtol=0, atol=1e-5)


def test_noise_has_the_promised_size_once_a_step(tmp_path: Path, gradients: list[torch.Tensor]) -> None:
    """Rows of value zero and a saturated bias have next to no gradient, so what is left is noise."""
    rows = [{"values": torch.zeros(WIDTH), "labels": 0} for _ in range(N)]
    made = training(
        tmp_path, rows=rows, steps=400, learning_rate=1e-12, privacy={"noise_multiplier": 3.0, "max_grad_norm": 0.5, "physical_batch": 1}
    )  # fmt: skip
    with torch.no_grad():
        made._model.classifier.bias.copy_(torch.tensor([60.0, -60.0]))
    made.run(lambda _: None)
    noise = torch.stack(gradients) * 8
    assert noise.numel() == 400 * 8
    # Standard error of a standard deviation is sd / sqrt(2 n); the physical batches of one row must not add noise.
    assert float(noise.std()) == pytest.approx(1.5, abs=5 * 1.5 / np.sqrt(2 * noise.numel()))
    assert len(torch.unique(noise)) > 0.99 * noise.numel()


def test_empty_batches_are_steps_of_noise_alone_and_count(tmp_path: Path, gradients: list[torch.Tensor]) -> None:
    made = training(tmp_path, batch_size=1, steps=30)
    facts = made.run(lambda _: None)
    assert 3 <= facts.empty_steps < 30
    assert facts.taken_steps == facts.planned_steps == facts.releases[0].steps == 30
    assert len(gradients) == 30
    assert all(float(g.abs().min()) > 0 for g in gradients)
    assert settle(facts).epsilon is not None


def test_the_rate_is_exact_and_stands_in_the_facts(tmp_path: Path) -> None:
    facts = training(tmp_path, batch_size=7).run(lambda _: None)
    assert facts.sampling_rate == 7 / N == facts.releases[0].sampling_rate
    assert (facts.sampling, facts.gradients, facts.self_tested, facts.finite) == ("poisson", "hooks", True, True)


def test_everybody_in_every_step(tmp_path: Path) -> None:
    facts = training(tmp_path, batch_size=N).run(lambda _: None)
    assert facts.sampling_rate == 1.0
    assert settle(facts).epsilon is not None


def test_a_sampler_that_is_not_poisson_gets_no_epsilon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    class Shuffled(PoissonSampler):
        def draw(self) -> list[int]:
            return sorted(int(i) for i in self._generator.permutation(N)[:8])

    monkeypatch.setattr(module, "PoissonSampler", Shuffled)
    made = settle(training(tmp_path).run(lambda _: None))
    assert made.epsilon is None
    assert "Poisson sampling alone" in str(made.refusals[0])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"privacy": {"delta": 0.5}}, "delta is 0.5"),
        ({"privacy": {"delta": 1 / N}}, "below 1/40"),
        ({"batch_size": 41}, "at most 40"),
        ({"class_weights": {"a": 1.0}}, "class_weights"),
        ({"schedule": "cosine_with_min_lr"}, "schedule"),
    ],
)
def test_refused_before_the_first_step(options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=reason):
        training(tmp_path, **options)


def test_batch_normalisation_is_refused_by_name(tmp_path: Path) -> None:
    class Normed(Linear):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(WIDTH)

        def forward(self, values: torch.Tensor) -> Any:
            return super().forward(self.norm(values))

    recipe = Recipe.of({"base": "x", "batch_size": 8, "steps": 2, "privacy": {"noise_multiplier": 1, "delta": 1e-3}})
    material = Material(model=Normed(), examples=examples(), collate=collate, classes=("a", "b"), device="cpu", key="k")
    with pytest.raises(RecipeError, match=r"^norm (normalises over the rows of a batch|.*BatchNorm1d)"):
        PrivateTraining(recipe, material, Plan.of(recipe, UnitRows.single(N)), ResumeFolder(tmp_path, "k"))


def test_a_model_whose_gradients_are_wrong_is_not_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fine_tune.privacy.opacus_clipping import HookClipper

    right = HookClipper.take

    def wrong(self: HookClipper) -> dict[str, torch.Tensor]:
        return {name: 1.01 * total for name, total in right(self).items()}

    monkeypatch.setattr(HookClipper, "take", wrong)
    with pytest.raises(RecipeError, match=r"classifier\.\w+ differs from one-at-a-time"):
        training(tmp_path)


def test_gradients_that_are_not_finite_stop_it(tmp_path: Path) -> None:
    rows = examples()
    made = training(tmp_path, rows=rows, privacy={"logical_batch": N})
    rows[17]["values"].fill_(float("nan"))
    with pytest.raises(DivergenceError, match="not finite"):
        made.run(lambda _: None)


def test_steps_follow_from_epochs_and_units(tmp_path: Path) -> None:
    assert training(tmp_path, steps=None, epochs=2.5)._plan.steps == 13  # ceil(2.5 * 40 / 8)
    assert training(tmp_path, steps=None)._plan.steps == 15


def test_noise_is_solved_for_the_planned_steps(tmp_path: Path) -> None:
    asked = {"noise_multiplier": None, "epsilon": 3.0, "accountant": "rdp"}
    short, long = (training(tmp_path, steps=n, privacy=asked) for n in (5, 50))
    assert short._plan.noise_multiplier < long._plan.noise_multiplier
    epsilon = settle(short.run(lambda _: None)).epsilon
    assert epsilon is not None
    assert 2.9 < epsilon <= 3.0


def test_secret_streams_differ_and_repeatable_ones_do_not(tmp_path: Path) -> None:
    def trained(folder: str, **privacy: Any) -> torch.Tensor:
        made = training(tmp_path / folder, privacy=privacy)
        made.run(lambda _: None)
        return weights(made)

    assert torch.equal(trained("a"), trained("b"))
    assert not torch.equal(trained("c", secure_rng=True), trained("d", secure_rng=True))


def test_other_requests_have_other_noise() -> None:
    one, other, again = (torch.rand(8, generator=Streams.repeatable(k, "cpu").noise) for k in ("k", "l", "k"))
    assert torch.equal(one, again)
    assert not bool((one == other).any())


def test_secret_noise_hangs_on_more_than_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch seeds its Mersenne Twister with 32 bits alone, which can be guessed through."""
    from fine_tune.privacy import noise

    same = torch.rand(4, generator=torch.Generator().manual_seed(7))
    assert torch.equal(same, torch.rand(4, generator=torch.Generator().manual_seed(7 + 2**32)))
    drawn: list[int] = []

    def bits(count: int) -> int:
        drawn.append(count)
        return 0xABCD + len(drawn)

    monkeypatch.setattr(noise.secrets, "randbits", bits)
    one = Streams.secret("cpu").noise
    assert sum(drawn) >= 624 * 32
    assert not torch.equal(torch.rand(4, generator=one), torch.rand(4, generator=torch.Generator().manual_seed(0)))
    values = torch.randn(200_000, generator=Streams.secret("cpu").noise)
    assert abs(float(values.mean())) < 0.02
    assert float(values.std()) == pytest.approx(1, abs=0.02)


def test_class_weights_are_taken_as_they_are() -> None:
    """Scaling them to a mean of one would need the counts of the labels."""
    recipe = Recipe.of({"base": "x", "class_weights": {"a": 2.0, "b": 6.0}})
    model, batch = Linear(), collate(examples(4))
    weighted, plain = (
        getattr(RowLosses(model, recipe, ("a", "b"), "cpu"), name)(batch).detach() for name in ("exact", "plain")
    )
    torch.testing.assert_close(weighted, plain * torch.tensor([2.0, 6.0, 2.0, 6.0]))


def test_a_rows_loss_does_not_depend_on_its_neighbours() -> None:
    recipe = Recipe.of({"base": "x", "label_smoothing": 0.2, "class_weights": {"a": 0.5, "b": 3.0}})
    losses, rows = RowLosses(Linear(), recipe, ("a", "b"), "cpu"), examples(6)
    together = losses.exact(collate(rows)).detach()
    alone = torch.cat([losses.exact(collate([row])).detach() for row in rows])
    torch.testing.assert_close(together, alone)


def test_a_row_of_several_units_has_their_mean() -> None:
    class Tokens(nn.Module):
        def forward(self, values: torch.Tensor) -> Any:
            return SimpleNamespace(logits=values)

    scores = torch.randn(2, 3, 4)
    labels = torch.tensor([[1, 2, -100], [0, -100, -100]])
    made = RowLosses(Tokens(), Recipe.of({"base": "x"}), ("a", "b", "c", "d"), "cpu").exact(
        {"values": scores, "labels": labels}
    )
    each = -torch.log_softmax(scores, -1)
    torch.testing.assert_close(made, torch.stack([(each[0, 0, 1] + each[0, 1, 2]) / 2, each[1, 0, 0]]))


def test_states_hold_no_input_and_only_the_owner_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.resume, "SAVE_SECONDS", 0.0)
    marked = 1234.5678
    rows = examples()
    rows[0]["values"][0] = marked
    made = training(tmp_path, rows=rows, privacy={"logical_batch": N, "secure_rng": True})
    made.run(lambda _: None)
    (state,) = tmp_path.glob("checkpoint-*")
    assert state.stat().st_mode & 0o077 == 0
    kept = torch.load(state / "private.pt", weights_only=True)
    assert set(kept) == {"weights", "optimizer", "schedule", "noise"}
    assert {tuple(t.shape) for t in kept["weights"].values()} == {(2, WIDTH), (2,)}
    assert not any(bool(torch.isclose(t, torch.tensor(marked)).any()) for t in kept["weights"].values())


def test_a_stopped_training_ends_where_a_whole_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class StopError(BaseException):
        pass

    def stop(place: int) -> Callable[[int], None]:
        def watch(step: int) -> None:
            if step == place:
                raise StopError

        return watch

    straight = training(tmp_path / "straight", steps=12)
    facts = straight.run(lambda _: None)
    monkeypatch.setattr(module.resume, "SAVE_SECONDS", 0.0)
    for place in (3, 7, 8):
        with pytest.raises(StopError):
            training(tmp_path / "killed", steps=12).run(stop(place))
    resumed = training(tmp_path / "killed", steps=12)
    taken: list[int] = []
    assert resumed.run(taken.append) == facts
    assert taken[0] == 8
    assert torch.equal(weights(resumed), weights(straight))


def test_a_state_of_another_request_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.resume, "SAVE_SECONDS", 0.0)
    training(tmp_path).run(lambda _: None)
    refuse_other_states(ResumeFolder(tmp_path, "k"))
    with pytest.raises(RecipeError, match="other data"):
        refuse_other_states(ResumeFolder(tmp_path, "changed"))
    with pytest.raises(RecipeError, match="another private training"):
        training(tmp_path, privacy={"noise_multiplier": 1.1}).run(lambda _: None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_an_accelerator(precision: str, tmp_path: Path) -> None:
    recipe = Recipe.of(
        {"base": "x", "batch_size": 8, "steps": 5, "precision": precision, "privacy": {"noise_multiplier": 1, "delta": 1e-3}}
    )  # fmt: skip
    material = Material(
        model=Linear(), examples=examples(), collate=collate, classes=("a", "b"), device="cuda", key="k"
    )
    made = PrivateTraining(recipe, material, Plan.of(recipe, UnitRows.single(N)), ResumeFolder(tmp_path, "k"))
    assert made._streams.noise.device.type == "cuda"
    assert settle(made.run(lambda _: None)).epsilon is not None
