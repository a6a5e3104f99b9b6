"""Models for the explainer's tests: the tiny BERT, and a linear model whose attributions are known by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from probes.checkpoint_subject import CheckpointSubject
from probes.engines.captum.engine import AdapterExplainer
from probes.engines.captum.explainer import open_explainer
from probes.engines.captum.text import TextAdapter
from probes.probe import Context

TEXTS = ("the movie was good", "a really awful film, she was", "he is not a very old man", "good", "the plot was fine")


@pytest.fixture
def here() -> Context:
    """A context with a journal of its own."""
    return Context(instance="test", seed=7)


@pytest.fixture(scope="module")
def tiny_subject(tiny_checkpoint: Path) -> CheckpointSubject:
    data = AuditData.from_columns({"input": list(TEXTS)}, _roles(), name="texts")
    return CheckpointSubject(Checkpoint.open(tiny_checkpoint), data)


@pytest.fixture(scope="module")
def explainer(tiny_subject: CheckpointSubject) -> AdapterExplainer:
    return open_explainer(tiny_subject, Context(instance="test"))


@pytest.fixture(scope="module")
def bag(tiny_subject: CheckpointSubject) -> AdapterExplainer:
    """Logits are a sum over the words' embeddings times a matrix; separators and the mask token are zero."""
    return AdapterExplainer(
        TextAdapter.of(bag_reader(tiny_subject.reader("cpu").processor), ("no", "yes", "maybe")), digest="bag"
    )


def bag_reader(tokenizer: object, classes: int = 3) -> SimpleNamespace:
    import torch

    class Bag(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.words = torch.nn.Embedding(len(tokenizer), 8)
            self.head = torch.nn.Linear(8, classes, bias=False)
            with torch.no_grad():
                self.words.weight[tokenizer.all_special_ids] = 0

        def get_input_embeddings(self) -> torch.nn.Module:
            return self.words

        def forward(self, input_ids, attention_mask, token_type_ids):
            return SimpleNamespace(logits=self.head((self.words(input_ids) * attention_mask[:, :, None]).sum(1)))

    return SimpleNamespace(model=Bag(), processor=tokenizer, max_length=32, device="cpu")


def _roles():
    from fine_tune.data import Roles

    return Roles(input="input")
