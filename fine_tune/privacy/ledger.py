"""What a private training may claim, and what it rests on: plain data, with the fields that NIST SP 800-226 asks for. A ledger
holds an epsilon only where every condition of the guarantee was met; otherwise it holds the reasons. It trains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fine_tune.errors import RecipeError
from fine_tune.privacy.accounting import PRV_ERROR, Phase, epsilon_spent
from fine_tune.privacy.settings import Accountant

Standing = Literal["public", "charged", "private", "not used"]
Sampling = Literal["poisson", "shuffled", "other"]
Purpose = Literal["training", "resumed training", "tuning"]

# An epsilon as large bounds nothing; RDP, which is cheap, tells whether it is as large.
MOST_BY_PRV = 1000

NEIGHBOURS = "add or remove one unit"
MECHANISM = "Poisson-subsampled Gaussian"


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Remark(_Closed):
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


def remark(text: str, /, **params: str | int | float) -> Remark:
    """Shorthand for `Remark`."""
    return Remark(text=text, params=params)


class Outside(_Closed):
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


class Release(_Closed):
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


class Facts(_Closed):
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


class Ledger(_Closed):
    """What may be said of the privacy of a training; made by `settle`.

    Attributes:
        facts: what it rests on.
        neighbours: which data sets are neighbours.
        mechanism: what was run.
        epsilon: the guarantee at ``facts.delta``; None where it can't be stood behind.
        epsilon_rdp, epsilon_prv: the same by either accountant; None where that one gives none.
        refusals: why there is no epsilon; empty where there is one.
        not_covered: what epsilon does not protect.
        outside: everything that was fitted or chosen beside the private steps.
        versions: of the libraries.
        known_issues: what is known of these versions.
    """

    schema_: Literal["plumbline.ledger/v1"] = Field(default="plumbline.ledger/v1", alias="schema")
    facts: Facts
    neighbours: str = NEIGHBOURS
    mechanism: str = MECHANISM
    epsilon: float | None
    epsilon_rdp: float | None = None
    epsilon_prv: float | None = None
    refusals: tuple[Remark, ...] = ()
    not_covered: tuple[Remark, ...] = ()
    outside: tuple[Outside, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    known_issues: tuple[Remark, ...] = ()

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.epsilon is None) != bool(self.refusals):
            raise ValueError("a ledger holds an epsilon or the reasons why there is none")
        if self.epsilon is not None and refusals(self.facts, self.outside):
            raise ValueError("a ledger holds an epsilon that its own facts speak against")
        return self


def settle(
    facts: Facts,
    *,
    outside: Sequence[Outside] = (),
    not_covered: Sequence[Remark] = (),
    versions: dict[str, str] | None = None,
) -> Ledger:
    """The ledger of a training: an epsilon where `refusals` finds nothing against it, otherwise the reasons."""
    found = list(refusals(facts, outside))
    spent: dict[Accountant, float | None] = {"rdp": None, "prv": None}
    if not found:
        phases = [release.phase for release in facts.releases]
        for name in spent:
            if name == "prv" and (spent["rdp"] is None or spent["rdp"] > MOST_BY_PRV):
                # Its mesh grows with epsilon, to minutes and gigabytes, for a figure that promises nothing.
                if name == facts.accountant:
                    found.append(
                        remark("Epsilon is beyond {most}, more than the PRV accountant is asked for.", most=MOST_BY_PRV)
                    )
                continue
            try:
                spent[name] = epsilon_spent(phases, facts.delta, name)
            except (RecipeError, ValueError, ArithmeticError, MemoryError) as error:
                if name == facts.accountant:
                    found.append(
                        remark("The {accountant} accountant gives no figure: {why}.", accountant=name, why=str(error))
                    )
    epsilon = None if found else spent[facts.accountant]
    if epsilon is not None and facts.target_epsilon is not None and epsilon > facts.target_epsilon:
        not_covered = (
            *not_covered,
            remark("The training spent {spent}, more than the {asked} that was asked for.", spent=epsilon, asked=facts.target_epsilon),
        )  # fmt: skip
    made = dict(versions or {})
    return Ledger(
        facts=facts, epsilon=epsilon, epsilon_prv=spent["prv"], epsilon_rdp=spent["rdp"], refusals=tuple(found),
        not_covered=tuple(not_covered), outside=tuple(outside), versions=made, known_issues=known_issues(facts, made),
    )  # fmt: skip


def refusals(facts: Facts, outside: Sequence[Outside] = ()) -> tuple[Remark, ...]:
    """Every reason why no epsilon may be printed for these facts; empty if there is none."""
    out = []
    if facts.units < 1 or facts.delta * facts.units >= 1 or facts.delta <= 0:
        out.append(
            remark(
                "delta is {delta}, and {units} units are protected: it must lie between 0 and 1/{units}, or giving away one unit in full would count as private.",
                delta=facts.delta, units=facts.units,
            )
        )  # fmt: skip
    if facts.noise_multiplier <= 0 or any(r.noise_multiplier <= 0 for r in facts.releases if r.steps):
        out.append(remark("No noise was added to some steps."))
    if facts.sampling != "poisson":
        out.append(
            remark(
                "Batches were drawn by {sampling} sampling; the accountants hold for Poisson sampling alone, in which each unit takes part in each step independently.",
                sampling=facts.sampling,
            )
        )  # fmt: skip
    wanted = facts.expected_batch / facts.units if facts.units else 0.0
    if facts.units and abs(facts.sampling_rate - wanted) > 1e-12:
        out.append(
            remark("The sampling rate was {rate}, and {batch} of {units} units a step is {wanted}.", rate=facts.sampling_rate,
                   batch=facts.expected_batch, units=facts.units, wanted=wanted)
        )  # fmt: skip
    own = [r for r in facts.releases if r.purpose == "training"]
    released = sum(r.steps for r in own)
    if facts.planned_steps < 1:
        out.append(remark("No step was planned."))
    if facts.taken_steps != facts.planned_steps:
        out.append(
            remark(
                "{taken} steps were taken, and {planned} were planned.",
                taken=facts.taken_steps,
                planned=facts.planned_steps,
            )
        )
    if released != facts.taken_steps:
        out.append(
            remark(
                "The accountant knows of {released} noisy sums, and {taken} steps were taken.",
                released=released,
                taken=facts.taken_steps,
            )
        )
    if any((r.noise_multiplier, r.sampling_rate) != (facts.noise_multiplier, facts.sampling_rate) for r in own):
        out.append(
            remark(
                "The accountant was told of other noise or another rate than {noise} and {rate}.",
                noise=facts.noise_multiplier, rate=facts.sampling_rate,
            )
        )  # fmt: skip
    if facts.max_grad_norm <= 0:
        out.append(remark("Contributions were clipped to {bound}, which bounds nothing.", bound=facts.max_grad_norm))
    if not facts.finite:
        out.append(remark("Some gradients were not finite, so that clipping bounded nothing."))
    if not facts.self_tested:
        out.append(remark("The clipped gradients were not compared with one-at-a-time clipping before training."))
    for item in outside:
        if item.standing == "private":
            out.append(
                remark(
                    "{name} was fitted on the protected rows without noise, outside what is charged.", name=item.name
                )
            )
    return tuple(out)


def known_issues(facts: Facts, versions: dict[str, str]) -> tuple[Remark, ...]:
    """What is known against the arithmetic and these versions, whatever the settings."""
    out = [
        remark(
            "Noise is drawn in floating point, whose gaps can leak (Mironov, 2012); no attack on training of this kind is known to use it."
        )
    ]
    if facts.secure_rng:
        out.append(
            remark(
                "The generators of sampling and noise start from the operating system's entropy, and are no cryptographic ones: whoever saw much of their raw output could compute the rest."
            )
        )
    else:
        out.append(
            remark(
                "Sampling and noise came from the recipe's seed: whoever holds the training record can compute the noise and take it away. Epsilon holds only against those who do not."
            )
        )
    if facts.accountant == "prv":
        out.append(
            remark(
                "The PRV accountant's figure is its upper bound; it adds an error of at most {error}.", error=PRV_ERROR
            )
        )
    if "opacus" in versions:
        # github.com/meta-pytorch/opacus: DPDataLoader's int(1 / rate), issue 813, and unfold2d's reshape.
        out.append(
            remark(
                "Opacus {version} rounds the expected batch of its data loader down, counts wrongly with other samplers, and reads the inputs of convolutions wrongly where their axes were swapped. Its loader is not used here, and clipped sums were compared with one-at-a-time clipping.",
                version=versions["opacus"],
            )
        )
    return tuple(out)
