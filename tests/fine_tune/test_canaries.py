"""Canaries: fair coins of their own, kept out of every part but what they are drawn for, and in the record for the auditor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fine_tune.canaries import draw_canaries, taught, without_canaries
from fine_tune.data import AuditData
from fine_tune.errors import DataError, RecipeError
from fine_tune.learning import Job
from fine_tune.privacy.settings import Privacy
from fine_tune.recipe import Recipe, TrainingRecord, ids_digest
from fine_tune.splits import split_rows
from fine_tune.train import fine_tune

WORDS = ["good", "bad", "fine", "awful", "great", "poor", "movie", "film", "plot", "actor"]


def rows(count: int = 200, classes: tuple[str, ...] = ("negative", "positive"), **columns: Any) -> AuditData:
    frame = pd.DataFrame(
        {
            "text": [" ".join(WORDS[int(d)] for d in f"{i:05d}") for i in range(count)],
            "label": [classes[i % len(classes)] for i in range(count)],
            "row": [f"r{i}" for i in range(count)],
            **columns,
        }
    )
    roles = {name: name for name in columns}
    return AuditData.from_frame(frame, input="text", label="label", id="row", name="rows", **roles)


def recipe(canaries: int, **options: Any) -> Recipe:
    return Recipe(base="x", canaries=canaries, **options)


def test_half_are_flipped_and_the_coins_are_fair() -> None:
    data = rows(2000)
    drawn = draw_canaries(data, range(2000), recipe(1000))
    labels = dict(zip(data.row_ids, data.labels, strict=True))
    assert len({c.id for c in drawn}) == 1000
    assert sum(c.flipped for c in drawn) == 500
    assert all((c.label != labels[c.id]) == c.flipped for c in drawn)
    # 1000 fair coins leave 430 to 570 with a probability of 1e-5; flips and coins know nothing of each other.
    assert 430 < sum(c.included for c in drawn) < 570
    assert 200 < sum(c.included and c.flipped for c in drawn) < 300
    coins = np.array([c.included for c in drawn], dtype=float)
    assert abs(np.corrcoef(coins[1:], coins[:-1])[0, 1]) < 0.15


def test_flips_reach_every_other_class_and_no_unknown_one() -> None:
    data = rows(600, ("a", "b", "c"))
    own = dict(zip(data.row_ids, data.labels, strict=True))
    moves = {(own[c.id], c.label) for c in draw_canaries(data, range(600), recipe(300)) if c.flipped}
    assert moves == {(a, b) for a in "abc" for b in "abc" if a != b}


def test_the_seed_of_the_draw_alone_decides() -> None:
    data = rows()
    first = draw_canaries(data, range(200), recipe(40, split_seed=3, seed=1))
    assert first == draw_canaries(data, range(200), recipe(40, split_seed=3, seed=2))
    assert first != draw_canaries(data, range(200), recipe(40, split_seed=4, seed=1))


def test_every_part_is_apart() -> None:
    data = rows()
    split = split_rows(data, recipe(60, holdout=0.1, validation_share=0.1))
    ids = data.row_ids
    parts = {name: {ids[i] for i in getattr(split, name)} for name in ("training", "validation", "holdout")}
    planted = {c.id: c for c in split.canaries}
    assert len(planted) == 60
    assert not planted.keys() & (parts["validation"] | parts["holdout"])
    assert {i for i in planted if planted[i].included} == parts["training"] & planted.keys()
    left_out = {i for i in planted if not planted[i].included}
    assert sum(map(len, parts.values())) + len(left_out) == len(data)
    # Without canaries the other parts are drawn as before.
    bare = split_rows(data, recipe(0, holdout=0.1, validation_share=0.1))
    assert (bare.validation, bare.holdout) == (split.validation, split.holdout)


def test_rows_that_the_model_meets_twice_are_no_canaries() -> None:
    data = rows(100)
    twice = AuditData.from_columns(
        {"text": [*data.inputs, *data.inputs[:70]], "label": [*data.labels, *data.labels[:70]]},
        data_roles(), name="twice",
    )  # fmt: skip
    drawn = draw_canaries(twice, range(170), recipe(30))
    assert {c.id for c in drawn} == {str(i) for i in range(70, 100)}
    with pytest.raises(DataError, match="31 canaries were asked for, and 30 of 170"):
        draw_canaries(twice, range(170), recipe(31))


def data_roles() -> Any:
    from fine_tune.data import Roles

    return Roles(input="text", label="label")


def test_of_protected_persons_only_those_with_one_row_are_drawn() -> None:
    data = rows(100, cluster=[f"p{max(i, 60)}" for i in range(100)])
    private = Privacy(noise_multiplier=1.0, delta=1e-5, unit="cluster")
    drawn = draw_canaries(data, range(100), recipe(20, privacy=private))
    assert all(int(c.id[1:]) > 60 for c in drawn)
    with pytest.raises(DataError, match="alone in their privacy unit"):
        draw_canaries(data, range(100), recipe(60, privacy=private))
    assert len(draw_canaries(data, range(100), recipe(60))) == 60


def test_taught_labels_and_rows_to_judge_on() -> None:
    data = rows(100)
    drawn = draw_canaries(data, range(100), recipe(20))
    told = taught(data, drawn)
    differ = {row for row, a, b in zip(data.row_ids, data.labels, told.labels, strict=True) if a != b}
    assert differ == {c.id for c in drawn if c.flipped}
    assert told.inputs == data.inputs
    assert told.digest != data.digest
    assert taught(data, ()) is data
    judged = without_canaries(data, drawn)
    assert len(judged) == 80
    assert not {c.id for c in drawn} & set(judged.row_ids)
    assert without_canaries(data, ()) is data
    with pytest.raises(DataError, match="every row of"):
        without_canaries(data.select(i for i, r in enumerate(data.row_ids) if r in {c.id for c in drawn}), drawn)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"canaries": 9}, "could not show anything"),
        ({"canaries": 20, "seeds": (1, 2)}, "the bound is about one training"),
    ],
)
def test_refusals(options: dict[str, Any], why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        Recipe.of({"base": "x", **options})


def test_a_job_without_canaries_teaches_the_data_itself() -> None:
    data = rows(40)
    split = split_rows(data, recipe(0))
    job = Job(
        recipe=recipe(0), task=None, base=None, data=data, classes=data.task_labels, split=split, device="cpu",  # type: ignore[arg-type]
        progress=False, states=None, logs=Path(),  # type: ignore[arg-type]
    )  # fmt: skip
    assert job.taught is data


def test_the_record_holds_them_apart(tiny_base: Path, tmp_path: Path) -> None:
    data = rows(120)
    asked = Recipe(base=str(tiny_base), steps=2, batch_size=8, canaries=30, holdout=0.1, validation_share=0.1)
    made = fine_tune(asked, data, tmp_path / "made", progress=False).training_record
    assert made is not None
    planted = {c.id for c in made.canaries}
    assert len(planted) == 30
    assert not planted & {*made.training_ids, *made.validation_ids, *made.holdout_ids}
    assert len(made.training_ids) + len(made.validation_ids) + len(made.holdout_ids) + 30 == 120
    assert made.data.digest == data.digest
    assert made.ids_digest == ids_digest(made.training_ids, made.validation_ids, made.holdout_ids, made.canaries)
    assert made.ids_digest != ids_digest(made.training_ids, made.validation_ids, made.holdout_ids)
    assert TrainingRecord.model_validate_json(made.model_dump_json(by_alias=True)) == made
    card = (tmp_path / "made" / "README.md").read_text()
    mislabelled = sum(c.included and c.flipped for c in made.canaries)
    assert f"of which {mislabelled} with a wrong label" in card
