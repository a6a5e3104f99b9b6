"""Noise that left with a checkpoint is never drawn a second time on the same rows: fresh noise, and both are charged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fine_tune import resume as resume_module
from fine_tune import train as train_module
from fine_tune.card import CARD
from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.errors import RecipeError
from fine_tune.privacy.accounting import Phase, epsilon_spent
from fine_tune.privacy.facts import Facts
from fine_tune.privacy.ledger import settle
from fine_tune.privacy.plan import Plan
from fine_tune.privacy.released import NOTE, Released, mark_checkpoint, mark_released, released
from fine_tune.privacy.sampling import PoissonSampler, UnitRows
from fine_tune.privacy.training import Material, PrivateTraining
from fine_tune.recipe import Recipe
from fine_tune.resume import ResumeFolder
from fine_tune.train import fine_tune

N, WIDTH, STEPS = 40, 3, 12


class Flat(torch.nn.Module):
    """Rows of zeros and a saturated bias leave next to no gradient, so that what reaches the optimizer is noise."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = torch.nn.Linear(WIDTH, 2)
        with torch.no_grad():
            self.classifier.weight.zero_()
            self.classifier.bias.copy_(torch.tensor([60.0, -60.0]))

    def forward(self, values: torch.Tensor) -> Any:
        from types import SimpleNamespace

        return SimpleNamespace(logits=self.classifier(values))


def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
    return {"values": torch.stack([e["values"] for e in batch]), "labels": torch.tensor([e["labels"] for e in batch])}


def training(folder: Path, *, secure: bool = False, **privacy: Any) -> PrivateTraining:
    recipe = Recipe.of({
        "base": "x", "batch_size": 8, "steps": STEPS, "learning_rate": 1e-12,
        "privacy": {"noise_multiplier": 1.5, "delta": 1e-3, "secure_rng": secure, "gradients": "hooks", **privacy},
    })  # fmt: skip
    rows = [{"values": torch.zeros(WIDTH), "labels": 0} for _ in range(N)]
    material = Material(model=Flat(), examples=rows, collate=collate, classes=("a", "b"), device="cpu", key="k")
    return PrivateTraining(recipe, material, Plan.of(recipe, UnitRows.single(N)), ResumeFolder(folder, "k"))


class StopError(BaseException):
    """Stands for a kill."""


def stop(place: int) -> Callable[[int], None]:
    def watch(step: int) -> None:
        if step == place:
            raise StopError

    return watch


class Heard:
    """What the optimizer received and whom the sampler drew, step by step."""

    def __init__(self) -> None:
        self.noise: list[torch.Tensor] = []
        self.drawn: list[list[int]] = []


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    out, step, draw = Heard(), torch.optim.AdamW.step, PoissonSampler.draw

    def stepped(self: torch.optim.AdamW, *given: Any, **named: Any) -> Any:
        found = [p.grad.flatten().clone() for group in self.param_groups for p in group["params"]]
        out.noise.append(torch.cat(found))
        return step(self, *given, **named)

    def drew(self: PoissonSampler) -> list[int]:
        out.drawn.append(draw(self))
        return out.drawn[-1]

    monkeypatch.setattr(torch.optim.AdamW, "step", stepped)
    monkeypatch.setattr(PoissonSampler, "draw", drew)
    monkeypatch.setattr(resume_module, "SAVE_SECONDS", 0.0)
    return out


def stopped(folder: Path, heard: Heard, place: int, *, secure: bool = False) -> None:
    """A state of step ``place - 1``, after step ``place`` was taken and seen."""
    with pytest.raises(StopError):
        training(folder, secure=secure).run(stop(place))
    heard.noise, heard.drawn = [], []


def purposes(facts: Facts) -> list[tuple[str, int]]:
    return [(r.purpose, r.steps) for r in facts.releases]


