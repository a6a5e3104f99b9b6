"""An ensemble on disk: one whole checkpoint a seed, and ``ensemble.json``, which names them with their digests. It trains
the members one after another, and opens nothing that is not what was written: a changed, missing or foreign member is
refused. It averages nothing; that is the subject's business.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fine_tune.checkpoint import Checkpoint
from fine_tune.errors import CheckpointError, DivergenceError
from fine_tune.processes import is_main, wait_for_all
from fine_tune.recipe import DataNote, Recipe
from fine_tune.resume import request_key
from fine_tune.sources import first_line
from fine_tune.untrusted import MOST_RECORD, read_file

ENSEMBLE = "ensemble.json"


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EnsembleRequest(_Closed):
    """What an ensemble was asked to be: a recipe with `Recipe.seeds`, the base model's digest and the data."""

    recipe: Recipe
    base_digest: str
    data: DataNote

    def same_request(self, recipe: Recipe, base_digest: str, data_digest: str) -> bool:
        """Whether this answers the same request: recipe, base weights and data."""
        made = (self.recipe.weighty, self.base_digest, self.data.digest)
        return made == (recipe.weighty, base_digest, data_digest)


class MemberNote(_Closed):
    """One member: the folder it lies in, its seed, and its `Checkpoint.digest`."""

    folder: str = Field(pattern=r"^seed-[0-9]{1,10}$")
    seed: int
    digest: str


