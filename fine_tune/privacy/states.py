"""What a private training that is stopped goes on from. A state lies between two logical steps; it holds weights, optimizer, accounts
and the generators' states, never an input, and is never part of a checkpoint or a record.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fine_tune.errors import RecipeError
from fine_tune.privacy.accounting import Phase
from fine_tune.privacy.released import Released, released
from fine_tune.resume import COMPLETE, ResumeFolder

STATE = "private.pt"
# The generators' states can give the noise away, so nobody but the owner may look.
_OWNER_ONLY = 0o700
_FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class State:
    """One state.

    Attributes:
        steps, empty: taken so far, and of these without a unit.
        history: what was charged for them.
        stream: which stream of noise its steps to come would go on with, see `fine_tune.privacy.released`.
        again: steps of earlier streams that a released checkpoint holds and that were, or will be, taken once more; charged too.
        sampling: state of the generator that draws units.
        tensors: weights, optimizer, schedule and the noise generator's state, as torch saves them.
    """

    steps: int
    empty: int
    history: tuple[Phase, ...]
    stream: int
    again: int
    sampling: dict[str, Any]
    tensors: dict[str, Any]


class PrivateStates:
    """The states of one private training.

    Args:
        folder: where they lie.
        plan: everything that must be the same for a state to be gone on from.
    """

    def __init__(self, folder: ResumeFolder, plan: dict[str, Any]) -> None:
        self._folder, self._plan = folder, {**plan, "format": _FORMAT}

    def keep(self, state: State) -> None:
        """Write a state, and remove the older ones once it is whole."""
        place = self._folder.path / f"checkpoint-{state.steps}"
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(_OWNER_ONLY)
        fresh = place / f"{STATE}.part"
        torch.save(state.tensors, fresh)
        fresh.replace(place / STATE)
        history = [[p.noise_multiplier, p.sampling_rate, p.steps] for p in state.history]
        self._folder.complete(
            place,
            {
                "plan": self._plan, "steps": state.steps, "empty": state.empty, "history": history, "stream": state.stream,
                "again": state.again, "sampling": state.sampling,
            },
        )  # fmt: skip

    def newest(self) -> State | None:
        """The newest whole state, or None.

        Raises:
            RecipeError: it is of another plan, or its accounts do not add up.
        """
        place = self._folder.newest()
        if place is None:
            return None
        note = self._folder.note(place)
        if note.get("plan") != self._plan:
            raise RecipeError(
                f"{place} is a state of another private training", expected="the same data, weights, noise and clipping",
                fix=f"remove {self._folder.path} to start anew",
            )  # fmt: skip
        history = tuple(
            Phase(noise_multiplier=float(s), sampling_rate=float(q), steps=int(t)) for s, q, t in note["history"]
        )
        steps = int(note["steps"])
        if sum(p.steps for p in history) != steps:
            raise RecipeError(
                f"{place} took {steps} steps and charged others", expected="as many charges as steps",
                fix=f"remove {self._folder.path} to start anew",
            )  # fmt: skip
        return State(
            steps=steps,
            empty=int(note["empty"]),
            history=history,
            stream=int(note["stream"]),
            again=int(note["again"]),
            sampling=note["sampling"],
            tensors=torch.load(place / STATE, map_location="cpu", weights_only=True),
        )

    def released(self) -> Released | None:
        """The checkpoint that left though states are kept, or None; see `fine_tune.privacy.released.released`."""
        return released(self._folder.path)


def refuse_other_states(folder: ResumeFolder) -> None:
    """A private training that was stopped goes on with the same request or not at all.

    Raises:
        RecipeError: private states in ``folder`` are of other data, weights or settings.
    """
    others = [p for p in folder.path.glob("checkpoint-*") if _is_private(p) and not folder.note(p)]
    if others:
        raise RecipeError(
            f"{others[0]} is a state of a private training with other data, base weights, settings or libraries",
            expected="the request that it was stopped at",
            fix=f"give the same data and recipe, or remove {folder.path} to begin a new training, which spends its own epsilon",
        )


def _is_private(place: Path) -> bool:
    return (place / COMPLETE).is_file() and (place / STATE).is_file()
