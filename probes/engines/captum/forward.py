"""How methods run the model: the function that Captum differentiates, gradients of many rows at once, and scores of inputs
with units taken away. Plain tensors go in and out; it knows no journal, and changes no model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.engines.captum.adapter import Adapter, Points, log_odds, per_unit
from probes.engines.captum.explainer import Bool, Encoded, Float

if TYPE_CHECKING:
    from torch import Tensor

# Rows of one pass, in tokens: beyond this a processor's caches gain nothing and memory is all that grows.
PASS_SIZE = 2048
# How much longer than the shortest the longest of a batch may be: padding costs as much as tokens do.
SLACK = 1.15


def captum_forward(
    adapter: Adapter, points: Points, targets: Sequence[int]
) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """The explained score as a function of (points, targets, *extra), and the arguments that follow the points.

    The targets are an argument, because Captum repeats arguments when it repeats rows.
    """
    import torch

    def score(at: Tensor, wanted: Tensor, *extra: Tensor) -> Tensor:
        return log_odds(adapter.logits(at, extra), wanted)

    return score, (torch.tensor(list(targets), device=points.start.device), *points.extra)


def as_module(model: Any, score: Callable[..., Tensor]) -> Any:
    """``score`` as a module that holds ``model``, for methods of Captum that put hooks on modules and take them off again."""
    import torch

    class Score(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, at: Tensor, *given: Tensor) -> Tensor:
            return score(at, *given)

    return Score().eval()


def plan(sizes: Sequence[int], keys: Sequence[str], *, room: int, width: int) -> list[list[int]]:
    """Positions in batches of similar size, the largest first.

    Args:
        sizes: what each row costs.
        keys: tell rows apart, so that the order of rows does not matter.
        room: the most that a batch holds, its padding included; a row that is larger goes alone.
        width: the most rows of a batch.
    """
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], keys[i]))
    batches: list[list[int]] = []
    longest = 0
    for i in order:
        last = batches[-1] if batches else []
        fits = len(last) < min(width, max(1, room // max(longest, 1))) and longest <= SLACK * sizes[i] + 1
        if not last or not fits:
            batches.append([])
            longest = sizes[i]
        batches[-1].append(i)
    return batches


def rows_of(points: Points, index: Any) -> Points:
    """The rows at ``index`` (a tensor of positions, repeats allowed)."""
    return Points(
        start=points.start[index],
        absent=points.absent[index],
        owner=points.owner[index],
        extra=tuple(tensor[index] for tensor in points.extra),
    )


def without(points: Points, keep: Tensor) -> Tensor:
    """Points with units taken away; ``keep`` is boolean, shape (B, most units), as `Points` lists its rows."""
    import torch

    flat = points.owner.reshape(len(keep), -1)
    kept = torch.gather(keep, 1, flat.clamp(min=0)) | (flat < 0)
    return torch.where(kept.reshape(points.owner.shape), points.start, points.absent)


def logits_without(adapter: Adapter, batch: Sequence[Encoded], keeps: Sequence[Bool]) -> Float:
    """Logits of inputs with units taken away, one row each, in one pass; shape (len(batch), K), float64."""
    import torch

    unique: dict[str, int] = {}
    for one in batch:
        unique.setdefault(one.key, len(unique))
    firsts = {one.key: one for one in reversed(batch)}
    index = [unique[one.key] for one in batch]
    most = max(1, *(len(keep) for keep in keeps))
    padded = np.ones((len(batch), most), dtype=np.bool_)
    for row, keep in enumerate(keeps):
        padded[row, : len(keep)] = keep
    with torch.inference_mode():
        points = rows_of(adapter.points([firsts[key] for key in unique]), torch.tensor(index))
        at = without(points, torch.from_numpy(padded).to(points.start.device))
        logits = adapter.logits(at, points.extra).to("cpu", torch.float64).numpy()
    return np.asarray(logits, dtype=np.float64)


def odds_without(
    adapter: Adapter, batch: Sequence[Encoded], targets: Sequence[int], keeps: Sequence[Bool]
) -> list[Float]:
    """The explained score with units taken away: for each input an array (M_i,), from ``keeps`` of shape (M_i, U_i).

    The rows of all inputs are pooled; a pass holds rows of similar length.
    """
    owners = [i for i, keep in enumerate(keeps) for _ in keep]
    rows = [row for keep in keeps for row in keep]
    sizes = [adapter.size(batch[i]) for i in owners]
    out = np.empty(len(rows))
    names = [f"{place:09d}" for place in range(len(rows))]
    for part in plan(sizes, names, room=PASS_SIZE, width=adapter.width):
        logits = logits_without(adapter, [batch[owners[i]] for i in part], [rows[i] for i in part])
        chosen = np.array([targets[owners[i]] for i in part])
        mine = logits[np.arange(len(part)), chosen].copy()
        logits[np.arange(len(part)), chosen] = -np.inf
        top = logits.max(axis=1)
        out[part] = mine - top - np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return np.split(out, np.cumsum([len(keep) for keep in keeps])[:-1])


def sum_error(weights: Float, difference: float) -> float:
    """How far the weights are from adding up to ``difference``, relative to max(|difference|, 0.1 * sum of |weights|).

    The second term keeps the figure meaningful where f(x) and f(baseline) happen to be equal. 0 where all is 0.
    """
    scale = max(abs(difference), 0.1 * float(np.abs(weights).sum()))
    return abs(float(weights.sum()) - difference) / scale if scale > 0 else 0.0


@contextmanager
def quiet_captum() -> Iterator[None]:
    """Captum warns that it puts hooks on modules and takes them off again, which is what it is asked to do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextmanager
