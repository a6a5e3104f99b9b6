"""The door to ``captum.robust``: the fast gradient sign method and projected gradient descent on inputs that are numbers, within
an L-infinity distance. It changes neither weights nor their gradients nor running statistics, draws no random numbers
(a random start is given to it), and judges nothing.

Three defaults of captum are set aside, because each makes a model look more robust than it is. Its FGSM takes gradients
below 1e-6 for none, which stops at confident answers. Its loss, the negative logarithm of a probability, has no
gradient left in 32 bits where the answer is certain; the loss here is the log-odds of being wrong, whose gradient is
that of cross-entropy divided by the probability of being wrong, so it has the same sign everywhere and never vanishes
for that reason. Its random start comes from torch's global generator, and so would depend on the order of batches. Only
L-infinity is offered: captum's descent in L2 takes sign steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from probes.engines.continuous import Continuous, Values
from probes.errors import Unavailable

if TYPE_CHECKING:
    import torch


def log_odds_of_error(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """log((1 - p) / p) of each row's target, shape (N,), from logits (N, K) and class codes (N,)."""
    import torch

    truth = torch.nn.functional.one_hot(targets, logits.shape[1]).bool()
    others = logits.masked_fill(truth, float("-inf")).logsumexp(dim=1)
    return others - logits.masked_fill(~truth, 0.0).sum(dim=1)


def fgsm(source: Continuous, values: Values, targets: torch.Tensor, epsilon: float) -> torch.Tensor:
    """One step of ``epsilon`` in the direction of the gradient's sign (Goodfellow et al. 2015).

    Args:
        source: the model.
        values: N inputs; left as they are.
        targets: class codes of the true labels, shape (N,), on the model's device.
        epsilon: largest change of one number, in its own unit, >= 0.

    Returns:
        N changed inputs, within ``epsilon`` of ``values`` and within the bounds.

    Raises:
        Unavailable: no gradient reaches the inputs.
    """
    from captum.robust import FGSM

    attack = FGSM(_forward(source, values), log_odds_of_error, source.low, source.high)
    attack.zero_thresh = 0.0
    return _run(source, values, lambda data: attack.perturb(data, epsilon, targets, mask=values.mask))


def pgd(
    source: Continuous,
    values: Values,
    targets: torch.Tensor,
    epsilon: float,
    *,
    steps: int,
    start: torch.Tensor,
) -> torch.Tensor:
    """``steps`` steps of 2.5 ``epsilon`` / ``steps``, each projected back (Madry et al. 2018).

    Args:
        source, values, targets, epsilon: as in `fgsm`.
        steps: at least 1.
        start: where to begin, as shares of ``epsilon`` from -1 to 1, in the shape of the values; zeros start at the input.

    Returns:
        As `fgsm`.

    Raises:
        Unavailable: no gradient reaches the inputs.
    """
    from captum.robust import PGD

    attack = PGD(_forward(source, values), log_odds_of_error, source.low, source.high)
    attack.fgsm.zero_thresh = 0.0

    def given(center: torch.Tensor, radius: float, norm: str, mask: Any) -> torch.Tensor:  # noqa: ARG001
        moved: torch.Tensor = center + start * radius * mask
        return moved

    attack._random_point = given
    step = 2.5 * epsilon / steps
    return _run(
        source,
        values,
        lambda data: attack.perturb(data, epsilon, step, steps, targets, random_start=True, mask=values.mask),
    )


def steepest(source: Continuous, values: Values, targets: torch.Tensor) -> torch.Tensor:
    """The largest absolute entry of each input's gradient, shape (N,): 0 where an attack by gradient sees nothing.

    Raises:
        Unavailable: no gradient reaches the inputs.
    """
    import torch

    def gradient(data: torch.Tensor) -> torch.Tensor:
        data.requires_grad_()
        loss = log_odds_of_error(source.logits(data, values.mask), targets).sum()
        (found,) = torch.autograd.grad(loss, data)
        largest: torch.Tensor = found.abs().flatten(1).max(dim=1).values
        return largest

    return _run(source, values, gradient)


def _forward(source: Continuous, values: Values) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda data: source.logits(data, values.mask)


def _run(source: Continuous, values: Values, attack: Callable[[torch.Tensor], Any]) -> torch.Tensor:
    """On a copy, in evaluation mode: in training mode, normalisation layers would move with every query."""
    source.model.eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*did not already require gradients.*")
        try:
            found: torch.Tensor = attack(values.data.clone()).detach()
            return found
        except RuntimeError as error:
            # What torch says where the model detaches, rounds or looks up on the way from input to logits.
            if "does not require grad" in str(error) or "not to have been used in the graph" in str(error):
                raise Unavailable(
                    "no gradient reaches the inputs: the model breaks the path from them to its scores",
                    fix="use probes that only ask the model, such as robustness.corruptions",
                ) from error
            raise
