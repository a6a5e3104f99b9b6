"""What a task provides so that every method can explain it: an adapter turns inputs into points in a space that gradients
reach (word embeddings, pixels), says which unit owns which part of the space and what stands for an absent unit, and runs
the model from there. Methods, batching, journalling and randomisation know nothing else of a task.

A further task needs one small file with these members, and a line in `probes.engines.captum.explainer.open_explainer`:

- token classification: `logits` returns the scores of one position, so a target is (position, label) and the adapter
  makes one `Encoded` a position that is asked about; units stay words;
- question answering: one `Encoded` for the start and one for the end; `logits` returns start or end scores over the
  positions of the context, and a target is a position;
- audio: `points` holds the feature frames, and a unit is a run of frames; everything else is as for images;
- generation: one `Encoded` a generated token (prompt and what came before), `logits` the next-token scores; units are the
  words of the prompt. Captum's `LLMAttribution` with ``skip_tokens`` is the reference to test such an adapter against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from probes.engines.captum.explainer import Encoded, Float

if TYPE_CHECKING:
    from torch import Tensor

    from probes.evidence import Message


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Inputs as tensors of one shape, one a row of the batch.

    Attributes:
        start: what the model sees, shape (B, ...), float.
        absent: the same with every unit taken away; equal to ``start`` where no unit owns the place.
        owner: the unit of each place, -1 for none; shape (B, ...) with 1 where a dimension belongs to one unit whole.
        extra: further tensors with B rows that `logits` needs, in order.
    """

    start: Tensor
    absent: Tensor
    owner: Tensor
    extra: tuple[Tensor, ...]


class Adapter(Protocol):
    """One task's door to its model.

    Attributes:
        model: a copy of the subject's model, in evaluation mode, whose parameters ask for no gradients.
        device: where it lies.
        classes: names in the order of logits.
        kind: ``text`` or ``image``.
        settings: what besides the weights decides a point: part of every key.
        absent: what stands in for a unit that is taken away, in a sentence.
        width: how many rows may go through the model at once, at most.
        first: the module that turns an input into its point; its parameters are the last stage to be randomised.
    """

    @property
    def model(self) -> Any: ...

    @property
    def device(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def kind(self) -> str: ...

    @property
    def settings(self) -> str: ...

    @property
    def absent(self) -> Message: ...

    @property
    def width(self) -> int: ...

    @property
    def first(self) -> Any: ...

    def encode(self, inputs: Sequence[Any]) -> list[Encoded]:
        """Inputs cut into units."""
        ...

    def picture(self, encoded: Encoded) -> npt.NDArray[np.uint8] | None:
        """The input for people to look at, shape (height, width, channels); None where it is no picture."""
        ...

    def trial(self) -> list[Any]:
        """A few inputs that the model reads, on which a method may check that it leaves the model as it is."""
        ...

    def size(self, encoded: Encoded) -> int:
        """What one pass costs, in tokens or the like; inputs of one size need no padding."""
        ...

    def points(self, batch: Sequence[Encoded]) -> Points:
        """Tensors of the inputs, padded to the longest."""
        ...

    def logits(self, points: Tensor, extra: tuple[Tensor, ...]) -> Tensor:
        """Scores before softmax, shape (B, K), as a plain tensor through which gradients flow back to ``points``."""
        ...

    def twin(self, model: Any) -> Adapter:
        """The same adapter around another copy of the model."""
        ...


def log_odds(logits: Tensor, targets: Tensor) -> Tensor:
    """The explained score, shape (B,): the target's logit less the log-sum-exp of all others."""
    import torch

    chosen = logits.gather(1, targets[:, None])[:, 0]
    mine = torch.zeros_like(logits, dtype=torch.bool).scatter(1, targets[:, None], True)
    return chosen - torch.logsumexp(logits.masked_fill(mine, -torch.inf), dim=1)


def per_unit(values: Tensor, points: Points, batch: Sequence[Encoded]) -> list[Float]:
    """Sums of ``values``, shaped like ``points.start``, over the places of each unit; in float64.

    Places that no unit owns (separators, padding) are left out.
    """
    import torch

    wide = values.detach().to(torch.float64)
    for dim in range(1, wide.dim()):
        if points.owner.shape[dim] == 1 and wide.shape[dim] > 1:
            wide = wide.sum(dim=dim, keepdim=True)
    rows = len(batch)
    flat, owner = wide.reshape(rows, -1), points.owner.expand(wide.shape).reshape(rows, -1)
    most = max((len(one.units) for one in batch), default=0)
    sums = torch.zeros(rows, most + 1, dtype=torch.float64, device=flat.device)
    # An extra place at the end gathers what no unit owns.
    sums.scatter_add_(1, torch.where(owner < 0, most, owner), flat)
    kept = sums.cpu().numpy()
    return [kept[i, : len(one.units)].copy() for i, one in enumerate(batch)]
