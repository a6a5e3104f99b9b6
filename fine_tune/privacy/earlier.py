"""What trainings on the same rows spent before: those that a recipe names, and those that its base went through. It finds what
records tell; rows that an unrecorded training saw are beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fine_tune.checkpoint import Checkpoint
from fine_tune.errors import CheckpointError, RecipeError
from fine_tune.learning import Job
from fine_tune.privacy.facts import Release, Standing
from fine_tune.privacy.ledger import Ledger
from fine_tune.privacy.settings import Privacy
from fine_tune.recipe import TrainingRecord


@dataclass(frozen=True, kw_only=True)
class Charges:
    """What is charged beside the training's own steps.

    Attributes:
        releases: earlier steps, each marked as tuning.
        base: how the base stands: ``public`` where no record says that it saw these rows, ``charged`` where it saw them
            privately, ``private`` where it saw them without a guarantee.
        named: trainings that the recipe named are among the releases.
        repeatable: the noise of one of them came from a recipe's seed.
    """

    releases: tuple[Release, ...] = ()
    base: Standing = "public"
    named: bool = False
    repeatable: bool = False


def charges(job: Job, privacy: Privacy) -> Charges:
    """Everything that is to be composed with this training.

    A checkpoint that is reached twice is charged once; where that cannot be told, twice, which only makes epsilon larger.

    Raises:
        RecipeError: a named checkpoint has no ledger with an epsilon, or protects another unit.
    """
    seen: dict[str, Ledger] = {}
    for place in privacy.earlier:
        try:
            found = Checkpoint.open(place)
            record = found.training_record
        except CheckpointError as error:
            raise RecipeError(f"privacy.earlier names {place}, which cannot be read: {error.seen}") from error
        if record is None or record.ledger is None or record.ledger.epsilon is None:
            raise RecipeError(
                f"privacy.earlier names {place}, which has no ledger with an epsilon",
                expected="checkpoints that were trained privately",
            )
        _same_unit(record.ledger, privacy, place)
        seen[found.digest] = record.ledger
    named = bool(seen)
    base: Standing = "public"
    for ancestor, record in _ancestors(job.base):
        if not _overlaps(job, record):
            continue
        if record.ledger is None or record.ledger.epsilon is None:
            base = "private"
            break
        _same_unit(record.ledger, privacy, ancestor.name)
        seen[ancestor.digest] = record.ledger
        base = "charged"
        if record.data.digest == job.data.digest:
            # Its own ledger composes whatever came before on the very same rows.
            break
    return Charges(
        releases=tuple(r.model_copy(update={"purpose": "tuning"}) for ledger in seen.values() for r in ledger.facts.releases),
        base=base,
        named=named,
        repeatable=any(not ledger.facts.secure_rng for ledger in seen.values()),
    )  # fmt: skip


def _ancestors(base: Checkpoint) -> Iterator[tuple[Checkpoint, TrainingRecord]]:
    """The base and what it was trained from, as far as records and folders tell."""
    found, known = base, set[str]()
    while found.digest not in known and (record := found.training_record) is not None:
        known.add(found.digest)
        yield found, record
        if not Path(record.recipe.base).is_dir():
            return
        try:
            below = Checkpoint.open(record.recipe.base, architecture=True)
        except CheckpointError:
            return
        if below.digest != record.base_digest:
            return
        found = below


def _same_unit(ledger: Ledger, privacy: Privacy, place: str) -> None:
    if ledger.facts.unit != privacy.unit:
        raise RecipeError(
            f"{place} protects the unit {ledger.facts.unit}", fix="use the same unit",
            expected=f"the unit {privacy.unit}, so that both can be added up",
        )  # fmt: skip


def _overlaps(job: Job, record: TrainingRecord) -> bool:
    """Whether a training saw some of these rows; by the data's digest, and by its name and row ids."""
    ids = job.data.row_ids
    mine = {ids[i] for i in job.split.training}
    # Canaries that were left out count too: whoever reads the record need not tell coins apart.
    theirs = {*record.training_ids, *(canary.id for canary in record.canaries)}
    return record.data.digest == job.data.digest or (record.data.name == job.data.name and bool(mine & theirs))
