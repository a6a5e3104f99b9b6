"""The rows that a subject is said to have been trained on, and who says so: its training record, which names their digest, or the plan
alone. It reads nothing and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probes.evidence import Message, Need, message

if TYPE_CHECKING:
    from fine_tune.data import AuditData
    from probes.subject import Subject


@dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """Rows that a model was trained on.

    Attributes:
        data: those that moved its weights if that is proven, else all that the plan names.
        proven: the training record names them by their digest; False where there is no record to ask.
    """

    data: AuditData
    proven: bool


def training_rows(subject: Subject) -> TrainingRows | Message:
    """The subject's training rows, or why there are none to be had."""
    proven = getattr(subject, "training_data", None)
    if proven is not None:
        return TrainingRows(data=proven, proven=True)
    named = subject.training_named
    if named is None:
        return message("No training data is at hand; name it under data.train of the plan.")
    if Need.TRAINING_RECORD in subject.offers:
        return message(
            "The training record does not say that the model was trained on {name}, or on which of its rows.",
            name=named.name,
        )
    return TrainingRows(data=named, proven=False)
