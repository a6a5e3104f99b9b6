"""The subject that is one training at several epsilons: twins that differ in nothing but how private they are, on the same rows. It
answers as its loosest twin does, and exists so that a probe can ask all of them; importing it loads no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probes.answering import subject_digest
from probes.checkpoint_subject import CheckpointSubject
from probes.errors import SubjectError
from probes.evidence import Need

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from probes.probe import Context

UNBOUNDED = "no guarantee"


@dataclass(frozen=True, kw_only=True)
class Twin:
    """One of them.

    Attributes:
        epsilon: what was asked for; None without a guarantee, which is not a number.
        subject: the model with the data.
    """

    epsilon: float | None
    subject: CheckpointSubject

    @property
    def name(self) -> str:
        """The epsilon in words."""
        return UNBOUNDED if self.epsilon is None else f"{self.epsilon:g}"


class TwinsSubject:
    """Twins by rising epsilon, the one without a guarantee last; see `probes.subject.Subject`.

    Args:
        twins: at least two, on the same rows, with the same task, classes and threshold.
        name: what the report calls them.

    Attributes:
        twins: in order of epsilon.

    Raises:
        SubjectError: fewer than two, one epsilon twice, or twins that are not on the same rows.
    """

    kind = "twins"

    def __init__(self, twins: Sequence[Twin], name: str) -> None:
        ordered = sorted(twins, key=lambda t: (t.epsilon is None, t.epsilon or 0.0))
        names = [twin.name for twin in ordered]
        if len(set(names)) < len(names) or len(names) < 2:
            raise SubjectError(
                f"twins at epsilon {', '.join(names) or 'none'}", expected="two or more, each epsilon once"
            )
        self.twins = tuple(ordered)
        reference = self.twins[-1].subject
        same = (reference.data.digest, reference.task, reference.classes, reference.threshold, reference.positive)
        for twin in self.twins:
            one = twin.subject
            if (one.data.digest, one.task, one.classes, one.threshold, one.positive) != same:
                raise SubjectError(
                    f"the twin at epsilon {twin.name} has other rows, classes or threshold than the one at {names[-1]}",
                    expected="twins that differ in their training alone",
                )
        self.name, self.task, self.classes = name, reference.task, reference.classes
        self.threshold, self.positive, self.data = reference.threshold, reference.positive, reference.data
        source = "\n".join(f"{twin.name} {twin.subject.digest}" for twin in self.twins)
        self.digest = subject_digest(source, self.task, self.classes, self.threshold, self.positive)
        self.offers = frozenset({Need.PREDICTIONS, Need.TWINS} | (reference.offers & {Need.LABELS, Need.GROUPS}))
        self.details: dict[str, str | int | float] = {"answers_as": f"the twin at epsilon {names[-1]}"}
        self.details |= {f"epsilon {twin.name}": twin.subject.digest for twin in self.twins}
        self.training_named = reference.training_named
        self.training: dict[str, Any] | None = {twin.name: _training(twin) for twin in self.twins}
        self.files = {
            f"epsilon {twin.name}/{path}": sha for twin in self.twins for path, sha in twin.subject.files.items()
        }

    def predictions(self, ctx: Context) -> pa.Table:
        """What the loosest twin says."""
        return self.twins[-1].subject.predictions(ctx)

    def predict(self, inputs: Sequence[Any], ctx: Context) -> npt.NDArray[np.float64]:
        """What the loosest twin says on new inputs."""
        return self.twins[-1].subject.predict(inputs, ctx)


def _training(twin: Twin) -> dict[str, Any]:
    """What differs between twins; the rest is in each one's own record."""
    body = twin.subject.training or {}
    recipe, ledger = body.get("recipe") or {}, body.get("ledger") or {}
    return {
        "privacy": recipe.get("privacy"), "epsilon": ledger.get("epsilon"), "steps": body.get("steps"),
        "base_digest": body.get("base_digest"), "ids_digest": body.get("ids_digest"),
    }  # fmt: skip