class EnsembleNote(EnsembleRequest):
    """The content of ``ensemble.json``.

    Attributes:
        recipe_digest: `Recipe.digest` of the recipe.
        classes: of every member, in the order of the outputs.
        members: in the order of the recipe's seeds.
    """

    schema_: Literal["plumbline.ensemble/v1"] = Field(default="plumbline.ensemble/v1", alias="schema")
    recipe_digest: str
    classes: tuple[str, ...]
    members: tuple[MemberNote, ...] = Field(min_length=2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ensemble(Checkpoint):
    """Several checkpoints of one task with the same classes. There is no single model to load.

    Attributes:
        members: in the order of their seeds in the recipe.
        note: what ``ensemble.json`` says.
    """

    members: tuple[Checkpoint, ...]
    note: EnsembleNote

    @cached_property
    def digest(self) -> str:
        """sha256 over the members' digests, in order."""
        return _over(member.digest for member in self.members)

    @cached_property
    def weights_digest(self) -> str:
        """sha256 over the members' `Checkpoint.weights_digest`, in order."""
        return _over(member.weights_digest for member in self.members)

    @cached_property
    def file_digests(self) -> dict[str, str]:
        """sha256 of each member's files that matter, by ``<member>/<path>``."""
        return {f"{m.folder.name}/{path}": seen for m in self.members for path, seen in m.file_digests.items()}

    @cached_property
    def parameters(self) -> int:
        """Number of weights of all members together."""
        return sum(member.parameters for member in self.members)

    @cached_property
    def training_record(self) -> None:
        """None: each member has its own."""
        return

    def load_model(self, device: str = "cpu") -> Any:  # noqa: ARG002
        """There is no single model.

        Raises:
            CheckpointError: always.
        """
        raise _several(self)

    def load_tokenizer(self) -> Any:
        """There is no single tokenizer.

        Raises:
            CheckpointError: always.
        """
        raise _several(self)


def open_ensemble(name: str, folder: Path, *, task: str | None, trust_remote_code: bool) -> Ensemble:
    """Open a folder with an ``ensemble.json`` and every member in it.

    Raises:
        CheckpointError: the file cannot be read; a member is missing, damaged, changed, or has other classes.
    """
    note = _read(folder / ENSEMBLE)
    members = []
    for said in note.members:
        place = folder / said.folder
        if not place.is_dir():
            raise CheckpointError(
                f"the member {said.folder} is missing, though {ENSEMBLE} names it",
                expected=f"{len(note.members)} members", fix="copy the whole folder again", where=str(folder),
            )  # fmt: skip
        member = Checkpoint.open(place, task=task or note.recipe.task, trust_remote_code=trust_remote_code)
        if member.classes != note.classes:
            raise CheckpointError(
                f"the member {said.folder} has the classes {', '.join(member.classes)}",
                expected=f"those of every member, in this order: {', '.join(note.classes)}", where=str(folder),
            )  # fmt: skip
        if member.digest != said.digest:
            raise CheckpointError(
                f"the member {said.folder} has the digest {member.digest}",
                expected=f"{said.digest}, as {ENSEMBLE} says",
                fix="copy it again, or examine that member alone", where=str(folder),
            )  # fmt: skip
        members.append(member)
    first = members[0]
    ignored = tuple(f"{m.folder.name}/{path}" for m in members for path in m.ignored_files)
    return Ensemble(
        name=name, folder=folder, config=first.config, ignored_files=ignored, trust_remote_code=trust_remote_code,
        asked_task=task or note.recipe.task, members=tuple(members), note=note,
    )  # fmt: skip


def train_members(
    asked: EnsembleRequest, out: Path, train: Callable[[Recipe, Path], Checkpoint], *, resume: bool
) -> None:
    """Train each member beside ``out``, and move them there together once all are made.

    Args:
        asked: its recipe has `Recipe.seeds`.
        out: a folder to make. Members lie in ``.NAME.members`` meanwhile; a training that was stopped goes on there,
            and members that are finished are not trained again.
        train: makes one member's checkpoint in a folder, or returns it if it is there.
        resume: keep what an earlier call with the same request made.

    Raises:
        DivergenceError: a member diverged; the message names its seed.
    """
    place = out.parent / f".{out.name}.members"
    if not resume and is_main():
        shutil.rmtree(place, ignore_errors=True)
    wait_for_all()
    key = request_key(asked.recipe.digest, asked.base_digest, asked.data.digest)[:16]
    made = []
    for recipe in asked.recipe.members():
        try:
            made.append(train(recipe, place / key / f"seed-{recipe.seed}"))
        except DivergenceError as error:
            raise DivergenceError(
                f"the member of seed {recipe.seed} cannot be used: {error.seen}",
                expected=error.expected, fix=error.fix or "lower learning_rate, or leave this seed out",
            ) from None  # fmt: skip
    seeds = asked.recipe.seeds or ()
    note = EnsembleNote(
        recipe=asked.recipe,
        base_digest=asked.base_digest,
        data=asked.data,
        recipe_digest=asked.recipe.digest,
        classes=made[0].classes,
        members=tuple(
            MemberNote(folder=m.folder.name, seed=seed, digest=m.digest) for m, seed in zip(made, seeds, strict=True)
        ),
    )
    wait_for_all()
    if is_main():
        _move(place / key, out, note)
        shutil.rmtree(place, ignore_errors=True)


def _move(made: Path, out: Path, note: EnsembleNote) -> None:
    logs = out.parent / f"{out.name}-logs"
    for member in note.members:
        written = made / f"{member.folder}-logs"
        if written.is_dir():
            shutil.copytree(written, logs / member.folder, dirs_exist_ok=True)
            shutil.rmtree(written)
    (made / ENSEMBLE).write_text(note.model_dump_json(indent=2, by_alias=True) + "\n", encoding="utf-8")
    if out.exists():
        out.rmdir()
    made.rename(out)


def _read(path: Path) -> EnsembleNote:
    try:
        return EnsembleNote.model_validate_json(read_file(path, MOST_RECORD, error=CheckpointError))
    except (ValidationError, OSError) as error:
        raise CheckpointError(
            f"{ENSEMBLE} cannot be read: {first_line(error)}",
            expected="a file that this version of Plumbline wrote",
            fix="name a member's folder to examine it alone", where=str(path),
        ) from None  # fmt: skip


def _over(digests: Any) -> str:
    return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()


def _several(ensemble: Ensemble) -> CheckpointError:
    return CheckpointError(
        f"{ensemble.name} is an ensemble of {len(ensemble.members)} models, and has no single one to load",
        expected="one model",
        fix=f"name a member, such as {ensemble.folder / ensemble.members[0].folder.name}",
    )
