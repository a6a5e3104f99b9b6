"""Each option of a recipe has one standing under privacy, in code and in the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fine_tune.errors import RecipeError
from fine_tune.privacy.options import OPTIONS, check_options
from fine_tune.recipe import Recipe

PAGE = Path(__file__).parents[3] / "docs" / "private-fine-tuning.md"


def recipe(*, private: bool = True, **options: Any) -> Recipe:
    privacy = {"privacy": {"epsilon": 1, "delta": 1e-5, **options.pop("privacy", {})}} if private else {}
    return Recipe.of({"base": "x", **privacy, **options})


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"class_weights": "balanced"}, "class_weights"),
    ({"reweigh": ["gender"]}, "reweigh"),
    ({"balance": ["gender"]}, "balance"),
    ({"early_stopping": 3}, "early_stopping"),
    ({"search": {"learning_rate": [1e-4, 1e-3]}}, "search"),
    ({"seeds": [1, 2]}, "seeds"),
    ({"report_to": ["tensorboard"]}, "report_to"),
    ({"gradient_accumulation": 2}, "gradient_accumulation"),
    ({"gradient_checkpointing": True}, "gradient_checkpointing"),
    ({"compile": True}, "compile"),
    ({"precision": "fp16"}, "fp16"),
    ({"method": "adalora"}, "adalora"),
    ({"precision": "bf16", "privacy": {"gradients": "ghost"}}, "ghost"),
]
ALLOWED: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.1},
    {"class_weights": {"a": 1.0, "b": 3.0}},
    {"validation_share": 0.1},
    {"holdout": 0.1},
    {"precision": "bf16"},
    {"privacy": {"batch_norm": "hold"}},
    {"privacy": {"earlier": ["a"]}},
    *({"method": method} for method in ("full", "lora", "bias", "head")),
]


@pytest.mark.parametrize(("options", "name"), REFUSED)
def test_refused_with_its_reason_and_a_way_out(options: dict[str, Any], name: str) -> None:
    with pytest.raises(RecipeError, match=name) as caught:
        check_options(recipe(**options))
    assert "cannot be private: " in str(caught.value)
    assert "to do: " in str(caught.value)


@pytest.mark.parametrize("options", ALLOWED)
def test_allowed(options: dict[str, Any]) -> None:
    check_options(recipe(**options))


@pytest.mark.parametrize("options", [options for options, _ in REFUSED if "privacy" not in options])
def test_nothing_is_refused_without_privacy(options: dict[str, Any]) -> None:
    check_options(recipe(private=False, **options))


def test_every_refusal_is_named_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        check_options(recipe(class_weights="balanced", early_stopping=2, compile=True))
    assert all(name in str(caught.value) for name in ("class_weights", "early_stopping", "compile"))


def test_every_option_of_a_recipe_has_a_standing() -> None:
    """A new field of a recipe must be thought about here before it can be private."""
    said = " ".join(f"{o.name} {o.why}" for o in OPTIONS)
    plain = {
        "base", "task", "method", "seed", "split_seed", "epochs", "steps", "learning_rate", "batch_size", "trust_remote_code",
        "schedule_options", "warmup_ratio", "lora_r", "lora_alpha", "lora_dropout", "privacy", "canaries",
    }  # fmt: skip
    words = said.replace("warm-up", "warmup_ratio").replace("weight decay", "weight_decay")
    missing = [name for name in Recipe.model_fields if name not in plain and name not in words]
    assert missing == []


def test_the_page_and_the_code_agree() -> None:
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    assert rows == [
        (f"`{o.name}`", o.meaning, f"{o.why[0].upper()}{o.why[1:]}" + (f"; {o.instead}" if o.instead else ""))
        for o in OPTIONS
    ]
