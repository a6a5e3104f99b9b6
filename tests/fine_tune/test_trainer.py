"""What we replace in the Trainer is there, in the transformers that is installed, and it is called."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import pytest

from fine_tune.arguments import Extent, Place, trainer_arguments
from fine_tune.recipe import Recipe

PRIVATE = ("_get_train_sampler", "_load_from_checkpoint", "_load_optimizer_and_scheduler")


def test_what_is_replaced_is_known() -> None:
    from fine_tune.trainer import SteadyTrainer

    own = {name for name, value in vars(SteadyTrainer).items() if inspect.isfunction(value)}
    assert own == {*PRIVATE, "compute_loss", "save_model"}


@pytest.mark.parametrize("name", [*PRIVATE, "compute_loss", "save_model"])
def test_the_trainer_still_calls_it(name: str) -> None:
    """A method that nobody calls any more would be skipped in silence."""
    from transformers import Trainer

    from fine_tune.trainer import SteadyTrainer

    assert hasattr(Trainer, name), f"transformers' Trainer has no {name}; fine_tune.trainer must find another way"
    theirs = inspect.signature(getattr(Trainer, name)).parameters
    ours = inspect.signature(getattr(SteadyTrainer, name)).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in ours.values())
    assert takes_all or list(ours) == list(theirs)
    homes = [c for c in Trainer.__mro__ if c is not object]
    assert any(f"self.{name}" in inspect.getsource(c) for c in homes), f"transformers' Trainer never calls {name}"


def test_loss_division_is_still_asked_for() -> None:
    """`fine_tune.train` sets this attribute of a Trainer, which would otherwise be an attribute like any other."""
    from transformers import Trainer

    assert "model_accepts_loss_kwargs" in inspect.getsource(Trainer.training_step)


def test_each_training_has_its_own_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import TrainerCallback
    from transformers.integrations import integration_utils

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", TrainerCallback)
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "elsewhere")
    asked = Recipe.of({"base": "x", "steps": 2, "batch_size": 2, "report_to": ["wandb"]})
    for name in ("first-logs", "second-logs"):
        place = Place(
            device="cpu", processes=1, scratch=tmp_path, logs=tmp_path / name, validates=False, by_length=True
        )
        made = trainer_arguments(asked, Extent.of(asked, 4), place)
        told = getattr(made, "logging_dir", None) or os.environ["TENSORBOARD_LOGGING_DIR"]
        assert Path(told).name == name
