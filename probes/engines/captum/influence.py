"""Which training examples a prediction owes most to: TracIn on the last layer, by `captum.influence.TracInCPFast`, and the nearest
training examples in that layer's inputs. It knows no data with roles and no probe, it trains nothing, and it refuses models whose
scores do not come out of one linear layer.

Only the weights that training ended with are at hand, so this is TracIn with a single checkpoint and a learning rate of 1: it
ranks training examples, and its size has no unit.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fine_tune.data import content_digest
from probes.errors import Unavailable

if TYPE_CHECKING:
    from fine_tune.tasks import Reader
    from probes.probe import Context

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

BATCH_TOKENS = 4096
CLOSE = 1e-4
_OTHER_HEAD = "the model's scores do not come out of one linear layer, and influence is computed for such a layer alone"


@dataclass(frozen=True, kw_only=True, eq=False)
class LastLayer:
    """The layer that scores come out of, and what it reads.

    Attributes:
        weight, bias: shapes (K, H) and (K,).
        training, asked: its inputs, shapes (T, H) and (Q, H), float32.
    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    training: npt.NDArray[np.float32]
    asked: npt.NDArray[np.float32]


def last_layer(reader: Reader, training: Sequence[Any], asked: Sequence[Any], space: str, ctx: Context) -> LastLayer:
    """What the last layer reads for training examples and for inputs that are asked about; journalled batch by batch.

    Args:
        reader: the loaded model; it is left as it was.
        training, asked: inputs; at least one of each.
        space: names the weights and whatever else decides what the layer reads.
        ctx: journal and progress.

    Raises:
        Unavailable: the scores do not come out of one linear layer.
    """
    module = _find(reader, asked[0])
    weight = module.weight.detach().to("cpu").float().numpy()
    bias = (
        np.zeros(len(weight), dtype=np.float32) if module.bias is None else module.bias.detach().cpu().float().numpy()
    )
    return LastLayer(
        weight=weight,
        bias=bias,
        training=_inputs_of(reader, module, training, (space, "reading the training data"), ctx),
        asked=_inputs_of(reader, module, asked, (space, "reading the examples"), ctx),
    )


def influence(layer: LastLayer, labels: Int, targets: Int) -> Float:
    """How much a step on each training example would lower the loss of each asked input towards its target, shape (Q, T).

    TracIn (Pruthi et al. 2020) with the cross-entropy of the training label and of the target, gradients of the last layer's
    weights. Captum's fast form leaves the bias's gradient out.

    Args:
        labels: class codes of the training examples, shape (T,).
        targets: class codes, shape (Q,).
    """
    import torch
    from captum.influence import TracInCPFast
    from torch.utils.data import TensorDataset

    last = torch.nn.Linear(layer.weight.shape[1], len(layer.weight))
    with torch.no_grad():
        last.weight.copy_(torch.from_numpy(layer.weight.copy()))
        last.bias.copy_(torch.from_numpy(layer.bias.copy()))

    def load(_model: Any, _checkpoint: Any) -> float:
        return 1.0

    tracin = TracInCPFast(
        model=torch.nn.Sequential(last),
        final_fc_layer=last,
        train_dataset=TensorDataset(torch.from_numpy(layer.training), torch.from_numpy(labels)),
        checkpoints=["final"],
        checkpoints_load_func=load,
        loss_fn=torch.nn.CrossEntropyLoss(reduction="sum"),
        batch_size=4096,
    )
    found = tracin.influence((torch.from_numpy(layer.asked), torch.from_numpy(targets)))
    return np.asarray(found.detach().numpy(), dtype=np.float64)


def similarity(layer: LastLayer) -> Float:
    """Cosine of what the last layer reads, shape (Q, T), in [-1, 1]."""

    def unit(values: npt.NDArray[np.float32]) -> Float:
        wide = values.astype(np.float64)
        return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12), dtype=np.float64)

    return np.clip(unit(layer.asked) @ unit(layer.training).T, -1.0, 1.0)


@contextmanager
def _heard(modules: Sequence[Any]) -> Iterator[dict[int, tuple[Any, Any]]]:
    """Inputs and outputs of some modules in the last forward pass, by position."""
    heard: dict[int, tuple[Any, Any]] = {}

    def listen(position: int) -> Any:
        def hook(_module: Any, inputs: tuple[Any, ...], output: Any) -> None:
            heard[position] = (inputs[0].detach(), output.detach())

        return hook

    handles = [module.register_forward_hook(listen(i)) for i, module in enumerate(modules)]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _find(reader: Reader, value: Any) -> Any:
    """The linear layer whose output is the logits of the answer."""
    import torch

    linear = [m for m in reader.model.modules() if isinstance(m, torch.nn.Linear)]
    with _heard(linear) as heard:
        answer = np.array(reader.answer([value])[0].scores, dtype=np.float64)
    for position, (inside, output) in reversed(heard.items()):
        if inside.dim() == 2 and output.shape == answer.shape:
            scores = torch.softmax(output.to("cpu", torch.float64), dim=-1).numpy()
            if np.abs(scores - answer).max() <= CLOSE:
                return linear[position]
    raise Unavailable(_OTHER_HEAD)


def _inputs_of(
    reader: Reader, module: Any, values: Sequence[Any], names: tuple[str, str], ctx: Context
) -> npt.NDArray[np.float32]:
    """What the layer reads for each value, shape (N, H). Equal values are read once."""
    space, label = names
    digests = [content_digest(value) for value in values]
    unique = dict(zip(digests, values, strict=True))
    contents, inputs = list(unique), list(unique.values())
    found: dict[str, npt.NDArray[np.float32]] = {}
    plan = reader.plan(inputs, BATCH_TOKENS)
    for batch in ctx.progress(plan, len(plan), label):
        members = [contents[i] for i in batch]
        key = hashlib.sha256("\n".join(("last-layer/1", space, reader.settings, *members)).encode()).hexdigest()
        kept = ctx.journal.lookup(key)
        if kept is None:
            with _heard([module]) as heard:
                reader.answer([inputs[i] for i in batch])
            rows = heard[0][0].to("cpu").float().numpy()
            kept = base64.b64encode(np.ascontiguousarray(rows, dtype="<f4").tobytes()).decode()
            ctx.journal.append([(key, kept)])
        rows = np.frombuffer(base64.b64decode(kept), dtype="<f4").reshape(len(members), -1)
        found.update(zip(members, rows, strict=True))
    return np.array([found[d] for d in digests], dtype=np.float32)
