"""Shadow models: the recipe of the examined model on random halves of the rows that it was trained on and of those that were kept
out. Each is trained, asked about the rows in question, journalled and thrown away; none is ever handed out.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.errors import Unavailable
from probes.intervals import Bool, Float
from probes.privacy.lira import confidence
from probes.probe import MemoryJournal, silent

if TYPE_CHECKING:
    from fine_tune.data import AuditData
    from fine_tune.recipe import Recipe, TrainingRecord
    from probes.probe import Context

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The rows that every model is asked about: n of them.

    Attributes:
        ids: of rows in the pool.
        inputs: what a model reads.
        labels: codes into ``classes``, shape (n,).
        classes: in the order of the outputs.
    """

    ids: list[str]
    inputs: list[Any]
    labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Shadows:
    """What k shadow models said of n rows.

    Attributes:
        confidences: logit-scaled confidence in the label, shape (k, n).
        inside: whether the row was among that model's training rows, shape (k, n).
        rows: training rows of each.
    """

    confidences: Float
    inside: Bool
    rows: tuple[int, ...]


def halves(models: int, rows: int, rng: np.random.Generator) -> Bool:
    """Which of ``rows`` each model is trained on, shape (models, rows): every row is in exactly half of the models.

    ``models`` must be even.
    """
    return np.asarray(np.argsort(rng.random((models, rows)), axis=0, kind="stable") < models // 2)


def shadow_recipe(record: TrainingRecord, seed: int) -> Recipe:
    """The recipe of a shadow model: the examined model's own, with another seed and no rows kept out.

    Of a search the values that won. Rows for validation are set aside only where early stopping needs them. A private recipe
    stays private, with noise from the seed, so that the model can be made again, and nothing charged from before.
    """
    from fine_tune.recipe import Recipe

    chosen = record.trials[record.kept_trial].values if record.kept_trial is not None else {}
    recipe = record.recipe
    changes: dict[str, Any] = {
        "seed": seed, "seeds": None, "split_seed": None, "holdout": 0, "canaries": 0, "search": {}, "report_to": (),
        "validation_share": recipe.held_out if recipe.early_stopping is not None else 0,
    }  # fmt: skip
    if recipe.privacy is not None:
        changes["privacy"] = recipe.privacy.model_copy(update={"secure_rng": False, "earlier": ()})
    return Recipe.model_validate(recipe.model_dump() | dict(chosen) | changes)


def train_shadows(models: int, pool: AuditData, record: TrainingRecord, asked: Asked, ctx: Context) -> Shadows:
    """Train ``models`` shadow models on halves of ``pool`` and ask each about the same rows.

    A model that was trained before, by the journal, is not trained again.

    Raises:
        Unavailable: the base that the recipe names is not at hand, or is another one.
        RecipeError, DataError: a half can't be trained on.
    """
    _check_base(record)
    which = halves(models, len(pool), ctx.rng("halves"))
    said, inside, sizes = [], [], []
    for k in ctx.progress(range(models), models, "training shadow models"):
        seed = int(ctx.rng(f"shadow {k}").integers(2**31))
        half = pool.select(np.flatnonzero(which[k]).tolist())
        found = _one(half, shadow_recipe(record, seed), record.base_digest, asked, ctx)
        said.append(np.array(found["confidences"], dtype=np.float64))
        inside.append(np.array(found["inside"], dtype=np.bool_))
        sizes.append(int(found["rows"]))
    return Shadows(confidences=np.array(said), inside=np.array(inside), rows=tuple(sizes))


def _one(half: AuditData, recipe: Recipe, base: str, asked: Asked, ctx: Context) -> dict[str, Any]:
    key = _key(half, recipe, base, asked, ctx.device)
    kept = ctx.journal.lookup(key)
    if kept is not None:
        return dict(kept)
    from fine_tune.train import fine_tune
    from probes.checkpoint_subject import CheckpointSubject

    with tempfile.TemporaryDirectory(prefix="plumbline-shadow-") as folder:
        made = fine_tune(recipe, half, Path(folder) / "model", progress=False, device=ctx.device)
        # Its answers are kept below; those of every batch besides would only take room.
        quiet = replace(ctx, journal=MemoryJournal(), progress=silent)
        scores = CheckpointSubject(made, half).predict(asked.inputs, quiet)
        trained = set(made.training_record.training_ids if made.training_record is not None else ())
    order = [made.classes.index(name) for name in asked.classes]
    found = {
        "confidences": confidence(scores[:, order], asked.labels).tolist(),
        "inside": [row in trained for row in asked.ids],
        "rows": len(trained),
    }
    ctx.journal.append([(key, found)])
    return found


def _key(half: AuditData, recipe: Recipe, base: str, asked: Asked, device: str) -> str:
    from fine_tune.data import content_digest

    told = hashlib.sha256(
        "\n".join(
            f"{row}\0{content_digest(value)}\0{label}"
            for row, value, label in zip(asked.ids, asked.inputs, asked.labels.tolist(), strict=True)
        ).encode()
    ).hexdigest()
    versions = [importlib.metadata.version(name) for name in LIBRARIES]
    body = [
        "shadow/1",
        recipe.digest,
        base,
        half.digest,
        told,
        list(asked.classes),
        device.partition(":")[0],
        *versions,
    ]
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()


def _check_base(record: TrainingRecord) -> None:
    from fine_tune.checkpoint import Checkpoint
    from fine_tune.errors import CheckpointError

    name = record.recipe.base
    try:
        base = Checkpoint.open(name, trust_remote_code=record.recipe.trust_remote_code, architecture=True)
    except CheckpointError as error:
        raise Unavailable(
            f"shadow models start from {name}, which cannot be opened: {error.seen}",
            fix="run where the base model is, or set deep: none",
        ) from error
    if base.digest != record.base_digest:
        raise Unavailable(
            f"{name} is not the base that the model was trained from", expected=f"the digest {record.base_digest[:12]}…",
            fix="run where the same base model is, or set deep: none",
        )  # fmt: skip
