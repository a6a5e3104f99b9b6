"""The conditions of the guarantee: why no epsilon may be printed for what happened, and what is known against the arithmetic and the
libraries, whatever happened. It computes no epsilon.
"""

from __future__ import annotations

from collections.abc import Sequence

from fine_tune.privacy.accounting import PRV_ERROR
from fine_tune.privacy.facts import Facts, Outside, Remark, message


def refusals(facts: Facts, outside: Sequence[Outside] = ()) -> tuple[Remark, ...]:
    """Every reason why no epsilon may be printed for these facts; empty if there is none."""
    out = []
    if facts.units < 1 or facts.delta * facts.units >= 1 or facts.delta <= 0:
        out.append(
            message(
                "delta is {delta}, and {units} units are protected: it must lie between 0 and 1/{units}, or giving away one unit in full would count as private.",
                delta=facts.delta, units=facts.units,
            )
        )  # fmt: skip
    if facts.noise_multiplier <= 0 or any(r.noise_multiplier <= 0 for r in facts.releases if r.steps):
        out.append(message("No noise was added to some steps."))
    if facts.sampling != "poisson":
        out.append(
            message(
                "Batches were drawn by {sampling} sampling; the accountants hold for Poisson sampling alone, in which each unit takes part in each step independently.",
                sampling=facts.sampling,
            )
        )  # fmt: skip
    wanted = facts.expected_batch / facts.units if facts.units else 0.0
    if facts.units and abs(facts.sampling_rate - wanted) > 1e-12:
        out.append(
            message("The sampling rate was {rate}, and {batch} of {units} units a step is {wanted}.", rate=facts.sampling_rate,
                   batch=facts.expected_batch, units=facts.units, wanted=wanted)
        )  # fmt: skip
    own = [r for r in facts.releases if r.purpose == "training"]
    released = sum(r.steps for r in own)
    if facts.planned_steps < 1:
        out.append(message("No step was planned."))
    if facts.taken_steps != facts.planned_steps:
        out.append(
            message(
                "{taken} steps were taken, and {planned} were planned.",
                taken=facts.taken_steps,
                planned=facts.planned_steps,
            )
        )
    if released != facts.taken_steps:
        out.append(
            message(
                "The accountant knows of {released} noisy sums, and {taken} steps were taken.",
                released=released,
                taken=facts.taken_steps,
            )
        )
    again = [r for r in facts.releases if r.purpose == "resumed training"]
    if any((r.noise_multiplier, r.sampling_rate) != (facts.noise_multiplier, facts.sampling_rate) for r in own + again):
        out.append(
            message(
                "The accountant was told of other noise or another rate than {noise} and {rate}.",
                noise=facts.noise_multiplier, rate=facts.sampling_rate,
            )
        )  # fmt: skip
    if facts.max_grad_norm <= 0:
        out.append(message("Contributions were clipped to {bound}, which bounds nothing.", bound=facts.max_grad_norm))
    if not facts.finite:
        out.append(message("Some gradients were not finite, so that clipping bounded nothing."))
    if not facts.self_tested:
        out.append(message("The clipped gradients were not compared with one-at-a-time clipping before training."))
    for item in outside:
        if item.standing == "private":
            out.append(
                message(
                    "{name} was fitted on the protected rows without noise, outside what is charged.", name=item.name
                )
            )
    return tuple(out)


def known_issues(facts: Facts, versions: dict[str, str]) -> tuple[Remark, ...]:
    """What is known against the arithmetic and these versions, whatever the settings."""
    out = [
        message(
            "Noise is drawn in floating point, whose gaps can leak (Mironov, 2012); no attack on training of this kind is known to use it."
        )
    ]
    if facts.secure_rng:
        out.append(
            message(
                "The generators of sampling and noise start from the operating system's entropy, and are no cryptographic ones: whoever saw much of their raw output could compute the rest."
            )
        )
    else:
        out.append(
            message(
                "Sampling and noise came from the recipe's seed: whoever holds the training record can compute the noise and take it away. Epsilon holds only against those who do not."
            )
        )
    if facts.accountant == "prv":
        out.append(
            message(
                "The PRV accountant's figure is its upper bound; it adds an error of at most {error}.", error=PRV_ERROR
            )
        )
    if "opacus" in versions:
        # github.com/meta-pytorch/opacus: DPDataLoader's int(1 / rate), issue 813, and unfold2d's reshape.
        out.append(
            message(
                "Opacus {version} rounds the expected batch of its data loader down, counts wrongly with other samplers, and reads the inputs of convolutions wrongly where their axes were swapped. Its loader is not used here, and clipped sums were compared with one-at-a-time clipping.",
                version=versions["opacus"],
            )
        )
    return tuple(out)
