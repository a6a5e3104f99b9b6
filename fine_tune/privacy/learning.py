"""One private training of a job: units, plan, loop, ledger. It decides what stands outside the guarantee, and writes no checkpoint."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from pathlib import Path
from typing import Any

from fine_tune.checkpoint import Checkpoint
from fine_tune.errors import CheckpointError, RecipeError
from fine_tune.learning import Job, Learned, materials
from fine_tune.methods import finish, prepare
from fine_tune.privacy.ledger import Facts, Outside, Release, Remark, remark, settle
from fine_tune.privacy.sampling import UnitRows
from fine_tune.privacy.settings import EXAMPLE
from fine_tune.processes import join_processes, wait_for_all
from fine_tune.quiet import quiet_transformers

LIBRARIES = ("opacus", "torch", "transformers", "peft", "numpy", "scipy")


def train_privately(job: Job) -> Learned:
    """Train with differential privacy as the recipe says; takes up the newest state.

    Raises:
        RecipeError: an option, the model or the data cannot carry the guarantee; no step was taken then.
        DataError: a row does not say whose it is.
        DivergenceError: gradients that are not finite.
    """
    from transformers import set_seed

    from fine_tune.callbacks import Bar
    from fine_tune.privacy.training import Material, Plan, PrivateTraining

    recipe, privacy = job.recipe, job.recipe.privacy
    if privacy is None:
        raise RecipeError("the recipe has no privacy", expected="privacy: {epsilon: ..., delta: ...}")
    _refuse_weights(job)
    _refuse_other_states(job)
    join_processes(job.device)
    set_seed(recipe.seed)
    units = _units(job, privacy.unit)
    plan = Plan.of(recipe, units)
    earlier = _earlier(job)
    made, examples = materials(job)
    total = sum(p.numel() for p in made.model.parameters())
    model = prepare(made, recipe, plan.steps)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    material = Material(
        model=model, examples=[examples[i] for i in job.split.training], collate=made.collate, classes=job.classes,
        device=job.device, key=job.states.key,
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
    facts = facts.model_copy(update={"releases": (*earlier, *facts.releases)})
    ledger = settle(
        facts,
        outside=_outside(job, bool(earlier)),
        not_covered=_not_covered(job, facts),
        versions={name: importlib.metadata.version(name) for name in LIBRARIES},
    )
    wait_for_all()
    return Learned(
        model=finish(model, recipe), made=made, trained=trained, total=total, steps=facts.taken_steps, ledger=ledger
    )


def _refuse_weights(job: Job) -> None:
    if job.recipe.sample_weights and job.data.weights is not None:
        raise RecipeError(
            f"{job.data.name} has row weights, which are scaled by their sum over the protected rows",
            expected="rows that count alike", fix="set sample_weights: false, or leave the weight role out",
        )  # fmt: skip


def _refuse_other_states(job: Job) -> None:
    """A private training that was stopped goes on with the same request or not at all.

    Raises:
        RecipeError: the states beside the checkpoint are of other data, weights or settings.
    """
    others = [
        p for p in job.states.path.glob("checkpoint-*") if (p / "complete.json").is_file() and not job.states.note(p)
    ]
    if others:
        raise RecipeError(
            f"{others[0]} is a state of a private training with other data, base weights, settings or libraries",
            expected="the request that it was stopped at",
            fix=f"give the same data and recipe, or remove {job.states.path} to begin a new training, which spends its own epsilon",
        )


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


def _earlier(job: Job) -> tuple[Release, ...]:
    """What trainings on the same rows spent before, those that the recipe names and the base's own."""
    assert job.recipe.privacy is not None
    found: list[Release] = []
    for place in job.recipe.privacy.earlier:
        try:
            record = Checkpoint.open(place).training_record
        except CheckpointError as error:
            raise RecipeError(f"privacy.earlier names {place}, which cannot be read: {error.seen}") from error
        if record is None or record.ledger is None or record.ledger.epsilon is None:
            raise RecipeError(
                f"privacy.earlier names {place}, which has no ledger with an epsilon",
                expected="checkpoints that were trained privately",
            )
        _same_terms(job, record.ledger.facts, place)
        found += [r.model_copy(update={"purpose": "tuning"}) for r in record.ledger.facts.releases]
    base = job.base.training_record
    if base is not None and base.ledger is not None and _overlaps(job, base):
        _same_terms(job, base.ledger.facts, job.base.name)
        found += [r.model_copy(update={"purpose": "tuning"}) for r in base.ledger.facts.releases]
    return tuple(found)


