"""What every task has in common that gives an input one label: the head it needs, and one row of predictions an input.
It knows no inputs, processors or training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fine_tune.errors import CheckpointError
from fine_tune.rows import decide, single_unit_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from fine_tune.checkpoint import Checkpoint
    from fine_tune.data import AuditData
    from fine_tune.predictions import PredictionsMeta
    from fine_tune.tasks import Answer


@dataclass(frozen=True)
class SingleLabel:
    """The shared part of such a task; see `fine_tune.tasks.Task`.

    Attributes:
        architecture: how the names of its architectures end.
        head: what people call its head.
        unit: what people call one input.
    """

    architecture: str
    head: str
    unit: str

    def check(self, checkpoint: Checkpoint) -> None:
        """Check that the head gives one label an input, of at least two classes."""
        if not any(a.endswith(self.architecture) for a in checkpoint.architectures):
            raise CheckpointError(
                f"{checkpoint.name} has no {self.head} (architectures:"
                f" {', '.join(checkpoint.architectures) or 'none'})",
                expected=f"an architecture that ends in {self.architecture}",
                fix="name a fine-tuned checkpoint, or give a recipe that trains one from this base",
            )
        problem = checkpoint.config.get("problem_type")
        if problem in {"multi_label_classification", "regression"} or len(checkpoint.classes) < 2:
            raise CheckpointError(
                f"{checkpoint.name} has a {problem or 'single-output'} head with {len(checkpoint.classes)} outputs",
                expected=f"one label {self.unit}, of at least two classes",
            )

    def labels(self, data: AuditData) -> list[str | None]:
        """One an input."""
        return data.labels

    def rows(self, data: AuditData, answers: Sequence[Answer], meta: PredictionsMeta) -> pa.Table:
        """One row an input."""
        scores = self.scores(answers)
        return single_unit_rows(data, decide(scores, meta), scores, meta)

    def scores(self, answers: Sequence[Answer]) -> npt.NDArray[np.float64]:
        """Probabilities, shape (inputs, classes)."""
        return np.array([answer.scores[0] for answer in answers], dtype=np.float64)
