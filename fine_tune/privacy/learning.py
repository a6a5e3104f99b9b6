"""One private training of a job: units, plan, loop, ledger. It writes no checkpoint and no record."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path

from fine_tune.errors import RecipeError
from fine_tune.learning import Job, Learned, materials
from fine_tune.methods import finish, prepare
from fine_tune.privacy.earlier import charges
from fine_tune.privacy.ledger import settle
from fine_tune.privacy.sampling import UnitRows
from fine_tune.privacy.scope import not_covered, outside
from fine_tune.privacy.settings import EXAMPLE
from fine_tune.processes import join_processes, process_count, wait_for_all
from fine_tune.quiet import quiet_transformers
from fine_tune.recipe import HistoryPoint

# What shares out weights over processes, by the variable that accelerate sets for it; FSDP of either version.
_SHARDING = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
LIBRARIES = ("opacus", "torch", "transformers", "peft", "numpy", "scipy")


def train_privately(job: Job) -> Learned:
    """Train with differential privacy as the recipe says; takes up the newest state.

    Raises:
        RecipeError: an option, the model or the data cannot carry the guarantee; no step was taken then.
        DataError: a row does not say whose it is.
        DivergenceError: gradients that are not finite.
    """
    _refuse_surroundings()
    from transformers import set_seed

    from fine_tune.callbacks import Bar
    from fine_tune.privacy.training import Material, Plan, PrivateTraining

    recipe, privacy = job.recipe, job.recipe.privacy
    if privacy is None:
        raise RecipeError("the recipe has no privacy", expected="privacy: {epsilon: ..., delta: ...}")
    _refuse_weights(job)
    device = _own_device(job.device)
    join_processes(device)
    set_seed(recipe.seed)
    spent = charges(job, privacy)
    plan = Plan.of(recipe, _units(job, privacy.unit), spent.releases)
    made, examples = materials(job)
    total = sum(p.numel() for p in made.model.parameters())
    model = prepare(made, recipe, plan.steps)
    material = Material(
        model=model, examples=[examples[i] for i in job.split.training], collate=made.collate, classes=job.classes,
        device=device, key=job.states.key,
    )  # fmt: skip
    bar = Bar(f"fine-tuning {Path(recipe.base).name} privately") if job.progress else None
    with quiet_transformers():
        training = PrivateTraining(recipe, material, plan, job.states)
        try:
            if bar is not None:
                bar.begin(plan.steps)
            facts = training.run(bar.reach if bar is not None else (lambda _: None))
        finally:
            if bar is not None:
                bar.close()
    validation = None
    if job.split.validation:
        validation = training.validation_loss([examples[i] for i in job.split.validation])
    ledger = settle(
        facts,
        outside=outside(job, spent),
        not_covered=not_covered(job, spent),
        versions={name: importlib.metadata.version(name) for name in LIBRARIES},
    )
    wait_for_all()
    return Learned(
        model=finish(model, recipe), made=made, trained=training.trained, total=total, steps=facts.taken_steps, ledger=ledger,
        validation_loss=validation,
        history=() if validation is None else (HistoryPoint(step=facts.taken_steps, validation_loss=validation),),
    )  # fmt: skip


def _refuse_surroundings() -> None:
    """Where private training cannot run at all.

    Raises:
        RecipeError: Opacus is not installed, or weights are to be shared out over processes.
    """
    if importlib.util.find_spec("opacus") is None:
        raise RecipeError(
            "private training needs Opacus, which is not installed",
            expected="the extra `privacy`",
            fix="pip install 'plumbline[privacy]'",
        )
    for name, called in _SHARDING.items():
        if os.environ.get(name, "").lower() in {"1", "true"}:
            raise RecipeError(
                f"private training does not run under {called}: a row's gradient is clipped by its norm over all weights, and here"
                " each process would hold some of them",
                expected="one whole model a process", fix=f"start the processes with torchrun, without {called}",
            )  # fmt: skip


def _own_device(device: str) -> str:
    """The accelerator of this process, where several share a machine."""
    import torch

    place = torch.device(device)
    if process_count() == 1 or place.type != "cuda" or place.index is not None:
        return device
    number = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(number)
    return f"cuda:{number}"


def _refuse_weights(job: Job) -> None:
    if job.recipe.sample_weights and job.data.weights is not None:
        raise RecipeError(
            f"{job.data.name} has row weights, which are scaled by their sum over the protected rows",
            expected="rows that count alike", fix="set sample_weights: false, or leave the weight role out",
        )  # fmt: skip


def _units(job: Job, unit: str) -> UnitRows:
    if unit == EXAMPLE:
        return UnitRows.single(len(job.split.training))
    data = job.data
    if unit == "cluster":
        if data.clusters is None:
            raise RecipeError(
                "privacy.unit is cluster, and the data names no cluster", expected="the cluster role in the data"
            )
        names: list[str | None] = list(data.clusters)
    elif unit in data.features:
        names = list(data.group(unit))
    else:
        raise RecipeError(
            f"privacy.unit is {unit!r}, and {data.name} has no such column in a role",
            expected=f"one of {', '.join([EXAMPLE, 'cluster', *data.features])}",
            fix="name the column that says whose row it is as the data's cluster",
        )
    return UnitRows.of([names[i] for i in job.split.training])
