"""Fixtures that every room's tests share: a tiny checkpoint, a tiny base model and small labelled data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from hypothesis import settings

from fine_tune.data import AuditData

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The same examples every time, so that a red test stays red; `--hypothesis-profile=exploring` looks further.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("exploring", max_examples=500, deadline=None)
settings.load_profile("steady")

WORDS = (
    "good bad fine awful great poor the a movie film plot actor was is very not really she he they woman man old young"
)
CLASSES = ("negative", "positive")


def build_tiny_base(folder: Path, *, seed: int = 0, max_positions: int = 32) -> Path:
    """A two-layer BERT without a classification head, 16 wide, random, with a WordPiece tokenizer."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    _tokenizer(folder, BertTokenizerFast, max_positions)
    BertModel(_config(BertConfig, folder, max_positions)).save_pretrained(folder)
    return folder


def build_tiny_checkpoint(
    folder: Path, *, classes: tuple[str, ...] = CLASSES, seed: int = 0, max_positions: int = 32
) -> Path:
    """A two-layer BERT with a classification head, 16 wide, random, with a WordPiece tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    _tokenizer(folder, BertTokenizerFast, max_positions)
    config = _config(BertConfig, folder, max_positions)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: code for code, name in enumerate(classes)}
    config.num_labels = len(classes)
    config.initializer_range = 0.6
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def _tokenizer(folder: Path, kind: type, max_positions: int) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS.split())]
    pieces = [chr(c) for c in range(97, 123)] + ["##" + chr(c) for c in range(97, 123)]
    vocab = list(dict.fromkeys(words + pieces))
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    tokenizer = kind(str(folder / "vocab.txt"), model_max_length=max_positions)
    tokenizer.save_pretrained(folder)


def _config(kind: type, folder: Path, max_positions: int):  # type: ignore[no-untyped-def]
    size = len((folder / "vocab.txt").read_text(encoding="utf-8").split())
    return kind(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=max_positions,
    )


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base model."""
    return build_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier for the classes negative and positive. Copy it before you change it."""
    return build_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture
def review_frame() -> pd.DataFrame:
    """48 short reviews of several lengths, with label, gender (some missing), template and id."""
    subjects = ("the movie", "a film", "the very old plot", "the actor")
    verdicts = (("was good", 1), ("was awful", 0), ("is really very great", 1), ("is not fine", 0))
    people = ("she", "he", None)
    rows = []
    for i in range(48):
        subject, (verdict, label) = subjects[i % 4], verdicts[(i // 4) % 4]
        person = people[i % 3]
        text = f"{subject} {verdict}" + (f" {person} was really young" if person else "")
        rows.append(
            {
                "text": text,
                "label": CLASSES[label],
                "gender": {"she": "woman", "he": "man", None: None}[person],
                "template": f"t{i // 4}",
                "row": f"r{i:02d}",
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture
def review_data(review_frame: pd.DataFrame) -> AuditData:
    """The reviews with their roles."""
    return AuditData.from_frame(
        review_frame, input="text", label="label", groups=["gender"], cluster="template", id="row", name="reviews"
    )


def chromium() -> str | None:
    """The browser's path: ``PLUMBLINE_CHROMIUM``, or what lies on the path."""
    return os.environ.get("PLUMBLINE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, driven by Playwright, one for the whole process; without one its tests skip and say so."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
    path = chromium()
    if path is None:
        pytest.skip("needs Chromium: install Debian's package chromium, or name one in PLUMBLINE_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()
