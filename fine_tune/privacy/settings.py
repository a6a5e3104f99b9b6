"""What private training is asked to do, as plain data. It computes nothing and imports no engine, so that a recipe can be
read where neither torch nor opacus is installed.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

EXAMPLE = "example"

Accountant = Literal["prv", "rdp"]
Gradients = Literal["auto", "bookkeeping", "ghost", "hooks"]


class Privacy(BaseModel):
    """How training is made differentially private: DP-SGD (Abadi et al., 2016) with Poisson sampling.

    Attributes:
        epsilon: the budget, for this training and what it charges beside; the noise is solved for it. Not beside
            ``noise_multiplier``.
        noise_multiplier: standard deviation of the noise over ``max_grad_norm``; epsilon is what comes out.
        delta: probability with which the guarantee may fail; below 1 / units, or there is no epsilon.
        max_grad_norm: L2 norm that the contribution of one unit to a step is clipped to.
        unit: whose presence is protected: ``example``, or the data's ``cluster`` role or a column that names a person.
            Then persons are drawn, and one that is drawn contributes a single example, drawn anew, to that step.
        accountant: what epsilon is computed by: ``prv`` (Gopi et al., 2021) or ``rdp`` (Mironov, 2017). The other one's
            figure is recorded beside it.
        logical_batch: expected units a step; ``Recipe.batch_size`` if None. The realised number varies.
        physical_batch: rows that are computed at once; changes memory and speed alone.
        gradients: how clipped sums are computed. ``bookkeeping`` (Bu et al., 2023), ``ghost`` (Li et al., 2022) and
            ``hooks`` give the same sums; ``auto`` takes the first that covers the model.
        batch_norm: ``hold`` keeps a BatchNorm's statistics as they came with the base, so that a row's output depends on that
            row alone; ``refuse`` stops instead.
        secure_rng: sampling and noise start from the operating system's entropy, which is forgotten at the end. False draws
            them from the recipe's seed, so that the training can be repeated, and so can the noise by whoever holds the
            training record: for tests and experiments alone.
        earlier: folders of checkpoints that were trained privately on rows among these, to tune or before; what they spent is
            charged too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epsilon: float | None = Field(default=None, gt=0)
    noise_multiplier: float | None = Field(default=None, gt=0)
    delta: float = Field(gt=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    unit: str = Field(default=EXAMPLE, min_length=1)
    accountant: Accountant = "prv"
    logical_batch: int | None = Field(default=None, ge=1)
    physical_batch: int = Field(default=32, ge=1)
    gradients: Gradients = "auto"
    batch_norm: Literal["refuse", "hold"] = "refuse"
    secure_rng: bool = True
    earlier: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("give epsilon or noise_multiplier, and not both")
        return self
