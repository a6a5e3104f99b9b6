"""What training is asked to do, and what it did: plain data. Nothing here trains, and no clock time is kept, so that
the same training gives the same record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fine_tune.errors import RecipeError

Method = Literal["full", "head", "lora"]

LEARNING_RATES: dict[Method, float] = {"full": 5e-5, "head": 1e-3, "lora": 5e-4}


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Recipe(_Closed):
    """Everything that changes the weights, besides the data.

    Attributes:
        base: the model to start from: a folder or a hub id.
        task: Hugging Face name of the task.
        method: ``full`` trains every weight, ``head`` the newly added layers alone, ``lora`` low-rank additions, which
            are merged into the weights afterwards.
        seed: of everything random.
        epochs, steps: how long; one of them, three epochs if neither is given.
        learning_rate: the method's usual one if None, see `LEARNING_RATES`.
        batch_size: rows a step.
        weight_decay: of AdamW.
        warmup_ratio: share of the steps over which the learning rate grows; it then falls linearly to zero.
        max_length: tokens an input is cut to; the model's own limit if None.
        validation_share: share of the rows held out, by cluster where the data has clusters; if None, 0.1 with
            early stopping and 0 without.
        early_stopping: evaluations without a lower validation loss after which training stops and the best weights
            are taken; None trains to the end and takes the last.
        lora_r, lora_alpha, lora_dropout: rank, scale and dropout of ``lora`` (Hu et al., 2021).
        trust_remote_code: run code that comes with the base model.
    """

    base: str = Field(min_length=1)
    task: str = "text-classification"
    method: Method = "full"
    seed: int = Field(default=0, ge=0, lt=2**32)
    epochs: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=32, ge=1)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    max_length: int | None = Field(default=None, ge=2)
    validation_share: float | None = Field(default=None, ge=0, lt=1)
    early_stopping: int | None = Field(default=None, ge=1)
    lora_r: int = Field(default=8, ge=1)
    lora_alpha: float = Field(default=16, gt=0)
    lora_dropout: float = Field(default=0.05, ge=0, lt=1)
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both")
        if self.early_stopping is not None and self.validation_share == 0:
            raise ValueError("early_stopping needs a validation_share above 0")
        return self

    @classmethod
    def of(cls, values: dict[str, Any]) -> Recipe:
        """A recipe from plain values.

        Raises:
            RecipeError: a key is unknown or missing, or a value is out of range; all of them are listed.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            said = [f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in error.errors()]
            raise RecipeError(
                "the recipe cannot be used: " + "; ".join(said), expected=f"keys among {', '.join(cls.model_fields)}"
            ) from None

    @property
    def rate(self) -> float:
        """The learning rate, given or usual."""
        return LEARNING_RATES[self.method] if self.learning_rate is None else self.learning_rate

    @property
    def held_out(self) -> float:
        """The share of the rows that is held out, given or usual."""
        if self.validation_share is not None:
            return self.validation_share
        return 0.0 if self.early_stopping is None else 0.1

    @property
    def digest(self) -> str:
        """sha256 over every field."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class DataNote(_Closed):
    """Which data was trained on: name, digest and number of rows."""

    name: str
    digest: str
    rows: int


class HistoryPoint(_Closed):
    """Losses at one step; None where not taken."""

    step: int
    loss: float | None = None
    validation_loss: float | None = None


class TrainingRecord(_Closed):
    """What training did; it lies beside the weights as ``training_record.json``.

    Attributes:
        recipe: what was asked.
        base_digest: of the model that it started from.
        data: what it was given.
        classes: in the order of the outputs.
        training_ids, validation_ids: row ids of both parts.
        ids_digest: sha256 over both lists.
        seeds: by purpose.
        versions: of the libraries that decide the numbers.
        device: kind of device, such as ``cpu``.
        trained_parameters, parameters: weights that could move, and all of them.
        truncated: training inputs cut at the maximum length.
        steps: optimiser steps taken.
        best_step: the step whose weights were kept, if early stopping chose it.
        final_loss, validation_loss: mean training loss of the last report; validation loss of the kept weights.
        history: losses along the way.
    """

    schema_: Literal["plumbline.training/v1"] = Field(default="plumbline.training/v1", alias="schema")
    recipe: Recipe
    base_digest: str
    data: DataNote
    classes: tuple[str, ...]
    training_ids: tuple[str, ...]
    validation_ids: tuple[str, ...]
    ids_digest: str
    seeds: dict[str, int]
    versions: dict[str, str]
    device: str
    trained_parameters: int
    parameters: int
    truncated: int
    steps: int
    best_step: int | None = None
    final_loss: float | None = None
    validation_loss: float | None = None
    history: tuple[HistoryPoint, ...] = ()

    def same_request(self, recipe: Recipe, base_digest: str, data_digest: str) -> bool:
        """Whether this record answers the same request: recipe, base weights and data."""
        return (self.recipe, self.base_digest, self.data.digest) == (recipe, base_digest, data_digest)


def ids_digest(training: Sequence[str], validation: Sequence[str]) -> str:
    """sha256 over the ids of both parts, in order."""
    body = "\n".join(("training", *training, "validation", *validation))
    return hashlib.sha256(body.encode()).hexdigest()
