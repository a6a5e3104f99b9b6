"""Recipes as plain data: what they refuse, what they leave out of their digest, and the trials of a search."""

from __future__ import annotations

import json

import pytest

from fine_tune.errors import RecipeError
from fine_tune.recipe import LEARNING_RATES, Recipe, ids_digest


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ({"batch_size": 32, "gradient_accumulation": 5}, "gradient_accumulation must divide batch_size"),
        ({"holdout": 0.6, "validation_share": 0.4}, "leave nothing to train on"),
        ({"holdout": 1}, "holdout"),
        ({"schedule": "zigzag"}, "schedule"),
        ({"precision": "int8"}, "precision"),
        ({"label_smoothing": 1}, "label_smoothing"),
        ({"dropout": -0.1}, "dropout"),
        ({"search": {"base": ["x", "y"]}}, "search cannot vary base"),
        ({"search": {"learning_rate": []}}, "search asks for 0 trials"),
        ({"search": {"learning_rate": [0.1] * 101}}, "search asks for 101 trials"),
        ({"search": {"learning_rate": [0.1, -1]}}, "learning_rate"),
        ({"search": {"learning_rate": [0.1]}, "validation_share": 0}, "search needs a validation_share"),
        ({"search": {"steps": [5]}, "epochs": 1}, "epochs or steps"),
    ],
)
def test_bad_recipes_are_named(values: dict[str, object], seen: str) -> None:
    with pytest.raises(RecipeError, match=seen):
        Recipe.of({"base": "x", **values})


def test_every_method_has_a_usual_rate() -> None:
    assert {Recipe(base="x", method=method).rate for method in LEARNING_RATES} == set(LEARNING_RATES.values())


def test_trackers_are_no_part_of_the_digest() -> None:
    plain = Recipe(base="x")
    assert Recipe(base="x", report_to=("wandb",)).digest == plain.digest
    assert Recipe(base="x", holdout=0.5).digest != plain.digest


def test_trials_are_every_combination_in_order() -> None:
    recipe = Recipe.of({"base": "x", "seed": 4, "search": {"method": ["head", "lora"], "steps": [5, 6, 7]}})
    trials = recipe.trials()
    assert [(v["method"], v["steps"]) for v, _ in trials] == [(m, s) for m in ("head", "lora") for s in (5, 6, 7)]
    for values, trial in trials:
        assert (trial.method, trial.steps, trial.seed, trial.search) == (values["method"], values["steps"], 4, {})
        assert trial.held_out == 0.1


def test_a_recipe_survives_json() -> None:
    recipe = Recipe.of(
        {"base": "x", "class_weights": {"a": 1.5}, "search": {"dropout": [0, 0.1]}, "report_to": ["mlflow"]}
    )
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert Recipe.of(json.loads(recipe.model_dump_json())) == recipe


def test_the_digest_of_ids_tells_the_parts_apart() -> None:
    seen = {
        ids_digest(["a", "b"], []), ids_digest(["a"], ["b"]), ids_digest(["a"], [], ["b"]), ids_digest(["b"], ["a"]),
    }  # fmt: skip
    assert len(seen) == 4