@pytest.mark.parametrize("secure", [False, True])
def test_released_steps_are_taken_again_with_other_noise_on_other_units(
    secure: bool, tmp_path: Path, heard: Heard
) -> None:
    stopped(tmp_path / "a", heard, 5, secure=secure)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    first = training(tmp_path / "a", secure=secure).run(lambda _: None)
    once, drawn = heard.noise, heard.drawn
    heard.noise, heard.drawn = [], []
    # Without a release the copy of the state repeats every noise and charges it once.
    assert training(tmp_path / "b", secure=secure).run(lambda _: None) == first
    assert all(torch.equal(a, b) for a, b in zip(once, heard.noise, strict=True))
    assert heard.drawn == drawn
    assert purposes(first) == [("training", STEPS)]
    heard.noise, heard.drawn = [], []
    mark_released(tmp_path / "c", STEPS)
    second = training(tmp_path / "c", secure=secure).run(lambda _: None)
    assert len(heard.noise) == len(once) == STEPS - 4
    assert not any(torch.equal(a, b) for a in once for b in heard.noise)
    assert heard.drawn != drawn
    assert purposes(second) == [("training", STEPS), ("resumed training", STEPS - 4)]
    assert (second.taken_steps, second.planned_steps) == (STEPS, STEPS)


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_epsilon_is_the_accountants_of_both(accountant: str, tmp_path: Path, heard: Heard) -> None:
    with pytest.raises(StopError):
        training(tmp_path, accountant=accountant).run(stop(5))
    mark_released(tmp_path, 9)
    ledger = settle(training(tmp_path, accountant=accountant).run(lambda _: None))
    # A checkpoint of step 9, and from the state of step 4 on the 8 steps that were left: 17 noisy sums in all.
    both = [Phase(noise_multiplier=1.5, sampling_rate=8 / N, steps=9 + (STEPS - 4))]
    assert ledger.epsilon == pytest.approx(epsilon_spent(both, 1e-3, accountant), rel=1e-9)  # type: ignore[arg-type]
    alone = [Phase(noise_multiplier=1.5, sampling_rate=8 / N, steps=STEPS)]
    assert ledger.epsilon is not None
    assert ledger.epsilon > epsilon_spent(alone, 1e-3, accountant)  # type: ignore[arg-type]
    assert ledger.refusals == ()


def test_a_second_kill_charges_nothing_more_and_a_second_release_does(tmp_path: Path, heard: Heard) -> None:
    stopped(tmp_path, heard, 5)
    mark_released(tmp_path, 7)
    stopped(tmp_path, heard, 9)
    assert released(tmp_path) == Released(stream=0, steps=7)
    shutil.copytree(tmp_path, tmp_path / "copy", ignore=shutil.ignore_patterns("copy"))
    facts = training(tmp_path).run(lambda _: None)
    assert purposes(facts) == [("training", STEPS), ("resumed training", 3)]
    assert len(heard.noise) == STEPS - 8
    # Now the second stream left too, whole: from its state of step 8 four more sums are taken twice.
    mark_released(tmp_path / "copy", STEPS)
    again = training(tmp_path / "copy").run(lambda _: None)
    assert purposes(again) == [("training", STEPS), ("resumed training", 3 + 4)]


def test_killed_before_its_first_state_the_fresh_stream_is_begun_again(tmp_path: Path, heard: Heard) -> None:
    """What the killed process drew was seen by nobody, so it is charged once."""
    stopped(tmp_path, heard, 5)
    mark_released(tmp_path, 9)
    made = training(tmp_path)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):

        def killed(*_: Any) -> None:
            raise StopError

        patch.setattr(ResumeFolder, "complete", killed)
        made.run(lambda _: None)
    assert purposes(training(tmp_path).run(lambda _: None)) == [("training", STEPS), ("resumed training", 5)]


def test_a_state_that_is_not_behind_goes_on_as_it_would_have(tmp_path: Path, heard: Heard) -> None:
    stopped(tmp_path / "a", heard, 5)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    facts = training(tmp_path / "a").run(lambda _: None)
    once = heard.noise
    heard.noise = []
    mark_released(tmp_path / "b", 4)
    assert training(tmp_path / "b").run(lambda _: None) == facts
    assert all(torch.equal(a, b) for a, b in zip(once, heard.noise, strict=True))