def drawing(rng: np.random.Generator) -> Iterator[None]:
    """The global generators of numpy and torch, which Captum draws from, seeded from ``rng`` and put back afterwards."""
    import torch

    before = np.random.get_state()
    with torch.random.fork_rng():
        np.random.seed(int(rng.integers(2**32)))
        torch.manual_seed(int(rng.integers(2**63)))
        try:
            yield
        finally:
            np.random.set_state(before)


def slopes_at(
    adapter: Adapter,
    points: Points,
    batch: Sequence[Encoded],
    targets: Sequence[int],
    wanted: Sequence[Sequence[float]],
) -> list[tuple[Float, Float]]:
    """Scores and slopes on the straight path from each input's baseline (0) to the input (1).

    Args:
        points: of ``batch``.
        targets: the class to explain, one an input.
        wanted: for each input its places in [0, 1], any number of them.

    Returns:
        for each input scores (M_i,) and slopes (M_i, U_i): what each unit adds per length of path. Slopes sum to the
        derivative of the score. The places of all inputs are pooled.
    """
    import torch

    owners = [i for i, places in enumerate(wanted) for _ in places]
    places = [place for row in wanted for place in row]
    chosen = torch.tensor(list(targets), device=points.start.device)
    rows = max(1, min(adapter.width, PASS_SIZE // max(adapter.size(one) for one in batch)))
    scores: list[Float] = []
    slopes: list[Float] = []
    for first in range(0, len(places), rows):
        part = owners[first : first + rows]
        some = rows_of(points, torch.tensor(part, device=points.start.device))
        along = torch.tensor(places[first : first + rows], device=points.start.device)
        step = some.start - some.absent
        at = (some.absent + along.view(-1, *[1] * (step.dim() - 1)) * step).requires_grad_()
        made = log_odds(adapter.logits(at, some.extra), chosen[part])
        (gradient,) = torch.autograd.grad(made.sum(), at)
        scores += list(made.detach().to("cpu", torch.float64).numpy())
        slopes += per_unit(gradient * step, some, [batch[i] for i in part])
    ends = np.cumsum([len(row) for row in wanted])[:-1]
    return [
        (np.asarray(part_scores, dtype=np.float64), np.array(slopes[at : at + len(part_scores)]))
        for part_scores, at in zip(np.split(np.array(scores), ends), [0, *ends.tolist()], strict=True)
    ]
