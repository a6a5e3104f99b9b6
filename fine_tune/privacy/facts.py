"""What happened in a private training, as plain data, and the sentences that speak of it. It claims nothing."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fine_tune.privacy.accounting import Phase
from fine_tune.privacy.settings import Accountant

Standing = Literal["public", "charged", "private", "not used"]
Sampling = Literal["poisson", "shuffled", "other"]
Purpose = Literal["training", "resumed training", "tuning"]


class Closed(BaseModel):
    """Plain data that takes no field it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Remark(Closed):
    """A sentence with named places, so that a report can say it in its reader's language.

    Attributes:
        text: English, with ``{name}`` places.
        params: what fills them.
    """

    text: str
    params: dict[str, str | int | float] = Field(default_factory=dict)

    def __str__(self) -> str:
        out = self.text
        for name, value in self.params.items():
            out = out.replace("{" + name + "}", str(value))
        return out


def message(text: str, /, **params: str | int | float) -> Remark:
    """Shorthand for `Remark`; the word that the catalogue extraction looks for."""
    return Remark(text=text, params=params)


class Outside(Closed):
    """Something that was fitted or chosen beside the private steps.

    Attributes:
        name: what it is, such as ``vocabulary`` or ``hyperparameter search``.
        standing: ``public``: rests on nothing that is to be protected. ``charged``: its cost is in epsilon. ``private``:
            rests on the protected rows and was not charged, which leaves no epsilon to state. ``not used``.
        reason: why it stands so.
    """

    name: str
    standing: Standing
    reason: Remark


class Release(Closed):
    """A run of noisy steps that epsilon covers.

    Attributes:
        purpose: ``training``: the planned steps. ``resumed training``: steps taken once more with fresh noise. ``tuning``:
            an earlier training on these rows.
        noise_multiplier, sampling_rate: of each step.
        steps: noisy sums that were drawn, empty batches included.
    """

    purpose: Purpose
    noise_multiplier: float = Field(ge=0)
    sampling_rate: float = Field(gt=0, le=1)
    steps: int = Field(ge=0)

    @property
    def phase(self) -> Phase:
        """The same for the accountant."""
        return Phase(noise_multiplier=self.noise_multiplier, sampling_rate=self.sampling_rate, steps=self.steps)


class Facts(Closed):
    """What happened, before anything is claimed of it.

    Attributes:
        unit: ``example``, or the column whose values are protected.
        units: N, how many of them the training rows hold.
        rows: training rows.
        expected_batch: B, units a step on average.
        sampling: how batches were really drawn.
        sampling_rate: q, probability with which a unit takes part in a step.
        max_grad_norm: norm that a unit's contribution is clipped to.
        noise_multiplier: sigma.
        delta: failure probability asked for.
        accountant: what epsilon is computed by.
        planned_steps, taken_steps, empty_steps: steps fixed up front, taken, and taken without a single unit. The last is an
            outcome of the draw, which epsilon does not cover; see `Ledger.not_covered`.
        releases: everything that is composed.
        finite: every clipped sum and every noisy gradient was finite.
        self_tested: the clipped sums agreed with one-at-a-time clipping before training.
        gradients: which path computed them.
        secure_rng: sampling and noise started from the operating system's entropy.
        target_epsilon: what was asked for, if it was.
    """

    unit: str
    units: int = Field(ge=0)
    rows: int = Field(ge=0)
    expected_batch: int = Field(ge=1)
    sampling: Sampling
    sampling_rate: float
    max_grad_norm: float
    noise_multiplier: float
    delta: float
    accountant: Accountant
    planned_steps: int
    taken_steps: int
    empty_steps: int = 0
    releases: tuple[Release, ...]
    finite: bool
    self_tested: bool
    gradients: str
    secure_rng: bool
    target_epsilon: float | None = None