def test_the_note(tmp_path: Path, heard: Heard) -> None:
    with pytest.raises(RecipeError, match="no state of a private training"):
        mark_released(tmp_path, 3)
    assert released(tmp_path) is None
    stopped(tmp_path, heard, 5)
    with pytest.raises(RecipeError, match="a checkpoint of step 0"):
        mark_released(tmp_path, 0)
    mark_released(tmp_path, 7)
    mark_released(tmp_path, 5)
    assert released(tmp_path) == Released(stream=0, steps=7), "a later release is not taken back"
    mark_released(tmp_path, STEPS + 1)
    with pytest.raises(RecipeError, match="step 13 is said to be released, and 12"):
        training(tmp_path).run(lambda _: None)
    (tmp_path / NOTE).write_text("{")
    with pytest.raises(RecipeError, match="nobody knows which noise was released"):
        training(tmp_path).run(lambda _: None)


def asked(base: Path, *, secure: bool) -> Recipe:
    privacy = {"noise_multiplier": 1.0, "delta": 1e-3, "accountant": "rdp", "secure_rng": secure}
    return Recipe.of({"base": str(base), "batch_size": 8, "steps": 6, "privacy": privacy})


@pytest.mark.parametrize("secure", [False, True])
def test_killed_after_its_checkpoint_could_be_seen(
    secure: bool, tiny_base: Path, review_data: AuditData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint is published, its states were not removed any more, and somebody asks for it again elsewhere."""
    monkeypatch.setattr(resume_module, "SAVE_SECONDS", 0.0)

    def killed(_: ResumeFolder) -> None:
        raise StopError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr(ResumeFolder, "remove", killed)
        fine_tune(asked(tiny_base, secure=secure), review_data, tmp_path / "out", progress=False)
    (tmp_path / "out").rename(tmp_path / "published")
    states = ResumeFolder.beside(tmp_path / "out", "").path
    assert released(states) == Released(stream=0, steps=6)
    again = fine_tune(asked(tiny_base, secure=secure), review_data, tmp_path / "out", progress=False)
    first, second = (Checkpoint.open(tmp_path / name).training_record for name in ("published", "out"))
    assert first is not None and first.ledger is not None and second is not None and second.ledger is not None
    assert purposes(second.ledger.facts) == [("training", 6), ("resumed training", 1)]
    assert second.steps == first.steps == 6
    both = [Phase(noise_multiplier=1.0, sampling_rate=8 / 48, steps=7)]
    assert second.ledger.epsilon == pytest.approx(epsilon_spent(both, 1e-3, "rdp"), rel=1e-9)
    assert again.weights_digest != Checkpoint.open(tmp_path / "published").weights_digest
    assert not states.exists()
    said = "| Steps of a released checkpoint that were taken once more, charged both times | 1 |"
    assert said in (again.folder / CARD).read_text(encoding="utf-8")
    assert "once more" not in (tmp_path / "published" / CARD).read_text(encoding="utf-8")


def test_the_note_stands_before_the_checkpoint_has_its_name(
    tiny_base: Path, review_data: AuditData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume_module, "SAVE_SECONDS", 0.0)
    mark = train_module.mark_released
    seen: list[bool] = []

    def watched(folder: Path, steps: int) -> None:
        seen.append((tmp_path / "out").exists())
        mark(folder, steps)

    monkeypatch.setattr(train_module, "mark_released", watched)
    fine_tune(asked(tiny_base, secure=True), review_data, tmp_path / "out", progress=False)
    assert seen == [False]


def test_said_by_hand(tiny_base: Path, review_data: AuditData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """States that were put back from a backup know of no release; their owner does."""
    monkeypatch.setattr(resume_module, "SAVE_SECONDS", 0.0)
    recipe, out = asked(tiny_base, secure=False), tmp_path / "out"
    states = ResumeFolder.beside(out, "").path
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):

        def killed(*_: Any) -> None:
            raise StopError

        patch.setattr(PrivateTraining, "_facts", killed)
        fine_tune(recipe, review_data, out, progress=False)
    shutil.copytree(states, tmp_path / "backup")
    fine_tune(recipe, review_data, out, progress=False)
    out.rename(tmp_path / "published")
    shutil.copytree(tmp_path / "backup", states)
    mark_checkpoint(out, 6)
    made = fine_tune(recipe, review_data, out, progress=False).training_record
    assert made is not None and made.ledger is not None
    assert purposes(made.ledger.facts) == [("training", 6), ("resumed training", 1)]
