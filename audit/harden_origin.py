"""Whether a plan and a run belong together, and what hardening needs of both: the run's model, its recipe, and the rows that
it was trained and audited on.

A bundle holds digests, not sources: where things lie says the plan, and that they are the same things say the digests. It
trains nothing but what the plan trains anyway.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from audit.errors import HardenError
from audit.harden_rows import Added
from audit.sound import require_sound
from fine_tune.data import AuditData

if TYPE_CHECKING:
    from audit.plan import LoadedPlan
    from audit.subjects import Workshop
    from fine_tune.checkpoint import Checkpoint
    from fine_tune.recipe import Recipe
    from reports.bundle import Bundle
    from reports.record import AuditRecord


def checked_record(bundle: Bundle) -> AuditRecord:
    """The record of a bundle whose files agree with their hashes.

    Raises:
        HardenError: they do not.
    """
    require_sound(bundle, error=HardenError, expected="a bundle that verifies")
    return bundle.record()


def training_of(record: AuditRecord) -> dict[str, Any]:
    """What the run's record says of the training of its model.

    Raises:
        HardenError: it was not trained by Plumbline, was hardened already, or goes by groups that added rows lack.
    """
    found = record.training
    if found is None:
        raise HardenError(
            f"the subject of {record.name!r} is a {record.subject.kind} without a training record",
            expected="a model that Plumbline trained, so that its twin can be trained the same way",
            fix="let the plan train it: subject.recipe and data.train",
        )
    if found["recipe"].get("augmented_by"):
        raise HardenError(
            f"the subject of {record.name!r} was hardened already",
            expected="a run of the original model",
            fix="harden that run again, with more attacks in its plan",
        )
    by_group = [name for name in ("reweigh", "balance") if found["recipe"].get(name)]
    if by_group:
        raise HardenError(
            f"the subject of {record.name!r} was trained with {by_group[0]}, by groups of its training data",
            expected="a recipe without it: added rows would change what every group weighs, and how often it is drawn",
            fix="harden the run of a model that was trained without it",
        )
    return found


def _foreign(loaded: LoadedPlan, what: str, wanted: str, seen: str | None) -> HardenError:
    return HardenError(
        f"the {what} of the plan {'has the digest ' + seen if seen else 'is not named in it'}",
        expected=f"the run's, {wanted}",
        fix="give the plan that the run was made from, with its files as they were",
        where=str(loaded.path),
    )


def audited_data(loaded: LoadedPlan, record: AuditRecord) -> AuditData:
    """The rows that the run was audited on.

    Raises:
        HardenError: the plan names others.
    """
    from audit.subjects import open_audit_data

    data = open_audit_data(loaded)
    if data is None or data.digest != record.data.digest:
        raise _foreign(loaded, "audit data", record.data.digest, None if data is None else data.digest)
    return data


def training_data(loaded: LoadedPlan, training: dict[str, Any]) -> AuditData:
    """The rows that the run's model was trained on.

    Raises:
        HardenError: the plan names none, or others.
    """
    from fine_tune.recipe import Recipe

    spec, wanted = loaded.plan.data.train, training["data"]["digest"]
    if spec is None:
        raise _foreign(loaded, "training data (data.train)", wanted, None)
    recipe = Recipe.of(training["recipe"])
    # A plan draws a sample with its own seed, and `plumbline fine-tune` with the recipe's.
    seeds = dict.fromkeys((loaded.plan.seed, recipe.drawing_seed))
    read = [AuditData.load(spec, base_dir=loaded.base_dir, seed=seed) for seed in seeds]
    for data in read:
        if data.digest == wanted:
            return data
    raise _foreign(loaded, "training data", wanted, read[0].digest)


def twin_recipe(loaded: LoadedPlan, training: dict[str, Any], added: Added) -> Recipe:
    """The recorded recipe, with the base where the plan has it, and the digest of the added rows."""
    from audit.plan import model_place
    from fine_tune.checkpoint import Checkpoint
    from fine_tune.recipe import Recipe

    recipe = Recipe.of(training["recipe"])
    planned = loaded.plan.subject.recipe
    base = recipe.base if planned is None else model_place(planned.base, loaded.base_dir)
    # The record may come from anywhere: only the plan gives leave to run code.
    allowed = loaded.plan.subject.trust_remote_code if planned is None else planned.trust_remote_code
    trusted = recipe.trust_remote_code and allowed
    opened = Checkpoint.open(base, trust_remote_code=trusted, architecture=True)
    if opened.digest != training["base_digest"]:
        raise _foreign(loaded, f"base model {base}", training["base_digest"], opened.digest)
    return recipe.model_copy(
        update={"base": base, "augmented_by": added.data.digest, "canaries": 0, "trust_remote_code": trusted}
    )


def original_model(loaded: LoadedPlan, workshop: Workshop, record: AuditRecord) -> Checkpoint:
    """The run's own model; trained again where the plan says so and its folder is gone."""
    from audit.plan import model_place
    from audit.subjects import open_subject, training_folder
    from fine_tune.checkpoint import Checkpoint

    spec = loaded.plan.subject
    subject = open_subject(loaded, workshop)
    if subject.digest != record.subject.digest:
        raise _foreign(loaded, "subject", record.subject.digest, subject.digest)
    if spec.recipe is None:
        folder = model_place(spec.checkpoint or "", loaded.base_dir)
    else:
        folder = str(training_folder(loaded, workshop.store)[0])
    opened = Checkpoint.open(folder, task=subject.task, trust_remote_code=spec.trust_remote_code)
    return replace(opened, name=subject.name)