def _same_terms(job: Job, facts: Facts, place: str) -> None:
    assert job.recipe.privacy is not None
    if (facts.unit, facts.delta) != (job.recipe.privacy.unit, job.recipe.privacy.delta):
        raise RecipeError(
            f"{place} protects the unit {facts.unit} at delta {facts.delta}", fix="use the same unit and delta",
            expected=f"the unit {job.recipe.privacy.unit} at delta {job.recipe.privacy.delta}, so that both can be added up",
        )  # fmt: skip


def _overlaps(job: Job, record: Any) -> bool:
    """Whether the base was trained on some of these rows; by their ids, and by the data's digest."""
    ids = job.data.row_ids
    mine = {ids[i] for i in job.split.training}
    return record.data.digest == job.data.digest or (
        record.data.name == job.data.name and bool(mine & set(record.training_ids))
    )


def _outside(job: Job, charged: bool) -> tuple[Outside, ...]:
    """Everything that was fitted or chosen beside the private steps."""
    recipe = job.recipe
    record = job.base.training_record
    if record is not None and _overlaps(job, record):
        spent = record.ledger is not None
        base = Outside(
            name="base weights",
            standing="charged" if spent else "private",
            reason=remark("The base was trained privately on these rows; its steps are charged.")
            if spent
            else remark("The base was trained on these rows without noise."),
        )
    else:
        base = Outside(
            name="base weights", standing="public",
            reason=remark("Taken as trained without the protected rows; nobody can check this from the weights."),
        )  # fmt: skip
    vocabulary = remark("Vocabulary, image size and normalisation come with the base.")
    return (
        base,
        Outside(
            name="vocabulary and normalisation",
            standing=base.standing if base.standing != "charged" else "public",
            reason=vocabulary,
        ),
        Outside(
            name="class names and their number", standing="public", reason=remark("Taken as known without the rows.")
        ),
        Outside(
            name="number of units", standing="public", reason=remark("It sets the sampling rate, and is printed here.")
        ),
        Outside(
            name="class weights",
            standing="public" if recipe.class_weights else "not used",
            reason=remark("Numbers in the recipe; taken as known without the rows.")
            if recipe.class_weights
            else remark("Every class counts alike."),
        ),
        Outside(name="early stopping", standing="not used", reason=remark("The number of steps was fixed up front.")),
        Outside(
            name="hyperparameter search",
            standing="charged" if charged else "not used",
            reason=remark("Earlier trainings on these rows are charged.")
            if charged
            else remark(
                "None in this training. Whoever tried other settings on the same rows must name those checkpoints."
            ),
        ),
    )


def _not_covered(job: Job, facts: Facts) -> tuple[Remark, ...]:
    """What epsilon does not protect."""
    training = job.split.training
    out = []
    if facts.unit == EXAMPLE:
        clusters = job.data.clusters
        if clusters is not None:
            largest = max(Counter(clusters[i] for i in training if clusters[i] is not None).values(), default=1)
            if largest > 1:
                out.append(
                    remark("Epsilon protects one row. Up to {rows} rows share a cluster, such as one author: of them together more can be learned.", rows=largest)
                )  # fmt: skip
        contents = job.data.content_digests
        if contents is not None:
            again = sum(n for n in Counter(contents[i] for i in training).values() if n > 1)
            if again:
                out.append(
                    remark(
                        "{rows} rows have an input that stands in several rows; each of them is protected alone, not the input.",
                        rows=again,
                    )
                )
    out.append(
        remark(
            "The training record names the rows that were trained on. Who receives it beside the weights knows the members."
        )
    )
    if job.split.validation:
        out.append(
            remark(
                "{rows} validation rows are outside the guarantee: their loss is written down without noise.",
                rows=len(job.split.validation),
            )
        )
    return tuple(out)
