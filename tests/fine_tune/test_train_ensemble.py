"""Several seeds make one ensemble: each member is a plain checkpoint, trained once, on the same rows as the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fine_tune import resume as resume_module
from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData, Roles
from fine_tune.ensemble import ENSEMBLE, Ensemble
from fine_tune.errors import CheckpointError, DivergenceError, RecipeError
from fine_tune.recipe import Recipe
from fine_tune.train import fine_tune


def asked(base: Path, **changes: Any) -> Recipe:
    values = {"base": str(base), "steps": 2, "batch_size": 8, "holdout": 0.25, "validation_share": 0.2}
    return Recipe.of({**values, "seeds": [3, 1], **changes})


def made(recipe: Recipe, data: AuditData, out: Path) -> Ensemble:
    found = fine_tune(recipe, data, out, progress=False)
    assert isinstance(found, Ensemble)
    return found


@pytest.fixture(scope="module")
def ensemble(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two members on 24 rows. Copy it before you change it."""
    texts = {"text": [f"the movie was {w}" for w in ("good", "bad", "fine", "awful", "great", "poor") * 4]}
    columns = {**texts, "label": ["positive", "negative"] * 12}
    data = AuditData.from_columns(columns, Roles(input="text", label="label"), name="few")
    out = tmp_path_factory.mktemp("ensemble") / "out"
    made(asked(tiny_base), data, out)
    return out


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seeds": [1]}, "at least 2"),
        ({"seeds": [1, 2, 1]}, "names 1 more than once"),
        ({"seed": 5}, "seed or seeds, not both"),
        ({"search": {"learning_rate": [0.1, 0.2]}}, "search beside seeds"),
        ({"seeds": [1, -2]}, "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_honoured_is_refused(changes: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=match):
        asked(tmp_path, **changes)


def test_members_share_every_split_and_differ_in_their_weights(
    tiny_base: Path, review_data: AuditData, tmp_path: Path
) -> None:
    recipe = asked(tiny_base)
    found = made(recipe, review_data, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [ENSEMBLE, "seed-1", "seed-3"]
    assert [m.folder.name for m in found.members] == ["seed-3", "seed-1"]
    records = [m.training_record for m in found.members]
    first, second = records
    assert first is not None
    assert second is not None
    assert first.ids_digest == second.ids_digest
    assert first.holdout_ids
    assert first.validation_ids
    assert [r.seeds for r in (first, second)] == [
        {"training": 3, "validation_split": 3},
        {"training": 1, "validation_split": 3},
    ]
    assert found.members[0].weights_digest != found.members[1].weights_digest
    # The slow way: a member alone, from a recipe that names its seed and the shared draw.
    alone = fine_tune(recipe.members()[1], review_data, tmp_path / "alone", progress=False)
    assert alone.digest == found.members[1].digest
    # The same seeds give the same digest; another order is another ensemble.
    assert made(recipe, review_data, tmp_path / "twin").digest == found.digest
    turned = made(asked(tiny_base, seeds=[1, 3], split_seed=3), review_data, tmp_path / "turned")
    assert turned.digest != found.digest
    assert {m.digest for m in turned.members} == {m.digest for m in found.members}


def test_split_seed_moves_the_split_alone(tiny_base: Path) -> None:
    assert asked(tiny_base).drawing_seed == 3
    assert asked(tiny_base, split_seed=9).drawing_seed == 9
    assert {m.drawing_seed for m in asked(tiny_base, split_seed=9).members()} == {9}
    assert Recipe(base="x", seed=4).drawing_seed == 4


def test_a_training_stopped_between_members_goes_on(
    tiny_base: Path, review_data: AuditData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    straight = made(asked(tiny_base), review_data, tmp_path / "straight")
    whole, begun = Trainer.train, []

    def train(self: Trainer, *given: object, **named: object) -> object:
        begun.append(self.args.seed)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return whole(self, *given, **named)

    monkeypatch.setattr(Trainer, "train", train)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(asked(tiny_base), review_data, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    resumed = made(asked(tiny_base), review_data, tmp_path / "out")
    assert begun == [3, 1, 1]
    assert resumed.digest == straight.digest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "straight"]
    made(asked(tiny_base), review_data, tmp_path / "out")
    assert begun == [3, 1, 1]
    with pytest.raises(RecipeError, match="an ensemble of another recipe"):
        fine_tune(asked(tiny_base, seeds=[3, 2]), review_data, tmp_path / "out", progress=False)


def test_a_member_stopped_midway_goes_on_where_it_was(
    tiny_base: Path, review_data: AuditData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    monkeypatch.setattr(resume_module, "SAVE_SECONDS", 0.0)
    recipe = asked(tiny_base, steps=6)
    straight = made(recipe, review_data, tmp_path / "straight")
    whole, taken = Trainer.training_step, []

    def training_step(self: Trainer, *given: object, **named: object) -> object:
        taken.append((self.args.seed, self.state.global_step))
        if taken.count((1, 3)) == 1 and taken[-1] == (1, 3):
            raise KeyboardInterrupt
        return whole(self, *given, **named)

    monkeypatch.setattr(Trainer, "training_step", training_step)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(recipe, review_data, tmp_path / "out", progress=False)
    before = len(taken)
    resumed = made(recipe, review_data, tmp_path / "out")
    assert taken[before:] == [(1, 3), (1, 4), (1, 5)]
    assert resumed.digest == straight.digest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "straight"]


def test_a_diverged_member_is_named(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    wild = asked(tiny_base, learning_rate=1e30, warmup_ratio=0, steps=20)
    with pytest.raises(DivergenceError, match="the member of seed 3"):
        fine_tune(wild, review_data, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_an_ensemble_is_no_single_model(ensemble: Path, review_data: AuditData, tmp_path: Path) -> None:
    found = Checkpoint.open(ensemble)
    assert isinstance(found, Ensemble)
    assert found.parameters == sum(m.parameters for m in found.members)
    assert "seed-1/model.safetensors" in found.file_digests
    with pytest.raises(CheckpointError, match="ensemble of 2 models"):
        found.load_model()
    with pytest.raises(RecipeError, match="is an ensemble of 2 models"):
        fine_tune(Recipe(base=str(ensemble), steps=1), review_data, tmp_path / "out", progress=False)


def test_what_is_not_what_was_written_is_refused(ensemble: Path, tmp_path: Path) -> None:
    def changed(name: str) -> Path:
        return Path(shutil.copytree(ensemble, tmp_path / name))

    place = changed("classes")
    config = json.loads((place / "seed-1" / "config.json").read_text())
    config["id2label"] = {"0": "bad", "1": "good"}
    (place / "seed-1" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="seed-1 has the classes bad, good"):
        Checkpoint.open(place)

    place = changed("weights")
    shutil.copy(place / "seed-3" / "model.safetensors", place / "seed-1" / "model.safetensors")
    with pytest.raises(CheckpointError, match="seed-1 has the digest"):
        Checkpoint.open(place)

    place = changed("missing")
    shutil.rmtree(place / "seed-3")
    with pytest.raises(CheckpointError, match="seed-3 is missing"):
        Checkpoint.open(place)

    place = changed("outside")
    note = json.loads((place / ENSEMBLE).read_text())
    note["members"][0]["folder"] = "../weights/seed-3"
    (place / ENSEMBLE).write_text(json.dumps(note))
    with pytest.raises(CheckpointError, match=r"ensemble\.json cannot be read"):
        Checkpoint.open(place)
