"""What training is asked to do, and what it did: plain data. Nothing here trains, and no clock time is kept, so that
the same training gives the same record.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fine_tune.canaries import FEWEST, Canary
from fine_tune.errors import RecipeError
from fine_tune.privacy.ledger import Ledger
from fine_tune.privacy.settings import Privacy

if TYPE_CHECKING:
    from fine_tune.data import AuditData

Method = Literal["full", "head", "bias", "lora", "adalora"]
Schedule = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt",
    "cosine_with_min_lr", "warmup_stable_decay",
]  # fmt: skip

LEARNING_RATES: dict[Method, float] = {"full": 5e-5, "head": 1e-3, "bias": 1e-3, "lora": 5e-4, "adalora": 1e-3}
UNMERGED = ("prefix", "prompt")
SEARCHABLE = (
    "learning_rate", "batch_size", "epochs", "steps", "weight_decay", "warmup_ratio", "schedule", "dropout",
    "label_smoothing", "class_weights", "method", "lora_r", "lora_alpha", "lora_dropout",
)  # fmt: skip
MOST_TRIALS = 100

Value = str | int | float | None
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Recipe(_Closed):
    """Everything that changes the weights, besides the data.

    Attributes:
        base: the model to start from: a folder or a hub id.
        task: Hugging Face name of the task.
        method: which weights move. ``full``: every one. ``head``: the newly added layers. ``bias``: the biases and the
            newly added layers (BitFit; Ben Zaken et al., 2022). ``lora``, ``adalora``: low-rank additions to the
            linear layers (Hu et al., 2021; Zhang et al., 2023) and the newly added layers; the additions are merged
            into the weights afterwards. Prefix and prompt tuning are refused: they can't be merged.
        seed: of everything random.
        seeds: two or more different seeds: one model is trained for each, and together they are one ensemble. All of
            them train, validate and hold out the same rows. Not beside ``seed`` or ``search``.
        split_seed: of the draw of holdout and validation rows alone; ``seed``, or the first of ``seeds``, if None.
        epochs, steps: how long; one of them, three epochs if neither is given.
        learning_rate: the method's usual one if None, see `LEARNING_RATES`.
        schedule: how the learning rate moves after the warm-up, by transformers' name.
        schedule_options: what the schedule needs besides, such as ``num_cycles`` or ``min_lr``.
        warmup_ratio: share of the steps over which the learning rate grows; ``constant`` ignores it.
        batch_size: rows a step, over all processes together.
        gradient_accumulation: pieces that a step's rows are computed in, one after another, to save memory. A step
            still sees ``batch_size`` rows.
        gradient_checkpointing: compute activations twice instead of keeping them, to save memory.
        precision: what the arithmetic runs in; the weights stay float32. ``fp16`` needs an accelerator.
        compile: compile the model first; faster in long trainings, and numbers may differ in their last digits.
        weight_decay: of AdamW.
        dropout: sets each dropout rate of the model; the base's own if None.
        label_smoothing: share of each label that is spread over all classes (Szegedy et al., 2016).
        class_weights: what a row of each class counts: ``balanced`` for the inverse of its share of the training rows,
            or a number for each class.
        sample_weights: count each row as much as the data's ``weight`` role says, where it has that role. The product
            with the class weights is scaled to a mean of one over the training rows.
        reweigh: sensitive features of the training data; crossed, if several. Each row also counts P(g) P(y) / P(g, y), for its
            group g and label y, so that label and group are independent among the training rows (Kamiran and Calders,
            2012). Multiplied with the class and sample weights; shares count the latter. A row without a group counts 1.
        balance: sensitive features, crossed if several: in each pass every group is drawn equally often, rows of small
            groups several times. A pass stays as long as it was. Not beside ``reweigh``.
        max_length: tokens an input is cut to; the model's own limit if None.
        holdout: share of the rows, drawn at random one by one, that is kept away from training and validation, so
            that membership tests have rows that the model has never seen.
        canaries: how many training rows are canaries, or 0: half of them get another class as their label, and a fair coin for
            each decides whether it is trained on or never seen. What the model gives away of the coins is a lower bound on
            its epsilon. They are no part of validation, holdout or any figure of how good the model is.
        validation_share: share of the remaining rows held out for validation, by cluster where the data has clusters;
            if None, 0.1 with early stopping or a search and 0 without.
        early_stopping: evaluations without a lower validation loss after which training stops and the best weights
            are taken; None trains to the end and takes the last.
        lora_r, lora_alpha, lora_dropout: rank, scale and dropout of ``lora`` and ``adalora``.
        search: values to try, by field; every combination is trained, and the one of the lowest validation loss kept.
        augmented_by: digest of the rows that `plumbline harden` added to the data, texts that attacks and noise had
            changed, so that the record of a hardened model names them. They are part of the data given.
        report_to: trackers, by transformers' names, such as ``tensorboard``, ``mlflow`` or ``wandb``. They change no
            weight and are no part of `digest`.
        privacy: train with differential privacy; `docs/private-fine-tuning.md` says what each option then means.
        trust_remote_code: run code that comes with the base model.
    """

    base: str = Field(min_length=1)
    task: str = "text-classification"
    method: Method = "full"
    seed: Seed = 0
    seeds: tuple[Seed, ...] | None = Field(default=None, min_length=2, max_length=MOST_TRIALS)
    split_seed: Seed | None = None
    epochs: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    schedule: Schedule = "linear"
    schedule_options: dict[str, int | float | str] = Field(default_factory=dict)
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    batch_size: int = Field(default=32, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    gradient_checkpointing: bool = False
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False
    weight_decay: float = Field(default=0.01, ge=0)
    dropout: float | None = Field(default=None, ge=0, lt=1)
    label_smoothing: float = Field(default=0, ge=0, lt=1)
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = None
    sample_weights: bool = True
    reweigh: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    balance: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    max_length: int | None = Field(default=None, ge=2)
    holdout: float = Field(default=0, ge=0, lt=1)
    canaries: int = Field(default=0, ge=0)
    validation_share: float | None = Field(default=None, ge=0, lt=1)
    early_stopping: int | None = Field(default=None, ge=1)
    lora_r: int = Field(default=8, ge=1)
    lora_alpha: float = Field(default=16, gt=0)
    lora_dropout: float = Field(default=0.05, ge=0, lt=1)
    search: dict[str, tuple[Value, ...]] = Field(default_factory=dict)
    augmented_by: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    report_to: tuple[str, ...] = ()
    privacy: Privacy | None = None
    trust_remote_code: bool = False

    @field_validator("method", mode="before")
    @classmethod
    def _mergeable(cls, value: Any) -> Any:
        if value in UNMERGED:
            raise ValueError(
                f"{value} tuning learns inputs, not weights; it can't be merged, so from_pretrained would load the"
                " model without it; use lora, adalora, bias or head"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both")
        if self.early_stopping is not None and self.validation_share == 0:
            raise ValueError("early_stopping needs a validation_share above 0")
        if self.batch_size % self.gradient_accumulation and "batch_size" not in self.search:
            raise ValueError(
                f"a batch of {self.batch_size} rows cannot be split into {self.gradient_accumulation} equal pieces;"
                " gradient_accumulation must divide batch_size"
            )
        for named in (self.reweigh, self.balance):
            if len(set(named)) < len(named):
                raise ValueError(f"{', '.join(named)} names a feature twice")
        if self.reweigh and self.balance:
            raise ValueError(
                "reweigh beside balance would weigh by shares that the draws no longer have; give one of them"
            )
        if 0 < self.canaries < FEWEST:
            raise ValueError(f"{self.canaries} canaries could not show anything; give 0, or at least {FEWEST}")
        if self.holdout + self.held_out >= 1:
            raise ValueError("holdout and validation_share leave nothing to train on")
        if self.seeds is not None:
            self._refuse_beside_seeds(self.seeds)
        if self.search:
            if self.validation_share == 0:
                raise ValueError("search needs a validation_share above 0")
            self.trials()
        return self

    def _refuse_beside_seeds(self, seeds: tuple[int, ...]) -> None:
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice:
            raise ValueError(f"seeds names {', '.join(map(str, twice))} more than once; each member needs its own seed")
        if self.seed:
            raise ValueError("give seed or seeds, not both; split_seed fixes which rows are held out")
        if self.canaries:
            raise ValueError(
                "canaries beside seeds would be trained on by every member, and the bound is about one training; train one"
                " model with canaries"
            )
        if self.search:
            raise ValueError(
                "search beside seeds might keep other values for each member, and no spread over seeds could be told;"
                " search with one seed first, then give seeds to the recipe that won"
            )

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

    def trials(self) -> list[tuple[dict[str, Value], Recipe]]:
        """Each combination of `search` and the recipe that trains it, in the order written.

        Raises:
            ValueError: a field can't be searched, has no values, or a combination is no recipe.
        """
        unknown = [name for name in self.search if name not in SEARCHABLE]
        if unknown:
            raise ValueError(f"search cannot vary {', '.join(unknown)}; it can vary {', '.join(SEARCHABLE)}")
        count = math.prod(len(values) for values in self.search.values())
        if not 1 <= count <= MOST_TRIALS:
            raise ValueError(f"search asks for {count} trials; give 1 to {MOST_TRIALS}")
        own = self.model_dump(exclude={"search"}) | {"validation_share": self.held_out}
        combinations = [dict(zip(self.search, values, strict=True)) for values in product(*self.search.values())]
        return [(chosen, Recipe.model_validate(own | chosen)) for chosen in combinations]

    def members(self) -> list[Recipe]:
        """The recipe of each of `seeds`, in order; all draw the same rows. Empty without `seeds`."""
        shared = {"seeds": None, "split_seed": self.drawing_seed}
        return [self.model_copy(update={**shared, "seed": seed}) for seed in self.seeds or ()]

    @property
    def drawing_seed(self) -> int:
        """The seed of the draw of holdout and validation rows."""
        if self.split_seed is not None:
            return self.split_seed
        return self.seeds[0] if self.seeds else self.seed

    @property
    def rate(self) -> float:
        """The learning rate, given or usual."""
        return LEARNING_RATES[self.method] if self.learning_rate is None else self.learning_rate

    @property
    def held_out(self) -> float:
        """The share of the rows that is held out for validation, given or usual."""
        if self.validation_share is not None:
            return self.validation_share
        return 0.1 if self.early_stopping is not None or self.search else 0.0

    @property
    def weighty(self) -> Recipe:
        """This recipe without what changes no weight."""
        return self.model_copy(update={"report_to": ()})

    @property
    def digest(self) -> str:
        """sha256 over every field that changes the weights."""
        return hashlib.sha256(self.weighty.model_dump_json().encode()).hexdigest()


class DataNote(_Closed):
    """Which data was trained on: name, digest and number of rows."""

    name: str
    digest: str
    rows: int

    @classmethod
    def of(cls, data: AuditData) -> DataNote:
        """The note on some data."""
        return cls(name=data.name, digest=data.digest, rows=len(data))


class HistoryPoint(_Closed):
    """Losses at one step; None where not taken."""

    step: int
    loss: float | None = None
    validation_loss: float | None = None


class GroupCell(_Closed):
    """The training rows of one group with one label: how many, and what reweighing made each count."""

    group: tuple[str, ...]
    label: str
    rows: int
    weight: float


class WeightNote(_Closed):
    """How rows were weighted.

    Attributes:
        classes: weight of a row by its class, before scaling; empty where classes counted alike.
        by_row: the data's ``weight`` role counted.
        effective_rows: Kish's effective sample size, (sum of weights)^2 / sum of squares.
        cells: of reweighing, before scaling; empty without it.
        ungrouped: rows that reweighing left at 1, because they have no group.
    """

    classes: dict[str, float] = Field(default_factory=dict)
    by_row: bool
    effective_rows: float
    cells: tuple[GroupCell, ...] = ()
    ungrouped: int = 0


class GroupDraws(_Closed):
    """One group under `Recipe.balance`: its training rows, and how often they are drawn in a pass on average."""

    group: tuple[str, ...]
    rows: int
    draws: float


class BalanceNote(_Closed):
    """How rows were drawn by group; ``ungrouped`` rows have no group and are drawn once a pass."""

    features: tuple[str, ...]
    groups: tuple[GroupDraws, ...]
    ungrouped: int


class Trial(_Closed):
    """One combination of a search: what was tried, and what came out. `weights` is `Checkpoint.weights_digest`."""

    values: dict[str, Value]
    validation_loss: float | None
    steps: int
    weights: str


class TrainingRecord(_Closed):
    """What training did; it lies beside the weights as ``training_record.json``.

    Attributes:
        recipe: what was asked.
        base_digest: of the model that it started from.
        from_scratch: that model was an architecture without weights; every weight was drawn at random.
        data: what it was given.
        classes: in the order of the outputs.
        training_ids, validation_ids: row ids of both parts; canaries are in neither.
        holdout_ids: row ids that `Recipe.holdout` kept away from both.
        canaries: rows with a coin, trained on or left out, in the data's order.
        ids_digest: sha256 over these lists.
        seeds: by purpose.
        versions: of the libraries that decide the numbers.
        device: kind of device, such as ``cpu``.
        trained_parameters, parameters: weights that could move, and all of them.
        truncated: training inputs cut at the maximum length.
        steps: optimiser steps taken.
        best_step: the step whose weights were kept, if early stopping chose it.
        final_loss, validation_loss: mean training loss of the last report; validation loss of the kept weights.
        history: losses along the way.
        processes: how many trained together.
        weighting: how rows were weighted; None where all counted alike.
        balancing: how rows were drawn by group; None where each was drawn once a pass.
        trials: every combination of a search, in order.
        kept_trial: which of them, from 0, these weights are; the record's other figures are that trial's.
        ledger: what may be said of the training's privacy; None where it was not private. A private record holds no
            training loss, which would be a function of the protected rows without noise.
    """

    schema_: Literal["plumbline.training/v1"] = Field(default="plumbline.training/v1", alias="schema")
    recipe: Recipe
    base_digest: str
    from_scratch: bool = False
    data: DataNote
    classes: tuple[str, ...]
    training_ids: tuple[str, ...]
    validation_ids: tuple[str, ...]
    holdout_ids: tuple[str, ...] = ()
    canaries: tuple[Canary, ...] = ()
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
    processes: int = 1
    weighting: WeightNote | None = None
    balancing: BalanceNote | None = None
    trials: tuple[Trial, ...] = ()
    kept_trial: int | None = None
    ledger: Ledger | None = None

    def same_request(self, recipe: Recipe, base_digest: str, data_digest: str) -> bool:
        """Whether this record answers the same request: recipe, base weights and data."""
        made = (self.recipe.weighty, self.base_digest, self.data.digest)
        return made == (recipe.weighty, base_digest, data_digest)


def ids_digest(
    training: Sequence[str], validation: Sequence[str], holdout: Sequence[str] = (), canaries: Sequence[Canary] = ()
) -> str:
    """sha256 over the ids of the parts, in order; holdout and canaries leave no trace where there are none."""
    last = ("holdout", *holdout) if holdout else ()
    if canaries:
        last = (*last, "canaries", *(c.model_dump_json() for c in canaries))
    body = "\n".join(("training", *training, "validation", *validation, *last))
    return hashlib.sha256(body.encode()).hexdigest()
