"""What private training is asked to do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fine_tune.errors import RecipeError
from fine_tune.privacy.settings import Privacy
from fine_tune.recipe import Recipe


def test_a_budget_or_noise_and_not_both() -> None:
    for values in ({}, {"epsilon": 1, "noise_multiplier": 1}):
        with pytest.raises(RecipeError, match="epsilon or noise_multiplier"):
            Recipe.of({"base": "x", "privacy": {"delta": 1e-5, **values}})


@pytest.mark.parametrize(
    "values",
    [
        {"epsilon": 0},
        {"epsilon": -1},
        {"epsilon": float("inf")},
        {"noise_multiplier": 0},
        {"noise_multiplier": float("nan")},
        {"epsilon": 1, "delta": 0},
        {"epsilon": 1, "delta": 1},
        {"epsilon": 1, "max_grad_norm": 0},
        {"epsilon": 1, "logical_batch": 0},
        {"epsilon": 1, "physical_batch": 0},
        {"epsilon": 1, "accountant": "gdp"},
        {"epsilon": 1, "gradients": "none"},
        {"epsilon": 1, "unit": ""},
        {"epsilon": 1, "batch_norm": "group"},
        {"epsilon": 1, "sampler": "shuffled"},
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="privacy"):
        Recipe.of({"base": "x", "privacy": {"delta": 1e-5, **values}})


def test_the_seed_of_the_noise_is_secret_unless_asked_otherwise() -> None:
    assert Privacy(epsilon=1, delta=1e-5).secure_rng


def test_every_setting_changes_the_digest() -> None:
    usual = Recipe.of({"base": "x", "privacy": {"epsilon": 1, "delta": 1e-5}})
    others = [
        {"epsilon": 2}, {"delta": 1e-6}, {"max_grad_norm": 0.5}, {"unit": "cluster"}, {"accountant": "rdp"},
        {"logical_batch": 8}, {"physical_batch": 8}, {"gradients": "hooks"}, {"batch_norm": "hold"},
        {"secure_rng": False}, {"earlier": ("a",)},
    ]  # fmt: skip
    digests = {Recipe.of({"base": "x", "privacy": {"epsilon": 1, "delta": 1e-5, **other}}).digest for other in others}
    assert len(digests | {usual.digest}) == len(others) + 1


def test_a_recipe_is_read_without_any_engine() -> None:
    """The schema and the plan are checked where neither torch nor opacus is installed."""
    code = (
        "import sys; from fine_tune.recipe import Recipe;"
        "Recipe.of({'base': 'x', 'privacy': {'epsilon': 1, 'delta': 1e-5}});"
        "from fine_tune.privacy.options import check_options;"
        "sys.exit(int(bool({'torch', 'opacus', 'transformers'} & set(sys.modules))))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
