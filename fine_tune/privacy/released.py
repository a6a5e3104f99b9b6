"""Which noise has left: a note beside the states of a private training, written before a checkpoint can be seen, that names the step
whose weights it holds. A training that goes on from an earlier state may not use that noise a second time on the same rows: the
difference of the two results would be free of it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from fine_tune.errors import RecipeError
from fine_tune.resume import COMPLETE, ResumeFolder

NOTE = "released.json"


@dataclass(frozen=True, kw_only=True)
class Released:
    """The latest checkpoint that left.

    Attributes:
        stream: which stream of noise it carries: 0 for the training's first, one more each time that fresh noise was begun.
        steps: private steps that its weights went through.
    """

    stream: int
    steps: int


def mark_released(folder: Path, steps: int) -> None:
    """Write down that weights after ``steps`` steps leave; call it before they can be seen.

    A note that stands already is never taken back: of one stream the later step counts.

    Args:
        folder: of the states, see `ResumeFolder.beside`.
        steps: at least 1.

    Raises:
        RecipeError: no state is kept, so that there is nothing that could be gone on from; or ``steps`` is no step.
    """
    stream = _newest_stream(folder)
    if stream is None:
        raise RecipeError(
            f"no state of a private training is kept in {folder}, so no noise can be repeated",
            expected="a training that was stopped on the way",
            fix="begin a new training, and name the released checkpoint under privacy.earlier",
        )
    if steps < 1:
        raise RecipeError(f"a checkpoint of step {steps} was released", expected="a step from 1 on")
    before = released(folder)
    if before is not None and before.stream == stream:
        steps = max(steps, before.steps)
    fresh = folder / f"{NOTE}.part"
    with fresh.open("w", encoding="utf-8") as file:
        json.dump({"stream": stream, "steps": steps}, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / NOTE)


def mark_checkpoint(out: Path, steps: int) -> None:
    """The same for the states beside the checkpoint ``out``: for one whose release the folder does not tell of, such as where
    states were copied or put back from a backup.

    Raises:
        RecipeError: as `mark_released`.
    """
    mark_released(ResumeFolder.beside(out, "").path, steps)


def released(folder: Path) -> Released | None:
    """What is written down; None where nothing has left.

    Raises:
        RecipeError: the note cannot be read, so that nobody knows which noise has left.
    """
    try:
        text = (folder / NOTE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        found = json.loads(text)
        return Released(stream=int(found["stream"]), steps=int(found["steps"]))
    except (ValueError, KeyError, TypeError):
        raise RecipeError(
            f"{folder / NOTE} cannot be read, so nobody knows which noise was released", expected="stream and steps",
            fix=f"remove {folder} and begin a new training, with the released checkpoint under privacy.earlier",
        ) from None  # fmt: skip


def _newest_stream(folder: Path) -> int | None:
    """The stream of the newest whole private state, whatever its request."""
    found: dict[int, int] = {}
    for note in folder.glob(f"checkpoint-*/{COMPLETE}"):
        try:
            kept = json.loads(note.read_text(encoding="utf-8"))
            found[int(kept["steps"])] = int(kept["stream"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found[max(found)] if found else None
