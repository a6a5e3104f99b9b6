"""Each method moves the parameters it names and no other, and leaves plain weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.errors import RecipeError
from fine_tune.recipe import Recipe
from fine_tune.train import fine_tune

HEAD = {"classifier.weight", "classifier.bias"}
# Training starts from a random pooler where the base has none; this base has one.
LINEAR = ("query.weight", "key.weight", "value.weight", "dense.weight")


def digests(folder: Path) -> dict[str, str]:
    """sha256 of each parameter by name."""
    found = load_file(str(folder / "model.safetensors"))
    return {name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in found.items()}


def expected(method: str, names: set[str]) -> set[str]:
    """The parameters of the base that a method may move, read off their names."""
    layers = {n for n in names if n.startswith("bert.encoder.")}
    return {
        "full": names,
        "head": set(),
        "bias": {n for n in names if n.endswith(".bias")},
        "lora": {n for n in layers if n.endswith(LINEAR)},
        "adalora": {n for n in layers if n.endswith(LINEAR)},
    }[method]


@pytest.mark.parametrize("method", ["full", "head", "bias", "lora", "adalora"])
def test_only_named_parameters_move(method: str, tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    asked = Recipe(base=str(tiny_base), method=method, steps=12, batch_size=8, learning_rate=0.05)  # type: ignore[arg-type]
    made = fine_tune(asked, review_data, tmp_path / "out", progress=False)
    start = {f"bert.{name}": digest for name, digest in digests(tiny_base).items()}
    end = digests(made.folder)
    assert set(end) == {*start, *HEAD}
    moved = {name for name, digest in start.items() if end[name] != digest}
    allowed = expected(method, set(start))
    assert moved <= allowed
    # Weights that no gradient reaches, such as those of tokens that never occur, stay; some of each kind do move.
    assert len(moved) >= 0.6 * len(allowed)
    record = made.training_record
    assert record is not None
    assert record.parameters == made.parameters
    made.load_model()


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_what_cannot_be_merged_is_refused(method: str) -> None:
    with pytest.raises(RecipeError, match=f"{method} tuning learns inputs, not weights"):
        Recipe.of({"base": "x", "method": method})


def test_adalora_needs_steps(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="adalora has 2 steps"):
        fine_tune(Recipe(base=str(tiny_base), method="adalora", steps=2), review_data, tmp_path / "o", progress=False)


def test_adalora_keeps_its_budget(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    """What is added to a layer has at most the rank that is left to it, and all together the target."""
    import numpy as np

    asked = Recipe(base=str(tiny_base), method="adalora", lora_r=2, steps=40, batch_size=8, learning_rate=0.05)
    made = fine_tune(asked, review_data, tmp_path / "out", progress=False)
    start, end = load_file(str(tiny_base / "model.safetensors")), load_file(str(made.folder / "model.safetensors"))
    layers = expected("adalora", {f"bert.{name}" for name in start})
    ranks = [
        int(np.linalg.matrix_rank((end[n] - start[n.removeprefix("bert.")]).astype(np.float64), tol=1e-5))
        for n in layers
    ]
    assert 0 < sum(ranks) <= 2 * len(layers)


def test_held_layers_keep_their_running_statistics() -> None:
    import torch

    from fine_tune.methods import prepare
    from fine_tune.tasks import Trainable

    class Toy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(x))

    for method, moves in (("full", True), ("bias", True), ("head", False)):
        toy = Toy()
        made = Trainable(
            model=toy, processor=None, examples=[], truncated=0, collate=dict, head=frozenset({"head.weight"}),
            adapted=(),
        )  # fmt: skip
        model = prepare(made, Recipe(base="x", method=method), 10)  # type: ignore[arg-type]
        model.train()
        model(torch.ones(4, 3) * 5)
        assert bool((toy.norm.running_mean != 0).any()) == moves


def test_full_training_from_a_checkpoint_with_a_head(
    tiny_checkpoint: Path, review_data: AuditData, tmp_path: Path
) -> None:
    """``head`` and ``bias`` go on with a head that the base has for the same classes."""
    asked = Recipe(base=str(tiny_checkpoint), method="head", steps=4, batch_size=8)
    made = fine_tune(asked, review_data, tmp_path / "out", progress=False)
    start, end = digests(tiny_checkpoint), digests(made.folder)
    assert {name for name in start if start[name] != end[name]} == HEAD
    assert Checkpoint.open(made.folder).classes == Checkpoint.open(tiny_checkpoint).classes
