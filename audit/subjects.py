"""Opens what a plan names: data, and the subject that is examined on it; trains first where the plan says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import PlanError
from audit.store import Store, key_of
from fine_tune.data import AuditData
from fine_tune.tasks import find_task
from probes.subject import Subject

if TYPE_CHECKING:
    from audit.plan import LoadedPlan
    from fine_tune.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Where and how a checkpoint is trained when a plan asks for one."""

    store: Store
    device: str
    progress: bool


def pick_device(wanted: str) -> str:
    """``auto`` becomes ``cuda``, ``mps`` or ``cpu``, in that order of preference; anything else is checked.

    Raises:
        PlanError: the device is not there.
    """
    import torch

    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind = wanted.partition(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, False):
        have = ", ".join(name for name, ok in there.items() if ok)
        raise PlanError(f"the device {wanted!r} is not available", expected=f"auto or one of {have}")
    return wanted


def open_audit_data(loaded: LoadedPlan) -> AuditData | None:
    """The rows that the plan audits on; None where a table of predictions carries its own."""
    spec = loaded.plan.data.audit
    return None if spec is None else AuditData.load(spec, base_dir=loaded.base_dir, seed=loaded.plan.seed)


def training_folder(loaded: LoadedPlan, store: Store) -> tuple[Path, AuditData]:
    """Where the plan's recipe leaves its checkpoint, and the rows it trains on."""
    plan = loaded.plan
    if plan.subject.recipe is None or plan.data.train is None:
        raise PlanError("the plan trains nothing", expected="subject.recipe and data.train")
    train = AuditData.load(plan.data.train, base_dir=loaded.base_dir, seed=plan.seed)
    if plan.subject.save_to:
        return loaded.base_dir / plan.subject.save_to, train
    key = key_of("checkpoint/1", plan.subject.recipe.weighty.model_dump(mode="json"), train.digest)
    return store.checkpoint_folder(key), train


def open_subject(loaded: LoadedPlan, workshop: Workshop) -> Subject:
    """The plan's subject with its data, trained first if it is a recipe.

    Raises:
        InputError: data, checkpoint or recipe cannot be used; nothing has been measured yet.
    """
    training = training_rows(loaded)
    subject = _open(loaded, workshop, training)
    subject.training_named = training
    return subject


def _open(loaded: LoadedPlan, workshop: Workshop, training: AuditData | None) -> Subject:
    from probes.subject import EndpointSubject, PredictionsSubject, subject_of

    spec = loaded.plan.subject
    data = open_audit_data(loaded)
    if spec.predictions is not None:
        subject = PredictionsSubject.open(spec.predictions, data, base_dir=loaded.base_dir)
        refuse_one_class(subject.data, subject.classes)
        return subject
    if data is None:
        raise PlanError("the plan names no data to audit on", expected="data.audit", where=str(loaded.path))
    if spec.endpoint is not None:
        refuse_one_class(data, spec.endpoint.classes)
        return EndpointSubject(
            spec.endpoint, data, task=spec.task, threshold=spec.threshold, positive=spec.positive
        )  # fmt: skip
    checkpoint = _checkpoint(loaded, workshop)
    refuse_one_class(data, checkpoint.classes, find_task(checkpoint.task).labels(data))
    return subject_of(
        checkpoint, data, threshold=spec.threshold, positive=spec.positive, training_data=training
    )  # fmt: skip


def training_rows(loaded: LoadedPlan) -> AuditData | None:
    """The data that the plan says the model was trained on, read only where a probe asks for it.

    A subject with a training record holds it against that; where there is none, it is the plan's word, and stays `training_named`.
    """
    from probes.evidence import Need
    from probes.registry import find

    spec = loaded.plan.data.train
    infos = [find(p.probe).info for p in loaded.plan.probes.values()]
    if spec is None or not any(Need.TRAINING_DATA in (*info.needs, *info.uses) for info in infos):
        return None
    return AuditData.load(spec, base_dir=loaded.base_dir, seed=loaded.plan.seed)


def refuse_one_class(data: AuditData, classes: Sequence[str], labels: Sequence[str | None] | None = None) -> None:
    """Labels that are there must be of two classes at least, or nearly every figure would have no value.

    Args:
        data: what is audited on.
        classes: the model's.
        labels: of every unit, where the task reads them off the data's; the data's own if None.

    Raises:
        DataError: they are not, or are no classes of the model.
    """
    units = data.labels if labels is None else labels
    if any(label is not None for label in units):
        data.require_labels(classes, units)


def _checkpoint(loaded: LoadedPlan, workshop: Workshop) -> Checkpoint:
    from audit.plan import model_place, placed_recipe
    from fine_tune.checkpoint import Checkpoint

    spec = loaded.plan.subject
    if spec.recipe is None:
        place = model_place(spec.checkpoint or "", loaded.base_dir)
        opened = Checkpoint.open(place, task=spec.task, trust_remote_code=spec.trust_remote_code)
        return replace(opened, name=spec.checkpoint or "")
    from fine_tune.train import fine_tune

    folder, train = training_folder(loaded, workshop.store)
    recipe = placed_recipe(spec.recipe, loaded.base_dir)
    trained = fine_tune(recipe, train, folder, progress=workshop.progress, device=workshop.device)
    return replace(trained, name=spec.save_to or f"{spec.recipe.base}, fine-tuned for {loaded.plan.name}")
