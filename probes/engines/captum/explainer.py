"""What an explanation is made of, and how probes ask for one: inputs become units, units get weights, and inputs are asked
about again with units taken away. This module holds the words and opens the explainer of a subject's task; it weighs
nothing itself, it judges no method (`explanation.faithfulness` does), and importing it loads no torch.

The score that is explained is the log-odds of the target class: its logit less the log of the summed exponentials of all
others. It is one number, unbounded, and for two classes the difference of their logits; the share of a saturated softmax
would hide what moved it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from probes.errors import Unavailable

if TYPE_CHECKING:
    from probes.engines.captum.methods import Method
    from probes.evidence import Message
    from probes.probe import Context
    from probes.subject import Subject

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """One input, ready to be explained.

    Attributes:
        units: what is weighed. The words of a text: all tokens that the tokenizer counts to one word, each token alone
            where it knows no words or where the script writes none. The patches of an image, named ``row,column``.
        spans: first and last-plus-one character of each unit in the text; empty for images.
        key: sha256 of the input's content.
        truncated: the input was cut at the model's maximum length; what was cut has no unit.
        grid: rows and columns of patches; (0, 0) for texts.
        body: what the adapter needs of it (token ids, pixels).
    """

    units: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    key: str
    truncated: bool = False
    grid: tuple[int, int] = (0, 0)
    body: Any = field(repr=False, default=None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribution:
    """What each unit adds to the log-odds of one class.

    Attributes:
        weights: shape (U,); positive where the unit speaks for the target, negative where against it. Saliency has no
            signs.
        target: the class, by position.
        error: how far the weights are from adding up to f(x) - f(baseline), relative to
            max(|f(x) - f(baseline)|, 0.1 * sum of |weights|); in [0, inf). None where the method promises no such sum.
        evaluations: forward passes, and forward passes with their gradient, that this input took.
        converged: the error is within the method's tolerance; None where the method has none.
    """

    weights: Float
    target: int
    error: float | None
    evaluations: int
    converged: bool | None


class Explainer(Protocol):
    """A model that explains itself.

    Attributes:
        classes: names in the order of scores.
        stages: blocks of parameters from the head down (head, encoder layers from last to first, embeddings).
        kind: ``text`` or ``image``.
        absent: what stands in for a unit that is taken away, in a sentence.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def stages(self) -> tuple[str, ...]: ...

    @property
    def kind(self) -> str: ...

    @property
    def absent(self) -> Message: ...

    def encode(self, inputs: Sequence[Any]) -> list[Encoded]:
        """Inputs cut into units, in order.

        Raises:
            DataError: an input is nothing that the task reads.
        """
        ...

    def attribute(
        self, encoded: Sequence[Encoded], targets: Sequence[int], method: str | Method, ctx: Context
    ) -> list[Attribution]:
        """The weights of every input's units, in order; journalled batch by batch.

        Inputs of similar length go through the model together. The same inputs in another order give the same weights.

        Args:
            encoded: from `encode`.
            targets: the class to explain, one an input.
            method: a name of `probes.engines.captum.methods.methods`, or such a method with other settings.
            ctx: journal, progress and, for methods that draw, the seed.

        Raises:
            Unavailable: the method cannot be used on this model; see `check`.
        """
        ...

    def scores(self, encoded: Sequence[Encoded], keeps: Sequence[Bool], ctx: Context | None = None) -> list[Float]:
        """Probabilities of the inputs with units taken away.

        Args:
            encoded: from `encode`.
            keeps: one array an input, shape (M_i, U_i); a unit is taken away where it is False.
            ctx: journal and progress; nothing is kept and nothing shown if None.

        Returns:
            one array an input, shape (M_i, K); rows sum to 1. A row that keeps every unit has the plain prediction.
        """
        ...

    def picture(self, encoded: Encoded) -> npt.NDArray[np.uint8] | None:
        """The image as the model sees it, shape (height, width, channels); None for texts."""
        ...

    def check(self, method: str | Method) -> Message | None:
        """Why the method cannot be used on this model, or None."""
        ...

    def randomised(self, through: str, seed: int) -> Explainer:
        """A copy whose weights are drawn anew from the head down through the stage ``through``.

        The cascading randomisation of Adebayo et al. 2018. The same stage and seed give the same copy, and deeper stages
        keep what shallower ones drew.

        Raises:
            ValueError: there is no such stage.
        """
        ...


def open_explainer(subject: Subject, ctx: Context) -> Explainer:
    """The explainer of a subject's model, on a copy: the subject's own model keeps its weights, flags and hooks.

    Raises:
        Unavailable: no model at hand, captum is not installed, or no adapter for the task.
    """
    from importlib.util import find_spec

    from probes.engines.captum.engine import AdapterExplainer

    if find_spec("captum") is None:
        raise Unavailable("captum is not installed", fix="pip install 'plumbline-audit[explain]'")
    read = getattr(subject, "reader", None)
    if read is None:
        raise Unavailable(
            f"a subject of the kind {subject.kind} has no model at hand, and attributions need its gradients",
            fix="give the checkpoint, the model in memory or the pipeline",
        )
    if subject.task == "text-classification":
        from probes.engines.captum.text import TextAdapter

        return AdapterExplainer(TextAdapter.of(read(ctx.device), subject.classes), digest=subject.digest)
    if subject.task == "image-classification":
        from probes.engines.captum.image import ImageAdapter

        return AdapterExplainer(ImageAdapter.of(read(ctx.device), subject.classes), digest=subject.digest)
    raise Unavailable(f"no adapter explains {subject.task}", fix="text and image classification can be explained")
