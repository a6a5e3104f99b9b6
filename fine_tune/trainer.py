"""The Trainer of transformers with what it lacks: weighted losses, an order of rows that can be taken up again in the
middle of a pass, and states that hold the trained weights alone. It needs torch and transformers at import, so only
`fine_tune.train` imports it, inside its function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer

from fine_tune.group_balance import BalancedDraws
from fine_tune.resume import WEIGHTS

ROW_WEIGHT = "row_weight"


class Order(torch.utils.data.Sampler[int]):
    """A sampler that knows what the pass under way started from, so that the same order can be drawn again.

    In one process it draws from torch's own generator. With several, their generators drift apart, so the order
    comes from the seed and the number of the pass.
    """

    def __init__(self, inner: Any, seed: int, processes: int) -> None:
        self._inner, self._seed, self._processes = inner, seed, processes
        self.passes = 0
        self.started: torch.Tensor = torch.get_rng_state()
        self._again: torch.Tensor | None = None

    def take_up(self, started: torch.Tensor | None, passes: int) -> None:
        """Draw the ``passes``-th pass again, which began at ``started``; if that is None, it was over."""
        self._again, self.passes = started, passes if started is None else passes - 1

    def __len__(self) -> int:
        return len(self._inner)

    def __iter__(self) -> Iterator[int]:
        self.passes += 1
        if self._processes > 1:
            self._inner.generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self.passes)
        elif self._again is not None:
            torch.set_rng_state(self._again)
        self._again = None
        self.started = torch.get_rng_state()
        return iter(self._inner)


class DrawnRows(torch.utils.data.Sampler[int]):
    """The passes of `Recipe.balance`; each takes its seed from the generator, or from torch's own where that is None."""

    def __init__(self, draws: BalancedDraws) -> None:
        self._draws = draws
        self.generator: torch.Generator | None = None

    def __len__(self) -> int:
        return len(self._draws)

    def __iter__(self) -> Iterator[int]:
        seed = int(torch.empty((), dtype=torch.int64).random_(generator=self.generator).item())
        return iter(self._draws.order(seed))


@dataclass(frozen=True, kw_only=True)
class OwnLoss:
    """Cross-entropy with row weights and label smoothing, the mean over the units of a batch.

    Attributes:
        smoothing: `Recipe.label_smoothing`.
        keeps_penalty: the model adds a penalty to its own loss, which stays.
    """

    smoothing: float
    keeps_penalty: bool

    def __call__(self, outputs: Any, labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """The loss of one batch: ``labels`` of any shape, one weight a row."""
        logits = outputs.logits.reshape(-1, outputs.logits.shape[-1]).float()
        codes = labels.reshape(-1)
        each = torch.nn.functional.cross_entropy(logits, codes, reduction="none", label_smoothing=self.smoothing)
        if weights is not None:
            each = each * weights.repeat_interleave(len(codes) // len(weights))
        loss = each.sum() / (codes != -100).sum()
        if self.keeps_penalty:
            loss = loss + outputs.loss - torch.nn.functional.cross_entropy(logits, codes)
        return loss


class SteadyTrainer(Trainer):  # type: ignore[misc]
    """See the module."""

    own_loss: OwnLoss | None = None
    order: Order | None = None
    draws: BalancedDraws | None = None

    def _get_train_sampler(self, *given: Any) -> Any:
        inner = super()._get_train_sampler(*given) if self.draws is None else DrawnRows(self.draws)
        self.order = Order(inner, self.args.seed, self.args.world_size)
        if self.on_order is not None:
            self.on_order(self.order)
        return self.order

    on_order: Callable[[Order], None] | None = None

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The model's own loss, or `OwnLoss` while training; validation losses are always the model's own."""
        weights = inputs.pop(ROW_WEIGHT, None)
        if self.own_loss is None or not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        outputs = model(**inputs)
        loss = self.own_loss(outputs, inputs["labels"], weights)
        return (loss, outputs) if return_outputs else loss

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the weights that move; the others come from the base again."""
        if output_dir is not None and self.args.should_save:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            save_file(moving(self.model), str(Path(output_dir) / WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        put_back(self.model if model is None else model, load_file(str(Path(resume_from_checkpoint) / WEIGHTS)))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self.args.world_size == 1 or self.args.device.type != "cpu":
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        # With several CPU processes the device is cpu:0, a place that torch.load does not know.
        for name, part in (("optimizer.pt", self.optimizer), ("scheduler.pt", self.lr_scheduler)):
            part.load_state_dict(torch.load(Path(checkpoint) / name, map_location="cpu", weights_only=True))


def moving(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of what training moves, by name: parameters with gradients, and every buffer."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    return {name: tensor.detach().cpu().clone() for name, tensor in [*named, *model.named_buffers()]}


def put_back(model: torch.nn.Module, kept: dict[str, torch.Tensor]) -> None:
    """Copy what `moving` gave into the model."""
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name in kept:
                tensor.copy_(kept[name])


def with_weights(examples: list[dict[str, Any]], weights: list[float]) -> list[dict[str, Any]]:
    """The examples, each with its weight."""
    return [{**example, ROW_WEIGHT: weight} for example, weight in zip(examples, weights, strict=True)]


def collate_weights(collate: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> Any:
    """``collate`` for examples that may carry a weight, which it does not know."""

    def collated(batch: list[dict[str, Any]]) -> dict[str, Any]:
        bare = [{k: v for k, v in example.items() if k != ROW_WEIGHT} for example in batch]
        made = collate(bare)
        if all(ROW_WEIGHT in example for example in batch):
            made[ROW_WEIGHT] = torch.tensor([example[ROW_WEIGHT] for example in batch], dtype=torch.float32)
        return made

    return collated
